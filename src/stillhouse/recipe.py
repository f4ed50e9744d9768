"""A recipe: YAML in, typed settings out, and the only place where names become parts of the shelves.

Every mistake is told at once with file, line, column and caret. The text is composed into nodes (for the marks),
validated by pydantic models that forbid unknown keys, and each error is put back onto its node.
"""

from __future__ import annotations

import copy
import difflib
import glob
import json
import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from stillhouse.mistakes import RecipeLoader, caret, construct, doubled_keys, find, told_errors
from stillhouse.recipe_checks import read_named, student_mistakes
from stillhouse.records import Part, Price, TeacherSpec, Terms, UserMistake, Votes
from stillhouse.settings import (
    BenchmarkSettings,
    EndpointSettings,
    JudgeSettings,
    QueriesSettings,
    Recipe,
    TeacherSettings,
)
from stillhouse.teachers.embedded import FAMILY as EMBEDDED_FAMILY
from stillhouse.teachers.profiles import Profile, family_of, find_profile

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
        problems += _across(recipe, node, text, name, folder)
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


def _missing(path: str, folder: Path) -> bool:
    """Whether a path names nothing here. What stands in an object store (`s3://...`) is looked for when it is read."""
    return "://" not in path and not _files(path, folder)


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
    vote = recipe.verify.references
    if "vote" in (vote.missing, vote.suspect) and len(recipe.teachers) < vote.teachers:
        told = f"a vote needs {vote.teachers} teachers, and the recipe has {len(recipe.teachers)}"
        problems.append(at("verify", "references") + told)
    scorer = recipe.filter.perplexity
    own = scorer.budget_usd if scorer and scorer != "embedded" else None
    limited = recipe.distill.budget_usd is not None or own is not None
    if limited and scorer and scorer != "embedded" and scorer.price is None:
        problems.append(at("filter", "perplexity") + "a budget needs prices, and the perplexity model has none")
    for i, avoided in enumerate(recipe.curate.avoid):
        if isinstance(avoided, str):
            wanted, _, path = avoided.partition("=")
            if wanted not in BENCHMARKS and avoided != "demo":
                hint = f"the benchmarks are {', '.join(BENCHMARKS)}; a file is {{path: FILE, name: NAME}}"
                problems.append(at("curate", "avoid", i) + f"there is no benchmark {avoided!r}; {hint}")
            elif path and _missing(path, folder):
                problems.append(at("curate", "avoid", i) + f"there is no such file or folder: {path}")
        elif _missing(avoided.path, folder):
            problems.append(at("curate", "avoid", i, "path") + f"there is no such file or folder: {avoided.path}")
    for i, entry in enumerate(recipe.queries):
        if entry.path is not None and entry.mapping is None and _missing(entry.path, folder):
            problems.append(at("queries", i, "path") + f"there is no such file or folder: {entry.path}")
    problems += [at(*loc) + words for loc, words in student_mistakes(recipe, lambda p: _files(p, folder), BENCHMARKS)]
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
    if teacher.batch and teacher.profile in ("embedded", "recorded", "champ"):
        told.append((("batch",), f"{teacher.profile} cannot be asked by batch files: that takes a chat endpoint"))
    if teacher.base_url is not None and teacher.base_urls is not None:
        told.append((("base_urls",), "give base_url or base_urls, not both"))
    return told


# -- from names to parts of the shelves ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parts:
    """What the stages are handed: every part as a picklable spec, and the files that the queries are read from."""

    sources: list[Part]
    avoid: list[tuple[str, Part]]
    query_filters: list[Part]
    embeddings: Part | None
    teachers: list[TeacherSpec]
    judges: dict[str, TeacherSpec]
    auditor: TeacherSpec | None
    verifiers: dict[str, Part]
    response_filters: list[Part]
    corpus_filters: list[Part]
    perplexity: tuple[TeacherSpec, Part] | None
    tokenizer: Part | None
    files: list[Path]


