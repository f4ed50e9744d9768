"""Parquet tables of a run: their strict schemas, rows to records and back, atomic writing, reading in batches.

In: records, rows as dicts, arrow tables. Out: parquet files that stand whole or not at all (temporary file, fsync,
rename), with small row groups, so that memory is bounded by a batch. Columns without a value are explicit nulls.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stillhouse.records import Message, Query, Response, canonical_json
from stillhouse.store.segments import replaced

ROWS_IN_GROUP = 4096
BYTES_IN_GROUP = 16 << 20

_MESSAGES = pa.list_(pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())]))


def _schema(needed: Mapping[str, pa.DataType], nullable: Mapping[str, pa.DataType]) -> pa.Schema:
    return pa.schema(
        [pa.field(name, kind, nullable=False) for name, kind in needed.items()]
        + [pa.field(name, kind) for name, kind in nullable.items()]
    )


_TEXT, _INT, _REAL, _FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()

QUERIES = _schema(
    {"key": _TEXT, "prompt": _TEXT, "category": _TEXT, "source": _TEXT, "query": _TEXT, "messages": _MESSAGES},
    {
        "id": _TEXT, "system": _TEXT, "ground_truth": _TEXT, "test_case": _TEXT, "instruction_constrain": _TEXT,
        "origin": _TEXT, "extra": _TEXT,
    },
)  # fmt: skip
"""Kept queries, sorted by key. query: the last user turn; prompt: the prompt_key; test_case, instruction_constrain,
extra: JSON text."""

REJECTED = pa.schema([
    *QUERIES, pa.field("rule", _TEXT, nullable=False), pa.field("reason", _TEXT), pa.field("match", _TEXT),
    pa.field("match_source", _TEXT),
])  # fmt: skip
"""Rejected queries with the rule and the text they matched."""

RESPONSES = _schema(
    {
        "key": _TEXT, "query": _TEXT, "teacher": _TEXT, "text": _TEXT, "prompt": _TEXT, "identity": _TEXT,
        "attempt": _INT, "finish_reason": _TEXT, "prompt_tokens": _INT, "completion_tokens": _INT, "counted": _FLAG,
        "model": _TEXT, "max_tokens": _INT, "seconds": _REAL, "created": _REAL, "thinking": _TEXT,
    },
    {"reasoning": _TEXT, "thinking_tokens": _INT, "cached_tokens": _INT, "cost_usd": _REAL},
)  # fmt: skip
"""One reply a row: the fields of records.Response."""

VERDICTS = _schema(
    {
        "query": _TEXT, "prompt": _TEXT, "teacher": _TEXT, "identity": _TEXT, "attempt": _INT, "response": _TEXT,
        "verifier": _TEXT, "version": _TEXT, "reference": _TEXT, "outcome": _TEXT, "rule": _TEXT, "reason": _TEXT,
        "transient": _FLAG, "created": _REAL,
    },
    {"score": _REAL, "passed": _INT, "total": _INT, "detail": _TEXT, "judge": _TEXT},
)  # fmt: skip
"""Verdicts of verifiers. response: its key; reference: Query.reference; detail: JSON text; judge: key of its reply."""

FILTERED = _schema(
    {"query": _TEXT, "response": _TEXT, "filter": _TEXT, "outcome": _TEXT, "rule": _TEXT, "reason": _TEXT},
    {"score": _REAL, "detail": _TEXT},
)
"""Verdicts of filters, one file a teacher."""

DATASET = _schema(
    {
        "key": _TEXT, "category": _TEXT, "source": _TEXT, "messages": _MESSAGES, "query": _TEXT, "answer": _TEXT,
        "response": _TEXT, "teacher": _TEXT, "model": _TEXT, "attempt": _INT, "verify_rule": _TEXT,
        "finish_reason": _TEXT, "teacher_terms": _TEXT, "source_terms": _TEXT, "response_key": _TEXT,
    },
    {
        "id": _TEXT, "system": _TEXT, "thinking": _TEXT, "verify_score": _REAL, "ppl": _REAL, "ppl_full": _REAL,
        "tokens": _INT, "prompt_tokens": _INT, "completion_tokens": _INT, "cost_usd": _REAL, "ground_truth": _TEXT,
        "test_case": _TEXT, "instruction_constrain": _TEXT, "reference_by": _TEXT,
    },
)  # fmt: skip
"""Training rows. messages: the whole conversation, the assistant's last turn in normal form; response: that turn.
reference_by: null where the query came with what it is verified by, `vote` or `judge` where those supplied it."""


def query_to_row(query: Query) -> dict[str, Any]:
    """A Query as a row of QUERIES."""
    return {
        "key": query.key, "prompt": query.prompt_key, "category": query.category, "source": query.source,
        "query": query.text, "messages": [{"role": m.role, "content": m.content} for m in query.messages],
        "id": query.id, "system": query.system, "ground_truth": query.ground_truth,
        "test_case": _json(query.test_case), "instruction_constrain": _json(query.instruction_constrain),
        "origin": query.origin, "extra": _json(query.extra),
    }  # fmt: skip


def row_to_query(row: Mapping[str, Any]) -> Query:
    """The Query of a row of QUERIES or REJECTED; its key is taken from the row and not made again."""
    return Query(
        messages=tuple(Message(m["role"], m["content"]) for m in row["messages"]), category=row["category"],
        id=row["id"], source=row["source"], system=row["system"], ground_truth=row["ground_truth"],
        test_case=_from_json(row["test_case"]), instruction_constrain=_from_json(row["instruction_constrain"]),
        origin=row["origin"] or "", extra=_from_json(row["extra"]), key=row["key"],
    )  # fmt: skip


_RESPONSE_FIELDS = tuple(f.name for f in fields(Response))


def response_to_row(response: Response) -> dict[str, Any]:
    """A Response as a row of RESPONSES."""
    return {name: getattr(response, name) for name in _RESPONSE_FIELDS}


def row_to_response(row: Mapping[str, Any]) -> Response:
    """The Response of a row of RESPONSES."""
    return Response(**{name: row[name] for name in _RESPONSE_FIELDS})


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else canonical_json(value)


def _from_json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def to_table(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table of exactly this schema; a column that a row lacks is null there.

    Lone surrogates, which arrow cannot hold, become U+FFFD. Raises ValueError for a column that the schema does not
    know and for a null where none may stand.
    """
    given = list(rows)
    known = set(schema.names)
    for row in given:
        if not known.issuperset(row):
            raise ValueError(f"the schema has no column {', '.join(sorted(set(row) - known))}")
    try:  # all columns in one walk over the rows: more than twice as fast as column by column
        columns = pa.array(given, type=pa.struct(list(schema))).flatten()
    except (UnicodeEncodeError, pa.ArrowException):
        columns = [_column([row.get(item.name) for row in given], item.type) for item in schema]
    for item, column in zip(schema, columns, strict=True):
        if column.null_count and not item.nullable:
            row_number = column.is_null().index(True).as_py()
            raise ValueError(f"column {item.name} may not be null (row {row_number})")
    return pa.Table.from_arrays(columns, schema=schema)


