"""Claims about the constraints of IFEval: every id in both directions, and nothing unknown ever passes."""

import json
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.records import Message, Query, Response, Verdict
from stillhouse.verifiers.ifeval import IFEval, loose_variants
from stillhouse.verifiers.ifeval_rules import RULES, read_kwargs

CASES = [json.loads(line) for line in Path(__file__).with_name("cases.jsonl").read_text("utf-8").splitlines()]


def query(ids: Any, kwargs: Any, **fields: Any) -> Query:
    constrain = {"instruction_id_list": ids, "kwargs": kwargs}
    return Query((Message("user", "Do it."),), "if", instruction_constrain=constrain, **fields)


def verdict(ids: Any, kwargs: Any, answer: str) -> Verdict:
    found = IFEval()(query(ids, kwargs), Response("k", "q", "t", answer))
    assert isinstance(found, Verdict)
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['id']}|{case['answer'][:24]!r}")
def test_a_constraint_is_judged_as_a_person_would(case: dict[str, Any]) -> None:
    found = verdict([case["id"]], [case["kwargs"]], case["answer"])
    assert found.outcome == ("pass" if case["holds"] else "fail"), (found.reason, case.get("why"))
    assert found.score == float(case["holds"])


def test_every_id_has_cases_in_both_directions() -> None:
    directions = defaultdict(set)
    for case in CASES:
        directions[case["id"]].add(case["holds"])
    assert len(CASES) >= 200
    assert {name for name, seen in directions.items() if seen == {True, False}} == set(RULES)
    assert len(RULES) == 25


def test_the_score_is_passed_of_all_and_nine_tenths_pass() -> None:
    ids = ["keywords:existence"] * 10
    kwargs = [{"keywords": [word]} for word in "abcdefghij"]
    assert verdict(ids, kwargs, "a b c d e f g h i").outcome == "pass"
    nine = verdict(ids[:9], kwargs[:9], "a b c d e f g h")
    assert (nine.outcome, nine.passed, nine.total) == ("fail", 8, 9)
    assert nine.reason == "keywords:existence: missing: 'i'"


def test_strict_selects_and_loose_is_a_detail() -> None:
    found = verdict(["startend:end_checker"], [{"end_phrase": "Bye."}], "Hello.\nBye.\nP.S. x")
    assert found.outcome == "fail" and found.detail == {"strict": [False], "loose": [True], "loose_passed": 1}
    assert list(loose_variants("a\n*b*\nc"))[3:] == ["*b*", "a\nb\nc", "b\nc", "a\nb", "b"]


def test_only_the_answer_part_is_judged() -> None:
    text = "<think>one, two, three</think><answer>one two</answer>"
    assert verdict(["punctuation:no_comma"], [{}], text).outcome == "pass"


@pytest.mark.parametrize(
    ("ids", "kwargs", "rule"),
    [
        ([], [], "no_reference"),
        (None, None, "no_reference"),
        (["punctuation:no_comma", "new:unheard_of"], [{}, {}], "unknown_constraint"),
        ([None], [{}], "unknown_constraint"),
        (["length_constraints:number_words"], [{"num_words": 5}], "bad_constraint"),
        (["length_constraints:number_words"], [{"num_words": 5, "relation": "around"}], "bad_constraint"),
        (["length_constraints:number_words"], [{"num_words": 5.5, "relation": "at least"}], "bad_constraint"),
        (["length_constraints:number_words"], [{"num_words": True, "relation": "at least"}], "bad_constraint"),
        (["length_constraints:number_words"], None, "bad_constraint"),
        (["keywords:existence"], [{"keywords": []}], "bad_constraint"),
        (["keywords:letter_frequency"], [{"letter": "ab", "let_frequency": 1, "let_relation": "at least"}],
         "bad_constraint"),
        (["language:response_language"], [{"language": "klingon"}], "bad_constraint"),
    ],
)  # fmt: skip
def test_what_cannot_be_checked_is_rejected_in_curate_and_unknown_in_verify(ids: Any, kwargs: Any, rule: str) -> None:
    checked = IFEval().check(query(ids, kwargs))
    assert (checked.outcome, checked.rule) == ("fail", rule)
    found = verdict(ids, kwargs, "Anything at all.")
    assert (found.outcome, found.rule, found.transient) == ("unknown", rule, False)