def parts(recipe: Recipe, folder: Path = Path()) -> Parts:
    """All parts of a recipe. folder: where relative paths are sought first."""
    judges = _judges(recipe)
    auditor = judges.pop("audit", None)
    read = [f for entry in recipe.queries if entry.path for f in _files(entry.path, folder)]
    avoid = _avoid(recipe, folder)
    read += [f for _, part in avoid for f in _files(str(part.settings.get("path") or ""), folder)]
    return Parts(
        sources=[_source(entry, folder) for entry in recipe.queries],
        avoid=avoid,
        query_filters=[Part(f"stillhouse.filters.query_text:{name}") for name in QUERY_FILTERS]
        + [Part(path) for path in recipe.curate.filters],
        embeddings=_embeddings(recipe),
        teachers=[_teacher(entry, recipe, folder) for entry in recipe.teachers],
        judges=judges,
        auditor=auditor,
        verifiers=_verifiers(recipe, set(judges)),
        response_filters=_response_filters(recipe),
        corpus_filters=[Part("stillhouse.filters.ngrams:RepeatedNgrams", {"mode": recipe.filter.ngram_mode})]
        if recipe.filter.ngrams
        else [],
        perplexity=_perplexity(recipe),
        tokenizer=tokenizer(recipe.tokenizer),
        files=read,
    )


EMBEDDED_SCORES = 32  # texts that are scored side by side; the server has as many slots as it wants
_FILES = "stillhouse.sources.files:Files"
QUERY_FILTERS = ("oversized", "odd_characters", "incomplete", "url", "table", "image")
BENCHMARKS = {"aime2024": "aime", "aime2025": "aime", "math500": "math500", "livecodebench": "livecodebench"}


def _path(path: str, folder: Path) -> str:
    """A path of the recipe as it is opened, absolute: beside the recipe, else in the current folder."""
    if "://" in path:
        return path
    beside = _files(path, folder) and _files(path, folder)[0].is_relative_to(folder)
    return str(((folder if beside else Path()) / path).absolute())


def _source(entry: QueriesSettings, folder: Path) -> Part:
    own: dict[str, Any] = {
        k: v for k, v in {"category": entry.category, "source": entry.source, "limit": entry.limit}.items() if v
    }
    if entry.part is not None:
        return Part(entry.part, entry.settings)
    if entry.path is not None:
        if entry.mapping is not None:
            place = {"mapping": entry.mapping, "path": _path(entry.path, folder)}
            return Part("stillhouse.sources.mappings:Mapped", own | place | entry.settings)
        settings = own | {"path": _path(entry.path, folder), "terms": entry.terms}
        columns = {"columns": entry.columns} if entry.columns else {}
        return Part("stillhouse.sources.files:Files", settings | columns | entry.settings)
    if entry.champ:
        return Part("stillhouse.sources.champ:Champ", entry.settings)
    if entry.demo:
        return Part("stillhouse.sources.demo:Demo", entry.settings)
    if entry.gym is not None:
        seed = {} if entry.seed is None else {"seed": entry.seed}
        return Part("stillhouse.sources.gym:Gym", own | seed | {"task": entry.gym} | entry.settings)
    if entry.hub is not None:
        hub = own | {"name": entry.hub, "split": entry.split, "columns": entry.columns, "terms": entry.terms}
        return Part("stillhouse.sources.hub:Hub", {k: v for k, v in hub.items() if v is not None} | entry.settings)
    split = {"split": entry.split} if entry.split else {}
    return Part("stillhouse.sources.mappings:Mapped", own | split | {"mapping": entry.mapping} | entry.settings)


def _avoid(recipe: Recipe, folder: Path) -> list[tuple[str, Part]]:
    """What `avoid` names, then every benchmark that the recipe evaluates on: none of them may be trained on."""
    evaluated = [read_named(one) if isinstance(one, str) else one for one in recipe.evaluate.benchmarks]
    known = {one.name: one for one in evaluated if not one.queries}  # held-out queries are kept apart by themselves
    found: list[tuple[str, Part]] = []
    for entry in recipe.curate.avoid:
        if entry == "demo":
            leak = str(files("stillhouse.sources") / "demo_avoid.jsonl")
            found.append((entry, Part(_FILES, {"path": leak, "category": "math", "source": "demo"})))
        elif isinstance(entry, str):
            name, _, path = entry.partition("=")
            one = known.get(name) if not path else None
            found.append((name, _avoided(one or BenchmarkSettings(name=name, path=path or None), folder)))
        else:
            columns = {"columns": {"query": entry.column}} if entry.column else {}
            settings = {"path": _path(entry.path, folder), "category": "other", "source": entry.name, **columns}
            found.append((entry.name, Part(_FILES, settings)))
    named = {name for name, _ in found}
    every = [(str(one.name or one.part), one) for one in evaluated if not one.queries]
    return found + [(name, _avoided(one, folder)) for name, one in every if name not in named]


