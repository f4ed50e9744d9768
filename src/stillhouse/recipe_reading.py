"""A recipe's text into typed settings, with every mistake told at once: file, line, column and caret.

The text is composed into nodes (for the marks), validated by pydantic models that forbid unknown keys, and each error
is put back onto its node. What is sound of a recipe that is not is kept, so that mistakes across settings are told in
the same go.
"""

from __future__ import annotations

import copy
import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from stillhouse.mistakes import RecipeLoader, caret, construct, doubled_keys, find, told_errors
from stillhouse.recipe_checks import mistakes_across
from stillhouse.records import UserMistake
from stillhouse.settings import Recipe


def load_recipe(path: Path) -> Recipe:
    """Read and validate a recipe file. Raises UserMistake with every mistake, each with line, column and caret."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], 1)
        hint = f"; did you mean {path.parent / near[0]}?" if near else "; `stillhouse init` writes one"
        raise UserMistake(f"{path}: there is no such recipe{hint}") from None
    except IsADirectoryError:
        held = f"; to go on with this run: `stillhouse run {path / 'recipe.yaml'} --out {path}`"
        hint = held if (path / "recipe.yaml").is_file() else "; `stillhouse init` writes one"
        raise UserMistake(f"{path}: is a folder, and a recipe is a file{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserMistake(f"{path}: cannot be read: {error}") from error
    return parse_recipe(text, str(path), path.parent)


def parse_recipe(text: str, name: str = "recipe.yaml", folder: Path = Path()) -> Recipe:
    """The same for a text; `name` stands in the messages, paths are sought in `folder`."""
    try:
        node = yaml.compose(text, Loader=RecipeLoader)
        if node is None:
            raise UserMistake(f"{name}: the recipe is empty; `stillhouse init` writes one to start from")
        doubled = doubled_keys(node)
        value = construct(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = caret(text, name, mark.line, mark.column) if mark else name
        raise UserMistake(f"{where}\n  not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise UserMistake(f"{name}: not YAML: {error}") from None
    problems = [
        f"{caret(text, name, key.start_mark.line, key.start_mark.column)}\n  {key.value} stands twice: keep one"
        for key in doubled
    ]
    recipe = None
    try:
        recipe = Recipe.model_validate(value)
    except ValidationError as error:
        problems += told_errors(error, node, text, name)
        recipe = _sound_rest(value, error)
    if recipe is not None:
        for place, words in mistakes_across(recipe, folder):
            at, path, _ = find(node, place, key_itself=False)
            problems.append(f"{caret(text, name, *at)}\n  {path}: {words}")
    if problems or recipe is None:
        raise UserMistake(*sorted(problems, key=lambda told: _place(told, name)))
    return recipe


def _place(told: str, name: str) -> tuple[int, int]:
    """Line and column of a told mistake, so that they are read from top to bottom."""
    line, column = told.removeprefix(f"{name}:").split("\n", 1)[0].split(":")[:2]
    return int(line), int(column)


SOUND: dict[str, Any] = {"base_url": "http://unsound", "model": "unsound", "price": {"input": 1.0, "output": 1.0}}


def _sound_rest(value: Any, error: ValidationError) -> Recipe | None:
    """The recipe without what is unsound, so that mistakes across settings are told in the same go.

    A value that is wrong is left out, or replaced where its absence would be told as one more mistake; an entry of a
    list that cannot stand without it gets a stand-in.
    """
    if not isinstance(value, dict):
        return None
    rest: dict[str, Any] = copy.deepcopy(value)
    for mend in (_leave_out, _leave_out, _leave_out, _stand_in):
        for item in error.errors():
            mend(rest, item["loc"])
        rest.setdefault("name", "unnamed")
        rest["queries"] = rest.get("queries") or [{"demo": True}]
        rest["teachers"] = rest.get("teachers") or [{"name": "unsound", "profile": "embedded"}]
        try:
            return Recipe.model_validate(rest)
        except ValidationError as still:
            error = still
    return None


def _leave_out(rest: dict[str, Any], loc: tuple[int | str, ...]) -> None:
    """Take the innermost key on the way to an error out of its mapping."""
    holder: Any = rest
    last: tuple[Any, Any] | None = None
    for step in loc:
        if isinstance(holder, dict) and step in holder:
            last = (holder, step)
        elif not (isinstance(holder, list) and isinstance(step, int) and step < len(holder)):
            break  # the model's own name for a kind of value
        holder = holder[step]
    if last is None or isinstance(last[0][last[1]], list):
        return
    if last[1] in SOUND and last[0][last[1]] != SOUND[last[1]]:
        last[0][last[1]] = SOUND[last[1]]
    else:
        del last[0][last[1]]


def _stand_in(rest: dict[str, Any], loc: tuple[int | str, ...]) -> None:
    """What still does not stand: a stand-in for an entry of a list, nothing for a setting."""
    top, rows = str(loc[0]) if loc else "", rest.get(str(loc[0])) if loc else None
    if top in ("queries", "teachers"):
        if isinstance(rows, list) and len(loc) > 1 and isinstance(loc[1], int) and loc[1] < len(rows):
            rows[loc[1]] = {"demo": True} if top == "queries" else {"name": f"unsound-{loc[1]}", "profile": "embedded"}
        else:
            rest.pop(top, None)
    else:
        rest.pop(top, None)
