"""Reads compacted segments: the journal's records with a typed column for every field.

In: NAME.replies.parquet. Out: the entries that NAME.journal held, with the frame and line at which each stood there,
so that an index made before the compaction stays good. A record that columns cannot hold exactly (lone surrogates,
integers above 64 bits) has its JSON beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stillhouse.records import Response
from stillhouse.store.entries import FAULT_FIELDS, REQUEST_FIELDS, Entry, from_json, to_json
from stillhouse.store.rows import SegmentRows
from stillhouse.store.segments import PARQUET
from stillhouse.store.tables import RESPONSES, exact_columns, read_rows, to_table

_RESPONSE = tuple(f.name for f in fields(Response))
_FAULT = {"kind": pa.string(), "reason": pa.string(), "status": pa.int64(), "retry_after": pa.float64(),
          "maybe_paid": pa.bool_(), "raw": pa.string()}  # fmt: skip
_HEAD = {"frame": pa.int64(), "line": pa.int64(), "record": pa.string(), "purpose": pa.string(), "retry": pa.int64(),
         "journaled": pa.float64()}  # fmt: skip

JOURNAL = pa.schema([
    *(pa.field(name, kind, nullable=False) for name, kind in _HEAD.items()),
    *(pa.field(name, RESPONSES.field(name).type) for name in _RESPONSE),
    pa.field("bound_usd", pa.float64()), pa.field("endpoint", pa.string()),
    *(pa.field(f"fault_{name}", kind) for name, kind in _FAULT.items()),
    pa.field("json", pa.binary()),
])  # fmt: skip
"""One record a row. record: intent, reply or fault; journaled: when it was written; json: the record, where needed."""

REPEATING = (
    "record", "purpose", "retry", "teacher", "identity", "attempt", "finish_reason", "prompt_tokens", "model",
    "max_tokens", "thinking", "bound_usd", "endpoint", "fault_kind", "fault_reason", "fault_status",
)  # fmt: skip
"""Columns in which values repeat; frame repeats too, but is a number that is cheaper without a dictionary."""


def row_of(entry: Entry) -> dict[str, Any]:
    """Every value that its column holds exactly; where one does not fit, the whole record as JSON beside them."""
    given: Mapping[str, Any]
    if entry.kind == "reply":
        given, wanted = entry.record["response"], _RESPONSE_SET
    elif entry.kind == "intent":
        given, wanted = entry.record["request"], _REQUEST_SET
    else:
        fault = {f"fault_{name}": value for name, value in entry.record["fault"].items()}
        given, wanted = entry.record["request"] | fault, _FAULT_SET
    exact = given.keys() == wanted
    row: dict[str, Any] = {}
    for name, value in given.items():
        if value is None or (name in wanted and _FITS[name](value)):
            row[name] = value
        else:
            exact = False
    if not exact:
        row = {name: value for name, value in row.items() if name in wanted}
    row["frame"], row["line"], row["record"], row["purpose"] = entry.frame, entry.line, entry.kind, entry.purpose
    row["retry"], row["journaled"], row["json"] = entry.retry, entry.created, None if exact else to_json(entry.record)
    return row


def table_of(entries: Sequence[Entry]) -> pa.Table:
    """Entries as a table of JOURNAL, in their order: column by column, and as `row_of` has them where one is odd."""
    plain: dict[str, tuple[list[int], list[tuple[Any, ...]]]] = {kind: ([], []) for kind in _LAYOUTS}
    odd: list[int] = []
    for number, entry in enumerate(entries):
        values = _plain_values(entry)
        if values is None:
            odd.append(number)
        else:
            numbers, rows = plain[entry.kind]
            numbers.append(number)
            rows.append(values)
    order, tables = list[int](), list[pa.Table]()
    for kind, (numbers, rows) in plain.items():
        made = exact_columns(rows, _LAYOUTS[kind], JOURNAL) if rows else None
        if made is not None:
            order += numbers
            tables.append(made)
        else:  # a value that its column does not hold exactly, or none of the kind
            odd += numbers
    if odd:
        order += odd
        tables.append(to_table([row_of(entries[number]) for number in odd], JOURNAL))
    if not tables:
        return JOURNAL.empty_table()
    return pa.concat_tables(tables).take(pa.array(np.argsort(order))) if len(tables) > 1 else tables[0]


def _plain_values(entry: Entry) -> tuple[Any, ...] | None:
    """The values of a record of this version in the order of its layout, None for any other record."""
    record = entry.record
    head = (entry.frame, entry.line, entry.kind, entry.purpose, entry.retry, entry.created)
    if entry.kind == "reply":
        given = record["response"]
        return (*head, *given.values()) if tuple(given) == _RESPONSE else None
    given = record["request"]
    if tuple(given) != REQUEST_FIELDS:
        return None
    if entry.kind == "intent":
        return (*head, *given.values())
    fault = record["fault"]
    return (*head, *given.values(), *fault.values()) if tuple(fault) == FAULT_FIELDS else None


_LAYOUTS: dict[str, tuple[str, ...]] = {
    "intent": (*_HEAD, *REQUEST_FIELDS),
    "reply": (*_HEAD, *_RESPONSE),
    "fault": (*_HEAD, *REQUEST_FIELDS, *(f"fault_{name}" for name in FAULT_FIELDS)),
}


def _is_text(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        return value.isascii() or bool(value.encode())
    except UnicodeEncodeError:
        return False


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63


def _is_real(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 53)


def _check(kind: pa.DataType) -> Callable[[Any], bool]:
    if pa.types.is_string(kind):
        return _is_text
    return _is_flag if pa.types.is_boolean(kind) else _is_whole if pa.types.is_integer(kind) else _is_real


_FITS = {field.name: _check(field.type) for field in JOURNAL}
_RESPONSE_SET, _REQUEST_SET = frozenset(_RESPONSE), frozenset(REQUEST_FIELDS)
_FAULT_SET = _REQUEST_SET | {f"fault_{name}" for name in FAULT_FIELDS}


def entry_of_row(row: Mapping[str, Any], segment: str) -> Entry:
    kind = row["record"]
    record: dict[str, Any]
    if row["json"] is not None:
        record = from_json(row["json"])
    elif kind == "reply":
        record = {"response": {name: row[name] for name in _RESPONSE}}
    else:
        record = {"request": {name: row[name] for name in REQUEST_FIELDS}}
        if kind == "fault":
            record["fault"] = {name: row[f"fault_{name}"] for name in FAULT_FIELDS}
    return Entry(kind, row["purpose"], row["retry"], row["journaled"], segment, row["frame"], row["line"], record)


def parquet_entries(parquet: Path, name: str | None = None) -> Iterator[Entry]:
    """Every record of a compacted segment, in its order."""
    segment = name or parquet.name.removesuffix(PARQUET)
    for row in read_rows(parquet, batch_rows=256):
        yield entry_of_row(row, segment)


def scan_parquet(parquet: Path) -> SegmentRows:
    """Rows of a compacted segment, read from its parquet: its index was lost together with the segment."""
    rows = SegmentRows(source=PARQUET)
    for entry in parquet_entries(parquet):
        rows.packed += rows.packer.entry(entry)
    return rows


class CompactedSegment:
    """Reads single frames of a compacted segment, keeping the row group read last."""

    def __init__(self, parquet: Path) -> None:
        self._name = parquet.name.removesuffix(PARQUET)
        self._file = pq.ParquetFile(parquet)
        metadata = self._file.metadata
        column = JOURNAL.get_field_index("frame")
        statistics: list[Any] = [
            metadata.row_group(n).column(column).statistics for n in range(metadata.num_row_groups)
        ]
        self._ranges: list[tuple[int, int]] = [(int(s.min), int(s.max)) if s else (0, 1 << 62) for s in statistics]
        self._group: tuple[int, dict[int, dict[int, Entry]]] = (-1, {})

    def frame(self, offset: int) -> dict[int, Entry]:
        """Line -> record of the frame that stood at an offset of the segment. Raises ValueError without it."""
        found: dict[int, Entry] = {}
        for number, (low, high) in enumerate(self._ranges):
            if low <= offset <= high:
                found |= self._read(number).get(offset, {})
        if not found:
            raise ValueError("no such frame")
        return found

    def _read(self, number: int) -> dict[int, dict[int, Entry]]:
        if self._group[0] != number:
            frames: dict[int, dict[int, Entry]] = {}
            for row in self._file.read_row_group(number).to_pylist():
                frames.setdefault(row["frame"], {})[row["line"]] = entry_of_row(row, self._name)
            self._group = (number, frames)
        return self._group[1]

    def close(self) -> None:
        self._file.close()
