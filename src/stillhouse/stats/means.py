"""Means and ratios over queries: bootstrap by query, sign-flip and swap permutation tests.

In: arrays with a row for each query (the unit of comparison; what belongs to one query is summed into its row).
Out: limits and p-values as plain floats, None for an empty population. Every function is given its seed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from stillhouse.stats.rates import Interval

Floats = NDArray[np.float64]
_BLOCK = 4_000_000  # cells of random numbers held at a time


def resamples_for(rows: int, most: int = 2000, least: int = 400) -> int:
    """How many resamples: `most` up to 50,000 rows, then fewer, as the work is rows x resamples."""
    return int(max(least, min(most, 100_000_000 // max(rows, 1))))


def bootstrap_sums(columns: Floats, resamples: int, seed: int) -> Floats:
    """Column sums of `resamples` samples of the rows with replacement.

    columns: (rows, k), without NaN. Returns (resamples, k). All columns share each resample, so that what is
    computed from several of them (differences, ratios) stays paired.
    """
    rows = columns.shape[0]
    random = np.random.default_rng(seed)
    out = np.empty((resamples, columns.shape[1]))
    block = max(1, min(resamples, _BLOCK // max(rows, 1)))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = random.integers(0, rows, (size, rows), dtype=np.int32)
        counts = np.empty((size, rows))
        for row in range(size):
            counts[row] = np.bincount(drawn[row], minlength=rows)
        out[start : start + size] = counts @ columns
    return out


def percentile_interval(values: Floats, confidence: float = 0.95) -> Interval | None:
    """The middle `confidence` of bootstrap values; infinite values stay, NaN (0/0) are left out."""
    values = values[~np.isnan(values)]
    if not values.size:
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)


def ratio(numerators: Floats, denominators: Floats) -> Floats:
    """numerators / denominators with x/0 = inf and 0/0 = NaN, without a warning."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(numerators / denominators, np.float64)


def mean_interval(values: Floats, *, seed: int = 1, confidence: float = 0.95) -> Interval | None:
    """Bootstrap interval of one mean over queries, or of a mean paired difference. None when empty."""
    if not values.size:
        return None
    sums = bootstrap_sums(values[:, None], resamples_for(values.size), seed)[:, 0]
    return percentile_interval(sums / values.size, confidence)


def ratio_interval(
    numerators: Floats, denominators: Floats, *, seed: int = 1, confidence: float = 0.95
) -> Interval | None:
    """Bootstrap interval of sum(numerators) / sum(denominators) over queries; None when empty."""
    if not numerators.size:
        return None
    sums = bootstrap_sums(np.column_stack([numerators, denominators]), resamples_for(numerators.size), seed)
    return percentile_interval(ratio(sums[:, 0], sums[:, 1]), confidence)


def permutations_for(rows: int) -> int:
    """9,999 up to 20,000 rows, then fewer, never under 1,999."""
    return int(max(1_999, min(9_999, 200_000_000 // max(rows, 1))))


def _signs(rows: int, permutations: int, seed: int) -> Iterator[NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    block = max(1, min(permutations, _BLOCK // max(rows, 1)))
    width = (rows + 7) // 8
    for start in range(0, permutations, block):
        size = min(block, permutations - start)
        bits = np.unpackbits(random.integers(0, 256, (size, width), dtype=np.uint8), axis=1, count=rows)
        yield bits.astype(np.float32) * 2 - 1


def sign_flip(differences: Floats, *, permutations: int | None = None, seed: int = 1) -> float | None:
    """Two-sided p that paired differences have mean zero, by flipping their signs; the sample itself counts.

    Exact enumeration up to 12 queries that differ, `permutations` random flips above. None when empty.
    """
    if not differences.size:
        return None
    moved = differences[differences != 0]
    if not moved.size:
        return 1.0
    scaled = moved / np.abs(moved).max()
    seen = abs(float(scaled.sum())) * (1 - 1e-12) - 1e-12
    if moved.size <= 12:
        codes = np.arange(2**moved.size)[:, None]
        signs = 1.0 - 2.0 * ((codes >> np.arange(moved.size)) & 1)
        return float(np.mean(np.abs(signs @ scaled) >= seen))
    wanted = permutations or permutations_for(moved.size)
    values = scaled.astype(np.float32)
    beyond = sum(int((np.abs(block @ values) >= seen).sum()) for block in _signs(moved.size, wanted, seed))
    return (beyond + 1) / (wanted + 1)


def swap_ratio(
    cost_a: Floats, won_a: Floats, cost_b: Floats, won_b: Floats, *, permutations: int | None = None, seed: int = 1
) -> float | None:
    """Two-sided p that sum(cost) / sum(won) is equal for a and b, by swapping a and b within queries.

    The statistic is the difference of the log ratios over its linearised standard error, which keeps the test
    valid where the two differ in spread. None when empty or when either never wins.
    """
    if not cost_a.size or won_a.sum() <= 0 or won_b.sum() <= 0 or cost_a.sum() <= 0 or cost_b.sum() <= 0:
        return None
    money = max(float(cost_a.max()), float(cost_b.max()))
    a, b = (cost_a / money, won_a), (cost_b / money, won_b)
    # Sums that a swap changes, as half sum + sign x half difference; the products with both teachers are symmetric
    # but for cost x won.
    swapped = [
        (a[0], b[0]),
        (a[1], b[1]),
        (a[0] ** 2, b[0] ** 2),
        (a[0] * a[1], b[0] * b[1]),
        (a[1] ** 2, b[1] ** 2),
        (a[0] * b[1], b[0] * a[1]),
    ]
    middle = np.array([(x.sum() + y.sum()) / 2 for x, y in swapped])
    half = np.column_stack([(x - y) / 2 for x, y in swapped])
    fixed = float((a[0] * b[0]).sum()), float((a[1] * b[1]).sum())
    seen = abs(float(_log_ratio_score(middle, half.sum(0)[None, :], fixed)[0])) * (1 - 1e-6) - 1e-9
    wanted = permutations or permutations_for(cost_a.size)
    weights = half.astype(np.float32)
    beyond = 0
    for block in _signs(cost_a.size, wanted, seed):
        beyond += int((np.abs(_log_ratio_score(middle, (block @ weights).astype(np.float64), fixed)) >= seen).sum())
    return min(1.0, (beyond + 1) / (wanted + 1))


def _log_ratio_score(middle: Floats, moved: Floats, fixed: tuple[float, float]) -> Floats:
    ca, va, cca, cva, vva, cavb = (middle + moved).T
    cb, vb, ccb, cvb, vvb, cbva = (middle - moved).T
    with np.errstate(divide="ignore", invalid="ignore"):
        own_a = cca / ca**2 - 2 * cva / (ca * va) + vva / va**2
        own_b = ccb / cb**2 - 2 * cvb / (cb * vb) + vvb / vb**2
        cross = fixed[0] / (ca * cb) - cavb / (ca * vb) - cbva / (va * cb) + fixed[1] / (va * vb)
        spread = np.sqrt(np.maximum(own_a + own_b - 2 * cross, 0.0))
        gap = np.log(ca / va) - np.log(cb / vb)
        score = np.where(spread > 1e-9, gap / np.maximum(spread, 1e-9), np.where(np.abs(gap) < 1e-9, 0.0, np.inf))
    # A swap in which one side never wins is as far from equal as can be.
    return np.where(np.isnan(score), np.inf, score)
