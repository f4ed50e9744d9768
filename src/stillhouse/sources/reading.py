"""Files of rows of every format, plain or packed: (line, row) pairs, one at a time.

In: one path, or an fsspec URL. Out: dictionaries with the line (JSON, CSV) or number (parquet, arrow) where each
stood, from 1, singly or a chunk at a time. Broken lines go to `Problems`, so that all are told at once; nothing is
skipped.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import lzma
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from stillhouse.records import UserMistake
from stillhouse.sources.lines import (
    CHUNK_BYTES,
    Problems,
    Row,
    Span,
    decode_json,
    read_csv,
    read_json,
    read_jsonl,
    read_jsonl_chunks,
    rounded,
)
from stillhouse.sources.opening import FORMATS, file_format, open_binary

_BATCH_BYTES, _BATCH_ROWS = 32 << 20, 1024


def read_rows(
    path: str, problems: Problems, form: str | None = None, encoding: str = "utf-8"
) -> Iterator[tuple[int, Row]]:
    """Every row of one file with its line (JSONL, JSON, CSV) or number (parquet, arrow), from 1.

    form: a value of FORMATS, else by the file's name. Broken lines go to `problems`; a file that cannot be opened
    or unpacked raises UserMistake.
    """
    form = form or file_format(path)
    with _readable(path, form):
        if form == "jsonl":
            yield from read_jsonl(path, problems, encoding)
        elif form == "json":
            yield from read_json(path, problems, encoding)
        elif form in ("csv", "tsv"):
            yield from read_csv(path, problems, encoding, "\t" if form == "tsv" else ",")
        elif form == "parquet":
            yield from _parquet(path)
        elif form == "arrow":
            yield from _arrow(path)
        else:
            raise UserMistake(f"{path}: its name does not say what it holds: add `format:`, one of {_known_formats()}")


@dataclass(slots=True)
class Chunk:
    """Rows that stood together. numbers: where each stood. Of JSON and CSV the rows are at hand, of parquet columns.
    lines: where a row may hold an integer of which the quick reader lost digits, the lines of all rows."""

    numbers: Sequence[int]
    rows: list[Row] | None = None
    batch: Any = None  # a RecordBatch
    lines: list[bytes] | None = None

    def names(self) -> list[str]:
        """The columns of its first row."""
        return list(self.rows[0]) if self.rows is not None else list(self.batch.schema.names)

    def as_rows(self) -> list[Row]:
        """Dictionaries, numbers with all their digits."""
        rows: list[Row] = self.rows if self.rows is not None else self.batch.to_pylist()
        if self.lines is not None:
            rows = [decode_json(line) if rounded(row) else row for row, line in zip(rows, self.lines, strict=True)]
        return rows


def read_chunks(
    path: str, problems: Problems, form: str | None = None, encoding: str = "utf-8", *, most: int | None = None,
    span: Span | None = None,
) -> Iterator[Chunk]:  # fmt: skip
    """The rows of `read_rows` in chunks of a thousand or so. most: rows wanted at most; span: of a file of lines, only
    those of it."""
    form = form or file_format(path)
    with _readable(path, form):
        if form == "jsonl" and encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig"):
            for numbers, rows, lines in read_jsonl_chunks(path, problems, most, span):
                yield Chunk(numbers, rows, lines=lines)
        elif form == "parquet":
            number = 1
            for batch in _batches(path):
                batch = batch.slice(0, most)
                yield Chunk(range(number, number + batch.num_rows), batch=batch)
                number += batch.num_rows
                most = None if most is None else most - batch.num_rows
                if most is not None and most <= 0:
                    return
        else:
            pairs = itertools.islice(read_rows(path, problems, form, encoding), most)
            while some := _some(pairs):
                yield Chunk([number for number, _ in some], [row for _, row in some])


def _some(pairs: Iterator[tuple[int, Row]]) -> list[tuple[int, Row]]:
    """The next thousand rows, fewer where they are long."""
    some, size = [], 0
    for pair in pairs:
        some.append(pair)
        size += sum([len(value) for value in pair[1].values() if type(value) is str])
        if len(some) == _BATCH_ROWS or size >= CHUNK_BYTES:
            break
    return some


@contextlib.contextmanager
def _readable(path: str, form: str | None) -> Iterator[None]:
    """Tells what libraries raise about a file as the user's mistake."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zstandard.ZstdError, lzma.LZMAError) as error:
        raise UserMistake(f"{path}: cannot be unpacked, it may be cut short: {error}") from error
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UserMistake(f"{path}: is no readable {form} file: {str(error).splitlines()[0]}") from error
    except OSError as error:
        raise UserMistake(f"{path}: cannot be read: {error.strerror or error}") from error


def _known_formats() -> str:
    return ", ".join(sorted(set(FORMATS.values())))


def _batches(path: str) -> Iterator[pa.RecordBatch]:
    source = path if "://" not in path else open_binary(path)
    with pq.ParquetFile(source) as file:
        meta = file.metadata
        for group in range(meta.num_row_groups):
            info = meta.row_group(group)
            each = max(1, info.total_byte_size // max(1, info.num_rows))
            rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // each))
            yield from file.iter_batches(batch_size=rows, row_groups=[group])


def _parquet(path: str) -> Iterator[tuple[int, Row]]:
    number = 0
    for batch in _batches(path):
        for row in batch.to_pylist():
            number += 1
            yield number, row


def _arrow(path: str) -> Iterator[tuple[int, Row]]:
    with open_binary(path) as head:
        of_file = head.read(6) == b"ARROW1"
    with open_binary(path) as raw:
        stream: Any = raw  # arrow reads any binary stream, and its stubs want one class of them
        batches: Iterator[pa.RecordBatch]
        if of_file:
            file = pa.ipc.open_file(stream)
            batches = (file.get_batch(at) for at in range(file.num_record_batches))
        else:
            batches = iter(pa.ipc.open_stream(stream))
        yield from enumerate((row for batch in batches for row in batch.to_pylist()), 1)
