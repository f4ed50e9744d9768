"""Train: one student per teacher's dataset with identical settings, here or by a hand-off to a trainer.

In: 5-datasets/TEACHER/{parallel,superset}.parquet, a trainer (as a part). Out: 6-students/TEACHER/, with every row
that is not trained on in excluded.jsonl, samples as they are rendered in rendered.txt, and the student or the hand-off.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow.parquet as pq

from stillhouse.records import Part, TeacherSpec, UserMistake

PROVED = 200  # rows of each dataset that the proof renders in every form
NOT_SHARED, HELD_BACK = "not_shared", "held_back"


class Trainer(Protocol):
    """What makes a student: students/local.py, students/handoff_trainer.py, or a part of one's own.

    kind: "local" trains here; "handoff" writes for a trainer elsewhere, into a folder of its `folder_name`. checked:
    whether it can prove that thinking is trained, as every trainer must unless it was told to go without.
    """

    kind: str
    checked: bool

    def check(self, rows: Sequence[Mapping[str, Any]]) -> Any: ...
    def measure(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]: ...
    def train(
        self, rows: Iterable[Mapping[str, Any]], folder: Path, *, name: str, seed: int, lengths: Sequence[int]
    ) -> dict[str, Any]: ...


@dataclass
class Measured:
    """One teacher's rows as the trainer sees them. tokens: by key, of what can be trained on; excluded: the others."""

    file: Path
    tokens: dict[str, int] = field(default_factory=dict)
    excluded: list[dict[str, str]] = field(default_factory=list)
    chosen: set[str] = field(default_factory=set)


