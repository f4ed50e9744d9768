"""The half of the recipe that speaks of students: `train` and `evaluate` as parts of the shelves.

In: a recipe, a run folder. Out: the trainer as a part, benchmarks as parts, and who is evaluated: students that stand
in the folder, their base as a control, endpoints, the run's teachers.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stillhouse import recipe as recipes
from stillhouse.benchmarks.harnesses import cross_check, read_results, to_lighteval, to_lm_eval
from stillhouse.recipe import ENDPOINT_FIELDS, Parts, absolute, set_fields, source_part, spec_of, usual_verifiers
from stillhouse.recipe_checks import BENCHMARKS, benchmark_mistakes, files_of, read_named, train_mistakes
from stillhouse.records import Part, TeacherSpec, UserMistake
from stillhouse.settings import TRAINERS, BenchmarkSettings, CodeSettings, Recipe, StudentSettings, TrainSettings
from stillhouse.students.rendering import SYSTEM_PROMPT
from stillhouse.students.trained import Trained, trained
from stillhouse.students.trained import write_curves as write_curves
from stillhouse.teachers.embedded_server import find_model
from stillhouse.teachers.profiles import family_of, find_profile

PAPER_BASE = "Qwen/Qwen2.5-32B"
PROMPT_ROOM = 1024  # tokens of context that the embedded model has for a prompt, beside the reply
Benchmarks = list[tuple[Part, int | None]]
SpecFor = Callable[[Any], TeacherSpec]


# -- train --------------------------------------------------------------------------------------------------------


def train_settings(recipe: Recipe, folder: Path, *, to: str | None = None, base: str | None = None) -> TrainSettings:
    """The recipe's, with what the command line says instead. Raises UserMistake where that cannot be."""
    if to is not None and to not in TRAINERS:
        raise UserMistake(f"--to {to}: there is no such trainer; the trainers are {', '.join(TRAINERS)}")
    given: dict[str, Any] = {name: value for name, value in (("to", to), ("base", base)) if value is not None}
    if base is not None and to is None:
        given["to"] = None  # a base named on the command line is trained here
    held = recipe.train.model_dump()
    usual = {**TrainSettings().model_dump(), **TrainSettings.usual(held)}
    # what the recipe left open is open again: another base or trainer has other usual values
    changed = {n: v for n, v in held.items() if v != usual[n] or n in ("base", "to", "gpus")} if given else held
    settings = TrainSettings.model_validate(changed | given)
    if not settings.wanted:
        raise UserMistake(
            "train: no student is named: `--base embedded` (or `train: {base: embedded}` in the recipe) trains the "
            "embedded model here, `--to axolotl` writes data and config for a trainer"
        )
    problems = train_mistakes(settings, lambda p: files_of(p, folder), [t.name for t in recipe.teachers])
    if told := [f"train: {words}" for _, words in problems]:
        raise UserMistake(*told)
    return settings


def trainer(settings: TrainSettings, folder: Path) -> Part:
    """What trains, or writes for whoever does. folder: where the recipe's paths start."""
    shared: dict[str, Any] = {
        "form": settings.form, "max_tokens": settings.max_tokens, "epochs": settings.epochs, "warmup": settings.warmup,
        "weight_decay": settings.weight_decay, "method": settings.method, "lora_rank": settings.lora_rank,
        "learning_rate": settings.learning_rate, "batch": settings.batch,
    }  # fmt: skip
    if settings.template:
        shared["template"] = files_of(settings.template, folder)[0].read_text(encoding="utf-8")
    if settings.here:
        shared |= {
            "base": base_file(settings, folder), "threads": settings.threads, "save_every": settings.save_every,
            "sequence_tokens": settings.sequence_tokens or settings.max_tokens,
        }  # fmt: skip
        return Part("stillhouse.students.local:Local", shared)
    gpus = settings.gpus or 32
    base = settings.base or PAPER_BASE
    shared |= {
        "base": str(files_of(base, folder)[0].absolute()) if files_of(base, folder) else base,
        "tokenizer": absolute(settings.tokenizer, folder) if settings.tokenizer and files_of(settings.tokenizer, folder)
        else settings.tokenizer,
        "checked": settings.checked, "gpus": gpus, "gpus_per_node": min(8, gpus),
    }  # fmt: skip
    if settings.to is None:
        return Part("stillhouse.students.trl_trainer:Trl", shared | {"config": settings.config})
    if settings.to in ("llamafactory", "ms-swift"):
        shared["template_name"] = settings.template_name or _template_name(base, settings.to)
    return Part("stillhouse.students.handoff_trainer:HandoffTrainer", {"trainer": settings.to, **shared})