def _avoided(one: BenchmarkSettings, folder: Path) -> Part:
    settings = ({"path": _path(one.path, folder)} if one.path else {}) | ({"hub": one.hub} if one.hub else {})
    return Part(one.part or f"stillhouse.benchmarks.{BENCHMARKS[str(one.name)]}:{one.name}", settings | one.settings)


def _embeddings(recipe: Recipe) -> Part | None:
    wanted = recipe.curate.embeddings
    if not wanted:
        return None
    return Part("stillhouse.filters.embeddings:Embeddings", wanted.model_dump(exclude_none=True))


def _verifiers(recipe: Recipe, judges: set[str]) -> dict[str, Part]:
    """Category -> verifier, for every category that this recipe can verify."""
    verify = recipe.verify
    out: dict[str, Part] = {}
    usual = usual_verifiers(judges)
    given: dict[str, Any] = {
        "math": verify.math, "code": verify.code, "science": verify.science, "if": verify.if_,
        "multiturn": verify.multiturn, "other": verify.other,
    }  # fmt: skip
    for category, wanted in given.items():
        if wanted == "structure":
            out[category] = Part("stillhouse.verifiers.structure:Structure")
        elif isinstance(wanted, str):
            out[category] = Part(wanted)
        elif category in usual:
            settings = wanted.model_dump(exclude_none=True) if wanted is not None else {}
            out[category] = Part(usual[category].path, {**usual[category].settings, **settings})
    return out


def usual_verifiers(judges: Collection[str] = ()) -> dict[str, Part]:
    """Category -> the house's own verifier; judges: the kinds that are there to be asked."""
    usual = {
        "math": Part("stillhouse.verifiers.math:Math", {"judge": "math" in judges}),
        "code": Part("stillhouse.verifiers.code:Code"),
        "science": Part("stillhouse.verifiers.choice:Choice", {"judge": "science" in judges}),
        "if": Part("stillhouse.verifiers.ifeval:IFEval", {"judge": "constraints" in judges}),
    }
    if "reward" in judges:
        usual |= {c: Part("stillhouse.verifiers.judged:Reward") for c in ("multiturn", "other")}
    return usual


VOTED = ("math", "science")  # categories whose answers can be compared with each other


def supplied(recipe: Recipe) -> frozenset[str]:
    """Categories whose missing references the teachers' vote supplies."""
    return frozenset(VOTED if recipe.verify.references.missing == "vote" else ())


def votes(recipe: Recipe) -> Votes | None:
    """What the teachers' vote may do in this run, and over which categories; None where it only may be listed."""
    wanted = recipe.verify.references
    if "vote" not in (wanted.missing, wanted.suspect):
        return None
    return Votes(wanted.missing == "vote", wanted.suspect == "vote", wanted.teachers, wanted.rounds, VOTED)


def second_opinion() -> Part:
    """What asks a judge for a second opinion on an answer."""
    return Part("stillhouse.verifiers.opinion:Opinion")


def refuse_unverifiable(recipe: Recipe) -> None:
    """Tell, before distill, every category that the recipe names and cannot verify; exit code 2."""
    verifiers = _verifiers(recipe, {name for name, judge in recipe.judges if judge is not None})
    named = [entry.category for entry in recipe.queries if entry.category is not None]
    needs = {"multiturn": "reward", "other": "reward"}
    problems = [
        f"category {c} cannot be verified: name `judges: {{{needs.get(c, c)}: ...}}`, a verifier of your own "
        f"(`verify: {{{c}: my_pkg.my_module:part}}`), or accept it by its form alone (`verify: {{{c}: structure}}`)"
        for c in dict.fromkeys(named)
        if c not in verifiers
    ]
    if problems:
        raise UserMistake(*problems)


