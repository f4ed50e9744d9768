"""Back-to-back repetition, against a search by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.filters.repetition import back_to_back, find_repetition
from stillhouse.records import Message, Query, Response


def brute(tokens: list[int], phrase: int, times: int) -> bool:
    for size in range(phrase, len(tokens) // times + 1):
        for start in range(len(tokens) - times * size + 1):
            first = tokens[start : start + size]
            if all(tokens[start + k * size : start + (k + 1) * size] == first for k in range(1, times)):
                return True
    return False


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=40), st.integers(2, 5), st.integers(2, 3))
def test_found_exactly_where_brute_force_finds(tokens: list[int], phrase: int, times: int) -> None:
    start, period, length = find_repetition(np.array(tokens, np.uint32), phrase, times)
    assert (start >= 0) == brute(tokens, phrase, times)
    if start >= 0:
        run = tokens[start : start + length]
        assert run[period:] == run[:-period] and length >= times * phrase


@pytest.mark.parametrize(
    ("thinking", "outcome"),
    [
        (" ".join(f"w{i}" for i in range(20)) + " ", "fail"),
        (" ".join(f"w{i}" for i in range(19)) + " ", "pass"),
        ("no ", "pass"),
    ],
)
def test_three_times_twenty_tokens(thinking: str, outcome: str) -> None:
    query = Query((Message("user", "Why?"),), "math")
    verdict = back_to_back(query, Response("k", query.key, "t", f"start {thinking * 3}end"))
    assert verdict.outcome == outcome
    if outcome == "fail":
        assert verdict.detail is not None and verdict.detail["match"].startswith("w0 w1")
        assert "20 words stands 3 times" in verdict.reason


def test_one_word_sixty_times_is_a_repetition() -> None:
    query = Query((Message("user", "Why?"),), "math")
    assert back_to_back(query, Response("k", query.key, "t", "wait " * 60)).outcome == "fail"
    assert back_to_back(query, Response("k", query.key, "t", "wait " * 59)).outcome == "pass"
