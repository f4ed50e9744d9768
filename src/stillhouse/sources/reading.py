"""Files of rows of every format, plain or packed: (line, row) pairs, one at a time.

In: one path, or an fsspec URL. Out: dictionaries with the line (JSON, CSV) or number (parquet, arrow) where each
stood, from 1. Broken lines go to `Problems`, so that all are told at once; nothing is skipped.
"""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from stillhouse.records import UserMistake
from stillhouse.sources.lines import Problems, Row, read_csv, read_json, read_jsonl
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
    try:
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
