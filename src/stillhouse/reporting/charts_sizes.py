"""Charts of how much: lengths, perplexity, attempts and dollars, per teacher and category, and length by difficulty.

In: report.json as a dict, a width. Out: a Drawing, or None where there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stillhouse.reporting.charts_right import interval_row
from stillhouse.reporting.svg import (
    Drawing,
    Scale,
    bottom_axis,
    colour,
    decades,
    dollars,
    fitted,
    left_axis,
    legend,
    linear,
    log_ticks,
    logarithmic,
    nice_ticks,
    number,
    percent,
    room_for,
)
from stillhouse.reporting.text import plural

Report = Mapping[str, Any]
SHADES = 4
FEWEST = 5  # values that a box is drawn of; of fewer, the range and the mean
MOST_CATEGORIES = 12  # a chart shows the largest; the table shows all
SPREAD = 40  # an axis is logarithmic where its largest value is so many times the smallest that matters


def ridges(report: Report, key: str, box: str, width: float) -> Drawing | None:
    """One distribution a row, all on one logarithmic axis and one scale of shares."""
    bins = report.get(key)
    if not bins or not any(sum(counts) for counts in bins["counts"].values()):
        return None
    edges, names = bins["edges"], [name for name in report["teachers"] if sum(bins["counts"].get(name, ()))]
    shares = {name: [c / sum(bins["counts"][name]) for c in bins["counts"][name]] for name in names}
    most = max(max(values) for values in shares.values())
    first, last = _reach(shares.values())
    edges = edges[first : last + 2]
    row, top = 48.0, 0.0
    drawing = Drawing(width, top + row * len(names) + 36, "distribution of token lengths")
    room = room_for([*names, "median 1,234"], width, 0.3)
    x = logarithmic(edges[0], edges[-1], room, width - 4)
    floor = top + row * len(names)
    bottom_axis(drawing, x, log_ticks(edges[0], edges[-1], 6 if width < 400 else 9), floor, top)
    drawing.text(width, floor + 33, "tokens", anchor="end", kind="faint")
    for place, name in enumerate(names):
        base = top + row * (place + 1) - 4
        y, at = linear(0, most, base, base - row + 8), colour(list(report["teachers"]).index(name))
        points: list[tuple[float, float]] = []
        for low, high, share in zip(edges, edges[1:], shares[name][first : last + 1], strict=False):
            points += [(x(low), y(share)), (x(high), y(share))]
        drawing.path([(points[0][0], base), *points, (points[-1][0], base)], f"wash b{at}", closed=True)
        drawing.path(points, f"line s{at}", name)
        figures = report["teachers"][name].get(box)
        drawing.label(base - 18, room, name)
        if figures:
            told = f"median {number(figures['median'])}"
            tip = f"{name}: {told}, mean {number(figures['mean'])}, longest {number(figures['max'])}"
            drawing.line(x(figures["median"]), base, x(figures["median"]), base - row + 12, f"median s{at}", tip)
            drawing.text(room - 10, base - 3, told, anchor="end", kind="faint")
    return drawing


def _reach(columns: Any) -> tuple[int, int]:
    """The first and the last bin that hold a thousandth of some distribution: a lone outlier does not squeeze all."""
    used = [at for values in columns for at, share in enumerate(values) if share >= 0.001]
    return min(used), max(used)


def _groups(report: Report, key: str) -> list[tuple[str, dict[str, Any]]]:
    """All queries, then the largest categories where there are several: (title, teacher -> figures)."""
    teachers, sizes = report["teachers"], report.get("categories", {})
    categories = [name for name in sizes if name in sorted(sizes, key=lambda n: -sizes[n])[:MOST_CATEGORIES]]
    groups = [("all", {name: part.get(key) for name, part in teachers.items()})]
    if len(categories) > 1:
        groups += [
            (category, {name: part["categories"].get(category, {}).get(key) for name, part in teachers.items()})
            for category in categories
        ]
    return [(title, group) for title, group in groups if any(group.values())]


def boxes(report: Report, key: str, unit: str, width: float, *, divided: bool = False) -> Drawing | None:
    """Horizontal boxes, one group for all queries and one for each category. divided: only where there are several
    categories, as another chart shows the whole."""
    names, groups = list(report["teachers"]), _groups(report, key)
    every = [box for _, group in groups for box in group.values() if box]
    if not every or max(box["high_whisker"] for box in every) <= 0 or (divided and len(groups) < 2):
        return None
    drawing = Drawing(width, 0, f"{unit} by category")
    top = legend(drawing, names) + 4
    thick = 17
    rows = len(groups) * (len(names) * thick + 14)
    drawing.height = top + rows + 34
    room = room_for([title for title, _ in groups], width, 0.28)
    high = max(max(box["high_whisker"], box["mean"]) for box in every) * 1.03
    low = min(box["low_whisker"] for box in every)
    least = min(box["median"] for box in every)
    label: Callable[[float], str] = dollars if unit == "dollars" else number
    if least > 0 and high > SPREAD * least:
        low = max(low, least / 8)
        x, ticks = logarithmic(low, high, room, width - 8), decades(low, high)
    else:
        low = 0 if low < high * 0.5 else low * 0.98
        x, ticks = linear(low, high, room, width - 8), nice_ticks(low, high, 4)
    bottom_axis(drawing, x, ticks, top + rows - 6, top - 4, label)
    drawing.text(width, drawing.height - 2, unit, anchor="end", kind="faint")
    y = top
    for title, group in groups:
        middle = y + len(names) * thick / 2 + 4
        kind = "strong" if title == "all" else "name"
        drawing.text(0, middle, fitted(title, room - 8), kind=kind, tip=title)
        for place, name in enumerate(names):
            if group.get(name):
                _box(drawing, x, y + place * thick + thick / 2, group[name], colour(place), name, label)
        y += len(names) * thick + 14
    return drawing


def _box(
    drawing: Drawing, x: Scale, y: float, box: Mapping[str, float], at: int, name: str, label: Callable[[float], str]
) -> None:
    beyond = int(box.get("low_outliers", 0) + box.get("high_outliers", 0))
    tip = (
        f"{name}: median {label(box['median'])}, quartiles {label(box['q1'])} to {label(box['q3'])}, mean "
        f"{label(box['mean'])}, {box['n']:,} replies"
        + (f", {beyond:,} beyond the whiskers up to {label(box['max'])}" if beyond else "")
    )
    drawing.line(x(box["low_whisker"]), y, x(box["high_whisker"]), y, f"whisker s{at}", tip)
    if box["n"] < FEWEST:
        drawing.circle(x(box["mean"]), y, 2.8, f"mean s{at}", tip)
        return
    drawing.rect(x(box["q1"]), y - 5.5, max(x(box["q3"]) - x(box["q1"]), 1), 11, f"box b{at}", tip, 1)
    drawing.line(x(box["median"]), y - 5.5, x(box["median"]), y + 5.5, f"median s{at}")
    drawing.circle(x(min(box["mean"], box["high_whisker"] * 1.03)), y, 2.8, f"mean s{at}", tip)


def attempts(report: Report, width: float) -> Drawing | None:
    """Bars of queries by the attempts spent on them, shaded by number, one bar a teacher in each group."""
    names, groups = list(report["teachers"]), _groups(report, "attempts_histogram")
    deepest = max((len(counts) for _, group in groups for counts in group.values() if counts), default=0)
    if deepest < 2:
        return None
    drawing = Drawing(width, 0, "attempts by category")
    top = legend(drawing, names) + 4
    thick = 17
    rows = len(groups) * (len(names) * thick + 14)
    drawing.height = top + rows + 16
    room = room_for([title for title, _ in groups], width, 0.28)
    x = linear(0, 1, room, width - 44)
    bottom_axis(drawing, x, [0, 0.25, 0.5, 0.75, 1], top + rows - 6, top - 4, percent)
    y = top
    for title, group in groups:
        kind = "strong" if title == "all" else "name"
        middle = y + len(names) * thick / 2 + 4
        drawing.text(0, middle, fitted(title, room - 8), kind=kind, tip=title)
        for place, name in enumerate(names):
            if group.get(name):
                _spent(drawing, x, y + place * thick, group[name], colour(place), name)
        y += len(names) * thick + 14
    return drawing


def _spent(drawing: Drawing, x: Scale, y: float, counts: list[int], at: int, name: str) -> None:
    total, start = sum(counts) or 1, 0
    for number_, count in enumerate(counts, 1):
        if count:
            tip = f"{name}: {plural(count, 'query', 'queries')} of {total:,} took {plural(number_, 'attempt')}"
            left, right = x(start / total), x((start + count) / total)
            drawing.rect(left, y + 2, max(right - left - 0.5, 0.5), 13, f"f{at} o{min(number_, SHADES)}", tip)
        start += count
    mean = sum(number_ * count for number_, count in enumerate(counts, 1)) / total
    drawing.text(drawing.width, y + 13, f"{mean:.2f}", anchor="end")


def difficulty(report: Report, width: float) -> Drawing | None:
    rows = [row for row in report.get("difficulty", []) if row["mean"] is not None and row["n"] >= 3]
    levels = sorted({row["others_failed"] for row in rows})
    if len(levels) < 2:
        return None
    names = list(report["teachers"])
    drawing = Drawing(width, 268, "mean length by difficulty")
    top = legend(drawing, names) + 4
    high = max(row["high"] or row["mean"] for row in rows) * 1.05
    x, y, ticks = linear(levels[0] - 0.25, levels[-1] + 0.25, 52, width - 8), linear(0, high, 228, top), []
    least = min(row["low"] or row["mean"] for row in rows)
    if least > 0 and high > SPREAD * least:
        y, ticks = logarithmic(least / 1.2, high, 228, top), decades(least / 1.2, high)
    left_axis(drawing, y, ticks or nice_ticks(0, high, 4), 46, width)
    for level in levels:
        drawing.text(x(level), 246, "none" if level == 0 else str(level), anchor="middle", kind="faint")
    drawing.text(width, 264, "other teachers that failed", anchor="end", kind="faint")
    for place, name in enumerate(names):
        mine = sorted((row for row in rows if row["teacher"] == name), key=lambda row: row["others_failed"])
        shift, at = (place - (len(names) - 1) / 2) * 8, colour(place)
        points = [(x(row["others_failed"]) + shift, y(row["mean"])) for row in mine]
        drawing.path(points, f"line s{at}", name)
        for (px, py), row in zip(points, mine, strict=True):
            tip = f"{name}: {number(row['mean'])} tokens over {plural(row['n'], 'query', 'queries')}"
            if row["low"] is not None:
                tip += f", 95 % interval {number(row['low'])} to {number(row['high'])}"
                drawing.line(px, y(row["low"]), px, y(row["high"]), f"line s{at}", tip)
            drawing.circle(px, py, 3.8, f"f{at}" if row["low"] is not None else f"mean s{at}", tip)
    return drawing


def costs(report: Report, width: float) -> Drawing | None:
    teachers = report["teachers"]
    known = [s for s in teachers.values() if s.get("cost_per_verified_usd") is not None]
    if not known or all(s["cost_per_verified_usd"] == 0 for s in known):
        return None
    shown = [
        (name, _thousand(part.get("cost_per_verified_usd")), part.get("cost_per_verified_interval"))
        for name, part in teachers.items()
    ]
    high = 1.05 * max(max(value or 0, 1000 * (limits or (0, 0))[1]) for _, value, limits in shown)
    drawing = Drawing(width, len(teachers) * 24 + 26, "dollars per 1,000 verified rows")
    room = room_for(list(teachers), width)
    x = linear(0, high, room, width - 66)
    bottom_axis(drawing, x, nice_ticks(0, high, 4), len(teachers) * 24 + 4, 2, dollars)
    for place, (name, value, limits) in enumerate(shown):
        scaled = None if limits is None else [1000 * limit for limit in limits]
        interval_row(drawing, x, place * 24 + 14, room, name, colour(place), value, scaled, dollars)
    return drawing


def _thousand(value: float | None) -> float | None:
    return None if value is None else 1000 * value
