"""The verdicts that count for a run, one a reply, as numpy columns.

In: the table of all verdicts, the versions that the recipe froze, those of today. Out: for each reply the verdict of
the frozen version, else today's; verdicts of other versions stand beside and decide nothing until they are adopted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stillhouse.store.index import Coded, by_key
from stillhouse.store.queries import QueryTable, raw_keys
from stillhouse.store.verdicts import verdict_parts

Array = NDArray[Any]
_PART_ROWS = 16_384
_WORDS = ("identity", "verifier", "version", "outcome", "rule")  # columns of few different texts
COLUMNS = ("response", "prompt", "identity", "reference", "attempt", "verifier", "version", "outcome", "rule", "score",
           "transient")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Known:
    """Columns over n verdicts. key: of the reply; reference, identity, prompt, key: S16; score: nan without one."""

    key: Array
    prompt: Array
    identity: Coded
    reference: Array
    attempt: Array
    verifier: Coded
    outcome: Coded
    rule: Coded
    score: Array

    def __len__(self) -> int:
        return len(self.key)

    def only(self, keep: Array) -> Known:
        """The rows that a mask or row numbers choose."""
        held: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        chosen: dict[str, Any] = {n: c.take(keep) if isinstance(c, Coded) else c[keep] for n, c in held.items()}
        return Known(**chosen)


def verdicts_by_reply(table: pa.Table, frozen: Mapping[str, str], today: Mapping[str, str]) -> Known:
    """One row a reply. table: verdicts with COLUMNS at least, perhaps with those that were replaced.

    Transient unknowns are left out: they will be judged again.
    """
    return _by_reply([table.select(list(COLUMNS))], frozen, today)


def load_known(folders: Path | Sequence[Path], frozen: Mapping[str, str], today: Mapping[str, str]) -> Known:
    """The same of a set of verdicts on disk, a piece at a time: of a million they never stand in memory as texts."""
    return _by_reply(verdict_parts(folders, columns=COLUMNS, part_rows=_PART_ROWS, coded=_WORDS), frozen, today)


def _by_reply(parts: Iterable[pa.Table], frozen: Mapping[str, str], today: Mapping[str, str]) -> Known:
    names: dict[str, dict[str | None, int]] = {name: {} for name in ("identity", "verifier", "outcome", "rule")}
    held: dict[str, list[Array]] = {name: [] for name in (*(f.name for f in fields(Known)), "rank")}
    for part in parts:
        rank = _ranks(part, frozen, today)
        rows = np.flatnonzero(rank < 2)
        held["rank"].append(rank[rows])
        for name, given in (("key", "response"), ("prompt", "prompt"), ("reference", "reference")):
            held[name].append(_raw(part[given])[rows])
        for name, codes in names.items():
            held[name].append(_codes(part[name], codes)[rows])
        held["attempt"].append(part["attempt"].to_numpy()[rows].astype(np.int32))
        held["score"].append(part["score"].to_numpy()[rows].astype(np.float64))
    rank, key = _joined("rank", held.pop("rank")), _joined("key", held.pop("key"))
    rows = _first_of_each(key, rank)
    joined: dict[str, Any] = {"key": key[rows]}
    del key, rank
    for name in list(held):
        joined[name] = _joined(name, held.pop(name))[rows]
    words = {name: np.array(list(codes), dtype=object) for name, codes in names.items()}
    words["identity"] = raw_keys([str(word) for word in names["identity"]])
    return Known(**joined | {name: Coded(joined[name], values) for name, values in words.items()})


def _ranks(part: pa.Table, frozen: Mapping[str, str], today: Mapping[str, str]) -> Array:
    """0: of the frozen version; 1: of today's, or by form alone; 2: decides nothing."""
    names: dict[str | None, int] = {}
    versions: dict[str | None, int] = {}
    verifier, version = _codes(part["verifier"], names), _codes(part["version"], versions)
    rank = np.full(len(part), 2, np.int8)
    for word, code in names.items():
        name, mine = str(word), verifier == code
        rank[mine & (version == versions.get(today.get(name, ""), -1))] = 1
        rank[mine & (version == versions.get(frozen.get(name, today.get(name, "")), -1))] = 0
        if name == "structure":
            rank[mine] = 1  # by form alone: what it says holds until a verifier has judged a finished reply
    rank[part["transient"].to_numpy()] = 2
    return rank


def _first_of_each(key: Array, rank: Array) -> Array:
    """Rows, by key: of each key the one of the lowest rank, of several such the last."""
    order, new = by_key(key)
    if new.all():
        return order
    number = np.empty(len(order), np.int64)
    number[order] = np.cumsum(new)
    rows = np.arange(len(key))
    order = np.lexsort((-rows, rank, number))
    number = number[order]
    first: Array = order[np.concatenate([[True], number[1:] != number[:-1]])]
    return first


_KINDS = {"key": "S16", "prompt": "S16", "reference": "S16", "attempt": "<i4", "score": "<f8", "rank": "i1"}


def _joined(name: str, parts: list[Array]) -> Array:
    kind = _KINDS.get(name, "<i4")
    return np.concatenate(parts) if parts else np.empty(0, kind)


def on_todays_references(known: Known, table: QueryTable) -> Known:
    """Those verdicts that are on a query of the table with the reference that it has today."""
    positions = table.positions(known.prompt)
    there = positions >= 0
    there[there] &= (known.verifier[there] == "structure") | (
        known.reference[there] == table.references[positions[there]]
    )
    return known.only(there)


def _codes(column: pa.ChunkedArray, known: dict[str | None, int]) -> Array:
    """Few different words as codes; those that are new are added to the known ones."""
    out = [np.empty(0, np.int32)]
    for chunk in column.chunks:
        words = chunk if isinstance(chunk, pa.DictionaryArray) else chunk.dictionary_encode()
        own = np.array([known.setdefault(word, len(known)) for word in words.dictionary.to_pylist()], np.int32)
        if len(words):
            out.append(own[words.indices.to_numpy()])
    return np.concatenate(out)


def _raw(column: pa.ChunkedArray) -> Array:
    """Hex keys as S16, chunk by chunk: a million texts of their own would take 80 MB."""
    held = b"".join(_unhexed(part) for part in _parts(column))
    return np.frombuffer(held, dtype="S16")


def _unhexed(part: pa.Array) -> bytes:
    """The bytes of hex digits; all at once from arrow's own buffer, where every text has its 32 of them."""
    offsets, data = part.buffers()[1:]
    ends = np.frombuffer(offsets, np.int32)[part.offset : part.offset + len(part) + 1]
    if data is None or part.null_count or not (np.diff(ends) == 32).all():
        return bytes.fromhex("".join(part.to_pylist()))
    return bytes.fromhex(data[int(ends[0]) : int(ends[-1])].to_pybytes().decode("ascii"))


def _parts(column: pa.ChunkedArray) -> Iterator[pa.Array]:
    for chunk in column.chunks:
        for start in range(0, len(chunk), _PART_ROWS):
            yield chunk.slice(start, _PART_ROWS)
