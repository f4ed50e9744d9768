"""Math-Verify as one function, inside a worker: its time-outs off, its errors told instead of swallowed.

In: two formulas without delimiters. Out: whether it calls them equal. Its own time-outs are alarms that big integers
inside C never see; here the pool keeps the deadline.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

math_verify: Any = None  # half a second and 60 MB with all of sympy: loaded where it is used, which is in workers
_config: list[Any] = []


def warm() -> None:
    """Load Math-Verify; called once before workers are forked, so that they share it."""
    global math_verify
    if math_verify is None:
        math_verify = importlib.import_module("math_verify")
        _config.append(math_verify.LatexExtractionConfig(boxed_match_priority=0))
        logging.getLogger("math_verify").setLevel(logging.ERROR)


class UnreadableError(Exception):
    """Math-Verify could make nothing of the reference."""


def parse(formula: str) -> list[Any]:
    """Its readings of a formula; the last may be the formula's text, and there may be none."""
    warm()
    made: list[Any] = math_verify.parse(
        "$" + formula.replace("$", "") + "$", extraction_config=_config, parsing_timeout=None, raise_on_error=True
    )
    return made


def equal(reference: str, answer: str) -> bool:
    """Its verdict. Raises UnreadableError for the reference, and whatever its comparison raises."""
    gold = parse(reference)
    if all(isinstance(reading, str) for reading in gold):
        raise UnreadableError(reference)
    return bool(math_verify.verify(gold, parse(answer), timeout_seconds=None, raise_on_error=True))
