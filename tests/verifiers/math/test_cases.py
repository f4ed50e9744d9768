"""Claims about accuracy: every labelled pair is judged as its label says, and the numbers promised are kept."""

import json
from collections import defaultdict
from pathlib import Path

import pytest

from stillhouse.records import Message, Query, Response, Verdict
from stillhouse.verifiers.math import Math

ROWS = [json.loads(line) for line in (Path(__file__).parent / "cases.jsonl").read_text(encoding="utf-8").splitlines()]
REPLIES = [
    json.loads(row) for row in (Path(__file__).parent / "replies.jsonl").read_text(encoding="utf-8").splitlines()
]
GROUPS = sorted({row["group"] for row in ROWS})
VERIFIER = Math()


def judge(row: dict[str, str]) -> Verdict:
    query = Query((Message("user", "?"),), "math", ground_truth=row["reference"])
    verdict = VERIFIER(query, Response("k", query.key, "t", rf"Hence the answer is $\boxed{{{row['answer']}}}$."))
    assert isinstance(verdict, Verdict)
    return verdict


@pytest.mark.parametrize("group", GROUPS)
def test_every_pair_of_a_group_is_judged_as_labelled(group: str) -> None:
    wrong = []
    for row in ROWS:
        if row["group"] == group:
            verdict = judge(row)
            if verdict.outcome != ("pass" if row["label"] else "fail"):
                wrong.append((row["reference"], row["answer"], row["label"], verdict.outcome, verdict.rule))
    assert not wrong


@pytest.mark.parametrize("row", REPLIES, ids=lambda row: row["answer"][:40])
def test_the_final_answer_of_a_whole_reply_is_found_and_judged(row: dict[str, str]) -> None:
    query = Query((Message("user", "?"),), "math", ground_truth=row["reference"])
    verdict = VERIFIER(query, Response("k", query.key, "t", row["answer"]))
    assert isinstance(verdict, Verdict)
    assert verdict.outcome == ("pass" if row["label"] else "fail"), (verdict.rule, verdict.reason)


def test_the_set_is_as_large_and_as_mixed_as_promised() -> None:
    kinds: dict[str, list[bool]] = defaultdict(list)
    for row in ROWS:
        kinds["ordinary" if row["group"].startswith("ordinary") else "tricky"].append(row["label"])
    assert len(ROWS) >= 1500
    assert len(kinds["ordinary"]) >= 1000
    for labels in kinds.values():
        assert 0.3 < sum(labels) / len(labels) < 0.75


def test_a_verdict_depends_neither_on_what_was_judged_before_nor_on_the_order() -> None:
    some = ROWS[::17]
    assert [judge(row) for row in some] == [judge(row) for row in reversed(some)][::-1]
