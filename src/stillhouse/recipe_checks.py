"""What a recipe's `train` and `evaluate` cannot mean, told with the other mistakes before anything is asked.

In: the settings, and a way to find the files that a path names. Out: (place in the recipe, words) for each mistake.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from stillhouse.settings import BenchmarkSettings, EvaluateSettings, Recipe, TrainSettings

Place = tuple[int | str, ...]
Find = Callable[[str], list[Path]]
NAMED = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?::(?P<samples>[1-9]\d*))?(?:=(?P<path>.+))?$")
USUAL_GPUS = 32


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


def student_mistakes(recipe: Recipe, find: Find, benchmarks: Collection[str]) -> Iterator[tuple[Place, str]]:
    """benchmarks: the names that are known."""
    teachers = [teacher.name for teacher in recipe.teachers]
    yield from train_mistakes(recipe.train, find, teachers)
    yield from _evaluate(recipe, recipe.evaluate, find, teachers, benchmarks)


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
    recipe: Recipe, evaluate: EvaluateSettings, find: Find, teachers: list[str], benchmarks: Collection[str]
) -> Iterator[tuple[Place, str]]:
    for i, given in enumerate(evaluate.benchmarks):
        yield from ((("evaluate", "benchmarks", i), words) for words in benchmark_mistakes(given, find, benchmarks))
    if isinstance(evaluate.teachers, list):
        for i, name in enumerate(evaluate.teachers):
            if name not in teachers:
                yield ("evaluate", "teachers", i), _unknown("teacher", name, teachers)
    seen: dict[str, int] = {}
    for i, student in enumerate(evaluate.students):
        place: Place = ("evaluate", "students", i)
        first = seen.setdefault(student.name.lower(), i)
        if first != i:
            yield (*place, "name"), f"students[{first}] has this name too"
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


def benchmark_mistakes(given: str | BenchmarkSettings, find: Find, known: Collection[str]) -> Iterator[str]:
    """What is wrong with one benchmark of a recipe or of the command line."""
    if isinstance(given, str):
        try:
            given = read_named(given)
        except ValueError as error:
            yield str(error)
            return
    if given.part is None and not given.queries and given.name not in known:
        yield _unknown("benchmark", str(given.name), known)
    for path in (given.path, *(entry.path for entry in given.queries or ())):
        if path is not None and not find(path):
            yield f"there is no such file: {path}"


def _unknown(what: str, name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"there is no {what} {name!r}" + (
        f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
    )
