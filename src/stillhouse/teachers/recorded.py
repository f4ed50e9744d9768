"""Replays replies that were recorded before: a file of them is a teacher like any other, and costs nothing again.

In: a JSONL file (or rows) of {query | messages | key | id, response | text, reasoning, model, finish_reason, usage,
cost_usd, attempt}; messages may end in the reply, as may ShareGPT's conversations. Out: Responses; the attempts of a
query are its rows in their order. An attempt that was not recorded is a Fault of kind `not_recorded`, which no retry
mends. Texts stay on disk until they are asked for.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from stillhouse.records import (
    Fault,
    Message,
    Query,
    Request,
    Response,
    Terms,
    Thinking,
    UserMistake,
    canonical_json,
    content_hash,
    query_key,
    response_key,
)
from stillhouse.teachers.prompts import estimate_tokens
from stillhouse.teachers.replies import Usage, finish_reason, reasoning_of, text_of, usage_of
from stillhouse.teachers.settings import read_price, read_terms

_TEXTS = ("response", "text", "content", "answer", "answer_content")
_THOUGHTS = ("reasoning", "reasoning_content", "thinking", "think_content")
_SPEAKERS = {"human": "user", "gpt": "assistant"}
_MOST_TOLD = 20


@dataclass(slots=True)
class _Rows:
    """Where the attempts of each query are: rows themselves, or (offset, length) in the file."""

    places: dict[str, dict[int, Any]] = field(default_factory=dict)
    digest: str = ""
    count: int = 0


class Recorded:
    """Recorded replies behind a teacher's name. Give `path` (a JSONL file) or `rows`.

    Rows are found by the query's key, else its text, else its id. price: dollars per million tokens, for a cost where a
    row has none; without it the cost is what the row says, or null. model: for the rows that name none.
    """

    def __init__(
        self,
        name: str,
        path: str | None = None,
        *,
        rows: Iterable[Mapping[str, Any]] | None = None,
        model: str = "recorded",
        revision: str = "",
        price: Any = None,
        terms: Terms | bool = "unknown",
        family: str = "",
        thinking: Thinking = "optional",
        max_tokens: int = 1_000_000,
    ) -> None:
        problems: list[str] = []
        where = f"teacher {name}"
        if (path is None) == (rows is None):
            problems.append(f"{where}: give either path, a JSONL file of recorded replies, or rows")
        if path is not None and not Path(path).is_file():
            problems.append(f"{where}: there is no file {path}")
        self.name, self.model, self.revision = name, model, revision
        self.price, self.terms = read_price(price, where, problems), read_terms(terms, where, problems)
        if problems:
            raise UserMistake(*problems)
        self.family, self.thinking, self.max_tokens = family, thinking, max_tokens
        self.endpoints = (f"recorded://{name}",)
        self._path = None if path is None else Path(path)
        self._given = None if rows is None else list(rows)
        self._index: _Rows | None = None

    def identity(self, category: str) -> str:
        """Hash of the model and of all that was recorded; the same for every category. Reads the file once."""
        return content_hash("recorded", self.model, self.revision, self._rows().digest)

    def request(self, query: Query, attempt: int, *, max_tokens: int | None = None) -> Request:
        """The file is read at the first call, to know what it holds; nothing is sent anywhere."""
        identity = self.identity(query.category)
        return Request(
            key=response_key(identity, query.prompt_key, attempt),
            query=query.key,
            prompt=query.prompt_key,
            teacher=self.name,
            identity=identity,
            attempt=attempt,
            messages=query.messages,
            sampling={},
            max_tokens=max_tokens or self.max_tokens,
            model=self.model,
            # what was recorded is paid: nothing is to be reserved for it
            bound_usd=0.0 if self.price is not None and self.price.per_hour is None else None,
            extra=None if query.id is None else {"id": query.id},
        )

    async def send(self, request: Request) -> Response:
        """The recorded reply. Raises Fault not_recorded."""
        places = self._rows().places
        user = str((request.extra or {}).get("id", ""))
        attempts = places.get(request.query) or places.get(f"id:{user}" if user else "") or {}
        place = attempts.get(request.attempt)
        if place is None:
            known = f"has {len(attempts)} of this query" if attempts else "does not know this query"
            raise Fault("not_recorded", f"{self.name} {known}; attempt {request.attempt} was not recorded")
        return self._response(request, self._read(place))

    async def probe(self) -> None:
        """Read the file. Raises UserMistake with the line numbers of what cannot be used."""
        self._rows()

    async def close(self) -> None:
        """Nothing is held open."""

    def _rows(self) -> _Rows:
        if self._index is None:
            self._index = self._read_all()
        return self._index

    def _read_all(self) -> _Rows:
        found, problems = _Rows(), list[str]()
        digests: list[str] = []
        alike: dict[str, list[str]] = {}  # what is wrong -> where
        for where, place, row in self._every_row(problems):
            keys = _keys_of(row)
            if not keys:
                alike.setdefault("the row has none of query, messages, key and id", []).append(where)
            elif _text_of(row) is None:
                fields = f"none of {', '.join(_TEXTS)}, and no last assistant turn in messages"
                alike.setdefault(f"the row has no reply: {fields}", []).append(where)
            else:
                digests.append(content_hash(canonical_json(row)))
                found.count += 1
                for key in keys:
                    _add(found.places.setdefault(key, {}), row.get("attempt"), place)
            if len(problems) >= _MOST_TOLD:
                problems.append("there may be more")
                break
        for what, places in alike.items():
            more = f" (and {len(places) - 1} rows more, the last at {places[-1]})" if len(places) > 1 else ""
            problems.append(f"{places[0]}: {what}{more}")
        if not found.count and not problems:
            problems.append(f"teacher {self.name}: {self._path or 'rows'} holds no replies")
        if problems:
            raise UserMistake(*problems)
        found.digest = content_hash(*digests)
        return found

    def _every_row(self, problems: list[str]) -> Iterator[tuple[str, Any, dict[str, Any]]]:
        """(where it stands, how to find it again, the row)."""
        if self._path is None:
            for number, row in enumerate(self._given or (), 1):
                yield f"teacher {self.name}: row {number}", row, dict(row)
            return
        offset = 0
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                place, offset = (offset, len(line)), offset + len(line)
                if not line.strip():
                    continue
                where = f"{self._path}:{number}"
                try:
                    row = orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    problems.append(f"{where}: not JSON: {error}")
                    continue
                if not isinstance(row, dict):
                    problems.append(f"{where}: a row is a JSON object, not {type(row).__name__}")
                    continue
                yield where, place, row

    def _read(self, place: Any) -> Mapping[str, Any]:
        if self._path is None:
            return dict(place)
        offset, length = place
        with self._path.open("rb") as file:
            file.seek(offset)
            try:
                row = orjson.loads(file.read(length))
            except orjson.JSONDecodeError as error:
                raise Fault("bad_json", f"{self._path} changed while it was being read: {error}") from None
        return dict(row)

    def _response(self, request: Request, row: Mapping[str, Any]) -> Response:
        text = _text_of(row) or ""
        thoughts = next((row[name] for name in _THOUGHTS if isinstance(row.get(name), str) and row[name]), None)
        message = row.get("message")
        if message is None and not any(isinstance(row.get(name), str) for name in _TEXTS):
            message = next(iter(_turns_of(row)[-1:]), None)
        if thoughts is None and isinstance(message, Mapping) and message.get("role", "assistant") == "assistant":
            thoughts = reasoning_of(message)
        usage = usage_of(row.get("usage")) if isinstance(row.get("usage"), Mapping) else usage_of(row)
        prompt, completion, counted = _tokens(request, usage, text, thoughts)
        cost = row.get("cost_usd")
        if not isinstance(cost, int | float) or isinstance(cost, bool):
            cost = self.price.cost(prompt, completion, usage.cached or 0, usage.thinking or 0) if self.price else None
        return Response(
            key=request.key,
            query=request.query,
            teacher=self.name,
            text=text,
            prompt=request.prompt,
            identity=request.identity,
            attempt=request.attempt,
            reasoning=thoughts,
            finish_reason=finish_reason(row.get("finish_reason", "stop")) or "missing",
            prompt_tokens=prompt,
            completion_tokens=completion,
            thinking_tokens=usage.thinking,
            cached_tokens=usage.cached,
            counted=counted,
            cost_usd=None if cost is None else float(cost),
            model=str(row.get("model") or self.model),
            max_tokens=request.max_tokens,
            created=time.time(),
            thinking=self.thinking,
        )


def _tokens(request: Request, usage: Usage, text: str, thoughts: str | None) -> tuple[int, int, bool]:
    prompt = usage.prompt
    if prompt is None:
        prompt = sum(estimate_tokens(message.content) for message in request.messages)
    completion = usage.completion
    if completion is None:
        completion = estimate_tokens(text) + estimate_tokens(thoughts or "")
    return prompt, completion, usage.prompt is None or usage.completion is None


def _add(attempts: dict[int, Any], number: Any, place: Any) -> None:
    """Rows that say their attempt go there; the others take the next free number from 1 on, in their order."""
    if isinstance(number, int) and not isinstance(number, bool) and number >= 1 and number not in attempts:
        attempts[number] = place
        return
    free = 1
    while free in attempts:
        free += 1
    attempts[free] = place


def _turns_of(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The turns of `messages`, or of ShareGPT's `conversations`, as {role, content, ..}."""
    messages = row.get("messages")
    if isinstance(messages, list):
        return [turn for turn in messages if isinstance(turn, Mapping) and isinstance(turn.get("content"), str)]
    turns = row.get("conversations")
    found = [turn for turn in turns if isinstance(turn, Mapping)] if isinstance(turns, list) else []
    return [
        {"role": _SPEAKERS.get(str(turn.get("from")), str(turn.get("from"))), "content": turn["value"]}
        for turn in found
        if isinstance(turn.get("value"), str)
    ]


def _keys_of(row: Mapping[str, Any]) -> list[str]:
    """Under what a row is found: its query's key where it can be known, and its id."""
    keys: list[str] = []
    turns = _turns_of(row)
    if isinstance(row.get("key"), str) and row["key"]:
        keys.append(row["key"])
    elif isinstance(row.get("query"), str):
        keys.append(query_key((Message("user", row["query"]),)))
    else:
        while turns and turns[-1].get("role") == "assistant":
            turns.pop()
        if turns:
            keys.append(query_key([Message(str(turn.get("role")), turn["content"]) for turn in turns]))
    if isinstance(row.get("id"), str | int) and str(row["id"]):
        keys.append(f"id:{row['id']}")
    return keys


def _text_of(row: Mapping[str, Any]) -> str | None:
    """The reply in a row; None where there is none. A thought without an answer is a reply, and an empty answer."""
    for name in _TEXTS:
        if isinstance(row.get(name), str):
            return str(row[name])
    message = row.get("message")
    if isinstance(message, Mapping):
        return text_of(message)
    turns = _turns_of(row)
    if turns and turns[-1].get("role") == "assistant":
        return str(turns[-1]["content"])
    return "" if any(isinstance(row.get(name), str) and row[name] for name in _THOUGHTS) else None
