"""The figures of the report as HTML tables: teachers, teacher against teacher, categories, students.

In: report.json. Out: HTML; "" where there is nothing to show. Every text is escaped, and every figure that has an
interval shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from stillhouse.stages.report_svg import dollars, number, percent_tenth

Report = Mapping[str, Any]
Label = Callable[[float], str]
DASH = '<span class="faint">–</span>'
MEASURES = {
    "pass_at_1": "pass@1",
    "verified_yield": "verified yield",
    "length": "tokens of first attempts, all queries",
    "length_parallel": "tokens of kept replies, parallel set",
    "cost_per_verified": "dollars per 1,000 verified",
    "perplexity": "perplexity, parallel set",
    "student_mean": "students' mean score",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]], words: Sequence[int] = (), kind: str = "") -> str:
    """A table of cells that are HTML already; the first cell of a row is its head.

    words: columns of running text, set to the left. kind: `stack` for rows that become cards on a phone, `grouped`
    for a line only above rows whose first cell is filled.
    """
    kinds = [' class="words"' if place in words else "" for place in range(len(head))]
    top = "".join(f'<th scope="col"{kind}>{cell}</th>' for cell, kind in zip(head, kinds, strict=True))
    body = "".join(
        "<tr>"
        + f'<th scope="row"{kinds[0]}>{row[0]}</th>'
        + "".join(_cell(cell, kind, label) for cell, kind, label in zip(row[1:], kinds[1:], head[1:], strict=True))
        + "</tr>"
        for row in rows
    )
    named_kind = f' class="{kind}"' if kind else ""
    return f'<div class="scroll"><table{named_kind}><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(cell: str, kind: str, label: str) -> str:
    """label: the column's name, which a phone shows beside the figure."""
    about = f' data-label="{label}"' if cell and "<" not in label else ""
    return f"<td{kind}{about}>{cell}</td>"


def named(name: str, report: Report) -> str:
    """A teacher's name with its colour."""
    names = list(report["teachers"])
    place = names.index(name) % 8 if name in names else 7
    return f'<span class="name"><i class="swatch c{place}"></i>{escape(name)}</span>'


def value(figure: float | None, label: Label, interval: Sequence[float | None] | None = None) -> str:
    """A figure with its interval beneath; a dash where it is not known."""
    if figure is None:
        return DASH
    beneath = ""
    if interval is not None and interval[0] is not None and interval[1] is not None:
        low, high = label(interval[0]), label(interval[1])
        beneath = f"<small>{low.removesuffix(' %')} to {high}</small>"
    return f"{label(figure)}{beneath}"


def count(figure: float | None) -> str:
    return DASH if figure is None else f"{figure:,.0f}"


def per_thousand(figure: float) -> str:
    """Dollars per verified row, told per 1,000 rows."""
    return dollars(1000 * figure)


def two_places(figure: float) -> str:
    return f"{figure:.2f}"


def teachers(report: Report) -> str:
    rows = []
    for name, part in report["teachers"].items():
        tokens, first, ppl = part["tokens"] or {}, part.get("first_tokens") or {}, part["perplexity"] or {}
        rows.append([
            named(name, report), count(part["queries"]), count(part["responses"]), count(part["verified"]),
            count(part["kept"]),
            value(part["pass_at_1"], percent_tenth, part.get("pass_at_1_interval")),
            value(part["verified_yield"], percent_tenth, part.get("verified_yield_interval")),
            value(first.get("mean"), number, part.get("first_tokens_mean_interval")),
            value(tokens.get("mean"), number, part.get("tokens_mean_interval")),
            value(ppl.get("mean"), two_places), value(part["cost_usd"], dollars),
            value(part["cost_per_verified_usd"], per_thousand, part.get("cost_per_verified_interval")),
        ])  # fmt: skip
    head = ["teacher", "queries", "replies", "verified", "kept", "pass@1", "verified yield", "tokens, first attempt",
            "tokens, kept", "perplexity", "dollars", "per 1,000 verified"]  # fmt: skip
    shown = [place for place in range(len(head)) if place < 5 or any(row[place] != DASH for row in rows)]
    told = [f"{escape(name)}: {_rest(part)}" for name, part in report["teachers"].items() if _rest(part)]
    note = (
        f"{report['parallel']:,} queries are kept by every teacher: the parallel set. Small figures are 95 % "
        "intervals: score intervals for shares, bootstrap over queries for means and dollars."
    )
    return (
        table([head[place] for place in shown], [[row[place] for place in shown] for row in rows], kind="stack")
        + f'<p class="note">{note}</p>'
        + (f'<p class="note">{"; ".join(told)}.</p>' if told else "")
        + matching(report)
    )


