"""Two ratios of sums over the same queries, such as dollars per verified row: intervals, and a test by swapping.

In: for each query a numerator (dollars, tokens) and a denominator (verified or not, or 1) of two teachers.
Out: limits and p-values. Queries that are never solved stand in the numerator, as their money was spent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stillhouse.stats.means import Floats, bootstrap_sums, grouped, permutations_for, resamples_for, signs, symmetric_t
from stillhouse.stats.rates import Interval

# Columns of `moments`, and their order once a and b have changed places.
_SWAPPED = np.array([2, 3, 0, 1, 7, 8, 9, 4, 5, 6, 10, 12, 11, 13])


def moments(a: tuple[Floats, Floats], b: tuple[Floats, Floats]) -> Floats:
    """(rows, 14): numerators and denominators of a and b, and their products, whose sums are all that is needed."""
    x, u = a
    y, v = b
    return np.column_stack([x, u, y, v, x * x, x * u, u * u, y * y, y * v, v * v, x * y, x * v, u * y, u * v])


@dataclass(frozen=True)
class Contrast:
    """The log of a's ratio against b's, and of each of them, each with its linearised standard error. shared: the
    correlation of the two logs."""

    log: Floats
    log_error: Floats
    a: Floats
    a_error: Floats
    b: Floats
    b_error: Floats
    shared: Floats


def contrast(sums: Floats) -> Contrast:
    """From sums of `moments` (..., 14). Not finite where a side has no denominator."""
    x, u, y, v, xx, xu, uu, yy, yv, vv, xy, xv, uy, uv = np.moveaxis(sums, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_a, log_b = np.log(x / u), np.log(y / v)
        own_a = np.maximum(xx / x**2 - 2 * xu / (x * u) + uu / u**2, 0.0)
        own_b = np.maximum(yy / y**2 - 2 * yv / (y * v) + vv / v**2, 0.0)
        cross = xy / (x * y) - xv / (x * v) - uy / (u * y) + uv / (u * v)
        rest = own_a + own_b - 2 * cross
        log_error = np.sqrt(np.where(rest < 1e-13 * (own_a + own_b), 0.0, rest))  # parts that cancel leave rounding
        shared = np.where(own_a * own_b > 0, cross / np.sqrt(own_a * own_b), 0.0)
        return Contrast(log_a - log_b, log_error, log_a, np.sqrt(own_a), log_b, np.sqrt(own_b), shared)


@dataclass(frozen=True)
class RatioComparison:
    """a against b. ratio: of their ratios, with 95 % limits; inside: the 90 % limits of its logarithm. difference:
    with 95 % limits. deviation: of one query's contribution to the log ratio. None where it cannot be known."""

    ratio: float | None
    ratio_limits: Interval | None
    inside: Interval | None
    difference: float
    limits: Interval | None
    deviation: float


def compare_ratios(
    a: tuple[Floats, Floats], b: tuple[Floats, Floats], *, seed: int = 1, resamples: int | None = None
) -> RatioComparison | None:
    """Compare sum(numerator) / sum(denominator) of a and b over the same queries; None where either has none."""
    rows = a[0].size
    if not rows or min(float(a[1].sum()), float(b[1].sum())) <= 0:
        return None
    scale = max(float(np.abs(a[0]).max()), float(np.abs(b[0]).max())) or 1.0
    columns = moments((a[0] / scale, a[1]), (b[0] / scale, b[1]))
    seen = contrast(columns.sum(0))
    drawn = contrast(bootstrap_sums(columns, resamples or resamples_for(rows), seed))
    logs = [
        symmetric_t(float(seen.log), float(seen.log_error), drawn.log, drawn.log_error, confidence)
        for confidence in (0.95, 0.90)
    ]
    known = math.isfinite(float(seen.log))
    difference, limits = _difference(seen, drawn)
    return RatioComparison(
        ratio=math.exp(float(seen.log)) if known else None,
        ratio_limits=None if logs[0] is None else (_exp(logs[0][0]), _exp(logs[0][1])),
        inside=logs[1],
        difference=difference * scale,
        limits=None if limits is None else (limits[0] * scale, limits[1] * scale),
        deviation=float(seen.log_error) * math.sqrt(rows),
    )


def _difference(seen: Contrast, drawn: Contrast) -> tuple[float, Interval | None]:
    """a's ratio less b's, and its limits from those of both (the method of variance estimates recovery).

    The limits of a ratio are lopsided, and those of a difference made by adding up errors would be too wide by half
    where few rows are verified. Source: Zou and Donner 2008.
    """
    a, b = _exp(float(seen.a)), _exp(float(seen.b))
    of_a = symmetric_t(float(seen.a), float(seen.a_error), drawn.a, drawn.a_error)
    of_b = symmetric_t(float(seen.b), float(seen.b_error), drawn.b, drawn.b_error)
    if of_a is None or of_b is None:
        return a - b, None

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(one * one + other * other - 2 * float(seen.shared) * one * other, 0.0))

    low = a - b - reach(a - _exp(of_a[0]), _exp(of_b[1]) - b)
    high = a - b + reach(_exp(of_a[1]) - a, b - _exp(of_b[0]))
    return a - b, (low, high)


def _exp(value: float) -> float:
    return math.exp(min(value, 300.0))  # its square is finite still


def swap_ratio(
    a: tuple[Floats, Floats], b: tuple[Floats, Floats], *, permutations: int | None = None, seed: int = 1
) -> float | None:
    """Two-sided p that sum(numerator) / sum(denominator) is equal for a and b, by swapping them within queries.

    The statistic is the log ratio over its standard error, which keeps the test valid where the two differ in
    spread. None when a side has no numerator or denominator.
    """
    if not a[0].size or min(float(part.sum()) for side in (a, b) for part in side) <= 0:
        return None
    scale = max(float(a[0].max()), float(b[0].max()))
    columns = moments((a[0] / scale, a[1]), (b[0] / scale, b[1]))
    middle = (columns + columns[:, _SWAPPED]).sum(0) / 2
    half = (columns - columns[:, _SWAPPED]) / 2
    seen = _score(columns.sum(0)[None, :])[0]
    wanted = permutations or permutations_for(a[0].size)
    weights = grouped(half, seed).astype(np.float32)
    beyond = 0
    for block in signs(weights.shape[0], wanted, seed):
        beyond += int((_score(middle + (block @ weights).astype(np.float64)) >= seen * (1 - 1e-4) - 1e-6).sum())
    return (beyond + 1) / (wanted + 1)


def _score(sums: Floats) -> Floats:
    """|log ratio| in standard errors; a swap in which one side never wins is as far from equal as can be."""
    found = contrast(sums)
    size = np.abs(found.log)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.where(size < 1e-6, 0.0, size / np.maximum(found.log_error, 1e-6))
    return np.where(np.isnan(score), np.inf, score)
