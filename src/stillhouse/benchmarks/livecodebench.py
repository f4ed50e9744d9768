"""LiveCodeBench v5, contests of 2024-10 to 2025-02: 167 problems, 16 samples each, all tests at 6 s.

In: test5.jsonl of livecodebench/code_generation_lite (from the hub, or local), which is what release v5 added to v4.
Out: Benchmark with its own prompt; its verifier takes the code between the last two fences and runs every test.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from stillhouse.benchmarks.benchmark import Benchmark, Row, cell, read_rows
from stillhouse.benchmarks.packed_tests import PackedTests, read_packed
from stillhouse.records import Message, Part, Query, Response, UserMistake, Verdict

NAME = "livecodebench"
MOST_TESTS = 1000  # of a problem; more are refused, as every test counts
HUB, FILE = "livecodebench/code_generation_lite", "test5.jsonl"
# The prompt of the benchmark's own runner (LiveCodeBench, MIT licence), word for word, so that scores compare.
WITH_STARTER = (
    "You will use the following starter code to write the solution to the problem and enclose your code "
    "within delimiters."
)
WITHOUT_STARTER = (
    "Read the inputs from stdin solve the problem and write the answer to stdout (do not directly test on the sample "
    "inputs). Enclose your code within delimiters as follows. Ensure that when the python program runs, it reads the "
    "inputs, runs the algorithm and writes output to STDOUT."
)


def livecodebench(
    path: str | None = None,
    start: str = "2024-10-01",
    end: str = "2025-02-01",
    expected: int | None = 167,
    max_test_bytes: int = 256 * 2**20,
) -> Benchmark:
    """Problems whose contest lies in [start, end]. path: a local copy of the file; expected: None for other windows."""
    first, last = datetime.date.fromisoformat(start), datetime.date.fromisoformat(end)

    def items() -> Iterator[Query]:
        for row in read_rows(NAME, path or _from_hub(), HUB, None, "test"):
            if first <= _date(row) <= last:
                yield _item(row, max_test_bytes)

    return Benchmark(
        NAME, "code", 16, items, _prompt, expected=expected,
        verifier={"tests": MOST_TESTS, "python_timeout": 6.0, "stop_early": True},
        grader="stillhouse.benchmarks.livecodebench:LiveCode",
    )  # fmt: skip


def _from_hub() -> str:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise UserMistake(f"benchmark {NAME}: `pip install huggingface_hub`, or give the path of {FILE}") from error
    try:
        return str(hf_hub_download(HUB, FILE, repo_type="dataset"))
    except Exception as error:
        raise UserMistake(
            f"benchmark {NAME}: {FILE} of {HUB} is not to be had from the hub ({type(error).__name__}); give the path "
            "of a local copy"
        ) from error


def _date(row: Row) -> datetime.date:
    value = cell(NAME, row, "contest_date")
    if isinstance(value, datetime.datetime):
        return value.date()
    try:
        return datetime.datetime.fromisoformat(str(value)).date()
    except ValueError as error:
        raise UserMistake(f"benchmark {NAME}: problem {row.get('question_id')}: contest_date {value!r}") from error


def _item(row: Row, max_bytes: int) -> Query:
    number = str(cell(NAME, row, "question_id"))
    extra = {c: row[c] for c in ("platform", "difficulty", "contest_id", "question_title") if row.get(c) is not None}
    return Query(
        (Message("user", str(cell(NAME, row, "question_content")).strip()),),
        "code",
        id=number,
        source=NAME,
        test_case=_tests(row, number, max_bytes),
        extra=extra | {"starter_code": row.get("starter_code") or "", "contest_date": str(_date(row))},
    )


def _prompt(item: Query) -> str:
    starter = (item.extra or {}).get("starter_code")
    form, code = (WITH_STARTER, starter) if starter else (WITHOUT_STARTER, "# YOUR CODE HERE")
    return (
        f"### Question:\n{item.text}\n\n### Format: {form}\n```python\n{code}\n```\n\n"
        "### Answer: (use the provided format with backticks)\n\n"
    )


def _tests(row: Row, number: str, max_bytes: int) -> dict[str, Any]:
    """Public and private tests in our shape: std with inputs and outputs, or asserts of a method of Solution."""
    tests = _listed(row.get("public_test_cases"), number)
    packed = row.get("private_test_cases")
    if packed:
        tests += _listed(packed, number, max_bytes)
    if len(tests) > MOST_TESTS:
        raise UserMistake(f"benchmark {NAME}: problem {number} has {len(tests)} tests, over {MOST_TESTS}")
    kinds = {str(test.get("testtype")) for test in tests}
    if not tests or kinds - {"stdin", "functional"} or len(kinds) > 1:
        raise UserMistake(f"benchmark {NAME}: problem {number} has tests of the kinds {sorted(kinds) or 'none'}")
    if kinds == {"stdin"}:
        return {
            "call_type": "std",
            "inputs": [str(t["input"]) for t in tests],
            "outputs": [str(t["output"]) for t in tests],
        }
    metadata = row.get("metadata") or "{}"
    name = (json.loads(metadata) if isinstance(metadata, str) else metadata).get("func_name")
    if not isinstance(name, str) or not name.isidentifier():
        raise UserMistake(f"benchmark {NAME}: problem {number}: metadata.func_name is {name!r}")
    return {"call_type": "assert", "fn_name": name, "assert_case": [_assertion(name, t, number) for t in tests]}


def _listed(value: Any, number: str, max_bytes: int | None = None) -> list[dict[str, Any]]:
    """A list of tests: as JSON text, or packed (private ones) as base64 of zlib of a pickled JSON text."""
    try:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except json.JSONDecodeError:
                if max_bytes is None:
                    raise
                value = json.loads(read_packed(value, max_bytes))
    except (PackedTests, json.JSONDecodeError) as error:
        raise UserMistake(f"benchmark {NAME}: the tests of problem {number} cannot be read: {error}") from error
    if not isinstance(value, list) or not all(isinstance(t, dict) and {"input", "output"} <= set(t) for t in value):
        raise UserMistake(f"benchmark {NAME}: the tests of problem {number} are no list of input and output")
    return value


def _assertion(name: str, test: Row, number: str) -> str:
    """Arguments stand a line each, as JSON; the method is called on a new Solution, as the benchmark's runner does."""
    try:
        arguments = [json.loads(line) for line in str(test["input"]).split("\n") if line.strip()]
        expected = json.loads(str(test["output"]))
    except json.JSONDecodeError as error:
        raise UserMistake(f"benchmark {NAME}: problem {number} has a test that is no JSON: {error}") from error
    return f"assert Solution().{name}({', '.join(map(repr, arguments))}) == {expected!r}"


