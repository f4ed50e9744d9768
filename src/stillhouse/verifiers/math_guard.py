r"""Refuses formulas that could keep sympy busy for ever or fill its memory, before sympy sees anything of them.

In: cleaned text. Out: None, or why it is refused. Why: big integers are made inside C, where no alarm arrives, and a
parser's time grows faster than its text.
"""

from __future__ import annotations

import re

MAX_LENGTH = 400
MAX_DIGITS = 300
MAX_EXPONENT = 1_000
MAX_FACTORIAL = 200
MAX_NESTING = 24
MAX_HEAVY = 3
_EXPONENT = re.compile(r"(?:\^|\*\*)\s*\{?\s*[-+(]*\s*(\d+)")
_TOWER = re.compile(r"\^\s*(?:\{[^{}]*\^|\w\s*\^)")
_FACTORIAL = re.compile(r"(\d*)\s*[)}\]]*\s*!(?!=)")
_DIGITS = re.compile(r"\d[\d,]*")
_HEAVY = re.compile(r"\\(?:int|iint|oint|sum|prod|lim|det|binom|begin)(?![a-zA-Z])")
_BINOMIAL = re.compile(r"\\binom\s*\{?\s*(\d+)|(\d+)\s*\\choose")


def refusal(text: str) -> str | None:
    """Why Math-Verify must not see this formula; None when it may."""
    if len(text) > MAX_LENGTH:
        return f"a formula of {len(text)} signs"
    if _depth(text) > MAX_NESTING:
        return "a formula nested too deep"
    if any(len(match[0]) > MAX_DIGITS for match in _DIGITS.finditer(text)):
        return "a number of too many digits"
    if any(len(match[1]) > 9 or int(match[1]) > MAX_EXPONENT for match in _EXPONENT.finditer(text)):
        return "an exponent of too many digits"
    if _TOWER.search(text):
        return "a tower of powers"
    if _factorials(text):
        return "a factorial of too many digits"
    if any(len(one or two) > 6 for one, two in _BINOMIAL.findall(text)):
        return "a binomial of too many digits"
    if len(_HEAVY.findall(text)) > MAX_HEAVY:
        return "too many sums, integrals or matrices"
    return None


def _depth(text: str) -> int:
    depth = deepest = 0
    for char in text:
        if char in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in ")]}":
            depth -= 1
    return deepest


def _factorials(text: str) -> bool:
    """A factorial of a large number, of a factorial, or of anything with a power in it."""
    found = list(_FACTORIAL.finditer(text))
    if len(found) > 1 and re.search(r"!\s*[)}\]]*\s*!", text):
        return True
    return bool(found) and ("^" in text or any(m[1] and (len(m[1]) > 6 or int(m[1]) > MAX_FACTORIAL) for m in found))
