"""Means and ratios over queries: bootstrap by query, and the sign-flip permutation test.

In: arrays with a row for each query (the unit of comparison; what belongs to one query is summed into its row).
Out: limits and p-values as plain floats, None where there is nothing to say. Every function is given its seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stillhouse.stats.rates import Interval

Floats = NDArray[np.float64]
GROUPS = 4_000
MOST_SINGLE = 2 * GROUPS  # more queries than this are resampled by groups
_BLOCK = 4_000_000  # cells of random numbers held at a time


def resamples_for(rows: int) -> int:
    """How many resamples: 2,000; of groups of queries (see `grouped`) 1,000."""
    return 2000 if rows <= MOST_SINGLE else 1000


def permutations_for(rows: int) -> int:
    """How many permutations: 9,999; of groups of queries (see `grouped`) 4,999."""
    return 9_999 if rows <= MOST_SINGLE else 4_999


def grouped(columns: Floats, seed: int) -> Floats:
    """Above 8,000 queries: the sums of 4,000 random groups of them, so that resampling costs no more than for 4,000.

    columns: (rows,) or (rows, k). Groups drawn at random are as independent and alike as queries are; what is lost
    is 1 % of the precision of an interval's width. Up to 8,000 rows they come back as they are.
    """
    rows = columns.shape[0]
    if rows <= MOST_SINGLE:
        return columns
    order = np.random.default_rng(seed).permutation(rows)
    starts = np.linspace(0, rows, GROUPS, endpoint=False).astype(np.int64)
    return np.asarray(np.add.reduceat(columns[order], starts, axis=0), np.float64)


def bootstrap_sums(columns: Floats, resamples: int, seed: int) -> Floats:
    """Column sums of `resamples` samples of the rows with replacement.

    columns: (rows, k), without NaN. Returns (resamples, k). All columns share each resample, so that what is
    computed from several of them (differences, ratios) stays paired.
    """
    columns = grouped(columns, seed)
    rows = columns.shape[0]
    if rows * resamples <= _BLOCK:
        return _all_counts(rows, resamples, seed) @ columns
    random = np.random.default_rng(seed)
    out = np.empty((resamples, columns.shape[1]))
    block = max(1, min(resamples, _BLOCK // max(rows, 1)))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        out[start : start + size] = _counts(random, rows, size) @ columns
    return out


@lru_cache(maxsize=4)
def _all_counts(rows: int, resamples: int, seed: int) -> Floats:
    """Kept, as one comparison resamples the same queries for each of its measures."""
    return _counts(np.random.default_rng(seed), rows, resamples)


def _counts(random: np.random.Generator, rows: int, resamples: int) -> Floats:
    """How often each row is drawn in each resample."""
    drawn = random.integers(0, rows, (resamples, rows), dtype=np.int32).astype(np.int64)
    drawn += (np.arange(resamples) * rows)[:, None]
    counts = np.bincount(drawn.reshape(-1), minlength=rows * resamples)
    return counts.reshape(resamples, rows).astype(np.float64)


def percentile_interval(values: Floats, confidence: float = 0.95) -> Interval | None:
    """The middle `confidence` of bootstrap values; infinite values stay, NaN (0/0) are left out."""
    values = values[~np.isnan(values)]
    if not values.size:
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)


def symmetric_t(
    estimate: float, error: float, estimates: Floats, errors: Floats, confidence: float = 0.95
) -> Interval | None:
    """The symmetric bootstrap-t interval: estimate +- a quantile of |t| times its standard error.

    estimates, errors: of the resamples. None where so many resamples have no standard error that the quantile is
    not known. Of the intervals tried it keeps its coverage best on skewed lengths (docs/statistics.md). Source: Hall
    1988.
    """
    if not math.isfinite(estimate) or not math.isfinite(error):
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        distances = np.abs(estimates - estimate) / errors
    distances[np.isclose(estimates, estimate, rtol=1e-9, atol=1e-12) & (errors == 0)] = 0.0
    distances[np.isnan(distances)] = np.inf
    reach = float(np.quantile(distances, confidence, method="higher")) if distances.size else math.inf
    if not math.isfinite(reach):
        return None
    return estimate - reach * error, estimate + reach * error


def mean_interval(
    values: Floats, *, seed: int = 1, confidence: float = 0.95, resamples: int | None = None
) -> Interval | None:
    """Interval of a mean over queries, or of a mean paired difference. None when it cannot be known."""
    size = values.size
    if size < 2:
        return None
    centre, spread = float(values.mean()), float(values.std())
    if spread == 0:
        return centre, centre
    scaled = (values - centre) / spread
    sums = bootstrap_sums(np.column_stack([scaled, scaled**2]), resamples or resamples_for(size), seed) / size
    errors = np.sqrt(np.maximum(sums[:, 1] - sums[:, 0] ** 2, 0.0) / size)
    errors[errors < 1e-9] = 0.0
    found = symmetric_t(0.0, 1 / math.sqrt(size), sums[:, 0], errors, confidence)
    if found is None:
        return None
    low, high = centre + found[0] * spread, centre + found[1] * spread
    return (max(low, 0.0) if values.min() >= 0 else low), high


def ratio_interval(
    numerators: Floats, denominators: Floats, *, seed: int = 1, confidence: float = 0.95
) -> Interval | None:
    """Interval of sum(numerators) / sum(denominators), on the scale of logarithms; None when it cannot be known."""
    top, bottom = float(numerators.sum()), float(denominators.sum())
    if top <= 0 or bottom <= 0:
        return None
    x, u = numerators / top, denominators / bottom
    columns = np.column_stack([x, u, x * x, x * u, u * u])
    seen_error = math.sqrt(float(((x - u) ** 2).sum()))
    x, u, xx, xu, uu = bootstrap_sums(columns, resamples_for(x.size), seed).T
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.sqrt(np.maximum(xx / x**2 - 2 * xu / (x * u) + uu / u**2, 0.0))
        found = symmetric_t(0.0, seen_error, np.log(x) - np.log(u), errors, confidence)
    return None if found is None else (top / bottom * math.exp(found[0]), top / bottom * math.exp(min(found[1], 700.0)))


def signs(rows: int, permutations: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Random signs in blocks of (some, rows), `permutations` rows in all."""
    if rows * permutations <= _BLOCK:
        yield _all_signs(rows, permutations, seed)
        return
    random = np.random.default_rng(seed)
    block = max(1, min(permutations, _BLOCK // max(rows, 1)))
    for start in range(0, permutations, block):
        yield _signs(random, rows, min(block, permutations - start))


@lru_cache(maxsize=4)
def _all_signs(rows: int, permutations: int, seed: int) -> NDArray[np.float32]:
    return _signs(np.random.default_rng(seed), rows, permutations)


def _signs(random: np.random.Generator, rows: int, permutations: int) -> NDArray[np.float32]:
    bits = random.integers(0, 256, (permutations, (rows + 7) // 8), dtype=np.uint8)
    return np.unpackbits(bits, axis=1, count=rows).astype(np.float32) * 2 - 1


def sign_flip(differences: Floats, *, permutations: int | None = None, seed: int = 1) -> float | None:
    """Two-sided p that paired differences have mean zero, by flipping their signs; the sample itself counts.

    Exact enumeration up to 12 queries that differ, random flips above. None when empty.
    """
    if not differences.size:
        return None
    moved = differences[differences != 0]
    if not moved.size:
        return 1.0
    scaled = moved / np.abs(moved).max()
    seen = abs(float(scaled.sum()))
    if moved.size <= 12:
        codes = np.arange(2**moved.size)[:, None]
        flips = 1.0 - 2.0 * ((codes >> np.arange(moved.size)) & 1)
        return float(np.mean(np.abs(flips @ scaled) >= seen * (1 - 1e-12) - 1e-12))
    wanted = permutations or permutations_for(moved.size)
    values = grouped(scaled, seed).astype(np.float32)
    # Sums in single precision: a flip that ties with the sample must count as reaching it.
    least = seen * (1 - 1e-5) - 1e-5
    beyond = sum(int((np.abs(block @ values) >= least).sum()) for block in signs(values.size, wanted, seed))
    return (beyond + 1) / (wanted + 1)
