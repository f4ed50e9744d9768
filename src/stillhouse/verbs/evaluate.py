"""`stillhouse evaluate RUN|ENDPOINT`: a run's students and teachers, or any model behind an address, on benchmarks.

In: a run folder, or a URL and a model. Out: 7-evaluations of the run, or of a folder of its own with the same journal:
to run it again is to go on.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stillhouse import recipe_students as students
from stillhouse.pipeline import Outcome, run_stage
from stillhouse.pipeline_students import ask
from stillhouse.progress import Teller
from stillhouse.records import UserMistake
from stillhouse.settings import StudentSettings, TrainSettings
from stillhouse.store.run import Run


def evaluate(
    target: str,
    *,
    benchmarks: str | None = None,
    limit: int | None = None,
    teachers: bool = False,
    of: str | None = None,
    model: str | None = None,
    api_key_env: str | None = None,
    price: str | None = None,
    budget_usd: float | None = None,
    max_tokens: int | None = None,
    out: Path | None = None,
    shape: str | None = None,
    against: Path | None = None,
    quiet: bool = False,
) -> Outcome:
    """target: a run folder, or an address. shape: of another harness, to write the scores in; against: its results, to
    set beside. Raises UserMistake where an option belongs to the other kind of target."""
    is_url = re.match(r"https?://", target) is not None
    theirs = {"--teachers": teachers, "--of": of}
    own = {"--model": model, "--api-key-env": api_key_env, "--price": price, "--budget-usd": budget_usd,
           "--max-tokens": max_tokens, "--out": out}  # fmt: skip
    stray = [name for name, value in (theirs if is_url else own).items() if value]
    if stray:
        what = "a run" if is_url else "an endpoint (an address like http://127.0.0.1:8000/v1)"
        raise UserMistake(f"evaluate: {', '.join(stray)} goes with {what}, not with {target}")
    if shape is not None and shape not in students.SHAPES:
        raise UserMistake(f"evaluate: --as {shape}: there are {', '.join(students.SHAPES)}")
    if not is_url:
        options = {"benchmarks": benchmarks, "limit": limit, "teachers": teachers, "of": of}
        outcome = run_stage(Path(target), "evaluate", quiet=quiet, **options)
        outcome.told += _harnesses(Path(target), shape, against)
        if outcome.stages.get("evaluate"):
            outcome.told.append(
                f"`stillhouse compare {target}` and `stillhouse report {target}` bring this into decision and report"
            )
        return outcome
    if model is None:
        raise UserMistake(f"evaluate: `--model NAME` is missing: the name under which {target} serves the model")
    entry = _entry(target, model, api_key_env, price, max_tokens)
    if budget_usd is not None and entry.price is None:
        raise UserMistake("evaluate: --budget-usd needs --price IN:OUT, dollars per million tokens")
    folder = out or Path("runs") / f"evaluate-{entry.name}"
    if (folder / "recipe.yaml").exists():
        raise UserMistake(f"evaluate: {folder} is the folder of a run; name another with --out")
    outcome = _endpoint(entry, benchmarks, limit, budget_usd, folder, quiet)
    outcome.told += _harnesses(folder, shape, against)
    return outcome


def _harnesses(folder: Path, shape: str | None, against: Path | None) -> list[str]:
    """The scores in another harness's shape, and beside its own."""
    lines = []
    for file in sorted((folder / "7-evaluations").glob("*.json")) if shape or against else ():
        if file.name == "pairs.json":
            continue
        made = json.loads(file.read_text(encoding="utf-8"))
        if shape is not None:
            out = folder / "7-evaluations" / shape / file.stem / "results_stillhouse.json"
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(students.export_scores(made, shape), indent=1) + "\n", encoding="utf-8")
            lines.append(f"as {shape}: {out}")
        for row in students.checked_against(made, against) if against is not None else ():
            said = {True: "within both errors", False: "more than both errors explain", None: "no error is known"}
            lines.append(
                f"{made['student']} {row['benchmark']}: ours {100 * row['ours']:.1f} %, {row['harness']} "
                f"({row['metric']}) {100 * row['theirs']:.1f} %: {said[row['explained']]}"
                + (f"; {row['note']}" if row["note"] else "")
            )
    return lines


def _entry(url: str, model: str, api_key_env: str | None, price: str | None, max_tokens: int | None) -> StudentSettings:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-._")[:100] or "model"
    value: dict[str, Any] = {
        "name": name,
        "base_url": url,
        "model": model,
        "api_key_env": api_key_env,
        "max_tokens": max_tokens,
    }
    if price is not None:
        given = re.fullmatch(r"([0-9.]+):([0-9.]+)", price)
        if not given:
            raise UserMistake(f"evaluate: --price is IN:OUT in dollars per million tokens, like 0.3:1.2, not {price!r}")
        value["price"] = {"input": float(given[1]), "output": float(given[2])}
    try:
        return StudentSettings.model_validate(value)
    except ValidationError as error:
        raise UserMistake(*(f"evaluate: {e['msg'].removeprefix('Value error, ')}" for e in error.errors())) from error


def _endpoint(
    entry: StudentSettings, named: str | None, limit: int | None, budget_usd: float | None, folder: Path, quiet: bool
) -> Outcome:
    chosen = students.benchmarks(None, Path(), named)
    asked = students.endpoint(entry, TrainSettings())
    with Run(folder) as run:
        teller = Teller(quiet=quiet)
        run.status.update(stage="evaluate", state="running")
        try:
            ended = ask(run, [asked], chosen, None, None, teller, limit=limit, budget_usd=budget_usd, alone=False)
        except UserMistake as mistake:
            run.status.update(stage=None, state="failed", problem="; ".join(mistake.problems))
            raise
        states = {0: "done", 3: "budget", 4: "waiting", 130: "interrupted"}
        run.status.update(stage=None, state=states.get(ended.exit_code, "failed"), problem="; ".join(ended.waits[:5]))
    outcome = Outcome(str(folder), ended.exit_code, {"evaluate": ended.counts}, ended.waits, told=ended.told)
    outcome.told.append(f"scores: {folder / '7-evaluations' / f'{entry.name}.json'}")
    return outcome
