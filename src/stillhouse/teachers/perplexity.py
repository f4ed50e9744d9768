"""How expected a text is to a language model: exp of the mean negative log-likelihood of its tokens, given a prompt.

In: conversations that end with the text. Out: replies that hold a Perplexity each, or a Fault. Asks vLLM or SGLang,
which score a given text without generating; embedded_perplexity asks the embedded model. Prompt and text are tokenized
apart and sent as token numbers, so that it is certain which tokens are the text's.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from stillhouse.records import (
    Fault,
    Message,
    Price,
    Query,
    Request,
    Response,
    UserMistake,
    content_hash,
    response_key,
)
from stillhouse.teachers.probing import probe_all
from stillhouse.teachers.prompts import prompt_bound
from stillhouse.teachers.settings import read_price
from stillhouse.transport.client import Client, endpoint_problems, to_json


@dataclass(frozen=True, slots=True)
class Perplexity:
    """response: of the text given the prompt. full: of both, without the first token, which nothing precedes.

    tokens: how many of the text were scored; whole: False where the text was longer than the scorer takes.
    """

    response: float
    full: float
    tokens: int
    whole: bool = True


def perplexity_of(logprobs: Sequence[float], prompt_tokens: int, *, whole: bool = True) -> Perplexity:
    """logprobs: of every token but the first; prompt_tokens: how many of all tokens are the prompt's, at least 1."""
    if prompt_tokens < 1 or len(logprobs) < prompt_tokens:
        raise ValueError(f"nothing to score: {len(logprobs)} log-probabilities, {prompt_tokens} tokens of the prompt")
    text = logprobs[prompt_tokens - 1 :]
    return Perplexity(
        response=math.exp(min(700.0, -math.fsum(text) / len(text))),
        full=math.exp(min(700.0, -math.fsum(logprobs) / len(logprobs))),
        tokens=len(text),
        whole=whole,
    )


class PromptLogprobs:
    """Scores texts at a vLLM or SGLang server whose prefix cache is off: what is cached is not scored.

    (`--no-enable-prefix-caching`, `--disable-radix-cache`.) base_url ends in /v1; `/tokenize` is asked beside it. api:
    vllm reads `prompt_logprobs`, sglang reads `echo` with `logprobs`. separator stands between prompt and text and
    counts as the prompt's. One generated token each is thrown away. A Teacher: it is sent a conversation that ends with
    the text, and its reply's text is the score as JSON (`score_of`); retries, limits and the journal are the asker's.
    """

    def __init__(
        self,
        name: str,
        model: str,
        *,
        base_url: str | None = None,
        base_urls: Sequence[str] | None = None,
        api: Literal["vllm", "sglang"] = "vllm",
        api_key_env: str | None = None,
        revision: str = "",
        separator: str = "\n",
        timeout: float = 600.0,
        price: Mapping[str, Any] | None = None,
    ) -> None:
        urls = [*(base_urls or ()), *([base_url] if base_url else [])]
        problems = [f"perplexity: {problem}" for url in urls for problem in endpoint_problems(url)]
        if not urls:
            problems.append("perplexity: base_url is missing, such as http://127.0.0.1:8010/v1")
        if api not in ("vllm", "sglang"):
            problems.append(f"perplexity: api is vllm or sglang, not {api!r}")
        self._price = read_price(price, "perplexity", problems)
        if problems:
            raise UserMistake(*problems)
        self.name, self.endpoints = name, tuple(url.rstrip("/") for url in urls)
        self._model, self._api, self._revision = model, api, revision
        self._key_env, self._separator, self._timeout = api_key_env, separator, timeout
        self._client = Client()

    def identity(self, category: str) -> str:
        """Of the model and of how prompt and text are joined; every category is scored alike."""
        return content_hash("perplexity", self._model, self._revision, self._separator)

    def request(self, query: Query, attempt: int) -> Request:
        """query: a conversation whose last turn is the text to score."""
        return score_request(self.name, self._model, self.identity(""), query, attempt, self._price)

    async def send(self, request: Request) -> Response:
        """Raises Fault, among others bad_request where the pair is longer than the model's context."""
        base = request.endpoint or self.endpoints[0]
        began = time.perf_counter()
        found, tokens = await self._score(base, *texts_of(request.messages))
        cost = self._price.cost(tokens, 1) if self._price else None
        return score_response(request, found, tokens, time.perf_counter() - began, cost)

    async def score(self, prompt: str, text: str) -> Perplexity:
        """The same without a request."""
        return (await self._score(self.endpoints[0], prompt, text))[0]

    async def _score(self, base: str, prompt: str, text: str) -> tuple[Perplexity, int]:
        before = await self._tokenize(base, prompt + self._separator, special=True)
        after = await self._tokenize(base, text, special=False)
        if not before or not after:
            raise Fault("bad_request", "an empty prompt or text has no perplexity")
        tokens = [*before, *after]
        body: dict[str, Any] = {"model": self._model, "prompt": tokens, "max_tokens": 1, "temperature": 0.0}
        body |= {"prompt_logprobs": 0} if self._api == "vllm" else {"echo": True, "logprobs": 1}
        data = await self._post(f"{base}/completions", body)
        return perplexity_of(read_logprobs(data, tokens), len(before)), len(tokens)

    async def probe(self) -> None:
        """GET /models of every endpoint; costs nothing."""
        await probe_all(
            self._client, self.name, self._model, self.endpoints, self._headers(), self._key_env, self._timeout
        )

    async def close(self) -> None:
        await self._client.close()

    async def _tokenize(self, base: str, text: str, *, special: bool) -> list[int]:
        """Token numbers; special: what the model wants at a beginning (BOS)."""
        root = base.removesuffix("/v1")
        body = {"model": self._model, "prompt": text, "add_special_tokens": special}
        data = await self._post(f"{root}/tokenize", body)
        tokens = data.get("tokens") if isinstance(data, Mapping) else None
        if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
            raise Fault("bad_envelope", f"{root}/tokenize gave no token numbers", maybe_paid=False)
        return tokens

    async def _post(self, url: str, body: Mapping[str, Any]) -> Any:
        _, data = await self._client.post_json(
            url, to_json(body), self._headers(), deadline=self._timeout, max_bytes=256_000_000
        )
        return data

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self._key_env:
            key = os.environ.get(self._key_env, "").strip()
            if not key:
                raise UserMistake(f"perplexity: the variable {self._key_env} is not set; it must hold the key")
            headers["Authorization"] = f"Bearer {key}"
        return headers


