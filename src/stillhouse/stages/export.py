"""The stage `export`: one dataset per teacher over the same queries, as a repository that datasets can load.

In: accepted responses, filter verdicts, kept queries. Out: 5-datasets/TEACHER/{superset,parallel}.parquet with a card
each, queries.parquet, rejected.parquet and a card that names them all. Terms `no` write no training rows.
"""

from __future__ import annotations

import shutil
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stillhouse.records import Part, TeacherSpec
from stillhouse.stages.export_card import Made, repository_card, teacher_card, withheld_card
from stillhouse.stages.export_push import check_terms
from stillhouse.stages.export_push import push as upload
from stillhouse.stages.export_rows import (
    SourceTerms,
    dataset_rows,
    dropped_rules,
    kept_keys,
    read_filters,
    verifier_versions,
)
from stillhouse.stages.export_shapes import SHAPES, check_shape, write_shape
from stillhouse.store.run import Run
from stillhouse.store.segments import replaced
from stillhouse.store.tables import DATASET, QUERIES, REJECTED, conform, table_files, to_table
from stillhouse.store.tokens import TokenCounter, Tokenizer

ROW_GROUP = 1000  # small, so that a viewer or a random read touches little


@dataclass
class Counts:
    """What a dataset came to, for its card."""

    rows: int = 0
    withheld: int = 0
    categories: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    completion_tokens: int = 0
    lengths: array[int] = field(default_factory=lambda: array("q"))
    perplexity: array[float] = field(default_factory=lambda: array("d"))
    thinking: int = 0
    cost_usd: float | None = 0.0

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            self.rows += 1
            self.categories[row["category"]] += 1
            self.sources[row["source"]] += 1
            self.rules[row["verify_rule"] or "none"] += 1
            self.models[row["model"] or ""] += 1
            self.attempts[row["attempt"]] += 1
            self.completion_tokens += row["completion_tokens"] or 0
            if row.get("tokens") is not None:
                self.lengths.append(row["tokens"])
            if row["ppl"] is not None:
                self.perplexity.append(row["ppl"])
            self.thinking += row["thinking"] is not None
            price = row["cost_usd"]
            self.cost_usd = None if self.cost_usd is None or price is None else self.cost_usd + price


def export(
    run: Run | Path,
    *,
    teachers: Sequence[TeacherSpec],
    tokenizer: Part | Tokenizer | None = None,
    sources: Sequence[Mapping[str, str]] = (),
    push: str | None = None,
    shape: str | None = None,
) -> dict[str, int]:
    """Write the datasets of a run. Returns rows per dataset, the parallel set, and what terms held back.

    run: the Run or its folder. tokenizer: counts the column `tokens`, null without one. sources: facts of the query
    sources (name, licence, terms), for rows and cards. shape: one more shape beside the parquet (am, sharegpt,
    messages). push: a hub repository to upload to. Raises UserMistake.
    """
    if shape is not None:
        check_shape(shape)
    if push is not None:
        check_terms(teachers, sources)
    run = run if isinstance(run, Run) else Run(run, read_only=True)
    out = run.datasets
    out.mkdir(parents=True, exist_ok=True)
    tokens = TokenCounter(tokenizer, run.folder / ".cache")
    terms = SourceTerms(sources)
    filtered = {spec.name: read_filters(run, spec.name) for spec in teachers}
    kept = {spec.name: kept_keys(run, spec.name, filtered[spec.name][0]) for spec in teachers}
    parallel = set.intersection(*kept.values()) if kept else set()
    counts = {"parallel": len(parallel), "withheld": 0, "terms_unknown": 0}
    for spec in teachers:
        place = out / spec.name
        place.mkdir(exist_ok=True)
        counts["terms_unknown"] += spec.terms == "unknown"
        if spec.terms == "no":
            counts["withheld"] += len(kept[spec.name])
            _withhold(place, spec, len(kept[spec.name]), len(parallel), sources)
            continue
        rows = dataset_rows(run, spec, *filtered[spec.name], terms)
        whole, shared = _write_teacher(place, rows, parallel, tokens)
        counts[spec.name] = whole.rows
        counts["withheld"] += whole.withheld
        if shape is not None:
            write_shape(place, shape, parallel)
        made = Made(run.name, tokens.name, verifier_versions(run), dropped_rules(run, spec.name))
        _write_text(place / "README.md", teacher_card(spec, whole, shared, sources, made))
    tokens.save()
    _copy_queries(run, out, terms)
    _write_text(out / "README.md", repository_card(teachers, counts, sources, out, run.name))
    if push is not None:
        upload(out, push, teachers)
    return counts


