"""What docs/statistics.md promises of intervals and families, in small: the written grid is `bench/compare.py`'s."""

from __future__ import annotations

import importlib.util
from math import comb
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from stillhouse.stats import means, rates, ratios

BENCH = Path(__file__).parents[2] / "bench" / "compare.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_compare", BENCH)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize(("n", "p"), [(200, 0.1), (200, 0.5), (200, 0.9), (2000, 0.02), (2000, 0.98)])
def test_single_rates_are_covered_as_often_as_promised(n: int, p: float) -> None:
    """Exactly, by summing over every outcome."""
    spread = 8 * (n * p * (1 - p)) ** 0.5
    outcomes = range(max(0, int(n * p - spread)), min(n, int(n * p + spread)) + 1)
    held = 0.0
    for won in outcomes:
        low, high = rates.wilson(won, n) or (0.0, 0.0)
        if low <= p <= high:
            log = np.log(p) * won + np.log1p(-p) * (n - won)
            held += float(comb(n, won)) * np.exp(log) if n <= 200 else _binomial(n, won, log)
    assert 0.93 <= held <= 0.97


def _binomial(n: int, won: int, log: float) -> float:
    steps = np.arange(won, dtype=np.float64)
    return float(np.exp(log + np.log((n - steps) / (steps + 1)).sum()))


@pytest.mark.parametrize(("n", "p", "q"), [(200, 0.5, 0.5), (200, 0.9, 0.8), (2000, 0.02, 0.07), (2000, 0.98, 0.98)])
def test_paired_rates_are_covered_as_often_as_promised(n: int, p: float, q: float) -> None:
    random = np.random.default_rng(1)
    both = p * q + 0.4 * np.sqrt(p * (1 - p) * q * (1 - q))
    drawn = random.multinomial(n, [both, p - both, q - both, 1 - p - q + both], 20_000)
    low, high = rates.paired_rates_many(drawn[:, 1], drawn[:, 2], np.full(20_000, n))
    assert 0.93 <= ((low <= p - q) & (p - q <= high)).mean() <= 0.97


@pytest.mark.slow
def test_means_and_ratios_of_lengths_are_covered(bench: ModuleType) -> None:
    """300 experiments are right to 2.5 points."""
    for row in bench._lengths(np.random.default_rng(1), 200, 0.5, 300):
        assert 0.91 <= row["coverage"] <= 0.985, row
        assert row["none"] == 0


def test_resampling_groups_of_many_queries_gives_the_interval_of_the_queries() -> None:
    values = np.random.default_rng(1).lognormal(0, 1, 50_000)
    low, high = means.mean_interval(values) or (0.0, 0.0)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 50_000**0.5, rel=0.05)
    assert means.grouped(values, 1).shape == (means.GROUPS,)
    assert means.grouped(values, 1).sum() == pytest.approx(values.sum())
    other = values[::-1] * 1.01
    found = ratios.compare_ratios((values, np.ones(50_000)), (other, np.ones(50_000)))
    assert found is not None and found.ratio_limits is not None
    assert found.ratio_limits[0] < 1 / 1.01 < found.ratio_limits[1]
    assert found.ratio == pytest.approx(1 / 1.01)


@pytest.mark.slow
def test_a_family_without_a_difference_rarely_finds_one(bench: ModuleType) -> None:
    assert bench.false_positives(60, 100, uneven=True)["false_positives"] <= 0.12
