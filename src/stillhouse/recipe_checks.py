"""What the settings of a recipe cannot mean together, told with the other mistakes before anything is asked.

In: typed settings, and the folder of the recipe. Out: (place in the recipe, words) for each mistake.
"""

from __future__ import annotations

import difflib
import glob
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from stillhouse.settings import BenchmarkSettings, EvaluateSettings, Recipe, TeacherSettings, TrainSettings

Place = tuple[int | str, ...]
Find = Callable[[str], list[Path]]
ENDPOINTLESS = ("embedded", "recorded", "champ")  # profiles without an address, and without a price
PROFILES = ("am-thinking-v1", "qwen3-235b-a22b", "deepseek-r1", "generic", *ENDPOINTLESS)
BENCHMARKS = {"aime2024": "aime", "aime2025": "aime", "math500": "math500", "livecodebench": "livecodebench"}  # -> file
NAMED = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?::(?P<samples>[1-9]\d*))?(?:=(?P<path>.+))?$")
USUAL_GPUS = 32


def files_of(path: str, folder: Path) -> list[Path]:
    """What a path of the recipe names: files or folders, beside the recipe or else in the current folder."""
    for place in (folder, Path()):
        if glob.has_magic(path):
            found = [Path(p) for p in sorted(glob.glob(str(place / path), recursive=True))]  # noqa: PTH207  absolute patterns
        else:
            found = [place / path] if (place / path).exists() else []
        if found:
            return found
    return []


def mistakes_across(recipe: Recipe, folder: Path) -> Iterator[tuple[Place, str]]:
    """What one setting alone cannot tell: names that clash, budgets without prices, profiles without endpoints."""
    for check in (_teachers, _judges, _votes, _scorer, _query_files):
        yield from check(recipe, folder)
    names = [teacher.name for teacher in recipe.teachers]
    find: Find = lambda path: files_of(path, folder)  # noqa: E731
    yield from train_mistakes(recipe.train, find, names)
    yield from _evaluate(recipe, recipe.evaluate, find, names)


def _teachers(recipe: Recipe, folder: Path) -> Iterator[tuple[Place, str]]:
    yield from _twice(("teachers",), [teacher.name for teacher in recipe.teachers], ": a name is a folder")
    for i, teacher in enumerate(recipe.teachers):
        yield from ((("teachers", i, *place), words) for place, words in _teacher(teacher))
        if teacher.price is None and teacher.profile not in ENDPOINTLESS:
            if teacher.budget_usd is not None:
                yield ("teachers", i, "budget_usd"), "a budget needs the teacher's price"
            elif recipe.distill.budget_usd is not None:
                yield ("distill", "budget_usd"), f"a budget needs prices, and {teacher.name} has none"