def _write_teacher(
    place: Path, batches: Iterator[list[dict[str, Any]]], parallel: set[str], tokens: TokenCounter
) -> tuple[Counts, Counts]:
    """Both files of a teacher in one pass; each appears whole or not at all."""
    whole, shared = Counts(), Counts()
    with Writer(place / "superset.parquet") as superset, Writer(place / "parallel.parquet") as both:
        for rows in batches:
            if tokens.works:
                for row, size in zip(rows, tokens.count([row["response"] for row in rows]), strict=True):
                    row["tokens"] = int(size)
            allowed = [row for row in rows if row["source_terms"] != "no"]
            whole.withheld += len(rows) - len(allowed)
            rows = allowed
            mine = [row for row in rows if row["key"] in parallel]
            superset.write(rows)
            both.write(mine)
            whole.add(rows)
            shared.add(mine)
    return whole, shared


class Writer:
    """A parquet file in the strict schema, with small row groups, a page index, and an atomic end."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._waiting: list[dict[str, Any]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Writer:
        temporary = self._stack.enter_context(replaced(self._file))
        options: dict[str, Any] = {"compression": "zstd", "write_page_index": True, "write_page_checksum": True}
        self._out = self._stack.enter_context(pq.ParquetWriter(temporary, DATASET, **options))
        return self

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        self._waiting += rows
        while len(self._waiting) >= ROW_GROUP:
            self._put(self._waiting[:ROW_GROUP])
            self._waiting = self._waiting[ROW_GROUP:]

    def _put(self, rows: list[dict[str, Any]]) -> None:
        self._out.write_table(to_table(rows, DATASET), row_group_size=ROW_GROUP)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._waiting:
            try:
                self._put(self._waiting)
            except BaseException as broken:
                self._stack.__exit__(type(broken), broken, broken.__traceback__)
                raise
        self._stack.__exit__(kind, error, trace)


def _withhold(place: Path, spec: TeacherSpec, kept: int, parallel: int, sources: Sequence[Mapping[str, str]]) -> None:
    for left in ("superset.parquet", "parallel.parquet"):  # of an earlier export, before the terms were known
        (place / left).unlink(missing_ok=True)
    for shape in SHAPES:
        shutil.rmtree(place / shape, ignore_errors=True)
    _write_text(place / "README.md", withheld_card(spec, sources, kept, parallel))


def _copy_queries(run: Run, out: Path, terms: SourceTerms) -> None:
    """The kept and the rejected queries beside the datasets, one file each, but for sources that do not allow it."""
    for name, stem, schema in (("queries", "kept", QUERIES), ("rejected", "rejected", REJECTED)):
        files = table_files(run.queries, stem)
        if not files:
            continue
        with (
            replaced(out / f"{name}.parquet") as temporary,
            pq.ParquetWriter(temporary, schema, compression="zstd", write_page_index=True) as writer,
        ):
            for file in files:
                for group in range(pq.read_metadata(file).num_row_groups):
                    table = conform(pq.ParquetFile(file).read_row_group(group), schema)
                    allowed = pa.array([terms.of(source) != "no" for source in table["source"].to_pylist()], pa.bool_())
                    writer.write_table(table.filter(allowed), row_group_size=ROW_GROUP)


def _write_text(file: Path, text: str) -> None:
    with replaced(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
