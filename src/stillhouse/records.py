"""The nouns of the house as frozen typed records, and the protocols of the parts that people add.

In and out: nothing; every other module reads this one and it reads none of them. `key` is a content hash and
the only identity; `id` is the user's own name for a row, carried to every output and never used to match.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

CATEGORIES = ("math", "code", "science", "if", "multiturn", "other")
PASS_TENTHS = 9  # a response passes when 10 * passed >= 9 * total (paper: verify_score >= 0.9)

Outcome = Literal["pass", "fail", "unknown"]
Thinking = Literal["required", "optional", "none"]
Terms = Literal["yes", "no", "unknown"]


class UserMistake(Exception):  # noqa: N818  a mistake of the user is told in a line, it is not a bug
    """What the user can mend: every message says what, where and what to do. The command line exits with 2."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def content_hash(*parts: str) -> str:
    """32 hex digits that name the given texts in their order (BLAKE2b, 128 bits, length-prefixed)."""
    pieces: list[bytes] = []
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        pieces += (len(data).to_bytes(8, "little"), data)
    return hashlib.blake2b(b"".join(pieces), digest_size=16).hexdigest()


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no blanks. For hashing settings; raises TypeError for foreign types."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn: role is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Query:
    """A question with what is needed to verify an answer to it.

    messages: all turns up to and including the last user turn, without the system prompt; empty when the row
    held no text (curate rejects it). test_case and instruction_constrain: decoded JSON objects in the shapes
    of the published records. origin: where the row stood, `file:line`. extra: other columns, carried along.
    """

    messages: tuple[Message, ...]
    category: str
    id: str | None = None
    source: str = ""
    system: str | None = None
    ground_truth: str | None = None
    test_case: Mapping[str, Any] | None = None
    instruction_constrain: Mapping[str, Any] | None = None
    origin: str = ""
    extra: Mapping[str, Any] | None = None
    key: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.key:
            object.__setattr__(self, "key", query_key(self.messages))

    @property
    def text(self) -> str:
        """The last user turn, as given."""
        return self.messages[-1].content if self.messages else ""

    @property
    def prompt_key(self) -> str:
        """What of the query enters a prompt: the key, and the query's own system text where it has one."""
        return self.key if self.system is None else content_hash("system", self.system, self.key)

    @property
    def reference(self) -> str:
        """Hash of everything a verifier may compare with; a part of every verdict's key."""
        return content_hash(
            self.ground_truth or "",
            canonical_json(self.test_case) if self.test_case is not None else "",
            canonical_json(self.instruction_constrain) if self.instruction_constrain is not None else "",
        )