def _template_name(base: str, to: str) -> str:
    """LLaMA-Factory and ms-swift render with templates of their own, known by name."""
    if family_of(base) in ("qwen2.5", "qwen2"):
        return "qwen"
    raise UserMistake(f"train: {to} renders with templates of its own: name that of {base} with `template_name: NAME`")


def base_file(settings: TrainSettings, folder: Path) -> str:
    """The base that the plain loop loads: a GGUF file or a folder, absolute."""
    if settings.base == "embedded":
        return str(find_model())
    return str(files_of(str(settings.base), folder)[0].absolute())


def refuse_untrainable(settings: TrainSettings, teachers: Sequence[TeacherSpec]) -> None:
    """Before anything is paid: terms that forbid training, packages that are missing. Raises UserMistake."""
    problems = [
        f"{spec.name}: its terms forbid training on its replies (terms: no); name the others in `train: {{teachers: "
        "[...]}` or leave `train` out"
        for spec in taught(settings, teachers)
        if spec.terms == "no"
    ]
    needed = ["tokenizers", "jinja2"] if settings.checked else []
    if settings.here:
        needed += ["torch", "transformers", "safetensors", "gguf"]
    elif settings.to is None:
        needed += ["torch", "trl", "accelerate"]
    missing = [name for name in dict.fromkeys(needed) if importlib.util.find_spec(name) is None]
    if missing:
        problems.append(f"train: {', '.join(missing)} is not installed: `pip install 'stillhouse[train]'`")
    if settings.here and settings.base == "embedded":
        try:
            find_model()
        except UserMistake as mistake:
            problems += mistake.problems
    if problems:
        raise UserMistake(*problems)


def taught(settings: TrainSettings, teachers: Sequence[TeacherSpec]) -> list[TeacherSpec]:
    """The teachers whose datasets students are trained on."""
    return [spec for spec in teachers if settings.teachers is None or spec.name in settings.teachers]


def train_line(recipe: Recipe, found: Parts) -> str:
    """What a dry run says of training."""
    settings = recipe.train
    where = f"handed off to {settings.to}" if settings.to else "trained here"
    names = ", ".join(spec.name for spec in taught(settings, found.teachers))
    seeds = f", seeds {', '.join(map(str, settings.seeds))}"
    return (
        f"  train    {settings.base or PAPER_BASE}, {settings.method}, {where}: "
        f"a student each of {names}{seeds}; equal {settings.equal}, samples of at most {settings.max_tokens:,} "
        f"tokens, learning rate {settings.learning_rate:g}, {settings.epochs:g} epochs, warm-up {settings.warmup:.0%}, "
        f"{settings.batch} packed sequences a step"
    )


def evaluate_line(recipe: Recipe, found: Parts) -> str:
    """What a dry run says of evaluation: samples per candidate, and how many candidates. No benchmark is read."""
    told, load = [], 0
    for one in recipe.evaluate.benchmarks:
        read = read_named(one) if isinstance(one, str) else one
        if read.part or read.queries:
            told.append(f"{read.name or read.part or 'held-out'}: {read.items or 'all'} items")
            continue
        made = _benchmark(read, Path(), None, None).build()
        items = min(made.expected or 0, recipe.evaluate.limit or 10**9)
        samples = read.samples or made.samples
        told.append(f"{read.name}: {items} items x {samples} samples")
        load += items * samples
    asked = recipe.evaluate.teachers
    more = len(found.teachers) if asked is True else len(asked or ())
    who = len(recipe.evaluate.students) or len(taught(recipe.train, found.teachers)) * len(recipe.train.seeds)
    each = f"; {load:,} generations for each of {who} students" + (f" and {more} teachers" if more else "")
    return f"  evaluate {', '.join(told)}{each if load else ''}; then compare again, by what the students did"


