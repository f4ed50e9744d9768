"""The stages train and evaluate as the pipeline runs them: recipe and options in, the stages' parts handed over.

In: a run, its recipe and parts, options of the command line. Out: Ended: counts, the files that were written, what
waits and what is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stillhouse import recipe as recipes
from stillhouse import recipe_students as students
from stillhouse.evaluating.asking import Purse, asking
from stillhouse.evaluating.told import told as told_scores
from stillhouse.progress import Teller
from stillhouse.recipe import Parts
from stillhouse.records import UserMistake
from stillhouse.settings import Recipe, TrainSettings
from stillhouse.stages.evaluate import Candidate, evaluate
from stillhouse.stages.train import train
from stillhouse.store.run import Run

CODES = {"interrupted": 130, "budget": 3, "disk_full": 2}


@dataclass(slots=True)
class Ended:
    """outputs: None where nothing was made that may stand for the stage (a check, a part of the candidates)."""

    counts: dict[str, Any] = field(default_factory=dict)
    outputs: list[Path] | None = None
    waits: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    exit_code: int = 0


def refuse(recipe: Recipe, parts: Parts, folder: Path) -> None:
    """What would stop train, told before anything is paid. Raises UserMistake."""
    if recipe.train.wanted:
        students.refuse_untrainable(recipe.train, parts.teachers)


def train_facts(recipe: Recipe, parts: Parts) -> list[Any]:
    """What of the recipe decides what train makes; threads, and how often it saves, do not."""
    settings = recipe.train.model_dump(mode="json", exclude={"threads", "save_every", "family"})
    return [settings, [[spec.name, spec.terms] for spec in students.taught(recipe.train, parts.teachers)]]


def run_train(
    run: Run, recipe: Recipe, parts: Parts, folder: Path, teller: Teller, options: Mapping[str, Any]
) -> Ended:
    """Train here, write for a trainer, or only prove (`check`)."""
    settings = students.train_settings(recipe, folder, to=options.get("to"), base=options.get("base"))
    students.refuse_untrainable(settings, parts.teachers)
    check = bool(options.get("check"))
    try:
        counts = _train(run, settings, parts, folder, teller, check)
    except KeyboardInterrupt:
        return Ended(waits=["train: interrupted; the same command goes on from the last checkpoint"], exit_code=130)
    finally:
        run.status.update(student=None)
    notes = counts.pop("notes", [])
    if check:
        return Ended({"checked": len(counts["checked"])}, None, told=[x for t in counts["checked"].values() for x in t])
    outputs, lines = [students.write_curves(run.students)], list(notes)
    for name, told in counts.items():
        outputs.append(run.students / name / "excluded.jsonl")
        for one in told["students"]:
            outputs.append(Path(one["folder"]))
            lines.append(_student_line(name, one))
        told["students"] = [str(one["folder"]) for one in told["students"]]
    return Ended(counts, None if any(options.values()) else outputs, told=lines)


def _train(
    run: Run, settings: TrainSettings, parts: Parts, folder: Path, teller: Teller, check: bool
) -> dict[str, Any]:
    return train(
        run, teachers=students.taught(settings, parts.teachers), trainer=students.trainer(settings, folder),
        dataset=settings.dataset, equal=settings.equal, seeds=settings.seeds, check=check,
        watch=_steps(run, teller),
    )  # fmt: skip


def _student_line(teacher: str, one: Mapping[str, Any]) -> str:
    if "handoff" in one:
        steps = f", {one['total_steps']:,} steps" if one.get("total_steps") else ""
        return (
            f"{teacher}: {one['samples']:,} samples{steps} for {one['handoff']} {one['version']} in {one['folder']}: "
            f"run there: {one['command']}"
        )
    losses = f", loss {one['first_loss']:.2f} to {one['last_loss']:.2f}" if "first_loss" in one else ""
    return f"{one['student']}: {one['total_steps']:,} steps, {one['seconds']:.0f} s{losses}, in {one['folder']}"


def _steps(run: Run, teller: Teller) -> Callable[[Mapping[str, Any]], None]:
    """Tells a training's steps: a line now and then, and status.json."""
    line = teller.pace()

    def told(step: Mapping[str, Any]) -> None:
        run.status.update(student=dict(step))
        line(
            f"train    {step['student']}: step {step['step']} of {step['total_steps']}, loss {step['loss']:.3f}, "
            f"{step['seconds_left']:.0f} s left"
        )

    return told


