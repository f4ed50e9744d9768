"""Everything a journal knows without its texts: one numpy column per fact, over all replies, intents and faults.

In: one or several folders of segments. Out: an Index; a run's state is looked up in it, vectorised. Sealed segments
are read from their index files, the others from their frames. Loading never writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.store.compacted import scan_parquet
from stillhouse.store.frames import Damage
from stillhouse.store.rows import (
    COUNTED,
    LENGTH,
    MAYBE_PAID,
    REPLY,
    ROW,
    STOPPED,
    Names,
    SegmentRows,
    raw_key,
    read_index,
    scan_segment,
)
from stillhouse.store.segments import INDEX, PARQUET, SEGMENT, as_folders, is_live, segment_names

Array = NDArray[Any]
_COLUMNS = [name for name in ROW.names or () if name not in ("query", "prompt", "identity", "key", "flags")]
_CODED = ("teacher", "label", "purpose")
_WHO = ("query", "prompt", "identity", "key")
_BLOCK = 65_536  # keys that are compared at once: what that takes for a moment is then small
_WHO_BYTES = 64  # a row begins with these four


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """One segment of an index: rows[start:stop] are its. live: a process was writing it when it was read."""

    name: str
    folder: Path
    start: int
    stop: int
    live: bool
    source: str

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}{self.source}"


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """A column of values that repeat, as keys do in an intent and its outcome: row r holds values[codes[r]].

    Indexed it gives an array, and so does np.asarray; == and != tell row by row, as those of every column.
    """

    codes: Array
    values: Array

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Any) -> Any:
        return self.values[self.codes[rows]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        found: Array = self.values[self.codes]
        return found if dtype is None else found.astype(dtype)

    def __eq__(self, other: object) -> Array:  # type: ignore[override]
        found: Array = np.asarray(self) == (np.asarray(other) if isinstance(other, Coded) else other)
        return found

    def __ne__(self, other: object) -> Array:  # type: ignore[override]
        return ~(self == other)

    __hash__ = None  # type: ignore[assignment]

    def __iter__(self) -> Iterator[Any]:
        return (self.values[code] for code in self.codes)

    def take(self, rows: Array) -> Coded:
        """The rows that a mask or row numbers choose."""
        return Coded(self.codes[rows], self.values)

    def tolist(self) -> list[Any]:
        found: list[Any] = np.asarray(self).tolist()
        return found

    def among(self, wanted: Array) -> Array:
        """Which rows hold one of the wanted keys (S16)."""
        found: Array = is_among(self.values, wanted)[self.codes]
        return found


class SortedKeys:
    """Keys (S16, ascending, distinct but for those whose first place is meant) that are looked up many at a time."""

    def __init__(self, keys: Array) -> None:
        self._high, self._low = _half(keys, 0), _half(keys, 1)
        self._apart = not (self._high[1:] == self._high[:-1]).any()

    def find(self, wanted: Array) -> Array:
        """Position of each wanted key (S16), or -1: int64."""
        out = np.full(len(wanted), -1, dtype=np.int64)
        for start in range(0, len(wanted) if len(self._high) else 0, _BLOCK):
            high, low = halves(wanted[start : start + _BLOCK])
            position = np.searchsorted(self._high, high)
            if not self._apart:
                position += self._further(position, high, low)
            position = np.minimum(position, len(self._high) - 1)
            there = (self._high[position] == high) & (self._low[position] == low)
            out[start : start + _BLOCK] = np.where(there, position, -1)
        return out

    def _further(self, position: Array, high: Array, low: Array) -> Array:
        """How far behind the first key of the same upper half each one stands."""
        ends = np.searchsorted(self._high, high, side="right")
        out = np.zeros(len(position), np.int64)
        for row in np.flatnonzero(ends - position > 1).tolist():
            out[row] = np.searchsorted(self._low[position[row] : ends[row]], low[row])
        return out


@dataclass(slots=True)
class Index:
    """Columns over n records in the order they were written, segment by segment.

    query, prompt, identity, key: S16 raw bytes (`rows.raw_key`). kind: rows.INTENT, REPLY, FAULT. finish: rows.NONE,
    STOP, LENGTH, STOPPED, OTHER. cost_usd: dollars of a reply, the bound of an intent or fault; nan where unpriced.
    teacher, purpose, label: codes into teachers, purposes, labels (label: finish reason as it came, kind of fault, or
    batch file of an intent). segment: position in `segments`; frame and line: where the record stands in it.
    """

    query: Coded
    prompt: Coded
    identity: Coded
    key: Coded
    created: Array
    cost_usd: Array
    frame: Array
    line: Array
    prompt_tokens: Array
    completion_tokens: Array
    max_tokens: Array
    attempt: Array
    retry: Array
    teacher: Array
    label: Array
    purpose: Array
    kind: Array
    finish: Array
    counted: Array
    maybe_paid: Array
    segment: Array
    teachers: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    segments: tuple[SegmentInfo, ...] = ()
    damage: tuple[Damage, ...] = ()
    _by_key: tuple[Array, Array] | None = field(default=None, repr=False)  # distinct keys, sorted, and best rows

    def __len__(self) -> int:
        return len(self.kind)

    def rows(
        self,
        *,
        kind: int | None = REPLY,
        identity: str | None = None,
        teacher: str | None = None,
        purpose: str | None = None,
    ) -> Array:
        """Row numbers, ascending, of what matches all that is given."""
        keep = np.ones(len(self), dtype=bool) if kind is None else self.kind == kind
        if identity is not None:
            keep &= self.identity.among(np.array([raw_key(identity)], "S16"))
        for wanted, names, column in ((teacher, self.teachers, self.teacher), (purpose, self.purposes, self.purpose)):
            if wanted is not None:
                keep &= column == names.index(wanted) if wanted in names else False
        return np.flatnonzero(keep)

    def replies(self, identity: str) -> Array:
        """Rows of all replies of one identity, in the order they came."""
        return self.rows(identity=identity)

    def lookup(
        self, identity: str, prompts: Array, *, attempts: int, limit: int | Sequence[int] | None = None
    ) -> Array:
        """State of one identity over prompt keys: int64 (len(prompts), attempts), the row of the valid reply or -1.

        Column c is attempt c + 1. prompts: S16, ascending and distinct (`raw_keys`). limit: the max_tokens that would
        be asked now, one or one per prompt; a reply truncated or stopped under a lower limit is then no answer. Of
        several replies a finished one is taken before a stopped or truncated one, then the higher limit, the earlier.
        """
        out = np.full((len(prompts), attempts), -1, dtype=np.int64)
        rows = self.replies(identity)
        rows = rows[(self.attempt[rows] >= 1) & (self.attempt[rows] <= attempts)]
        position = find_sorted(prompts, self.prompt[rows])
        rows, position = rows[position >= 0], position[position >= 0]
        cell = position * attempts + self.attempt[rows] - 1
        rows, cell = self._best(rows, cell)
        if limit is not None:
            enough = self._valid(rows, np.broadcast_to(np.asarray(limit), (len(prompts),))[cell // attempts])
            rows, cell = rows[enough], cell[enough]
        out.reshape(-1)[cell] = rows
        return out

    def find(self, keys: Sequence[str] | Array, *, limit: int | None = None) -> Array:
        """The row of the valid reply of each key, or -1: int64 (len(keys),). Keys as texts or as S16."""
        wanted = keys if isinstance(keys, np.ndarray) and keys.dtype.kind == "S" else raw_keys(keys)
        held, best = self.best_replies()
        position = find_sorted(held, wanted)
        if not len(best):
            return position
        found = position >= 0
        if limit is not None:
            found &= self._valid(best[position], np.full(len(position), limit))
        return np.where(found, best[position], -1)

    def best_replies(self) -> tuple[Array, Array]:
        """The distinct keys of all replies (S16, ascending), and the row of the best reply of each."""
        if self._by_key is None:
            rows = self.rows()
            order, new = by_key(self.key[rows])
            rows = rows[order]
            if not new.all():
                rows, _ = self._best(rows, np.cumsum(new))
            self._by_key = (self.key[rows], rows)
        return self._by_key

    def _valid(self, rows: Array, limits: Array) -> Array:
        """Which replies answer a request with these limits."""
        valid: Array = ~self.unfinished(rows) | (self.max_tokens[rows] >= limits)
        return valid

    def unfinished(self, rows: Array) -> Array:
        """Which of the rows were truncated by their limit or stopped by us."""
        unfinished: Array = (self.finish[rows] == LENGTH) | (self.finish[rows] == STOPPED)
        return unfinished

    def _best(self, rows: Array, cell: Array) -> tuple[Array, Array]:
        """The best reply of each cell: a finished one, else that of the highest limit; of equals the earliest.

        No reply of a cell answers for a limit for which the best one does not.
        """
        if not len(rows):
            return rows, cell
        unfinished = self.unfinished(rows)
        order = np.lexsort((rows, -self.max_tokens[rows].astype(np.int64) * unfinished, unfinished, cell))
        ordered = cell[order]
        first = np.ones(len(order), dtype=bool)
        first[1:] = ordered[1:] != ordered[:-1]
        return rows[order][first], ordered[first]

    def key_text(self, row: int) -> str:
        """The key of a row as hex digits."""
        return hex_key(self.key[row])


def hex_key(value: bytes) -> str:
    """Hex digits of an S16 value; numpy drops its closing zero bytes, which are put back here."""
    return bytes(value).ljust(16, b"\0").hex()


def raw_keys(keys: Sequence[str] | Array) -> Array:
    """Keys as texts -> S16 raw bytes, in the given order."""
    return np.frombuffer(b"".join(map(raw_key, keys)), dtype="S16")


def find_sorted(held: Array, wanted: Array) -> Array:
    """Position in `held` (S16, ascending, distinct) of each wanted key, or -1: int64."""
    if len(held) and len(wanted) <= 1000:
        position = np.minimum(np.searchsorted(held, wanted), len(held) - 1)
        return np.where(held[position] == wanted, position, -1)
    return SortedKeys(held).find(wanted)  # 8 bytes at a time are compared several times as fast as 16


def halves(keys: Array) -> tuple[Array, Array]:
    """S16 keys as two numbers each, the upper 64 bits and the lower: they sort as the keys do."""
    return _half(keys, 0), _half(keys, 1)


def _half(keys: Array, which: int) -> Array:
    found: Array = np.ascontiguousarray(keys).view(">u8")[which::2].astype("u8")
    return found


def by_key(keys: Array) -> tuple[Array, Array]:
    """The order that sorts keys (S16; equal ones keep theirs), and which of the sorted ones differ from the one before.

    The upper 8 bytes decide nearly always: sorting by them alone takes a third of the time.
    """
    high = _half(keys, 0)
    order = np.argsort(high, kind="stable")
    high = high[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = high[1:] != high[:-1]
    if new.all():
        return order, new
    low = _half(keys, 1)
    differ = np.diff(low[order]) != 0
    if (~new[1:] & differ).any():
        order = np.lexsort((low, _half(keys, 0)))
        high, differ = _half(keys, 0)[order], np.diff(low[order]) != 0
        new[1:] = (high[1:] != high[:-1]) | differ
    return order, new


def is_among(keys: Array, wanted: Array) -> Array:
    """Which keys are one of the wanted ones: bool (len(keys),). Both S16, in any order."""
    if len(wanted) <= 16:
        found = np.zeros(len(keys), dtype=bool)
        for one in wanted:
            found |= keys == one
        return found
    high = _half(wanted, 0)
    if not (high[1:] > high[:-1]).all():
        order, new = by_key(wanted)
        wanted = wanted[order[new]]
    return find_sorted(wanted, keys) >= 0


def load_index(folders: Path | Sequence[Path]) -> Index:
    """Index of all segments of the folders, each segment once, ordered by the time it was begun."""
    found: dict[str, Path] = {}
    for folder in as_folders(folders):
        for name in segment_names(folder):
            found.setdefault(name, folder)
    room = sum(_rows_expected(folder / name) for name, folder in found.items())
    columns = _Columns(room)
    for name in sorted(found):
        rows, live = load_segment(found[name], name)
        columns.add(name, found[name], rows, live)
    return columns.index()


def load_segment(folder: Path, name: str) -> tuple[SegmentRows, bool]:
    """Rows of one segment, from its index file where that holds good, and whether the segment is being written."""
    path, parquet = folder / f"{name}{SEGMENT}", folder / f"{name}{PARQUET}"
    for _ in range(3):  # a segment may be sealed, or compacted and removed, while we look
        rows = read_index(path)
        if rows is not None and rows.source == PARQUET and parquet.exists():
            return rows, False
        try:
            live = is_live(path)
            if rows is not None and rows.end == path.stat().st_size:
                return rows, False
            rows = scan_segment(path)
        except FileNotFoundError:
            continue
        if live:  # its tail is being written
            rows.damage = [d for d in rows.damage if d.reason != "torn tail"]
        return rows, live
    if parquet.exists():
        return scan_parquet(parquet), False
    # without an index it was empty, and removed when its writer closed
    lost = [] if rows is None else [Damage(path.name, 0, 0, "the segment is gone")]
    return SegmentRows(damage=lost), False


def _rows_expected(stem: Path) -> int:
    try:
        return stem.with_name(stem.name + INDEX).stat().st_size // ROW.itemsize
    except FileNotFoundError:
        return 1024


class _Columns:
    """Columns that are filled segment by segment, so that memory holds them once."""

    def __init__(self, room: int) -> None:
        self._size = 0
        self._held = {name: np.empty(room, dtype=ROW[name]) for name in _COLUMNS}
        self._held |= {"counted": np.empty(room, bool), "maybe_paid": np.empty(room, bool)}
        self._held |= {"segment": np.empty(room, dtype="<u4"), "who": np.empty(room, dtype="<u4")}
        self._names = {name: Names(1 << (8 * ROW[name].itemsize)) for name in _CODED}
        self._identities: dict[bytes, int] = {}
        kinds = {name: "<u4" if name == "identity" else "S16" for name in _WHO}
        self._who = {name: np.empty(room, kinds[name]) for name in _WHO}  # room that stays empty takes no memory
        self._known = 0  # rows of _who
        self._segments: list[SegmentInfo] = []
        self._damage: list[Damage] = []

    def add(self, name: str, folder: Path, rows: SegmentRows, live: bool) -> None:
        array = np.frombuffer(rows.packed, dtype=ROW)
        start, stop = self._size, self._size + len(array)
        if stop > len(self._held["kind"]):
            room = max(stop, len(self._held["kind"]) * 5 // 4)
            self._held = {n: np.resize(column[:start], room) for n, column in self._held.items()}
            self._who = {n: np.resize(column[: self._known], room) for n, column in self._who.items()}
        for at in range(start, stop, _BLOCK):
            self._held["who"][at : min(at + _BLOCK, stop)] = self._told_apart(array[at - start : at - start + _BLOCK])
        held = self._held
        for column in _COLUMNS:
            held[column][start:stop] = array[column]
        packer = rows.packer
        own_names = (("teacher", packer.teachers), ("label", packer.labels), ("purpose", packer.purposes))
        for column, own in own_names:
            codes = np.array([self._names[column].code(name) for name in own], dtype=ROW[column])
            held[column][start:stop] = codes[array[column]] if len(codes) else 0
        held["counted"][start:stop] = (array["flags"] & COUNTED) != 0
        held["maybe_paid"][start:stop] = (array["flags"] & MAYBE_PAID) != 0
        held["segment"][start:stop] = len(self._segments)
        self._segments.append(SegmentInfo(name, folder, start, stop, live, rows.source))
        self._damage += rows.damage
        self._size = stop

    def _told_apart(self, array: Array) -> Array:
        """Codes of the four keys of each row: those near each other that share all four share a code."""
        keys = np.ascontiguousarray(array.view(np.uint8).reshape(-1, ROW.itemsize)[:, :_WHO_BYTES])
        order = np.argsort(keys.view("<u8")[:, -1], kind="stable")  # half of the reply's key, the last of the four
        words = keys.view("<u8")[order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = (words[1:] != words[:-1]).any(axis=1)
        first, place = order[new], slice(self._known, self._known + int(new.sum()))
        for name in ("query", "prompt", "key"):
            self._who[name][place] = array[name][first]
        self._who["identity"][place] = self._coded(array["identity"][first])
        codes = np.empty(len(array), np.int64)
        codes[order] = np.cumsum(new) - 1 + self._known
        self._known += len(first)
        return codes

    def _coded(self, identities: Array) -> Array:
        """Codes of identities, of which a journal has few."""
        order, new = by_key(identities)
        held = self._identities
        own = np.array([held.setdefault(one, len(held)) for one in identities[order[new]].tolist()], "<u4")
        codes = np.empty(len(identities), "<u4")
        codes[order] = own[np.cumsum(new) - 1]
        return codes

    def index(self) -> Index:
        columns: dict[str, Any] = {name: column[: self._size] for name, column in self._held.items()}
        columns |= {f"{name}s": tuple(held) for name, held in self._names.items()}
        who, told = columns.pop("who"), {name: held[: self._known] for name, held in self._who.items()}
        columns |= {name: Coded(who, told[name]) for name in ("query", "prompt", "key")}
        columns["identity"] = Coded(told["identity"][who], np.array(list(self._identities), "S16"))
        return Index(**columns, segments=tuple(self._segments), damage=tuple(self._damage))
