"""Binary measures over queries: score intervals for one rate and for paired rates, and the exact McNemar test.

In: counts. Out: limits and p-values as plain floats, None where there is nothing to say. Score intervals because
they keep their coverage at rates near 0 and 1, where the usual Wald interval does not.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Interval = tuple[float, float]


def quantile(probability: float) -> float:
    """The standard normal quantile."""
    return NormalDist().inv_cdf(probability)


def wilson(successes: int, total: int, confidence: float = 0.95) -> Interval | None:
    """Wilson's score interval of one rate; None for an empty population. Source: Wilson 1927."""
    if total <= 0:
        return None
    z = quantile(0.5 + confidence / 2)
    rate = successes / total
    centre = rate + z * z / (2 * total)
    half = z * math.sqrt(rate * (1 - rate) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    low, high = (centre - half) / scale, (centre + half) / scale
    return (0.0 if successes == 0 else max(0.0, low), 1.0 if successes == total else min(1.0, high))


def paired_rates(only_a: int, only_b: int, total: int, confidence: float = 0.95) -> Interval | None:
    """Score interval of rate(a) - rate(b) over the same `total` queries; None for an empty population.

    only_a: queries that a passes and b does not; only_b: the other way round. Source: Tango 1998, solved by bisection.
    """
    if total <= 0:
        return None
    low, high = paired_rates_many([only_a], [only_b], total, confidence)
    return float(low[0]), float(high[0])


def paired_rates_many(
    only_a: ArrayLike, only_b: ArrayLike, total: ArrayLike, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`paired_rates` for arrays of counts (broadcast together), total > 0: (lows, highs)."""
    b, c, n = np.broadcast_arrays(
        np.asarray(only_a, np.float64), np.asarray(only_b, np.float64), np.asarray(total, np.float64)
    )
    z = quantile(0.5 + confidence / 2)
    seen = (b - c) / n
    # The score falls as the assumed difference grows: +z is met at the lower limit, -z at the upper one.
    low = _bisect(b, c, n, np.full_like(seen, -1.0), seen.copy(), z)
    high = _bisect(b, c, n, seen.copy(), np.ones_like(seen), -z)
    return low, high


def _bisect(
    b: NDArray[np.float64],
    c: NDArray[np.float64],
    n: NDArray[np.float64],
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    wanted: float,
) -> NDArray[np.float64]:
    for _ in range(60):
        middle = (left + right) / 2
        too_far_left = _score(b, c, n, middle) > wanted
        left, right = np.where(too_far_left, middle, left), np.where(too_far_left, right, middle)
    return (left + right) / 2


def _score(
    b: NDArray[np.float64], c: NDArray[np.float64], n: NDArray[np.float64], delta: NDArray[np.float64]
) -> NDArray[np.float64]:
    linear = -b - c + (2 * n - b + c) * delta
    constant = -c * delta * (1 - delta)
    root = np.sqrt(np.maximum(linear * linear - 8 * n * constant, 0.0))
    cell = (root - linear) / (4 * n)
    variance = np.maximum(n * (2 * cell + delta * (1 - delta)), 0.0)
    gap = b - c - n * delta
    with np.errstate(divide="ignore", invalid="ignore"):
        score = gap / np.sqrt(variance)
    return np.where(variance > 0, score, np.where(gap == 0, 0.0, np.copysign(np.inf, gap)))


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p that a and b pass equally often, from the queries on which they differ. 1.0 without any."""
    total = only_a + only_b
    if total == 0:
        return 1.0
    return min(1.0, 2.0 * half_binomial_tail(min(only_a, only_b), total))


def half_binomial_tail(most: int, total: int) -> float:
    """P(X <= most) for X ~ Binomial(total, 1/2), summed in logarithms, so that it holds for any size."""
    steps = np.arange(most, dtype=np.float64)
    logs = np.concatenate(([0.0], np.cumsum(np.log((total - steps) / (steps + 1)))))
    peak = float(logs.max())
    return min(1.0, math.exp(peak - total * math.log(2)) * float(np.exp(logs - peak).sum()))
