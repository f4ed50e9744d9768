"""Teacher against teacher: one row a pair and measure, with the difference drawn beside its figures.

In: report.json's `pairs` and `exploratory`. Out: HTML; "" where there is nothing to compare.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from stillhouse.reporting.svg import Drawing, colour, dollars, linear, percent_tenth
from stillhouse.reporting.tables import (
    DASH,
    Label,
    Report,
    amount,
    named,
    note,
    per_thousand,
    table,
    two_places,
    value,
)
from stillhouse.reporting.text import isolated, plural, words

MEASURES = {
    "student_mean": "Students' mean score",
    "cost_per_verified": "Dollars per 1,000 verified rows",
    "verified_yield": "Verified yield",
    "pass_at_1": "pass@1",
    "length": "Tokens of first attempts, all queries",
    "length_parallel": "Tokens of kept replies, parallel set",
    "perplexity": "Perplexity, parallel set",
}
WIDTH, HEIGHT = 170.0, 26.0
MOST_PAIRS = 6  # with more, only the measure that decides is unfolded


def comparison(report: Report) -> str:
    if not report["pairs"]:
        return ""
    margin, first = report["margin"], report["decision"].get("measure")
    out = note(
        "Each pair of teachers on the same queries. In the drawings the line is the 95 % interval of the first against "
        "the second, the stroke is no difference, and the band the margin within which two teachers are called equal: "
        f"{100 * margin['rate']:g} points for shares, {100 * margin['relative']:g} % for lengths and dollars. p-values "
        "are exact (McNemar) or by permutation, corrected by Holm over this table."
    )
    deciding = [row for row in report["pairs"] if row["measure"] == first]
    others = [row for row in report["pairs"] if row["measure"] != first]
    if deciding and others and len(deciding) > MOST_PAIRS:
        out += _pairs(deciding, report, first)
        out += f"<details><summary>The other measures</summary>{_pairs(others, report, first)}</details>"
    else:
        out += _pairs(report["pairs"], report, first)
    if report.get("exploratory"):
        out += (
            "<details><summary>Exploratory comparisons: categories, perplexity, parallel set</summary>"
            + note(
                "These were not fixed beforehand. They are corrected as a family of their own, and prove nothing by "
                "themselves."
            )
            + _pairs(report["exploratory"], report, first)
            + "</details>"
        )
    return out


def students(report: Report) -> str:
    """The students of one teacher against those of another, on each benchmark and over all of them."""
    rows = [
        {
            **row, "measure": f"{'Score' if row['measure'] == 'pass_at_1' else 'Tokens of replies'}, "
            f"{row['benchmark'] or 'all benchmarks'}", "unit": "rate" if row["measure"] == "pass_at_1" else "tokens",
            "n": row["items"],
        }
        for row in report.get("student_pairs") or []
    ]  # fmt: skip
    out = _controls(report)
    if not rows:
        return out
    told = note("The same items asked of both; p-values by sign flips over items, corrected by Holm on each benchmark.")
    pairs = _pairs(rows, report, None, "item")
    return f"{out}<details><summary>Student against student</summary>{told}{pairs}</details>"


def _controls(report: Report) -> str:
    """Each teacher's student against the base and other controls: whether it learnt anything at all."""
    rows = []
    for row in report.get("controls") or []:
        known = row["low"] is not None and row["high"] is not None
        said = (
            "a gain" if known and row["low"] > 0 else "a loss" if known and row["high"] < 0 else "no difference shown"
        )
        shown = {**row, "unit": "rate", "ratio": None}
        rows.append([named(row["teacher"], report), isolated(row["control"], 40), difference(shown), said])
    if not rows:
        return ""
    head = ["student of", "against the control", "difference", "says"]
    return "<h3>Students against the controls</h3>" + table(head, rows, texts=(1, 3), kind="stack")


def _pairs(rows: Sequence[Mapping[str, Any]], report: Report, first: str | None, of: str = "query") -> str:
    """A heading row for each measure and category, the one that decides before the others, and the pairs beneath."""
    labels: dict[str, Label] = {"rate": percent_tenth, "usd": per_thousand, "perplexity": two_places}
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row.get("category") or "", row["measure"]), []).append(row)
    order = [first or "", *MEASURES]
    out: list[list[str]] = []
    for (category, measure), mine in sorted(
        groups.items(), key=lambda item: (item[0][0], order.index(item[0][1]) if item[0][1] in order else len(order))
    ):
        title = MEASURES.get(measure) or words(measure)
        if category:
            title = f"{isolated(category, 40)}: {title[0].lower() if title != 'pass@1' else 'p'}{title[1:]}"
        if measure == first and not category:
            title += ' <span class="badge">decides</span>'
        out.append(
            [f'{title} <span class="faint count">{_sizes(mine, "item" if measure == "student_mean" else of)}</span>']
        )
        low, high = _reach(mine, report)
        for row in mine:
            label = labels.get(row["unit"], amount)
            out.append([
                f'<span class="under">{named(row["a"], report)} <span class="faint">against</span> '
                f"{named(row['b'], report)}</span>",
                value(row.get("a_value"), label), value(row.get("b_value"), label), forest(row, report, low, high),
                difference(row), outcome(row),
            ])  # fmt: skip
    head = ["", "first", "second", "first against second", "difference", "says"]
    return table(head, out, texts=(3, 5), kind="stack pairs")


def _sizes(rows: Sequence[Mapping[str, Any]], of: str) -> str:
    """How many queries, or items, the rows stand on."""
    least, most = min(row["n"] for row in rows), max(row["n"] for row in rows)
    many = "queries" if of == "query" else f"{of}s"
    return plural(most, of, many) if least == most else f"{least:,} to {most:,} {many}"