def train(
    run: Any,
    *,
    teachers: Sequence[TeacherSpec],
    trainer: Part,
    dataset: Literal["parallel", "superset"] = "parallel",
    equal: Literal["queries", "tokens"] = "queries",
    seeds: Sequence[int] = (42,),
    check: bool = False,
    watch: Callable[[Mapping[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Prove that thinking is trained, choose the rows, train. check: stop after the proof, which is returned as lines.
    Returns counts per teacher; rows = trained + excluded (by rule). watch: is told the steps of a trainer that has a
    `watch` of its own to call.

    equal queries: of the parallel set every student gets the same queries, without those that any of them cannot
    take. equal tokens: of those, in one order drawn from the first seed, as many as fit the smallest teacher's tokens.
    """
    folder = Path(getattr(run, "folder", run))
    chosen = _allowed(folder, teachers, dataset, seeds)
    worker: Trainer = trainer.build()
    if watch is not None and hasattr(worker, "watch"):
        worker.watch = watch
    if check or worker.checked:
        shown = {spec.name: _prove(worker, folder, spec, chosen[spec.name]) for spec in teachers}
    if check:
        return {"checked": shown}
    measured = {spec.name: _measure(worker, chosen[spec.name]) for spec in teachers}
    _choose(measured, dataset, equal, seeds[0])
    counts: dict[str, Any] = {}
    for spec in teachers:
        place = folder / "6-students" / spec.name
        _write_lines(place / "excluded.jsonl", measured[spec.name].excluded)
        students = [_student(worker, spec, measured[spec.name], place, seed, len(seeds) > 1) for seed in seeds]
        counts[spec.name] = _counts(measured[spec.name], students)
    notes = [
        f"{s.name}: its terms are unknown: may its replies be trained on?" for s in teachers if s.terms == "unknown"
    ]
    return counts | ({"notes": notes} if notes else {})


def _allowed(folder: Path, teachers: Sequence[TeacherSpec], dataset: str, seeds: Sequence[int]) -> dict[str, Path]:
    """Each teacher's dataset; everything that forbids training is told at once."""
    problems, files = [], {}
    if not seeds:
        problems.append("train: seeds is empty")
    for spec in teachers:
        files[spec.name] = folder / "5-datasets" / spec.name / f"{dataset}.parquet"
        if spec.terms == "no":
            problems.append(f"{spec.name}: its terms forbid training on its replies (terms: no); leave it out of train")
        elif not files[spec.name].is_file():
            problems.append(
                f"{spec.name}: there is no dataset {files[spec.name]}; run `stillhouse export {folder}` first"
            )
        elif not pq.ParquetFile(files[spec.name]).metadata.num_rows:
            problems.append(f"{spec.name}: its dataset {files[spec.name].name} has no rows")
    if problems:
        raise UserMistake(*problems)
    return files


COLUMNS = ("key", "messages", "thinking", "answer")


def dataset_rows(file: Path, keys: Collection[str] | None = None) -> Iterator[dict[str, Any]]:
    """What of a dataset's rows is trained on, in order of the file; only those of `keys` where given."""
    for batch in pq.ParquetFile(file).iter_batches(1000, columns=list(COLUMNS)):
        for row in batch.to_pylist():
            if keys is None or row["key"] in keys:
                yield row


def _prove(worker: Trainer, folder: Path, spec: TeacherSpec, file: Path) -> list[str]:
    try:
        proof = worker.check(list(islice(dataset_rows(file), PROVED)))
    except UserMistake as mistake:
        raise UserMistake(*(f"{spec.name}: {problem}" for problem in mistake.problems)) from mistake
    place = folder / "6-students" / spec.name
    place.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join(proof.shown)
    (place / "rendered.txt").write_text(text + "\n", encoding="utf-8")
    return [f"{spec.name}: {proof.told}", *proof.shown]


def _measure(worker: Trainer, file: Path) -> Measured:
    measured = Measured(file)
    denied = pq.read_table(file, columns=["key"], filters=[("source_terms", "=", "no")])
    forbidden = set(denied["key"].to_pylist())
    free = (row for row in dataset_rows(file) if row["key"] not in forbidden)
    measured.excluded += [
        {"key": key, "rule": "terms", "reason": "its source's terms forbid training on it"} for key in sorted(forbidden)
    ]
    for key, found in worker.measure(free):
        if isinstance(found, int):
            measured.tokens[key] = found
        else:
            measured.excluded.append({"key": key, "rule": found.rule, "reason": found.reason})
    return measured


def _choose(measured: Mapping[str, Measured], dataset: str, equal: str, seed: int) -> None:
    """Which keys each student is trained on; the others are excluded with a rule."""
    for part in measured.values():
        part.chosen = set(part.tokens)
    if dataset == "parallel":
        shared = set.intersection(*(part.chosen for part in measured.values()))
        for part in measured.values():
            _exclude(part, part.chosen - shared, NOT_SHARED, "another teacher's row of this query cannot be trained on")
    if equal == "tokens":
        budget = min(sum(part.tokens[key] for key in part.chosen) for part in measured.values())
        for part in measured.values():
            kept = _prefix(part, budget, seed)
            _exclude(part, part.chosen - kept, HELD_BACK, f"beyond the {budget} tokens that every student gets")


def _prefix(part: Measured, budget: int, seed: int) -> set[str]:
    """Keys in an order that depends on seed and key alone, so that it is one for all teachers, up to the budget."""
    keys = sorted(part.chosen)
    order = np.random.default_rng(seed).random(len(keys)) if keys else np.empty(0)
    ranked = [keys[i] for i in np.argsort(order, kind="stable")]
    spent = np.cumsum([part.tokens[key] for key in ranked])
    return set(ranked[: int(np.searchsorted(spent, budget, side="right"))])


def _exclude(part: Measured, keys: set[str], rule: str, reason: str) -> None:
    part.excluded += [{"key": key, "rule": rule, "reason": reason} for key in sorted(keys)]
    part.chosen -= keys


def _student(
    worker: Trainer, spec: TeacherSpec, part: Measured, place: Path, seed: int, several: bool
) -> dict[str, Any]:
    """Train or hand off one student; names are TEACHER, or TEACHER-seed-N where there are several."""
    name = f"{spec.name}-seed-{seed}" if several else spec.name
    own = str(getattr(worker, "folder_name", "")) or f"seed-{seed}"
    if worker.kind == "handoff" and several:
        own = f"{own}-seed-{seed}"
    rows = dataset_rows(part.file, part.chosen)
    lengths = [part.tokens[key] for key in sorted(part.chosen)]
    made = worker.train(rows, place / own, name=name, seed=seed, lengths=lengths)
    return {**made, "folder": str(place / own)}


def _counts(part: Measured, students: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "rows": len(part.chosen) + len(part.excluded),
        "trained": len(part.chosen),
        "tokens": sum(part.tokens[key] for key in part.chosen),
        "excluded": dict(sorted(Counter(row["rule"] for row in part.excluded).items())),
        "students": [dict(student) for student in students],
    }


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