def _response_filters(recipe: Recipe) -> list[Part]:
    settings = recipe.filter
    limit = settings.max_tokens or recipe.train.max_tokens
    found = [Part("stillhouse.filters.structure:structure"), Part("stillhouse.filters.length:Length", {"limit": limit})]
    if settings.back_to_back:
        found.append(Part("stillhouse.filters.repetition:back_to_back"))
    return found + [Part(path) for path in settings.filters]


def tokenizer(name: str) -> Part | None:
    """What counts tokens: `embedded`, a folder or hub name of a tokenizer, or an import path."""
    if name == "embedded":
        return Part("stillhouse.teachers.embedded_tokens:Tokenizer")
    if ":" in name:
        return Part(name)
    return Part("stillhouse.students.tokenizer:Tokenizer", {"name": name})


def dataset_reader() -> Part:
    """What reads datasets that exist already: published shapes, our exports, ShareGPT, messages."""
    return Part("stillhouse.sources.responses:Responses")


def dataset_filters() -> tuple[Part, ...]:
    """What is told of datasets that exist already: which replies these would drop."""
    return Part("stillhouse.filters.structure:structure"), Part("stillhouse.filters.repetition:back_to_back")


def perplexity_family(recipe: Recipe) -> str:
    """Lineage of the model that gives perplexities; "" where there is none, or its name tells none."""
    model = recipe.filter.perplexity
    if model == "embedded":
        return EMBEDDED_FAMILY
    return "" if not model else model.family or family_of(model.model or "")


def _perplexity(recipe: Recipe) -> tuple[TeacherSpec, Part] | None:
    """Who gives perplexities, and the filter that reads them; None where no model is named: then the filter is off."""
    wanted, judge = recipe.filter.perplexity, Part("stillhouse.filters.perplexity:PerplexityFilter")
    if not wanted:
        return None
    name = "perplexity-model"  # as it stands in the journal and in the audit
    if wanted == "embedded":
        part = Part("stillhouse.teachers.embedded_perplexity:EmbeddedPerplexity", {"name": name})
        return TeacherSpec(name, part, max_in_flight=EMBEDDED_SCORES, family=EMBEDDED_FAMILY), judge
    fields = ("base_url", "base_urls", "model", "revision", "api_key_env", "timeout", "api")
    settings = _given(wanted, fields) | {"name": name}
    if wanted.price is not None:
        settings["price"] = wanted.price.model_dump(exclude_none=True)
    part = Part("stillhouse.teachers.perplexity:PromptLogprobs", settings)
    return _spec(name, wanted, part, find_profile("judge"), 1), judge


def _judges(recipe: Recipe) -> dict[str, TeacherSpec]:
    return {
        kind: _endpoint_spec(f"judge-{kind}", judge, recipe.tokenizer)
        for kind, judge in recipe.judges
        if judge is not None
    }


ENDPOINT_FIELDS = (
    "base_url", "base_urls", "model", "revision", "api_key_env", "timeout", "temperature", "top_p", "top_k", "min_p",
    "max_tokens", "extra_body", "family",
)  # fmt: skip
TEACHER_FIELDS = ("system_prompt", "suffixes", "examples", "thinking", "stream", "early_stop", "seed")


EMBEDDED_FIELDS = frozenset({
    "name", "temperature", "top_p", "top_k", "min_p", "max_tokens", "timeout", "system_prompt", "suffixes", "examples",
    "thinking", "stream", "early_stop", "seed", "terms", "price",
})  # fmt: skip
EMBEDDED_JUDGE: dict[str, Any] = {"system_prompt": None, "suffixes": {}, "temperature": 0.0}


# A model of 135M parameters does not keep to a form by itself: the embedded judge is held to it while it writes.
JUDGED_FORMS: dict[str, dict[str, Any]] = {
    "math": {"equivalent": {"type": "boolean"}},
    "science": {"score": {"type": "integer", "minimum": 0, "maximum": 5}},
    "audit": {"right": {"type": "boolean"}},
}


def _held_to(form: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": form, "required": list(form), "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema}}


