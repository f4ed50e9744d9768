"""What the loop decides without a worker: never anything but what the verifier itself would say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.records import Message, Query
from stillhouse.verifiers.math import MOST_AT_ONCE, Math

CASES = [json.loads(line) for line in Path(__file__).with_name("cases.jsonl").read_text(encoding="utf-8").splitlines()]
MATH = Math()


def query(reference: object) -> Query:
    return Query((Message("user", "How many?"),), "math", ground_truth=str(reference))


def agrees(reference: object, answer: str) -> bool:
    """Whether it decided; what it says must be the verifier's word."""
    asked = query(reference)
    said = MATH.at_once(asked, answer)
    assert said is None or said == MATH.compare(asked, answer)
    return said is not None


def test_on_every_labelled_case_it_says_what_the_verifier_says_or_nothing() -> None:
    decided = [agrees(row["reference"], rf"We get $\boxed{{{row['answer']}}}$.") for row in CASES]
    assert 50 < sum(decided) < len(decided)


NUMBER = st.from_regex(r"[-+]?\d{1,6}(/\d{1,4})?", fullmatch=True)
WRITING = st.lists(st.sampled_from(["\\boxed{", "{", "}", "\\", "\\fbox{", "7", "$", " and ", "B", "\n"]), max_size=6)


@given(reference=NUMBER, answer=NUMBER, before=WRITING, after=WRITING)
def test_on_any_writing_around_the_box_too(reference: str, answer: str, before: list[str], after: list[str]) -> None:
    agrees(reference, f"{''.join(before)}\\boxed{{{answer}}}{''.join(after)}")


@pytest.mark.parametrize(
    "answer",
    [r"\boxed{4} or \boxed{5}", r"\boxed{x}", r"\boxed{0.5}", "4", r"\boxed{\frac{8}{2}}", r"\fbox{4}",
     rf"\boxed{{4}}{' ' * MOST_AT_ONCE}", r"\boxed{٤}", rf"\boxed{{{'9' * 100}}}"],
)  # fmt: skip
def test_what_needs_a_closer_look_is_left_to_a_worker(answer: str) -> None:
    assert MATH.at_once(query("4"), answer) is None


def test_a_no_is_left_to_the_worker_where_a_judge_may_still_say_yes() -> None:
    judged = Math(judge=True)
    assert judged.at_once(query("4"), r"\boxed{5}") is None
    assert judged.at_once(query("4"), r"\boxed{4}") is not None
