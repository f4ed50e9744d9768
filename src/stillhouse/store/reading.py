"""Texts of the journal: every record in order, or chosen replies without reading the rest.

In: folders of segments, or rows of an Index. Out: entries and responses. What cannot be read is appended to the
caller's list of Damage, or logged as a warning where none is given: never passed over in silence.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from stillhouse.records import Response
from stillhouse.store.compacted import CompactedSegment, parquet_entries
from stillhouse.store.entries import Entry, entry_of
from stillhouse.store.frames import Damage, read_frame, scan
from stillhouse.store.index import Index, SegmentInfo
from stillhouse.store.segments import INDEX, PARQUET, SEGMENT, as_folders, is_live, segment_names

log = logging.getLogger("stillhouse.store")
_BLOCK = 512  # rows whose texts are in memory at once
_FRAMES = 4  # frames kept decompressed


def read_entries(folders: Path | Sequence[Path], *, damage: list[Damage] | None = None) -> Iterator[Entry]:
    """Every intact record of the folders, segment by segment, in the order they were written."""
    found: dict[str, Path] = {}
    for folder in as_folders(folders):
        for name in segment_names(folder):
            found.setdefault(name, folder)
    for name in sorted(found):
        yield from read_segment(found[name], name, damage=damage)


def read_segment(folder: Path, name: str, *, damage: list[Damage] | None = None) -> Iterator[Entry]:
    """Every intact record of one segment, from its frames, or from its parquet where only that is left."""
    path, parquet = folder / f"{name}{SEGMENT}", folder / f"{name}{PARQUET}"
    told: list[Damage] = []
    if path.exists():
        live = is_live(path)
        for frame in scan(path, told):
            try:
                for number, line in enumerate(frame.lines()):
                    yield entry_of(line, name, frame.offset, number)
            except ValueError as error:
                told.append(Damage(path.name, frame.offset, frame.end - frame.offset, str(error)))
        told = [d for d in told if not (live and d.reason == "torn tail")]
    elif parquet.exists():
        yield from parquet_entries(parquet)
    elif path.with_suffix(INDEX).exists():  # without an index it was empty, and removed when its writer closed
        told.append(Damage(path.name, 0, 0, "the segment is gone"))
    _tell(told, damage)


def read_responses(
    index: Index, rows: Sequence[int] | NDArray[Any], *, damage: list[Damage] | None = None
) -> Iterator[Response]:
    """The responses of chosen reply rows of an index, in the given order.

    A reply whose frame is damaged is left out and told, so match by `key` rather than by position. Raises ValueError
    for a row that is no reply. Cheapest when rows stand in ascending order.
    """
    wanted = np.asarray(rows, dtype=np.int64)
    frames = _Frames(index)
    try:
        for start in range(0, len(wanted), _BLOCK):
            block = wanted[start : start + _BLOCK]
            found: dict[int, Response] = {}
            for row in np.unique(block).tolist():
                entry = frames.entry(row, damage)
                if entry is not None:
                    found[row] = entry.response
            for row in block.tolist():
                if row in found:
                    yield found[row]
    finally:
        frames.close()


def read_replies(
    index: Index, rows: NDArray[Any], *, damage: list[Damage] | None = None
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(row, the reply's fields as they were journaled) of chosen reply rows, ascending: no Response is made.

    A reply whose frame is damaged is left out and told. Raises ValueError for a row that is no reply.
    """
    frames = _Frames(index)
    try:
        for row in rows.tolist():
            entry = frames.entry(row, damage)
            if entry is not None:
                if entry.kind != "reply":
                    raise ValueError(f"the journal's {entry.kind} of {entry.key} holds no response")
                yield row, entry.record["response"]
    finally:
        frames.close()


class _Frames:
    """Opens segments and frames as rows ask for them, and keeps the last few frames decompressed."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._kept: OrderedDict[tuple[int, int], list[bytes] | dict[int, Entry] | None] = OrderedDict()
        self._number = -1
        self._file: BinaryIO | CompactedSegment | None = None

    def entry(self, row: int, damage: list[Damage] | None) -> Entry | None:
        number, offset = int(self._index.segment[row]), int(self._index.frame[row])
        line, info = int(self._index.line[row]), self._index.segments[number]
        if (number, offset) not in self._kept:
            self._kept[number, offset] = self._read(number, info, offset, damage)
            if len(self._kept) > _FRAMES:
                self._kept.popitem(last=False)
        held = self._kept[number, offset]
        if held is None:
            return None
        return held[line] if isinstance(held, dict) else entry_of(held[line], info.name, offset, line)

    def _read(
        self, number: int, info: SegmentInfo, offset: int, damage: list[Damage] | None
    ) -> list[bytes] | dict[int, Entry] | None:
        try:
            file = self._open(number, info)
            return file.frame(offset) if isinstance(file, CompactedSegment) else read_frame(file, offset)
        except (OSError, ValueError) as error:
            _tell([Damage(info.path.name, offset, 0, str(error))], damage)
            return None

    def _open(self, number: int, info: SegmentInfo) -> BinaryIO | CompactedSegment:
        if self._file is None or self._number != number:
            self.close()
            try:
                self._file = (info.folder / f"{info.name}{SEGMENT}").open("rb")
            except FileNotFoundError:  # compacted and removed, perhaps after the index was loaded
                self._file = CompactedSegment(info.folder / f"{info.name}{PARQUET}")
            self._number = number
        return self._file

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _tell(told: list[Damage], damage: list[Damage] | None) -> None:
    if damage is not None:
        damage += told
        return
    for one in told:
        log.warning("left out: %s", one)
