"""Students of a made run: 7-evaluations and 6-students/losses.jsonl as evaluate and train leave them, by a seed.

They resemble no real student; the shape is what counts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.evaluating.pairs import compare_all
from stillhouse.evaluating.scores import Item, mean_over_benchmarks, summary


def make_students(folder: Path, skills: dict[str, float], *, items: int = 60, samples: int = 4, seed: int = 1) -> None:
    """skills: a teacher's name to its student's chance on an item of middle difficulty; the base is a control."""
    place = folder / "7-evaluations"
    place.mkdir(parents=True, exist_ok=True)
    made = [_one(name, name, "", skill, items, samples, seed + n) for n, (name, skill) in enumerate(skills.items())]
    made.append(_one("base", None, "base", 0.2, items, samples, seed + 99))
    for one in made:
        (place / f"{one['student']}.json").write_text(json.dumps(one))
    (place / "pairs.json").write_text(json.dumps(compare_all(made)))
    random = np.random.default_rng(seed)
    (folder / "6-students").mkdir(exist_ok=True)
    with (folder / "6-students" / "losses.jsonl").open("w") as out:
        for n, name in enumerate(skills):
            for step in range(1, 121):
                loss = 0.6 + 0.1 * n + 1.5 * np.exp(-step / 25) + 0.06 * random.normal()
                row = {"student": name, "teacher": name, "seed": 42, "base": "made", "trained_by": "here"}
                out.write(json.dumps(row | {"step": step, "epoch": step / 60, "loss": round(float(loss), 4)}) + "\n")


def _one(
    name: str, teacher: str | None, control: str, skill: float, items: int, samples: int, seed: int
) -> dict[str, Any]:
    random, parts = np.random.default_rng(seed), {}
    hardness = np.random.default_rng(7).normal(0, 1, items)
    for benchmark, shift in (("aime2025", -0.6), ("math500", 0.8)):
        found = []
        for n, hard in enumerate(hardness):
            chance = 1 / (1 + np.exp(-(np.log(skill / (1 - skill)) + shift - hard)))
            passed = int(random.binomial(samples, chance))
            tokens = int(samples * 300 * np.exp(0.4 * hard + 0.2 * random.normal()))
            found.append(Item(
                f"{benchmark}-{n}", f"{benchmark}-{n}", samples, asked=samples, passed=passed, judged=samples,
                tokens=tokens, stopped=samples, formatted=samples if teacher else 0, tagged=samples,
            ))  # fmt: skip
        parts[benchmark] = {
            "category": "math", "samples": samples, "limit": None, **summary(found, samples),
            "per_item": [
                {"query": i.query, "id": i.id, "passed": i.passed, "judged": i.judged, "unknown": 0, "asked": i.asked,
                 "tokens": i.tokens, "truncated": 0, "formatted": i.formatted, "tagged": i.tagged}
                for i in found
            ],
        }  # fmt: skip
    return {
        "student": name, "teacher": teacher, "seed": 42 if teacher else None, "control": control, "family": "made",
        "note": "", "made": 0.0, "benchmarks": parts, **mean_over_benchmarks(parts),
    }  # fmt: skip
