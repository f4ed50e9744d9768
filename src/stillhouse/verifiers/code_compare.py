"""Compares what a program printed with what was expected, outside the jail.

In: two texts; out: nothing when they agree, else the first difference in words. Why: a correct beginning is not a
correct output, and 0.1 + 0.2 is 0.3 where only numbers are printed.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal, InvalidOperation

_TOLERANCE = 1e-6  # absolute, or relative to the expected number
_INTEGER = re.compile(r"[+-]?\d+")
# no leading zeros: 0101 is a string of digits, and another one than 101
_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,4})?")
_LONGEST = 400  # characters of a number that is read as one


def lines_of(text: str) -> list[str]:
    """Lines without trailing blanks, and without empty lines at the end."""
    lines = [line.rstrip() for line in text.rstrip().split("\n")]
    return [] if lines == [""] else lines


def difference(expected: str, actual: str) -> str:
    """Empty when the output is right: the same lines, or, where every token of both is a number, as many numbers on
    every line, integers equal and others within 1e-6 (absolute or relative)."""
    wanted, got = lines_of(expected), lines_of(actual)
    if wanted == got:
        return ""
    if len(wanted) == len(got) and _all_numbers(wanted, got):
        for number, (want, have) in enumerate(zip(wanted, got, strict=True), 1):
            pairs = list(zip(want.split(), have.split(), strict=False))
            if len(want.split()) != len(have.split()) or not all(_same(w, h) for w, h in pairs):
                return _told(number, want, have)
        return ""
    for number, (want, have) in enumerate(zip(wanted, got, strict=False), 1):
        if want != have:
            return _told(number, want, have)
    return f"{len(got)} lines of output, expected {len(wanted)}"


def _told(number: int, want: str, have: str) -> str:
    return f"line {number}: got {shorten(have)}, expected {shorten(want)}"


def shorten(text: str, most: int = 120) -> str:
    """A text in quotes, cut in the middle when it is long."""
    if len(text) > most:
        text = f"{text[: most // 2]}...{text[-most // 3 :]}"
    return repr(text)


def _all_numbers(*texts: list[str]) -> bool:
    return all(
        len(token) <= _LONGEST and _NUMBER.fullmatch(token)
        for lines in texts
        for line in lines
        for token in line.split()
    )


def _same(expected: str, actual: str) -> bool:
    if expected == actual:
        return True
    try:
        want, have = Decimal(expected), Decimal(actual)
    except InvalidOperation:
        return False
    if want == have:
        return True
    if _INTEGER.fullmatch(expected):
        return False  # an integer was asked for: nothing near it will do
    near, far = float(want), float(have)
    return math.isfinite(near) and math.isfinite(far) and abs(near - far) <= _TOLERANCE * max(1.0, abs(near))
