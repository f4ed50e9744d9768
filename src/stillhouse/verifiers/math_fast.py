"""The exact fast path: decides what two short texts settle by themselves, and leaves the rest.

In: reference and answer as cleaned text. Out: True, False, or None for "look closer". Why: more than half of all pairs
are integers, fractions or a single letter, and need no algebra; False only where both are exact.
"""

from __future__ import annotations

import re

_INTEGER = re.compile(r"[-+]?\d+")
_FRACTION = re.compile(r"([-+]?)(?:\\[dtc]?frac\{([-+]?\d+)\}\{([-+]?\d+)\}|(\d+)/(\d+))")
LETTERS = frozenset("ABCDEFGHIJ")
MAX_DIGITS = 200  # of a fraction's terms, so that their product stays cheap; integers may have any length


def decide(reference: str, answer: str) -> bool | None:
    """Whether answer equals reference, where integers, fractions and letters settle it."""
    if _INTEGER.fullmatch(reference):
        if _INTEGER.fullmatch(answer):
            return _integer(reference) == _integer(answer)
        fraction = _fraction(answer)
        return None if fraction is None else _fraction_equals_integer(fraction, reference)
    if len(reference) == 1 and len(answer) == 1 and reference in LETTERS and answer.isalpha():
        return reference == answer.upper()
    left = _fraction(reference)
    if left is None:
        return None
    right = _fraction(answer)
    if right is None:
        return _fraction_equals_integer(left, answer) if _INTEGER.fullmatch(answer) else None
    return left[0] * right[1] == right[0] * left[1]


def _integer(text: str) -> tuple[bool, str]:
    """Sign and digits without leading zeros; as text, for integers may be longer than int() accepts."""
    digits = text.lstrip("+-").lstrip("0")
    return text[0] == "-" and bool(digits), digits


def _fraction(text: str) -> tuple[int, int] | None:
    match = _FRACTION.fullmatch(text) if len(text) < 2 * MAX_DIGITS else None
    if match is None:
        return None
    top, bottom = int(match[2] or match[4]), int(match[3] or match[5])
    if match[1] == "-":
        top = -top
    return (top, bottom) if bottom else None


def _fraction_equals_integer(fraction: tuple[int, int], integer: str) -> bool:
    return len(integer) < 2 * MAX_DIGITS and fraction[0] == int(integer) * fraction[1]
