"""The students that stand in a run folder, for whoever evaluates or shows them.

In: 6-students. Out: one Trained per finished local student, with where its files are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Trained:
    """gguf: the merged student, None where its base came in another format. losses: losses.jsonl."""

    name: str
    teacher: str
    seed: int
    folder: Path
    gguf: Path | None
    losses: Path
    plan: dict[str, Any]


def trained(students: Path) -> Iterator[Trained]:
    """Finished students below a run's 6-students, by teacher and seed."""
    for file in sorted(students.glob("*/seed-*/plan.json")):
        plan = json.loads(file.read_text(encoding="utf-8"))
        if plan.get("done"):
            folder, gguf = file.parent, file.parent / "student.gguf"
            yield Trained(
                plan["student"], folder.parent.name, int(plan["seed"]), folder, gguf if gguf.is_file() else None,
                folder / "losses.jsonl", plan,
            )  # fmt: skip


def curves(students: Path) -> Iterator[dict[str, Any]]:
    """Every student's losses, a row a step: student, teacher, seed, base, trained_by, step, epoch, loss.

    Those trained here, and those of a hand-off whose trainer left its trainer_state.json (Hugging Face's Trainer, as
    LLaMA-Factory, axolotl, ms-swift and TRL do) below the hand-off's folder.
    """
    for file in sorted(students.glob("*/*/losses.jsonl")):
        plan = _json(file.with_name("plan.json"))
        known = {"student": plan.get("student") or file.parent.parent.name, "teacher": file.parent.parent.name,
                 "seed": plan.get("seed"), "base": plan.get("base"), "trained_by": "here"}  # fmt: skip
        for line in file.read_text(encoding="utf-8").splitlines():
            if row := _row(line):
                yield known | {key: row.get(key) for key in ("step", "epoch", "loss")}
    for folder in sorted(p.parent for p in students.glob("*/*/README.md")):
        states = [_json(file) for file in folder.rglob("trainer_state.json")]
        if not states or (folder / "losses.jsonl").exists():
            continue
        state = max(states, key=lambda one: int(one.get("global_step") or 0))
        known = {"student": folder.parent.name, "teacher": folder.parent.name, "seed": None, "base": None,
                 "trained_by": folder.name}  # fmt: skip
        for row in state.get("log_history") or ():
            if "loss" in row:
                yield known | {key: row.get(key) for key in ("step", "epoch", "loss")}


def write_curves(students: Path) -> Path:
    """6-students/losses.jsonl: all curves in one file, for whoever draws them. Whole or not at all."""
    students.mkdir(parents=True, exist_ok=True)
    out = students / "losses.jsonl"
    partial = out.with_name(f".{out.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in curves(students))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(out)
    return out


def _json(file: Path) -> dict[str, Any]:
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return held if isinstance(held, dict) else {}


def _row(line: str) -> dict[str, Any]:
    """A line of losses.jsonl; the last one may be cut by a kill."""
    try:
        held = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return held if isinstance(held, dict) else {}
