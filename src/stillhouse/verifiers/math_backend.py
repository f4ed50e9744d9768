"""Math-Verify as one function, inside a worker: its time-outs off, its errors told instead of swallowed.

In: two formulas without delimiters. Out: whether it calls them equal. Its own time-outs are alarms that big integers
inside C never see; here the pool keeps the deadline.
"""

from __future__ import annotations

import logging
from typing import Any

import math_verify  # it ships no types
from math_verify import LatexExtractionConfig

logging.getLogger("math_verify").setLevel(logging.ERROR)
_CONFIG = [LatexExtractionConfig(boxed_match_priority=0)]


class UnreadableError(Exception):
    """Math-Verify could make nothing of the reference."""


def parse(formula: str) -> list[Any]:
    """Its readings of a formula; the last may be the formula's text, and there may be none."""
    made: list[Any] = math_verify.parse(
        "$" + formula.replace("$", "") + "$", extraction_config=_CONFIG, parsing_timeout=None, raise_on_error=True
    )
    return made


def equal(reference: str, answer: str) -> bool:
    """Its verdict. Raises UnreadableError for the reference, and whatever its comparison raises."""
    gold = parse(reference)
    if all(isinstance(reading, str) for reading in gold):
        raise UnreadableError(reference)
    return bool(math_verify.verify(gold, parse(answer), timeout_seconds=None, raise_on_error=True))
