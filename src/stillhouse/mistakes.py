"""Mistakes of a recipe on their places: YAML composed into nodes, and errors told with line, column and caret.

In: the text, its nodes, pydantic's errors. Out: one message a place, with "did you mean" where a name is near.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from stillhouse.settings import Recipe

# A key that someone wrote into a recipe must not travel on into logs with the message that it may not stand there.
SECRET = re.compile(r"""(\bapi_key["']?\s*:\s*)([^\s,}]+)""")


class RecipeLoader(yaml.SafeLoader):
    """YAML 1.2's numbers: `8e-5` is a number, and `yes`, `no`, `on`, `off` are words."""


RecipeLoader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in rules if tag not in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:bool")
    ]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
RecipeLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9]+(?:[eE][-+]?[0-9]+)?)$"
    ),
    list("-+0123456789."),
)
RecipeLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF"))


def construct(node: yaml.Node) -> Any:
    loader = RecipeLoader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def doubled_keys(node: yaml.Node) -> list[yaml.ScalarNode]:
    found: list[yaml.ScalarNode] = []
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, child in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    found.append(key)
                seen.add(key.value)
            children.append(child)
    elif isinstance(node, yaml.SequenceNode):
        children = list(node.value)
    for child in children:
        found += doubled_keys(child)
    return found


def told_errors(error: ValidationError, node: yaml.Node, text: str, name: str) -> list[str]:
    """Each validation error on its place; errors of a union's other branches on the same place are told once."""
    told: dict[tuple[int, int], list[str]] = {}
    places: dict[tuple[int, int], str] = {}
    items = error.errors()
    for item in items:
        if isinstance(item["input"], dict) and item["type"] in ("literal_error", "string_type", "model_type"):
            # another branch of a union took the mapping further, and says better what is wrong with it
            depth = len(item["loc"]) - 1
            if any(len(other["loc"]) > depth + 1 and other["loc"][:depth] == item["loc"][:depth] for other in items):
                continue
        mark, path, siblings = find(node, item["loc"], item["type"] == "extra_forbidden")
        words = _words(dict(item), siblings)
        told.setdefault(mark, [])
        places[mark] = path
        if words not in told[mark]:
            told[mark].append(words)
    return [
        f"{caret(text, name, line, column)}\n  {places[line, column] or 'the recipe'}: {'; '.join(words)}"
        for (line, column), words in sorted(told.items())
    ]


def find(node: yaml.Node, loc: tuple[int | str, ...], key_itself: bool) -> tuple[tuple[int, int], str, list[str]]:
    """The deepest node that the location names; union branches and other words that are no keys are stepped over."""
    path, mark, siblings = "", (node.start_mark.line, node.start_mark.column), [""]
    for step, part in enumerate(loc):
        if isinstance(node, yaml.MappingNode):
            siblings = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            for key, child in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value == str(part):
                    path += f".{part}" if path else str(part)
                    last = step == len(loc) - 1
                    at = key.start_mark if last and key_itself else child.start_mark
                    node, mark = child, (at.line, at.column)
                    break
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            path += f"[{part}]"
            mark = (node.start_mark.line, node.start_mark.column)
    return mark, path, siblings


def _words(item: dict[str, Any], siblings: list[str]) -> str:
    kind, loc = item["type"], item["loc"]
    if kind == "extra_forbidden" and loc[-1] == "api_key":
        return "a key never stands in a recipe: put it into a variable, and name that with api_key_env"
    if kind == "extra_forbidden":
        known = _keys_at(loc[:-1])
        near = difflib.get_close_matches(str(loc[-1]), known, 1)
        return "unknown key" + (
            f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}" if known else ""
        )
    if kind == "missing":
        return f"{loc[-1]} is missing"
    given = item.get("input")
    shown = "" if isinstance(given, dict | list) or given is None else f", not {given!r}"
    if kind == "string_pattern_mismatch" and "A-Za-z0-9" in str(item.get("ctx", {}).get("pattern", "")):
        if ":" in str(item["ctx"]["pattern"]):
            return f"should be an import path like my_pkg.my_module:my_part{shown}"
        return f"a name becomes a folder: letters, digits, `.`, `_` and `-`, starting with a letter or digit{shown}"
    if kind == "literal_error":
        options = [w.strip(" '") for w in re.split(r",| or ", str(item["ctx"]["expected"]))]
        near = difflib.get_close_matches(str(given), options, 1)
        return f"should be one of {', '.join(options)}{shown}" + (f"; did you mean {near[0]}?" if near else "")
    message = str(item["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return message + (shown if kind != "value_error" else "")


def _keys_at(loc: tuple[int | str, ...]) -> list[str]:
    """The keys that the model at a location knows, by walking the models' annotations."""
    models: list[Any] = [Recipe]
    for part in loc:
        nexts: list[Any] = []
        for model in models:
            if isinstance(part, str) and part in _aliases(model):
                nexts += _models_in(_aliases(model)[part].annotation)
            elif not isinstance(part, int) and getattr(model, "__name__", "") == part:
                nexts.append(model)
        models = nexts or models
    return sorted({key for model in models for key in _aliases(model)})


def _aliases(model: Any) -> dict[str, Any]:
    return {(f.alias or n): f for n, f in model.model_fields.items()}


def _models_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for argument in getattr(annotation, "__args__", ()) for m in _models_in(argument)]


def caret(text: str, name: str, line: int, column: int) -> str:
    lines = text.splitlines()
    shown = lines[line] if line < len(lines) else ""
    shown = SECRET.sub(lambda found: found[1] + "*" * len(found[2]), shown)
    return f"{name}:{line + 1}:{column + 1}\n    {shown}\n    {' ' * column}^"
