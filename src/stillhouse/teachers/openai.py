"""A teacher behind any OpenAI-compatible chat endpoint: vLLM, SGLang, llama.cpp, hosted APIs; a judge is one too.

In: a Query and an attempt. Out: a Request (pure), and for a Request one Response or one Fault. It asks once; retries,
limits, budget and the journal are the loop's. Keys come from the environment and stay in the request's header.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from stillhouse.records import Fault, Query, Request, Response, UserMistake, canonical_json, content_hash, response_key
from stillhouse.teachers.chat import ChatSettings, read_chat
from stillhouse.teachers.probing import probe_all
from stillhouse.teachers.prompts import prompt_bound
from stillhouse.teachers.replies import Said, read_event, read_reply
from stillhouse.transport.client import Client, to_json
from stillhouse.transport.faults import RAW_CHARACTERS, scrub
from stillhouse.transport.repeats import Repeats
from stillhouse.transport.wire import show

Hear = Callable[[str, Mapping[str, str]], None]


class OpenAI:
    """One model, its prompt and its sampling behind one name; settings as chat.ChatSettings has them.

    `hear`, where it is set, is told the headers of each reply: `teacher.hear = limits.hear`. Raises UserMistake with
    all mistakes of the settings at once.
    """

    def __init__(self, name: str, model: str, **settings: Any) -> None:
        self.name, self.model = name, model
        self.settings = read_chat(name, model, settings)
        self.endpoints = self.settings.endpoints
        self.keeps_deadline = self.given.timeout > 0  # by a timer on each request: the asker need not set another
        self.hear: Hear | None = None
        self._identities: dict[str, str] = {}
        self._client = Client(ca_file=self.given.ca_file, proxy=self.given.proxy)

    @property
    def given(self) -> ChatSettings:
        """The settings as they were given."""
        return self.settings.given

    def identity(self, category: str) -> str:
        """Hash of model, revision, prompts of the category, sampling and extra fields."""
        known = self._identities.get(category)
        if known is None:
            chat, given = self.settings, self.given
            prompts = chat.prompts.identity(category)
            parts = [self.model, given.revision, prompts, chat.sampling, given.seed, chat.extra]
            known = self._identities[category] = content_hash("chat", canonical_json(parts))
        return known

    def request(self, query: Query, attempt: int, *, max_tokens: int | None = None) -> Request:
        """Messages, sampling, limit and price bound of one attempt. No I/O. max_tokens: another limit than its own."""
        chat, seed = self.settings, self.given.seed
        limit = max_tokens or chat.max_tokens
        identity = self.identity(query.category)
        key = response_key(identity, query.prompt_key, attempt)
        messages = chat.prompts.messages(query)
        sampling = dict(chat.sampling)
        if seed is not False:
            sampling["seed"] = seed_of(key if seed is True else f"{seed}:{key}")
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
            bound_usd=chat.price.bound(prompt_tokens, limit) if chat.price else None,
            endpoint=self.endpoints[0] if len(self.endpoints) == 1 else "",
            extra=chat.extra or None,
        )

    def body(self, request: Request) -> dict[str, Any]:
        """The JSON object of the request, as it is posted or written into a batch file."""
        return {
            "model": request.model or self.model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            self.given.max_tokens_field: request.max_tokens,
            **request.sampling,
            **(request.extra or {}),
        }

    async def send(self, request: Request) -> Response:
        """Ask once. Raises Fault."""
        base, given = request.endpoint or self.endpoints[0], self.given
        url = f"{base.rstrip('/')}/chat/completions"
        try:
            headers = self._headers()
        except UserMistake as mistake:
            raise Fault("auth", str(mistake)) from None
        if given.stream:
            return await self._stream(request, url, headers)
        reply, data = await self._client.post_json(
            url, to_json(self.body(request)), headers, deadline=given.timeout, max_bytes=given.max_bytes
        )
        if self.hear is not None:
            self.hear(request.endpoint, reply.headers)
        return self.read(request, data, seconds=reply.seconds, where=reply.where)

    def read(self, request: Request, data: Any, *, seconds: float = 0.0, where: str = "") -> Response:
        """The Response in a parsed chat completion, also of a batch file. Raises Fault where it is none."""
        return self._response(request, read_reply(data, where), seconds)

    async def probe(self) -> None:
        """GET /models of every endpoint: is the key accepted, is the model served? Costs nothing.

        Raises UserMistake for what the user can mend, and Fault where no endpoint answers for the time being.
        """
        key = self.given.api_key_env
        await probe_all(
            self._client, self.name, self.model, self.endpoints, self._headers(), key, self.given.timeout,
            self.settings.price,
        )  # fmt: skip

    async def close(self) -> None:
        await self._client.close()

    async def _stream(self, request: Request, url: str, headers: Mapping[str, str]) -> Response:
        body = {**self.body(request), "stream": True, "stream_options": {"include_usage": True}}
        said, texts, thoughts = Said(), list[str](), list[str]()
        watch = Repeats() if self.given.early_stop else None
        began, events, done, where = time.perf_counter(), 0, False, show(url)
        stream = self._client.stream_json(
            url, to_json(body), headers, deadline=self.given.timeout, max_bytes=self.given.max_bytes,
            on_headers=None if self.hear is None else partial(self.hear, request.endpoint),
        )  # fmt: skip
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
                    if watch and (events > request.max_tokens or watch.feed(thought + text)):
                        said.finish_reason = "stopped"
                        break
            if not said.finish_reason and not done:
                raise Fault("cut_body", f"the stream of {where} ended before its reply did", maybe_paid=True)
            if not said.finish_reason and not events:
                raise Fault("bad_envelope", f"the stream of {where} has no choices", maybe_paid=True)
        except Fault as fault:
            fault.raw = fault.raw or self._scrub("".join((*thoughts, *texts)))[:RAW_CHARACTERS]
            raise
        said.text, said.reasoning = "".join(texts), "".join(thoughts) or None
        return self._response(request, said, time.perf_counter() - began, events)

    def _response(self, request: Request, said: Said, seconds: float, events: int = 0) -> Response:
        """events: pieces of text that a stream brought, each of at least one token."""
        text = self._scrub(said.text)
        reasoning = None if said.reasoning is None else self._scrub(said.reasoning)
        prompt, completion, count = said.usage.prompt, said.usage.completion, self.settings.count
        unsaid = completion is None or (completion == 0 and bool(text or reasoning))
        counted = unsaid or prompt is None
        if prompt is None:
            prompt = sum(count(message.content) for message in request.messages)
        if completion is None or unsaid:
            pieces = sum(count(part) for part in (text, reasoning) if part)
            completion = max(pieces, min(events, request.max_tokens))
        cached, thinking, price = said.usage.cached, said.usage.thinking, self.settings.price
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
            cost_usd=price.cost(prompt, completion, cached or 0, thinking or 0) if price else None,
            model=said.model or request.model,
            max_tokens=request.max_tokens,
            seconds=seconds,
            created=time.time(),
            thinking=self.settings.thinking,
        )

    def _scrub(self, text: str) -> str:
        """Without the key, which a server (or a model that was shown it) may repeat in its very reply."""
        variable = self.given.api_key_env
        key = os.environ.get(variable, "").strip() if variable else ""
        return scrub(text, [key]) if key else text

    def _headers(self) -> dict[str, str]:
        """Raises UserMistake where the key is missing or cannot be one."""
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        variable = self.given.api_key_env
        if variable is None:
            return headers
        key = os.environ.get(variable, "").strip()
        if not key:
            raise UserMistake(f"teacher {self.name}: the variable {variable} is not set; it must hold the key")
        if not (key.isascii() and key.isprintable()):
            raise UserMistake(f"teacher {self.name}: the key in {variable} holds characters that no key has")
        bearer = self.given.api_key_header.lower() == "authorization"
        return headers | {self.given.api_key_header: f"Bearer {key}" if bearer else key}


def seed_of(key: str) -> int:
    """A seed of 31 bits from a reply's key: the same for the same attempt, another for another."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "little") & 0x7FFF_FFFF
