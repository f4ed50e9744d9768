"""Charts of the students: scores by benchmark, length by difficulty, and training loss.

In: report.json as a dict with `students`, `adaptive` and `losses`, a width. Out: a Drawing, or None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillhouse.reporting.charts_right import interval_row
from stillhouse.reporting.svg import (
    Drawing,
    bottom_axis,
    colour,
    left_axis,
    legend,
    linear,
    nice_ticks,
    number,
    percent,
    percent_tenth,
    room_for,
)
from stillhouse.reporting.text import plural

Report = Mapping[str, Any]
DIFFICULTIES = ("easy", "middle", "hard")


def ordered(report: Report) -> list[Mapping[str, Any]]:
    """The rows of students by benchmark, teachers in the order of the recipe and controls last."""
    names, rows = list(report["teachers"]), report.get("students") or []
    benchmarks = list(dict.fromkeys(row["benchmark"] for row in rows))

    def place(row: Mapping[str, Any]) -> tuple[int, int, str]:
        known = row["teacher"] in names and not row.get("control")
        return (
            benchmarks.index(row["benchmark"]), names.index(row["teacher"]) if known else len(names),
            str(row["candidate"]),
        )  # fmt: skip

    return sorted(rows, key=place)


def several_seeds(report: Report) -> bool:
    """Whether some teacher has more than one student on a benchmark."""
    held = [(r["teacher"], r["benchmark"]) for r in report.get("students") or [] if not r.get("control")]
    return len(held) > len(set(held))


def _name(row: Mapping[str, Any], seeds: bool) -> str:
    seed = f", seed {row['seed']}" if seeds and row.get("seed") is not None and row.get("teacher") else ""
    return str(row["teacher"] or row["candidate"]) + seed if not row.get("control") else str(row["candidate"])


def _kind(teacher: Any, control: Any, names: Sequence[str]) -> int | str:
    return colour(names.index(teacher)) if teacher in names and not control else "n"


def scores(report: Report, width: float) -> Drawing | None:
    rows = [row for row in ordered(report) if row["score"] is not None]
    seeds = several_seeds(report)
    if not rows:
        return None
    names, benchmarks = list(report["teachers"]), list(dict.fromkeys(row["benchmark"] for row in rows))
    high = min(1.0, max(max(row["score"], *(row.get("interval") or [0])) for row in rows) * 1.1) or 1.0
    tall = len(rows) * 22 + len(benchmarks) * 32 - 6
    drawing = Drawing(width, tall + 22, "scores of the students")
    room = room_for([_name(row, seeds) for row in rows], width)
    x = linear(0, high, room, width - 66)
    bottom_axis(drawing, x, nice_ticks(0, high, 4), tall, 22, percent)
    y = 0.0
    for benchmark in benchmarks:
        drawing.text(0, y + 12, benchmark, kind="strong")
        y += 32
        for row in (row for row in rows if row["benchmark"] == benchmark):
            kind = _kind(row["teacher"], row.get("control"), names)
            interval_row(drawing, x, y, room, _name(row, seeds), kind, row["score"], row.get("interval"), percent_tenth)
            y += 22
    return drawing


def adaptive(report: Report, width: float) -> Drawing | None:
    """Lines over easy, middle and hard items, averaged over benchmarks by their items."""
    sums: dict[tuple[str, str], list[float]] = {}
    for row in report.get("adaptive") or []:
        if row.get("mean_length") is not None and row.get("teacher") in report["teachers"]:
            held = sums.setdefault((row["teacher"], row["difficulty"]), [0.0, 0.0])
            held[0] += row["mean_length"] * row["items"]
            held[1] += row["items"]
    means = {key: total / items for key, (total, items) in sums.items() if items}
    levels = [level for level in DIFFICULTIES if any(key[1] == level for key in means)]
    if len(levels) < 2:
        return None
    names = list(report["teachers"])
    drawing = Drawing(width, 250, "length of the students' replies by difficulty")
    top = legend(drawing, names) + 4
    high = max(means.values()) * 1.08
    x, y = linear(-0.2, len(levels) - 0.8, 52, width - 8), linear(0, high, 220, top)
    left_axis(drawing, y, nice_ticks(0, high, 4), 46, width)
    for place, level in enumerate(levels):
        drawing.text(x(place), 240, level, anchor="middle", kind="faint")
    for at, name in enumerate(names):
        points = [(x(place), y(means[name, level])) for place, level in enumerate(levels) if (name, level) in means]
        drawing.path(points, f"line s{colour(at)}", name)
        for place, level in enumerate(levels):
            if (name, level) in means:
                items = int(sums[name, level][1])
                tip = f"{name}: {number(means[name, level])} tokens on {plural(items, level + ' item')}"
                drawing.circle(x(place), y(means[name, level]), 3.8, f"f{colour(at)}", tip)
    return drawing


def losses(report: Report, width: float) -> Drawing | None:
    """report["losses"]: one curve a student, as steps and losses of equal length."""
    curves = [curve for curve in report.get("losses") or [] if len(curve["steps"]) > 1]
    if not curves:
        return None
    names = list(report["teachers"])
    drawing = Drawing(width, 262, "training loss")
    kinds = [_kind(curve["teacher"], None, names) for curve in curves]
    top = legend(drawing, [curve["name"] for curve in curves], kinds=[f"f{kind}" for kind in kinds]) + 4
    every = [loss for curve in curves for loss in curve["losses"]]
    low, high = min(every), max(every)
    low, high = (0.0 if low < 0.5 * high else low * 0.95), high * 1.03
    last = max(curve["steps"][-1] for curve in curves)
    x, y = linear(1, max(last, 2), 52, width - 8), linear(low, high, 222, top)
    left_axis(drawing, y, nice_ticks(low, high, 4), 46, width)
    bottom_axis(drawing, x, [t for t in nice_ticks(1, last, 5) if t == int(t)] or [1, last], 222, 222)
    drawing.text(width, 258, "steps", anchor="end", kind="faint")
    for curve, kind in zip(curves, kinds, strict=True):
        raw = list(zip(curve["steps"], curve["losses"], strict=True))
        drawing.path([(x(step), y(loss)) for step, loss in raw], f"thin s{kind}")
        smooth = _smoothed(curve["losses"])
        told = f"{curve['name']}: loss {smooth[-1]:.3f} at the end"
        drawing.path([(x(step), y(loss)) for step, loss in zip(curve["steps"], smooth, strict=True)],
                     f"line s{kind}", told)  # fmt: skip
    return drawing


def _smoothed(values: Sequence[float]) -> list[float]:
    """Mean of the values around each, over a tenth of the curve."""
    reach = max(1, len(values) // 20)
    return [sum(part) / len(part) for at in range(len(values)) if (part := values[max(0, at - reach) : at + reach + 1])]
