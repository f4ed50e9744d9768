"""What the students made of the datasets: evaluations brought into report.json, and the pairs the decision reads.

In: 7-evaluations/NAME.json and pairs.json, as evaluate writes them. Out: rows of `students`, pairs of teachers by
`student_mean`, and what the data predicted beside what the students did. Nothing where students were not evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from stillhouse.records import UserMistake
from stillhouse.stats import families
from stillhouse.stats.rates import quantile
from stillhouse.store.run import Run

Row = dict[str, Any]


@dataclass
class Students:
    """rows: candidate x benchmark. means: a teacher's student_mean. pairs: of teachers, as rows of report.json's
    `pairs`. controls: each teacher's student against each control. adaptive: length by difficulty. families: base
    lineage of each student, for the caveat of kinship."""

    rows: list[Row] = field(default_factory=list)
    means: dict[str, float] = field(default_factory=dict)
    pairs: list[Row] = field(default_factory=list)
    controls: list[Row] = field(default_factory=list)
    benchmarks: list[str] = field(default_factory=list)
    adaptive: list[Row] = field(default_factory=list)
    families: set[str] = field(default_factory=set)

    def against_controls(self, teacher: str | None) -> str:
        """A sentence where the teacher's student is not certainly better than what was there without it."""
        missed = [row for row in self.controls if row["teacher"] == teacher and not (row["low"] or 0) > 0]
        told = [
            f"{row['control']} ({100 * row['difference']:+.1f} points"
            + (f", 95 % interval {100 * row['low']:.1f} to {100 * row['high']:.1f})" if row["low"] is not None else ")")
            for row in missed
        ]
        return f"Its student is not certainly ahead of {' nor of '.join(told)}." if told else ""


def read_students(run: Run, teachers: Sequence[str], margin: Mapping[str, float]) -> Students:
    """Everything of 7-evaluations; empty without it. Raises UserMistake for a file that cannot be read."""
    found = Students()
    folder = run.evaluations
    compared: Mapping[str, Any] | None = None
    names: dict[str, str] = {}
    for file in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            made = orjson.loads(file.read_bytes())
        except orjson.JSONDecodeError as error:
            raise UserMistake(f"{file} is not JSON ({error}): run evaluate again") from None
        if file.name == "pairs.json":
            compared = made
        elif isinstance(made, dict) and "benchmarks" in made:
            _take_candidate(found, made)
            if made.get("control"):
                names[made["student"]] = made["control"]
    if compared is not None:
        _take_pairs(found, compared, teachers, margin)
        _take_controls(found, compared, names)
    return found


def _take_candidate(found: Students, made: Mapping[str, Any]) -> None:
    if made.get("teacher") and made.get("family"):
        found.families.add(str(made["family"]))
    for name, part in made["benchmarks"].items():
        if name not in found.benchmarks:
            found.benchmarks.append(name)
        found.rows.append({
            "candidate": made["student"], "teacher": made.get("teacher"), "control": made.get("control") or "",
            "seed": made.get("seed"), "benchmark": name, "items": part["items"], "samples": part["samples"],
            "score": part["pass_at_1"], "interval": part.get("pass_at_1_interval"), "pass_at_k": part.get("pass_at_k"),
            "mean_length": part.get("mean_length"), "mean_length_interval": part.get("mean_length_interval"),
            "truncated": part.get("truncated"), "stop_ratio": part.get("stop_ratio"),
            "format_rate": part.get("format_rate"), "waiting": part.get("waiting"),
        })  # fmt: skip


def _take_pairs(found: Students, made: Mapping[str, Any], teachers: Sequence[str], margin: Mapping[str, float]) -> None:
    """Pairs of teachers over all benchmarks, or over the only one; controls take no part in the decision."""
    found.means = {
        group["name"]: group["student_mean"]
        for group in made["groups"]
        if group["kind"] == "teacher" and group["student_mean"] is not None and group["name"] in teachers
    }
    found.adaptive = list(made.get("adaptive") or [])
    mine = [row for row in _overall(made) if row["a"] in found.means and row["b"] in found.means]
    corrected = families.holm([row["p"] for row in mine])
    edge = margin["rate"]
    for row, p in zip(mine, corrected, strict=True):
        # An evaluation of an earlier version has no 90 % interval: with the 95 % one `equal` is said more rarely.
        low, high = row.get("low_90", row["low"]), row.get("high_90", row["high"])
        inside = None if low is None or high is None else (float(low), float(high))
        said = families.outcome(row["difference"], p, inside, (-edge, edge))
        needed = _items_needed(row, edge, len(mine)) if said == "cannot_tell" and inside else None
        found.pairs.append({
            "a": row["a"], "b": row["b"], "measure": "student_mean", "category": None, "unit": "rate",
            "difference": row["difference"], "low": row["low"], "high": row["high"], "p": row["p"], "n": row["items"],
            "a_value": found.means[row["a"]], "b_value": found.means[row["b"]], "holm_p": p, "outcome": said,
            "family": "students", "queries_needed": needed,
        })  # fmt: skip


def _overall(made: Mapping[str, Any]) -> list[Row]:
    """Pairs by score over all benchmarks, or over the only one."""
    scored = [row for row in made["pairs"] if row["measure"] == "pass_at_1"]
    return [row for row in scored if row["benchmark"] is None] or scored


def _items_needed(row: Row, edge: float, tests: int) -> int | None:
    """Benchmark items that would decide: the interval's width says how much one item scatters."""
    deviation = (row["high"] - row["low"]) / (2 * quantile(0.975)) * math.sqrt(row["items"])
    return families.queries_needed(row["difference"], deviation, (-edge, edge), alpha=0.05 / max(tests, 1))


def _take_controls(found: Students, made: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Each teacher's student against each control, the difference from the student's side."""
    for row in _overall(made):
        a, b = row["a"], row["b"]
        if (a in found.means) == (b in found.means) or not {a, b} & names.keys():
            continue
        sign = 1 if a in found.means else -1
        limits = (None, None) if row["low"] is None else sorted((sign * row["low"], sign * row["high"]))
        found.controls.append({
            "teacher": a if sign == 1 else b, "control": names[b if sign == 1 else a],
            "difference": sign * row["difference"], "low": limits[0], "high": limits[1], "p": row["p"],
            "items": row["items"],
        })  # fmt: skip


def predicted(found: Students, sections: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """What the data said of each teacher beside what its student did."""
    out = []
    for name in found.means:
        part = sections[name]
        out.append({
            "teacher": name, "student_mean": found.means[name], "verified_yield": part["verified_yield"],
            "pass_at_1": part["pass_at_1"], "mean_tokens": (part["tokens"] or {}).get("mean"),
            "mean_perplexity": (part["perplexity"] or {}).get("mean"),
            "cost_per_verified_usd": part["cost_per_verified_usd"],
        })  # fmt: skip
    return out
