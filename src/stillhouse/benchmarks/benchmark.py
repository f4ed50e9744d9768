"""A benchmark: its items as queries, how many samples each gets, and what its verifier must be told.

In: a hub dataset or a local file. Out: queries with the prompts that the paper evaluated with, and, called as a
source, the bare problems for decontamination. A benchmark of one's own is a function that returns a Benchmark.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stillhouse.records import Message, Part, Query, UserMistake
from stillhouse.transport.reach import offline_unless_reached

MATH_SUFFIX = "\nLet's think step by step and output the final answer within \\boxed{}."
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Benchmark:
    """Items, samples per item, prompt and limits (the paper's evaluation).

    items: the bare problems, made anew at each call. prompt: text of the user turn for an item; no further suffix may
    be put behind it. expected: how many items there must be, None for any. verifier: settings of the category's
    verifier that this benchmark needs; grader: import path of a verifier around it, built with that verifier's Part.
    """

    name: str
    category: str
    samples: int
    items: Callable[[], Iterator[Query]]
    prompt: Callable[[Query], str]
    expected: int | None = None
    max_tokens: int = 49152
    temperature: float = 0.6
    top_p: float = 0.95
    verifier: Mapping[str, Any] = field(default_factory=dict)
    grader: str | None = None

    def __call__(self) -> Iterator[Query]:
        """As a source: the bare problems, as decontamination wants them."""
        return self.items()

    def queries(self) -> list[Query]:
        """The items as they are asked, in order. Raises UserMistake when they are not the benchmark's."""
        items = list(self.items())
        if self.expected is not None and len(items) != self.expected:
            raise UserMistake(f"benchmark {self.name}: {len(items)} items, but it has {self.expected}: {_ADVICE}")
        keys = {item.key for item in items}
        if len(keys) != len(items):
            raise UserMistake(f"benchmark {self.name}: {len(items) - len(keys)} of its problems stand twice: {_ADVICE}")
        return [self._asked(item) for item in items]

    def _asked(self, item: Query) -> Query:
        return replace(item, messages=(Message("user", self.prompt(item)),), key="")


def chosen(path: str, settings: Mapping[str, Any], changed: Mapping[str, Any]) -> Benchmark:
    """A benchmark by the import path of its function, with what a recipe changes of it (name, max_tokens, ..)."""
    made: Benchmark = Part(path, settings).build()
    return replace(made, **changed)


_ADVICE = "another version of the data, or a file with a part of it; its path or hub name is a setting"


def math_prompt(item: Query) -> str:
    return item.text + MATH_SUFFIX


def read_rows(name: str, path: str | Path | None, hub: str, config: str | None, split: str) -> Iterator[Row]:
    """Rows of a local file (JSON, JSON lines or parquet), or of a hub dataset where no path is given."""
    if path is not None:
        yield from _local(name, Path(path))
        return
    offline_unless_reached()
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise UserMistake(
            f"benchmark {name}: `pip install datasets` to load {hub} from the hub, or give the path of a local file"
        ) from error
    try:
        yield from load_dataset(hub, config, split=split)
    except Exception as error:
        raise UserMistake(
            f"benchmark {name}: {hub} is not to be had from the hub here ({type(error).__name__}: {str(error)[:200]}); "
            f"give a local copy of it (JSON lines or parquet): `{name}=FILE` in `avoid`, `{name}:SAMPLES=FILE` in "
            "`benchmarks`"
        ) from error


def _local(name: str, path: Path) -> Iterator[Row]:
    if not path.is_file():
        raise UserMistake(f"benchmark {name}: there is no file {path}")
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        for batch in pq.ParquetFile(path).iter_batches(1024):
            yield from batch.to_pylist()
        return
    if path.suffix == ".json":
        rows = _parsed(name, path, 1, path.read_text(encoding="utf-8"))
        yield from rows if isinstance(rows, list) else [rows]
        return
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _parsed(name, path, number, line)


def _parsed(name: str, path: Path, line: int, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserMistake(f"benchmark {name}: {path}:{line}:{error.colno}: not JSON: {error.msg}") from error


def cell(name: str, row: Row, *columns: str) -> Any:
    """The first of the columns that the row has, as data sets name them differently; told when it has none."""
    for column in columns:
        if row.get(column) is not None:
            return row[column]
    raise UserMistake(f"benchmark {name}: a row has none of the columns {', '.join(columns)}: it has {', '.join(row)}")


def math_items(name: str, rows: Iterable[Row]) -> Iterator[Query]:
    """Problems with a reference answer, as AIME and MATH publish them."""
    for number, row in enumerate(rows):
        problem = cell(name, row, "problem", "question", "Problem")
        answer = cell(name, row, "answer", "Answer", "expected_answer")
        given = next((row[c] for c in ("id", "unique_id", "ID", "problem_idx") if row.get(c) is not None), number)
        extra = {c: row[c] for c in ("subject", "level", "url", "year") if row.get(c) is not None}
        yield Query(
            (Message("user", str(problem).strip()),), "math", id=str(given), source=name,
            ground_truth=str(answer).strip(), extra=extra or None,
        )  # fmt: skip
