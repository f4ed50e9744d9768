"""Claims about multiple choice, as a table of cases."""

import json
from pathlib import Path

import pytest

from stillhouse.records import Ask, Message, Query, Response
from stillhouse.verifiers.choice import Choice, letter_of

CASES = [json.loads(line) for line in Path(__file__).with_name("cases.jsonl").read_text(encoding="utf-8").splitlines()]
TEXT = "What do bees make?\nA. milk\nB. honey"


def asked(reference: str | None, text: str = TEXT) -> Query:
    return Query((Message("user", text),), "science", ground_truth=reference)


def said(answer: str) -> Response:
    return Response(key="0" * 32, query="", teacher="t", text=answer)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['reference']}: {c['answer'][:40]}")
def test_an_answer_is_what_it_commits_to(case: dict[str, str]) -> None:
    verdict = Choice()(asked(case["reference"]), said(case["answer"]))
    assert not isinstance(verdict, Ask)
    assert (verdict.outcome, verdict.rule) == (case["label"], "choice"), verdict


@pytest.mark.parametrize(
    ("reference", "outcome", "rule"),
    [("B", "pass", "choice"), ("", "fail", "no_reference"), (None, "fail", "no_reference"),
     ("D", "fail", "reference_rejected"), ("Because bees collect nectar", "fail", "no_judge")],
)  # fmt: skip
def test_the_gold_check_tells_what_cannot_be_verified(reference: str | None, outcome: str, rule: str) -> None:
    verdict = Choice().check(asked(reference))
    assert (verdict.outcome, verdict.rule) == (outcome, rule)


def test_a_reference_that_is_no_letter_goes_to_the_judge() -> None:
    query = asked("They make honey out of nectar")
    wish = Choice(judge=True)(query, said("Honey, out of nectar."))
    assert isinstance(wish, Ask)
    assert wish.judge == "science"
    reply = Response(key="1" * 32, query="", teacher="j", text='{"score": 5}')
    assert Choice(judge=True).settle(query, said("Honey"), reply).outcome == "pass"  # type: ignore[union-attr]
    without = Choice()(query, said("Honey"))
    assert not isinstance(without, Ask)
    assert without.outcome == "unknown"


@pytest.mark.parametrize("text", ["12", "B or C", "none", "K", "", "The answer"])
def test_what_is_no_letter_is_none(text: str) -> None:
    assert letter_of(text) is None
