"""What an evaluation says in plain lines: format and accuracy apart, gains over the controls with their intervals.

In: 7-evaluations. Out: lines for a terminal; they claim no gain that the interval does not show.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any


def told(folder: Path) -> list[str]:
    """folder: the run's. Empty without evaluations."""
    place = folder / "7-evaluations"
    files = [f for f in sorted(place.glob("*.json")) if f.name != "pairs.json"]
    if not files:
        return []
    made = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    made.sort(key=lambda one: (one["teacher"] is not None, one["control"] == "", one["student"]))
    lines = []
    for benchmark in dict.fromkeys(name for one in made for name in one["benchmarks"]):
        lines += _table(benchmark, [one for one in made if benchmark in one["benchmarks"]])
    pairs = place / "pairs.json"
    if pairs.exists():
        compared = json.loads(pairs.read_text(encoding="utf-8"))
        students = {group["name"] for group in compared["groups"] if group["kind"] == "teacher"}
        lines += _gains(made, compared["pairs"], students)
        probes = [one["probe"] for one in made if one.get("probe")]
        if probes:
            lines.append(f"A probe: small students ({probes[0]}); larger ones may rank the teachers otherwise.")
    return lines


def _table(benchmark: str, made: Sequence[Mapping[str, Any]]) -> list[str]:
    first = made[0]["benchmarks"][benchmark]
    names = [
        one["student"] + (f" ({one['control']})" if one["control"] not in ("", one["student"]) else "") for one in made
    ]
    wide = max(map(len, names))
    head = f"{benchmark}: {first['items']} items, {first['samples']} samples each"
    rows = [
        f"  {'':{wide}} {'right':>7} {'95 % interval':>16} {'thinks, in form':>15} {'in tags':>7} {'cut off':>7} tokens"
    ]
    for one, name in zip(made, names, strict=True):
        part = one["benchmarks"][benchmark]
        low, high = part["pass_at_1_interval"] or (None, None)
        span = f"{_percent(low)} to {_percent(high)}" if low is not None else "-"
        length = "-" if part["mean_length"] is None else f"{part['mean_length']:.0f}"
        rows.append(
            f"  {name:{wide}} {_percent(part['pass_at_1']):>7} {span:>16} {_percent(part['format_rate']):>15} "
            f"{_percent(part['answer_tag_rate']):>7} {_percent(part['truncated']):>7} {length:>6}"
        )
    return [head, *rows]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"


def _gains(
    made: Sequence[Mapping[str, Any]], pairs: Sequence[Mapping[str, Any]], students: Collection[str]
) -> list[str]:
    """Each student against each control, in points, and whether the interval excludes zero."""
    controls = {one["student"]: one["control"] for one in made if one["control"]}
    lines = []
    for pair in pairs:
        if pair["measure"] != "pass_at_1" or pair["low"] is None:
            continue
        a_control, b_control = pair["a"] in controls, pair["b"] in controls
        if a_control == b_control or not {pair["a"], pair["b"]} & set(students):
            continue
        student, control = (pair["b"], pair["a"]) if a_control else (pair["a"], pair["b"])
        sign = -1 if a_control else 1
        low, high = sorted((sign * pair["low"], sign * pair["high"]))
        gap = 100 * sign * pair["difference"]
        verdict = "a gain" if low > 0 else "a loss" if high < 0 else "no difference that this many items could show"
        where = pair["benchmark"] or "all benchmarks"
        lines.append(
            f"{where}: the student of {student} against {controls[control]}: {gap:+.1f} points "
            f"({100 * low:+.1f} to {100 * high:+.1f}): {verdict}"
        )
    return lines
