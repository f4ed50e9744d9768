"""The students that stand in a run folder, for whoever evaluates or shows them.

In: 6-students. Out: one Trained per finished local student, with where its files are.
"""

from __future__ import annotations

import json
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