def _rest(part: Mapping[str, Any]) -> str:
    """The states that have no column of their own."""
    states = ("waiting", "exhausted", "undecided", "too_long", "unverified")
    told = [f"{part[state]:,} {state.replace('_', ' ')}" for state in states if part.get(state)]
    if part.get("unknown"):
        told.append(f"{part['unknown']:,} replies without a verdict")
    return ", ".join(told)


def matching(report: Report) -> str:
    """Of datasets that exist already: what could be matched, and what was set aside."""
    rows = [
        [named(name, report), *(count(found[key]) for key in
         ("rows", "without_text", "below_score", "duplicates", "queries", "in_every_dataset", "in_no_other"))]
        for name, found in (report.get("matching") or {}).items()
    ]  # fmt: skip
    head = ["dataset", "rows", "without text", "below 0.9", "of a query seen before", "queries", "in every dataset",
            "in no other"]  # fmt: skip
    return table(head, rows) if rows else ""


def difference(row: Mapping[str, Any]) -> str:
    """The difference and its interval in the unit of the measure."""
    unit = row["unit"]
    if row["difference"] is None:  # one of the two has verified nothing
        return "not known"
    told = _signed(row["difference"], unit) + (" points" if unit == "rate" else "")
    if row["low"] is None or row["high"] is None:
        return told
    return f"{told}<small>{_signed(row['low'], unit)} to {_signed(row['high'], unit)}</small>"


def _signed(figure: float, unit: str) -> str:
    """With its sign: points, dollars per 1,000, or as it is."""
    if unit == "rate":
        return f"{100 * figure:+.1f}"
    if unit == "usd":
        return f"{'−' if figure < 0 else '+'}{dollars(abs(1000 * figure))}"
    if unit == "perplexity":
        return f"{figure:+.2f}"
    return f"{figure:+,.0f}" if abs(figure) >= 10 else f"{figure:+.2g}"


def outcome(row: Mapping[str, Any]) -> str:
    """What the row says in words."""
    if row["outcome"] == "equal":
        return "equal within the margin"
    if row["outcome"] == "cannot_tell":
        needed = row.get("queries_needed")
        return "cannot tell yet" + (f"<small>about {_rounded(needed):,} queries would decide</small>" if needed else "")
    winner = escape(row["a"] if row["outcome"] == "a" else row["b"])
    word = {"tokens": "is longer", "usd": "is cheaper", "perplexity": "is higher"}.get(row["unit"], "is ahead")
    return f"<b>{winner}</b> {word}"