def _teacher(teacher: TeacherSettings) -> Iterator[tuple[Place, str]]:
    if teacher.part is not None:
        return
    if teacher.profile not in PROFILES:
        near = difflib.get_close_matches(teacher.profile, PROFILES, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        yield ("profile",), f"unknown profile {teacher.profile!r}; known: {', '.join(PROFILES)}{hint}"
        return
    if teacher.profile == "recorded":
        if teacher.path is None:
            yield (), "a recorded teacher needs path: the JSONL of its replies"
    elif teacher.profile == "champ":
        if teacher.model is None:
            yield (), "a champ teacher needs model: GPT-4 Turbo, GPT-4, GPT-3.5 or PaLM 2 Medium"
    elif teacher.profile != "embedded":
        if teacher.base_url is None and not teacher.base_urls:
            yield (), "base_url is missing: the endpoint's address, like http://127.0.0.1:8000/v1"
        if teacher.model is None:
            yield (), "model is missing: the name that the endpoint serves it under"
    if teacher.batch and teacher.profile in ENDPOINTLESS:
        yield ("batch",), f"{teacher.profile} cannot be asked by batch files: that takes a chat endpoint"
    if teacher.base_url is not None and teacher.base_urls is not None:
        yield ("base_urls",), "give base_url or base_urls, not both"


def _judges(recipe: Recipe, folder: Path) -> Iterator[tuple[Place, str]]:
    for kind, judge in recipe.judges:
        if judge is not None and judge.profile == "generic" and judge.part is None:
            if judge.base_url is None and judge.base_urls is None:
                yield ("judges", kind), "base_url is missing"
            if recipe.distill.budget_usd is not None and judge.price is None:
                yield ("judges", kind), "a budget needs prices, and this judge has none"


def _votes(recipe: Recipe, folder: Path) -> Iterator[tuple[Place, str]]:
    vote = recipe.verify.references
    if "vote" in (vote.missing, vote.suspect) and len(recipe.teachers) < vote.teachers:
        yield (
            ("verify", "references"),
            f"a vote needs {vote.teachers} teachers, and the recipe has {len(recipe.teachers)}",
        )


def _scorer(recipe: Recipe, folder: Path) -> Iterator[tuple[Place, str]]:
    scorer = recipe.filter.perplexity
    if not scorer or scorer == "embedded" or scorer.price is not None:
        return
    if recipe.distill.budget_usd is not None or scorer.budget_usd is not None:
        yield ("filter", "perplexity"), "a budget needs prices, and the perplexity model has none"


def _query_files(recipe: Recipe, folder: Path) -> Iterator[tuple[Place, str]]:
    """Benchmarks to avoid and files of queries that are not there. Object stores are looked at when they are read."""
    for i, avoided in enumerate(recipe.curate.avoid):
        if not isinstance(avoided, str):
            yield from _missing(avoided.path, folder, ("curate", "avoid", i, "path"))
            continue
        wanted, _, path = avoided.partition("=")
        if wanted not in BENCHMARKS and avoided != "demo":
            hint = f"the benchmarks are {', '.join(BENCHMARKS)}; a file is {{path: FILE, name: NAME}}"
            yield ("curate", "avoid", i), f"there is no benchmark {avoided!r}; {hint}"
        elif path:
            yield from _missing(path, folder, ("curate", "avoid", i))
    for i, entry in enumerate(recipe.queries):
        if entry.path is not None and entry.mapping is None:
            yield from _missing(entry.path, folder, ("queries", i, "path"))


def _missing(path: str, folder: Path, place: Place) -> Iterator[tuple[Place, str]]:
    if "://" not in path and not files_of(path, folder):
        yield place, f"there is no such file or folder: {path}"


def _twice(place: Place, names: list[str], why: str = "") -> Iterator[tuple[Place, str]]:
    """Names that are one, capitals aside."""
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        first = seen.setdefault(name.lower(), i)
        if first != i:
            yield (*place, i, "name"), f"{place[-1]}[{first}] has this name too{why}"


def read_named(text: str) -> BenchmarkSettings:
    """`NAME`, `NAME:SAMPLES` or `NAME:SAMPLES=FILE`. Raises ValueError with what is expected."""
    found = NAMED.match(text.strip())
    if not found:
        raise ValueError(f"{text!r} is not NAME, NAME:SAMPLES or NAME:SAMPLES=FILE, as in math500:4")
    samples = found["samples"]
    return BenchmarkSettings(name=found["name"], samples=int(samples) if samples else None, path=found["path"])


def is_embedded(base: str) -> bool:
    """Whether the base is one that only the plain loop can train: the embedded model, or a GGUF file."""
    return base == "embedded" or base.endswith(".gguf")


def train_mistakes(train: TrainSettings, find: Find, teachers: list[str]) -> Iterator[tuple[Place, str]]:
    """teachers: the names that there are."""
    base = train.base
    if base is not None and is_embedded(base):
        if train.to or train.gpus:
            yield (
                ("train", "base"),
                f"{base} is for the plain loop here; a trainer needs a base of transformers",
            )
        if base != "embedded" and not find(base):
            yield ("train", "base"), f"there is no such file: {base}"
    elif base is not None and train.here and not any(path.is_dir() for path in find(base)):
        yield (
            ("train", "base"),
            f"{base} is no folder here, so it is not trained here by itself: hand it off (`to: axolotl`, or another "
            "trainer), train it on this machine's GPUs (`gpus: 8`), or take a small student (`base: embedded`)",
        )
    if train.template and not find(train.template):
        yield ("train", "template"), f"there is no such file: {train.template}"
    if (train.to or train.gpus) and train.batch % (train.gpus or USUAL_GPUS):
        yield (
            ("train", "gpus" if train.gpus else "batch"),
            f"{train.batch} sequences a step cannot be shared by {train.gpus or USUAL_GPUS} GPUs",
        )
    for i, name in enumerate(train.teachers or ()):
        if name not in teachers:
            yield ("train", "teachers", i), _unknown("teacher", name, teachers)


def _evaluate(
    recipe: Recipe, evaluate: EvaluateSettings, find: Find, teachers: list[str]
) -> Iterator[tuple[Place, str]]:
    for i, given in enumerate(evaluate.benchmarks):
        yield from ((("evaluate", "benchmarks", i), words) for words in benchmark_mistakes(given, find))
    if isinstance(evaluate.teachers, list):
        for i, name in enumerate(evaluate.teachers):
            if name not in teachers:
                yield ("evaluate", "teachers", i), _unknown("teacher", name, teachers)
    yield from _twice(("evaluate", "students"), [student.name for student in evaluate.students])
    for i, student in enumerate(evaluate.students):
        place: Place = ("evaluate", "students", i)
        if student.base_url is None and not student.base_urls:
            yield place, "base_url is missing: the address of the endpoint that serves it"
        if student.model is None:
            yield place, "model is missing: the name that the endpoint serves it under"
        if student.teacher is not None and student.teacher not in teachers:
            yield (*place, "teacher"), _unknown("teacher", student.teacher, teachers)
        if evaluate.budget_usd is not None and student.price is None:
            yield ("evaluate", "budget_usd"), f"a budget needs prices, and {student.name} has none"
    someone = recipe.train.wanted or evaluate.students or evaluate.teachers
    if evaluate.benchmarks and not someone:
        yield (
            ("evaluate", "benchmarks"),
            "nobody is evaluated: train students (`train: {base: embedded}`, `train: {to: axolotl}`), name endpoints "
            "(`evaluate: {students: [...]}`), or ask the teachers (`evaluate: {teachers: true}`)",
        )


def benchmark_mistakes(given: str | BenchmarkSettings, find: Find) -> Iterator[str]:
    """What is wrong with one benchmark of a recipe or of the command line."""
    if isinstance(given, str):
        try:
            given = read_named(given)
        except ValueError as error:
            yield str(error)
            return
    if given.part is None and not given.queries and given.name not in BENCHMARKS:
        yield _unknown("benchmark", str(given.name), BENCHMARKS)
    for path in (given.path, *(entry.path for entry in given.queries or ())):
        if path is not None and not find(path):
            yield f"there is no such file: {path}"


def _unknown(what: str, name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"there is no {what} {name!r}" + (
        f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
    )
