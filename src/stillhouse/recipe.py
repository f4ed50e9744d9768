"""A recipe: YAML in, typed settings out, and the only place where names become parts of the shelves.

Every mistake is told at once with file, line, column and caret. The text is composed into nodes (for the marks),
validated by pydantic models that forbid unknown keys, and each error is put back onto its node.
"""

from __future__ import annotations

import difflib
import glob
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from stillhouse.records import UserMistake

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
ImportPath = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
Category = Literal["math", "code", "science", "if", "multiturn", "other"]
STAGES = ("curate", "distill", "filter", "export", "train", "evaluate", "compare", "report")


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PriceSettings(Settings):
    """Dollars per million tokens (input and output, cached and thinking where they differ), or per_hour."""

    input: float | None = Field(None, ge=0)
    output: float | None = Field(None, ge=0)
    cached: float | None = Field(None, ge=0)
    thinking: float | None = Field(None, ge=0)
    per_hour: float | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _one_kind(self) -> PriceSettings:
        by_token = self.input is not None or self.output is not None
        if by_token == (self.per_hour is not None) or (self.input is None) != (self.output is None):
            raise ValueError("a price is either input and output (dollars per million tokens) or per_hour")
        return self


class QueriesSettings(Settings):
    """Where queries come from: one of path, hub, gym, champ, demo or part."""

    path: str | None = None
    hub: str | None = None
    gym: str | None = None
    champ: bool | None = None
    demo: bool | None = None
    mapping: str | None = None
    part: ImportPath | None = None
    category: Category | None = None
    source: str | None = None
    split: str | None = None
    columns: dict[str, str] | None = None
    limit: int | None = Field(None, ge=1)
    seed: int | None = None
    terms: Literal["yes", "no", "unknown"] = "unknown"
    licence: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_place(self) -> QueriesSettings:
        given = [k for k in ("path", "hub", "gym", "champ", "demo", "mapping", "part") if getattr(self, k)]
        if len(given) != 1:
            raise ValueError(
                f"queries come from one of path, hub, gym, champ, demo, mapping or part, not {given or 'none'}"
            )
        return self


