"""Claims about error rates of verdicts from a sample, and rates corrected by them."""

import numpy as np
import pytest

from stillhouse.stats.second_opinions import Errors, Rate, allocate, corrected, draw, rogan_gladen, weighted_rate


def test_allocation_gives_shares_at_least_one_of_each_and_never_more_than_there_are() -> None:
    sizes = {"large": 900, "middle": 90, "small": 9, "one": 1}
    taken = allocate(sizes, 100)
    assert sum(taken.values()) == 100
    assert taken["one"] == 1 and taken["small"] >= 1
    assert taken["large"] > 80
    assert allocate({"a": 3, "b": 2}, 100) == {"a": 3, "b": 2}
    assert sum(allocate({str(n): 5 for n in range(40)}, 7).values()) == 7
    assert allocate({}, 5) == {}


def test_a_sample_is_seeded_ignores_the_order_and_a_larger_one_contains_a_smaller_one() -> None:
    keys = [f"{n:04x}" for n in range(500)]
    strata = ["x" if n % 3 else "y" for n in range(500)]
    small, large = draw(strata, keys, {"x": 10, "y": 5}, 1), draw(strata, keys, {"x": 30, "y": 20}, 1)
    assert len(small) == 15 and set(small) < set(large)
    turned = draw(strata[::-1], keys[::-1], {"x": 10, "y": 5}, 1)
    assert {keys[::-1][p] for p in turned} == {keys[p] for p in small}
    assert draw(strata, keys, {"x": 10, "y": 5}, 2) != small


def test_weights_make_a_stratified_sample_speak_for_its_population() -> None:
    rate = weighted_rate([1, 0, 0, 0], [10, 90, 90, 90])
    assert rate is not None and rate.value == pytest.approx(10 / 280)
    assert rate.interval[0] <= rate.value <= rate.interval[1]
    assert rate.effective == pytest.approx(280**2 / (100 + 3 * 8100))
    even = weighted_rate([1, 0, 0, 0], [1, 1, 1, 1])
    assert even is not None and even.effective == 4
    assert weighted_rate([], []) is None


@pytest.mark.parametrize(
    ("apparent", "sensitivity", "specificity", "true"),
    [(0.5, 1.0, 1.0, 0.5), (0.55, 0.9, 0.8, 0.5), (0.1, 0.9, 0.8, 0.0), (0.95, 0.9, 1.0, 1.0), (0.4, 0.5, 0.5, None),
     (0.4, 0.3, 0.3, None)],
)  # fmt: skip
def test_rogan_gladen_inverts_the_errors_and_is_clipped(
    apparent: float, sensitivity: float, specificity: float, true: float | None
) -> None:
    found = rogan_gladen(apparent, sensitivity, specificity)
    assert found is None if true is None else found == pytest.approx(true)


def sure(value: float, size: float = 1e9) -> Rate:
    return Rate(value, (value, value), size)


def test_correction_of_the_very_verdicts_that_were_audited_counts_what_is_right() -> None:
    errors = Errors(600, 400, sure(0.1), sure(0.2))
    found = corrected(600, 1000, errors)
    assert found is not None and found.value == pytest.approx(0.6 * 0.9 + 0.4 * 0.2)
    assert found.interval[0] < found.value < found.interval[1]


def test_the_interval_widens_with_a_smaller_audit() -> None:
    def width(size: float) -> float:
        found = corrected(60_000, 100_000, Errors(60_000, 40_000, sure(0.05, size), sure(0.05, size)))
        assert found is not None
        return found.interval[1] - found.interval[0]

    assert width(30) > 3 * width(1000) > 3 * width(100_000)


def test_what_is_not_known_is_none_and_one_sided_verdicts_still_say_what_they_can() -> None:
    assert corrected(5, 10, Errors(5, 5, sure(0.1), None)) is None
    assert corrected(0, 0, Errors(0, 0, None, None)) is None
    all_yes = corrected(10, 10, Errors(10, 0, sure(0.1), None))
    assert all_yes is not None and all_yes.value == pytest.approx(0.9)
    useless = Errors(500, 500, sure(0.5), sure(0.5))
    assert corrected(500, 1000, useless) is None


def test_the_corrected_rate_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(7)
    hits, trials = 0, 300
    for trial in range(trials):
        right = random.random(2000) < 0.5
        yes = np.where(right, random.random(2000) < 0.93, random.random(2000) < 0.08)
        rates = []
        for outcome in (yes, ~yes):
            looked = random.choice(np.flatnonzero(outcome), 60, replace=False)
            rates.append(weighted_rate((right != yes)[looked], np.ones(60)))
        found = corrected(int(yes.sum()), 2000, Errors(int(yes.sum()), int((~yes).sum()), *rates), seed=trial)
        assert found is not None
        hits += found.interval[0] <= 0.5 <= found.interval[1]
    assert hits / trials > 0.92
