"""Claims about acceptance by form alone: it passes without a score, under its own rule, never counted as verified."""

import pytest

from stillhouse.records import Message, Part, Query, Response

QUERY = Query((Message("user", "Tell me a story."),), "other")


@pytest.mark.parametrize(
    ("text", "outcome", "rule"),
    [
        ("Once upon a time.", "pass", "unverified"),
        ("<think>hm</think><answer>Once.</answer>", "pass", "unverified"),
        ("<think>hm</think><answer>Once.</answer> and more", "fail", "malformed"),
        ("<think>never closed", "fail", "malformed"),
        ("", "fail", "malformed"),
    ],
)
def test_form_alone_decides(text: str, outcome: str, rule: str) -> None:
    verifier = Part("stillhouse.verifiers.structure:Structure").build()
    found = verifier(QUERY, Response("k", QUERY.key, "t", text))
    assert (found.outcome, found.rule) == (outcome, rule)
    assert found.score is None or outcome == "fail"


def test_every_query_passes_the_self_check_without_a_reference() -> None:
    assert Part("stillhouse.verifiers.structure:Structure").build().check(QUERY).rule == "unverified"
