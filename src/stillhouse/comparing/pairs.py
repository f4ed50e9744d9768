"""Teachers against each other on the same queries: differences with intervals, corrected p-values, outcomes.

In: a Population. Out: rows of report.json's `pairs` (the primary family: each pair of teachers x each measure over
all queries) and of `exploratory` (parallel lengths, perplexity, categories; a family of their own).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from stillhouse.comparing.population import Bools, Floats, Population, Side
from stillhouse.comparing.sections import money
from stillhouse.stats import families, means, rates, ratios

MEASURES = ("pass_at_1", "verified_yield", "length", "cost_per_verified")
UNITS = {
    "pass_at_1": "rate",
    "verified_yield": "rate",
    "length": "tokens",
    "length_parallel": "tokens",
    "perplexity": "perplexity",
    "cost_per_verified": "usd",
}
DEFAULT_MARGIN = {"rate": 0.02, "relative": 0.05}
Row = dict[str, Any]
Masks = tuple[Bools, Bools, Bools]


@dataclass(frozen=True)
class Effort:
    """What one comparison may cost; None: by the number of queries (stats.means)."""

    seed: int
    resamples: int | None = None
    permutations: int | None = None


def margins(given: float | Mapping[str, float] | None) -> dict[str, float]:
    """The margins of `equal` as shares, from `rate` in points and `relative` (lengths, costs) in percent.

    One number is the margin of rates.
    """
    if given is None:
        return dict(DEFAULT_MARGIN)
    named = given if isinstance(given, Mapping) else {"rate": given}
    return DEFAULT_MARGIN | {name: float(value) / 100 for name, value in named.items()}


def primary(population: Population, margin: Mapping[str, float], effort: Effort) -> list[Row]:
    """Teacher pairs x measures over all queries, with Holm's correction over those that could be tested."""
    everything = np.ones(population.size, np.bool_)
    measures = ("length_parallel",) if population.selected else MEASURES
    rows = [
        row
        for a, b in combinations(population.sides, 2)
        for measure in measures
        if (row := compare_one(population, a, b, measure, everything, margin, effort)) is not None
    ]
    return finish(rows, "primary")


def exploratory(population: Population, margin: Mapping[str, float], effort: Effort) -> list[Row]:
    """What was not fixed beforehand: the kept replies of the parallel set, perplexity, and each category."""
    everything = np.ones(population.size, np.bool_)
    overall = ("perplexity",) if population.selected else ("length_parallel", "perplexity")
    within = ("length_parallel", "perplexity") if population.selected else (*MEASURES, "length_parallel", "perplexity")
    rows: list[Row] = []
    for a, b in combinations(population.sides, 2):
        for measure in overall:
            rows += _some(compare_one(population, a, b, measure, everything, margin, effort))
        if len(population.categories) < 2:
            continue
        for code, name in enumerate(population.categories):
            mask = population.category == code
            for measure in within:
                row = compare_one(population, a, b, measure, mask, margin, effort)
                rows += _some(row and row | {"category": name})
    return finish(rows, "exploratory")


def _some(row: Row | None) -> list[Row]:
    return [] if row is None else [row]


def finish(rows: list[Row], family: str) -> list[Row]:
    """Add the corrected p, the outcome and the queries needed, which depend on the whole family."""
    corrected = families.holm([row["p"] for row in rows])
    tests = max(1, sum(row["p"] is not None for row in rows))
    out = []
    for row, p in zip(rows, corrected, strict=True):
        inside, margin, effect, deviation, share = row.pop("_decide")
        said = families.outcome(row.pop("_advantage"), p, inside, margin)
        needed = None
        if said == "cannot_tell":
            usable = families.queries_needed(effect, deviation, margin, alpha=0.05 / tests)
            needed = None if usable is None else math.ceil(usable / share)
        out.append(row | {"holm_p": p, "outcome": said, "family": family, "queries_needed": needed})
    return out


