"""Batch files: requests as OpenAI batch JSONL (also read by `vllm run-batch`), and the result files that come back.

In: custom ids and bodies; result files in `batch/results`. Out: `batch/RUN-TEACHER-0001.jsonl`, whole or not there;
result lines one by one, with what is wrong with those that are no result. Which of them are still out is the index's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
from numpy.typing import NDArray

from stillhouse.records import content_hash
from stillhouse.store.entries import to_json
from stillhouse.store.index import Index, hex_key
from stillhouse.store.rows import BATCH, INTENT
from stillhouse.store.segments import fsync_folder

Array = NDArray[Any]
MOST_LINES, MOST_BYTES = 50_000, 190_000_000  # of one file: what OpenAI takes is 50,000 and 200 MB
MOST_OF_A_LINE = 64_000_000
URL = "/v1/chat/completions"
_WRITTEN = ".written"


class BatchFolder:
    """`2-responses/batch` of one run. run: the run's name, which begins the names of its files."""

    def __init__(self, folder: Path, run: str) -> None:
        self.folder, self._run = folder, re.sub(r"[^A-Za-z0-9._-]+", "-", run)

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def requests(self) -> list[Path]:
        """The request files, in the order they were written."""
        return sorted(self.folder.glob("*.jsonl"))

    def result_files(self) -> list[Path]:
        return sorted(self.results.glob("*.jsonl")) if self.results.is_dir() else []

    def written(self) -> set[str]:
        """Names of all request files that this run ever put here, those that were removed since included."""
        try:
            held = (self.folder / _WRITTEN).read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            held = []
        return {name for name in held if name} | {path.name for path in self.requests()}

    def ours(self, name: str) -> bool:
        """Whether a file of this name is (or was, or was about to be) this run's."""
        return name.startswith(f"{self._run}-") or name in self.written()

    def names(self, teacher: str) -> Iterator[str]:
        """Names that were never used, one after the other."""
        stem = f"{self._run}-{teacher}-"
        number = max((_number(name, stem) for name in self.written()), default=0)
        while True:
            number += 1
            yield f"{stem}{number:04d}.jsonl"

    def note(self, name: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _WRITTEN).open("a", encoding="utf-8") as file:
            file.write(f"{name}\n")
            file.flush()
            os.fsync(file.fileno())

    def remove_unfinished(self) -> None:
        """What a killed process was writing; nobody has seen it."""
        for path in self.folder.glob(".*.part"):
            path.unlink(missing_ok=True)


def _number(name: str, stem: str) -> int:
    rest = name.removeprefix(stem).removesuffix(".jsonl")
    return int(rest) if name.startswith(stem) and rest.isdigit() else 0


class RequestFile:
    """One request file that is being written; it appears under its name when `publish` is called."""

    def __init__(self, place: BatchFolder, name: str) -> None:
        self.place, self.name = place, name
        self.lines = self.bytes = 0
        place.folder.mkdir(parents=True, exist_ok=True)
        self._part = place.folder / f".{self.name}.part"
        self._file: BinaryIO = self._part.open("wb")

    @property
    def full(self) -> bool:
        return self.lines >= MOST_LINES or self.bytes >= MOST_BYTES

    def add(self, key: str, body: Mapping[str, Any]) -> None:
        """One request; its key is the custom id."""
        line = to_json({"custom_id": key, "method": "POST", "url": URL, "body": body}).strip() + b"\n"
        self._file.write(line)
        self.lines += 1
        self.bytes += len(line)

    def publish(self) -> Path:
        """Durable, and under its name."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        path = self.place.folder / self.name
        self._part.replace(path)
        fsync_folder(self.place.folder)
        self.place.note(self.name)
        self.place.results.mkdir(exist_ok=True)
        return path

    def discard(self) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class ResultLine:
    """One line of a result file. value: its JSON object; problem: why it is none. key: its custom id, "" without."""

    file: str
    number: int
    key: str = ""
    value: Mapping[str, Any] | None = None
    problem: str = ""

    @property
    def where(self) -> str:
        return f"{self.file}:{self.number}"


def read_results(path: Path) -> Iterator[ResultLine]:
    """Every line that is not blank, whatever it holds."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MOST_OF_A_LINE):
            number += 1
            if not line.strip():
                continue
            yield _result(path.name, number, line)
            while line and not line.endswith(b"\n") and len(line) >= MOST_OF_A_LINE:
                line = file.readline(MOST_OF_A_LINE)  # the rest of a line that is too long


