"""The stage `export`: one dataset per teacher over the same queries, as a repository that datasets can load.

In: accepted responses, filter verdicts, kept queries. Out: 5-datasets/TEACHER/{superset,parallel}.parquet with a card
each, queries.parquet, rejected.parquet and a card that names them all. Terms `no` write no training rows.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stillhouse.records import TeacherSpec
from stillhouse.stages.export_card import repository_card, teacher_card
from stillhouse.stages.export_rows import DATASET, dataset_rows, kept_keys, read_filters

ROW_GROUP = 1000  # small, so that a viewer or a random read touches little


@dataclass
class Counts:
    """What a dataset came to, for its card."""

    rows: int = 0
    categories: dict[str, int] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    rules: dict[str, int] = field(default_factory=dict)
    completion_tokens: int = 0
    thinking: int = 0
    cost_usd: float | None = 0.0

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            self.rows += 1
            for name, counts in (("category", self.categories), ("source", self.sources), ("verify_rule", self.rules)):
                counts[str(row[name])] = counts.get(str(row[name]), 0) + 1
            self.completion_tokens += row["completion_tokens"] or 0
            self.thinking += row["thinking"] is not None
            price = row["cost_usd"]
            self.cost_usd = None if self.cost_usd is None or price is None else self.cost_usd + price


def export(
    run: Any, *, teachers: Sequence[TeacherSpec], sources: Sequence[Mapping[str, str]] = (), name: str = ""
) -> dict[str, int]:
    """Write the datasets of a run. Returns rows per dataset, the parallel set, and what terms held back.

    run: the Run or its folder. sources: facts of the query sources (name, licence, terms), for the cards. name: of
    the run, for the cards.
    """
    folder = Path(getattr(run, "folder", run))
    out = folder / "5-datasets"
    out.mkdir(parents=True, exist_ok=True)
    dropped = {spec.name: read_filters(folder, spec.name) for spec in teachers}
    kept = {spec.name: kept_keys(folder, spec.name, dropped[spec.name][0]) for spec in teachers}
    parallel = set.intersection(*kept.values()) if kept else set()
    counts = {"parallel": len(parallel), "withheld": 0}
    for spec in teachers:
        place = out / spec.name
        if spec.terms == "no":
            counts["withheld"] += len(kept[spec.name])
            _withhold(place, spec, len(kept[spec.name]), len(parallel), sources)
            continue
        rows = dataset_rows(folder, spec, *dropped[spec.name])
        whole, shared = _write_teacher(place, rows, parallel)
        counts[spec.name] = whole.rows
        _write_text(place / "README.md", teacher_card(spec, whole, shared, sources, run=name or folder.name))
    _copy_queries(folder, out)
    _write_text(out / "README.md", repository_card(teachers, counts, sources, out, run=name or folder.name))
    return counts


def _write_teacher(place: Path, batches: Iterator[list[dict[str, Any]]], parallel: set[str]) -> tuple[Counts, Counts]:
    """Both files of a teacher in one pass; each appears whole or not at all."""
    place.mkdir(parents=True, exist_ok=True)
    whole, shared = Counts(), Counts()
    with Writer(place / "superset.parquet") as superset, Writer(place / "parallel.parquet") as both:
        for rows in batches:
            mine = [row for row in rows if row["key"] in parallel]
            superset.write(rows)
            both.write(mine)
            whole.add(rows)
            shared.add(mine)
    return whole, shared


class Writer:
    """A parquet file in the strict schema, with small row groups, a page index, and an atomic end."""

    def __init__(self, file: Path, schema: pa.Schema = DATASET) -> None:
        self.file, self.schema = file, schema
        self._partial = file.with_name(file.name + ".partial")
        self._waiting: list[dict[str, Any]] = []

    def __enter__(self) -> Writer:
        self._out = pq.ParquetWriter(
            self._partial, self.schema, compression="zstd", write_page_index=True, write_page_checksum=True
        )
        return self

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        self._waiting += rows
        while len(self._waiting) >= ROW_GROUP:
            self._put(self._waiting[:ROW_GROUP])
            self._waiting = self._waiting[ROW_GROUP:]

    def _put(self, rows: list[dict[str, Any]]) -> None:
        self._out.write_table(pa.Table.from_pylist(rows, self.schema), row_group_size=ROW_GROUP)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None and self._waiting:
                self._put(self._waiting)
        finally:
            self._out.close()
        if kind is not None:
            self._partial.unlink(missing_ok=True)
            return
        with self._partial.open("rb") as file:
            os.fsync(file.fileno())
        self._partial.replace(self.file)


def _withhold(place: Path, spec: TeacherSpec, kept: int, parallel: int, sources: Sequence[Mapping[str, str]]) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for left in ("superset.parquet", "parallel.parquet"):  # of an earlier export, before the terms were known
        (place / left).unlink(missing_ok=True)
    _write_text(place / "README.md", teacher_card(spec, None, None, sources, kept=kept, parallel=parallel))


def _copy_queries(folder: Path, out: Path) -> None:
    """The kept and the rejected queries beside the datasets, one file each."""
    for name, pattern in (("queries", "kept*.parquet"), ("rejected", "rejected*.parquet")):
        files = sorted((folder / "1-queries").glob(pattern))
        partial = out / f"{name}.parquet.partial"
        if len(files) == 1:
            shutil.copyfile(files[0], partial)
        elif files:
            schema = pa.unify_schemas([pq.read_schema(file) for file in files], promote_options="permissive")
            with pq.ParquetWriter(partial, schema, compression="zstd", write_page_index=True) as writer:
                for file in files:
                    for group in range(pq.ParquetFile(file).num_row_groups):
                        table = pq.ParquetFile(file).read_row_group(group)
                        writer.write_table(
                            pa.concat_tables([schema.empty_table(), table], promote_options="permissive")
                        )
        else:
            continue
        partial.replace(out / f"{name}.parquet")


def _write_text(file: Path, text: str) -> None:
    partial = file.with_name(file.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)
