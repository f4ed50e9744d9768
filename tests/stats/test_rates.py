"""Score intervals and the exact McNemar test, against textbook values and definitions computed another way."""

import math
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.stats import rates


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_gives_published_limits(successes: int, total: int, low: float, high: float) -> None:
    found = rates.wilson(successes, total)
    assert found == pytest.approx((low, high), abs=5e-5)


def test_an_empty_population_has_no_interval() -> None:
    assert rates.wilson(0, 0) is None
    assert rates.paired_rates(0, 0, 0) is None


@pytest.mark.parametrize(("only_a", "only_b", "total"), [(5, 12, 50), (0, 0, 30), (1, 0, 54), (300, 280, 5000)])
def test_the_limits_of_paired_rates_solve_the_score(only_a: int, only_b: int, total: int) -> None:
    found = rates.paired_rates(only_a, only_b, total)
    assert found is not None
    z = rates.quantile(0.975)
    for limit, wanted in zip(found, (z, -z), strict=True):
        delta = np.array([limit])
        b, c, n = (np.array([float(x)]) for x in (only_a, only_b, total))
        assert rates._score(b, c, n, delta)[0] == pytest.approx(wanted, abs=1e-3)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 200))
def test_paired_rates_holds_the_difference_and_mirrors(only_a: int, only_b: int, rest: int) -> None:
    total = only_a + only_b + rest
    found = rates.paired_rates(only_a, only_b, total)
    if total == 0:
        assert found is None
        return
    mirrored = rates.paired_rates(only_b, only_a, total)
    assert found is not None and mirrored is not None
    assert -1 <= found[0] <= (only_a - only_b) / total + 1e-9 <= found[1] + 2e-9 <= 1 + 3e-9
    assert mirrored == pytest.approx((-found[1], -found[0]), abs=1e-9)


@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_is_the_two_sided_binomial_test(only_a: int, only_b: int) -> None:
    total = only_a + only_b
    tail = sum(comb(total, k) for k in range(min(only_a, only_b) + 1)) / 2**total
    assert rates.mcnemar(only_a, only_b) == pytest.approx(min(1.0, 2 * tail), rel=1e-9)


def test_mcnemar_holds_for_a_million_queries() -> None:
    p = rates.mcnemar(500_900, 499_100)
    z = 1800 / math.sqrt(1_000_000)
    assert p == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.02)