@pytest.mark.parametrize(
    ("ids", "kwargs"),
    [
        (["change_case:english_capital", "change_case:english_lowercase"], [{}, {}]),
        (["keywords:existence", "keywords:forbidden_words"], [{"keywords": ["A"]}, {"forbidden_words": ["a"]}]),
    ],
)
def test_constraints_that_exclude_each_other_are_rejected_before_money_is_spent(ids: Any, kwargs: Any) -> None:
    assert IFEval().check(query(ids, kwargs)).rule == "contradiction"


@pytest.mark.parametrize(
    "kwargs",
    [
        [{"num_words": 3, "relation": "at least", "keywords": None, "letter": None}],
        [{"num_words": "3", "relation": "At least "}],
        [{"num_words": 3.0, "relation": "at least"}, {"one": "too many"}],
    ],
)
def test_kwargs_full_of_nulls_and_of_loose_types_are_read(kwargs: Any) -> None:
    checked = IFEval().check(query(["length_constraints:number_words"], kwargs))
    assert checked.outcome == "pass" and checked.rule == "ifeval"
    assert verdict(["length_constraints:number_words"], kwargs, "a b c").outcome == "pass"


def test_a_verdict_does_not_depend_on_the_order_in_which_texts_come_or_on_the_process() -> None:
    texts = [case for case in CASES if case["id"] == "language:response_language"]
    random.Random(1).shuffle(texts)
    again = [verdict([case["id"]], [case["kwargs"]], case["answer"]).outcome for case in texts]
    assert again == ["pass" if case["holds"] else "fail" for case in texts]
    script = (
        "from stillhouse.verifiers.ifeval_language import language_of as found; "
        "print(found('Il gatto dorme sul divano rosso.'))"
    )
    seeds = {
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for seed in "12"
    }
    assert seeds == {"it\n"}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted({case["id"] for case in CASES})), st.text(max_size=200))
def test_no_text_breaks_a_rule(name: str, text: str) -> None:
    case = next(case for case in CASES if case["id"] == name)
    rule = RULES[name]
    said = rule.holds(text, read_kwargs(rule, case["kwargs"]))
    assert said is None or said


anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(sorted(RULES))
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)
names_of_kwargs = sorted({name for rule in RULES.values() for name in rule.kwargs})
some_kwargs = st.dictionaries(st.sampled_from(names_of_kwargs), anything, max_size=5)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(anything, st.lists(st.sampled_from(sorted(RULES)), max_size=4)),
    st.one_of(anything, st.lists(st.one_of(some_kwargs, anything), max_size=4)),
    st.text(max_size=60),
)
def test_no_constraints_break_the_verifier_and_the_same_ones_get_the_same_verdict(
    ids: Any, kwargs: Any, answer: str
) -> None:
    asked = query(ids, kwargs)
    assert IFEval().check(asked).outcome in ("pass", "fail")
    first = verdict(ids, kwargs, answer)
    assert first == verdict(ids, kwargs, answer)
    assert first.outcome == "unknown" or IFEval().check(asked).rule in ("ifeval", "contradiction")


@pytest.mark.parametrize("count", [float("inf"), float("nan"), 1e300, "²", "9" * 5000, -1])
def test_a_count_that_is_none_is_told(count: Any) -> None:
    made = verdict(["length_constraints:number_words"], [{"num_words": count, "relation": "less than"}], "a b")
    assert made.outcome in ("unknown", "pass")
    assert made.outcome == "unknown" or count == 1e300


def test_one_keyword_as_a_text_is_one_keyword() -> None:
    ids = ["keywords:existence", "keywords:forbidden_words"]
    assert IFEval().check(query(ids, [{"keywords": "cat"}, {"forbidden_words": "act"}])).outcome == "pass"
    assert IFEval().check(query(ids, [{"keywords": "cat"}, {"forbidden_words": "Cat"}])).rule == "contradiction"


@pytest.mark.parametrize("name", sorted(RULES))
def test_hostile_lengths_are_judged_in_linear_time(name: str) -> None:
    case = next(case for case in CASES if case["id"] == name)
    for piece in (
        "*",
        "[",
        "<<",
        "a ",
        "'",
        "P.S. ",
        "a\n",
        "我",
        "-",
        "`",
        "```",
        "$",
        "\n\n",
        '"',
        "a.",
        "SECTION 1 ",
    ):
        assert verdict([name], [case["kwargs"]], piece * 40_000).outcome in ("pass", "fail")