def _embedded(settings: dict[str, Any]) -> dict[str, Any]:
    """Of a teacher's settings those that the embedded one has: it is one model, and needs no address."""
    return {name: value for name, value in settings.items() if name in EMBEDDED_FIELDS}


def _endpoint_spec(name: str, entry: JudgeSettings, counter: str) -> TeacherSpec:
    settings = _given(entry, ENDPOINT_FIELDS) | {"name": name}
    if entry.price is not None:
        settings["price"] = entry.price.model_dump(exclude_none=True)
    if entry.part is not None:
        part = Part(entry.part, settings)
    elif entry.profile == "embedded":
        form = JUDGED_FORMS.get(name.removeprefix("judge-"))
        held = {"extra_body": {"response_format": _held_to(form)}} if form is not None else {}
        part = Part("stillhouse.teachers.embedded:Embedded", _embedded(settings) | EMBEDDED_JUDGE | held)
    else:
        counts = {"counter": tokenizer(counter)}
        part = Part("stillhouse.teachers.openai:OpenAI", settings | {"profile": "judge"} | counts)
    return _spec(name, entry, part, find_profile("judge"), entry.max_tokens or 1024)


def _teacher(entry: TeacherSettings, recipe: Recipe, folder: Path) -> TeacherSpec:
    settings: dict[str, Any] = _given(entry, ENDPOINT_FIELDS + TEACHER_FIELDS) | {"name": entry.name}
    profile = find_profile("generic" if entry.profile in ("embedded", "recorded", "champ") else entry.profile)
    usual = min(profile.max_tokens, recipe.train.max_tokens)
    limit = entry.max_tokens or recipe.distill.max_tokens or usual
    if entry.price is not None:
        settings["price"] = entry.price.model_dump(exclude_none=True)
    if entry.terms is not None:
        settings["terms"] = entry.terms
    if entry.part is not None:
        part = Part(entry.part, {"name": entry.name, **entry.settings})
    elif entry.profile == "embedded":
        if isinstance(entry.examples, str):
            settings["examples"] = demo_examples(entry.examples)
        part = Part(
            "stillhouse.teachers.embedded:Embedded", _embedded(settings) | {"max_tokens": limit} | entry.settings
        )
    elif entry.profile == "recorded":
        keep: dict[str, Any] = {"name": entry.name, "path": _path(entry.path or "", folder)}
        keep |= {k: v for k, v in settings.items() if k in ("model", "thinking", "terms")}
        part = Part("stillhouse.teachers.recorded:Recorded", keep | entry.settings)
    elif entry.profile == "champ":
        keep = {"name": entry.name, "model": entry.model} | ({"setting": entry.setting} if entry.setting else {})
        part = Part("stillhouse.teachers.champ:champ", keep | entry.settings)
    else:
        settings |= {"profile": entry.profile, "max_tokens": limit, "counter": tokenizer(recipe.tokenizer)}
        part = Part("stillhouse.teachers.openai:OpenAI", settings | entry.settings)
    spec = _spec(entry.name, entry, part, profile, limit)
    usual_terms: dict[str, Terms] = {"champ": "no", "embedded": "yes"}
    terms = entry.terms or usual_terms.get(entry.profile, profile.terms)
    family = EMBEDDED_FAMILY if entry.profile == "embedded" and entry.family is None else spec.family
    return replace(
        spec, terms=terms, thinking=entry.thinking or profile.thinking, licence=entry.licence or profile.licence,
        perplexity=_threshold(entry, recipe, profile), batch=entry.batch, family=family,
    )  # fmt: skip


def _threshold(entry: TeacherSettings, recipe: Recipe, profile: Profile) -> float:
    """Strictly above it goes. The embedded model's values are far from the paper's: without a threshold of the
    teacher's own they are measured and drop nothing."""
    if entry.perplexity is not None:
        return entry.perplexity
    return math.inf if recipe.filter.perplexity == "embedded" else profile.perplexity


def demo_examples(name: str) -> dict[str, Any]:
    """The demo's worked examples by category: `demo` with thinking, `demo-direct` with answers alone."""
    from stillhouse.sources.demo import DIRECT, EXAMPLES

    return dict(EXAMPLES if name == "demo" else DIRECT)


