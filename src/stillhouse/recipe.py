"""A recipe: YAML in, typed settings out, and the only place where names become parts of the shelves.

Every mistake is told at once with file, line, column and caret. The text is composed into nodes (for the marks),
validated by pydantic models that forbid unknown keys, and each error is put back onto its node.
"""

from __future__ import annotations

import difflib
import glob
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from stillhouse.mistakes import RecipeLoader, caret, construct, doubled_keys, find, told_errors
from stillhouse.records import UserMistake
from stillhouse.settings import Recipe, TeacherSettings

STAGES = ("curate", "distill", "filter", "export", "train", "evaluate", "compare", "report")
PROFILES = ("am-thinking-v1", "qwen3-235b-a22b", "deepseek-r1", "generic", "embedded", "recorded", "champ")


def load_recipe(path: Path) -> Recipe:
    """Read and validate a recipe file. Raises UserMistake with every mistake, each with line, column and caret."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], 1)
        hint = f"; did you mean {path.parent / near[0]}?" if near else "; `stillhouse init` writes one"
        raise UserMistake(f"{path}: there is no such recipe{hint}") from None
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
    except yaml.YAMLError as error:
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
    sound = not problems
    if recipe is not None:
        problems += _across(recipe, node, text, name, folder)
    if not sound or problems or recipe is None:
        raise UserMistake(*problems)
    return recipe


def _sound_rest(value: Any, error: ValidationError) -> Recipe | None:
    """The recipe without its unsound top-level keys, so that mistakes across settings are told in the same go."""
    unsound = {item["loc"][0] for item in error.errors() if item["loc"]}
    if not isinstance(value, dict):
        return None
    rest = {"name": "unnamed", "queries": [{"demo": True}], "teachers": [{"name": "unnamed", "profile": "embedded"}]}
    rest |= {key: part for key, part in value.items() if key not in unsound}
    try:
        return Recipe.model_validate(rest)
    except ValidationError:
        return None


def _files(path: str, folder: Path) -> list[Path]:
    """What a path of the recipe names: files or folders, beside the recipe or else in the current folder."""
    for place in (folder, Path()):
        if glob.has_magic(path):
            found = [Path(p) for p in sorted(glob.glob(str(place / path), recursive=True))]  # noqa: PTH207  absolute patterns
        else:
            found = [place / path] if (place / path).exists() else []
        if found:
            return found
    return []


def _across(recipe: Recipe, node: yaml.Node, text: str, name: str, folder: Path) -> list[str]:
    """What one setting alone cannot tell: names that clash, budgets without prices, profiles without endpoints."""
    problems: list[str] = []

    def at(*loc: int | str, key: bool = False) -> str:
        mark, path, _ = find(node, loc, key)
        return f"{caret(text, name, *mark)}\n  {path}: "

    seen: dict[str, int] = {}
    for i, teacher in enumerate(recipe.teachers):
        first = seen.setdefault(teacher.name.lower(), i)
        if first != i:
            problems.append(at("teachers", i, "name") + f"teachers[{first}] has this name too: a name is a folder")
        problems += [at("teachers", i, *loc) + words for loc, words in _teacher_mistakes(teacher)]
        budget = "budget_usd" if teacher.budget_usd is not None else None
        if teacher.price is None and teacher.profile not in ("embedded", "recorded", "champ"):
            if budget:
                problems.append(at("teachers", i, budget) + "a budget needs the teacher's price")
            elif recipe.distill.budget_usd is not None:
                problems.append(at("distill", "budget_usd") + f"a budget needs prices, and {teacher.name} has none")
    for kind, judge in recipe.judges:
        if judge is not None and judge.profile == "generic" and judge.part is None:
            if judge.base_url is None and judge.base_urls is None:
                problems.append(at("judges", kind) + "base_url is missing")
            if recipe.distill.budget_usd is not None and judge.price is None:
                problems.append(at("judges", kind) + "a budget needs prices, and this judge has none")
    for i, entry in enumerate(recipe.queries):
        if entry.path is not None and entry.mapping is None and not _files(entry.path, folder):
            problems.append(at("queries", i, "path") + f"there is no such file or folder: {entry.path}")
    return problems


def _teacher_mistakes(teacher: TeacherSettings) -> list[tuple[tuple[str, ...], str]]:
    if teacher.part is not None:
        return []
    if teacher.profile not in PROFILES:
        near = difflib.get_close_matches(teacher.profile, PROFILES, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return [(("profile",), f"unknown profile {teacher.profile!r}; known: {', '.join(PROFILES)}{hint}")]
    told: list[tuple[tuple[str, ...], str]] = []
    if teacher.profile == "recorded":
        if teacher.path is None:
            told.append(((), "a recorded teacher needs path: the JSONL of its replies"))
    elif teacher.profile == "champ":
        if teacher.model is None:
            told.append(((), "a champ teacher needs model: GPT-4 Turbo, GPT-4, GPT-3.5 or PaLM 2 Medium"))
    elif teacher.profile != "embedded":
        if teacher.base_url is None and not teacher.base_urls:
            told.append(((), "base_url is missing: the endpoint's address, like http://127.0.0.1:8000/v1"))
        if teacher.model is None:
            told.append(((), "model is missing: the name that the endpoint serves it under"))
    if teacher.base_url is not None and teacher.base_urls is not None:
        told.append((("base_urls",), "give base_url or base_urls, not both"))
    return told
