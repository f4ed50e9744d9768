"""The perplexity filter: strictly above goes, at the threshold stays, a fault is unknown."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from stillhouse.filters.perplexity import PerplexityFilter
from stillhouse.records import Fault, Message, Part, Query, Response, UserMistake


@dataclass(frozen=True)
class Score:
    response: float
    full: float = 3.0
    tokens: int = 10
    whole: bool = True


class Scorer:
    """Scores a text by the number it holds."""

    def score_all(self, pairs: Sequence[tuple[str, str]]) -> list[Score | Fault]:
        return [Fault("timeout", "too slow") if text == "fault" else Score(float(text)) for _, text in pairs]


sys.modules.setdefault("perplexity_scorer", sys.modules[__name__])


def verdicts(*texts: str, threshold: float = 5.0):
    judge = PerplexityFilter(Part("perplexity_scorer:Scorer"), threshold)
    query = Query((Message("user", "Why?"),), "math")
    return judge.judge([(query, Response(text, query.key, "t", text)) for text in texts])


def test_strictly_above_the_threshold_goes() -> None:
    found = verdicts("4.9", "5.0", "5.0001", "fault", "nan", "inf")
    assert [v.outcome for v in found] == ["pass", "pass", "fail", "unknown", "unknown", "unknown"]
    assert [v.score for v in found[:3]] == [4.9, 5.0, 5.0001]
    assert found[0].detail == {"full": 3.0, "tokens": 10, "whole": True}
    assert not any(math.isnan(v.score or 0) for v in found)


def test_a_scorer_that_is_down_stops_the_stage() -> None:
    with pytest.raises(UserMistake, match="none of 2 responses could be scored"):
        verdicts("fault", "fault")
