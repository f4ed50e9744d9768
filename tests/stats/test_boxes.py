"""Box statistics and histograms as the paper's figures draw them."""

import numpy as np
import pytest

from stillhouse.stats import boxes


def test_whiskers_end_at_the_farthest_values_within_one_and_a_half_ranges() -> None:
    found = boxes.box(np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 30.0]))
    assert found is not None
    assert (found["q1"], found["median"], found["q3"]) == (3.25, 5.5, 7.75)
    assert (found["low_whisker"], found["high_whisker"]) == (1, 9)
    assert (found["low_outliers"], found["high_outliers"], found["max"]) == (0, 1, 30)


def test_whiskers_never_point_into_the_box() -> None:
    found = boxes.box(np.array([0.0, 10, 10, 10, 10.4, 100]))
    assert found is not None
    assert found["low_whisker"] <= found["q1"] <= found["q3"] <= found["high_whisker"]


def test_an_empty_population_has_neither_box_nor_summary() -> None:
    assert boxes.box(np.array([])) is None
    assert boxes.summary(np.array([])) is None


@pytest.mark.parametrize(
    ("length", "place"), [(0, 0), (1, 0), (1024, 0), (1025, 1), (2048, 1), (10240, 9), (10241, 10), (60000, 10)]
)
def test_bins_are_right_closed(length: int, place: int) -> None:
    counts = boxes.token_histogram(np.array([float(length)]))
    assert counts.index(1) == place and sum(counts) == 1


def test_bin_labels_are_those_of_the_paper() -> None:
    labels = boxes.bin_labels()
    assert len(labels) == boxes.BINS
    assert (labels[0], labels[1], labels[-1]) == ("(0,1024]", "(1024,2048]", "10240+")


def test_shares_of_nothing_are_not_known() -> None:
    assert boxes.shares({"math": 0, "code": 0}) == {"math": None, "code": None}
    assert boxes.shares({"math": 3, "code": 1}) == {"math": 0.75, "code": 0.25}
