"""Views across teachers: who solves what, agreement, length against difficulty, and the funnel of counts.

In: a Population and the run folder. Out: plain dicts for report.json.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stillhouse.comparing.population import Bools, Population
from stillhouse.stats import means
from stillhouse.store.run import Run
from stillhouse.store.tables import read_rows, table_files
from stillhouse.store.verdicts import load_verdicts


def by_category(population: Population, seed: int) -> dict[str, dict[str, Any]]:
    """The views below, of the queries of each category alone."""
    out: dict[str, dict[str, Any]] = {}
    for code, name in enumerate(population.categories):
        within = np.asarray(population.category == code, np.bool_)
        out[name] = {
            "queries": int(within.sum()),
            "parallel": int((population.parallel & within).sum()),
            "overlap": overlap(population, within),
            "wins": [] if population.selected else wins(population, within),
            "difficulty": [] if population.selected else difficulty(population, seed, within),
        }
    return out


def overlap(population: Population, within: Bools | None = None) -> list[dict[str, Any]]:
    """For each set of teachers the number of queries that exactly they solved (kept, for datasets that exist)."""
    names = list(population.sides)
    solved = [side.kept if population.selected else side.in_state("verified") for side in population.sides.values()]
    scope = np.ones(population.size, np.bool_) if within is None else within
    if not names:
        return []
    codes = np.zeros(int(scope.sum()), np.int64)
    for place, mask in enumerate(solved):
        codes |= mask[scope].astype(np.int64) << place
    out = [
        {"teachers": [name for place, name in enumerate(names) if code >> place & 1], "queries": int(count)}
        for code, count in zip(*np.unique(codes, return_counts=True), strict=True)
    ]
    return sorted(out, key=lambda row: (-len(row["teachers"]), -row["queries"]))


def wins(population: Population, within: Bools | None = None) -> list[dict[str, Any]]:
    """First attempts of each pair of teachers: both passed, only a, only b, neither; and Cohen's kappa."""
    scope = np.ones(population.size, np.bool_) if within is None else within
    out = []
    for a, b in combinations(population.sides, 2):
        x, y = population.sides[a].first, population.sides[b].first
        judged = (x >= 0) & (y >= 0) & scope
        total = int(judged.sum())
        both, only_a = int(((x == 1) & (y == 1) & judged).sum()), int(((x == 1) & (y == 0) & judged).sum())
        only_b = int(((x == 0) & (y == 1) & judged).sum())
        out.append({
            "a": a, "b": b, "n": total, "both": both, "only_a": only_a, "only_b": only_b,
            "neither": total - both - only_a - only_b, "kappa": _kappa(both, only_a, only_b, total),
        })  # fmt: skip
    return out


def _kappa(both: int, only_a: int, only_b: int, total: int) -> float | None:
    if not total:
        return None
    agree = (total - only_a - only_b) / total
    rate_a, rate_b = (both + only_a) / total, (both + only_b) / total
    chance = rate_a * rate_b + (1 - rate_a) * (1 - rate_b)
    return None if chance >= 1 else (agree - chance) / (1 - chance)


def difficulty(population: Population, seed: int, within: Bools | None = None) -> list[dict[str, Any]]:
    """Mean length of a teacher's first attempts by how many of the OTHER teachers failed theirs.

    A teacher's own failures say nothing here: they make its replies longer by themselves. Queries on which some
    other teacher's first attempt has no verdict are left out.
    """
    out: list[dict[str, Any]] = []
    scope = np.ones(population.size, np.bool_) if within is None else within
    for name, side in population.sides.items():
        others = [other.first for key, other in population.sides.items() if key != name]
        if not others:
            return []
        judged = np.logical_and.reduce([first >= 0 for first in others]) & scope & ~np.isnan(side.first_tokens)
        failed = sum(((first == 0).astype(int) for first in others), np.zeros(population.size, int))
        for level in range(len(others) + 1):
            values = side.first_tokens[judged & (failed == level)]
            interval = means.mean_interval(values, seed=seed)
            out.append({
                "teacher": name, "others_failed": level, "others": len(others), "n": int(values.size),
                "mean": float(values.mean()) if values.size else None,
                "low": interval[0] if interval else None, "high": interval[1] if interval else None,
            })  # fmt: skip
    return out


