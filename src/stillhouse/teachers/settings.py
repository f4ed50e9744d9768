"""A teacher's settings as people write them -> checked values, with every mistake told at once.

In: plain YAML values. Out: Price, Terms, prompts, sampling. Raises nothing: problems are added to the list that the
caller raises as one UserMistake.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, cast

from stillhouse.records import CATEGORIES, Price, Terms

SAMPLING = (
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
)  # fmt: skip
_RANGES = {"temperature": (0, 5), "top_p": (0, 1), "top_k": (-1, 10**6), "min_p": (0, 1)}
OURS = frozenset({"model", "messages", "stream", "stream_options", "n", "seed", "max_tokens", "max_completion_tokens"})


def read_price(value: Any, where: str, problems: list[str]) -> Price | None:
    """{input, output, cached, thinking} in dollars per million tokens, or {per_hour}; None stays None."""
    if value is None or isinstance(value, Price):
        return value
    names = [field.name for field in fields(Price)]
    if not isinstance(value, Mapping):
        problems.append(f"{where}: price is a mapping of {', '.join(names)}, not {value!r}")
        return None
    before = len(problems)
    problems += [f"{where}: price has no {name!r}; it has {', '.join(names)}" for name in value if name not in names]
    for name, dollars in value.items():
        if name in names and not (_number(dollars) and dollars >= 0):
            problems.append(f"{where}: price.{name} is dollars, 0 or more, not {dollars!r}")
    if ("input" in value) != ("output" in value):
        problems.append(f"{where}: price needs both input and output")
    if "per_hour" in value and "input" in value:
        problems.append(f"{where}: price is per token (input, output) or per_hour, not both")
    if not ("per_hour" in value or "input" in value or "output" in value):
        problems.append(f"{where}: price needs input and output, or per_hour; leave it out where there is no price")
    if len(problems) > before:
        return None
    return Price(**{name: float(dollars) for name, dollars in value.items()})


def read_terms(value: Any, where: str, problems: list[str]) -> Terms:
    """yes, no or unknown; YAML reads the bare words yes and no as booleans."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value in ("yes", "no", "unknown"):
        return cast(Terms, value)
    problems.append(f"{where}: terms (may its replies be trained on) is yes, no or unknown, not {value!r}")
    return "unknown"


def read_sampling(given: Mapping[str, Any], where: str, problems: list[str]) -> dict[str, Any]:
    """Sampling settings that are set, checked for range."""
    kept: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        low, high = _RANGES.get(name, (-1000, 1000))
        if name not in SAMPLING:
            problems.append(f"{where}: sampling has no {name!r}; other fields of the request go into extra_body")
        elif not _number(value) or not low <= value <= high:
            problems.append(f"{where}: {name} is a number from {low} to {high}, not {value!r}")
        else:
            kept[name] = value
    return kept


def read_suffixes(value: Any, where: str, problems: list[str]) -> dict[str, str]:
    """Text by category (`code:cpp` for C++)."""
    if not isinstance(value, Mapping):
        problems.append(f"{where}: suffixes is a mapping of category to text, not {value!r}")
        return {}
    for name, text in value.items():
        if str(name).partition(":")[0] not in CATEGORIES:
            problems.append(f"{where}: suffixes has no category {name!r}; there are {', '.join(CATEGORIES)}")
        if not isinstance(text, str):
            problems.append(f"{where}: suffixes.{name} is a text, not {text!r}")
    return {str(name): str(text) for name, text in value.items()}


def read_examples(value: Any, where: str, problems: list[str]) -> dict[str, list[tuple[str, str]]]:
    """Worked examples: a list of {user, assistant} for every category, or such lists by category."""
    if value is None:
        return {}
    groups = value if isinstance(value, Mapping) else {"*": value}
    read: dict[str, list[tuple[str, str]]] = {}
    for category, examples in groups.items():
        if category != "*" and category not in CATEGORIES:
            problems.append(f"{where}: examples has no category {category!r}; there are {', '.join(CATEGORIES)}")
        if not isinstance(examples, Sequence) or isinstance(examples, str):
            problems.append(f"{where}: examples are a list of {{user, assistant}}, not {examples!r}")
            continue
        for example in examples:
            pair = (example.get("user"), example.get("assistant")) if isinstance(example, Mapping) else (None, None)
            if not all(isinstance(text, str) and text for text in pair):
                problems.append(f"{where}: an example has a user and an assistant text, unlike {example!r}")
                continue
            read.setdefault(category, []).append(cast("tuple[str, str]", pair))
    return read


def read_positive(value: Any, name: str, where: str, problems: list[str], *, whole: bool = False) -> None:
    """Add a problem unless value is a positive number (or None)."""
    if value is None:
        return
    if not _number(value) or value <= 0 or (whole and not isinstance(value, int)):
        problems.append(f"{where}: {name} is a {'whole ' if whole else ''}number above 0, not {value!r}")


def plain(value: Any) -> Any:
    """Frozen mappings and tuples as the dicts and lists that JSON knows."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
