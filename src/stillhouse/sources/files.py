"""Files as a source of queries: JSONL, JSON, CSV, parquet, arrow, packed or not, folders and globs of them.

In: the settings of one entry under `queries:` of a recipe. Out: `Files(...)()` streams Query rows; nothing is held
but the row at hand. All mistakes of all files are told at once, with file, line and column (UserMistake).
"""

from __future__ import annotations

import difflib
import glob
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.records import CATEGORIES, Part, Query, Terms, UserMistake
from stillhouse.sources.lines import Problems, Span, line_spans
from stillhouse.sources.opening import FORMATS, PACKED, file_format, remote_system, told_of_remote
from stillhouse.sources.reading import Chunk, read_chunks, read_rows
from stillhouse.sources.row_columns import columns_of_rows, to_columns
from stillhouse.sources.rows import FIELDS, TEXTS, Shape, did_you_mean, has_text_column, named, pick, to_query
from stillhouse.store.columns import QueryColumns

# What stands beside data in the folders that `datasets` and hubs write, and holds no rows.
_BESIDE = frozenset({
    "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json", "metadata.json",
    "status.json", "report.json", "contamination.json",
})  # fmt: skip


SPLIT_BYTES = 64 << 20  # a larger file of plain lines is read in spans of about this size


class Files:
    """A source of queries over files. `path`: a file, a folder (searched to its depth), a glob, or a list of those.

    category, source: hold for every row; left out, each row must say its category, and keeps its source or gets the
    file's stem. columns: our field -> column (`{query: problem, ground_truth: answer}`); fields are `query` or
    `messages`, id, category, source, system, ground_truth, test_case, instruction_constrain. terms: may what is made
    of these queries be trained on. format: where a file's name does not say. folder: what a relative path starts from
    (the recipe's own). limit: read so many rows. span: a part of one file, as `pieces` cuts it.
    Raises UserMistake at once for what does not need the files' content.
    """

    def __init__(
        self,
        path: str | Sequence[str],
        category: str | None = None,
        source: str | None = None,
        columns: Mapping[str, str] | None = None,
        terms: Terms = "unknown",
        format: str | None = None,
        encoding: str = "utf-8",
        folder: str | None = None,
        limit: int | None = None,
        span: Sequence[int] | None = None,
    ) -> None:
        mistakes = [
            f"columns: {name!r} is no field of a query{did_you_mean(name, FIELDS)}; known: {', '.join(FIELDS)}"
            for name in columns or {}
            if name not in FIELDS
        ]
        if category is not None and category not in CATEGORIES:
            mistakes.append(
                f"category: unknown {category!r}{did_you_mean(category, CATEGORIES)}; known: {', '.join(CATEGORIES)}"
            )
        if format is not None and format not in FORMATS.values():
            mistakes.append(f"format: unknown {format!r}; known: {', '.join(sorted(set(FORMATS.values())))}")
        if mistakes:
            raise UserMistake(*mistakes)
        self.paths = [path] if isinstance(path, str) else list(path)
        self.category, self.source, self.columns = category, source, dict(columns or {})
        self.terms, self.format, self.encoding = terms, format, encoding
        self.folder, self.limit = folder, limit
        self.span: Span | None = (span[0], span[1], span[2]) if span else None

    def files(self) -> list[str]:
        """Every file in order: as given, by name within a folder or glob. Raises UserMistake for what is missing."""
        return find_files(self.paths, self.folder, self.format)

    def __call__(self) -> Iterator[Query]:
        for block in self.blocks():
            yield from map(block.query, range(len(block)))

    def blocks(self) -> Iterator[QueryColumns]:
        """The same rows, column by column, about a megabyte at a time."""
        problems = Problems()
        left = self.limit
        for file in self.files():
            for block in self._blocks(file, problems, left):
                block = block if left is None else block.head(left)
                yield block
                left = None if left is None else left - len(block)
                if left is not None and left <= 0:
                    return
        problems.raise_if_any()

    def pieces(self, part: Part) -> list[Part]:
        """The same source in parts that are read apart: one a file, several of a large file of plain lines."""
        if self.limit is not None:
            return [part]
        own = {name: value for name, value in part.settings.items() if name != "folder"}
        pieces = []
        for file in self.files():
            spans: list[Span | None] = [None]
            if self._splits(file):
                spans = list(line_spans(file, SPLIT_BYTES))
            pieces += [
                Part(part.path, own | {"path": file} | ({"span": list(span)} if span and len(spans) > 1 else {}))
                for span in spans
            ]
        return pieces

    def _splits(self, file: str) -> bool:
        lines = "://" not in file and (self.format or file_format(file)) == "jsonl" and Path(file).suffix not in PACKED
        return lines and self.encoding in ("utf-8", "utf8") and Path(file).stat().st_size > SPLIT_BYTES

    def _blocks(self, file: str, problems: Problems, most: int | None) -> Iterator[QueryColumns]:
        shape = Shape(self.category, self.source, self.columns, source_name(file))
        texts, header = any(name in self.columns for name in TEXTS), None
        for chunk in read_chunks(file, problems, self.format, self.encoding, most=most, span=self.span):
            if not len(chunk.numbers):
                continue
            origins = [f"{file}:{number}" for number in chunk.numbers]
            columns = _columns(chunk, shape)
            block = to_columns(columns, len(origins), shape, origins) if columns is not None else None
            if header is None:
                header = chunk.names()
            if block is not None:
                texts = texts or has_text_column(columns or {})
            else:
                block = QueryColumns()
                for origin, row in zip(origins, chunk.as_rows(), strict=True):
                    texts = texts or has_text_column(row)
                    try:
                        block.add(to_query(row, shape, origin))
                    except ValueError as error:
                        problems.add(f"{origin}: {error}")
            if not problems.count:  # once something is broken the rest is only read for what else is
                yield block
        if header is not None:
            self._tell_missing(file, problems, header, texts, shape)

    def _tell_missing(self, file: str, problems: Problems, header: list[str], texts: bool, shape: Shape) -> None:
        missing = [column for column in self.columns.values() if column not in shape.found]
        if self.span and (missing or not texts):  # a part of a file does not speak for all of it
            for _, row in read_rows(file, Problems(), self.format, self.encoding):
                header = header if header[: len(row)] == list(row) else list(dict.fromkeys([*header, *row]))
                texts = texts or has_text_column(row)
                missing = [column for column in missing if not _has(row, column)]
                if texts and not missing:
                    return
        if not texts:
            problems.add(
                f"{file}: no row has `query` or `messages`; it has {named(header)}. "
                f"Say which column holds the question: `columns: {{query: {_likely(header)}}}`"
            )
        for column in missing:
            problems.add(f"{file}: there is no column {column!r}{did_you_mean(column, header)}; it has {named(header)}")