def query_key(messages: Sequence[Message]) -> str:
    """Key of a query: NFC text without outer white space of every turn up to the last user turn, no system turn."""
    turns: list[str] = []
    for message in messages:
        if message.role != "system":
            turns += (message.role, unicodedata.normalize("NFC", message.content).strip())
    return content_hash(*turns)


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars per million tokens, or per hour of the endpoint. cached and thinking default to input and output."""

    input: float | None = None
    output: float | None = None
    cached: float | None = None
    thinking: float | None = None
    per_hour: float | None = None

    def cost(self, prompt: int, completion: int, cached: int = 0, thinking: int = 0) -> float | None:
        """Dollars of one reply; cached counts within prompt, thinking within completion. None when per hour."""
        if self.input is None or self.output is None:
            return None
        cached_price = self.input if self.cached is None else self.cached
        thinking_price = self.output if self.thinking is None else self.thinking
        total = (prompt - cached) * self.input + cached * cached_price
        total += (completion - thinking) * self.output + thinking * thinking_price
        return total / 1e6

    def bound(self, prompt: int, max_tokens: int) -> float | None:
        """The most that a request can cost, dollars; None when the price is per hour."""
        if self.input is None or self.output is None:
            return None
        dearest = max(self.output, self.thinking or 0.0)
        return (prompt * max(self.input, self.cached or 0.0) + max_tokens * dearest) / 1e6


@dataclass(frozen=True, slots=True)
class Request:
    """One request of one teacher (or judge), ready to send. attempt counts from 1.

    key: content key of the reply it asks for; prompt: the query's prompt_key (of a judge: hash of its messages), so
    that key = response_key(identity, prompt, attempt); identity: hash of what, beside query and attempt, decides
    the reply (model, revision, prompt, sampling). max_tokens is not in the key: a finished reply is valid for any
    limit. prompt_tokens: an upper estimate, for reserving money. endpoint: chosen by the loop where there are
    several. extra: fields of the body that change nothing in the result's identity beyond `identity`.
    """

    key: str
    query: str
    prompt: str
    teacher: str
    identity: str
    attempt: int
    messages: tuple[Message, ...]
    sampling: Mapping[str, Any]
    max_tokens: int
    model: str = ""
    prompt_tokens: int = 0
    bound_usd: float | None = None
    endpoint: str = ""
    extra: Mapping[str, Any] | None = None


def response_key(identity: str, prompt_key: str, attempt: int) -> str:
    """Content key of a reply; see Request."""
    prompt, number = prompt_key.encode("utf-8", "surrogatepass"), b"%d" % attempt
    sizes = len(prompt).to_bytes(8, "little"), len(number).to_bytes(8, "little")
    text = b"".join((_replies_of(identity), sizes[0], prompt, sizes[1], number))
    return hashlib.blake2b(text, digest_size=16).hexdigest()


@functools.lru_cache(maxsize=256)
def _replies_of(identity: str) -> bytes:
    """How the text begins whose hash is a response_key: content_hash("response", identity, prompt_key, attempt)."""
    parts = [part.encode("utf-8", "surrogatepass") for part in ("response", identity)]
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)


@dataclass(frozen=True, slots=True)
class Parts:
    """A reply in normal form: thinking is None where there was none; malformed says why a reply is not in form."""

    thinking: str | None
    answer: str
    malformed: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """One reply of one teacher to one query, as it came.

    text: the content as returned; reasoning: the separate thinking field as returned, None without one.
    finish_reason: stop, length, or stopped (a stream that we cancelled); what else a server says is kept as is.
    *_tokens: of the server's usage, or counted by us and then `counted` is True. cost_usd: None where unpriced.
    seconds: from the request's first byte sent to the reply's last byte. max_tokens: the limit it was asked with.
    thinking: whether its teacher must, may or does not think, which decides what is malformed (the paper's
    reply form: `<think>..</think><answer>..</answer>`).
    """

    key: str
    query: str
    teacher: str
    text: str
    prompt: str = ""
    identity: str = ""
    attempt: int = 0
    reasoning: str | None = None
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    thinking_tokens: int | None = None
    cached_tokens: int | None = None
    counted: bool = False
    cost_usd: float | None = None
    model: str = ""
    max_tokens: int = 0
    seconds: float = 0.0
    created: float = 0.0
    thinking: Thinking = "optional"

    @property
    def truncated(self) -> bool:
        return self.finish_reason == "length"

    @property
    def parts(self) -> Parts:
        """The normal form; computed at each call, so keep it where it is needed twice."""
        return normal_form(self.text, self.reasoning, self.thinking)

    @property
    def answer(self) -> str:
        return self.parts.answer


_OPEN, _CLOSE = "<think>", "</think>"
_ANSWER, _END_ANSWER = "<answer>", "</answer>"


def normal_form(text: str, reasoning: str | None = None, thinking: Thinking = "optional") -> Parts:
    """Bring a reply into thinking and answer, or say why it cannot be.

    Thinking ends at the first `</think>` (a forced `<think>` leaves a lone closing tag); tags inside thinking are
    text. Only what follows is looked at for one answer block; without answer tags all of it is the answer. Where
    thinking is not required, a reply without a think block is all answer.
    """
    if reasoning is not None and reasoning.strip():
        if _CLOSE in reasoning:
            return Parts(reasoning, text, "the thinking field holds </think>")
        if _OPEN in text or _CLOSE in text:
            return Parts(reasoning, text, "a think block beside a thinking field")
        return _answer_block(reasoning.strip(), text)
    head, closed, tail = text.partition(_CLOSE)
    before, opened, inside = head.partition(_OPEN)
    if not closed:
        if opened and (thinking == "required" or not before.strip()):
            return Parts(inside.strip() or None, "", "the think block is never closed")
        if thinking == "required":
            return Parts(None, text.strip(), "no think block")
        whole = _answer_block(None, text)
        return whole if whole.malformed is None or not text.strip() else Parts(None, text.strip())
    if opened and before.strip():
        return Parts(inside.strip() or None, tail.strip(), "text before the think block")
    thought = (inside if opened else head).strip()
    if _OPEN in tail or _CLOSE in tail:
        return Parts(thought or None, tail.strip(), "more than one think block")
    if not thought and thinking == "required":
        return Parts(None, tail.strip(), "the think block is empty")
    return _answer_block(thought or None, tail)


def _answer_block(thinking: str | None, text: str) -> Parts:
    opens, closes = text.count(_ANSWER), text.count(_END_ANSWER)
    if not opens and not closes:
        answer = text.strip()
        return Parts(thinking, answer, None if answer else "the answer is empty")
    before, _, rest = text.partition(_ANSWER)
    inside, _, after = rest.rpartition(_END_ANSWER)
    if opens != 1 or closes != 1 or text.index(_ANSWER) > text.index(_END_ANSWER):
        return Parts(thinking, text.strip(), "not exactly one answer block")
    if before.strip() or after.strip():
        return Parts(thinking, inside.strip(), "text outside the think and answer blocks")
    return Parts(thinking, inside.strip(), None if inside.strip() else "the answer is empty")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier or a filter says: pass, fail or unknown, with the rule that decided and why.

    passed and total are the counts behind score, so that thresholds compare as integers. transient marks an
    unknown that will be judged again (a sandbox or judge is down); every other unknown is final for its response.
    """

    outcome: Outcome
    score: float | None
    rule: str
    reason: str = ""
    passed: int | None = None
    total: int | None = None
    transient: bool = False
    detail: Mapping[str, Any] | None = None

    @staticmethod
    def of(passed: int, total: int, rule: str, reason: str = "", **detail: Any) -> Verdict:
        """Pass or fail by the one threshold: 9 of 10 passes, 8 of 9 fails. total must be positive."""
        if total <= 0:
            raise ValueError(f"a verdict of rule {rule} needs a positive total, not {total}")
        outcome: Outcome = "pass" if 10 * passed >= PASS_TENTHS * total else "fail"
        return Verdict(outcome, passed / total, rule, reason, passed, total, False, detail or None)

    @staticmethod
    def unknown(rule: str, reason: str, *, transient: bool = False, **detail: Any) -> Verdict:
        return Verdict("unknown", None, rule, reason, None, None, transient, detail or None)


