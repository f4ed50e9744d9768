"""How expected a text is to a language model: exp of the mean negative log-likelihood of its tokens, given a prompt.

In: pairs of prompt and text. Out: a Perplexity each, or the Fault that kept it. Asks vLLM or SGLang, which score a
given text without generating; embedded_perplexity asks the embedded model. Prompt and text are tokenized apart and sent
as token numbers, so that it is certain which tokens are the text's.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from stillhouse.records import Fault, UserMistake
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


class Scorer(Protocol):
    """What a perplexity filter is handed, as a Part."""

    def score_all(self, pairs: Sequence[tuple[str, str]]) -> list[Perplexity | Fault]: ...


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
    counts as the prompt's. max_in_flight: requests side by side. One generated token each is thrown away.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api: Literal["vllm", "sglang"] = "vllm",
        api_key_env: str | None = None,
        separator: str = "\n",
        timeout: float = 600.0,
        max_in_flight: int = 16,
        retries: int = 4,
    ) -> None:
        problems = [f"perplexity: {problem}" for problem in endpoint_problems(base_url)]
        if api not in ("vllm", "sglang"):
            problems.append(f"perplexity: api is vllm or sglang, not {api!r}")
        if problems:
            raise UserMistake(*problems)
        self.name = f"{model} at {api}"
        self._base, self._model, self._api = base_url.rstrip("/"), model, api
        self._key_env, self._separator = api_key_env, separator
        self._timeout, self._most, self._retries = timeout, max_in_flight, retries
        self._client = Client()

    def score_all(self, pairs: Sequence[tuple[str, str]]) -> list[Perplexity | Fault]:
        """The score of each (prompt, text), in order; a pair that cannot be scored gives its Fault, never a number."""
        return asyncio.run(score_side_by_side(self, pairs, self._most))

    async def score(self, prompt: str, text: str) -> Perplexity:
        """Raises Fault, among others bad_request where the pair is longer than the model's context."""
        before = await self._tokenize(prompt + self._separator, special=True)
        after = await self._tokenize(text, special=False)
        if not before or not after:
            raise Fault("bad_request", "an empty prompt or text has no perplexity")
        tokens = [*before, *after]
        body: dict[str, Any] = {"model": self._model, "prompt": tokens, "max_tokens": 1, "temperature": 0.0}
        body |= {"prompt_logprobs": 0} if self._api == "vllm" else {"echo": True, "logprobs": 1}
        data = await self._post(f"{self._base}/completions", body)
        return perplexity_of(read_logprobs(data, tokens), len(before))

    async def close(self) -> None:
        await self._client.close()

    async def _tokenize(self, text: str, *, special: bool) -> list[int]:
        """Token numbers; special: what the model wants at a beginning (BOS)."""
        root = self._base.removesuffix("/v1")
        body = {"model": self._model, "prompt": text, "add_special_tokens": special}
        data = await self._post(f"{root}/tokenize", body)
        tokens = data.get("tokens") if isinstance(data, Mapping) else None
        if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
            raise Fault("bad_envelope", f"{root}/tokenize gave no token numbers", maybe_paid=False)
        return tokens

    async def _post(self, url: str, body: Mapping[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        if self._key_env:
            key = os.environ.get(self._key_env, "").strip()
            if not key:
                raise UserMistake(f"perplexity: the variable {self._key_env} is not set; it must hold the key")
            headers["Authorization"] = f"Bearer {key}"
        for turn in range(self._retries + 1):
            try:
                _, data = await self._client.post_json(
                    url, to_json(body), headers, deadline=self._timeout, max_bytes=256_000_000
                )
            except Fault as fault:
                if not fault.retryable or turn == self._retries:
                    raise
                await asyncio.sleep(max(fault.retry_after or 0.0, 0.2 * 2**turn))
            else:
                return data
        raise AssertionError("unreachable")


async def score_side_by_side(scorer: Any, pairs: Sequence[tuple[str, str]], most: int) -> list[Perplexity | Fault]:
    """Score pairs side by side, `most` at a time; faults are results here."""
    room = asyncio.Semaphore(most)

    async def one(prompt: str, text: str) -> Perplexity | Fault:
        async with room:
            try:
                score: Perplexity = await scorer.score(prompt, text)
            except Fault as fault:
                return fault
            return score

    try:
        return list(await asyncio.gather(*(one(prompt, text) for prompt, text in pairs)))
    finally:
        await scorer.close()


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