Ends = tuple[float | None, float | None, float | None]


def _ends(row: Mapping[str, Any]) -> Ends:
    """Where a row stands against no difference: points for shares, the logarithm of the ratio otherwise."""
    ratio, low, high = row.get("ratio"), row.get("ratio_low"), row.get("ratio_high")
    if row["unit"] == "rate" or not ratio:
        return row["difference"], row["low"], row["high"]
    return math.log(ratio), math.log(low) if low else None, math.log(high) if high and math.isfinite(high) else None


def _reach(rows: Sequence[Mapping[str, Any]], report: Report) -> tuple[float, float]:
    """The scale that the rows of a group share; an interval that reaches far beyond every difference is cut off."""
    edge = 1.6 * _margin(rows[0], report)
    middles = [-edge, edge, *(middle for row in rows if (middle := _ends(row)[0]) is not None)]
    ends = [end for row in rows for end in _ends(row)[1:] if end is not None]
    span = max(middles) - min(middles)
    low = max(min([*middles, *ends]), min(middles) - span)
    high = min(max([*middles, *ends]), max(middles) + span)
    return low, high


def _margin(row: Mapping[str, Any], report: Report) -> float:
    margin = report["margin"]
    if row["unit"] == "rate":
        return float(margin["rate"])
    return math.log1p(margin["relative"]) if row.get("ratio") else 0.0  # without a ratio there is no margin


def forest(row: Mapping[str, Any], report: Report, first: float, last: float) -> str:
    """The difference as a dot and a line against the margin; coloured by who is ahead, grey where nobody is."""
    middle, low, high = _ends(row)
    if middle is None:
        return ""
    names = list(report["teachers"])
    ahead = {"a": row["a"], "b": row["b"]}.get(row["outcome"])
    kind = colour(names.index(ahead)) if ahead in names else "n"
    x = linear(first, last, 6, WIDTH - 6)
    drawing = Drawing(WIDTH, HEIGHT, f"{row['a']} against {row['b']}: {plain(row)}")
    edge = _margin(row, report)
    if edge:
        drawing.rect(x(-edge), 2, x(edge) - x(-edge), HEIGHT - 4, "band")
    drawing.line(x(0), 0, x(0), HEIGHT, "zero")
    if low is not None and high is not None:
        drawing.line(x(max(low, first)), HEIGHT / 2, x(min(high, last)), HEIGHT / 2, f"line s{kind}", plain(row))
    drawing.circle(x(middle), HEIGHT / 2, 4.5, f"f{kind}", plain(row))
    return drawing.svg(kind="forest")


def plain(row: Mapping[str, Any]) -> str:
    """The difference and its interval as one line of text, and its bounds where something is open."""
    unit, bounds = row["unit"], row.get("bounds")
    told = _signed(row["difference"], unit) + (" points" if unit == "rate" else "")
    if row["low"] is not None and row["high"] is not None:
        told += f", 95 % interval {_signed(row['low'], unit)} to {_signed(row['high'], unit)}"
    if bounds and bounds[1] - bounds[0] > 1e-9:
        told += f"; between {_signed(bounds[0], unit)} and {_signed(bounds[1], unit)} whatever becomes of what is open"
    return told


def difference(row: Mapping[str, Any]) -> str:
    """The difference in the unit of the measure; beneath it the interval, of the ratio where that is what is tested."""
    unit = row["unit"]
    if row["difference"] is None:  # one of the two has verified nothing for its money
        return DASH
    told = _signed(row["difference"], unit) + (" points" if unit == "rate" else "")
    low, high = row.get("ratio_low"), row.get("ratio_high")
    if row.get("ratio"):
        known = low is not None and high is not None and low > 0 and high < 1e6
        span = f" ({low:.2f} to {high:.2f})" if known else ""
        return f"{told}<small>×{row['ratio']:.2f}{span}</small>"
    if row["low"] is None or row["high"] is None:
        return told
    return f"{told}<small>{_signed(row['low'], unit)} to {_signed(row['high'], unit)}</small>"


def _signed(figure: float, unit: str) -> str:
    """With its sign: points, dollars per 1,000, or as it is. What rounds to nothing has none."""
    size = abs(figure)
    if unit == "rate":
        told = f"{100 * size:.1f}"
    elif unit == "usd":
        told = dollars(1000 * size)
    elif unit == "perplexity":
        told = f"{size:.2f}"
    else:
        told = f"{size:,.0f}" if size >= 10 else f"{size:.2g}"
    sign = "−" if figure < 0 else "+"
    return f"{sign}{told}" if told.strip("$0.,") else told


def outcome(row: Mapping[str, Any]) -> str:
    """What the row says in words, and its corrected p-value."""
    p = row["holm_p"]
    beneath = "" if p is None else f"<small>{'p &lt; 0.001' if p < 0.001 else f'p {p:.3f}'}</small>"
    if row["outcome"] == "equal":
        return f"equal within the margin{beneath}"
    if row["outcome"] == "cannot_tell":
        needed, unit = row.get("queries_needed"), "items" if row["measure"] == "student_mean" else "queries"
        more = f"<small>about {_rounded(needed):,} {unit} would decide</small>" if needed else ""
        return f"cannot tell yet{beneath}{more}"
    winner = isolated(row["a"] if row["outcome"] == "a" else row["b"], 40)
    word = {"tokens": "is longer", "usd": "is cheaper", "perplexity": "is higher"}.get(row["unit"], "is ahead")
    return f"<b>{winner}</b> {word}{beneath}"


def _rounded(figure: int) -> int:
    scale = int(10 ** max(0, len(str(figure)) - 2))
    return -(-figure // scale) * scale
