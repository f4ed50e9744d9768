"""Forecast a total over many queries from a pilot of some, with a prediction interval.

In: one value per pilot query, its stratum, and the strata of all queries. Out: the expected total and its 90 %
interval, which carries both what the pilot does not know of the means and how the rest will scatter around them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
DRAWS = 2000
LEAST_RESAMPLED = 12  # of fewer values a bootstrap says too little: Student's t instead
MOST_T = 8.0  # of a resample that happens to hold hardly any scatter


def forecast_total(
    seen: Array, strata: Array, everything: Array, rng: np.random.Generator, confidence: float = 0.9
) -> tuple[float, float, float, Array]:
    """(expected, low, high, draws) of the sum over all queries; the pilot's own values are counted as they are.

    seen: (n,) values of the pilot; strata: (n,) their strata; everything: (N,) strata of all queries, pilot included.
    Stratum by stratum the mean is drawn by a studentised bootstrap (replies have long tails, and a plain one is too
    sure of them), counts of yes and no by a beta, and the rest is drawn around it by its own scatter. A stratum
    that the pilot does not hold takes the pilot as a whole. Raises ValueError for an empty pilot.
    """
    if not len(seen):
        raise ValueError("a forecast needs a pilot with at least one query")
    expected, drawn = float(seen.sum()), np.full(DRAWS, float(seen.sum()))
    counts = bool(np.isin(seen, (0.0, 1.0)).all())
    for source, rest in _strata(seen, strata, everything):
        expected += rest * float(source.mean())
        more = _draw_count(source, rest, len(source) / len(seen), rng) if counts else _draw_sum(source, rest, rng)
        drawn = drawn + more
    tail = (1 - confidence) / 2
    low, high = float(np.quantile(drawn, tail)), float(np.quantile(drawn, 1 - tail))
    return expected, min(low, expected), max(high, expected), drawn


def _strata(seen: Array, strata: Array, everything: Array) -> Iterator[tuple[Array, int]]:
    """For each stratum with queries beyond the pilot: the values that speak for it, and how many queries those are."""
    for stratum in dict.fromkeys(everything.tolist()):
        mine = seen[strata == stratum]
        rest = int((everything == stratum).sum()) - len(mine)
        if rest > 0:
            yield (mine if len(mine) else seen), rest


def _draw_count(source: Array, rest: int, share: float, rng: np.random.Generator) -> Array:
    """How many of the rest say yes: 100 of 100 does not mean that all will. share: of the pilot that the stratum is; so
    much of the one query that Jeffreys' prior is worth belongs to it."""
    yes = float(source.sum())
    shares = rng.beta(yes + share / 2, len(source) - yes + share / 2, DRAWS)
    counts: Array = np.array(rng.binomial(rest, shares), dtype=np.float64)
    return counts


def _draw_sum(source: Array, rest: int, rng: np.random.Generator) -> Array:
    """The sum of the rest."""
    size, mean = len(source), float(source.mean())
    if size == 1:  # one value says nothing of its scatter: it may be off by as much as it is
        return np.clip(rest * (mean + abs(mean) * rng.normal(0.0, 1.0, DRAWS)), 0.0, None)
    scatter = float(source.std(ddof=1))
    if scatter == 0.0:
        return np.full(DRAWS, rest * mean)
    means = mean - _t(source, mean, rng) * scatter / np.sqrt(size)
    drawn: Array = rest * means + rng.normal(0.0, 1.0, DRAWS) * scatter * np.sqrt(rest)
    return np.clip(drawn, 0.0, None)


def _t(source: Array, mean: float, rng: np.random.Generator) -> Array:
    """Draws of the studentised mean."""
    size = len(source)
    if size < LEAST_RESAMPLED:
        return rng.standard_t(size - 1, DRAWS).clip(-MOST_T, MOST_T)
    resampled = source[rng.integers(0, size, (DRAWS, size))]
    errors = resampled.std(axis=1, ddof=1) / np.sqrt(size)
    least = float(source.std(ddof=1)) / np.sqrt(size) / MOST_T
    t: Array = (resampled.mean(axis=1) - mean) / np.maximum(errors, least)
    return t.clip(-MOST_T, MOST_T)
