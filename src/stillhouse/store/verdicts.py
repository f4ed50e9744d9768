"""The verdict log: what verifiers said, appended as it comes, loaded as one table.

In: VerdictRows. Out: segments of frames (frames.py) in a folder, compacted to parquet when the log closes. No fsync
but at the close: a verdict that a power cut takes is made again from the journal. Of several verdicts with one key
(response, verifier, version, reference) the last one stands: an unknown that could be settled later is replaced.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stillhouse.records import Outcome, Query, Response, Verdict, canonical_json
from stillhouse.store.entries import from_json, to_json
from stillhouse.store.frames import Damage, FrameEncoder, scan
from stillhouse.store.segments import as_folders, claimed, create_locked, is_live, new_segment_name, remove_abandoned
from stillhouse.store.tables import ROWS_IN_GROUP, VERDICTS, TableWriter, conform, exact_columns, to_table

log = logging.getLogger("stillhouse.store")
LOG, PARQUET = ".verdicts", ".verdicts.parquet"
_FRAME_ROWS, _FRAME_SECONDS = 1024, 2.0
_KEY = ("response", "verifier", "version", "reference")


@dataclass(slots=True)
class VerdictRow:
    """A Verdict with its key; see tables.VERDICTS."""

    query: str
    prompt: str
    teacher: str
    identity: str
    attempt: int
    response: str
    verifier: str
    version: str
    reference: str
    outcome: Outcome
    score: float | None
    rule: str
    reason: str = ""
    passed: int | None = None
    total: int | None = None
    transient: bool = False
    detail: str | None = None
    judge: str | None = None
    created: float = 0.0

    @staticmethod
    def of(
        query: Query, response: Response, verdict: Verdict, *, verifier: str, version: str, judge: str | None = None
    ) -> VerdictRow:
        """The row of a verdict that was given now. judge: key of the judge's reply, where one was asked."""
        return VerdictRow(
            query=query.key, prompt=response.prompt, teacher=response.teacher, identity=response.identity,
            attempt=response.attempt, response=response.key, verifier=verifier, version=version,
            reference=query.reference, outcome=verdict.outcome, score=verdict.score, rule=verdict.rule,
            reason=verdict.reason, passed=verdict.passed, total=verdict.total, transient=verdict.transient,
            detail=None if verdict.detail is None else canonical_json(verdict.detail), judge=judge,
            created=time.time(),
        )  # fmt: skip

    @property
    def verdict(self) -> Verdict:
        """The Verdict in it."""
        detail = None if self.detail is None else json.loads(self.detail)
        return Verdict(
            self.outcome, self.score, self.rule, self.reason, self.passed, self.total, self.transient, detail
        )


_FIELDS = tuple(f.name for f in fields(VerdictRow))


class VerdictLog:
    """Appends to a set of verdicts. Thread-safe; `with VerdictLog(run.verdicts) as log: log.append(row)`.

    Rows reach the kernel every 1,024 rows or 2 s of appending, and at `flush`; closing compacts the log to parquet.
    """

    def __init__(self, folder: Path, *, name: str = "log") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        compact_verdicts(folder)  # what a killed process left
        self._path = folder / f"{new_segment_name(name)}{LOG}"
        self._file = os.fdopen(create_locked(self._path), "wb", buffering=0)
        self._encoder = FrameEncoder(os.urandom(8))
        self._lines: list[bytes] = []
        self._flushed = time.monotonic()
        self._lock = threading.Lock()
        self._open = True

    def append(self, row: VerdictRow) -> None:
        """Append one verdict. Raises OSError when the log cannot be written, ValueError after close."""
        line = to_json(row)
        with self._lock:
            if not self._open:
                raise ValueError(f"the verdict log of {self.folder} is closed")
            self._lines.append(line)
            if len(self._lines) >= _FRAME_ROWS or time.monotonic() - self._flushed > _FRAME_SECONDS:
                self._flush()

    def flush(self) -> None:
        """Hand what was appended to the kernel, so that readers see it."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        if self._lines:
            frame = memoryview(self._encoder.encode(self._lines))
            while frame:
                frame = frame[self._file.write(frame) :]
            self._lines.clear()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Write what is left and compact the log to parquet. May be called twice."""
        with self._lock:
            if not self._open:
                return
            self._open = False
            self._flush()
            os.fsync(self._file.fileno())
            self._file.close()
        compact_verdicts(self.folder)

    def __enter__(self) -> VerdictLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def compact_verdicts(folder: Path) -> list[Path]:
    """Turn every log of a folder that nobody writes into parquet; returns the files made. Damage is logged."""
    made = []
    remove_abandoned(folder)
    for path in sorted(folder.glob(f"*{LOG}")):
        with claimed(path) as ours:
            if not ours:
                continue
            parquet = path.with_suffix(PARQUET)
            damage: list[Damage] = []
            with TableWriter(parquet, VERDICTS) as out:
                for table in _gathered(_log_tables(path, damage), ROWS_IN_GROUP):
                    out.write(table)
            for one in damage:
                log.warning("verdicts left out, they will be made again: %s", one)
            if not out.count:
                parquet.unlink()
            path.unlink()
            made += [parquet] if out.count else []
    return made


