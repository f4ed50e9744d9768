"""How a stage gets at the part that a spec names: a class is built, a plain function is taken with its settings.

In: a Part, and what the stage has to offer (a tokenizer). Out: the callable. `Part.build` calls what it imports, which
suits classes and factories; a filter may as well be a plain function of a query, and is then used as it stands.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any, cast

from stillhouse.records import Part, UserMistake


def callable_of(part: Part, **offered: Any) -> Callable[..., Any]:
    """The callable of a filter's spec. offered: keyword arguments for those that take them and that the settings do
    not set. Raises UserMistake where it cannot be imported."""
    made = imported(part)
    taken = inspect.signature(made).parameters
    settings = {name: value for name, value in offered.items() if name in taken} | dict(part.settings)
    if inspect.isclass(made):
        return cast(Callable[..., Any], made(**settings))
    return cast(Callable[..., Any], functools.partial(made, **settings) if settings else made)


def imported(part: Part) -> Any:
    """What the spec's path names, as it is. Raises UserMistake where it cannot be imported."""
    module, _, name = part.path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserMistake(f"cannot import {part.path}: {error}") from error


def part_name(part: Part) -> str:
    """What verdicts call a part: the `rule` it declares, else the name in its import path."""
    return str(getattr(imported(part), "rule", None) or part.path.partition(":")[2])
