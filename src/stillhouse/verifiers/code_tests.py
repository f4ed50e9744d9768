"""Reads a test_case of the published shape into cases for the sandbox and judgements outside it.

In: `{"call_type": "assert", "fn_name", "assert_case"}` or `{"call_type": "std", "inputs", "outputs"}`; out: tests,
or Unreadable with what is wrong. Why: the expected values stay in the judgement, in this process.
"""

from __future__ import annotations

import ast
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillhouse.sandbox.outcome import Case, Ran
from stillhouse.sandbox.plain import NotPlain
from stillhouse.verifiers.code_compare import difference, shorten
from stillhouse.verifiers.code_fences import Language
from stillhouse.verifiers.code_split import Split, split
from stillhouse.verifiers.code_values import NotOutside, evaluate


class _Short(reprlib.Repr):
    """Values in a few words, whatever an answer made them."""

    def repr_int(self, value: int, level: int) -> str:
        bits = value.bit_length()
        return repr(value) if bits < 260 else f"an integer of {bits} bits"  # writing it out takes quadratic time


_SHORT = _Short()
_SHORT.maxstring = _SHORT.maxother = 80
# names that published tests use for the function under test, or that an answer in a judge's style defines
_ALIASES = """
try: {name}
except NameError:
    try: {name} = Solution().{name}
    except (NameError, AttributeError): pass
"""


class Unreadable(Exception):  # noqa: N818  a finding about a query
    """The test_case cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Check:
    """case: for the sandbox; split: of an assert; expected: of an output; weak: its comparison runs inside."""

    case: Case
    split: Split | None = None
    expected: str = ""

    @property
    def weak(self) -> bool:
        return self.split is not None and self.split.weak > 0

    def judge(self, ran: Ran) -> str:
        """Empty when the test is passed, else why it is not."""
        if ran.outcome != "done":
            if self.weak and "AssertionError" in ran.reason:
                return "the assertion does not hold"
            return ran.reason
        if self.split is None:
            return difference(self.expected, ran.stdout.decode("utf-8", "surrogateescape"))
        names = {f"__value_{number}__": value for number, value in enumerate(ran.values)}
        for expression, text in self.split.checks:
            problem = _held(expression, text, names)
            if problem:
                return problem
        return ""


def _held(expression: ast.expr, text: str, names: Mapping[str, Any]) -> str:
    try:
        if evaluate(expression, names):
            return ""
    except (NotOutside, NotPlain) as problem:
        return f"{shorten(text)}: {problem}"
    except Exception as error:  # noqa: BLE001  the assert itself would have raised it: it does not hold
        return f"{shorten(text)}: {type(error).__name__}: {str(error)[:100]}"
    shown = {each.id for each in ast.walk(expression) if isinstance(each, ast.Name) and each.id in names}
    got = ", ".join(_SHORT.repr(names[name]) for name in sorted(shown))
    return f"{shorten(text)}: got {got}"


def languages(test_case: Mapping[str, Any]) -> frozenset[Language]:
    """What an answer may be written in. Raises Unreadable for a language that is not known."""
    named = test_case.get("language")
    if named:
        known: dict[str, Language] = {
            "python": "python",
            "python3": "python",
            "py": "python",
            "cpp": "cpp",
            "c++": "cpp",
        }
        if str(named).lower() not in known:
            raise Unreadable(f"the tests are for {str(named)[:40]}; Python and C++ are known")
        language = known[str(named).lower()]
        if language == "cpp" and test_case.get("call_type") == "assert":
            raise Unreadable("assert tests are Python, and the language says C++")
        return frozenset({language})
    return frozenset({"python"}) if test_case.get("call_type") == "assert" else frozenset({"python", "cpp"})


def read(test_case: Mapping[str, Any] | None, most: int) -> list[Check]:
    """The first `most` tests. Raises Unreadable."""
    if not isinstance(test_case, Mapping) or not test_case:
        raise Unreadable("the query has no test_case")
    kind = test_case.get("call_type")
    if kind == "assert":
        return _asserts(test_case, most)
    if kind == "std":
        return _outputs(test_case, most)
    raise Unreadable(f"call_type is {kind!r}, not 'assert' or 'std'"[:200])


def _asserts(test_case: Mapping[str, Any], most: int) -> list[Check]:
    function = test_case.get("fn_name") or ""
    listed = test_case.get("assert_case")
    if isinstance(listed, str):
        listed = [listed]
    if not isinstance(function, str) or (function and not function.isidentifier()):
        raise Unreadable(f"fn_name {function!r} is no name of a function"[:200])
    if not isinstance(listed, Sequence) or not listed:
        raise Unreadable("assert_case holds no tests")
    tests = []
    for number, text in enumerate(listed[:most]):
        try:
            made = split(text, function)
        except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
            raise Unreadable(f"assert_case {number} is not Python: {str(error)[:100]}") from error
        if not made.asserts:
            raise Unreadable(f"assert_case {number} asserts nothing")
        tests.append(Check(Case(steps=(*_names(function, text), *made.steps)), made))
    return tests


def _names(function: str, text: str) -> list[tuple[Any, str]]:
    steps: list[tuple[Any, str]] = []
    if function:
        steps.append(("do", _ALIASES.format(name=function)))
        if function != "candidate" and "candidate" in text:
            steps.append(("do", f"candidate = {function}"))
    return steps


def _outputs(test_case: Mapping[str, Any], most: int) -> list[Check]:
    inputs, outputs = test_case.get("inputs"), test_case.get("outputs")
    if isinstance(inputs, str) or isinstance(outputs, str) or not isinstance(inputs, Sequence | None):
        raise Unreadable("inputs and outputs must be lists")
    if not isinstance(outputs, Sequence) or not outputs or not inputs:
        raise Unreadable("inputs or outputs hold no tests")
    if len(inputs) != len(outputs):
        raise Unreadable(f"{len(inputs)} inputs and {len(outputs)} outputs")
    pairs = list(zip(inputs, outputs, strict=True))[:most]
    return [Check(Case(stdin=_text(i).encode("utf-8", "surrogatepass")), None, _text(o)) for i, o in pairs]


def _text(value: Any) -> str:
    """An input or output: a text, or a list of its lines."""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence) and all(isinstance(each, str | int | float) for each in value):
        return "\n".join(map(str, value))
    if isinstance(value, int | float):
        return str(value)
    raise Unreadable(f"an input or output of type {type(value).__name__}")
