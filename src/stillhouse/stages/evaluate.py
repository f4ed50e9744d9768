"""Evaluate: every student answers every benchmark, a fixed number of samples an item, and is compared item by item.

In: benchmarks (as parts) and candidates, each with a way to ask (the run's one loop). Out: 7-evaluations/NAME.json for
each candidate, with every item's counts, and 7-evaluations/pairs.json with the paired differences between them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from stillhouse.evaluating.pairs import compare_all
from stillhouse.evaluating.scores import Answers, Item, items_of, mean_over_benchmarks, summary
from stillhouse.records import Part, Query, UserMistake


@dataclass(frozen=True)
class Candidate:
    """Who is evaluated. ask_all: for a benchmark, how it is asked under its limits and sampling (evaluate_asking).

    teacher: whose dataset it was trained on, None for a base or another endpoint; seed: of its training; control:
    what it is a control for ("base", "base with worked examples"), "" for a student; family: its base's lineage;
    probe: what it is where it is no student that one would use, but a small one that stands in for it; most_tokens: of
    a reply, where that is less than the benchmark's limit.
    """

    name: str
    ask_all: Callable[[BenchmarkLike], Callable[[Sequence[Query], int], Answers]]
    teacher: str | None = None
    seed: int | None = None
    control: str = ""
    family: str = ""
    note: str = ""
    probe: str = ""
    most_tokens: int | None = None


@dataclass(slots=True)
class Evaluated:
    """What evaluate ends with. outcome: done, or why it stopped (problem says more): then what was not asked is not in
    the files, and to call again is to go on. counts: candidate -> benchmark -> items, asked, waiting, unknown,
    pass_at_1. waits: candidate -> reason -> queries."""

    outcome: str = "done"
    problem: str = ""
    counts: dict[str, dict[str, Any]] = field(default_factory=dict)
    waits: dict[str, dict[str, int]] = field(default_factory=dict)


class BenchmarkLike(Protocol):
    """What the stage reads of a benchmark (benchmarks/benchmark.py)."""

    @property
    def name(self) -> str: ...
    @property
    def category(self) -> str: ...
    @property
    def samples(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def temperature(self) -> float: ...
    @property
    def top_p(self) -> float: ...
    @property
    def verifier(self) -> Mapping[str, Any]: ...

    def queries(self) -> list[Query]: ...


def evaluate(
    run: Any,
    *,
    candidates: Sequence[Candidate],
    benchmarks: Sequence[tuple[Part, int | None]],
    limit: int | None = None,
    alone: bool = True,
) -> Evaluated:
    """Ask, count, write. benchmarks: a part and its samples per item, None for the benchmark's own.

    alone: files of students and controls that are not among these are taken away (their replies stay in the journal),
    as are benchmarks that are not; otherwise these are added to what stands. What the loop could not ask or judge (a
    budget, a dead endpoint) is `waiting`; nothing is paid for twice.
    """
    built = [(part.build(), samples) for part, samples in benchmarks]
    _check(candidates, built)
    asked = [(b, _limited(b.queries(), limit), samples or b.samples) for b, samples in built]
    out = Path(getattr(run, "folder", run)) / "7-evaluations"
    out.mkdir(parents=True, exist_ok=True)
    done = Evaluated()
    for candidate in candidates:
        made = _one(candidate, asked, limit, done)
        file = out / f"{candidate.name}.json"
        _write(file, made if alone else _beside(made, file))
        done.counts[candidate.name] = {
            name: {key: part[key] for key in ("items", "asked", "waiting", "unknown", "pass_at_1")}
            for name, part in made["benchmarks"].items()
        }
        if done.outcome != "done":
            break
    if alone and done.outcome == "done":
        for file in set(_files(out)) - {out / f"{candidate.name}.json" for candidate in candidates}:
            former = json.loads(file.read_text(encoding="utf-8"))
            if former["teacher"] or former["control"]:
                file.unlink()
    order = {candidate.name: place for place, candidate in enumerate(candidates)}
    stand = [json.loads(file.read_text(encoding="utf-8")) for file in _files(out)]
    stand.sort(key=lambda one: (order.get(one["student"], len(order)), one["student"]))
    _write(out / "pairs.json", compare_all(stand))
    return done


def _files(folder: Path) -> list[Path]:
    """The candidates' files."""
    return [file for file in sorted(folder.glob("*.json")) if file.name != "pairs.json"]


def _beside(made: dict[str, Any], file: Path) -> dict[str, Any]:
    """With the benchmarks that stand in the candidate's file and were not asked now."""
    if not file.exists():
        return made
    parts = {**json.loads(file.read_text(encoding="utf-8"))["benchmarks"], **made["benchmarks"]}
    return {**made, "benchmarks": parts, **mean_over_benchmarks(parts)}


def _check(candidates: Sequence[Candidate], benchmarks: Sequence[tuple[BenchmarkLike, int | None]]) -> None:
    problems = []
    if not candidates:
        problems.append("evaluate: nobody to evaluate: train students, or name endpoints in `evaluate: {students}`")
    if not benchmarks:
        problems.append("evaluate: no benchmark: name one in `evaluate: {benchmarks: [math500:4]}`")
    for what, names in (("student", [c.name for c in candidates]), ("benchmark", [b.name for b, _ in benchmarks])):
        problems += [f"evaluate: two {what}s are named {n}" for n in sorted({n for n in names if names.count(n) > 1})]
    if problems:
        raise UserMistake(*problems)


def _limited(queries: list[Query], limit: int | None) -> list[Query]:
    """At most `limit` items: the same ones every time, drawn by content and not from the beginning."""
    if limit is None or limit >= len(queries):
        return queries
    chosen = {query.key for query in sorted(queries, key=lambda query: query.key)[:limit]}
    return [query for query in queries if query.key in chosen]


def _one(
    candidate: Candidate,
    asked: Sequence[tuple[BenchmarkLike, list[Query], int]],
    limit: int | None,
    done: Evaluated,
) -> dict[str, Any]:
    """One candidate's file; how the asking went is noted in `done`."""
    parts: dict[str, Any] = {}
    for benchmark, queries, samples in asked:
        answers = candidate.ask_all(benchmark)(queries, samples) if done.outcome == "done" else Answers(())
        if answers.outcome != "done":
            done.outcome, done.problem = answers.outcome, answers.problem
        for reason, count in answers.waits.items():
            mine = done.waits.setdefault(candidate.name, {})
            mine[reason] = mine.get(reason, 0) + count
        items = items_of(queries, samples, answers.rows)
        parts[benchmark.name] = {
            "category": benchmark.category,
            "samples": samples,
            "limit": limit,
            "max_tokens": min(benchmark.max_tokens, candidate.most_tokens or benchmark.max_tokens),
            "temperature": benchmark.temperature,
            "top_p": benchmark.top_p,
            **summary(items, samples),
            "per_item": [_told(item) for item in items],
        }
    return {
        "student": candidate.name,
        "teacher": candidate.teacher,
        "seed": candidate.seed,
        "control": candidate.control,
        "family": candidate.family,
        "note": candidate.note,
        "probe": candidate.probe,
        "made": time.time(),
        "benchmarks": parts,
        **mean_over_benchmarks(parts),
    }


def _told(item: Item) -> dict[str, Any]:
    return {
        "query": item.query, "id": item.id, "passed": item.passed, "judged": item.judged, "unknown": item.unknown,
        "asked": item.asked, "tokens": item.tokens, "truncated": item.truncated, "formatted": item.formatted,
        "tagged": item.tagged,
    }  # fmt: skip


def _write(path: Path, value: Any) -> None:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=1, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