# -- evaluate -----------------------------------------------------------------------------------------------------


def benchmarks(
    recipe: Recipe | None, folder: Path, named: str | None = None, apart_from: Path | None = None
) -> Benchmarks:
    """Those named on the command line, else the recipe's. apart_from: 1-queries, for held-out ones."""
    given: list[str | BenchmarkSettings] = [text for text in (named or "").split(",") if text.strip()]
    if not given and recipe is not None:
        given = list(recipe.evaluate.benchmarks)
    if not given:
        raise UserMistake(
            f"evaluate: no benchmark is named: `--benchmarks math500:4`, or `evaluate: {{benchmarks: [...]}}` in the "
            f"recipe; there are {', '.join(BENCHMARKS)}"
        )
    problems = [w for one in given for w in benchmark_mistakes(one, lambda p: files_of(p, folder))]
    if problems:
        raise UserMistake(*(f"evaluate: {words}" for words in problems))
    ceiling = recipe.evaluate.max_tokens if recipe is not None else None
    read = [read_named(one) if isinstance(one, str) else one for one in given]
    return [(_benchmark(one, folder, apart_from, ceiling), one.samples) for one in read]


def _benchmark(one: BenchmarkSettings, folder: Path, apart_from: Path | None, ceiling: int | None) -> Part:
    if one.queries:
        path = "stillhouse.benchmarks.held_out:held_out"
        sources = [source_part(entry, folder) for entry in one.queries]
        settings: dict[str, Any] = {"sources": sources, "items": one.items, "name": one.name or "held-out"}
        settings |= {"apart_from": str(apart_from)} if apart_from is not None else {}
    else:
        path = one.part or f"stillhouse.benchmarks.{BENCHMARKS[str(one.name)]}:{one.name}"
        settings = {"path": absolute(one.path, folder)} if one.path else {}
        settings |= {"hub": one.hub} if one.hub else {}
    changed = {
        name: value
        for name, value in (("max_tokens", one.max_tokens or ceiling), ("temperature", one.temperature),
                            ("top_p", one.top_p), ("name", one.name))
        if value is not None
    }  # fmt: skip
    inner = {"path": path, "settings": settings | one.settings, "changed": changed}
    return Part("stillhouse.benchmarks.benchmark:chosen", inner)


def benchmark_files(recipe: Recipe, folder: Path) -> list[Path]:
    """The local files that the recipe's benchmarks are read from."""
    read = [read_named(one) if isinstance(one, str) else one for one in recipe.evaluate.benchmarks]
    paths = [p for one in read for p in (one.path, *(entry.path for entry in one.queries or ())) if p]
    return [file for path in paths for file in files_of(path, folder)]


def graders(recipe: Recipe | None, found: Parts | None) -> Callable[[Any], Mapping[str, Part]]:
    """For a benchmark its category's verifier with the settings that it names, inside its own grader if it has one.

    A benchmark of a category is judged by rules alone, so that scores compare; held-out queries (category `mixed`) as
    the recipe judges its own.
    """
    code = recipe.verify.code if recipe is not None and isinstance(recipe.verify.code, CodeSettings) else CodeSettings()

    def for_benchmark(benchmark: Any) -> Mapping[str, Part]:
        if benchmark.category == "mixed":
            return found.verifiers if found is not None else usual_verifiers()
        usual = usual_verifiers()
        if benchmark.category not in usual:
            raise UserMistake(f"benchmark {benchmark.name}: nothing verifies its category {benchmark.category}")
        part = usual[benchmark.category]
        own = {"unsafe": code.unsafe, "memory_mb": code.memory_mb} if benchmark.category == "code" else {}
        part = Part(part.path, {**part.settings, **own, **benchmark.verifier})
        if benchmark.grader:
            part = Part(benchmark.grader, {benchmark.category: part})
        return {benchmark.category: part}

    return for_benchmark


