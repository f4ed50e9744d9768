"""Results of lighteval and lm-eval, read for cross-checks and written for whoever works with those.

In: their results files, or an evaluation of ours (7-evaluations/NAME.json). Out: one Score a task and metric; their
shape of our scores; and how far the two lie apart. Their prompts, limits and graders differ from ours, and the notes
say where: a difference is a reason to look, not a verdict.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhouse.records import UserMistake

# Names of the tasks of both harnesses for our benchmarks.
TASKS = {
    "aime24": "aime2024", "aime2024": "aime2024", "aime_2024": "aime2024", "aime25": "aime2025",
    "aime2025": "aime2025", "aime_2025": "aime2025", "math_500": "math500", "math500": "math500",
    "minerva_math500": "math500", "hendrycks_math500": "math500", "lcb": "livecodebench",
    "livecodebench": "livecodebench", "codegeneration": "livecodebench",
}  # fmt: skip
NOTES = {
    ("lighteval", "math500"): "lighteval caps replies at 32,768 tokens",
    ("lighteval", "livecodebench"): "lighteval caps replies at 32,768 tokens",
    ("lm-eval", "aime2024"): "lm-eval decodes greedily, one sample an item",
    ("lm-eval", "aime2025"): "lm-eval decodes greedily, one sample an item",
}


@dataclass(frozen=True, slots=True)
class Score:
    """One figure of a harness. benchmark: our name, None for a task that is none of ours; value: a share of 1."""

    harness: str
    task: str
    benchmark: str | None
    metric: str
    value: float
    stderr: float | None
    model: str


def read_results(place: Path) -> list[Score]:
    """Scores of a results file, or of the newest one below a folder. Raises UserMistake for what is neither's."""
    file = _newest(place)
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserMistake(f"{file}: no results of a harness: {error}") from error
    if not isinstance(value, dict) or not isinstance(value.get("results"), dict):
        raise UserMistake(f"{file}: no results of lighteval or lm-eval: there is no object `results`")
    if "config_general" in value:
        model = value["config_general"].get("model_name") or value["config_general"].get("model_config", {}).get(
            "model_name", ""
        )
        return list(_lighteval(value["results"], str(model)))
    return list(_lm_eval(value["results"], str(value.get("model_name") or value.get("model_source") or "")))


def _newest(place: Path) -> Path:
    if place.is_file():
        return place
    found = sorted(place.rglob("results_*.json"), key=lambda file: file.name)
    if not found:
        raise UserMistake(f"{place}: there is no results_*.json of lighteval or lm-eval")
    return found[-1]


def _benchmark(task: str) -> str | None:
    parts = [part.lower() for part in re.split(r"[|:]", task) if part]
    return next((TASKS[part] for part in parts if part in TASKS), None)


def _lighteval(results: Mapping[str, Any], model: str) -> Iterator[Score]:
    for task, metrics in results.items():
        if task == "all" or task.endswith("|all"):
            continue
        for metric, value in metrics.items():
            if not metric.endswith("_stderr") and _number(value):
                stderr = metrics.get(f"{metric}_stderr")
                yield Score("lighteval", task, _benchmark(task), metric, float(value), _maybe(stderr), model)


def _lm_eval(results: Mapping[str, Any], model: str) -> Iterator[Score]:
    for task, metrics in results.items():
        for metric, value in metrics.items():
            name, _, selection = metric.partition(",")
            if not name.endswith("_stderr") and _number(value) and name not in ("sample_len", "sample_count"):
                stderr = metrics.get(f"{name}_stderr,{selection}" if selection else f"{name}_stderr")
                yield Score("lm-eval", task, _benchmark(task), metric, float(value), _maybe(stderr), model)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _maybe(value: Any) -> float | None:
    return float(value) if _number(value) else None


def to_lm_eval(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation of ours in the shape of lm-eval's results file; the standard error is that over items."""
    results, samples = {}, {}
    for name, part in evaluation["benchmarks"].items():
        rates = _rates(part)
        results[name] = {
            "alias": name,
            "exact_match,none": part["pass_at_1"],
            "exact_match_stderr,none": _stderr(rates),
        }
        samples[name] = {"original": part["items"], "effective": len(rates)}
    configs = {
        name: {"task": name, "repeats": part["samples"],
               "generation_kwargs": {k: part[k] for k in ("temperature", "top_p", "max_tokens")}}
        for name, part in evaluation["benchmarks"].items()
    }  # fmt: skip
    return {"results": results, "configs": configs, "n-samples": samples, "model_name": evaluation["student"],
            "date": evaluation["made"]}  # fmt: skip


def to_lighteval(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """The same in lighteval's shape, metric `pass@k:k=1&n=SAMPLES` under the suite `stillhouse`."""
    results: dict[str, Any] = {}
    for name, part in evaluation["benchmarks"].items():
        metric = f"pass@k:k=1&n={part['samples']}"
        results[f"stillhouse|{name}|0"] = {metric: part["pass_at_1"], f"{metric}_stderr": _stderr(_rates(part))}
    return {"config_general": {"model_name": evaluation["student"], "start_time": evaluation["made"]},
            "results": results}  # fmt: skip


def _rates(part: Mapping[str, Any]) -> list[float]:
    return [item["passed"] / item["judged"] for item in part["per_item"] if item["judged"]]


def _stderr(rates: Sequence[float]) -> float | None:
    """Of the mean over items, which are what is drawn at random."""
    if len(rates) < 2:
        return None
    mean = sum(rates) / len(rates)
    return math.sqrt(sum((rate - mean) ** 2 for rate in rates) / (len(rates) - 1) / len(rates))


def cross_check(evaluation: Mapping[str, Any], scores: Iterable[Score]) -> list[dict[str, Any]]:
    """Each harness's figure beside ours: the difference, and whether it is more than both errors explain (2 standard
    errors). Metrics that are no share of right answers are left out."""
    rows = []
    for score in scores:
        part = evaluation["benchmarks"].get(score.benchmark or "")
        if part is None or part["pass_at_1"] is None or not 0 <= score.value <= 1 or not _is_accuracy(score.metric):
            continue
        ours = _stderr(_rates(part))
        error = math.sqrt((ours or 0.0) ** 2 + (score.stderr or 0.0) ** 2)
        gap = part["pass_at_1"] - score.value
        rows.append({
            "benchmark": score.benchmark, "harness": score.harness, "metric": score.metric, "ours": part["pass_at_1"],
            "theirs": score.value, "difference": gap, "explained": abs(gap) <= 2 * error if error else None,
            "note": NOTES.get((score.harness, score.benchmark or ""), ""),
        })  # fmt: skip
    return rows


def _is_accuracy(metric: str) -> bool:
    name = metric.lower()
    if re.search(r"pass@k:k=(?!1\b)\d+", name) or re.search(r"pass@(?!1\b|k)\d+", name) or "maj@" in name:
        return False
    return any(word in name for word in ("extractive_match", "exact_match", "pass@", "avg@", "acc", "math_verify"))
