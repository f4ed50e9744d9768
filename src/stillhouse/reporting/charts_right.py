"""Charts of what is right: rates, pass@k, wins and losses of first attempts, who solves what, and the funnel.

In: report.json as a dict, a width. Out: a Drawing, or None where there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stillhouse.reporting.svg import (
    LETTER,
    Drawing,
    Scale,
    bottom_axis,
    colour,
    dollars,
    fitted,
    left_axis,
    legend,
    linear,
    nice_ticks,
    number,
    percent,
    percent_tenth,
    room_for,
)
from stillhouse.reporting.text import plural, visible

Report = Mapping[str, Any]
Label = Callable[[float], str]
MOST_SETS = 20
DOLLARS = "Dollars per 1,000 verified rows"


def interval_row(
    drawing: Drawing,
    x: Scale,
    y: float,
    room: float,
    name: str,
    kind: int | str,
    value: float | None,
    interval: Sequence[float | None] | None,
    label: Label,
    bounds: Sequence[float] | None = None,
) -> None:
    """A name, its value as a dot, its interval as a line, the bounds as a band, and the value in figures."""
    drawing.label(y + 4, room, name)
    if value is None:
        drawing.text(room + 4, y + 4, "not known", kind="faint")
        return
    if bounds is not None and bounds[1] - bounds[0] > 1e-9:
        told = f"{name}: between {label(bounds[0])} and {label(bounds[1])}, whatever becomes of what is open"
        drawing.rect(x(bounds[0]), y - 7, x(bounds[1]) - x(bounds[0]), 14, "band", told, 2)
    tip = f"{name}: {label(value)}"
    if interval is not None and interval[0] is not None and interval[1] is not None:
        tip += f", 95 % interval {label(interval[0])} to {label(interval[1])}"
        drawing.line(x(interval[0]), y, x(interval[1]), y, f"line s{kind}", tip)
    drawing.circle(x(value), y, 4.5, f"f{kind}", tip)
    drawing.text(drawing.width, y + 4, label(value), anchor="end")


MEASURES: dict[str, tuple[str, str, str, float]] = {
    "verified_yield": ("verified_yield", "verified_yield_interval", "Verified yield", 1),
    "pass_at_1": ("pass_at_1", "pass_at_1_interval", "pass@1", 1),
    "cost_per_verified": ("cost_per_verified_usd", "cost_per_verified_interval", DOLLARS, 1e3),
    "student_mean": ("student_mean", "student_mean_interval", "Students' mean score", 1),
    "length": ("mean", "interval", "Mean tokens of the kept replies", 1),
}


def leading(report: Report, width: float) -> Drawing | None:
    """The measure of the decision, the best teacher first."""
    measure = report["decision"].get("measure") or "length"
    key, interval, title, scale = MEASURES.get(measure, MEASURES["length"])
    rows: list[tuple[str, float, Sequence[float] | None]] = []
    students = _students(report)
    for name, part in report["teachers"].items():
        source: Mapping[str, Any] = part
        if measure == "student_mean":
            source = students.get(name, {})
        elif key == "mean":
            source = {"mean": (part["tokens"] or {}).get("mean"), "interval": part.get("tokens_mean_interval")}
        limits = source.get(interval)
        if source.get(key) is not None:
            known = None if limits is None else [scale * limit for limit in limits]
            rows.append((name, scale * source[key], known))
    if len(rows) < 2:
        return None
    rows.sort(key=lambda row: row[1], reverse=measure != "cost_per_verified")
    rate = key in ("verified_yield", "pass_at_1", "student_mean")
    label: Label = percent_tenth if rate else dollars if scale > 1 else number
    highs = [max([value, *(limits or ())]) for _, value, limits in rows]
    lows = [min([value, *(limits or ())]) for _, value, limits in rows]
    spread = max(highs) - min(lows)
    low = max(0.0, min(lows) - 0.3 * spread)
    low, high = (0.0 if low < 0.45 * max(highs) else low), max(highs) + 0.04 * (spread or max(highs))
    if rate:
        high = min(high, 1.0)
    drawing = Drawing(width, 26 + len(rows) * 26 + 24, title)
    drawing.text(0, 12, title, kind="strong")
    room = room_for([name for name, _, _ in rows], width)
    x = linear(low, high, room, width - 68)
    ticks = nice_ticks(low, high, 4)
    bottom_axis(drawing, x, ticks, 26 + len(rows) * 26, 24, percent if rate else label)
    names = list(report["teachers"])
    for place, (name, value, limits) in enumerate(rows):
        interval_row(
            drawing, x, 26 + place * 26 + 13, room, name, colour(names.index(name)), value, limits, label
        )  # fmt: skip
    return drawing


def _students(report: Report) -> dict[str, dict[str, Any]]:
    """Each teacher's students: their mean score, with the interval where compare gives one."""
    found = {row["teacher"]: {"student_mean": row["student_mean"]} for row in report.get("predicted") or []}
    for row in report.get("joined") or []:
        found[row["teacher"]] = {
            "student_mean": row["student"]["mean"], "student_mean_interval": row["student"].get("interval"),
        }  # fmt: skip
    return found


