"""The charts of the report: each from aggregates of report.json alone, at a wide and a narrow width.

In: report.json as a dict. Out: Drawings. A chart without data is None, and the page leaves it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from stillhouse.stages.report_svg import (
    LETTER,
    PALETTE,
    Drawing,
    bottom_axis,
    dollars,
    left_axis,
    legend,
    linear,
    log_ticks,
    logarithmic,
    nice_ticks,
    number,
    percent,
    percent_tenth,
    shorten,
)

Report = Mapping[str, Any]
WIDE, NARROW = 640.0, 350.0


def charts(report: Report) -> Iterator[tuple[str, str, str, Callable[[float], Drawing | None]]]:
    """(name, title, note, draw) of every chart in the order of the page."""
    yield (
        "rates",
        "Solved at the first attempt, and within the limit",
        "Share of queries, with 95 % score intervals. The faint band is where the figure could lie if everything that "
        "waits or has no verdict failed, or passed.",
        lambda width: rates(report, width),
    )
    yield (
        "cost",
        "Dollars per 1,000 verified rows",
        "All money of a teacher, failed attempts, exhausted pairs and judges included, with 95 % bootstrap intervals "
        "by query.",
        lambda width: costs(report, width),
    )
    yield (
        "pass_at_k",
        "Solved within k attempts",
        "Share of decided queries that had passed after so many attempts.",
        lambda width: pass_at_k(report, width),
    )
    yield (
        "first_lengths",
        "Length of first attempts, all queries",
        "Unselected: what each teacher writes when asked once. Tokens on a logarithmic axis.",
        lambda width: distribution(report, "first_token_bins", width),
    )
    yield (
        "kept_lengths",
        "Length of kept replies",
        "What a student would see: verified and filtered replies. Tokens on a logarithmic axis.",
        lambda width: distribution(report, "token_bins", width),
    )
    yield (
        "length_boxes",
        "Length of kept replies by category",
        "Box: quartiles and median; whiskers: farthest values within 1.5 interquartile ranges; dot: mean.",
        lambda width: boxes(report, "token_box", "tokens", width),
    )
    yield (
        "perplexity_boxes",
        "Perplexity of kept replies by category",
        "Under the recipe's perplexity model. A teacher of that model's own family reads as easier than it is.",
        lambda width: boxes(report, "perplexity_box", "perplexity", width),
    )
    yield (
        "cost_boxes",
        "Dollars per query by category",
        "Money of each query of a teacher, whatever came of it.",
        lambda width: boxes(report, "cost_box", "dollars", width),
    )
    yield (
        "wins",
        "First attempts, head to head",
        "The same queries asked of both teachers. Only the first attempt tells teachers apart: with more, both solve "
        "nearly everything.",
        lambda width: wins(report, width),
    )
    yield (
        "difficulty",
        "Length against difficulty",
        "Mean tokens of a teacher's first attempts, by how many of the OTHER teachers failed theirs. A teacher that "
        "thinks longer on harder queries rises to the right.",
        lambda width: difficulty(report, width),
    )
    yield (
        "overlap",
        "Who solves what",
        "Queries by the exact set of teachers that solved them.",
        lambda width: overlap(report, width),
    )


def _names(report: Report) -> list[str]:
    return list(report["teachers"])


def _colour(index: int) -> int:
    return index % len(PALETTE)


def _label_room(labels: Sequence[str], width: float) -> float:
    return min(max((len(label) for label in labels), default=4) * LETTER + 12, width * 0.34)


def rates(report: Report, width: float) -> Drawing | None:
    groups = (("pass_at_1", "pass@1"), ("verified_yield", "verified yield"))
    teachers = report["teachers"]
    shown = [(k, t) for k, t in groups if any(s.get(k) is not None for s in teachers.values())]
    if not shown:
        return None
    rows = len(shown) * (len(teachers) * 20 + 26)
    drawing = Drawing(width, rows + 26, "pass@1 and verified yield")
    left = _label_room(_names(report), width)
    x = linear(0, 1, left, width - 52)
    bottom_axis(drawing, x, [0, 0.25, 0.5, 0.75, 1], rows, 8, percent)
    y = 0.0
    for key, title in shown:
        drawing.text(0, y + 14, title, kind="strong")
        y += 26
        for place, (name, figures) in enumerate(teachers.items()):
            _interval(drawing, x, y, left, name, place, figures.get(key), figures.get(f"{key}_interval"), percent_tenth,
                      figures.get(f"{key}_bounds"))  # fmt: skip
            y += 20
    return drawing


def _interval(
    drawing: Drawing,
    x: Callable[[float], float],
    y: float,
    left: float,
    name: str,
    place: int,
    value: float | None,
    interval: Sequence[float] | None,
    label: Callable[[float], str],
    bounds: Sequence[float] | None = None,
) -> None:
    drawing.text(left - 8, y + 4, shorten(name, int((left - 12) / LETTER)), anchor="end", tip=name)
    if value is None:
        drawing.text(left + 4, y + 4, "not known", kind="faint")
        return
    colour = _colour(place)
    if bounds is not None and bounds[1] - bounds[0] > 1e-9:
        drawing.rect(
            x(bounds[0]),
            y - 6,
            x(bounds[1]) - x(bounds[0]),
            12,
            "band",
            f"bounds {label(bounds[0])} to {label(bounds[1])}",
        )
    tip = f"{name}: {label(value)}"
    if interval is not None:
        tip += f" [{label(interval[0])}, {label(interval[1])}]"
        drawing.line(x(interval[0]), y, x(interval[1]), y, f"line s{colour}")
    drawing.circle(x(value), y, 4.5, f"f{colour}", tip)
    drawing.text(drawing.width, y + 4, label(value), anchor="end")


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
    drawing = Drawing(width, len(teachers) * 20 + 34, "dollars per 1,000 verified rows")
    left = _label_room(_names(report), width)
    x = linear(0, high, left, width - 66)
    bottom_axis(drawing, x, nice_ticks(0, high, 4), len(teachers) * 20 + 10, 2, dollars)
    for place, (name, value, limits) in enumerate(shown):
        scaled = None if limits is None else [1000 * limit for limit in limits]
        _interval(drawing, x, place * 20 + 14, left, name, place, value, scaled, dollars)
    return drawing


def _thousand(value: float | None) -> float | None:
    return None if value is None else 1000 * value


def pass_at_k(report: Report, width: float) -> Drawing | None:
    series = {n: s["pass_at_k"] for n, s in report["teachers"].items() if s.get("pass_at_k")}
    deepest = max((len(v) for v in series.values()), default=0)
    if deepest < 2:
        return None
    drawing = Drawing(width, 250, "solved within k attempts")
    top = legend(drawing, _names(report), 12)
    x, y = linear(1, deepest, 46, width - 14), linear(0, 1, 220, top + 2)
    left_axis(drawing, y, [0, 0.25, 0.5, 0.75, 1], 40, width, percent)
    for k in range(1, deepest + 1):
        drawing.text(x(k), 236, str(k), anchor="middle")
    drawing.text(width, 249, "attempts", anchor="end", kind="faint")
    for place, name in enumerate(_names(report)):
        values = series.get(name, [])
        values = values + values[-1:] * (deepest - len(values))
        points = [(x(k), y(v)) for k, v in enumerate(values, 1)]
        drawing.path(points, f"line s{_colour(place)}")
        for k, (px, py) in enumerate(points, 1):
            drawing.circle(px, py, 3.5, f"f{_colour(place)}", f"{name}: {percent_tenth(values[k - 1])} within {k}")
    return drawing


def distribution(report: Report, key: str, width: float) -> Drawing | None:
    """Step lines of shares over logarithmic bins."""
    bins = report.get(key)
    if not bins or not any(sum(counts) for counts in bins["counts"].values()):
        return None
    edges = bins["edges"]
    shares = {n: [c / (sum(counts) or 1) for c in counts] for n, counts in bins["counts"].items()}
    top_share = max(max(values, default=0) for values in shares.values()) or 1
    drawing = Drawing(width, 250, "distribution of token lengths")
    top = legend(drawing, _names(report), 12)
    x, y = logarithmic(edges[0], edges[-1], 46, width - 8), linear(0, top_share, 220, top + 2)
    left_axis(drawing, y, nice_ticks(0, top_share, 4), 40, width, percent if top_share > 0.05 else percent_tenth)
    bottom_axis(drawing, x, log_ticks(edges[0], edges[-1], 6 if width < 500 else 10), 220, top)
    drawing.text(width, 249, "tokens", anchor="end", kind="faint")
    for place, name in enumerate(_names(report)):
        points: list[tuple[float, float]] = []
        for low, high, share in zip(edges, edges[1:], shares.get(name, []), strict=False):
            points += [(x(low), y(share)), (x(high), y(share))]
        if points:
            drawing.area([(points[0][0], y(0)), *points, (points[-1][0], y(0))], f"wash b{_colour(place)}")
            drawing.path(points, f"line s{_colour(place)}", name)
    return drawing


def boxes(report: Report, key: str, unit: str, width: float) -> Drawing | None:
    """Horizontal boxes, one group for all queries and one for each category."""
    names = _names(report)
    categories = list(report.get("categories", {}))
    groups: list[tuple[str, dict[str, Any]]] = [("all", {n: report["teachers"][n].get(key) for n in names})]
    if len(categories) > 1:
        groups += [(c, {n: report["teachers"][n]["categories"][c].get(key) for n in names}) for c in categories]
    groups = [(title, group) for title, group in groups if any(group.values())]
    every = [box for _, group in groups for box in group.values() if box]
    if not every or max(box["high_whisker"] for box in every) <= 0:
        return None
    drawing = Drawing(width, 0, f"{unit} by category")
    top = legend(drawing, names, 12)
    rows = sum(len(names) * 15 + 14 for _ in groups)
    drawing.height = top + rows + 30
    left = _label_room([title for title, _ in groups], width)
    high = max(max(box["high_whisker"], box["mean"]) for box in every) * 1.03
    low = min(box["low_whisker"] for box in every)
    x = linear(0 if low < high * 0.5 else low * 0.98, high, left, width - 10)
    label = dollars if unit == "dollars" else number
    bottom_axis(drawing, x, nice_ticks(0 if low < high * 0.5 else low * 0.98, high, 4), top + rows, top - 4, label)
    drawing.text(width, top + rows + 28, unit, anchor="end", kind="faint")
    y = top
    for title, group in groups:
        drawing.text(
            0, y + len(names) * 7.5 + 4, shorten(title, int(left / LETTER)), kind="strong" if title == "all" else ""
        )
        for place, name in enumerate(names):
            if group.get(name):
                _box(drawing, x, y + place * 15 + 8, group[name], _colour(place), name, label)
        y += len(names) * 15 + 14
    return drawing


def _box(
    drawing: Drawing,
    x: Callable[[float], float],
    y: float,
    box: Mapping[str, float],
    colour: int,
    name: str,
    label: Callable[[float], str],
) -> None:
    tip = (
        f"{name}: median {label(box['median'])}, quartiles {label(box['q1'])} to {label(box['q3'])}, "
        f"mean {label(box['mean'])}, n {box['n']:,}"
    )
    drawing.line(x(box["low_whisker"]), y, x(box["high_whisker"]), y, f"whisker s{colour}")
    drawing.rect(x(box["q1"]), y - 5, max(x(box["q3"]) - x(box["q1"]), 1), 10, f"box b{colour}", tip)
    drawing.line(x(box["median"]), y - 5, x(box["median"]), y + 5, f"median s{colour}")
    drawing.circle(x(box["mean"]), y, 2.5, f"mean s{colour}")


def wins(report: Report, width: float) -> Drawing | None:
    rows = [row for row in report.get("wins", []) if row["n"]]
    if not rows:
        return None
    names = _names(report)
    drawing = Drawing(width, len(rows) * 58 + 20, "paired outcomes of first attempts")
    for place, row in enumerate(rows):
        y = place * 58
        drawing.text(0, y + 14, shorten(f"{row['a']} against {row['b']}", int(width / LETTER)), kind="strong")
        parts = (
            ("both", "both passed", "n1"), ("only_a", f"only {row['a']}", f"f{_colour(names.index(row['a']))}"),
            ("only_b", f"only {row['b']}", f"f{_colour(names.index(row['b']))}"), ("neither", "neither", "n0"),
        )  # fmt: skip
        start = 0.0
        for key, words, kind in parts:
            size = row[key] / row["n"] * width
            drawing.rect(start, y + 21, max(size - 1, 0.5), 16, kind, f"{words}: {row[key]:,} of {row['n']:,}")
            start += size
        told = [f"{words} {percent(row[key] / row['n'])}" for key, words, _ in parts]
        line = " · ".join(told)
        drawing.text(
            0,
            y + 51,
            line if len(line) * LETTER < width else shorten(line, int(width / LETTER)),
            kind="faint",
            tip=line,
        )
    return drawing


def difficulty(report: Report, width: float) -> Drawing | None:
    rows = [row for row in report.get("difficulty", []) if row["mean"] is not None and row["n"] >= 3]
    levels = sorted({row["others_failed"] for row in rows})
    if len(levels) < 2:
        return None
    drawing = Drawing(width, 250, "mean length by difficulty")
    top = legend(drawing, _names(report), 12)
    high = max(row["high"] or row["mean"] for row in rows) * 1.05
    names = _names(report)
    x, y = linear(levels[0] - 0.3, levels[-1] + 0.3, 52, width - 14), linear(0, high, 216, top + 2)
    left_axis(drawing, y, nice_ticks(0, high, 4), 46, width)
    for level in levels:
        drawing.text(x(level), 232, "none" if level == 0 else str(level), anchor="middle")
    drawing.text(width, 248, "other teachers that failed", anchor="end", kind="faint")
    for place, name in enumerate(names):
        mine = sorted((row for row in rows if row["teacher"] == name), key=lambda row: row["others_failed"])
        shift = (place - (len(names) - 1) / 2) * 7
        points = [(x(row["others_failed"]) + shift, y(row["mean"])) for row in mine]
        drawing.path(points, f"line s{_colour(place)}")
        for (px, py), row in zip(points, mine, strict=True):
            if row["low"] is not None:
                drawing.line(px, y(row["low"]), px, y(row["high"]), f"line s{_colour(place)}")
            drawing.circle(
                px, py, 3.5, f"f{_colour(place)}", f"{name}: {number(row['mean'])} tokens, {row['n']:,} queries"
            )
    return drawing


def overlap(report: Report, width: float) -> Drawing | None:
    rows = report.get("overlap", [])
    if len(report["teachers"]) < 2 or not rows:
        return None
    labels = [_set_name(row["teachers"], len(report["teachers"])) for row in rows]
    left = min(_label_room(labels, width) + 10, width * 0.5)
    drawing = Drawing(width, len(rows) * 22 + 8, "queries by the set of teachers that solved them")
    x = linear(0, max(row["queries"] for row in rows), 0, width - left - 58)
    for place, (row, label) in enumerate(zip(rows, labels, strict=True)):
        y = place * 22 + 4
        drawing.text(left - 8, y + 13, shorten(label, int(left / LETTER)), anchor="end", tip=label)
        alone = len(row["teachers"]) == 1
        kind = f"f{_colour(_names(report).index(row['teachers'][0]))}" if alone else "n1" if row["teachers"] else "n0"
        drawing.rect(left, y, x(row["queries"]), 16, kind, f"{label}: {row['queries']:,}")
        drawing.text(left + x(row["queries"]) + 6, y + 13, f"{row['queries']:,}")
    return drawing


def _set_name(names: Sequence[str], total: int) -> str:
    if not names:
        return "none"
    if len(names) == total:
        return "all"
    return f"only {names[0]}" if len(names) == 1 else " + ".join(names)