@dataclass(frozen=True, slots=True)
class Asked:
    """Who is evaluated, as stages/evaluate's Candidate wants to know it; spec_for: for a benchmark, how it is asked."""

    name: str
    spec_for: SpecFor
    teacher: str | None = None
    seed: int | None = None
    control: str = ""
    family: str = ""
    note: str = ""
    probe: str = ""
    most_tokens: int | None = None


@dataclass(slots=True)
class Found:
    """asked: who can be; waits: who cannot yet, and what would change that."""

    asked: list[Asked] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)


def candidates(recipe: Recipe, found: Parts, folder: Path, students: Path, *, teachers: bool = False) -> Found:
    """folder: where the recipe's paths start; students: the run's 6-students; teachers: ask all of the run's too."""
    out = Found()
    here = list(trained(students))
    for one in here:
        if one.gguf is None:
            out.waits.append(f"evaluate: student {one.name} is in the format of transformers, which the embedded "
                             f"runtime does not serve: serve {one.folder / 'student'} (vllm serve) and name its "
                             "endpoint in `evaluate: {students: [...]}`")  # fmt: skip
    served = [one for one in here if one.gguf is not None]
    if recipe.evaluate.controls:
        out.asked += _controls(recipe, served)
    out.asked += [_student_here(recipe, one) for one in served]
    out.asked += [endpoint(entry, recipe.train, recipe.evaluate.max_tokens) for entry in recipe.evaluate.students]
    if recipe.train.wanted and not here and not recipe.evaluate.students:
        out.waits.append(_no_students(recipe, students))
    wanted = recipe.evaluate.teachers
    for spec in found.teachers:
        if teachers or wanted is True or (isinstance(wanted, list) and spec.name in wanted):
            out.asked.append(_teacher(spec))
    return out


def _no_students(recipe: Recipe, students: Path) -> str:
    if recipe.train.to is None:
        return f"evaluate: there are no students yet: `stillhouse train {students.parent}` trains them"
    return (
        f"evaluate: the students are trained by {recipe.train.to} (6-students/TEACHER/{recipe.train.to}/README.md says "
        "how): serve them, and name their endpoints in `evaluate: {students: [...]}`"
    )


def _embedded(name: str, model_path: str | None, examples: Any, most: int, slots: int | None = None) -> SpecFor:
    """The embedded runtime with a student's weights, or its base's."""

    def spec_for(benchmark: Any) -> TeacherSpec:
        limit = min(benchmark.max_tokens, most)
        context = limit + PROMPT_ROOM
        settings = {
            "name": name, "examples": examples, "system_prompt": SYSTEM_PROMPT, "suffixes": {},
            "temperature": benchmark.temperature, "top_p": benchmark.top_p, "max_tokens": limit, "context": context,
            "slots": slots or (8 if context <= 2048 else 4),
        }  # fmt: skip
        settings |= {"model_path": model_path} if model_path else {}
        part = Part("stillhouse.teachers.embedded:Embedded", settings)
        return TeacherSpec(name, part, name, max_in_flight=16, max_tokens=limit, thinking="optional", terms="yes")

    return spec_for


def _most(recipe: Recipe, plan: Mapping[str, Any]) -> int:
    """What a small student is asked for at most: as much as it was trained on, unless the recipe says otherwise."""
    return recipe.evaluate.max_tokens or int(plan.get("max_tokens") or 2048)


def _student_here(recipe: Recipe, one: Trained) -> Asked:
    most = _most(recipe, one.plan)
    probe = f"{one.plan['base']}, {one.plan['method']}, trained here on {one.plan['samples']:,} samples"
    return Asked(
        one.name, _embedded(one.name, str(one.gguf), {}, most), one.teacher, one.seed,
        family=recipe.train.family or family_of(str(one.plan["base"])), probe=probe, most_tokens=most,
        note=f"replies of at most {most:,} tokens: it was trained on no longer samples",
    )  # fmt: skip


