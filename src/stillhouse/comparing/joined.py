"""Data, students and money side by side: what each teacher's data had said, what its student did, what it cost.

In: the sections of report.json, 7-evaluations. Out: report.json's `joined` (a row a teacher), `student_pairs` (teacher
against teacher on each benchmark and over all), and the sentences that the decision is not read without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from stillhouse.stats import families

Row = dict[str, Any]
Sections = Mapping[str, Mapping[str, Any]]
# What data could have been asked to choose by, and whether more of it is better.
PREDICTORS: Mapping[str, tuple[str, bool]] = {
    "verified_yield": ("the verified yield", True),
    "pass_at_1": ("the first attempts", True),
    "cost_per_verified_usd": ("the price of a verified row", False),
    "mean_perplexity": ("the lower perplexity", False),
    "mean_tokens": ("the longer replies", True),
}


def read_evaluations(folder: Path) -> tuple[list[Row], Row]:
    """The candidates' files and pairs.json of 7-evaluations; empty where nothing was evaluated."""
    made = [orjson.loads(f.read_bytes()) for f in sorted(folder.glob("*.json")) if f.name != "pairs.json"]
    pairs = folder / "pairs.json"
    held = [one for one in made if isinstance(one, dict) and "benchmarks" in one]
    return held, orjson.loads(pairs.read_bytes()) if pairs.exists() else {}


def joined(sections: Sections, made: Sequence[Row], pairs: Row) -> list[Row]:
    """A row a teacher of whom there is a student: data, money, and its students on each benchmark and on average."""
    groups = {g["name"]: g for g in pairs.get("groups", ()) if g["kind"] == "teacher"}
    out = []
    for name, part in sections.items():
        mine = [one for one in made if one.get("teacher") == name and not one.get("control")]
        if not mine:
            continue
        group = groups.get(name, {})
        out.append({
            "teacher": name,
            "data": {
                "verified_yield": part["verified_yield"], "pass_at_1": part["pass_at_1"], "kept": part["kept"],
                "mean_tokens": (part["tokens"] or {}).get("mean"),
                "mean_perplexity": (part["perplexity"] or {}).get("mean"),
            },
            "money": {
                "cost_usd": part["cost_usd"], "cost_per_verified_usd": part["cost_per_verified_usd"],
            },
            "student": {
                "mean": group.get("student_mean"), "seeds": len(mine), "seed_sd": group.get("seed_sd"),
                "interval": mine[0].get("student_mean_interval") if len(mine) == 1 else None,
                "benchmarks": {b: _scores(mine, b) for b in dict.fromkeys(x for m in mine for x in m["benchmarks"])},
            },
            "probe": next((one["probe"] for one in mine if one.get("probe")), ""),
        })  # fmt: skip
    return out


def _scores(students: Sequence[Row], benchmark: str) -> Row:
    """Means over the seeds of one teacher's student; the interval is that of a single one, else null."""
    parts = [one["benchmarks"][benchmark] for one in students if benchmark in one["benchmarks"]]
    fields = ("pass_at_1", "mean_length", "truncated", "stop_ratio", "format_rate")
    out: Row = {field: _mean([part.get(field) for part in parts]) for field in fields}
    single = parts[0] if len(parts) == 1 else {}
    return out | {"interval": single.get("pass_at_1_interval"), "items": parts[0]["items"]}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def student_pairs(pairs: Row, teachers: Sequence[str], edge: float) -> list[Row]:
    """Teacher against teacher by their students: score and length, on each benchmark and over all (benchmark null).

    Holm's correction runs over the pairs of one measure and benchmark. edge: the margin of scores, in shares.
    """
    out = []
    named = {g["name"] for g in pairs.get("groups", ()) if g["kind"] == "teacher"} & set(teachers)
    rows = [row for row in pairs.get("pairs", ()) if row["a"] in named and row["b"] in named]
    for measure, benchmark in dict.fromkeys((row["measure"], row["benchmark"]) for row in rows):
        family = [row for row in rows if (row["measure"], row["benchmark"]) == (measure, benchmark)]
        for row, p in zip(family, families.holm([row["p"] for row in family]), strict=True):
            low, high = row.get("low_90", row["low"]), row.get("high_90", row["high"])
            inside = None if low is None or high is None or measure != "pass_at_1" else (float(low), float(high))
            said = families.outcome(row["difference"], p, inside, (-edge, edge))
            out.append({**row, "holm_p": p, "outcome": said})
    return out


def notes(rows: Sequence[Row], teacher: str | None) -> list[str]:
    """Sentences beside the decision: that it is a probe, what the data would have chosen, and the money."""
    out = []
    probes = [row["probe"] for row in rows if row["probe"]]
    if probes:
        out.append(f"This is a probe by small students ({probes[0]}): larger ones may rank the teachers otherwise.")
    if teacher is None or len(rows) < 2:
        return out
    chosen = {field: leader for field in PREDICTORS if (leader := _leader(rows, field)) is not None}
    astray = [f"{PREDICTORS[field][0]} ({leader})" for field, leader in chosen.items() if leader != teacher]
    if astray:
        out.append(f"The data would have chosen otherwise by {', by '.join(astray)}.")
    elif chosen:
        out.append(f"The data had pointed to {teacher} too, by {', by '.join(PREDICTORS[f][0] for f in chosen)}.")
    paid = {row["teacher"]: row["money"]["cost_usd"] for row in rows}
    if all(cost is not None for cost in paid.values()):
        told = ", ".join(f"{name} ${cost:,.2f}" for name, cost in paid.items())
        out.append(f"The datasets cost {told}.")
    return out


def _leader(rows: Sequence[Row], field: str) -> str | None:
    """Whom one figure of the data would have chosen; None where it is not known of all, or the first two are level."""
    values = {row["teacher"]: {**row["data"], **row["money"]}[field] for row in rows}
    if any(value is None for value in values.values()):
        return None
    order = sorted(values, key=lambda name: values[name], reverse=PREDICTORS[field][1])
    return order[0] if values[order[0]] != values[order[1]] else None
