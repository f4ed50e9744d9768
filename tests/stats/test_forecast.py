"""Claims about forecasts: they cover the total as often as they say, and a whole pilot leaves nothing to forecast."""

import numpy as np
import pytest

from stillhouse.stats.forecast import forecast_total


def test_a_pilot_of_everything_is_the_total() -> None:
    values = np.array([1.0, 2.0, 3.0])
    strata = np.array(["a", "a", "b"], object)
    expected, low, high, _ = forecast_total(values, strata, strata, np.random.default_rng(1))
    assert expected == low == high == 6.0


def test_an_empty_pilot_is_refused() -> None:
    with pytest.raises(ValueError, match="pilot"):
        forecast_total(np.array([]), np.array([], object), np.array(["a"], object), np.random.default_rng(1))


def test_nine_of_ten_intervals_hold_the_total() -> None:
    rng = np.random.default_rng(7)
    held = 0
    trials = 300
    for _ in range(trials):
        strata = np.array(["easy"] * 700 + ["hard"] * 300, object)
        values = np.where(strata == "easy", rng.lognormal(0, 0.6, 1000), rng.lognormal(1.5, 0.6, 1000))
        pilot = np.sort(np.concatenate([rng.choice(700, 70, replace=False), 700 + rng.choice(300, 30, replace=False)]))
        _, low, high, _ = forecast_total(values[pilot], strata[pilot], strata, rng)
        held += low <= values.sum() <= high
    assert 0.83 <= held / trials <= 0.96, held / trials
