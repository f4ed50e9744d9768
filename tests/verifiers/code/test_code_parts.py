"""Claims about how tests are split, values compared outside the jail, and code found in an answer."""

import pytest

from stillhouse.sandbox.outcome import Ran
from stillhouse.verifiers.code_compare import difference
from stillhouse.verifiers.code_fences import Solution, blocks, solution
from stillhouse.verifiers.code_split import split
from stillhouse.verifiers.code_tests import Check, Unreadable, read

SPLITS = [
    ("assert f(1) == 2", ["f(1)"], 0),
    ("assert 2 == f(1)", ["f(1)"], 0),
    ("assert f(1) == 2 and g(f(2)) == 3", ["f(1)", "g(f(2))"], 0),
    ("assert close(f(1), 2.5) == True", None, 1),
    ("assert f(1) == [2, {3: (4,)}]", ["f(1)"], 0),
    ("assert abs(f(1) - 2.5) <= 0.1", ["f(1)"], 0),
    ("assert math.isclose(f(1), 2.5)", ["f(1)"], 0),
    ("assert np.allclose(f(1), [2.5])", None, 1),
    ("assert f(1) == pytest.approx(2.5)", None, 1),
    ("assert set(f(1)) == {1, 2}", ["set(f(1))"], 0),
    ("assert sorted(f(1), key=lambda t: t[1]) == [(1, 2)]", ["sorted(f(1), key=lambda t: t[1])"], 0),
    ("assert len(f(1)) == 2", ["len(f(1))"], 0),
    ("assert list(map(f, [1, 2])) == [1, 4]", ["list(map(f, [1, 2]))"], 0),
    ("assert [f(x) for x in (1, 2)] == [1, 4]", ["[f(x) for x in (1, 2)]"], 0),
    ("assert [abs(f(x) - 2) < 1 for x in (1, 2)] == [True, True]", None, 1),
    ("assert all(f(x) == x for x in range(3))", None, 1),
    ("assert isinstance(f(1), (int, float))", ["f(1)"], 0),
    ("assert type(f(1)) == list", ["f(1)"], 0),
    ("assert type(f(1)) is list", ["f(1)"], 0),
    ("assert f(1) is None", ["f(1)"], 0),
    ("assert not f(1)", ["f(1)"], 0),
    ("assert f(f(1)) == 2", ["f(f(1))"], 0),
    ("assert Solution().f(1) == 2", ["Solution().f(1)"], 0),
    ("assert f(1)[0].name == 'x'", ["f(1)[0].name"], 0),
    ("assert f(1) == f(2)", None, 1),
    ("assert f(1) == Point(1, 2)", None, 1),
    ("assert check(f, 2)", None, 1),
    ("assert (f(1) == np.array([1, 2])).all()", None, 1),
    ("assert f(1) == 2 and f(1) == f(2)", None, 1),
    ("assert f(1) == ' a '.strip()", ["f(1)"], 0),
    ("assert f(1) == 'a' * 3", ["f(1)"], 0),
    ("assert f(1) == [i * i for i in range(3)]", None, 1),
    ("assert f(1) == sum([1, 2]) + 2 ** 3", ["f(1)"], 0),
    ("assert f(1) in {2, 3} or f(2) > 4", ["f(1)", "f(2)"], 0),
]


@pytest.mark.parametrize(("text", "holes", "weak"), SPLITS, ids=[row[0] for row in SPLITS])
def test_what_runs_inside_never_holds_what_is_expected(text: str, holes: list[str] | None, weak: int) -> None:
    made = split(text, "f")
    assert made.weak == weak
    if holes is not None:
        assert made.steps == [("value", hole) for hole in holes]
    else:
        assert [kind for kind, _ in made.steps] == ["do"]


JUDGED = [
    ("assert f() == 2", 2, True),
    ("assert f() == 2", 2.0, True),
    ("assert f() == 2", True, False),
    ("assert f() is True", 1, False),
    ("assert f() is True", True, True),
    ("assert abs(f() - 2.5) < 1e-3", 2.5001, True),
    ("assert abs(f() - 2.5) < 1e-3", 2.6, False),
    ("assert abs(f() - 2.5) < 1e-3", "x", False),
    ("assert 1 < f() < 3", 2, True),
    ("assert 1 < f() < 3", 3, False),
    ("assert f() == 2 ** 10 - 24", 1000, True),
    ("assert f() == 10 ** 10 ** 10", 1, False),
    ("assert f() == 'x' * 10 ** 12", "x", False),
    ("assert f() * 10 ** 9 == 3", "x", False),
    ("assert f() ** 10 ** 9 == 3", 7, False),
    ("assert f() % (1,) == 'x'", "%100000000000d", False),
    ("assert str(f()) == '1'", "1", True),
    ("assert f() == float('inf')", float("inf"), True),
    ("assert type(f()) == list", [1], True),
    ("assert isinstance(f(), (list, tuple))", (1,), True),
    ("assert not f()", [], True),
    ("assert f() not in (1, 2)", 3, True),
    ("assert f() == math.factorial(10 ** 9)", 3, False),
]