# -- evaluate -----------------------------------------------------------------------------------------------------


def evaluate_facts(recipe: Recipe, parts: Parts, run: Run, folder: Path) -> tuple[list[Path], list[Any]]:
    """Input files and settings of the stage evaluate."""
    inputs = [*sorted(run.students.glob("*/seed-*/plan.json")), *students.benchmark_files(recipe, folder), run.queries]
    settings = [recipe.evaluate.model_dump(mode="json", exclude={"budget_usd"}), recipe.train.family]
    return inputs, [*settings, [recipes.told(spec) for spec in parts.teachers]]


def run_evaluate(
    run: Run, recipe: Recipe, parts: Parts, folder: Path, teller: Teller, options: Mapping[str, Any]
) -> Ended:
    """Ask everybody who can be asked; options: benchmarks, limit, teachers, of (names)."""
    chosen = students.benchmarks(recipe, folder, options.get("benchmarks"), run.queries)
    found = students.candidates(recipe, parts, folder, run.students, teachers=bool(options.get("teachers")))
    asked = _named(found.asked, options.get("of"))
    if not asked:
        if not found.waits:
            raise UserMistake("evaluate: nobody to ask: no students, no endpoints in `evaluate: {students}`, and the "
                              "teachers are asked with `--teachers`")  # fmt: skip
        return Ended(waits=found.waits, exit_code=4)
    limit = options.get("limit") or recipe.evaluate.limit
    ended = ask(run, asked, chosen, recipe, parts, teller, limit=limit, alone=not any(options.values()))
    ended.waits += found.waits
    if found.waits and not ended.exit_code:
        ended.exit_code, ended.outputs = 4, None
    if any(options.values()):
        ended.outputs = None
    return ended


def ask(
    run: Run,
    asked: Sequence[students.Asked],
    benchmarks: students.Benchmarks,
    recipe: Recipe | None,
    parts: Parts | None,
    teller: Teller,
    *,
    limit: int | None,
    budget_usd: float | None = None,
    alone: bool = True,
) -> Ended:
    """The stage over candidates. alone: what stands of other candidates and benchmarks is taken away."""
    if recipe is not None:
        budget_usd = recipe.evaluate.budget_usd
    purse = Purse(budget_usd)
    workers = recipe.distill.workers if recipe is not None else None
    judges = parts.judges if parts is not None else {}
    grader = students.graders(recipe, parts)
    with teller.live("evaluate") as watch:
        candidates = [
            Candidate(
                one.name,
                asking(run, one.spec_for, grader, judges, purse=purse, workers=workers, watch=watch),
                one.teacher, one.seed, one.control, one.family, one.note, one.probe, one.most_tokens,
            )
            for one in asked
        ]  # fmt: skip
        done = evaluate(run, candidates=candidates, benchmarks=benchmarks, limit=limit, alone=alone)
    students.write_curves(run.students)
    waits = [f"{name}: {n} items: {why}" for name, reasons in done.waits.items() for why, n in reasons.items()]
    if done.outcome != "done":
        waits.insert(0, done.problem or f"evaluate: {done.outcome}")
    waiting = any(part["waiting"] for parts_ in done.counts.values() for part in parts_.values())
    code = CODES.get(done.outcome, 4 if waiting else 0)
    counts = {name: _flat(parts_) for name, parts_ in done.counts.items()}
    outputs = sorted(run.evaluations.glob("*.json")) if code == 0 else None
    return Ended(counts, outputs, waits, told_scores(run.folder), code)


def _named(asked: Sequence[students.Asked], names: str | None) -> list[students.Asked]:
    wanted = [name.strip() for name in (names or "").split(",") if name.strip()]
    if not wanted:
        return list(asked)
    there = [one.name for one in asked]
    if missing := [name for name in wanted if name not in there]:
        raise UserMistake(*(f"evaluate: there is no {m!r} to ask; there are {', '.join(there)}" for m in missing))
    return [one for one in asked if one.name in wanted]


def _flat(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One candidate's counts over its benchmarks, for the stage's line."""
    out: dict[str, Any] = {key: sum(p[key] for p in parts.values()) for key in ("items", "asked", "waiting", "unknown")}
    for name, part in parts.items():
        if part["pass_at_1"] is not None:
            out[name] = f"{100 * part['pass_at_1']:.1f} %"
    return out