def _result(name: str, number: int, line: bytes) -> ResultLine:
    if len(line) >= MOST_OF_A_LINE:
        return ResultLine(name, number, problem=f"is longer than {MOST_OF_A_LINE} bytes")
    try:
        value = orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        cut = "" if line.endswith(b"\n") else "; the file seems to be cut"
        return ResultLine(name, number, problem=f"is no JSON ({error}){cut}")
    if not isinstance(value, dict):
        return ResultLine(name, number, problem="is no JSON object")
    key = value.get("custom_id")
    if not isinstance(key, str) or not key:
        return ResultLine(name, number, problem="has no custom_id")
    return ResultLine(name, number, key, value)


class ReadNotes:
    """`batch/.read`: which result files were read to their end, and which failed lines were taken for a fault, so that
    none is taken twice when a file grows or is read again after a kill."""

    def __init__(self, place: BatchFolder) -> None:
        self._path = place.folder / ".read"
        try:
            self._held = set(self._path.read_text(encoding="utf-8").split("\n"))
        except FileNotFoundError:
            self._held = set()

    def has(self, path: Path) -> bool:
        return _file_note(path) in self._held

    def add(self, path: Path) -> None:
        self._add(_file_note(path))

    def has_line(self, line: ResultLine) -> bool:
        return line.problem == "" and _line_note(line) in self._held

    def add_line(self, line: ResultLine) -> None:
        self._add(_line_note(line))

    def _add(self, note: str) -> None:
        self._held.add(note)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{note}\n")


def _file_note(path: Path) -> str:
    facts = path.stat()
    return f"file {facts.st_size} {facts.st_mtime_ns} {content_hash(path.name)}"


def _line_note(line: ResultLine) -> str:
    return f"line {content_hash(to_json(line.value).decode('utf-8', 'replace'))}"


def latest_intents(index: Index) -> tuple[Array, Array, Array]:
    """Of all requests that stand or stood in batch files: their keys (S16, ascending), the row of the latest intent of
    each, and the row of its latest outcome (-1 without one)."""
    codes = [code for code, label in enumerate(index.labels) if label.startswith(BATCH)]
    rows = np.flatnonzero((index.kind == INTENT) & np.isin(index.label, codes)) if codes else np.empty(0, np.int64)
    keys, inverse = np.unique(index.key[rows], return_inverse=True)
    last = np.zeros(len(keys), np.int64)
    settled = np.full(len(keys), -1, np.int64)
    if len(keys):
        np.maximum.at(last, inverse, rows)
        outcomes = np.flatnonzero(index.kind != INTENT)
        outcomes = outcomes[np.isin(index.key[outcomes], keys)]
        np.maximum.at(settled, np.searchsorted(keys, index.key[outcomes]), outcomes)
    return keys, last, settled


def outstanding(index: Index) -> dict[str, Array]:
    """Batch file -> rows of its intents whose outcome is not in the journal."""
    _, last, settled = latest_intents(index)
    left = np.sort(last[settled < last])
    return {
        index.labels[code].removeprefix(BATCH): left[index.label[left] == code]
        for code in np.unique(index.label[left]).tolist()
    }


def keys_out(index: Index) -> set[str]:
    """The keys of all requests that stand in a batch file without an outcome."""
    keys, last, settled = latest_intents(index)
    return {hex_key(key) for key in keys[settled < last]}