@pytest.mark.parametrize(("text", "value", "held"), JUDGED)
def test_a_value_is_judged_outside_without_harm(text: str, value: object, held: bool) -> None:
    (test,) = read({"call_type": "assert", "fn_name": "f", "assert_case": [text]}, 10)
    assert isinstance(test, Check) and not test.weak
    assert (test.judge(Ran("done", values=(value,))) == "") is held


def test_a_huge_integer_is_told_in_a_few_words() -> None:
    (test,) = read({"call_type": "assert", "fn_name": "f", "assert_case": ["assert f() == 1"]}, 10)
    assert len(test.judge(Ran("done", values=(1 << 10_000_000,)))) < 200


@pytest.mark.parametrize(
    "test_case",
    [
        None, {}, {"call_type": "x"}, {"call_type": "std"}, {"call_type": "std", "inputs": "1", "outputs": "1"},
        {"call_type": "std", "inputs": [{}], "outputs": [{}]}, {"call_type": "std", "inputs": [], "outputs": []},
        {"call_type": "assert", "fn_name": "f g", "assert_case": ["assert f()"]},
        {"call_type": "assert", "fn_name": "f", "assert_case": [1]},
        {"call_type": "assert", "fn_name": "f", "assert_case": ["(" * 500]},
    ],
)  # fmt: skip
def test_what_is_no_test_case_is_unreadable(test_case: dict[str, object] | None) -> None:
    with pytest.raises(Unreadable):
        read(test_case, 10)


OUTPUTS = [
    ("1\n2\n", "1\n2", True),
    ("1\n2\n", "1 \n2\r\n\n\n", True),
    ("1\n2\n", "1\n", False),
    ("1\n", "1\n2\n", False),
    ("1 2", "1  2", True),
    ("a b", "a  b", False),
    ("1\n2", "1 2", False),
    ("0.5", "0.5000004", True),
    ("0.5", "0.50001", False),
    ("1000000.0", "1000000.5", True),
    ("3", "3.0", True),
    ("3", "3.0000001", False),
    ("3.0", "3", True),
    ("yes 0.5", "yes 0.5000004", False),
    ("010", "10", False),
    ("-0.0", "0.0", True),
    ("1e9999", "1e9998", False),
    ("nan", "NaN", False),
    ("", "", True),
    ("", "x", False),
    ("9" * 500, "9" * 499 + "8", False),
    ("12345678901234567890", "12345678901234567891", False),
]


@pytest.mark.parametrize(("expected", "actual", "same"), OUTPUTS)
def test_outputs_agree_by_lines_or_as_numbers(expected: str, actual: str, same: bool) -> None:
    assert (difference(expected, actual) == "") is same


def test_blocks_are_found_whatever_is_around_them() -> None:
    assert [b.label for b in blocks("```python\nx\n```\ntext\n~~~cpp\ny\n~~~\n```\nz\n```")] == ["python", "cpp", ""]
    assert blocks("```python\nx\n````\n")[0].text == "x\n"
    assert blocks("```{.python .numberLines}\nx\n```")[0].label == "python"
    assert blocks("```python title='a'\nx")[0].text == "x\n"
    assert blocks("```python\r\nx = '\x0c\u2028'\r\n```")[0].text == "x = '\x0c\u2028'\n"
    assert blocks("`x` and ``` in a line") == []


def test_the_last_block_of_a_language_that_the_tests_speak_counts() -> None:
    answer = "```cpp\nint main() {}\n```\n```python\nprint(1)\n```\n```text\n1\n```"
    assert solution(answer, {"python", "cpp"}) == Solution("python", "print(1)\n")
    assert solution(answer, {"cpp"}) == Solution("cpp", "int main() {}\n")
    assert isinstance(solution("```rust\nx\n```", {"python"}), str)
    assert solution("```\n#include <cstdio>\n```", {"python", "cpp"}) == Solution("cpp", "#include <cstdio>\n")
