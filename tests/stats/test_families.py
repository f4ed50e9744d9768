"""Holm's correction, outcomes and the number of queries that would decide."""

import math

import pytest

from stillhouse.stats import families


@pytest.mark.parametrize(
    ("values", "corrected"),
    [
        ([], []),
        ([0.01], [0.01]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.5, None, 0.02], [0.5, None, 0.04]),
        ([0.9, 0.8], [1.0, 1.0]),
    ],
)
def test_holm_steps_down_and_never_decreases(values: list[float | None], corrected: list[float | None]) -> None:
    assert families.holm(values) == [None if p is None else pytest.approx(p) for p in corrected]


MARGIN = (-0.02, 0.02)


@pytest.mark.parametrize(
    ("difference", "p", "inside", "said"),
    [
        (0.1, 0.001, (0.05, 0.15), "a"),
        (-0.1, 0.001, (-0.15, -0.05), "b"),
        (0.1, 0.2, (-0.05, 0.25), "cannot_tell"),
        (0.005, 0.6, (-0.01, 0.018), "equal"),
        (0.01, 0.001, (0.005, 0.015), "equal"),
        (0.0, 1.0, (-0.3, 0.3), "cannot_tell"),
        (0.1, None, None, "cannot_tell"),
        (0.1, 0.05, (0.01, 0.2), "cannot_tell"),
    ],
)
def test_equal_within_the_margin_comes_before_a_certain_but_small_difference(
    difference: float, p: float | None, inside: tuple[float, float] | None, said: str
) -> None:
    assert families.outcome(difference, p, inside, MARGIN) == said


def test_queries_needed_is_that_of_the_z_test() -> None:
    needed = families.queries_needed(0.1, 0.7, MARGIN)
    assert needed == math.ceil(((1.959964 + 0.841621) * 0.7 / 0.1) ** 2)


def test_a_small_effect_is_decided_sooner_as_equal() -> None:
    needed = families.queries_needed(0.0, 0.5, MARGIN)
    assert needed is not None and needed == math.ceil(((1.644854 + 1.281552) * 0.5 / 0.02) ** 2)
    seen = families.queries_needed(0.001, 0.5, MARGIN)
    assert seen is not None and seen < ((1.96 + 0.84) * 0.5 / 0.001) ** 2


@pytest.mark.parametrize(("effect", "deviation"), [(0.02, 0.0), (math.nan, 0.5), (0.0, math.inf)])
def test_nothing_is_promised_without_a_deviation(effect: float, deviation: float) -> None:
    assert families.queries_needed(effect, deviation, MARGIN) is None
