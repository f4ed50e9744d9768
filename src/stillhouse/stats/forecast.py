"""Forecast a total over many queries from a pilot of some, with a prediction interval.

In: one value per pilot query, its stratum, and the strata of all queries. Out: the expected total and its 90 %
interval, which carries both what the pilot does not know of the means and how the rest will scatter around them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
DRAWS = 2000


def forecast_total(
    seen: Array, strata: Array, everything: Array, rng: np.random.Generator, confidence: float = 0.9
) -> tuple[float, float, float, Array]:
    """(expected, low, high, draws) of the sum over all queries; the pilot's own values are counted as they are.

    seen: (n,) values of the pilot; strata: (n,) their strata; everything: (N,) strata of all queries, pilot included.
    Stratum by stratum a bootstrap of the pilot gives the mean, and the rest is drawn around it by its own scatter.
    A stratum that the pilot does not hold takes the pilot as a whole. Raises ValueError for an empty pilot.
    """
    if not len(seen):
        raise ValueError("a forecast needs a pilot with at least one query")
    expected, drawn = float(seen.sum()), np.full(DRAWS, float(seen.sum()))
    for stratum in dict.fromkeys(everything.tolist()):
        mine = seen[strata == stratum]
        rest = int((everything == stratum).sum()) - len(mine)
        if rest <= 0:
            continue
        source = mine if len(mine) else seen
        size = len(source)
        means = source[rng.integers(0, size, (DRAWS, size))].mean(axis=1)
        # the bootstrap's spread is too small by sqrt((n - 1) / n): put it back
        means = source.mean() + (means - source.mean()) * np.sqrt(size / max(1, size - 1))
        scatter = float(source.std(ddof=1)) if size > 1 else abs(float(source.mean()))
        expected += rest * float(source.mean())
        drawn = drawn + np.maximum(rest * means + rng.normal(0.0, 1.0, DRAWS) * scatter * np.sqrt(rest), 0.0)
    tail = (1 - confidence) / 2
    return expected, float(np.quantile(drawn, tail)), float(np.quantile(drawn, 1 - tail)), drawn
