"""The embedded teacher: SmolLM2-135M-Instruct in this process, no network and no key.

In: a Query. Out: a Response, as from any endpoint: it is asked over loopback by the chat teacher. Two embedded teachers
share one model and differ honestly in their worked examples, system prompt and sampling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stillhouse.records import Query, Request, Response, Terms, Thinking
from stillhouse.teachers.chat import FROM_PROFILE
from stillhouse.teachers.embedded_server import (
    MODEL_NAME,
    Lease,
    ServerSettings,
    find_model,
    model_revision,
    usable_processors,
)
from stillhouse.teachers.embedded_tokens import Tokenizer
from stillhouse.teachers.openai import OpenAI

__all__ = ["Embedded", "Tokenizer"]

ENDPOINT = "embedded://smollm2"  # the name under which limits and records know it; the port is another every time
FAMILY = "smollm2"


class Embedded:
    """SmolLM2-135M-Instruct with its prompt and sampling behind one name.

    examples: worked examples as a list of {user, assistant}, or such lists by category; they stand as chat turns
    before the query. servers: copies of the model, a thread each (default: one a processor, at most 8); slots: replies
    side by side in each; context: tokens of prompt and reply. model_path: another GGUF file. Teachers whose model,
    servers, slots and context are the same share them. The other settings are those of openai.OpenAI.
    """

    def __init__(
        self,
        name: str = "embedded",
        *,
        examples: Any = None,
        system_prompt: str | None = FROM_PROFILE,
        suffixes: Mapping[str, str] | None = None,
        temperature: float = 0.7,
        top_p: float = 0.95,
        top_k: int = 0,
        min_p: float = 0.0,
        seed: bool | int = True,
        max_tokens: int = 256,
        thinking: Thinking = "optional",
        price: Any = None,
        terms: Terms | bool = "yes",
        stream: bool = False,
        early_stop: bool = True,
        timeout: float = 300.0,
        slots: int = 8,
        context: int = 1024,
        servers: int | None = None,
        model_path: str | None = None,
        max_in_flight: int | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        self._chat = OpenAI(
            name,
            MODEL_NAME,
            base_url="http://127.0.0.1:9/v1",  # never asked: every request carries the running server's URL
            examples=examples,
            system_prompt=system_prompt,
            suffixes=suffixes,
            # all four are sent: the server's own defaults (top_k 40, min_p 0.05) are not what people expect
            sampling={"temperature": temperature, "top_p": top_p, "top_k": top_k, "min_p": min_p},
            seed=seed,
            max_tokens=max_tokens,
            thinking=thinking,
            price=price,
            terms=terms,
            licence="Apache-2.0",
            family=FAMILY,
            stream=stream,
            early_stop=early_stop,
            timeout=timeout,
            extra_body=extra_body,
            revision=model_revision(model_path),
            max_in_flight=max_in_flight or slots * (servers or usable_processors()),
        )
        self.name, self.model = name, MODEL_NAME
        self.settings = self._chat.settings
        self.endpoints = (ENDPOINT,)
        self._model_path = model_path
        self._slots, self._context, self._servers = slots, context, servers or usable_processors()
        self._lease: Lease | None = None

    def identity(self, category: str) -> str:
        return self._chat.identity(category)

    def request(self, query: Query, attempt: int, *, max_tokens: int | None = None) -> Request:
        """No I/O: the model is neither looked for nor loaded."""
        return self._chat.request(query, attempt, max_tokens=max_tokens)

    async def send(self, request: Request) -> Response:
        """Ask once; the first one loads the model. Raises Fault, or UserMistake where the model is missing."""
        async with self._hold().url() as url:
            return await self._chat.send(replace(request, endpoint=url))

    async def probe(self) -> None:
        """Load the model. Raises UserMistake with the command that installs what is missing."""
        await self._hold().open()

    async def close(self) -> None:
        """Let go of the model; the last teacher that uses it stops the server."""
        await self._chat.close()
        lease, self._lease = self._lease, None
        if lease is not None:
            await lease.release()

    def _hold(self) -> Lease:
        if self._lease is None:
            path = str(find_model(self._model_path))
            self._lease = Lease(ServerSettings(path, self._servers, self._slots, self._context))
        return self._lease