_EXACT: tuple[tuple[Callable[[pa.DataType], bool], frozenset[type]], ...] = (
    (pa.types.is_string, frozenset({str, type(None)})),
    (pa.types.is_boolean, frozenset({bool, type(None)})),
    (pa.types.is_integer, frozenset({int, type(None)})),
    (pa.types.is_floating, frozenset({float, int, type(None)})),
)


def exact_columns(rows: Sequence[tuple[Any, ...]], names: Sequence[str], schema: pa.Schema) -> pa.Table | None:
    """Rows as tuples in the order of `names` -> a table of the schema; what is not named is null.

    None where a value is not held exactly by its column: of another type, too large, or with lone surrogates.
    """
    given = dict(zip(names, zip(*rows, strict=True), strict=True))
    columns = []
    for item in schema:
        values = given.get(item.name)
        if values is None:
            columns.append(pa.nulls(len(rows), item.type))
            continue
        allowed = next(types for fits, types in _EXACT if fits(item.type))
        if not allowed.issuperset(map(type, values)) or (not item.nullable and None in values):
            return None
        try:
            columns.append(pa.array(values, type=item.type))
        except (UnicodeEncodeError, OverflowError, pa.ArrowException):
            return None
    return pa.Table.from_arrays(columns, schema=schema)


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, type=kind)
    except UnicodeEncodeError:
        return pa.array([_without_surrogates(v) for v in values], type=kind)


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {name: _without_surrogates(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(v) for v in value]
    return value


class TableWriter:
    """Writes one parquet file, which appears under its name only when the block ends well.

    with TableWriter(path, QUERIES) as out: out.add(row); out.write(table). count: rows so far.
    """

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        *,
        group_bytes: int = BYTES_IN_GROUP,
        repeating: Sequence[str] | None = None,
    ) -> None:
        """repeating: the columns whose values are worth a dictionary; without it all are tried, which costs CPU."""
        self.path, self.schema, self.count = path, schema, 0
        self._dictionary: bool | list[str] = True if repeating is None else list(repeating)
        self._group_bytes = group_bytes
        self._rows: list[Mapping[str, Any]] = []
        self._rows_bytes = 0
        self._stack = ExitStack()

    def __enter__(self) -> TableWriter:
        temporary = self._stack.enter_context(replaced(self.path))
        options: dict[str, Any] = {
            "compression": "zstd",
            "use_dictionary": self._dictionary,
            "write_page_checksum": True,
        }
        self._parquet = pq.ParquetWriter(temporary, self.schema, **options)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:  # renames, or removes the temporary file, once the parquet is closed
            self._stack.push(self._finish)
            self._stack.pop_all().__exit__(kind, error, trace)

    def _finish(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            if kind is None:
                self._flush()
        finally:
            self._parquet.close()
        return False

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one row."""
        self._rows.append(row)
        for value in row.values():
            if type(value) is str:
                self._rows_bytes += len(value)
        if len(self._rows) >= ROWS_IN_GROUP or self._rows_bytes >= self._group_bytes:
            self._flush()

    def write(self, table: pa.Table) -> None:
        """Append a table; its columns are put in the schema's order, and missing nullable ones are null."""
        self._flush()
        self._write(conform(table, self.schema))

    def _flush(self) -> None:
        if self._rows:
            rows, self._rows, self._rows_bytes = self._rows, [], 0
            self._write(to_table(rows, self.schema))

    def _write(self, table: pa.Table) -> None:
        self._parquet.write_table(table, row_group_size=ROWS_IN_GROUP)
        self.count += table.num_rows


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table in exactly this schema. Raises ValueError for unknown columns and for nulls where none may stand."""
    foreign = [name for name in table.column_names if name not in schema.names]
    if foreign:
        raise ValueError(f"the schema has no column {', '.join(foreign)}")
    columns = []
    for item in schema:
        if item.name in table.column_names:
            column = table[item.name].cast(item.type)
        else:
            column = pa.chunked_array([pa.nulls(table.num_rows, item.type)])
        if column.null_count and not item.nullable:
            raise ValueError(f"column {item.name} may not be null")
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=schema)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> int:
    """Write rows to a parquet file, atomically; returns how many."""
    with TableWriter(path, schema) as out:
        for row in rows:
            out.add(row)
    return out.count


def write_table(path: Path, table: pa.Table, schema: pa.Schema | None = None) -> int:
    """Write a table to a parquet file, atomically; returns its number of rows."""
    with TableWriter(path, schema or table.schema) as out:
        out.write(table)
    return out.count


def table_files(folder: Path, stem: str) -> list[Path]:
    """`STEM.parquet`, or the shards `STEM-*.parquet`, in order; empty when there is none."""
    return sorted([*folder.glob(f"{stem}.parquet"), *folder.glob(f"{stem}-*.parquet")])


def read_batches(
    files: Path | Sequence[Path], columns: Sequence[str] | None = None, *, batch_rows: int = 1024
) -> Iterator[pa.RecordBatch]:
    """Batches of one file or several, in order."""
    for file in [files] if isinstance(files, Path) else files:
        with pq.ParquetFile(file) as opened:
            yield from opened.iter_batches(batch_size=batch_rows, columns=None if columns is None else list(columns))


def read_rows(
    files: Path | Sequence[Path], columns: Sequence[str] | None = None, *, batch_rows: int = 1024
) -> Iterator[dict[str, Any]]:
    """Rows of one file or several as dicts, in order."""
    for batch in read_batches(files, columns, batch_rows=batch_rows):
        yield from batch.to_pylist()


def read_table(files: Path | Sequence[Path], columns: Sequence[str] | None = None) -> pa.Table:
    """One table of one file or several. Raises ValueError for no file."""
    given = [files] if isinstance(files, Path) else list(files)
    if not given:
        raise ValueError("no file to read")
    return pa.concat_tables([pq.read_table(f, columns=None if columns is None else list(columns)) for f in given])


def read_queries(folder: Path, stem: str = "kept") -> Iterator[Query]:
    """The queries of 1-queries (or its rejected ones), in the order of their keys."""
    for row in read_rows(table_files(folder, stem)):
        yield row_to_query(row)
