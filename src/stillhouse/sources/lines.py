"""JSON lines, JSON and CSV as (line, row) pairs, one row at a time; broken lines go to `Problems`.

In: a byte stream and its name. Out: dictionaries with the line where each stood, from 1. A long JSON list is read
through a moving window, so nothing needs a whole file but an object that wraps its list.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from stillhouse.records import UserMistake
from stillhouse.sources.opening import open_binary

Row = dict[str, Any]
Span = tuple[int, int, int]  # of a file of lines: offset of its start, of its end, number of its first line
CHUNK_BYTES = 1 << 20
TOLD = 5  # so many problems of one source are told in full, the rest as a number


class Problems:
    """The mistakes of one source: the first few word for word, all of them counted."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.count = 0

    def add(self, text: str) -> None:
        self.count += 1
        if len(self.told) < TOLD:
            self.told.append(text)

    def raise_if_any(self) -> None:
        """Raises UserMistake with everything that was told, and how many more there are."""
        more = self.count - len(self.told)
        if self.count:
            raise UserMistake(*self.told, *([f"... and {more:,} more like these"] if more else []))


def decode_json(line: bytes | str) -> Any:
    """A JSON value, leniently where that loses nothing: NaN, integers of any length, and lone surrogates as U+FFFD.

    Raises ValueError (of orjson or json, with `pos`) for what is no JSON, UnicodeDecodeError for what is no UTF-8.
    """
    try:
        value = orjson.loads(line)
        if not rounded(value):
            return value
    except orjson.JSONDecodeError:
        pass
    return mend_surrogates(json.loads(line.decode("utf-8") if isinstance(line, bytes) else line))


def rounded(value: Any) -> bool:
    """Whether orjson met an integer of more than 64 bits: it gives the nearest float, and digits are lost."""
    if isinstance(value, float):
        return abs(value) >= 2.0**63
    if isinstance(value, dict):
        return any(rounded(item) for item in value.values() if not isinstance(item, str))
    return isinstance(value, list) and any(rounded(item) for item in value if not isinstance(item, str))


def mend_surrogates(value: Any) -> Any:
    """The same value with pairs of surrogates joined and lone ones as U+FFFD, so that it can be written as UTF-8."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return value
    if isinstance(value, list):
        return [mend_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {mend_surrogates(key): mend_surrogates(item) for key, item in value.items()}
    return value


def _lines(path: str, encoding: str) -> Iterator[tuple[int, bytes | str]]:
    with open_binary(path) as stream:
        if encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig"):
            for number, line in enumerate(stream, 1):
                yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            return
        with io.TextIOWrapper(stream, encoding=encoding, newline="\n") as texts:
            for number, text in enumerate(texts, 1):
                yield number, text.removeprefix("\ufeff") if number == 1 else text


def read_jsonl(path: str, problems: Problems, encoding: str) -> Iterator[tuple[int, Row]]:
    for number, line in _lines(path, encoding):
        row = _row_of_line(path, number, line, problems)
        if row is not None:
            yield number, row


def _row_of_line(path: str, number: int, line: bytes | str, problems: Problems) -> Row | None:
    """The object of a line; None for a blank line, and for a broken one, which is told."""
    if not line.strip():
        return None
    try:
        row = decode_json(line)
    except UnicodeDecodeError as error:
        problems.add(not_utf8(path, number, error))
        return None
    except (ValueError, RecursionError) as error:
        problems.add(f"{path}:{number}:{_column(error)}: broken JSON line: {_said(error)}")
        return None
    if isinstance(row, dict):
        return row
    problems.add(f"{path}:{number}:1: a line must hold a JSON object, not {_kind(row)}")
    return None


def read_jsonl_chunks(
    path: str, problems: Problems, most: int | None, span: Span | None
) -> Iterator[tuple[Sequence[int], list[Row], list[bytes] | None]]:
    """UTF-8 lines a chunk at a time, as (line numbers, objects, lines); the quick way, which does not look at numbers.

    A chunk in which a line is broken, blank or no object is read again line by line, and comes without its lines.
    most: rows wanted at most; span: only lines that begin between two offsets.
    """
    with open_binary(path) as stream:
        at, end, number = span or (0, None, 1)
        stream.seek(at) if span else None
        while end is None or at < end:
            lines = stream.readlines(CHUNK_BYTES) if most is None else list(itertools.islice(stream, min(most, 1024)))
            if not lines:
                return
            if end is not None:
                lines = _before(lines, at, end)
            at += sum(map(len, lines))
            try:
                rows = [orjson.loads(line) for line in lines]
                quick = set(map(type, rows)) == {dict}
            except orjson.JSONDecodeError:
                quick = False
            numbers: Sequence[int] = range(number, number + len(lines))
            if not quick:
                if number == 1:
                    lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
                read = [(n, _row_of_line(path, n, line, problems)) for n, line in zip(numbers, lines, strict=True)]
                numbers, rows = [n for n, row in read if row is not None], [row for _, row in read if row is not None]
            number += len(lines)
            yield numbers, rows, lines if quick else None
            if most is not None:
                most -= len(rows)
                if most <= 0:
                    return


def _before(lines: list[bytes], at: int, end: int) -> list[bytes]:
    """Those of the lines from offset `at` on that begin before `end`."""
    for place, line in enumerate(lines):
        if at >= end:
            return lines[:place]
        at += len(line)
    return lines


def line_spans(path: str, size: int) -> list[Span]:
    """A file of lines in spans of about `size` bytes: offsets of the first line's start and of the end, and the first
    line's number."""
    spans: list[Span] = []
    number = 1
    with open_binary(path) as stream:
        start = 0
        while block := stream.read(size):
            block += stream.readline() if not block.endswith(b"\n") else b""
            spans.append((start, start + len(block), number))
            start, number = start + len(block), number + block.count(b"\n")
    return spans