def compare_one(
    population: Population, a: str, b: str, measure: str, within: Bools, margin: Mapping[str, float], effort: Effort
) -> Row | None:
    """One row without its family's figures; None where the measure does not exist for both teachers."""
    left, right = population.sides[a], population.sides[b]
    both = left.asked & right.asked & within
    row: Row | None
    masks: list[Masks]
    if measure == "pass_at_1":
        masks = [(s.first == 1, s.first >= 0, s.first < 0) for s in (left, right)]
        row = _rates(masks[0], masks[1], both, margin)
    elif measure == "verified_yield":
        masks = [(s.in_state("verified"), s.decided, s.open) for s in (left, right)]
        row = _rates(masks[0], masks[1], both, margin)
    elif measure == "cost_per_verified":
        row = _costs(left, right, both, margin, effort)
    else:
        x, y = {
            "length": (left.first_tokens, right.first_tokens),
            "length_parallel": (left.tokens, right.tokens),
            "perplexity": (left.perplexity, right.perplexity),
        }[measure]
        # Of datasets that exist already each pair has its own shared queries: a third one may share few or none.
        parallel = left.kept & right.kept if population.selected else population.parallel
        scope = both & parallel if measure != "length" else both
        row = _lengths(x, y, scope & ~np.isnan(x) & ~np.isnan(y), margin, effort)
    if row is None:
        return None
    effect, deviation = row.pop("_effect")
    share = row["n"] / max(int(both.sum()), 1)
    decide = (row.pop("_inside"), row.pop("_margin"), effect, deviation, share)
    return {"a": a, "b": b, "measure": measure, "category": None, "unit": UNITS[measure], **row, "_decide": decide}


def _rates(a: Masks, b: Masks, both: Bools, margin: Mapping[str, float]) -> Row | None:
    """a, b: where each has passed, which queries count, and where a pass is not known. bounds: the difference over
    all queries if what is not known of a failed and of b passed, and the other way round."""
    (won_a, known_a, open_a), (won_b, known_b, open_b) = a, b
    scope = both & known_a & known_b
    total = int(scope.sum())
    if not total:
        return None
    asked = int(both.sum())
    sure = int((won_a & both).sum()) - int((won_b & both).sum())
    bounds = ((sure - int((open_b & both).sum())) / asked, (sure + int((open_a & both).sum())) / asked)
    only_a, only_b = int((won_a & ~won_b & scope).sum()), int((won_b & ~won_a & scope).sum())
    low_high = rates.paired_rates(only_a, only_b, total)
    inside = rates.paired_rates(only_a, only_b, total, 0.90)
    assert low_high is not None  # noqa: S101  total is positive
    difference = (only_a - only_b) / total
    # Half a query more on each side: a handful of queries without a disagreement does not prove that there is none.
    deviation = math.sqrt((only_a + only_b + 1) / (total + 1) - difference**2)
    return {
        "difference": difference,
        "low": low_high[0],
        "high": low_high[1],
        "p": rates.mcnemar(only_a, only_b),
        "n": total,
        "a_value": float((won_a & scope).sum() / total),
        "b_value": float((won_b & scope).sum() / total),
        "only_a": only_a,
        "only_b": only_b,
        "bounds": bounds,
        "effect": _cohens_h(float((won_a & scope).sum() / total), float((won_b & scope).sum() / total)),
        "effect_kind": "cohens_h",
        "_advantage": difference,
        "_inside": inside,
        "_margin": (-margin["rate"], margin["rate"]),
        "_effect": (difference, deviation),
    }


def _cohens_h(a: float, b: float) -> float:
    """The difference of two rates on the scale on which every rate is known equally well."""
    return 2 * (math.asin(math.sqrt(a)) - math.asin(math.sqrt(b)))


def _standardised(differences: Floats) -> float | None:
    """The mean difference in standard deviations of the differences; None where they do not vary."""
    spread = float(differences.std(ddof=1)) if differences.size > 1 else 0.0
    return float(differences.mean()) / spread if spread > 0 else None