def _rounded(figure: int) -> int:
    scale = int(10 ** max(0, len(str(figure)) - 2))
    return -(-figure // scale) * scale


def comparison(report: Report) -> str:
    if not report["pairs"]:
        return ""
    margin = report["margin"]
    note = (
        "Each pair of teachers on the same queries. p-values are exact (McNemar) or by permutation, corrected by Holm "
        "over this table. <i>Equal</i>: the 90 % interval lies inside the margin, "
        f"{100 * margin['rate']:g} points for shares and {100 * margin['relative']:g} % for lengths and dollars."
    )
    out = _pairs(report["pairs"], report) + f'<p class="note">{note}</p>'
    if report.get("exploratory"):
        out += (
            "<details><summary>Exploratory comparisons: categories, perplexity, parallel set</summary>"
            '<p class="note">These were not fixed beforehand. They are corrected as a family of their own, and prove '
            f"nothing by themselves.</p>{_pairs(report['exploratory'], report)}</details>"
        )
    return out


def _pairs(rows: Sequence[Mapping[str, Any]], report: Report) -> str:
    """A heading row for each pair of teachers, the measures beneath."""
    labels: dict[str, Label] = {"rate": percent_tenth, "usd": per_thousand, "perplexity": two_places}
    out = []
    for (a, b), mine in groupby(rows, key=lambda row: (row["a"], row["b"])):
        out.append([f"{named(a, report)} against {named(b, report)}", *[""] * 7])
        for row in mine:
            label = labels.get(row["unit"], number)
            about = MEASURES.get(row["measure"], row["measure"])
            about += f", {row['category']}" if row.get("category") else ""
            out.append([
                f'<span class="under">{escape(about)}</span>', value(row.get("a_value"), label),
                value(row.get("b_value"), label), difference(row),
                value(row.get("ratio"), two_places, (row.get("ratio_low"), row.get("ratio_high"))),
                p_value(row["holm_p"]), count(row["n"]), outcome(row),
            ])  # fmt: skip
    head = ["", "first", "second", "difference", "ratio", "p, corrected", "queries", "says"]
    return table(head, out, words=(7,), kind="stack")


def p_value(p: float | None) -> str:
    if p is None:
        return DASH
    return "&lt; 0.001" if p < 0.001 else f"{p:.3f}"


def categories(report: Report) -> str:
    names = list(report.get("categories", {}))
    total = sum(report.get("categories", {}).values()) or 1
    rows = []
    for name in names:
        queries = report["categories"][name]
        for place, (teacher, part) in enumerate(report["teachers"].items()):
            mine = part["categories"][name]
            tokens, whole = mine["tokens"] or {}, (part["tokens"] or {}).get("total")
            rows.append([
                escape(name) if place == 0 else "",
                f"{queries:,}<small>{percent_tenth(queries / total)}</small>" if place == 0 else "",
                named(teacher, report),
                value(mine["pass_at_1"], percent_tenth, mine.get("pass_at_1_interval")),
                value(mine["verified_yield"], percent_tenth, mine.get("verified_yield_interval")),
                count(mine["kept"]), value(tokens.get("mean"), number, mine.get("tokens_mean_interval")),
                value(tokens.get("median"), number),
                value(tokens["total"] / whole if tokens and whole else None, percent_tenth),
                value((mine["perplexity"] or {}).get("mean"), two_places),
                value(mine["cost_per_verified_usd"], per_thousand, mine.get("cost_per_verified_interval")),
            ])  # fmt: skip
    head = ["category", "queries", "teacher", "pass@1", "verified yield", "kept", "tokens, mean", "median",
            "share of tokens", "perplexity", "per 1,000 verified"]  # fmt: skip
    shown = [place for place in range(len(head)) if any(row[place] not in (DASH, "") for row in rows)]
    cells = [[row[place] for place in shown] for row in rows]
    return table([head[p] for p in shown], cells, words=(2,), kind="grouped stack") if rows else ""


def students(report: Report) -> str:
    """Scores of the students and their controls, and what the data had said of their teachers."""
    rows = report.get("students") or []
    if not rows:
        return ""
    head = ["benchmark", "candidate", "score", "items", "samples", "mean length", "cut off", "in format"]
    shown = [
        [escape(row["benchmark"]),
         named(row["teacher"], report) + (f" <small>seed {row['seed']}</small>" if row.get("seed") is not None else "")
         if row["teacher"] and not row["control"] else escape(row["candidate"]),
         value(row["score"], percent_tenth, row.get("interval")), count(row.get("items")), count(row.get("samples")),
         value(row.get("mean_length"), number, row.get("mean_length_interval")),
         value(row.get("truncated"), percent_tenth), value(row.get("format_rate"), percent_tenth)]
        for row in sorted(rows, key=lambda row: row["benchmark"])
    ]  # fmt: skip
    out = table(head, shown, words=(1,), kind="stack")
    guesses = [
        [named(row["teacher"], report), value(row["student_mean"], percent_tenth),
         value(row["pass_at_1"], percent_tenth), value(row["verified_yield"], percent_tenth),
         value(row["mean_tokens"], number), value(row["mean_perplexity"], two_places),
         value(row["cost_per_verified_usd"], per_thousand)]
        for row in report.get("predicted") or []
    ]  # fmt: skip
    if guesses:
        top = ["teacher", "student's mean score", "teacher's pass@1", "verified yield", "tokens, kept", "perplexity",
               "per 1,000 verified"]  # fmt: skip
        out += "<h3>What the data said, beside what the students did</h3>" + table(top, guesses)
    return out