def _controls(recipe: Recipe, served: Sequence[Trained]) -> Iterator[Asked]:
    """The base of the students, asked by the same means; and once more with worked examples, which show it the form."""
    bases = {str(one.plan.get("base_path") or ""): one for one in served}
    for number, (path, one) in enumerate(bases.items()):
        if path and not Path(path).is_file():
            continue
        most, end = _most(recipe, one.plan), f"-{number + 1}" if number else ""
        family = family_of(str(one.plan["base"]))
        model = path if path and path != str(_embedded_path()) else None
        yield Asked(f"base{end}", _embedded("base", model, {}, most), control="base", family=family, most_tokens=most)
        shown = recipe.evaluate.examples
        if shown:
            examples = recipes.demo_examples(shown) if isinstance(shown, str) else shown
            yield Asked(
                f"base-shown{end}", _embedded("base-shown", model, examples, most),
                control="base with worked examples", family=family, most_tokens=most,
            )  # fmt: skip


def _embedded_path() -> Path | None:
    try:
        return Path(find_model()).resolve()
    except UserMistake:
        return None


def endpoint(entry: StudentSettings, train: TrainSettings, ceiling: int | None = None) -> Asked:
    """A student, or any model, behind an OpenAI-compatible endpoint."""

    def spec_for(benchmark: Any) -> TeacherSpec:
        limit = min(x for x in (benchmark.max_tokens, entry.max_tokens, ceiling) if x is not None)
        settings = set_fields(entry, (*ENDPOINT_FIELDS, "examples", "system_prompt")) | {
            "name": entry.name, "profile": "generic", "suffixes": {}, "max_tokens": limit, "thinking": "optional",
            "temperature": benchmark.temperature if entry.temperature is None else entry.temperature,
            "top_p": benchmark.top_p if entry.top_p is None else entry.top_p,
        }  # fmt: skip
        if entry.price is not None:
            settings["price"] = entry.price.model_dump(exclude_none=True)
        return spec_of(
            entry.name, entry, Part("stillhouse.teachers.openai:OpenAI", settings), find_profile("generic"), limit
        )

    family = entry.family or (train.family if entry.teacher else None) or family_of(entry.model or "")
    if not family and entry.teacher:
        family = family_of(train.base or PAPER_BASE)
    return Asked(entry.name, spec_for, entry.teacher, entry.seed, entry.control or "", family)


def _teacher(spec: TeacherSpec) -> Asked:
    """A teacher of the run on a benchmark: with its own prompt and sampling, without its suffixes."""
    asks = ("stillhouse.teachers.openai:OpenAI", "stillhouse.teachers.embedded:Embedded")
    if spec.part.path not in asks:
        raise UserMistake(f"evaluate: teacher {spec.name} has no endpoint that could be asked new questions")
    name = f"teacher-{spec.name}"

    def spec_for(benchmark: Any) -> TeacherSpec:
        limit = benchmark.max_tokens
        settings = dict(spec.part.settings) | {"name": name, "suffixes": {}}
        if spec.part.path.endswith(":Embedded"):
            limit = min(limit, int(settings.get("max_tokens") or 256))
        settings["max_tokens"] = limit
        return replace(spec, name=name, part=Part(spec.part.path, settings), max_tokens=limit)

    most = int(spec.part.settings.get("max_tokens") or 256) if spec.part.path.endswith(":Embedded") else None
    return Asked(name, spec_for, family=spec.family, note="the teacher itself", most_tokens=most)


# -- other harnesses ----------------------------------------------------------------------------------------------

SHAPES = {"lighteval": to_lighteval, "lm-eval": to_lm_eval}


def export_scores(evaluation: Mapping[str, Any], shape: str) -> dict[str, Any]:
    """An evaluation (the content of 7-evaluations/NAME.json) as a results file of another harness."""
    if shape not in SHAPES:
        raise UserMistake(f"evaluate: --as {shape}: there are {', '.join(SHAPES)}")
    return SHAPES[shape](evaluation)


def checked_against(evaluation: Mapping[str, Any], results: Path) -> list[dict[str, Any]]:
    """The scores of another harness beside an evaluation of ours. Raises UserMistake where they share no benchmark."""
    scores = read_results(results)
    rows = cross_check(evaluation, scores)
    if not rows:
        theirs = ", ".join(sorted({score.task for score in scores})) or "none"
        raise UserMistake(f"evaluate: {results} and {evaluation['student']} share no benchmark; its tasks: {theirs}")
    return rows