class EndpointSettings(Settings):
    """What every model behind an endpoint has: a judge as much as a teacher."""

    base_url: str | None = None
    base_urls: list[str] | None = None
    model: str | None = None
    revision: str | None = None
    api_key_env: str | None = None
    price: PriceSettings | None = None
    max_in_flight: int = Field(64, ge=1, le=100_000)
    requests_per_minute: float | None = Field(None, gt=0)
    tokens_per_minute: float | None = Field(None, gt=0)
    timeout: float = Field(1800.0, gt=0)
    budget_usd: float | None = Field(None, ge=0)
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = None
    min_p: float | None = Field(None, ge=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    extra_body: dict[str, Any] = Field(default_factory=dict)
    family: str | None = None

    @field_validator("base_url", "base_urls")
    @classmethod
    def _http(cls, value: Any) -> Any:
        for url in value if isinstance(value, list) else [value] if value else []:
            if not re.match(r"https?://[^/\s]+", url):
                raise ValueError(f"{url!r} is not an http:// or https:// address")
            if re.match(r"https?://[^/\s]*@", url):
                raise ValueError("an address must not hold a password: name the key's variable in api_key_env")
        return value


class TeacherSettings(EndpointSettings):
    """A teacher. profile: am-thinking-v1, qwen3-235b-a22b, deepseek-r1, generic, embedded, recorded, champ, or part."""

    name: Name
    profile: str = "generic"
    part: ImportPath | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    thinking: Literal["required", "optional", "none"] | None = None
    terms: Literal["yes", "no", "unknown"] | None = None
    licence: str | None = None
    system_prompt: str | None = None
    suffixes: dict[Category, str] | None = None
    examples: dict[Category, list[dict[str, str]]] | Literal["demo"] | None = None
    seed: bool = True
    stream: bool = False
    early_stop: bool = False
    perplexity: float | None = Field(None, gt=0)
    batch: bool = False
    path: str | None = None
    setting: str | None = None


class JudgeSettings(EndpointSettings):
    """A judge behind an OpenAI-compatible endpoint, or the embedded model (`profile: embedded`)."""

    profile: Literal["generic", "embedded"] = "generic"
    part: ImportPath | None = None
    max_in_flight: int = Field(32, ge=1)


class JudgesSettings(Settings):
    math: JudgeSettings | None = None
    science: JudgeSettings | None = None
    constraints: JudgeSettings | None = None
    reward: JudgeSettings | None = None


class AvoidSettings(Settings):
    path: str
    name: Name
    column: str | None = None


class EmbeddingsSettings(Settings):
    model: str = "wordllama"
    threshold: float | None = Field(None, gt=0, lt=1)
    base_url: str | None = None
    api_key_env: str | None = None


class CurateSettings(Settings):
    avoid: list[AvoidSettings | str] = Field(default_factory=list)
    near_duplicates: bool = True
    embeddings: EmbeddingsSettings | Literal[False] = False
    filters: list[ImportPath] = Field(default_factory=list)


class DistillSettings(Settings):
    attempts: int = Field(8, ge=1, le=64)
    truncated_attempts: int = Field(2, ge=1)
    retries: int = Field(12, ge=0)
    budget_usd: float | None = Field(None, ge=0)
    max_tokens: int | None = Field(None, ge=1)
    workers: int | None = Field(None, ge=1)


class MathSettings(Settings):
    boxed: Literal["last", "required"] = "last"


class CodeSettings(Settings):
    tests: int = Field(10, ge=1)
    seconds: float = Field(10.0, gt=0)
    unsafe: bool = False


class VerifySettings(Settings):
    """How each category is verified: its own settings, `structure` to accept by form alone, or an import path."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)
    math: MathSettings | Literal["structure"] | ImportPath = MathSettings()
    code: CodeSettings | Literal["structure"] | ImportPath = CodeSettings()
    science: Literal["structure"] | ImportPath | None = None
    if_: Literal["structure"] | ImportPath | None = Field(None, alias="if")
    multiturn: Literal["structure"] | ImportPath | None = None
    other: Literal["structure"] | ImportPath | None = None
    versions: dict[str, str] = Field(default_factory=dict)


class FilterSettings(Settings):
    """Which filters run over verified responses, with the numbers of SPEC 2.5."""

    back_to_back: bool = True
    ngrams: bool = True
    ngram_mode: Literal["share", "strict"] = "share"
    max_tokens: int | None = Field(None, ge=1)
    perplexity: EndpointSettings | Literal["embedded", False] = False
    filters: list[ImportPath] = Field(default_factory=list)


class TrainSettings(Settings):
    """SPEC 2.7; the student's base and how it is trained."""

    base: str = "Qwen/Qwen2.5-32B"
    max_tokens: int = Field(32768, ge=1)
    learning_rate: float = Field(8.0e-5, gt=0)
    epochs: float = Field(2, gt=0)
    warmup: float = Field(0.05, ge=0, le=1)
    batch: int = Field(64, ge=1)
    method: Literal["full", "lora"] = "full"
    equal: Literal["queries", "tokens"] = "queries"
    seeds: list[int] = Field(default_factory=lambda: [42])
    to: Literal["llamafactory", "axolotl", "ms-swift", "verl", "trl"] | None = None


class EvaluateSettings(Settings):
    """benchmarks: `NAME:SAMPLES`, or NAME with the paper's number of samples."""

    benchmarks: list[str] = Field(default_factory=list)
    limit: int | None = Field(None, ge=1)
    students: list[TeacherSettings] = Field(default_factory=list)
    max_tokens: int = Field(49152, ge=1)


class MarginSettings(Settings):
    rate: float = Field(2.0, gt=0)
    relative: float = Field(5.0, gt=0)


class Recipe(Settings):
    """What a run is to do. Every default is the number of SPEC.md's sources; see `stillhouse init`."""

    name: Name
    queries: list[QueriesSettings] = Field(min_length=1)
    teachers: list[TeacherSettings] = Field(min_length=1)
    curate: CurateSettings = CurateSettings()
    distill: DistillSettings = DistillSettings()
    judges: JudgesSettings = JudgesSettings()
    verify: VerifySettings = VerifySettings()
    filter: FilterSettings = FilterSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    tokenizer: str = "embedded"
    engine: Literal["local", "ray"] = "local"
    store: str | None = None
    decide_by: Literal["student_mean", "cost_per_verified", "verified_yield"] | None = None
    margin: MarginSettings = MarginSettings()


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers: `8e-5` is a number, and `yes`, `no`, `on`, `off` are words."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in rules if tag not in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:bool")
    ]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9]+(?:[eE][-+]?[0-9]+)?)$"
    ),
    list("-+0123456789."),
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF"))


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
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            raise UserMistake(f"{name}: the recipe is empty; `stillhouse init` writes one to start from")
        doubled = _doubled_keys(node)
        value = _construct(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = _caret(text, name, mark.line, mark.column) if mark else name
        raise UserMistake(f"{where}\n  not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise UserMistake(f"{name}: not YAML: {error}") from None
    problems = [
        f"{_caret(text, name, key.start_mark.line, key.start_mark.column)}\n  {key.value} stands twice: keep one"
        for key in doubled
    ]
    recipe = None
    try:
        recipe = Recipe.model_validate(value)
    except ValidationError as error:
        problems += _told(error, node, text, name)
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


def _construct(node: yaml.Node) -> Any:
    loader = _Loader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _doubled_keys(node: yaml.Node) -> list[yaml.ScalarNode]:
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
        found += _doubled_keys(child)
    return found


def _told(error: ValidationError, node: yaml.Node, text: str, name: str) -> list[str]:
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
        mark, path, siblings = _find(node, item["loc"], item["type"] == "extra_forbidden")
        words = _words(dict(item), siblings)
        told.setdefault(mark, [])
        places[mark] = path
        if words not in told[mark]:
            told[mark].append(words)
    return [
        f"{_caret(text, name, line, column)}\n  {places[line, column] or 'the recipe'}: {'; '.join(words)}"
        for (line, column), words in sorted(told.items())
    ]


def _find(node: yaml.Node, loc: tuple[int | str, ...], key_itself: bool) -> tuple[tuple[int, int], str, list[str]]:
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


def _caret(text: str, name: str, line: int, column: int) -> str:
    lines = text.splitlines()
    shown = lines[line] if line < len(lines) else ""
    return f"{name}:{line + 1}:{column + 1}\n    {shown}\n    {' ' * column}^"


PROFILES = ("am-thinking-v1", "qwen3-235b-a22b", "deepseek-r1", "generic", "embedded", "recorded", "champ")


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
        mark, path, _ = _find(node, loc, key)
        return f"{_caret(text, name, *mark)}\n  {path}: "

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
