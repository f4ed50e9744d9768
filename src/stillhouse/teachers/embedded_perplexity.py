"""Perplexity by the embedded model: every token of a given text is forced, and its log-probability read.

In: conversations that end with the text. Out: a Perplexity each, as a reply. The runtime cannot score a prompt, but a
grammar of token numbers leaves it one choice at each step while the probabilities it reports are those before the
grammar: so the value is exact for this model, and costs a decoding step a token (about 90 tokens a CPU second).
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from stillhouse.records import Fault, Query, Request, Response, content_hash
from stillhouse.teachers.embedded_server import MODEL_NAME, Lease, ServerSettings, find_model, usable_processors
from stillhouse.teachers.perplexity import Perplexity, perplexity_of, score_request, score_response, texts_of
from stillhouse.transport.client import Client, to_json


class EmbeddedPerplexity:
    """Scores texts by SmolLM2-135M-Instruct, in this process. A 135M model: its values are its own, not the paper's.

    A Teacher as PromptLogprobs is. Token numbers are forced, not letters: a text that is split otherwise than the
    vocabulary splits it has a higher perplexity, and what is read would be an upper estimate.

    max_tokens: of the text, at most; what is longer is scored by its beginning, and marked as not whole.
    """

    def __init__(
        self,
        name: str = "perplexity",
        *,
        separator: str = "\n",
        max_tokens: int = 1024,
        context: int = 2048,
        slots: int = 8,
        servers: int | None = None,
        model_path: str | None = None,
    ) -> None:
        self.name = name
        self._separator, self._max_tokens, self._context = separator, max_tokens, context
        self._slots, self._servers, self._path = slots, servers or usable_processors(), model_path
        self._client = Client()
        self._lease: Lease | None = None

    def identity(self, category: str) -> str:
        """Of the model's file and of what is scored of a text."""
        parts = (MODEL_NAME, self._path or "", self._separator, str(self._max_tokens), str(self._context))
        return content_hash("perplexity", "embedded", *parts)

    def request(self, query: Query, attempt: int) -> Request:
        """query: a conversation whose last turn is the text to score."""
        return score_request(self.name, MODEL_NAME, self.identity(""), query, attempt)

    async def send(self, request: Request) -> Response:
        """Raises Fault."""
        began = time.perf_counter()
        found = await self.score(*texts_of(request.messages))
        return score_response(request, found, found.tokens, time.perf_counter() - began)

    async def probe(self) -> None:
        """Is the model's file there? Raises UserMistake with the command that brings it."""
        find_model(self._path)

    async def score(self, prompt: str, text: str) -> Perplexity:
        """Raises Fault; bad_request where the prompt leaves no room for the text, or one of them is empty."""
        if self._lease is None:
            path = str(find_model(self._path))
            self._lease = Lease(ServerSettings(path, self._servers, self._slots, self._context))
        async with self._lease.url() as url:
            root = url.removesuffix("/v1")
            before = await self._tokens(root, prompt + self._separator)
            after = await self._tokens(root, text)
            if not before or not after:
                raise Fault("bad_request", "an empty prompt or text has no perplexity")
            kept = after[: min(self._max_tokens, self._context - len(before) - 8)]
            if not kept:
                raise Fault("bad_request", f"a prompt of {len(before)} tokens leaves no room in {self._context}")
            scores = await self._forced(root, before[:1], [*before[1:], *kept])
        return perplexity_of(scores, len(before), whole=len(kept) == len(after))

    async def close(self) -> None:
        """Let go of the model."""
        await self._client.close()
        lease, self._lease = self._lease, None
        if lease is not None:
            await lease.release()

    async def _tokens(self, root: str, text: str) -> list[int]:
        body = {"content": text, "add_special": False, "parse_special": False}
        data = await self._post(f"{root}/tokenize", body)
        tokens: list[int] = data["tokens"]
        return tokens

    async def _forced(self, root: str, start: list[int], forced: list[int]) -> list[float]:
        """The log-probability of each forced token, after `start` and those before it."""
        body = {
            "prompt": start,
            "n_predict": len(forced),
            "grammar": "root ::= " + " ".join(f"<[{token}]>" for token in forced),
            "n_probs": 1,
            "temperature": 0,
            "cache_prompt": False,
        }
        data = await self._post(f"{root}/completion", body)
        given = data.get("completion_probabilities") or []
        if [one.get("id") for one in given[: len(forced)]] != forced:
            raise Fault("bad_envelope", f"{len(given)} tokens came for {len(forced)} forced ones")
        return [float(one["logprob"]) for one in given[: len(forced)]]

    async def _post(self, url: str, body: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        _, data = await self._client.post_json(url, to_json(body), headers, deadline=600.0, max_bytes=64_000_000)
        return data


def perplexity(prompt: str, text: str) -> float:
    """Perplexity of one text given a prompt by the embedded model. Starts and stops it: for many use the filter."""

    async def once() -> float:
        scorer = EmbeddedPerplexity(servers=1, slots=1)
        try:
            return (await scorer.score(prompt, text)).response
        finally:
            await scorer.close()

    return asyncio.run(once())
