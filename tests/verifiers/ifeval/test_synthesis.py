"""Claims about constraints that a judge reads off a query: validated against the registry and the request itself."""

import json
from typing import Any

import pytest

from stillhouse.records import Ask, Message, Query, Response, Verdict
from stillhouse.verifiers.ifeval import IFEval
from stillhouse.verifiers.ifeval_rules import RULES
from stillhouse.verifiers.ifeval_synthesis import MAX_CONSTRAINTS, ask_constraints, read_constraints

QUERY = Query((Message("user", 'Write about rain with no commas and the word "umbrella", in at least 5 words.'),), "if")
GOOD = {
    "instruction_id_list": ["punctuation:no_comma", "keywords:existence", "length_constraints:number_words"],
    "kwargs": [{}, {"keywords": ["Umbrella"]}, {"num_words": "5", "relation": "at least"}],
}


def reply(value: Any) -> Response:
    return Response("k", QUERY.key, "judge", value if isinstance(value, str) else json.dumps(value))


def answer(text: str) -> Response:
    return Response("k", QUERY.key, "t", text)


def test_the_question_depends_on_the_query_alone_so_that_all_teachers_face_the_same_constraints() -> None:
    verifier = IFEval(judge=True)
    asks = {verifier(QUERY, answer(text)) for text in ("one", "two")}
    assert asks == {ask_constraints(QUERY)}
    (ask,) = asks
    assert isinstance(ask, Ask) and ask.judge == "constraints" and ask.so_far.rule == "no_reference"
    assert all(name in ask.messages[0].content for name in RULES)


@pytest.mark.parametrize(
    ("text", "outcome", "passed"),
    [
        ("Take an umbrella when rain comes.", "pass", 3),
        ("Take an umbrella, always, in rain.", "fail", 2),
        ("", "fail", 0),
    ],
)
def test_an_answer_is_judged_by_the_constraints_that_were_found(text: str, outcome: str, passed: int) -> None:
    found = IFEval(judge=True).settle(QUERY, answer(text), reply(GOOD))
    assert isinstance(found, Verdict)
    assert (found.outcome, found.passed, found.total) == (outcome, passed, 3)
    assert found.detail is not None
    assert found.detail["synthesised"]["instruction_id_list"] == GOOD["instruction_id_list"]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("I do not know", "no JSON object"),
        ({"instruction_id_list": ["punctuation:no_comma"], "kwargs": []}, "lists of one length"),
        ({"instruction_id_list": "punctuation:no_comma", "kwargs": {}}, "lists of one length"),
        ({"instruction_id_list": ["form:haiku"], "kwargs": [{}]}, "'form:haiku' is no known constraint"),
        ({"instruction_id_list": [5], "kwargs": [{}]}, "5 is no known constraint"),
        ({"instruction_id_list": ["length_constraints:number_words"], "kwargs": [{"num_words": 5}]}, "relation"),
        ({"instruction_id_list": ["length_constraints:number_words"], "kwargs": [None]}, "num_words"),
        ({"instruction_id_list": ["keywords:existence"], "kwargs": [{"keywords": ["sunshine"]}]}, "does not say"),
        ({"instruction_id_list": ["punctuation:no_comma"] * 2, "kwargs": [{}, {}]}, "twice"),
        ({"instruction_id_list": ["punctuation:no_comma"] * 99, "kwargs": [{}] * 99}, f"At most {MAX_CONSTRAINTS}"),
    ],
)
def test_what_the_registry_or_the_request_does_not_bear_out_is_asked_once_more(value: Any, says: str) -> None:
    found = read_constraints(QUERY, reply(value))
    assert isinstance(found, Ask) and says in found.messages[-1].content


def test_a_query_that_states_no_constraint_stays_unknown() -> None:
    found = IFEval(judge=True).settle(QUERY, answer("a"), reply({"instruction_id_list": [], "kwargs": []}))
    assert isinstance(found, Verdict) and (found.outcome, found.rule) == ("unknown", "no_reference")


def test_given_constraints_are_never_replaced_and_without_a_judge_there_is_no_reference() -> None:
    given = Query(
        QUERY.messages, "if", instruction_constrain={"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    )
    found = IFEval(judge=True)(given, answer("no comma"))
    assert isinstance(found, Verdict) and found.outcome == "pass"
    assert IFEval().check(QUERY).rule == "no_reference" and IFEval(judge=True).check(QUERY).outcome == "pass"
