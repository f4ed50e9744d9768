"""Sealed segments to parquet: read back at once, and compared record by record before a segment may be removed.

In: sealed segments of a journal folder. Out: NAME.replies.parquet beside each (compacted.py). Segments stay
unless their removal is asked for; then the index says that the parquet stands for them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stillhouse.store.compacted import JOURNAL, REPEATING, parquet_entries, table_of
from stillhouse.store.entries import Entry
from stillhouse.store.reading import read_segment
from stillhouse.store.rows import read_index, write_index
from stillhouse.store.segments import PARQUET, SEGMENT, fsync_folder, is_live
from stillhouse.store.tables import TableWriter

GROUP_BYTES, GROUP_ROWS = 4 << 20, 4096  # of records whose texts are in memory at once


class CompactionError(Exception):
    """A parquet file does not say what its segment says; the segment stays."""


def compact(folder: Path, *, remove: bool = False) -> list[Path]:
    """Make NAME.replies.parquet for each sealed segment of a folder that has none; returns the files made.

    What is written is read back against its checksums. remove: also compare each parquet with its segment, record by
    record, and delete the segment, unless it is damaged. Raises CompactionError when what was read back differs.
    """
    made: list[Path] = []
    for segment in sorted(folder.glob(f"*{SEGMENT}")):
        rows = read_index(segment)
        if rows is None or rows.source != SEGMENT or rows.end != segment.stat().st_size or is_live(segment):
            continue
        parquet = segment.with_suffix(PARQUET)
        if not parquet.exists():
            _make(segment, parquet, compared=remove)
            made.append(parquet)
        elif remove:
            _compare(segment, parquet)
        if remove and not rows.damage:
            rows.source = PARQUET
            write_index(segment, rows)
            segment.unlink()
            fsync_folder(folder)
    return made


def _make(segment: Path, parquet: Path, *, compared: bool) -> None:
    part = parquet.with_name(f".{parquet.name}.part")
    with TableWriter(part, JOURNAL, repeating=REPEATING) as out:
        for group in _groups(_entries(segment)):
            out.write(table_of(group))
    if compared:
        _compare(segment, part)
    else:
        _read_back(part, out.count, segment)
    part.replace(parquet)
    fsync_folder(parquet.parent)


def _groups(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    """Entries as they are written together: about GROUP_BYTES of text, or GROUP_ROWS."""
    group: list[Entry] = []
    size = 0
    for entry in entries:
        group.append(entry)
        size += entry.text_bytes
        if size >= GROUP_BYTES or len(group) >= GROUP_ROWS:
            yield group
            group, size = [], 0
    if group:
        yield group


def _read_back(parquet: Path, count: int, segment: Path) -> None:
    """Every page by its checksum, and as many rows as were written: the disk holds what we gave it."""
    found = 0
    try:
        with pq.ParquetFile(parquet, page_checksum_verification=True) as file:
            for number in range(file.num_row_groups):
                found += file.read_row_group(number, use_threads=False).num_rows
    except (OSError, pa.ArrowInvalid) as error:
        raise CompactionError(f"{parquet} cannot be read back ({error}); {segment.name} stays") from error
    if found != count:
        raise CompactionError(f"{parquet} holds {found} of {count} records; {segment.name} stays")


def _compare(segment: Path, parquet: Path) -> None:
    pairs = itertools.zip_longest(_entries(segment), parquet_entries(parquet, segment.name.removesuffix(SEGMENT)))
    for number, (told, held) in enumerate(pairs):
        if told != held:
            raise CompactionError(f"{parquet}: record {number} is not what {segment.name} says; the segment stays")


def _entries(segment: Path) -> Iterator[Entry]:
    """Intact records; the damage of a segment is in its index and was told when it was sealed."""
    return read_segment(segment.parent, segment.name.removesuffix(SEGMENT), damage=[])
