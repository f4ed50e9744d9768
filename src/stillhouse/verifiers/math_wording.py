"""Compares letters of choices, words and times of day.

In: two shapes of which one is a Choice, Words or a Clock, and how to compare what is inside. Out: rule and verdict.
"""

from __future__ import annotations

from stillhouse.verifiers.math_lists import Compare
from stillhouse.verifiers.math_scalar import Result
from stillhouse.verifiers.math_shape import Choice, Clock, Either, Family, Many, Named, Relation, Scalar, Shape, Words
from stillhouse.verifiers.math_structure import ratios
from stillhouse.verifiers.math_tree import Node
from stillhouse.verifiers.math_words import INFINITE

FEW_WORDS = 3


def choices(reference: Shape, answer: Shape, compare: Compare) -> Result:
    rule = "math_convention_letter"
    if isinstance(reference, Choice):
        if isinstance(answer, Choice):
            return rule, reference.letter == answer.letter
        name = _letter_of(answer)
        if name is not None:
            return rule, name.upper() == reference.letter
        return (rule, False) if reference.rest is None else compare(reference.rest, answer)
    assert isinstance(answer, Choice)  # noqa: S101  the caller saw to it
    name = _letter_of(reference)
    if name is not None:
        return rule, name.upper() == answer.letter
    return (rule, False) if answer.rest is None else compare(reference, answer.rest)


def _letter_of(shape: Shape) -> str | None:
    if isinstance(shape, Many) and len(shape.items) == 1:
        shape = shape.items[0]
    if isinstance(shape, Scalar) and shape.node.op in ("sym", "const") and len(shape.node.name) == 1:
        return shape.node.name
    return None


def words(reference: Shape, answer: Shape) -> Result:
    rule = "math_convention_words"
    if isinstance(reference, Words) and isinstance(answer, Words):
        if reference.text == answer.text or reference.text.replace(" ", "") == answer.text.replace(" ", ""):
            return rule, True
        short = len(reference.text.split()) <= FEW_WORDS
        return rule, (False if short else None)
    said, other = (reference, answer) if isinstance(reference, Words) else (answer, reference)
    assert isinstance(said, Words)  # noqa: S101  the caller saw to it
    if isinstance(other, Scalar):
        if other.infinite > 0 and said.text == INFINITE:
            return rule, True
        letters = _letters(other.node)
        if letters is not None:
            return rule, letters.lower() == said.text.replace(" ", "")
        return rule, False
    if isinstance(other, Named | Either | Family | Relation):
        return rule, None
    return rule, False


def _letters(node: Node) -> str | None:
    """Letters that were read as a product and may have been a word."""
    parts = node.args if node.op == "mul" else (node,)
    if all(part.op in ("sym", "const") for part in parts):
        return "".join(part.name for part in parts)
    return None


def _of_day(clock: Clock) -> int | None:
    """Minutes since midnight where that is certain: by am or pm, or an hour such as 19 or 0."""
    if clock.half:
        return clock.minutes + 720 * (clock.half == "p")
    return clock.minutes % 1440 if clock.minutes >= 780 or clock.minutes < 60 else None


def clocks(reference: Shape, answer: Shape, compare: Compare) -> bool | None:
    """Times of day; am or pm may be missing. Without either, 3:30 may be a ratio too."""
    if isinstance(reference, Clock) and isinstance(answer, Clock):
        if reference.ratio is not None and answer.ratio is not None:
            return ratios(reference.ratio, answer.ratio)
        one, other = _of_day(reference), _of_day(answer)
        if one is not None and other is not None:
            return one == other
        return reference.minutes % 720 == answer.minutes % 720
    a = reference.ratio if isinstance(reference, Clock) else reference
    b = answer.ratio if isinstance(answer, Clock) else answer
    if a is None or b is None:
        return False
    return compare(a, b)[1]
