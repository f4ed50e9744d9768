"""Records of the journal as lines of JSON, and back.

In: requests before they are sent, responses, faults. Out: one line each, and from a line an Entry. An intent keeps of
its request what identifies and prices it, not the messages (the queries are in the run folder). Text is kept exactly,
lone surrogates included.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from stillhouse.records import Fault, Request, Response

Kind = Literal["intent", "reply", "fault"]
KINDS: tuple[Kind, ...] = ("intent", "reply", "fault")

REQUEST_FIELDS = (
    "key", "query", "prompt", "teacher", "identity", "attempt", "max_tokens", "model", "prompt_tokens", "bound_usd",
    "endpoint",
)  # fmt: skip
_RESPONSE_FIELDS = frozenset(f.name for f in dataclasses.fields(Response))
FAULT_FIELDS = ("kind", "reason", "status", "retry_after", "maybe_paid", "raw")


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of the journal and where it stands: segment name, offset of its frame, line in the frame.

    record: the decoded JSON: `response`, or `request` and perhaps `fault`. created: seconds since 1970.
    """

    kind: Kind
    purpose: str
    retry: int
    created: float
    segment: str
    frame: int
    line: int
    record: Mapping[str, Any]

    @property
    def key(self) -> str:
        return str(self.record["response" if self.kind == "reply" else "request"]["key"])

    @property
    def text_bytes(self) -> int:
        """About how much of memory its record takes: its texts, and a little for all the rest."""
        given = self.record["response"] if self.kind == "reply" else self.record.get("fault", {})
        return 512 + sum(len(given[n]) for n in ("text", "reasoning", "raw") if isinstance(given.get(n), str))

    @property
    def response(self) -> Response:
        """The reply. Raises ValueError for an intent or a fault."""
        if self.kind != "reply":
            raise ValueError(f"the journal's {self.kind} of {self.key} holds no response")
        return response_of(self.record)

    @property
    def request(self) -> Request:
        """The request of an intent or a fault, without messages and sampling."""
        if self.kind == "reply":
            raise ValueError(f"the journal's reply {self.key} holds no request; its intent does")
        return Request(messages=(), sampling={}, **self.record["request"])

    @property
    def fault(self) -> Fault:
        """What went wrong. Raises ValueError for an intent or a reply."""
        if self.kind != "fault":
            raise ValueError(f"the journal's {self.kind} of {self.key} holds no fault")
        given = self.record["fault"]
        return Fault(given["kind"], given["reason"], **{n: given[n] for n in FAULT_FIELDS[2:] if n in given})


def intent_line(request: Request, *, retry: int, purpose: str, created: float) -> bytes:
    return _line("intent", retry, purpose, created, request=_request(request))


def reply_line(response: Response, *, retry: int, purpose: str, created: float) -> bytes:
    return _line("reply", retry, purpose, created, response=response)


def fault_line(request: Request, fault: Fault, *, retry: int, purpose: str, created: float) -> bytes:
    told = {name: getattr(fault, name) for name in FAULT_FIELDS}
    return _line("fault", retry, purpose, created, request=_request(request), fault=told)


def entry_of(line: bytes, segment: str, frame: int, number: int) -> Entry:
    """The entry of a line. Raises ValueError when the line is no record of a journal."""
    record = from_json(line)
    try:
        pop = record.pop
        kind, purpose, retry, created = pop("kind"), pop("purpose"), pop("retry"), pop("created")
    except (KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"not a record of a journal: {error!r}") from error
    if kind not in KINDS:
        raise ValueError(f"a record of unknown kind {kind!r}")
    return Entry(kind, purpose, retry, created, segment, frame, number, record)


def response_of(record: Mapping[str, Any]) -> Response:
    """The Response of a reply's record; fields of a later version are left out."""
    given = record["response"]
    return Response(**{name: value for name, value in given.items() if name in _RESPONSE_FIELDS})


def _request(request: Request) -> dict[str, Any]:
    return {  # spelled out: this stands on the way of every request
        "key": request.key, "query": request.query, "prompt": request.prompt, "teacher": request.teacher,
        "identity": request.identity, "attempt": request.attempt, "max_tokens": request.max_tokens,
        "model": request.model, "prompt_tokens": request.prompt_tokens, "bound_usd": request.bound_usd,
        "endpoint": request.endpoint,
    }  # fmt: skip


def _line(kind: Kind, retry: int, purpose: str, created: float, **record: Any) -> bytes:
    return to_json({"kind": kind, "purpose": purpose, "retry": retry, "created": created, **record})


_SLOW = b" "  # begins a line that only the standard library reads back as it was


def to_json(value: Any) -> bytes:
    """One line of JSON for any value of JSON types and dataclasses, whatever stands in its texts."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # lone surrogates or integers above 64 bits, both from hostile servers
        return _SLOW + json.dumps(value, default=dataclasses.asdict).encode("ascii")


def from_json(line: bytes) -> Any:
    """The value of a line of to_json. Raises ValueError."""
    return json.loads(line) if line[:1] == _SLOW else orjson.loads(line)