def log_bins(columns: Mapping[str, NDArray[np.float64]], per_octave: int = 3) -> dict[str, Any] | None:
    """Counts of positive values in shared logarithmic bins, `per_octave` to each doubling; None when all are empty."""
    values = {name: column[~np.isnan(column)] for name, column in columns.items()}
    every = np.concatenate([np.maximum(column, 1) for column in values.values()] or [np.empty(0)])
    if not every.size:
        return None
    low = math.floor(math.log2(float(every.min())) * per_octave)
    high = max(low + 1, math.floor(math.log2(float(every.max())) * per_octave) + 1)
    edges = 2.0 ** (np.arange(low, high + 1) / per_octave)
    counts = {name: np.histogram(np.maximum(column, 1), edges)[0].tolist() for name, column in values.items()}
    return {"edges": edges.tolist(), "counts": counts}


def funnel(run: Run, population: Population) -> list[dict[str, Any]]:
    """Counts from the source rows to the parallel set: one list of steps, each with what it lost and why."""
    kept = _rows(table_files(run.queries, "kept"))
    rejected = rejected_rules(run)
    steps: list[dict[str, Any]] = []
    if kept is not None:
        total = kept + sum(rejected.values())
        steps.append({"step": "queries read", "teacher": None, "count": total, "lost": {}})
        steps.append({"step": "kept by curate", "teacher": None, "count": kept, "lost": rejected})
    for name, side in population.sides.items():
        states = {s: int(side.in_state(s).sum()) for s in ("waiting", "exhausted", "undecided", "too_long")}
        accepted = int(side.in_state("verified", "unverified").sum())
        steps.append({"step": "asked", "teacher": name, "count": int(side.asked.sum()), "lost": {}})
        steps.append({
            "step": "accepted", "teacher": name, "count": accepted, "lost": {k: v for k, v in states.items() if v},
        })  # fmt: skip
        steps.append(
            {"step": "kept by the filters", "teacher": name, "count": int(side.kept.sum()), "lost": side.dropped}
        )
    steps.append({"step": "parallel set", "teacher": None, "count": int(population.parallel.sum()), "lost": {}})
    return steps


def _rows(files: Iterable[Path]) -> int | None:
    counts = [pq.read_metadata(file).num_rows for file in files]
    return sum(counts) if counts else None


def rejected_rules(run: Run) -> dict[str, int]:
    """How many queries each rule of curate rejected."""
    out: dict[str, int] = {}
    for row in read_rows(table_files(run.queries, "rejected"), ["rule"], batch_rows=65536):
        out[row["rule"]] = out.get(row["rule"], 0) + 1
    return out


def contamination(run: Run, most: int = 50) -> dict[str, Any]:
    """What curate found of each benchmark: items, queries taken out by rule, and the first hits; empty without any."""
    file = run.queries / "contamination.json"
    if not file.exists():
        return {}
    benchmarks = orjson.loads(file.read_bytes())["benchmarks"]
    return {name: {**found, "hits": found["hits"][:most]} for name, found in benchmarks.items()}


def verdict_rules(run: Run) -> dict[str, dict[str, dict[str, int]]]:
    """Judged replies by teacher, rule and outcome, of the verdicts that decide."""
    table = load_verdicts(run.verdicts / "log", damage=[])
    out: dict[str, dict[str, dict[str, int]]] = {}
    for row in table.group_by(["teacher", "rule", "outcome"]).aggregate([([], "count_all")]).to_pylist():
        rules = out.setdefault(row["teacher"], {}).setdefault(row["rule"], {})
        rules[row["outcome"]] = row["count_all"]
    return out