def _log_tables(path: Path, damage: list[Damage]) -> Iterator[pa.Table]:
    """The rows of each intact frame."""
    for frame in scan(path, damage):
        try:
            rows = [from_json(line) for line in frame.lines()]
        except ValueError as error:
            damage.append(Damage(path.name, frame.offset, frame.end - frame.offset, str(error)))
            continue
        yield _table_of(rows)


def _table_of(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows of a log as a table of VERDICTS: at once where each is of this version and fits its columns."""
    if all(tuple(row) == _FIELDS for row in rows):
        made = exact_columns([tuple(row.values()) for row in rows], _FIELDS, VERDICTS)
        if made is not None:
            return made
    return to_table([{name: row[name] for name in _FIELDS if name in row} for row in rows], VERDICTS)


def _gathered(tables: Iterable[pa.Table], rows: int | None) -> Iterator[pa.Table]:
    """Tables of at least so many rows each, but for the last one; None: all in one."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if rows is not None and sum(map(len, held)) >= rows:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def load_verdicts(
    folders: Path | Sequence[Path],
    *,
    damage: list[Damage] | None = None,
    every: bool = False,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """All verdicts of one set (or of several folders) as a table of VERDICTS; of each key the last one.

    Reads logs that are being written as far as they are flushed. every: keep those that were replaced, too. columns:
    those alone (with every), as a million verdicts with all of theirs take a gigabyte.
    damage: what could not be read is appended here, or logged without it.
    """
    tables = list(verdict_parts(folders, damage=damage, columns=columns))
    if not tables:
        return VERDICTS.empty_table()
    table = pa.concat_tables(tables)
    return table if every else _last(table)


def verdict_parts(
    folders: Path | Sequence[Path],
    *,
    damage: list[Damage] | None = None,
    columns: Sequence[str] | None = None,
    part_rows: int | None = None,
    coded: Sequence[str] = (),
) -> Iterator[pa.Table]:
    """The same in pieces, in the order they were written; with part_rows of about as many rows. coded: columns of few
    different texts, which parquet hands out as dictionaries."""
    found: dict[str, Path] = {}
    for suffix in (LOG, PARQUET):
        for folder in as_folders(folders):
            for path in folder.glob(f"*{suffix}"):
                found.setdefault(path.name.removesuffix(suffix), folder)
    told: list[Damage] = []
    for name in sorted(found):
        try:
            yield from _log_parts(found[name] / f"{name}{LOG}", told, columns, part_rows)
        except FileNotFoundError:  # compacted, perhaps while we looked
            yield from _parquet_parts(found[name] / f"{name}{PARQUET}", columns, part_rows, coded)
    if damage is not None:
        damage += told
    for one in told if damage is None else ():
        log.warning("verdicts left out, they will be made again: %s", one)


def _log_parts(
    path: Path, told: list[Damage], columns: Sequence[str] | None, part_rows: int | None
) -> Iterator[pa.Table]:
    live, found = is_live(path), list[Damage]()
    for table in _gathered(_log_tables(path, found), part_rows):
        yield table if columns is None else table.select(list(columns))
    told += [d for d in found if not (live and d.reason == "torn tail")]


def _parquet_parts(
    path: Path, columns: Sequence[str] | None, part_rows: int | None, coded: Sequence[str]
) -> Iterator[pa.Table]:
    try:
        file = pq.ParquetFile(path, read_dictionary=list(coded))
        columns = None if columns is None else list(columns)
    except FileNotFoundError:  # nothing was in it
        return
    with file:
        if part_rows is None:
            table = file.read(columns)
            yield conform(table, VERDICTS) if columns is None else table
            return
        groups = range(file.num_row_groups)
        few = max(1, part_rows // ROWS_IN_GROUP)
        for first in groups[::few]:  # a fifth of the memory that iter_batches takes
            yield file.read_row_groups(list(groups[first : first + few]), columns=columns, use_threads=False)


def _last(table: pa.Table) -> pa.Table:
    keyed = table.select(list(_KEY)).append_column("row", pa.array(np.arange(table.num_rows)))
    last = keyed.group_by(list(_KEY), use_threads=False).aggregate([("row", "max")])["row_max"]
    return table.take(pa.array(np.sort(last.to_numpy())))


def verdict_rows(table: pa.Table) -> Iterator[VerdictRow]:
    """Rows of a table of VERDICTS as records."""
    for batch in table.to_batches(max_chunksize=1024):
        for row in batch.to_pylist():
            yield VerdictRow(**{name: row[name] for name in _FIELDS})
