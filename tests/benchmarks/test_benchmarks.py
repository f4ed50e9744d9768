"""Benchmarks from local files with the columns of the real data sets (hand-made rows)."""

import base64
import json
import pickle
import zlib

import pytest

from stillhouse.benchmarks.aime import aime2024, aime2025
from stillhouse.benchmarks.livecodebench import livecodebench
from stillhouse.benchmarks.math500 import math500
from stillhouse.records import UserMistake

AIME24 = {"id": 60, "problem": "Find $x$.", "solution": "...", "answer": "204", "url": "https://x", "year": "2024"}
AIME25 = {"question": "Find the sum of all integer bases $b>9$.", "answer": "70"}
MATH = {"problem": "Convert $(0,3)$.", "solution": "...", "answer": "\\left( 3, \\frac{\\pi}{2} \\right)",
        "subject": "Precalculus", "level": 2, "unique_id": "test/precalculus/807.json"}  # fmt: skip
STARTER = "class Solution:\n    def find(self, a: List[int], b: str):\n        "
SUFFIX = "\nLet's think step by step and output the final answer within \\boxed{}."


def packed(tests) -> str:
    """As the data set packs its private tests."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests)))).decode()


def problem(number="3550", date="2024-10-12T00:00:00", kind="stdin", **changes) -> dict:
    if kind == "stdin":
        public = [{"input": "3\n1 2 3\n", "output": "6\n", "testtype": "stdin"}]
        private = [{"input": "1\n5\n", "output": "5\n", "testtype": "stdin"}]
    else:
        public = [{"input": '[1, 2]\n"ab"', "output": "[0, 1]", "testtype": "functional"}]
        private = [{"input": '[]\n"c"', "output": "null", "testtype": "functional"}]
    return {
        "question_title": "A", "question_content": f"Sum the numbers of {number}.", "platform": "atcoder",
        "question_id": number, "contest_id": "abc", "contest_date": date, "difficulty": "easy",
        "starter_code": "" if kind == "stdin" else STARTER,
        "public_test_cases": json.dumps(public), "private_test_cases": packed(private),
        "metadata": json.dumps({} if kind == "stdin" else {"func_name": "find"}),
    } | changes  # fmt: skip


@pytest.fixture
def lines(tmp_path):
    def write(rows, name="rows.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return write


@pytest.mark.parametrize(
    ("make", "rows", "number", "answer"),
    [
        (aime2024, [AIME24 | {"id": i, "problem": f"Find $x_{i}$."} for i in range(30)], 64, "204"),
        (aime2025, [AIME25 | {"question": f"Find {i}."} for i in range(30)], 64, "70"),
        (math500, [MATH | {"problem": f"Convert {i}."} for i in range(500)], 4, MATH["answer"]),
    ],
)
def test_math_benchmarks_have_their_items_samples_prompt_and_limit(lines, make, rows, number, answer):
    benchmark = make(path=lines(rows))
    queries = benchmark.queries()
    assert (benchmark.samples, benchmark.max_tokens, benchmark.category) == (number, 49152, "math")
    assert (benchmark.temperature, benchmark.top_p) == (0.6, 0.95)
    assert len(queries) == len(rows)
    assert queries[0].text.endswith(SUFFIX)
    assert queries[0].ground_truth == answer
    bare = list(benchmark())
    assert all(SUFFIX not in q.text for q in bare)
    assert bare[0].key != queries[0].key


def test_another_number_of_items_is_a_loud_failure(lines):
    with pytest.raises(UserMistake, match="aime2024: 1 items, but it has 30"):
        aime2024(path=lines([AIME24])).queries()
    with pytest.raises(UserMistake, match="livecodebench: 2 items, but it has 167"):
        livecodebench(path=lines([problem("1"), problem("2")])).queries()


def test_problems_that_stand_twice_are_told(lines):
    with pytest.raises(UserMistake, match="29 of its problems stand twice"):
        aime2024(path=lines([AIME24] * 30)).queries()


def test_missing_columns_and_files_are_told(lines, tmp_path):
    with pytest.raises(UserMistake, match="none of the columns problem"):
        list(aime2024(path=lines([{"text": "?", "answer": "1"}]))())
    with pytest.raises(UserMistake, match="no file"):
        list(aime2024(path=str(tmp_path / "nowhere.jsonl"))())
    (tmp_path / "bad.jsonl").write_text('{"problem": "a", "answer": "1"}\n{"problem\n')
    with pytest.raises(UserMistake, match=r"bad\.jsonl:2:\d+: not JSON"):
        list(aime2024(path=str(tmp_path / "bad.jsonl"))())


def test_json_and_parquet_files_are_read_too(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "a.json").write_text(json.dumps([AIME24]))
    pq.write_table(pa.Table.from_pylist([AIME24]), tmp_path / "a.parquet")
    (from_json,), (from_parquet,) = (list(aime2024(path=str(tmp_path / f"a.{s}"))()) for s in ("json", "parquet"))
    assert from_json.key == from_parquet.key
    assert from_json.extra == {"url": "https://x", "year": "2024"}


@pytest.mark.parametrize(
    ("date", "inside"),
    [
        ("2024-09-30T00:00:00", False),
        ("2024-10-01T00:00:00", True),
        ("2025-02-01T00:00:00", True),
        ("2025-02-02", False),
    ],
)
def test_the_window_is_of_contest_dates_both_ends_included(lines, date, inside):
    rows = [problem(date=date)]
    assert len(list(livecodebench(path=lines(rows))())) == inside


def test_167_problems_are_a_benchmark(lines):
    benchmark = livecodebench(path=lines([problem(str(i)) for i in range(167)]))
    assert len(benchmark.queries()) == 167
    assert benchmark.samples == 16
    assert benchmark.verifier["python_timeout"] == 6.0
    assert benchmark.verifier["tests"] >= 1000


def test_programs_get_public_and_private_tests_and_the_benchmarks_own_prompt(lines):
    (query,) = livecodebench(path=lines([problem()]), expected=1).queries()
    assert query.test_case == {"call_type": "std", "inputs": ["3\n1 2 3\n", "1\n5\n"], "outputs": ["6\n", "5\n"]}
    assert query.text.startswith("### Question:\nSum the numbers of 3550.\n\n### Format: Read the inputs from stdin")
    assert query.text.endswith(
        "```python\n# YOUR CODE HERE\n```\n\n### Answer: (use the provided format with backticks)\n\n"
    )


def test_methods_become_asserts_whose_values_are_python(lines):
    (query,) = livecodebench(path=lines([problem(kind="functional")]), expected=1).queries()
    assert query.test_case == {
        "call_type": "assert", "fn_name": "find",
        "assert_case": ["assert Solution().find([1, 2], 'ab') == [0, 1]", "assert Solution().find([], 'c') == None"],
    }  # fmt: skip
    assert "You will use the following starter code" in query.text
    assert "class Solution:" in query.text


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"private_test_cases": "!!!"}, "not base64"),
        ({"private_test_cases": base64.b64encode(b"abc").decode()}, "not zlib"),
        ({"private_test_cases": packed({"a": 1})}, "no list of input and output"),
        ({"public_test_cases": "[", "private_test_cases": ""}, "cannot be read"),
        ({"public_test_cases": "[]", "private_test_cases": ""}, "kinds none"),
        ({"metadata": json.dumps({"func_name": "os.system('x')"})}, "func_name"),
        ({"contest_date": "soon"}, "contest_date"),
    ],
)
def test_a_problem_that_cannot_be_read_is_told_with_its_number(lines, changes, word):
    kind = "functional" if "metadata" in changes else "stdin"
    with pytest.raises(UserMistake, match=word) as told:
        livecodebench(path=lines([problem(kind=kind) | changes]), expected=None).queries()
    assert "3550" in str(told.value)
