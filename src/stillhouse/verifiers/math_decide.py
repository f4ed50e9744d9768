"""Decides whether two final answers are one: the fast path, our own reading by the conventions, then Math-Verify.

In: reference and answer as written. Out: the rule that decided, True, False or None for unknown, and a reason. Raises
nothing: whatever goes wrong leaves the pair unknown, and says why.
"""

from __future__ import annotations

import re
from fractions import Fraction

from stillhouse.verifiers import math_backend, math_equal, math_fast, math_guard
from stillhouse.verifiers.math_clean import clean, key
from stillhouse.verifiers.math_compare import compare
from stillhouse.verifiers.math_number import GuardError
from stillhouse.verifiers.math_read import read
from stillhouse.verifiers.math_scalar import ENOUGH_DIGITS
from stillhouse.verifiers.math_shape import Many, Scalar, Shape
from stillhouse.verifiers.math_tree import num

Decision = tuple[str, bool | None, str]

_GROUPS = re.compile(r"(?<!\d)\d{1,3}(?:,[1-9]\d{2})+(?!\d)")
_COMMA_DECIMAL = re.compile(r"-?0,\d+")
_PROSE_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}(?![a-zA-Z])")
_BOUND = re.compile(r"\bat (least|most)\b", re.IGNORECASE)
_GROUP = re.compile(r"\\text\s?\{[^{}]*[a-zA-Z][^{}]*\}(?:\^\{?-?\d+\}?)?")
_CJK = re.compile(r"[\u4e00-\u9fff]")
MANY_WORDS, MANY_CHARACTERS = 7, 14
ROUNDED_FROM = Fraction(1, 10)  # six places of a smaller number are fewer than six digits


def decide(reference: str, answer: str) -> Decision:
    """Rule, equal (None: unknown) and reason for two final answers, the reference first."""
    left, right = clean(reference), clean(answer)
    if _opposed(left, right):
        return "math_convention_words", False, "at least is not at most"
    known = math_fast.decide(left, right)
    if known is not None:
        return "math_exact", known, "equal" if known else "different"
    if key(left) == key(right) and left:
        return "math_exact", True, "the same writing"
    try:
        rule, equal = _by_convention(left, right)
    except GuardError as error:
        return "guard", None, str(error)
    except RecursionError:
        return "guard", None, "a formula nested too deep"
    except Exception as error:  # noqa: BLE001  a fault of our own reading leaves the pair unknown, and says so
        return "error", None, f"{type(error).__name__}: {error}"[:300]
    if equal is not None:
        return rule, equal, "equal" if equal else "different"
    return _by_math_verify(left, right)


def _opposed(left: str, right: str) -> bool:
    one, two = _BOUND.search(left), _BOUND.search(right)
    return one is not None and two is not None and one[1].lower() != two[1].lower()


def _by_convention(left: str, right: str) -> tuple[str, bool | None]:
    """The verdict of our own reading; None where one side cannot be read or compared."""
    found: tuple[str, bool | None] = ("math_verify", None)
    for reference in _readings(left):
        for answer in _readings(right):
            rule, same = compare(reference, answer)
            if same or found[1] is None:
                found = (rule, same)
            if same:
                return found
    return found


def _readings(text: str) -> list[Shape]:
    """A text's shape; of digits in groups of three the number and the list, of `0,5` the list and the decimal."""
    texts = [text, text.replace(",", ", ")] if _GROUPS.search(text) else [text]
    if _COMMA_DECIMAL.fullmatch(text):
        texts.append(text.replace(",", "."))
    return [shape for shape in map(read, texts) if shape is not None]


def _by_math_verify(left: str, right: str) -> Decision:
    if _prose(left):
        return "reference", None, f"the reference is prose: {left[:200]}"
    if _prose(right):
        return "math_convention_words", False, "the answer is prose"
    for text in (left, right):
        refused = math_guard.refusal(text)
        if refused is not None:
            return "guard", None, refused
        if "\\ldots" in text:  # Math-Verify drops the dots, and takes what is left for the whole
            rule = "reference" if text is left else "math_convention_ellipsis"
            return rule, None if text is left else False, "an ellipsis that cannot be compared"
    if _words_apart(left, right):  # it drops them, and takes what is left for the whole
        return "math_convention_unit", False, "the words behind the formulas differ"
    try:
        same = _ask_math_verify(left, right)
    except math_backend.UnreadableError:
        return "reference", None, f"the reference cannot be parsed: {left[:200]}"
    except Exception as error:  # noqa: BLE001  sympy raises of everything; unknown is what that means
        return "error", None, f"{type(error).__name__}: {error}"[:300]
    return "math_verify", same, "equal" if same else "different"


def _words_apart(left: str, right: str) -> bool:
    """Whether both sides have groups of words, units mostly, and other ones."""
    one, two = (
        sorted(re.sub(r"[\s{}]", "", group).lower() for group in _GROUP.findall(text)) for text in (left, right)
    )
    return bool(one) and bool(two) and one != two


def _ask_math_verify(left: str, right: str) -> bool:
    """Math-Verify rounds decimals to six places: it sees exact fractions instead, so that the convention holds."""
    reference, answer = _decimal(left), _decimal(right)
    one = left if reference is None else _as_fraction(reference)
    two = right if answer is None else _as_fraction(answer)
    if math_backend.equal(one, two):
        return True
    if answer is None or reference is not None or (answer.digits or 0) < ENOUGH_DIGITS:
        return False
    big = abs(answer.node.number) >= ROUNDED_FROM if answer.node.op == "num" else False
    return big and math_backend.equal(left, right)


def _decimal(text: str) -> Scalar | None:
    """A side that is a plain decimal; None for anything else."""
    shape = next(iter(_readings(text)), None)
    plain = isinstance(shape, Scalar) and shape.digits is not None and shape.plain and shape.node.op in ("num", "neg")
    return shape if plain and isinstance(shape, Scalar) else None


def _as_fraction(decimal: Scalar) -> str:
    negative = decimal.node.op == "neg"
    value = decimal.node.args[0].number if negative else decimal.node.number
    return rf"{'-' if negative else ''}\frac{{{value.numerator}}}{{{value.denominator}}}"


def unreadable(reference: str) -> str | None:
    """Why a cleaned reference cannot be compared with anything; None when it can."""
    try:
        shapes = _readings(reference)
        for shape in shapes:
            _value_of(shape)
    except (GuardError, RecursionError) as error:
        return f"the reference is too large to be looked at: {error}"
    if shapes:
        return None
    refused = math_guard.refusal(reference)
    if refused is None and not _prose(reference):
        try:
            if not all(isinstance(reading, str) for reading in math_backend.parse(reference)):
                return None
        except Exception as error:  # noqa: BLE001  sympy raises of everything; unreadable is what that means
            refused = f"{type(error).__name__}: {error}"[:200]
    return f"the reference cannot be parsed: {refused or reference[:200]}"


def _value_of(shape: Shape) -> None:
    """Evaluate what can be evaluated. Raises GuardError for what is too large."""
    if isinstance(shape, Scalar):
        math_equal.same(shape.node, num(7))
    elif isinstance(shape, Many):
        for item in shape.items:
            _value_of(item)


def _prose(text: str) -> bool:
    """Whether a text is a sentence rather than an answer."""
    words = _PROSE_WORD.findall(text)
    return len(words) >= MANY_WORDS or len(_CJK.findall(text)) >= MANY_CHARACTERS
