"""LiveCodeBench's own grading: last two fences, the imports that contest code counts on, all tests or nothing."""

import pytest

from stillhouse.benchmarks.livecodebench import LiveCode, between_last_fences
from stillhouse.records import Message, Part, Query, Response

STD = {"call_type": "std", "inputs": [f"{i}\n" for i in range(10)], "outputs": [f"{i + 1}\n" for i in range(10)]}
CALLS = {
    "call_type": "assert", "fn_name": "most",
    "assert_case": ["assert Solution().most([1, 1, 2]) == 1", "assert Solution().most([3]) == 3"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```python\na\n```", "a"),
        ("```\nfirst\n```\nno:\n```python\nsecond\n```\nbye", "second"),
        ("```python\na\n```\nand a lone ```", ""),
        ("no code", None),
        ("one ``` fence", None),
        ("```python\na\n\nb\n```", "a\n\nb"),
    ],
)
def test_the_code_is_what_stands_between_the_last_two_fences(text, code):
    assert between_last_fences(text) == code


@pytest.fixture(scope="module")
def judge():
    from stillhouse.verifiers.code import Code

    settings = {"tests": 1000, "python_timeout": 6.0, "stop_early": True}
    verifier = LiveCode(Part(f"{Code.__module__}:Code", settings))

    def verdict(test_case, text):
        query = Query((Message("user", "?"),), "code", test_case=test_case)
        return verifier(query, Response("k", query.key, "t", text))

    yield verdict
    verifier.close()


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("test_case", "code", "outcome"),
    [
        (STD, "print(int(input()) + 1)", "pass"),
        (STD, "n = int(input())\nprint(n + 1 if n != 7 else 0)", "fail"),
        (CALLS, "class Solution:\n    def most(self, a: List[int]) -> int:\n"
                "        return Counter(a).most_common(1)[0][0]", "pass"),
        (CALLS, "class Solution:\n    def most(self, a):\n        return None", "fail"),
    ],
    ids=["all pass", "nine of ten is no pass here", "contest imports are there", "wrong"],
)  # fmt: skip
def test_every_test_must_pass(judge, test_case, code, outcome):
    verdict = judge(test_case, f"<think>x</think><answer>```python\n{code}\n```</answer>")
    assert verdict.outcome == outcome, verdict


@pytest.mark.sandbox
def test_an_answer_without_fences_fails(judge):
    assert judge(STD, "print(1)").rule == "no_code"
