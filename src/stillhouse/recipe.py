"""A recipe's names become parts of the shelves: the only place that knows the shelves' files.

In: typed settings (recipe_reading.py makes them from YAML). Out: `Parts`, every part as a picklable spec; and the
recipe as a run keeps it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from stillhouse.recipe_checks import BENCHMARKS, files_of, read_named
from stillhouse.recipe_reading import load_recipe as load_recipe
from stillhouse.recipe_reading import parse_recipe as parse_recipe
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
    read = [f for entry in recipe.queries if entry.path for f in files_of(entry.path, folder)]
    avoid = _avoid(recipe, folder)
    read += [f for _, part in avoid for f in files_of(str(part.settings.get("path") or ""), folder)]
    return Parts(
        sources=[source_part(entry, folder) for entry in recipe.queries],
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


def absolute(path: str, folder: Path) -> str:
    """A path of the recipe as it is opened, absolute: beside the recipe, else in the current folder."""
    if "://" in path:
        return path
    beside = files_of(path, folder) and files_of(path, folder)[0].is_relative_to(folder)
    return str(((folder if beside else Path()) / path).absolute())


def source_part(entry: QueriesSettings, folder: Path) -> Part:
    own: dict[str, Any] = {
        k: v for k, v in {"category": entry.category, "source": entry.source, "limit": entry.limit}.items() if v
    }
    if entry.part is not None:
        return Part(entry.part, entry.settings)
    if entry.path is not None:
        if entry.mapping is not None:
            place = {"mapping": entry.mapping, "path": absolute(entry.path, folder)}
            return Part("stillhouse.sources.mappings:Mapped", own | place | entry.settings)
        settings = own | {"path": absolute(entry.path, folder), "terms": entry.terms}
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
            settings = {"path": absolute(entry.path, folder), "category": "other", "source": entry.name, **columns}
            found.append((entry.name, Part(_FILES, settings)))
    named = {name for name, _ in found}
    every = [(str(one.name or one.part), one) for one in evaluated if not one.queries]
    return found + [(name, _avoided(one, folder)) for name, one in every if name not in named]


def _avoided(one: BenchmarkSettings, folder: Path) -> Part:
    settings = ({"path": absolute(one.path, folder)} if one.path else {}) | ({"hub": one.hub} if one.hub else {})
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
    settings = set_fields(wanted, fields) | {"name": name}
    if wanted.price is not None:
        settings["price"] = wanted.price.model_dump(exclude_none=True)
    part = Part("stillhouse.teachers.perplexity:PromptLogprobs", settings)
    return spec_of(name, wanted, part, find_profile("judge"), 1), judge


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
    settings = set_fields(entry, ENDPOINT_FIELDS) | {"name": name}
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
    return spec_of(name, entry, part, find_profile("judge"), entry.max_tokens or 1024)


def _teacher(entry: TeacherSettings, recipe: Recipe, folder: Path) -> TeacherSpec:
    settings: dict[str, Any] = set_fields(entry, ENDPOINT_FIELDS + TEACHER_FIELDS) | {"name": entry.name}
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
        keep: dict[str, Any] = {"name": entry.name, "path": absolute(entry.path or "", folder)}
        keep |= {k: v for k, v in settings.items() if k in ("model", "thinking", "terms")}
        part = Part("stillhouse.teachers.recorded:Recorded", keep | entry.settings)
    elif entry.profile == "champ":
        keep = {"name": entry.name, "model": entry.model} | ({"setting": entry.setting} if entry.setting else {})
        part = Part("stillhouse.teachers.champ:champ", keep | entry.settings)
    else:
        settings |= {"profile": entry.profile, "max_tokens": limit, "counter": tokenizer(recipe.tokenizer)}
        part = Part("stillhouse.teachers.openai:OpenAI", settings | entry.settings)
    spec = spec_of(entry.name, entry, part, profile, limit)
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


def spec_of(name: str, entry: EndpointSettings, part: Part, profile: Profile, limit: int) -> TeacherSpec:
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


def set_fields(entry: EndpointSettings, names: tuple[str, ...]) -> dict[str, Any]:
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
            entry["path"] = absolute(entry["path"], folder)
    value["curate"]["avoid"] = [
        f"{a.partition('=')[0]}={absolute(a.partition('=')[2], folder)}" if isinstance(a, str) and "=" in a else a
        for a in value["curate"]["avoid"]
    ]
    _absolute_students(value["train"], value["evaluate"], folder)
    if value["store"]:
        value["store"] = str((folder / value["store"]).absolute())
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110)


def _absolute_students(train: dict[str, Any], evaluate: dict[str, Any], folder: Path) -> None:
    """The paths of `train` and `evaluate`: a base or tokenizer that is no file here is a name, and stays one."""
    for key in ("base", "tokenizer", "template"):
        if train[key] and files_of(train[key], folder):
            train[key] = absolute(train[key], folder)
    for place, entry in enumerate(evaluate["benchmarks"]):
        if isinstance(entry, str):
            name, given, path = entry.partition("=")
            evaluate["benchmarks"][place] = name + (f"={absolute(path, folder)}" if given else "")
            continue
        for one in (entry, *(entry["queries"] or ())):
            if one["path"]:
                one["path"] = absolute(one["path"], folder)


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
