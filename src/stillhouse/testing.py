"""Teachers to test with: `FakeTeacher` in the process, `FakeServer` on loopback. For recipes and verifiers of yours.

In: a script or a seed. Out: replies and faults of every kind, and counts of what was asked, paid and in flight.
Nothing here uses the network beyond 127.0.0.1, and nothing needs a model.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from stillhouse.records import (
    Fault,
    Price,
    Query,
    Request,
    Response,
    Terms,
    Thinking,
    content_hash,
    response_key,
)
from stillhouse.transport.fake_server import FAULTS, Counts, FakeServer
from stillhouse.transport.fake_time import simulate

__all__ = [
    "FAULTS", "REPLY_MODES", "Counts", "FakeServer", "FakeTeacher", "fake_text", "fault_of", "reply_text", "simulate",
]  # fmt: skip

LOOP_TEXT = "and then we add the two numbers again, which gives the same sum as before, so we check it once more: "
REPLY_MODES = ("good", "wrong", "truncated", "malformed", "empty", "looping", "slow")

Reply = str | Response | Fault
Script = Mapping[str, Sequence[Reply] | Reply] | Callable[[Query, int], Reply]


def reply_text(thinking: str, answer: str) -> str:
    """A reply in normal form."""
    return f"<think>{thinking}</think><answer>{answer}</answer>"


class FakeTeacher:
    """A Teacher without a model: says what its script says, counts what it was asked.

    script: by the query's text (or id, or key) one reply for every attempt or a list by attempt (from 1 on; the last
    one stays); or a function (query, attempt) -> reply. A reply is a text, a mode of REPLY_MODES, a Response (its
    text, reasoning, finish_reason and tokens are used) or a Fault, which is raised. A fault in a list is raised once
    per retry: `[Fault("reset", ..), "fine"]` fails the first sending of attempt 1 and answers its second.
    Without a script a share `right` of the attempts answers with the query's reference, decided by the seed.
    faults: shares of sendings that raise, by kind, decided by the seed. seconds: how long a reply takes.
    """

    def __init__(
        self,
        name: str = "fake",
        script: Script | None = None,
        *,
        right: float = 1.0,
        faults: Mapping[str, float] | None = None,
        seed: int = 0,
        seconds: float = 0.0,
        price: Price | Mapping[str, float] | None = None,
        max_tokens: int = 1024,
        thinking: Thinking = "optional",
        terms: Terms = "yes",
        model: str = "fake-model",
        max_in_flight: int = 64,
    ) -> None:
        self.name, self.model, self.thinking, self.terms = name, model, thinking, terms
        self.max_tokens, self.max_in_flight = max_tokens, max_in_flight
        self.price = Price(**price) if isinstance(price, Mapping) else price
        self.endpoints: tuple[str, ...] = ("fake://in-process",)
        self.asked: Counter[str] = Counter()  # key of the reply -> how often it was sent
        self.asked_queries: Counter[str] = Counter()  # key of the query -> how often it was sent
        self.paid: Counter[str] = Counter()  # key of the reply -> how often it was answered
        self.probes = self.in_flight = self.most_in_flight = 0
        self.closed = False
        self._script, self._right, self._faults = script, right, dict(faults or {})
        self._seed, self._seconds = seed, seconds
        self._queries: dict[str, Query] = {}
        self._given: Counter[tuple[str, int]] = Counter()  # faults already raised out of a scripted list

    def identity(self, category: str) -> str:
        return content_hash("fake", self.model, str(self._seed), category)

    def request(self, query: Query, attempt: int, *, max_tokens: int | None = None) -> Request:
        identity, limit = self.identity(query.category), max_tokens or self.max_tokens
        key = response_key(identity, query.prompt_key, attempt)
        self._queries[key] = query
        tokens = sum(len(message.content.encode()) for message in query.messages)
        return Request(
            key=key,
            query=query.key,
            prompt=query.prompt_key,
            teacher=self.name,
            identity=identity,
            attempt=attempt,
            messages=query.messages,
            sampling={},
            max_tokens=limit,
            model=self.model,
            prompt_tokens=tokens,
            bound_usd=self.price.bound(tokens, limit) if self.price else None,
        )

    async def send(self, request: Request) -> Response:
        """Raises the Fault that its script or its shares hold for this sending."""
        sending = self.asked[request.key]
        self.asked[request.key] += 1
        self.asked_queries[request.query] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            draw = random.Random(f"{self._seed}:{self.name}:{request.key}:{sending}")
            await asyncio.sleep(self._seconds)
            self._raise_drawn_fault(draw)
            reply = self._reply(request)
            if reply == "slow":
                await asyncio.sleep(max(1.0, 100 * self._seconds))
            if isinstance(reply, Fault):
                raise reply
            response = self._response(request, reply)
            self.paid[request.key] += 1
            return response
        finally:
            self.in_flight -= 1

    async def probe(self) -> None:
        self.probes += 1

    async def close(self) -> None:
        self.closed = True

    def _raise_drawn_fault(self, draw: random.Random) -> None:
        at = draw.random()
        for kind, share in self._faults.items():
            if at < share:
                raise fault_of(kind)
            at -= share

    def _reply(self, request: Request) -> Reply:
        query = self._queries.get(request.key) or Query(request.messages, "other", key=request.query)
        if callable(self._script):
            return self._script(query, request.attempt)
        for name in (query.text, query.id, query.key):
            if self._script is not None and name is not None and name in self._script:
                return self._scripted(self._script[name], request)
        draw = random.Random(f"{self._seed}:{request.key}:answer")
        return "good" if draw.random() < self._right else "wrong"

    def _scripted(self, replies: Sequence[Reply] | Reply, request: Request) -> Reply:
        if isinstance(replies, str | Response | Fault):
            return replies
        attempt = 1
        for at, reply in enumerate(replies):
            if isinstance(reply, Fault):
                if attempt == request.attempt and self._given[(request.key, at)] == 0:
                    self._given[(request.key, at)] += 1
                    return reply
            elif attempt == request.attempt:
                return reply
            else:
                attempt += 1
        return next(reply for reply in reversed(replies) if not isinstance(reply, Fault))

    def _response(self, request: Request, reply: str | Response) -> Response:
        query = self._queries.get(request.key)
        finish, text = "stop", reply
        if isinstance(reply, str) and reply in REPLY_MODES:
            text, finish = fake_text(reply, query.ground_truth if query else None, request.max_tokens)
        given = reply if isinstance(reply, Response) else None
        said = given.text if given else str(text)
        reasoning = given.reasoning if given else None
        prompt = (given.prompt_tokens if given else 0) or max(1, request.prompt_tokens // 4)
        completion = (given.completion_tokens if given else 0) or min(
            request.max_tokens, count_words(said) + count_words(reasoning or "")
        )
        return Response(
            key=request.key,
            query=request.query,
            teacher=self.name,
            text=said,
            prompt=request.prompt,
            identity=request.identity,
            attempt=request.attempt,
            reasoning=reasoning,
            finish_reason=given.finish_reason if given else finish,
            prompt_tokens=prompt,
            completion_tokens=completion,
            cost_usd=self.price.cost(prompt, completion) if self.price else None,
            model=self.model,
            max_tokens=request.max_tokens,
            seconds=self._seconds,
            created=time.time(),
            thinking=self.thinking,
        )


def fake_text(mode: str, reference: str | None, max_tokens: int = 64) -> tuple[str, str]:
    """(text, finish reason) of a mode of REPLY_MODES; good answers with the reference, boxed."""
    answer = reference or "42"
    if mode in ("good", "slow"):
        return reply_text("We work it out.", f"\\boxed{{{answer}}}"), "stop"
    if mode == "wrong":
        return reply_text("We guess.", f"\\boxed{{not {answer}}}"), "stop"
    if mode == "truncated":
        return "<think>We begin to think and are cut", "length"
    if mode == "malformed":
        return reply_text("one", "a") + "<answer>b</answer>", "stop"
    if mode == "empty":
        return "", "stop"
    if mode == "looping":
        return "<think>" + LOOP_TEXT * max(4, max_tokens // 20), "length"
    raise ValueError(f"there is no reply mode {mode!r}; there are {', '.join(REPLY_MODES)}")


def fault_of(kind: str) -> Fault:
    """A Fault as a server of that kind would cause it."""
    paid = kind in ("reset", "timeout", "cut_body", "bad_json", "bad_envelope", "too_large")
    wait = 0.01 if kind in ("rate_limited", "overloaded") else None
    status = {"rate_limited": 429, "overloaded": 503, "server_error": 500, "auth": 401, "not_found": 404}.get(kind)
    return Fault(kind, "a fault of the fake teacher", status=status, retry_after=wait, maybe_paid=paid)


def count_words(text: str) -> int:
    """Tokens as the fakes count them: blank-separated words, at least one."""
    return max(1, len(text.split()))
