"""Paired differences between candidates, item by item, and how their length follows the items' difficulty.

In: the contents of 7-evaluations/NAME.json. Out: the contents of pairs.json. Seeds of one teacher's student are
averaged within an item; where there are several, they are drawn anew too, so that their spread is in the interval.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.stats.families import holm
from stillhouse.stats.means import percentile_interval, sign_flip
from stillhouse.stats.rates import Interval, paired_rates

RESAMPLES = 2000
MEASURES = ("pass_at_1", "length")
Made = Mapping[str, Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    """Candidates that stand for one name: the seeds of a teacher's student, or a single candidate."""

    name: str
    kind: str
    members: tuple[Made, ...]


def groups(made: Sequence[Made]) -> list[Group]:
    """Students by teacher, everyone else alone; in order of first appearance."""
    found: dict[tuple[str, str], list[Made]] = {}
    for one in made:
        alone = one["teacher"] is None or one["control"]
        key = ("candidate", one["student"]) if alone else ("teacher", one["teacher"])
        found.setdefault(key, []).append(one)
    return [Group(name, kind, tuple(members)) for (kind, name), members in found.items()]


def compare_all(made: Sequence[Made]) -> dict[str, Any]:
    """pairs: per benchmark and over all of them (benchmark None, each weighing the same). Holm's correction runs over
    the pairs of one measure and benchmark."""
    sides = groups(made)
    rows: list[dict[str, Any]] = []
    for measure in MEASURES:
        for benchmark in [*_all(made), None]:
            family = [row for a, b in combinations(sides, 2) if (row := _pair(a, b, benchmark, measure))]
            adjusted = holm([row["p"] for row in family])
            rows += [{**row, "holm_p": p} for row, p in zip(family, adjusted, strict=True)]
    return {"groups": [_told(side) for side in sides], "pairs": rows, "adaptive": list(adaptive(made))}


def _all(made: Sequence[Made]) -> list[str]:
    return list(dict.fromkeys(name for one in made for name in one["benchmarks"]))


def _shared(made: Sequence[Made]) -> list[str]:
    """The benchmarks that all of these were asked."""
    return [name for name in _all(made) if all(name in one["benchmarks"] for one in made)]


def _told(side: Group) -> dict[str, Any]:
    means = [m["student_mean"] for m in side.members if m["student_mean"] is not None]
    spread = float(np.std(means, ddof=1)) if len(means) > 1 else None
    return {
        "name": side.name, "kind": side.kind, "students": [m["student"] for m in side.members],
        "student_mean": float(np.mean(means)) if means else None, "seeds": len(side.members), "seed_sd": spread,
    }  # fmt: skip


def _pair(a: Group, b: Group, benchmark: str | None, measure: str) -> dict[str, Any] | None:
    """Mean difference a - b over the shared items, its bootstrap interval, and a sign-flip test over items."""
    names = _shared([*a.members, *b.members])
    if benchmark is None and len(names) < 2:
        return None
    names = names if benchmark is None else [benchmark] if benchmark in names else []
    tables = [_both(a, b, name, measure) for name in names]
    if not tables or any(not left.size for left, _ in tables):
        return None
    draws = np.zeros(RESAMPLES)
    observed, flips = 0.0, []
    for seed, (left, right) in enumerate(tables):
        differences = left.mean(0) - right.mean(0)
        observed += float(differences.mean()) / len(tables)
        draws += _resampled(left, right, seed + 1) / len(tables)
        flips.append(differences / differences.size)
    limits = {}
    for confidence in (0.95, 0.90):  # the narrower one is what `equal` is judged by
        interval = _score_interval(tables, confidence) if measure == "pass_at_1" else None
        limits[confidence] = interval or percentile_interval(draws, confidence) or (None, None)
    return {
        "a": a.name, "b": b.name, "benchmark": benchmark, "measure": measure, "difference": observed,
        "low": limits[0.95][0], "high": limits[0.95][1], "low_90": limits[0.90][0], "high_90": limits[0.90][1],
        "a_value": _level(tables, 0), "b_value": _level(tables, 1),
        "p": sign_flip(np.concatenate(flips)), "items": int(sum(left.shape[1] for left, _ in tables)),
    }  # fmt: skip


