"""The perplexity filter: strictly above goes, at the threshold stays, what could not be scored is unknown."""

from __future__ import annotations

import json
import math

from stillhouse.filters.perplexity import PerplexityFilter
from stillhouse.records import Message, Query, Response


def said(value: float) -> Response:
    score = {"response": value, "full": 3.0, "tokens": 10, "whole": True}
    return Response("k", "q", "perplexity-model", json.dumps(score))


def test_strictly_above_the_threshold_goes() -> None:
    judge = PerplexityFilter(5.0)
    replies = [said(4.9), said(5.0), said(5.0001), "bad_request: too long", said(math.nan), said(math.inf)]
    found = [judge.settle(reply) for reply in replies]
    assert [v.outcome for v in found] == ["pass", "pass", "fail", "unknown", "unknown", "unknown"]
    assert [v.score for v in found[:3]] == [4.9, 5.0, 5.0001]
    assert found[0].detail == {"full": 3.0, "tokens": 10, "whole": True}
    assert "too long" in found[3].reason
    assert not any(math.isnan(v.score or 0) for v in found)


def test_what_is_scored_is_the_text_as_it_is_trained_on_after_the_turns_of_the_query() -> None:
    query = Query((Message("user", "One?"), Message("assistant", "1."), Message("user", "Two?")), "multiturn")
    response = Response("k", query.key, "t", "2.", reasoning="One more than one.")
    asked = PerplexityFilter().conversation(query, response)
    assert asked.messages[:-1] == query.messages and asked.messages[-1].role == "assistant"
    assert "One more than one." in asked.messages[-1].content and "2." in asked.messages[-1].content
    assert asked.key != query.key