def _lengths(x: Floats, y: Floats, scope: Bools, margin: Mapping[str, float], effort: Effort) -> Row | None:
    a, b = x[scope], y[scope]
    if not a.size:
        return None
    difference = float((a - b).mean())
    one = np.ones(a.size)
    row = _relative((a, one), (b, one), margin, effort)
    limits = means.mean_interval(a - b, seed=effort.seed, resamples=effort.resamples)
    return row | {
        "difference": difference,
        "low": None if limits is None else limits[0],
        "high": None if limits is None else limits[1],
        "p": _flip(a - b, effort),
        "n": int(a.size),
        "a_value": float(a.mean()),
        "b_value": float(b.mean()),
        "effect": _standardised(a - b),
        "effect_kind": "cohens_dz",
        "_advantage": difference,
    }


def _flip(differences: Floats, effort: Effort) -> float | None:
    if differences.size < 2:
        return None
    return means.sign_flip(differences, permutations=effort.permutations, seed=effort.seed)


def _costs(left: Side, right: Side, both: Bools, margin: Mapping[str, float], effort: Effort) -> Row | None:
    won_a, won_b = left.in_state("verified")[both].astype(float), right.in_state("verified")[both].astype(float)
    paid = money(left, both), money(right, both)
    ended = left.decided & right.decided & both
    if paid[0] is None or paid[1] is None or not (won_a.any() or won_b.any()) or not ended.any():
        return None
    if not (won_a.any() and won_b.any()):
        return _one_without(paid, left.in_state("verified")[ended], right.in_state("verified")[ended])
    a, b = (left.cost[both], won_a), (right.cost[both], won_b)
    row = _relative(a, b, margin, effort)
    return row | {
        "p": ratios.swap_ratio(a, b, permutations=effort.permutations, seed=effort.seed),
        "n": int(won_a.size),
        "a_value": paid[0] / float(won_a.sum()),
        "b_value": paid[1] / float(won_b.sum()),
        "effect": math.log(row["ratio"]) if row["ratio"] else None,
        "effect_kind": "log_ratio",
        "_advantage": -row["difference"],  # the cheaper one is ahead
    }


def _one_without(paid: tuple[float | None, float | None], won_a: Bools, won_b: Bools) -> Row:
    """One of the two has verified nothing for its money: no figure says how much dearer that is, and the test is
    whether its failing so often could be chance, over the queries that have ended for both: what waits is no failure.
    """
    a, b = int(won_a.sum()), int(won_b.sum())
    return dict.fromkeys(("difference", "low", "high", "ratio", "ratio_low", "ratio_high", "effect")) | {
        "p": rates.mcnemar(a, b),
        "n": int(won_a.size),
        "a_value": paid[0] / a if a and paid[0] is not None else None,
        "b_value": paid[1] / b if b and paid[1] is not None else None,
        "effect_kind": "log_ratio",
        "_advantage": a - b,
        "_inside": None,
        "_margin": (0.0, 0.0),
        "_effect": (math.nan, math.nan),
    }


def _relative(a: tuple[Floats, Floats], b: tuple[Floats, Floats], margin: Mapping[str, float], effort: Effort) -> Row:
    """a against b as difference and as ratio, and what `equal` and the queries needed are judged by."""
    edge = math.log1p(margin["relative"])
    found = ratios.compare_ratios(a, b, seed=effort.seed, resamples=effort.resamples)
    assert found is not None  # noqa: S101  both sides have a denominator
    low, high = found.limits or (None, None)
    ratio_low, ratio_high = found.ratio_limits or (None, None)
    return {
        "difference": found.difference,
        "low": low,
        "high": high,
        "ratio": found.ratio,
        "ratio_low": ratio_low,
        "ratio_high": ratio_high,
        "_inside": found.inside,
        "_margin": (-edge, edge),
        "_effect": (math.nan if found.ratio is None else math.log(found.ratio), found.deviation),
    }


def find(rows: Iterable[Row], a: str, b: str, measure: str) -> tuple[Row, int] | None:
    """The row that compares a with b whichever way it is written, and +1, or -1 where it is written b against a."""
    for row in rows:
        if row["measure"] == measure and row["category"] is None and {row["a"], row["b"]} == {a, b}:
            return row, 1 if row["a"] == a else -1
    return None