def texts_of(messages: Sequence[Message]) -> tuple[str, str]:
    """Prompt and text of a conversation that ends with the text."""
    return "\n".join(message.content for message in messages[:-1]), messages[-1].content


def score_request(
    name: str, model: str, identity: str, query: Query, attempt: int, price: Price | None = None
) -> Request:
    """A request to score the last turn of a conversation given those before it."""
    tokens = prompt_bound(query.messages)
    return Request(
        key=response_key(identity, query.prompt_key, attempt), query=query.key, prompt=query.prompt_key, teacher=name,
        identity=identity, attempt=attempt, messages=query.messages, sampling={}, max_tokens=1, model=model,
        prompt_tokens=tokens, bound_usd=price.bound(tokens, 1) if price else None,
    )  # fmt: skip


def score_response(
    request: Request, score: Perplexity, tokens: int, seconds: float, cost: float | None = None
) -> Response:
    """The score as a reply, so that the journal keeps it like any other."""
    return Response(
        key=request.key, query=request.query, teacher=request.teacher, text=to_json(asdict(score)).decode(),
        prompt=request.prompt, identity=request.identity, attempt=request.attempt, prompt_tokens=tokens,
        completion_tokens=1, cost_usd=cost, model=request.model, max_tokens=1, seconds=seconds, created=time.time(),
        thinking="none",
    )  # fmt: skip


def read_logprobs(data: Any, tokens: Sequence[int]) -> list[float]:
    """The log-probability of every token but the first, of a vLLM or an echo reply. Raises Fault bad_envelope."""
    choices = data.get("choices") if isinstance(data, Mapping) else None
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], Mapping) else {}
    given = choice.get("prompt_logprobs")
    found: list[Any] = []
    if isinstance(given, list):  # by position a mapping of token number to {logprob, rank, decoded_token}
        for token, entry in zip(tokens, given, strict=False):
            scored = entry.get(str(token)) if isinstance(entry, Mapping) else None
            found.append(scored.get("logprob") if isinstance(scored, Mapping) else None)
    else:
        echoed = choice.get("logprobs")
        values = echoed.get("token_logprobs") if isinstance(echoed, Mapping) else None
        found = values[: len(tokens)] if isinstance(values, list) else []
    scores = [float(value) for value in found[1:] if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(found) != len(tokens) or len(scores) != len(tokens) - 1:
        reason = f"{len(scores)} log-probabilities came for {len(tokens)} tokens: does the server score prompts?"
        raise Fault("bad_envelope", reason, maybe_paid=True)
    return scores
