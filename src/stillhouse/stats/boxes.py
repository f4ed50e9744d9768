"""Box statistics and histograms of lengths, perplexities and costs, as the paper's figures draw them.

In: arrays of numbers, without NaN. Out: plain dicts that go into report.json; None for an empty population.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

BIN_TOKENS = 1024
BINS = 11  # ten bins of 1,024 tokens, then 10240+


def summary(values: NDArray[np.float64]) -> dict[str, float] | None:
    """total, mean, median, q1, q3 (quartiles by linear interpolation); None when empty."""
    if not values.size:
        return None
    q1, median, q3 = np.quantile(values, [0.25, 0.5, 0.75])
    return {
        "total": float(values.sum()),
        "mean": float(values.mean()),
        "median": float(median),
        "q1": float(q1),
        "q3": float(q3),
    }


def box(values: NDArray[np.float64]) -> dict[str, Any] | None:
    """Tukey's box: whiskers end at the farthest values within 1.5 interquartile ranges of the box; None when empty."""
    if not values.size:
        return None
    q1, median, q3 = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
    reach = 1.5 * (q3 - q1)
    inside = values[(values >= q1 - reach) & (values <= q3 + reach)]
    low, high = float(inside.min()), float(inside.max())
    # Interpolated quartiles may lie beyond every value inside the fences; a whisker never points into the box.
    return {
        "n": int(values.size),
        "mean": float(values.mean()),
        "median": median,
        "q1": q1,
        "q3": q3,
        "low_whisker": min(low, q1),
        "high_whisker": max(high, q3),
        "low_outliers": int((values < low).sum()),
        "high_outliers": int((values > high).sum()),
        "min": float(values.min()),
        "max": float(values.max()),
    }


def bin_labels() -> list[str]:
    """The labels of `token_histogram`, as the paper prints them."""
    edges = range(0, BIN_TOKENS * (BINS - 1), BIN_TOKENS)
    return [f"({low},{low + BIN_TOKENS}]" for low in edges] + [f"{BIN_TOKENS * (BINS - 1)}+"]


def token_histogram(lengths: NDArray[np.float64]) -> list[int]:
    """Counts of lengths in right-closed bins of 1,024 tokens, the last 10240+. An empty text is in the first bin."""
    places = np.ceil(lengths / BIN_TOKENS).astype(np.int64) - 1
    return [int(n) for n in np.bincount(np.clip(places, 0, BINS - 1), minlength=BINS)]


def shares(counts: Mapping[str, float]) -> dict[str, float | None]:
    """Each count as a share of their sum; None each when the sum is 0."""
    total = sum(counts.values())
    return {name: (count / total if total else None) for name, count in counts.items()}
