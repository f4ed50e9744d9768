"""Claims about the demo's queries: seeded, verifiable, never shown as worked examples, and with honest bad rows."""

from collections import Counter

import pytest

from stillhouse.filters import query_text
from stillhouse.records import Part, Query, Response
from stillhouse.sources.demo import AVOID, DIRECT, EXAMPLES, KINDS, Demo
from stillhouse.sources.files import Files
from stillhouse.verifiers.ifeval import IFEval
from stillhouse.verifiers.math import Math

GOOD = list(Demo(bad_rows=False)())
BAD = {query.id: query for query in Demo()() if query.id is not None and query.id.startswith("bad-")}


def test_one_seed_gives_the_same_queries_and_another_gives_others() -> None:
    again = list(Part("stillhouse.sources.demo:Demo", {"bad_rows": False}).build()())
    assert again == GOOD
    assert {query.key for query in Demo(seed=8)()} != {query.key for query in GOOD}


def test_there_are_at_least_60_different_queries_of_three_categories() -> None:
    assert len({query.key for query in GOOD}) == len(GOOD) == sum(count for _, count, _ in KINDS.values()) >= 60
    assert Counter(query.category for query in GOOD).keys() == {"math", "science", "if"}
    assert len({query.id for query in GOOD}) == len(GOOD)


@pytest.mark.parametrize("query", GOOD, ids=lambda query: query.id)
def test_every_query_survives_the_filters_and_its_verifiers_self_check(query: Query) -> None:
    for name in ("odd_characters", "incomplete", "url", "table", "image"):
        assert getattr(query_text, name)(query).outcome == "pass"
    verifier = {"math": Math, "if": IFEval}.get(query.category)
    if verifier is not None:
        assert verifier().check(query).outcome == "pass"
    else:
        assert query.ground_truth in ("A", "B", "C")
        assert f"\n{query.ground_truth}. " in query.text


@pytest.mark.parametrize("examples", [EXAMPLES, DIRECT], ids=["thinking", "direct"])
def test_no_query_is_a_worked_example_and_every_example_would_pass(examples: dict[str, list[dict[str, str]]]) -> None:
    for seed in range(40):
        shown = {turn["user"] for turns in examples.values() for turn in turns}
        assert not shown & {query.text for query in Demo(seed=seed)()}
    for turns in examples.values():
        for turn in turns:
            assert Response("k", "q", "t", turn["assistant"]).parts.malformed is None
    assert set(examples) == {query.category for query in GOOD}


def test_every_bad_row_has_a_reason_to_be_rejected() -> None:
    assert len(BAD) == 6
    assert BAD["bad-duplicate"].key == GOOD[0].key
    assert query_text.url(BAD["bad-url"]).outcome == "fail"
    assert query_text.incomplete(BAD["bad-unfinished"]).outcome == "fail"
    assert BAD["bad-no-text"].messages == ()
    assert Math().check(BAD["bad-no-reference"]).rule == "no_reference"
    benchmark = list(Files(str(AVOID), category="other")())
    leaked = BAD["bad-leaked"].text.lower().replace(",", "").replace("!", ".").replace("  ", " ")
    assert leaked == benchmark[0].text.lower() and len(benchmark) == 3


def test_no_good_query_leaks_from_the_benchmark() -> None:
    words = {tuple(text.split()[at : at + 13]) for text in (q.text.lower() for q in Files(str(AVOID), "other")())
             for at in range(len(text.split()) - 12)}  # fmt: skip
    for query in GOOD:
        said = query.text.lower().split()
        assert not words & {tuple(said[at : at + 13]) for at in range(len(said) - 12)}
