"""How a stage gets at the part that a spec names: a class is built, a plain function is taken with its settings.

In: a Part. Out: the callable. `Part.build` calls what it imports, which suits classes and factories; a filter may
as well be a plain function of a query, and is then used as it stands.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any

from stillhouse.records import Part, UserMistake


def callable_of(part: Part) -> Callable[..., Any]:
    """The callable of a filter's spec. Raises UserMistake where it cannot be imported."""
    module, _, name = part.path.partition(":")
    try:
        made = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserMistake(f"cannot import {part.path}: {error}") from error
    if inspect.isclass(made):
        built: Callable[..., Any] = made(**part.settings)
        return built
    return functools.partial(made, **part.settings) if part.settings else made


def part_name(part: Part) -> str:
    """What a rejection calls the part: the `rule` it declares, else the name in its import path."""
    module, _, name = part.path.partition(":")
    made = getattr(importlib.import_module(module), name, None)
    return str(getattr(made, "rule", None) or name)