def _spec(name: str, entry: EndpointSettings, part: Part, profile: Profile, limit: int) -> TeacherSpec:
    urls = tuple(entry.base_urls or ([entry.base_url] if entry.base_url else [""]))
    return TeacherSpec(
        name=name, part=part, model=entry.model or "", endpoints=urls, max_in_flight=entry.max_in_flight,
        price=Price(**entry.price.model_dump()) if entry.price else None, budget_usd=entry.budget_usd,
        requests_per_minute=entry.requests_per_minute, tokens_per_minute=entry.tokens_per_minute,
        timeout=entry.timeout, patience=entry.patience,
        max_tokens=limit, thinking=profile.thinking,
        family=entry.family or profile.family or family_of(entry.model or ""),
        licence=profile.licence, terms=profile.terms,
    )  # fmt: skip


def _given(entry: EndpointSettings, names: tuple[str, ...]) -> dict[str, Any]:
    """What has a value; null leaves it to the teacher's profile. So a frozen recipe says what the first one said."""
    return {name: value for name in names if (value := getattr(entry, name, None)) is not None}


def told(part: Part | TeacherSpec) -> Any:
    """A part as JSON, for fingerprints."""
    return json.loads(json.dumps(asdict(part), default=str, sort_keys=True))


def with_versions(recipe: Recipe, found: Parts, former: Path) -> Recipe:
    """The recipe with every verifier's version frozen: as the run's recipe has it, else today's."""
    today = {name: str(part.build().version) for name, part in found.verifiers.items()}
    held: dict[str, str] = {}
    if former.exists():
        held = parse_recipe(former.read_text(encoding="utf-8"), str(former), former.parent).verify.versions
    versions = {name: held.get(name, version) for name, version in today.items()} | recipe.verify.versions
    return recipe.model_copy(update={"verify": recipe.verify.model_copy(update={"versions": versions})})


def frozen(recipe: Recipe, folder: Path) -> str:
    """The recipe as a run keeps it: every default filled in, paths absolute, so that the folder says all."""
    value = recipe.model_dump(mode="json", by_alias=True)
    for entry in [*value["queries"], *value["teachers"], *(a for a in value["curate"]["avoid"] if isinstance(a, dict))]:
        if entry.get("path"):
            entry["path"] = _path(entry["path"], folder)
    value["curate"]["avoid"] = [
        f"{a.partition('=')[0]}={_path(a.partition('=')[2], folder)}" if isinstance(a, str) and "=" in a else a
        for a in value["curate"]["avoid"]
    ]
    _absolute_students(value["train"], value["evaluate"], folder)
    if value["store"]:
        value["store"] = str((folder / value["store"]).absolute())
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110)


def _absolute_students(train: dict[str, Any], evaluate: dict[str, Any], folder: Path) -> None:
    """The paths of `train` and `evaluate`: a base or tokenizer that is no file here is a name, and stays one."""
    for key in ("base", "tokenizer", "template"):
        if train[key] and _files(train[key], folder):
            train[key] = _path(train[key], folder)
    for place, entry in enumerate(evaluate["benchmarks"]):
        if isinstance(entry, str):
            name, given, path = entry.partition("=")
            evaluate["benchmarks"][place] = name + (f"={_path(path, folder)}" if given else "")
            continue
        for one in (entry, *(entry["queries"] or ())):
            if one["path"]:
                one["path"] = _path(one["path"], folder)


def source_facts(recipe: Recipe) -> list[dict[str, str]]:
    """What the recipe says of each source of queries: name, licence, terms; for rows and cards."""
    return [
        {
            "name": entry.source or Path(entry.path or entry.hub or entry.gym or entry.mapping or "").stem
            or ("champ" if entry.champ else "demo" if entry.demo else str(entry.part)),
            "licence": entry.licence, "terms": entry.terms,
        }
        for entry in recipe.queries
    ]  # fmt: skip


def store_folder(recipe: Recipe, folder: Path) -> Path | None:
    return (folder / recipe.store).absolute() if recipe.store else None


def mappings() -> list[dict[str, str]]:
    """The published corpora that have a ready mapping."""
    from stillhouse.sources.mappings import catalogue

    return catalogue()