def not_utf8(path: str, line: int, error: UnicodeDecodeError) -> str:
    """What to tell about bytes that are no text."""
    if error.object[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return f"{path}:{line}:1: is UTF-16, not UTF-8: add `encoding: utf-16`"
    return (
        f"{path}:{line}:{error.start + 1}: is not UTF-8 (byte 0x{error.object[error.start]:02x}): mend the line, "
        "or name its encoding, for instance `encoding: cp1252`"
    )


def _column(error: Exception) -> int:
    return int(getattr(error, "colno", 1))


def _said(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(getattr(error, "msg", error))


def _kind(value: Any) -> str:
    return {list: "a list", str: "a text", bool: "true or false", type(None): "null"}.get(type(value), "a number")


def read_json(path: str, problems: Problems, encoding: str) -> Iterator[tuple[int, Row]]:
    """A list of objects, an object that holds such a list, or JSON lines under the name .json."""
    with open_binary(path) as stream:
        start = stream.read(1 << 16).lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"[") or encoding.lower() not in ("utf-8", "utf8"):
        yield from _json_list(path, problems, encoding)
        return
    first = start.split(b"\n", 1)[0]
    try:
        whole = isinstance(orjson.loads(first), dict)
    except ValueError:
        whole = first.rstrip().endswith(b"}") and first.lstrip().startswith(b"{")
    if whole:
        yield from read_jsonl(path, problems, encoding)
        return
    with open_binary(path) as stream:
        data = stream.read()
    try:
        value = decode_json(data.removeprefix(b"\xef\xbb\xbf"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problems.add(f"{path}:{line}: is not UTF-8: name its encoding, for instance `encoding: cp1252`")
        return
    except (ValueError, RecursionError) as error:
        problems.add(f"{path}:{getattr(error, 'lineno', 1)}:{_column(error)}: broken JSON: {_said(error)}")
        return
    lists = [item for item in value.values() if isinstance(item, list) and item and isinstance(item[0], dict)]
    rows = lists[0] if len(lists) == 1 and not _is_row(value) else [value]
    for number, row in enumerate(rows, 1):
        if isinstance(row, dict):
            yield number, row
        else:
            problems.add(f"{path}: item {number} must be an object, not {_kind(row)}")


def _is_row(value: Row) -> bool:
    return any(name in value for name in ("query", "messages", "conversations", "question"))


def _json_list(path: str, problems: Problems, encoding: str) -> Iterator[tuple[int, Row]]:
    """The objects of one JSON list, decoded one by one from a moving window, so that a long list costs no memory."""
    decoder = json.JSONDecoder()
    with open_binary(path) as raw:
        stream = io.TextIOWrapper(raw, encoding=_with_mark(encoding))
        window, line, want, opened = "", 1, 1 << 20, False
        while True:
            try:
                more = stream.read(want)
            except UnicodeError as error:
                problems.add(f"{path}:{line}: or below is not {encoding} ({error}): name its `encoding:`")
                return
            window, at = window + more, 0
            while True:
                start = at
                while at < len(window) and (window[at] in " \t\r\n" or window[at] == ("," if opened else "[")):
                    opened = opened or window[at] == "["
                    at += 1
                line += window.count("\n", start, at)
                if at < len(window) and window[at] == "]":
                    return
                try:
                    value, end = decoder.raw_decode(window, at)
                except (ValueError, RecursionError) as error:
                    if not more:
                        here = line + window.count("\n", at, getattr(error, "pos", at))
                        problems.add(f"{path}:{here}: broken JSON: {_said(error)}")
                        return
                    break
                if isinstance(value, dict):
                    yield line, mend_surrogates(value)
                else:
                    problems.add(f"{path}:{line}: an item of the list must be an object, not {_kind(value)}")
                line += window.count("\n", at, end)
                at = end
            window = window[at:]
            want = max(1 << 20, len(window))  # doubles while one object is larger than the window


def _with_mark(encoding: str) -> str:
    return "utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding


def read_csv(path: str, problems: Problems, encoding: str, delimiter: str) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(sys.maxsize)
    with open_binary(path) as raw:
        stream = io.TextIOWrapper(raw, encoding=_with_mark(encoding), newline="")
        header: list[str] = []
        line = 1
        try:
            first = stream.readline()
            if delimiter not in first:
                delimiter = next((mark for mark in ";\t," if mark in first), delimiter)
            reader = csv.reader(itertools.chain([first] if first else [], stream), delimiter=delimiter)
            for cells in reader:
                if not header:
                    header = [cell.strip() for cell in cells]
                elif cells and len(cells) != len(header):
                    problems.add(f"{path}:{line}: has {len(cells)} columns where the header has {len(header)}")
                elif cells:
                    yield line, {name: cell if cell else None for name, cell in zip(header, cells, strict=True)}
                line = reader.line_num + 1
        except UnicodeError as error:
            problems.add(f"{path}:{line}: or below is not {encoding} ({error}): name its `encoding:`")
        except csv.Error as error:
            problems.add(f"{path}:{line}: broken CSV: {error}")
