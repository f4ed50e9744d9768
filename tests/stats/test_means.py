"""Bootstrap and permutation tests: exact where they can be enumerated, seeded, and null where nothing can be said."""

from itertools import product

import numpy as np
import pytest

from stillhouse.stats import means, ratios


def test_bootstrap_sums_draw_whole_rows() -> None:
    columns = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    sums = means.bootstrap_sums(columns, 500, seed=1)
    assert sums.shape == (500, 2)
    assert np.allclose(sums[:, 1], 10 * sums[:, 0])
    assert set(np.round(sums[:, 0])) <= set(range(3, 10))


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(3).lognormal(0, 1, 300)
    assert means.mean_interval(values, seed=5) == means.mean_interval(values, seed=5)
    assert means.mean_interval(values, seed=5) != means.mean_interval(values, seed=6)


def test_the_interval_of_a_mean_is_close_to_students_for_normal_values() -> None:
    values = np.random.default_rng(1).normal(10, 2, 400)
    low, high = means.mean_interval(values) or (0, 0)
    half = 1.966 * values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)


@pytest.mark.parametrize("values", [[], [3.0], [1.0, 2.0], [1.0, 2.0, 9.0]])
def test_too_few_queries_have_no_interval(values: list[float]) -> None:
    assert means.mean_interval(np.array(values)) is None


def test_equal_values_have_a_point_for_an_interval() -> None:
    assert means.mean_interval(np.full(50, 7.0)) == (7.0, 7.0)


def test_a_mean_of_lengths_is_never_below_zero() -> None:
    values = np.array([0.0] * 6 + [100.0, 1.0, 2.0, 3.0])
    found = means.mean_interval(values)
    assert found is not None and found[0] >= 0


@pytest.mark.parametrize(
    "differences", [[3.0, 1.0, -2.0, 5.0], [1.0, 1.0, 1.0], [0.5, -0.5], [4.0, 0.0, 0.0, -1.0, 2.5]]
)
def test_sign_flip_enumerates_small_samples(differences: list[float]) -> None:
    moved = [d for d in differences if d]
    sums = [abs(sum(s * d for s, d in zip(signs, moved, strict=True))) for signs in product((1, -1), repeat=len(moved))]
    expected = np.mean([s >= abs(sum(moved)) - 1e-9 for s in sums])
    assert means.sign_flip(np.array(differences)) == pytest.approx(expected)


def test_sign_flip_agrees_with_enumeration_when_it_samples() -> None:
    values = np.random.default_rng(4).normal(0.4, 1, 12)
    exact = means.sign_flip(values)
    doubled = means.sign_flip(np.concatenate([values, [1e-9]]), permutations=20_000)
    assert exact is not None and doubled == pytest.approx(exact, abs=0.01)


def test_sign_flip_of_nothing_and_of_no_difference() -> None:
    assert means.sign_flip(np.array([])) is None
    assert means.sign_flip(np.zeros(40)) == 1.0


def test_the_ratio_counts_the_money_of_queries_never_solved() -> None:
    cost, won = np.array([1.0, 1.0, 6.0, 2.0] * 30), np.array([1.0, 1.0, 0.0, 1.0] * 30)
    low, high = means.ratio_interval(cost, won) or (0, 0)
    assert low < 10 / 3 < high


def test_a_ratio_without_a_denominator_is_not_known() -> None:
    cost, none = np.ones(20), np.zeros(20)
    assert means.ratio_interval(cost, none) is None
    assert ratios.compare_ratios((cost, none), (cost, np.ones(20))) is None
    assert ratios.swap_ratio((cost, none), (cost, np.ones(20))) is None


def test_swapping_both_teachers_mirrors_the_comparison() -> None:
    random = np.random.default_rng(2)
    a = random.lognormal(0, 0.5, 200), (random.random(200) < 0.7).astype(float)
    b = random.lognormal(0.3, 0.5, 200), (random.random(200) < 0.6).astype(float)
    one, other = ratios.compare_ratios(a, b), ratios.compare_ratios(b, a)
    assert one is not None and other is not None
    assert one.ratio == pytest.approx(1 / (other.ratio or 0))
    assert one.difference == pytest.approx(-other.difference)
    assert one.ratio == pytest.approx((a[0].sum() / a[1].sum()) / (b[0].sum() / b[1].sum()))
    assert ratios.swap_ratio(a, b) == pytest.approx(ratios.swap_ratio(b, a), abs=0.02)


def test_contrast_errors_are_those_of_the_linearised_ratio() -> None:
    random = np.random.default_rng(7)
    a = random.lognormal(0, 0.5, 500), (random.random(500) < 0.7).astype(float)
    b = a[0] * random.lognormal(0, 0.2, 500), (random.random(500) < 0.6).astype(float)
    found = ratios.contrast(ratios.moments(a, b).sum(0))
    influence = a[0] / a[0].sum() - a[1] / a[1].sum() - b[0] / b[0].sum() + b[1] / b[1].sum()
    assert float(found.log_error) == pytest.approx(np.sqrt((influence**2).sum()), rel=1e-9)


def test_the_swap_test_finds_what_is_there_and_not_what_is_not() -> None:
    random = np.random.default_rng(5)
    won = np.ones(300)
    cost = random.lognormal(0, 0.5, 300)
    same = random.lognormal(0, 0.5, 300)
    dearer = random.lognormal(0.4, 0.5, 300)
    assert (ratios.swap_ratio((cost, won), (same, won)) or 0) > 0.05
    assert (ratios.swap_ratio((cost, won), (dearer, won)) or 1) < 0.001