@dataclass(frozen=True, slots=True)
class Ask:
    """A verifier's wish to hear a judge: which one of the recipe's judges, with which prompt.

    so_far: the verdict that stands if no judge is configured.
    """

    judge: str
    messages: tuple[Message, ...]
    max_tokens: int
    so_far: Verdict


class Fault(Exception):  # noqa: N818  a fault is a record of the journal, and is raised by a teacher
    """What went wrong in transport: never a Response, never an attempt.

    kind: rate_limited, overloaded, server_error, reset, timeout, refused, tls, cut_body, bad_json, bad_envelope,
    too_large, redirect, auth, quota, not_found, bad_request, not_recorded. retry_after: seconds, where the server said
    so. maybe_paid: the server may have generated before it failed. raw: the beginning of what came, for the journal.
    """

    RETRYABLE = frozenset({
        "rate_limited", "overloaded", "server_error", "reset", "timeout", "refused", "cut_body", "bad_json",
        "bad_envelope",
    })  # fmt: skip

    def __init__(
        self,
        kind: str,
        reason: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        maybe_paid: bool = False,
        raw: str = "",
    ) -> None:
        super().__init__(f"{kind}: {reason}")
        self.kind, self.reason, self.status = kind, reason, status
        self.retry_after, self.maybe_paid, self.raw = retry_after, maybe_paid, raw

    @property
    def retryable(self) -> bool:
        return self.kind in self.RETRYABLE


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a shelf as a picklable spec: an import path `module:name` and the settings it is called with."""

    path: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> Any:
        """Import and call; a name that is a plain callable without settings is returned as it is when built lazily."""
        module, _, name = self.path.partition(":")
        try:
            made = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise UserMistake(f"cannot import {self.path}: {error}") from error
        try:
            inspect.signature(made).bind(**self.settings)
        except TypeError as error:
            raise UserMistake(f"{self.path}: {error}") from error
        return made(**self.settings)


@dataclass(frozen=True, slots=True)
class TeacherSpec:
    """A teacher (or judge) as the recipe hands it to a stage: the part that asks, and the terms it is asked under.

    endpoints: what `Request.endpoint` may say, one entry "" where the part knows its own. max_tokens: the limit its
    requests carry. patience: seconds without one sign of life until an endpoint counts as dead. family: base model
    lineage, for the report's kinship caveat. perplexity: threshold of the filter.
    """

    name: str
    part: Part
    model: str = ""
    endpoints: tuple[str, ...] = ("",)
    max_in_flight: int = 64
    price: Price | None = None
    budget_usd: float | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    timeout: float = 600.0
    patience: float = 600.0
    max_tokens: int = 32768
    thinking: Thinking = "optional"
    terms: Terms = "unknown"
    family: str = ""
    licence: str = ""
    perplexity: float = 20.0
    batch: bool = False


@dataclass(frozen=True, slots=True)
class Votes:
    """What the teachers' vote may do to references: supply missing ones, replace those that it goes against.

    teachers: that must agree at least. rounds: replies of each teacher that a missing one may wait for. categories:
    whose answers can be compared with each other.
    """

    missing: bool
    suspect: bool
    teachers: int
    rounds: int
    categories: tuple[str, ...]


@runtime_checkable
class Teacher(Protocol):
    """Makes one request and never retries; a judge is a teacher too. `close` is awaited when the loop ends."""

    name: str

    def identity(self, category: str) -> str:
        """Hash of model, revision, prompt and sampling for a category: what decides a reply beside the query."""
        ...

    def request(self, query: Query, attempt: int) -> Request:
        """Messages, sampling, limit and price bound. No I/O."""
        ...

    async def send(self, request: Request) -> Response:
        """Ask once. Raises Fault."""
        ...

    async def probe(self) -> None:
        """Ask for nothing that costs; raises Fault or UserMistake when the endpoint, key or model is wrong."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class Verifier(Protocol):
    """Pure and CPU only: runs in a worker with a deadline, and never does network I/O."""

    version: str

    def check(self, query: Query) -> Verdict:
        """Gold self-check, before money is spent: is the query's own reference there (else rule `no_reference`),
        readable, and accepted by this very verifier?"""
        ...

    def __call__(self, query: Query, response: Response) -> Verdict | Ask: ...

    def settle(self, query: Query, response: Response, reply: Response) -> Verdict | Ask:
        """The verdict once the judge has replied to this verifier's Ask; an Ask again where it could not be read."""
        ...


Source = Callable[[], Iterator[Query]]
QueryFilter = Callable[[Query], Verdict]
Filter = Callable[[Query, Response], Verdict]