# LeetCode's judge has these at hand, and its starter code names them: the benchmark's runner imports them first.
_MODULES = (
    "string re datetime collections heapq bisect copy math random statistics itertools functools operator io sys json"
)
PRELUDE = "".join(f"from {module} import *\n" for module in (*_MODULES.split(), "builtins", "typing"))
PRELUDE += f"import {', '.join(_MODULES.split())}\nsys.setrecursionlimit(50000)\n"


class LiveCode:
    """LiveCodeBench's grading around our code verifier: the code between the last two fences, and every test must pass.

    code: the part of the code verifier with the settings that Benchmark.verifier names.
    """

    def __init__(self, code: Part) -> None:
        self._code = code.build()
        self.version = f"livecodebench-1 {self._code.version}"
        self.deadline = float(getattr(self._code, "deadline", 600.0))

    def check(self, query: Query) -> Verdict:
        verdict: Verdict = self._code.check(query)
        return verdict

    def __call__(self, query: Query, response: Response) -> Verdict:
        code = between_last_fences(response.answer)
        if code is None:
            return Verdict("fail", 0.0, "no_code", "there are not two fences in the answer")
        lines = f"```python\n{PRELUDE}{code}\n```"
        verdict: Verdict = self._code(query, replace(response, text=lines, reasoning=None))
        if verdict.outcome == "pass" and verdict.passed != verdict.total:
            return replace(verdict, outcome="fail")  # 90 % of the tests pass for a dataset, all for the benchmark
        return verdict

    def settle(self, query: Query, response: Response, reply: Response) -> Verdict:
        raise NotImplementedError("the code verifier asks no judge")

    def close(self) -> None:
        self._code.close()


def between_last_fences(text: str) -> str | None:
    """The lines between the last two lines that hold a fence, as the benchmark's runner takes them."""
    lines = text.split("\n")
    fences = [number for number, line in enumerate(lines) if "```" in line]
    return "\n".join(lines[fences[-2] + 1 : fences[-1]]) if len(fences) >= 2 else None
