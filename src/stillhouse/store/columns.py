"""Queries column by column: what a source hands on and curate works on, ten times cheaper than a record a row.

In: columns of a file that was read, or Query records. Out: lists of equal length, keys in bulk, and the Query of any
row. Nothing is decided here.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stillhouse.records import Message, Query

Turns = tuple[Message, ...]
_ONE_TURN = len("user").to_bytes(8, "little") + b"user"  # how content_hash begins for a single turn of the user


@dataclass(slots=True)
class QueryColumns:
    """n queries. turns: None where the query is one turn of the user, which is `text`; else all turns. keys: "" where
    the key is still to be made. The other lists are the fields of Query."""

    text: list[str] = field(default_factory=list)
    turns: list[Turns | None] = field(default_factory=list)
    category: list[str] = field(default_factory=list)
    id: list[str | None] = field(default_factory=list)
    source: list[str] = field(default_factory=list)
    system: list[str | None] = field(default_factory=list)
    ground_truth: list[str | None] = field(default_factory=list)
    test_case: list[Mapping[str, Any] | None] = field(default_factory=list)
    instruction_constrain: list[Mapping[str, Any] | None] = field(default_factory=list)
    origin: list[str] = field(default_factory=list)
    extra: list[Mapping[str, Any] | None] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.text)

    def add(self, query: Query) -> None:
        """Append a record."""
        turns = query.messages
        self.text.append(query.text)
        self.turns.append(None if len(turns) == 1 and turns[0].role == "user" else turns)
        self.keys.append(query.key)
        for name in _FIELDS:
            getattr(self, name).append(getattr(query, name))

    def extend(self, other: QueryColumns) -> None:
        """Append all rows of other columns."""
        for name in ("text", "turns", "keys", *_FIELDS):
            getattr(self, name).extend(getattr(other, name))

    def head(self, rows: int) -> QueryColumns:
        """The first rows."""
        return QueryColumns(**{name: getattr(self, name)[:rows] for name in ("text", "turns", "keys", *_FIELDS)})

    def query(self, row: int) -> Query:
        """The record of a row."""
        return Query(
            self.messages(row), self.category[row], self.id[row], self.source[row], self.system[row],
            self.ground_truth[row], self.test_case[row], self.instruction_constrain[row], self.origin[row],
            self.extra[row], self.keys[row],
        )  # fmt: skip

    def messages(self, row: int) -> Turns:
        """All turns of a row."""
        turns = self.turns[row]
        return (Message("user", self.text[row]),) if turns is None else turns

    def make_keys(self) -> NDArray[np.uint64]:
        """Fill in the keys that are missing; all keys as (n, 2) numbers, the upper 64 bits first."""
        for row, (key, turns) in enumerate(zip(self.keys, self.turns, strict=True)):
            if not key and turns is not None:
                self.keys[row] = Query(turns, self.category[row]).key
        raw = b"".join(
            [bytes.fromhex(key) if key else one_turn_key(text) for key, text in zip(self.keys, self.text, strict=True)]
        )
        every = raw.hex()
        self.keys = [every[at : at + 32] for at in range(0, len(every), 32)]
        return np.frombuffer(raw, ">u8").reshape(-1, 2).astype(np.uint64)


@dataclass(slots=True)
class QueryTexts:
    """The texts of n queries as arrow arrays: user: all turns of the user; last: the last one (the same array where
    all are single turns). sizes: bytes of all turns; code: whether of category code. notes: what filters keep here."""

    user: pa.Array
    last: pa.Array
    sizes: NDArray[np.int64]
    code: NDArray[np.bool_]
    notes: dict[str, Any] = field(default_factory=dict)


_FIELDS = (
    "category",
    "id",
    "source",
    "system",
    "ground_truth",
    "test_case",
    "instruction_constrain",
    "origin",
    "extra",
)


def one_turn_key(text: str) -> bytes:
    """The 16 bytes of `query_key` of one turn of the user."""
    plain = text if text.isascii() else unicodedata.normalize("NFC", text)
    data = plain.strip().encode("utf-8", "surrogatepass")
    return hashlib.blake2b(_ONE_TURN + len(data).to_bytes(8, "little") + data, digest_size=16).digest()


def nones(count: int) -> list[None]:
    """A column without values."""
    return [None] * count


def same(values: Sequence[Any]) -> bool:
    """Whether a column holds one value throughout."""
    return not values or values.count(values[0]) == len(values)