def rates(report: Report, width: float) -> Drawing | None:
    groups = (("pass_at_1", "pass@1"), ("verified_yield", "verified yield"))
    teachers = report["teachers"]
    shown = [(k, t) for k, t in groups if any(s.get(k) is not None for s in teachers.values())]
    if not shown:
        return None
    rows = len(shown) * (len(teachers) * 22 + 32) - 6
    drawing = Drawing(width, rows + 22, "pass@1 and verified yield")
    room = room_for(list(teachers), width)
    x = linear(0, 1, room, width - 66)
    bottom_axis(drawing, x, [0, 0.25, 0.5, 0.75, 1], rows, 22, percent)
    y = 0.0
    for key, title in shown:
        drawing.text(0, y + 12, title, kind="strong")
        y += 32
        for place, (name, figures) in enumerate(teachers.items()):
            interval_row(
                drawing, x, y, room, name, colour(place), figures.get(key), figures.get(f"{key}_interval"),
                percent_tenth, figures.get(f"{key}_bounds"),
            )  # fmt: skip
            y += 22
    return drawing


def pass_at_k(report: Report, width: float) -> Drawing | None:
    series = {n: s["pass_at_k"] for n, s in report["teachers"].items() if s.get("pass_at_k")}
    deepest = max((len(v) for v in series.values()), default=0)
    if deepest < 2:
        return None
    names = list(report["teachers"])
    drawing = Drawing(width, 258, "solved within k attempts")
    top = legend(drawing, names) + 4
    x, y = linear(1, deepest, 58, width - 14), linear(0, 1, 218, top)
    left_axis(drawing, y, [0, 0.25, 0.5, 0.75, 1], 46, width, percent)
    for k in range(1, deepest + 1):
        drawing.text(x(k), 236, str(k), anchor="middle", kind="faint")
    drawing.text(width, 254, "attempts", anchor="end", kind="faint")
    for place, name in enumerate(names):
        values = series.get(name, [])
        values = values + values[-1:] * (deepest - len(values))
        drawing.path([(x(k), y(v)) for k, v in enumerate(values, 1)], f"line s{colour(place)}", name)
        for k, value in enumerate(values, 1):
            told = f"{name}: {percent_tenth(value)} within {plural(k, 'attempt')}"
            drawing.circle(x(k), y(value), 3.5, f"f{colour(place)}", told)
    return drawing


def wins(report: Report, width: float) -> Drawing | None:
    rows = [row for row in report.get("wins", []) if row["n"]]
    if not rows:
        return None
    names = list(report["teachers"])
    drawing = Drawing(width, len(rows) * 66 - 12, "paired outcomes of first attempts")
    for place, row in enumerate(rows):
        y, a, b = place * 66.0, row["a"], row["b"]
        kappa = f", κ {row['kappa']:.2f}".replace("-", "−") if row.get("kappa") is not None else ""
        aside = f"{plural(row['n'], 'query', 'queries')}{kappa}" if width > 400 else kappa[2:]
        title = f"{a} against {b}"
        drawing.text(0, y + 12, fitted(title, width - 10 - len(aside) * LETTER), kind="strong", tip=title)
        drawing.text(width, y + 12, aside, anchor="end", kind="faint")
        parts = (
            ("only_a", f"only {a} passed", f"f{colour(names.index(a))}"), ("both", "both passed", "n1"),
            ("neither", "neither passed", "n0"), ("only_b", f"only {b} passed", f"f{colour(names.index(b))}"),
        )  # fmt: skip
        start = 0.0
        for key, told, kind in parts:
            size = row[key] / row["n"] * width
            if row[key]:
                tip = f"{told}: {row[key]:,} of {plural(row['n'], 'query', 'queries')}"
                drawing.rect(start, y + 20, max(size - 1, 1), 15, kind, tip, 2)
            start += size
        share = {key: percent(row[key] / row["n"]) for key, _, _ in parts}
        middle = f"both {share['both']}, neither {share['neither']}"
        sides = [f"only {visible(a)} {share['only_a']}", f"only {visible(b)} {share['only_b']}"]
        if (len(middle) + 2 * max(map(len, sides)) + 4) * LETTER > width:
            sides = [share["only_a"], share["only_b"]]
        drawing.text(0, y + 49, sides[0], kind=f"name f{colour(names.index(a))}", tip=parts[0][1])
        drawing.text(width / 2, y + 49, middle, anchor="middle", kind="faint")
        drawing.text(width, y + 49, sides[1], anchor="end", kind=f"name f{colour(names.index(b))}", tip=parts[3][1])
    return drawing


