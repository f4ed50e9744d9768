"""Claims about the code verifier: a table of answers in cases.jsonl, and what no row can hold."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stillhouse.records import Message, Part, Query, Response, Verifier
from stillhouse.sandbox import SandboxDown
from stillhouse.verifiers.code import Code
from stillhouse.workers import WorkerPool, WorkerTimeout

SLEEPER = "```python\nimport time\ntime.sleep(8)\n```"
pytestmark = pytest.mark.sandbox
CASES = [json.loads(line) for line in (Path(__file__).parent / "cases.jsonl").read_text().splitlines()]


def query(test_case: Any, **fields: Any) -> Query:
    return Query((Message("user", "q"),), "code", test_case=test_case, **fields)


def response(answer: str) -> Response:
    return Response("k", "q", "t", answer)


@pytest.fixture(scope="module")
def verifiers() -> Iterator[dict[float, Code]]:
    """One verifier for each time-out that the cases name."""
    made = {seconds: Code(python_timeout=seconds) for seconds in {row.get("python_timeout", 10.0) for row in CASES}}
    yield made
    for verifier in made.values():
        verifier.close()


@pytest.mark.parametrize("row", CASES, ids=[row["why"] for row in CASES])
def test_an_answer_gets_the_verdict_it_deserves(row: dict[str, Any], verifiers: dict[float, Code]) -> None:
    if "cpp" in row["answer"] and shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    verdict = verifiers[row.get("python_timeout", 10.0)](query(row["test_case"]), response(row["answer"]))
    assert verdict.outcome == row["outcome"], verdict
    assert verdict.rule == row.get("rule", "sandbox"), verdict
    assert row.get("reason", "") in verdict.reason, verdict
    for name in ("passed", "total"):
        if name in row:
            assert getattr(verdict, name) == row[name], verdict
    if "weak" in row:
        assert verdict.detail is not None and verdict.detail["weak"] == row["weak"], verdict


def test_the_verdict_says_on_which_rung_and_how_each_test_went(verifiers: dict[float, Code]) -> None:
    tests = {"call_type": "std", "inputs": ["1", "2"], "outputs": ["1", "3"]}
    verdict = verifiers[10.0](query(tests), response("```python\nprint(input())\n```"))
    assert verdict.detail is not None
    assert verdict.detail["rung"] in (1, 2, 3) and verdict.detail["tests"] == ["pass", "fail"]


def test_early_stopping_leaves_out_what_cannot_change_the_outcome() -> None:
    tests = {"call_type": "std", "inputs": [""] * 10, "outputs": ["1"] * 10}
    verifier = Code(stop_early=True)
    verdict = verifier(query(tests), response("```python\nprint(2)\n```"))
    verifier.close()
    assert verdict.outcome == "fail" and verdict.detail is not None
    assert verdict.detail["stopped"] and len(verdict.detail["tests"]) == 2


def test_a_sandbox_that_is_down_is_unknown_and_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: Any, **__: Any) -> None:
        raise SandboxDown("no rung")

    verifier = Code()
    monkeypatch.setattr(verifier.sandbox, "python", down)
    tests = {"call_type": "std", "inputs": [""], "outputs": ["1"]}
    verdict = verifier(query(tests), response("```python\nprint(1)\n```"))
    assert verdict.outcome == "unknown" and verdict.transient and "no rung" in verdict.reason


def test_the_gold_check_tells_that_the_sandbox_is_down_before_money_is_spent() -> None:
    verdict = Code(rung=4).check(query({"call_type": "std", "inputs": ["1"], "outputs": ["1"]}))
    assert verdict.outcome == "unknown" and verdict.transient and "unsafe" in verdict.reason


@pytest.mark.parametrize(
    ("test_case", "truth", "outcome", "rule"),
    [
        ({"call_type": "std", "inputs": ["1"], "outputs": ["1"]}, None, "pass", "tests_readable"),
        ({"call_type": "std", "inputs": ["1"], "outputs": ["1"]}, "42", "pass", "tests_readable"),
        ({"call_type": "std", "inputs": ["1"], "outputs": ["1"]}, "```python\nprint(input())\n```", "pass", "sandbox"),
        ({"call_type": "std", "inputs": ["1"], "outputs": ["2"]}, "```python\nprint(input())\n```", "fail", "sandbox"),
        ({"call_type": "assert", "fn_name": "f", "assert_case": ["assert f("]}, None, "fail", "no_reference"),
        ({}, None, "fail", "no_reference"),
        (None, None, "fail", "no_reference"),
    ],
)
def test_the_gold_check_tries_the_querys_own_reference(
    test_case: Any, truth: str | None, outcome: str, rule: str, verifiers: dict[float, Code]
) -> None:
    verdict = verifiers[10.0].check(query(test_case, ground_truth=truth))
    assert (verdict.outcome, verdict.rule) == (outcome, rule), verdict


def test_a_malformed_reply_fails_without_running(verifiers: dict[float, Code]) -> None:
    tests = {"call_type": "std", "inputs": [""], "outputs": ["1"]}
    verdict = verifiers[10.0](query(tests), response("<think>never closed ```python\nprint(1)\n```"))
    assert (verdict.outcome, verdict.rule) == ("fail", "malformed")


def test_settings_that_change_verdicts_change_the_version() -> None:
    assert isinstance(Code(), Verifier)
    assert Code().version == Code(stop_early=True).version == Code(rung=3).version
    assert len({Code().version, Code(tests=5).version, Code(python_timeout=3.0).version}) == 3
    assert Code().deadline > 10 * 10.0


def test_it_works_in_the_killable_processes_of_a_pool() -> None:
    tests = {"call_type": "std", "inputs": ["1"], "outputs": ["1"]}
    rows = [(query(tests), response(f"```python\nprint({n})\n```")) for n in (1, 2, 1)]
    with WorkerPool({"code": Part("stillhouse.verifiers.code:Code")}, workers=2) as pool:
        verdicts = list(pool.imap("code", "__call__", rows, deadline=Code().deadline))
        late = list(pool.imap("code", "__call__", [(query(tests), response(SLEEPER))], deadline=1.5))
        again = list(pool.imap("code", "__call__", rows[:1], deadline=Code().deadline))
    assert [verdict.outcome for verdict in verdicts] == ["pass", "fail", "pass"]
    assert isinstance(late[0], WorkerTimeout) and again[0].outcome == "pass"
