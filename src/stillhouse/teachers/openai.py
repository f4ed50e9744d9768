"""A teacher behind any OpenAI-compatible chat endpoint: vLLM, SGLang, llama.cpp, hosted APIs; a judge is one too.

In: a Query and an attempt. Out: a Request (pure), and for a Request one Response or one Fault. It asks once; retries,
limits, budget and the journal are the loop's. Keys come from the environment and stay in the request's header.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import os
import time
from asyncio import gather
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from stillhouse.records import (
    Fault,
    Query,
    Request,
    Response,
    Terms,
    Thinking,
    UserMistake,
    canonical_json,
    content_hash,
    response_key,
)
from stillhouse.teachers.profiles import SystemPlace, find_profile
from stillhouse.teachers.prompts import Prompts, estimate_tokens, prompt_bound
from stillhouse.teachers.replies import Said, read_event, read_reply
from stillhouse.teachers.settings import (
    OURS,
    plain,
    read_examples,
    read_positive,
    read_price,
    read_sampling,
    read_suffixes,
    read_terms,
)
from stillhouse.transport.client import MAX_BYTES, Client, endpoint_problems, place, to_json
from stillhouse.transport.faults import RAW_CHARACTERS, scrub
from stillhouse.transport.repeats import Repeats

FROM_PROFILE = "profile"
PROBE_SECONDS = 30.0


class OpenAI:
    """One model, its prompt and its sampling behind one name. Every setting left out comes from the profile.

    base_url ends where `/chat/completions` is appended; base_urls: several endpoints of one model. price: {input,
    output, cached, thinking} dollars per million tokens, or {per_hour}. api_key_env: variable that holds the key.
    system_prompt: a text, null for none. sampling: replaces the profile's as a whole; temperature, top_p, top_k and
    min_p single values of it. seed: true derives one from each reply's key, so attempts differ; false sends none.
    stream with early_stop cancels a reply that loops or runs over its limit. timeout: seconds of one whole request.
    extra_body: further fields of the request. revision: of the weights, a part of the identity. counter:
    `module:function` from text to tokens, used where the server sends no usage. max_in_flight,
    requests_per_minute, tokens_per_minute and batch are carried for the loop. Raises UserMistake with all mistakes.
    """

    def __init__(
        self,
        name: str,
        model: str,
        *,
        base_url: str | None = None,
        base_urls: Sequence[str] | None = None,
        profile: str = "generic",
        price: Any = None,
        api_key_env: str | None = None,
        api_key_header: str = "Authorization",
        system_prompt: str | None = FROM_PROFILE,
        system_place: SystemPlace | None = None,
        suffixes: Mapping[str, str] | None = None,
        examples: Any = None,
        sampling: Mapping[str, Any] | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        min_p: float | None = None,
        seed: bool | int = True,
        max_tokens: int | None = None,
        max_tokens_field: str = "max_tokens",
        thinking: Thinking | None = None,
        stream: bool = False,
        early_stop: bool = True,
        timeout: float = 3600.0,
        max_bytes: int = MAX_BYTES,
        extra_body: Mapping[str, Any] | None = None,
        revision: str = "",
        terms: Terms | bool | None = None,
        licence: str | None = None,
        family: str | None = None,
        perplexity: float | None = None,
        counter: str | None = None,
        ca_file: str | None = None,
        proxy: bool = False,
        max_in_flight: int = 64,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        batch: bool = False,
    ) -> None:
        problems: list[str] = []
        where = f"teacher {name}"
        try:
            chosen = find_profile(profile)
        except UserMistake as mistake:
            problems += (f"{where}: {problem}" for problem in mistake.problems)
            chosen = find_profile("generic")
        urls = list(base_urls or ()) + ([base_url] if base_url else [])
        if not urls:
            problems.append(f"{where}: base_url is missing, such as http://127.0.0.1:8000/v1")
        problems += (f"{where}: {problem}" for url in urls for problem in endpoint_problems(url))
        if not model:
            problems.append(f"{where}: model is missing: the name under which the endpoint serves it")
        if thinking is not None and thinking not in get_args(Thinking):
            problems.append(f"{where}: thinking is one of {', '.join(get_args(Thinking))}, not {thinking!r}")
        single = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "min_p": min_p}
        mixed = {**(chosen.sampling if sampling is None else sampling)}
        mixed |= {key: value for key, value in single.items() if value is not None}
        for key, value in (("max_tokens", max_tokens), ("max_in_flight", max_in_flight), ("max_bytes", max_bytes)):
            read_positive(value, key, where, problems, whole=True)
        for key, limit in (("timeout", timeout), ("requests_per_minute", requests_per_minute),
                           ("tokens_per_minute", tokens_per_minute)):  # fmt: skip
            read_positive(limit, key, where, problems)
        taken = sorted(OURS & set(extra_body or ()))
        if taken:
            problems.append(f"{where}: extra_body cannot set {', '.join(taken)}: there are settings for that")

        self.name, self.model, self.revision = name, model, revision
        self.profile = chosen.name
        self.endpoints = tuple(url.rstrip("/") for url in urls)
        self.price = read_price(price, where, problems)
        self.terms: Terms = chosen.terms if terms is None else read_terms(terms, where, problems)
        self.licence = chosen.licence if licence is None else licence
        self.family = chosen.family if family is None else family
        self.perplexity = chosen.perplexity if perplexity is None else perplexity
        self.thinking: Thinking = thinking or chosen.thinking
        self.max_tokens = max_tokens or chosen.max_tokens
        self.max_in_flight, self.batch = max_in_flight, batch
        self.requests_per_minute, self.tokens_per_minute = requests_per_minute, tokens_per_minute
        self.stream, self.early_stop, self.timeout, self.max_bytes = stream, early_stop, timeout, max_bytes
        self.api_key_env, self._key_header = api_key_env, api_key_header
        self._max_tokens_field, self._seed = max_tokens_field, seed
        self._sampling = read_sampling(mixed, where, problems)
        self._extra = plain({**chosen.extra_body, **(extra_body or {})})
        switch = self._extra.get("chat_template_kwargs")
        if thinking == "none" and isinstance(switch, dict) and "enable_thinking" in switch:
            switch["enable_thinking"] = False
        self.prompts = Prompts(
            system=chosen.system_prompt if system_prompt == FROM_PROFILE else system_prompt,
            place=system_place or chosen.system_place,
            suffixes=chosen.suffixes if suffixes is None else read_suffixes(suffixes, where, problems),
            examples=read_examples(examples, where, problems),
        )
        if problems:
            raise UserMistake(*problems)
        self._count = estimate_tokens if counter is None else _load_counter(counter, where)
        self._identities: dict[str, str] = {}
        self._client = Client(ca_file=ca_file, proxy=proxy)

    def identity(self, category: str) -> str:
        """Hash of model, revision, prompts of the category, sampling and extra fields."""
        known = self._identities.get(category)
        if known is None:
            parts = [
                self.model,
                self.revision,
                self.prompts.identity(category),
                self._sampling,
                self._seed,
                self._extra,
            ]
            known = self._identities[category] = content_hash("chat", canonical_json(parts))
        return known

    def request(self, query: Query, attempt: int, *, max_tokens: int | None = None) -> Request:
        """Messages, sampling, limit and price bound of one attempt. No I/O. max_tokens: another limit than its own."""
        limit = max_tokens or self.max_tokens
        identity = self.identity(query.category)
        key = response_key(identity, query.prompt_key, attempt)
        messages = self.prompts.messages(query)
        sampling = dict(self._sampling)
        if self._seed is not False:
            sampling["seed"] = seed_of(key if self._seed is True else f"{self._seed}:{key}")
        prompt_tokens = prompt_bound(messages)
        return Request(
            key=key,
            query=query.key,
            prompt=query.prompt_key,
            teacher=self.name,
            identity=identity,
            attempt=attempt,
            messages=messages,
            sampling=sampling,
            max_tokens=limit,
            model=self.model,
            prompt_tokens=prompt_tokens,
            bound_usd=self.price.bound(prompt_tokens, limit) if self.price else None,
            extra=self._extra or None,
        )

    def body(self, request: Request) -> dict[str, Any]:
        """The JSON object of the request, as it is posted or written into a batch file."""
        return {
            "model": request.model or self.model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            self._max_tokens_field: request.max_tokens,
            **request.sampling,
            **(request.extra or {}),
        }

    async def send(self, request: Request) -> Response:
        """Ask once. Raises Fault."""
        base = request.endpoint or self.endpoints[0]
        url = f"{base.rstrip('/')}/chat/completions"
        headers = self._headers(Fault("auth", f"the variable {self.api_key_env} is not set"))
        if self.stream:
            return await self._stream(request, url, headers)
        reply, data = await self._client.post_json(
            url, to_json(self.body(request)), headers, deadline=self.timeout, max_bytes=self.max_bytes
        )
        return self.read(request, data, seconds=reply.seconds, where=reply.where, secrets=reply.secrets)

    def read(
        self, request: Request, data: Any, *, seconds: float = 0.0, where: str = "", secrets: Sequence[str] = ()
    ) -> Response:
        """The Response in a parsed chat completion, also of a batch file. Raises Fault where it is none."""
        return self._response(request, read_reply(data, where), seconds, secrets)

    async def probe(self) -> None:
        """GET /models of every endpoint: is the key accepted, is the model served? Costs nothing.

        Raises UserMistake for what the user can mend, and Fault where no endpoint answers for the time being.
        """
        missing = f"teacher {self.name}: the variable {self.api_key_env} is not set; it must hold the key"
        headers = self._headers(UserMistake(missing))
        found = await gather(*(self._probe_one(endpoint, headers) for endpoint in self.endpoints))
        mistakes = [f"teacher {self.name}: {text}" for text in found if isinstance(text, str)]
        if mistakes:
            raise UserMistake(*mistakes)
        faults = [fault for fault in found if isinstance(fault, Fault)]
        if len(faults) == len(self.endpoints):
            raise faults[0]

    async def close(self) -> None:
        await self._client.close()

    async def _probe_one(self, endpoint: str, headers: Mapping[str, str]) -> str | Fault | None:
        try:
            reply = await self._client.get(f"{endpoint}/models", headers, deadline=min(self.timeout, PROBE_SECONDS))
            data = reply.json()
        except Fault as fault:
            if fault.kind == "auth":
                said = f"refuses the key in {self.api_key_env}" if self.api_key_env else "wants a key: set api_key_env"
                return f"{place(endpoint)} {said} ({fault.reason})"
            if fault.kind == "not_found":
                return None  # not every server lists its models
            return fault if fault.kind != "bad_envelope" and fault.retryable else fault.reason
        listed = data.get("data") if isinstance(data, Mapping) else None
        names = [str(item.get("id")) for item in listed or () if isinstance(item, Mapping)]
        if not names or self.model in names:
            return None
        near = difflib.get_close_matches(self.model, names, n=1, cutoff=0.4)
        meant = f"did you mean {near[0]!r}? " if near else ""
        return f"{place(endpoint)} serves no model {self.model!r}; {meant}it serves {', '.join(names[:10])}"

    async def _stream(self, request: Request, url: str, headers: Mapping[str, str]) -> Response:
        body = {**self.body(request), "stream": True, "stream_options": {"include_usage": True}}
        said, texts, thoughts = Said(), list[str](), list[str]()
        watch = Repeats() if self.early_stop else None
        began, events, done, where = time.perf_counter(), 0, False, place(url)
        stream = self._client.stream_json(url, to_json(body), headers, deadline=self.timeout, max_bytes=self.max_bytes)
        try:
            async with contextlib.aclosing(stream):
                async for data in stream:
                    if data is None:
                        done = True
                        break
                    thought, text = read_event(said, data, where)
                    thoughts.append(thought)
                    texts.append(text)
                    events += bool(thought or text)
                    if watch and (events > request.max_tokens or watch.feed(thought or text)):
                        said.finish_reason = "stopped"
                        break
            if not said.finish_reason and not done:
                raise Fault("cut_body", f"the stream of {where} ended before its reply did", maybe_paid=True)
            if not said.finish_reason and not events:
                raise Fault("bad_envelope", f"the stream of {where} has no choices", maybe_paid=True)
        except Fault as fault:
            key = self._key()
            fault.raw = fault.raw or scrub("".join((*thoughts, *texts)), [key] if key else [])[:RAW_CHARACTERS]
            raise
        said.text, said.reasoning = "".join(texts), "".join(thoughts) or None
        key = self._key()
        return self._response(request, said, time.perf_counter() - began, [key] if key else [], events)

    def _response(
        self, request: Request, said: Said, seconds: float, secrets: Sequence[str], events: int = 0
    ) -> Response:
        text = scrub(said.text, secrets)
        reasoning = None if said.reasoning is None else scrub(said.reasoning, secrets)
        prompt, completion = said.usage.prompt, said.usage.completion
        unsaid = completion is None or (completion == 0 and bool(text or reasoning))
        counted = unsaid or prompt is None
        if prompt is None:
            prompt = sum(self._count(message.content) for message in request.messages)
        if completion is None or unsaid:
            pieces = sum(self._count(part) for part in (text, reasoning) if part)
            completion = max(pieces, min(events, request.max_tokens))
        cached, thinking = said.usage.cached, said.usage.thinking
        cost = self.price.cost(prompt, completion, cached or 0, thinking or 0) if self.price else None
        return Response(
            key=request.key,
            query=request.query,
            teacher=self.name,
            text=text,
            prompt=request.prompt,
            identity=request.identity,
            attempt=request.attempt,
            reasoning=reasoning,
            finish_reason=said.finish_reason or "missing",
            prompt_tokens=prompt,
            completion_tokens=completion,
            thinking_tokens=thinking,
            cached_tokens=cached,
            counted=counted,
            cost_usd=cost,
            model=said.model or request.model,
            max_tokens=request.max_tokens,
            seconds=seconds,
            created=time.time(),
            thinking=self.thinking,
        )

    def _key(self) -> str | None:
        value = os.environ.get(self.api_key_env, "").strip() if self.api_key_env else ""
        return value or None

    def _headers(self, missing: Exception) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if self.api_key_env is None:
            return headers
        key = self._key()
        if key is None:
            raise missing
        if not (key.isascii() and key.isprintable()):
            raise UserMistake(f"teacher {self.name}: the key in {self.api_key_env} holds characters that no key has")
        headers[self._key_header] = f"Bearer {key}" if self._key_header.lower() == "authorization" else key
        return headers


def seed_of(key: str) -> int:
    """A seed of 31 bits from a reply's key: the same for the same attempt, another for another."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "little") & 0x7FFF_FFFF


def _load_counter(path: str, where: str) -> Any:
    module, _, attribute = path.partition(":")
    if not module or not attribute:
        raise UserMistake(f"{where}: counter is an import path such as my_module:count, not {path!r}")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserMistake(f"{where}: counter: cannot import {path}: {error}") from error
