"""The index of one segment: a fixed-size row for each of its records, and the file NAME.idx that holds them.

In: entries as they are written, or a segment to read again. Out: rows as a numpy structured array with the names
they refer to. The file ends in a checksum; one that does not match its segment is made again from the segment.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import struct
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.records import Fault, Request, Response, content_hash
from stillhouse.store.entries import Entry, entry_of, from_json, to_json
from stillhouse.store.frames import Damage, scan
from stillhouse.store.segments import INDEX, SEGMENT, replaced

INTENT, REPLY, FAULT = 0, 1, 2  # codes of the column `kind`
NONE, STOP, LENGTH, STOPPED, OTHER = range(5)  # codes of the column `finish`; NONE: an intent or a fault
FINISH = {"stop": STOP, "length": LENGTH, "stopped": STOPPED}
COUNTED, MAYBE_PAID = 1, 2  # bits of the column `flags`
BATCH = "batch:"  # begins the endpoint of a request that stands in a batch file; the file's name follows

ROW = np.dtype([
    ("query", "S16"), ("prompt", "S16"), ("identity", "S16"), ("key", "S16"), ("created", "<f8"), ("cost_usd", "<f8"),
    ("frame", "<i8"), ("line", "<u4"), ("prompt_tokens", "<u4"), ("completion_tokens", "<u4"), ("max_tokens", "<u4"),
    ("attempt", "<u2"), ("retry", "<u2"), ("teacher", "<u2"), ("label", "<u2"), ("purpose", "u1"), ("kind", "u1"),
    ("finish", "u1"), ("flags", "u1"),
])  # fmt: skip
_PACK = struct.Struct("<16s16s16s16sddqIIIIHHHHBBBB")
assert _PACK.size == ROW.itemsize  # noqa: S101  two spellings of one layout

_MAGIC = b"\xffSX\x01"
_CHECKSUM_BYTES = 16


@functools.lru_cache(maxsize=8192)  # an intent and its reply name the same keys, and so do all of one teacher
def raw_key(key: str) -> bytes:
    """16 bytes of a key: its 32 hex digits decoded; a text that is no such key stands for itself by its hash."""
    if len(key) == 32:
        try:
            raw = bytes.fromhex(key)
        except ValueError:
            raw = b""
        if len(raw) == 16:  # fromhex passes over blanks
            return raw
    return bytes.fromhex(content_hash("foreign key", key))


class Names:
    """Codes for texts that repeat, in order of first use; what comes after the last code is `other`. Thread-safe."""

    def __init__(self, limit: int, names: Iterable[str] = ()) -> None:
        self._limit = limit
        self._codes = {name: code for code, name in enumerate(names)}
        self._lock = threading.Lock()

    def code(self, name: str) -> int:
        code = self._codes.get(name)
        if code is None:
            name = name[:200]
            with self._lock:
                if len(self._codes) >= self._limit - 1:
                    name = "other"
                code = self._codes.setdefault(name, len(self._codes))
        return code

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._codes))


class Packer:
    """Makes packed rows, whose frame and line are put in when they are known (`placed`).

    label: a fault's kind, a reply's finish reason as it came, an intent's batch file. Raises ValueError for
    an attempt above 65,535.
    """

    def __init__(self, teachers: Iterable[str] = (), labels: Iterable[str] = (), purposes: Iterable[str] = ()) -> None:
        self.teachers, self.labels = Names(1 << 16, teachers), Names(1 << 16, labels)
        self.purposes = Names(1 << 8, purposes)

    def intent(self, request: Request, *, retry: int, purpose: str, created: float) -> bytes:
        label = request.endpoint if request.endpoint.startswith(BATCH) else ""
        return self._asked(INTENT, request, retry, purpose, created, label, 0)

    def fault(self, request: Request, fault: Fault, *, retry: int, purpose: str, created: float) -> bytes:
        return self._asked(FAULT, request, retry, purpose, created, fault.kind, MAYBE_PAID * bool(fault.maybe_paid))

    def _asked(
        self, kind: int, request: Request, retry: int, purpose: str, created: float, label: str, flags: int
    ) -> bytes:
        return _PACK.pack(
            raw_key(request.query), raw_key(request.prompt), raw_key(request.identity), raw_key(request.key), created,
            _dollars(request.bound_usd), 0, 0, _u32(request.prompt_tokens), 0, _u32(request.max_tokens),
            _attempt(request.attempt), _retry(retry), self.teachers.code(request.teacher), self.labels.code(label),
            self.purposes.code(purpose), kind, NONE, flags,
        )  # fmt: skip

    def reply(self, response: Response, *, retry: int, purpose: str, created: float) -> bytes:
        return _PACK.pack(
            raw_key(response.query), raw_key(response.prompt), raw_key(response.identity), raw_key(response.key),
            response.created or created, _dollars(response.cost_usd), 0, 0, _u32(response.prompt_tokens),
            _u32(response.completion_tokens), _u32(response.max_tokens), _attempt(response.attempt), _retry(retry),
            self.teachers.code(response.teacher), self.labels.code(response.finish_reason),
            self.purposes.code(purpose), REPLY, FINISH.get(response.finish_reason, OTHER),
            COUNTED * bool(response.counted),
        )  # fmt: skip

    def entry(self, entry: Entry) -> bytes:
        """The row of an entry, where it stands."""
        told: dict[str, Any] = {"retry": entry.retry, "purpose": entry.purpose, "created": entry.created}
        if entry.kind == "reply":
            row = self.reply(entry.response, **told)
        elif entry.kind == "intent":
            row = self.intent(entry.request, **told)
        else:
            row = self.fault(entry.request, entry.fault, **told)
        return placed(row, entry.frame, entry.line)


_PLACE = struct.Struct("<qI")
_PLACE_AT = ROW.fields["frame"][1] if ROW.fields else 0


def placed(row: bytes, frame: int, line: int) -> bytes:
    """A packed row with the place of its record put in."""
    return row[:_PLACE_AT] + _PLACE.pack(frame, line) + row[_PLACE_AT + _PLACE.size :]


@dataclass(slots=True)
class SegmentRows:
    """Rows of one segment: packed bytes, and the packer that holds the names they refer to.

    end: bytes of the segment that the rows speak of. source: suffix of the file in which the records stand.
    """

    packer: Packer = field(default_factory=Packer)
    end: int = 0
    packed: bytearray = field(default_factory=bytearray)
    damage: list[Damage] = field(default_factory=list)
    source: str = SEGMENT

    def __len__(self) -> int:
        return len(self.packed) // ROW.itemsize


def _attempt(value: int) -> int:
    if not 0 <= value < 1 << 16:
        raise ValueError(f"an attempt is a number from 0 to 65,535, not {value}")
    return value


def _retry(value: int) -> int:
    return value if 0 <= value <= 0xFFFF else min(max(value, 0), 0xFFFF)


def _u32(value: int) -> int:
    if type(value) is int and 0 <= value <= 0xFFFF_FFFF:
        return value
    return min(max(int(value), 0), 0xFFFF_FFFF)  # a server's count may be anything


def _dollars(value: float | None) -> float:
    return math.nan if value is None else float(value)


def scan_segment(path: Path) -> SegmentRows:
    """Rows of a segment, read from the segment itself; `end` is where its last intact frame ends."""
    rows, name = SegmentRows(), path.name.removesuffix(SEGMENT)
    for frame in scan(path, rows.damage):
        rows.end = frame.end
        try:
            lines = frame.lines()
        except ValueError as error:
            rows.damage.append(Damage(path.name, frame.offset, frame.end - frame.offset, str(error)))
            continue
        for number, line in enumerate(lines):
            try:
                rows.packed += rows.packer.entry(entry_of(line, name, frame.offset, number))
            except (ValueError, KeyError, TypeError, struct.error) as error:
                reason = f"line {number} is no record of this version: {error}"
                rows.damage.append(Damage(path.name, frame.offset, frame.end - frame.offset, reason))
    return rows


def write_index(segment: Path, rows: SegmentRows) -> None:
    """Write NAME.idx beside a segment, durably and at once."""
    head = to_json({
        "end": rows.end, "rows": len(rows), "teachers": list(rows.packer.teachers),
        "labels": list(rows.packer.labels), "purposes": list(rows.packer.purposes), "source": rows.source,
        "damage": [[d.segment, d.offset, d.length, d.reason] for d in rows.damage],
    })  # fmt: skip
    start = _MAGIC + len(head).to_bytes(4, "little") + head
    digest = hashlib.blake2b(start, digest_size=_CHECKSUM_BYTES)
    digest.update(rows.packed)
    with replaced(segment.with_suffix(INDEX)) as temporary, temporary.open("wb") as file:
        file.write(start)
        file.write(rows.packed)
        file.write(digest.digest())


def read_index(segment: Path) -> SegmentRows | None:
    """The index beside a segment, None when there is none or it is not intact."""
    try:
        with segment.with_suffix(INDEX).open("rb") as file:
            data = bytearray(os.fstat(file.fileno()).st_size)
            del data[file.readinto(data) :]
    except FileNotFoundError:
        return None
    checksum = bytes(data[-_CHECKSUM_BYTES:])
    del data[-_CHECKSUM_BYTES:]
    if data[:4] != _MAGIC or hashlib.blake2b(data, digest_size=_CHECKSUM_BYTES).digest() != checksum:
        return None
    length = int.from_bytes(data[4:8], "little")
    head = from_json(bytes(data[8 : 8 + length]))
    del data[: 8 + length]  # without a copy: what is left is the rows
    return SegmentRows(
        packer=Packer(head["teachers"], head["labels"], head["purposes"]), end=head["end"],
        packed=data,
        damage=[Damage(*told) for told in head["damage"]], source=head["source"],
    )  # fmt: skip
