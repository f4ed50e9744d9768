"""Claims about where a pair stands: attempts are bits, and the vectorised states are those of single pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.records import Verdict
from stillhouse.store.pairs import STATES, Pairs

PASS = Verdict.of(1, 1, "math_exact")
FAIL = Verdict.of(0, 1, "math_exact")
CUT = Verdict("fail", 0.0, "truncated")
UNKNOWN = Verdict.unknown("timeout", "slow")
LATER = Verdict.unknown("judge", "down", transient=True)
BY_FORM = Verdict("pass", None, "unverified")
KINDS = [PASS, FAIL, CUT, UNKNOWN, LATER, BY_FORM]


@pytest.mark.parametrize(
    ("verdicts", "state"),
    [
        ([], "waiting"),
        ([FAIL], "waiting"),
        ([FAIL, PASS], "verified"),
        ([BY_FORM], "unverified"),
        ([FAIL, FAIL, FAIL, FAIL], "exhausted"),
        ([UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN], "undecided"),
        ([UNKNOWN, UNKNOWN, UNKNOWN, FAIL], "exhausted"),
        ([CUT, CUT], "too_long"),
        ([CUT, FAIL], "waiting"),
        ([CUT, PASS], "verified"),
        ([LATER], "waiting"),
        ([FAIL, FAIL, FAIL, LATER], "waiting"),
    ],
)
def test_a_pair_rests_where_its_verdicts_put_it(verdicts: list[Verdict], state: str) -> None:
    pairs = Pairs(1, limit=4)
    for attempt, verdict in enumerate(verdicts, 1):
        pairs.note(0, attempt, verdict)
    assert STATES[pairs.state(0)] == state


@given(st.lists(st.lists(st.sampled_from(KINDS), max_size=4), min_size=1, max_size=8), st.booleans())
def test_all_states_at_once_are_the_states_one_by_one(rows: list[list[Verdict]], until_pass: bool) -> None:
    pairs = Pairs(len(rows), limit=4, until_pass=until_pass)
    for position, verdicts in enumerate(rows):
        for attempt, verdict in enumerate(verdicts, 1):
            pairs.note(position, attempt, verdict)
    assert [int(s) for s in pairs.states()] == [pairs.state(p) for p in range(len(rows))]


@given(st.lists(st.sampled_from([PASS, FAIL, CUT, UNKNOWN, BY_FORM]), max_size=6))
def test_loading_verdicts_is_noting_them(verdicts: list[Verdict]) -> None:
    noted, loaded = Pairs(1, limit=6), Pairs(1, limit=6)
    for attempt, verdict in enumerate(verdicts, 1):
        noted.note(0, attempt, verdict)
        if noted.state(0) != 0:
            verdicts = verdicts[:attempt]
            break
    size = len(verdicts)
    loaded.load(
        np.zeros(size, np.int64),
        np.arange(1, size + 1),
        np.array([v.outcome for v in verdicts], object),
        np.array([v.rule for v in verdicts], object),
    )
    assert loaded.state(0) == noted.state(0)
    assert int(loaded.passed_at[0]) == int(noted.passed_at[0])


def test_more_attempts_reopen_an_exhausted_pair() -> None:
    pairs = Pairs(1, limit=2)
    pairs.load(np.array([0, 0]), np.array([1, 2]), np.array(["fail"] * 2, object), np.array(["x"] * 2, object))
    assert STATES[pairs.state(0)] == "exhausted"
    more = Pairs(1, limit=3)
    more.load(np.array([0, 0]), np.array([1, 2]), np.array(["fail"] * 2, object), np.array(["x"] * 2, object))
    assert STATES[more.state(0)] == "waiting"


def test_a_fixed_number_of_samples_is_asked_whatever_passes() -> None:
    pairs = Pairs(1, limit=2, until_pass=False)
    pairs.note(0, 1, PASS)
    assert STATES[pairs.state(0)] == "waiting"
    pairs.note(0, 2, FAIL)
    assert STATES[pairs.state(0)] == "verified"