def overlap(report: Report, width: float) -> Drawing | None:
    """A row for each set of teachers: dots for who is in it, a bar for its queries."""
    rows = report.get("overlap", [])
    names = list(report["teachers"])
    if len(names) < 2 or not rows:
        return None
    left_out = max(0, len(rows) - MOST_SETS)
    if left_out:
        largest = sorted(rows, key=lambda row: -row["queries"])[:MOST_SETS]
        rows = [row for row in rows if row in largest]
    drawing = Drawing(width, 0, "queries by the set of teachers that solved them")
    top = legend(drawing, names)
    column = min(20.0, width * 0.4 / len(names))
    room = column * len(names) + 12
    x = linear(0, max(row["queries"] for row in rows), 0, width - room - 48)
    drawing.height = top + len(rows) * 24 + (18 if left_out else 0)
    for place, row in enumerate(rows):
        y = top + place * 24
        members, told = row["teachers"], _set_name(row["teachers"], len(names))
        for at, name in enumerate(names):
            kind = f"f{colour(at)}" if name in members else "none"
            drawing.circle(column * at + column / 2, y + 9, 5, kind, name if name in members else f"not {name}")
        alone = colour(names.index(members[0])) if len(members) == 1 else None
        kind = f"f{alone}" if alone is not None else "n1" if members else "n0"
        tip = f"solved by {told}: {plural(row['queries'], 'query', 'queries')}"
        drawing.rect(room, y, max(x(row["queries"]), 1), 18, kind, tip, 2)
        drawing.text(room + x(row["queries"]) + 7, y + 13, f"{row['queries']:,}")
    if left_out:
        drawing.text(0, drawing.height - 4, f"and {plural(left_out, 'smaller set')}", kind="faint")
    return drawing


def _set_name(names: Sequence[str], total: int) -> str:
    if not names:
        return "none"
    if len(names) == total:
        return "all"
    return f"{names[0]} alone" if len(names) == 1 else " and ".join(names)


def funnel(report: Report, width: float) -> Drawing | None:
    """Each teacher's queries as one bar; above it what curate kept, below it the parallel set."""
    steps, names = report.get("funnel") or [], list(report["teachers"])
    if not steps or not names:
        return None
    shared = [step for step in steps if not step["teacher"]]
    rows = [_whole(step) for step in shared[:-1]]
    for place, name in enumerate(names):
        own = [step["count"] for step in steps if step["teacher"] == name]
        if len(own) < 3:
            return None
        asked, accepted, kept = own[0], own[-2], own[-1]
        kind = f"f{colour(place)}"
        parts = [(kept, f"{kind} o1", "kept"), (accepted - kept, f"{kind} o3", "dropped by filters"),
                 (asked - accepted, "n0", "not accepted")]  # fmt: skip
        rows.append((name, f"{kept:,}", [(n, kind, f"{name}: {told}") for n, kind, told in parts]))
    rows += [_whole(step) for step in shared[-1:]]
    room = room_for([label for label, _, _ in rows], width)
    most = max([sum(n for n, _, _ in parts) for _, _, parts in rows] or [1]) or 1
    x = linear(0, most, 0, width - room - 62)
    drawing = Drawing(width, len(rows) * 28, "queries from the sources to the parallel set")
    for place, (label, figure, parts) in enumerate(rows):
        y, start = place * 28.0, room
        drawing.label(y + 17, room, label)
        for size, kind, told in parts:
            if size > 0:
                drawing.rect(start, y + 3, max(x(size) - 1, 1), 20, kind, f"{told}: {size:,.0f}", 2)
            start += x(size)
        drawing.text(width, y + 17, figure, anchor="end")
    return drawing


def _whole(step: Mapping[str, Any]) -> tuple[str, str, list[tuple[float, str, str]]]:
    """A step that is not of one teacher: its name, its count, and one grey part."""
    return step["step"], f"{step['count']:,}", [(step["count"], "n1", step["step"])]