def _columns(chunk: Chunk, shape: Shape) -> Mapping[str, Sequence[Any]] | None:
    names = chunk.names()
    if not shape.columns and "query" not in names:
        return None  # to_columns would say so after all the work
    if chunk.rows is not None:
        return columns_of_rows(chunk.rows, shape)
    return {name: chunk.batch.column(at).to_pylist() for at, name in enumerate(names)}


def _has(row: Mapping[str, Any], column: str) -> bool:
    try:
        pick(row, column)
    except KeyError:
        return False
    return True


def _likely(columns: Sequence[str]) -> str:
    for guess in ("question", "problem", "prompt", "instruction", "input", "text"):
        if guess in columns:
            return guess
    return "COLUMN"


def source_name(file: str) -> str:
    """The stem of a file's name without its suffixes: `data/train.jsonl.gz` is `train`."""
    path = Path(file)
    while path.suffix.lower() in PACKED or path.suffix.lower() in FORMATS:
        path = path.with_suffix("")
    return path.name


def find_files(paths: Sequence[str], folder: str | None = None, format: str | None = None) -> list[str]:
    """The files that paths, folders and globs name, in order and once. Raises UserMistake for all that is missing."""
    found: list[str] = []
    mistakes: list[str] = []
    for given in paths:
        path = given if "://" in given or folder is None else str(Path(folder, Path(given).expanduser()))
        try:
            found += _files_of(path, format)
        except UserMistake as mistake:
            mistakes += mistake.problems
    if mistakes:
        raise UserMistake(*mistakes)
    return list(dict.fromkeys(found))


def _files_of(path: str, format: str | None) -> list[str]:
    if "://" in path:
        return _remote(path, format)
    here = Path(path).expanduser()
    if here.is_file():
        if format is None and file_format(path) is None:
            raise UserMistake(f"{path}: its name does not say what it holds: add `format: jsonl` (or {_formats()})")
        return [str(here)]
    if here.is_dir():
        return _files_in(here)
    if glob.has_magic(path):
        matches = sorted(glob.glob(str(here), recursive=True))  # noqa: PTH207  a pattern may be absolute
        names = [
            file for match in matches for file in (_files_in(Path(match), True) if Path(match).is_dir() else [match])
        ]
        names = [name for name in names if format is not None or file_format(name)]
        if not names:
            raise UserMistake(f"{path}: nothing matches{_near(here)}")
        return names
    raise UserMistake(f"{path}: there is no such file or folder{_near(here)}")


def _remote(path: str, format: str | None) -> list[str]:
    """Files of an object store that fsspec knows: one, a glob, or all of known formats below a folder."""
    if (format is not None or file_format(path)) and not glob.has_magic(path):
        return [path]
    system, inside = remote_system(path)
    with told_of_remote(path):
        found = sorted(system.glob(inside) if glob.has_magic(inside) else system.find(inside))
    names = [str(system.unstrip_protocol(name)) for name in found]
    files = [n for n in names if (format is not None or file_format(n)) and Path(n).name not in _BESIDE]
    if not files:
        raise UserMistake(f"{path}: holds no file of rows ({_formats()})")
    return files


def _files_in(folder: Path, may_be_empty: bool = False) -> list[str]:
    """All files of known formats below a folder, by name; hidden ones and what describes a dataset left out."""
    every = sorted(path for path in folder.rglob("*") if path.is_file())
    below = [path for path in every if not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)]
    files = [str(path) for path in below if file_format(path.name) and path.name not in _BESIDE]
    if not files and not may_be_empty:
        inside = named(path.name for path in below) or "nothing"
        raise UserMistake(f"{folder}: holds no file of rows ({_formats()}), but {inside}")
    return files


def _formats() -> str:
    return ", ".join(sorted(set(FORMATS.values())))


def _near(path: Path) -> str:
    """`; did you mean "queries.jsonl"?`, or where the path stops to exist."""
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        parent = parent.parent
    if parent != path.parent:
        return f" (there is {parent}, and nothing further)"
    names = [entry.name for entry in parent.iterdir()]
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f"; did you mean {str(parent / near[0])!r}?" if near else ""