def _level(tables: Sequence[tuple[Floats, Floats]], side: int) -> float:
    """One side's mean over the shared items, every benchmark weighing the same."""
    return float(np.mean([table[side].mean() for table in tables]))


def _score_interval(tables: Sequence[tuple[Floats, Floats]], confidence: float) -> Interval | None:
    """With one sample an item and one seed rates are 0 or 1: a score interval holds where a bootstrap collapses."""
    if len(tables) != 1 or any(side.shape[0] > 1 or np.any((side != 0) & (side != 1)) for side in tables[0]):
        return None
    left, right = tables[0]
    with np.errstate(invalid="ignore"):  # at a difference of exactly one, its score is 0 / 0 at the end of the range
        return paired_rates(int((left > right).sum()), int((left < right).sum()), left.shape[1], confidence)


def _both(a: Group, b: Group, benchmark: str, measure: str) -> tuple[Floats, Floats]:
    """(seeds, items) of each side over the items that every member of both sides has a figure for."""
    columns = [[_figures(m, benchmark, measure) for m in side.members] for side in (a, b)]
    shared = set.intersection(*(set(c) for side in columns for c in side))
    order = [item["query"] for item in a.members[0]["benchmarks"][benchmark]["per_item"] if item["query"] in shared]
    left, right = (np.array([[c[q] for q in order] for c in side], np.float64) for side in columns)
    return left, right


def _figures(made: Made, benchmark: str, measure: str) -> dict[str, float]:
    items = made["benchmarks"][benchmark]["per_item"]
    if measure == "pass_at_1":
        return {i["query"]: i["passed"] / i["judged"] for i in items if i["judged"]}
    return {i["query"]: i["tokens"] / i["asked"] for i in items if i["asked"]}


def _resampled(left: Floats, right: Floats, seed: int) -> Floats:
    """Differences of means under resampling of items, shared by both sides, and of each side's seeds."""
    random = np.random.default_rng(seed)
    items = left.shape[1]
    out = np.empty(RESAMPLES)
    for turn in range(RESAMPLES):
        chosen = random.integers(0, items, items)
        means = []
        for side in (left, right):
            seeds = random.integers(0, side.shape[0], side.shape[0]) if side.shape[0] > 1 else np.zeros(1, np.int64)
            means.append(side[np.ix_(seeds, chosen)].mean())
        out[turn] = means[0] - means[1]
    return out


BANDS = ((0.8, "easy"), (0.4, "middle"), (-1.0, "hard"))


def adaptive(made: Sequence[Made]) -> Iterator[dict[str, Any]]:
    """Each candidate's mean length on easy, middle and hard items: difficulty is what all the others make of an item
    (of all where there is only one), so that a candidate's own luck does not sort its items."""
    for benchmark in _all(made):
        there = [one for one in made if benchmark in one["benchmarks"]]
        passed = {m["student"]: _figures(m, benchmark, "pass_at_1") for m in there}
        for one in there:
            others = [p for name, p in passed.items() if name != one["student"]] or list(passed.values())
            lengths = _figures(one, benchmark, "length")
            bands: dict[str, list[float]] = {name: [] for _, name in BANDS}
            for query, length in lengths.items():
                told = [p[query] for p in others if query in p]
                if told:
                    bands[next(name for least, name in BANDS if float(np.mean(told)) >= least)].append(length)
            for name, values in bands.items():
                yield {
                    "benchmark": benchmark, "student": one["student"], "teacher": one["teacher"], "difficulty": name,
                    "items": len(values), "mean_length": float(np.mean(values)) if values else None,
                }  # fmt: skip
