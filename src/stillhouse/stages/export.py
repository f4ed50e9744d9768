"""The stage `export`: one dataset per teacher over the same queries, as a repository that datasets can load.

In: accepted responses, filter verdicts, kept queries. Out: 5-datasets/TEACHER/{superset,parallel}.parquet with a card
each, queries.parquet, rejected.parquet and a card that names them all. Terms `no` write no training rows.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stillhouse.engines.engine import Engine
from stillhouse.engines.local import Local
from stillhouse.engines.shards import whole_file
from stillhouse.exporting.card import Made, repository_card, teacher_card, withheld_card
from stillhouse.exporting.push import check_terms
from stillhouse.exporting.push import push as upload
from stillhouse.exporting.rows import (
    SourceTerms,
    dropped_rules,
    kept_keys,
    read_filters,
    verifier_versions,
    write_supplied,
)
from stillhouse.exporting.shapes import SHAPES, check_shape, write_shape
from stillhouse.exporting.shards import SPAN_GROUPS, Counts, MakeRows
from stillhouse.records import Part, TeacherSpec
from stillhouse.store.queries import raw_keys
from stillhouse.store.run import Run
from stillhouse.store.segments import replaced
from stillhouse.store.tables import DATASET, QUERIES, REJECTED, conform, table_files
from stillhouse.store.tokens import TokenCounter, Tokenizer

ROW_GROUP = 1000  # small, so that a viewer or a random read touches little


def export(
    run: Run | Path,
    *,
    teachers: Sequence[TeacherSpec],
    tokenizer: Part | Tokenizer | None = None,
    sources: Sequence[Mapping[str, str]] = (),
    push: str | None = None,
    shape: str | None = None,
    engine: Engine | None = None,
) -> dict[str, int]:
    """Write the datasets of a run. Returns rows per dataset, the parallel set, and what terms held back.

    run: the Run or its folder. tokenizer: counts the column `tokens`, null without one. sources: facts of the query
    sources (name, licence, terms), for rows and cards. shape: one more shape beside the parquet (am, sharegpt,
    messages). push: a hub repository to upload to. engine: makes the rows and counts their tokens, span by span; one
    process where none is given. Raises UserMistake.
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
    kept = {spec.name: kept_keys(run, spec.name, read_filters(run, spec.name)[0]) for spec in teachers}
    parallel = set.intersection(*kept.values()) if kept else set()
    work = out / ".work"
    shutil.rmtree(work, ignore_errors=True)
    with whole_file(work / "parallel.npy") as temporary, temporary.open("wb") as file:
        np.save(file, raw_keys(sorted(parallel)))
    write_supplied(run, work / "supplied")
    counts = {"parallel": len(parallel), "withheld": 0, "terms_unknown": 0}
    for spec in teachers:
        place = out / spec.name
        place.mkdir(exist_ok=True)
        counts["terms_unknown"] += spec.terms == "unknown"
        if spec.terms == "no":
            counts["withheld"] += len(kept[spec.name])
            _withhold(place, spec, len(kept[spec.name]), len(parallel), sources)
            continue
        task = MakeRows(
            run.responses / f"accepted-{spec.name}.parquet", tuple(table_files(run.queries, "kept")),
            run.filters / f"{spec.name}.parquet", spec, terms, tokenizer, run.folder / ".cache", work / "parallel.npy",
            work / "supplied", work,
        )  # fmt: skip
        with contextlib.nullcontext(engine) if engine is not None else Local(1) as worker:
            whole, shared = _write_teacher(place, task, worker, tokens)
        counts[spec.name] = whole.rows
        counts["withheld"] += whole.withheld
        if shape is not None:
            write_shape(place, shape, parallel)
        made = Made(run.name, tokens.name, verifier_versions(run), dropped_rules(run, spec.name))
        _write_text(place / "README.md", teacher_card(spec, whole, shared, sources, made))
    tokens.save()
    shutil.rmtree(work)
    _copy_queries(run, out, terms)
    _write_text(out / "README.md", repository_card(teachers, counts, sources, out, run.name))
    if push is not None:
        upload(out, push, teachers)
    return counts


def _write_teacher(place: Path, task: MakeRows, engine: Engine, tokens: TokenCounter) -> tuple[Counts, Counts]:
    """Both files of a teacher in one pass; each appears whole or not at all."""
    whole, shared = Counts(), Counts()
    with Writer(place / "superset.parquet") as superset, Writer(place / "parallel.parquet") as both:
        groups = pq.read_metadata(task.accepted).num_row_groups if task.accepted.exists() else 0
        spans = [(first, min(first + SPAN_GROUPS, groups)) for first in range(0, groups, SPAN_GROUPS)]
        for made in engine.imap(task, spans):
            with pa.memory_map(str(made.file)) as source, pa.ipc.open_file(source) as file:
                rows = file.read_all()
                superset.write(rows)
                both.write(rows.filter(pa.array(made.shared)))
            made.file.unlink()
            whole.join(made.superset)
            shared.join(made.parallel)
            tokens.learn(made.counted)
    return whole, shared


class Writer:
    """A parquet file in the strict schema, with small row groups, a page index, and an atomic end."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._waiting = DATASET.empty_table()
        self._stack = ExitStack()

    def __enter__(self) -> Writer:
        temporary = self._stack.enter_context(replaced(self._file))
        options: dict[str, Any] = {"compression": "zstd", "write_page_index": True, "write_page_checksum": True}
        self._out = self._stack.enter_context(pq.ParquetWriter(temporary, DATASET, **options))
        return self

    def write(self, rows: pa.Table) -> None:
        self._waiting = pa.concat_tables([self._waiting, rows])
        full = len(self._waiting) // ROW_GROUP * ROW_GROUP
        if full:
            self._put(self._waiting[:full])
            self._waiting = self._waiting[full:].combine_chunks()  # lets go of what was written

    def _put(self, rows: pa.Table) -> None:
        self._out.write_table(rows, row_group_size=ROW_GROUP)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and len(self._waiting):
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
