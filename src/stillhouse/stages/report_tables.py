"""The tables of the report as HTML: teachers, comparisons, funnel, rules, terms, students, recipe.

In: report.json. Out: (anchor, title, HTML) of each section that has something to show. Every text is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from stillhouse.stages.report_charts import dollars, percent_tenth
from stillhouse.stages.report_svg import number

Report = Mapping[str, Any]
MEASURES = {
    "pass_at_1": "pass@1",
    "verified_yield": "verified yield",
    "length": "length, first attempts of all queries",
    "length_parallel": "length, kept replies of the parallel set",
    "cost_per_verified": "cost per verified row",
    "perplexity": "perplexity, parallel set",
    "student_mean": "students' mean score",
}


def sections(report: Report, recipe: str) -> list[tuple[str, str, str]]:
    """What the page shows in its order; the body "charts" stands for the charts."""
    parts = [
        ("teachers", "Teachers", teachers(report)),
        ("comparison", "Teacher against teacher", comparison(report)),
        ("charts", "Distributions", "charts"),
        ("categories", "By category", categories(report)),
        ("students", "Students", students(report)),
        ("funnel", "From queries to the parallel set", funnel(report)),
        ("rules", "Verifiers, filters and finish reasons", rules(report)),
        ("contamination", "Contamination", contamination(report)),
        ("terms", "Terms", terms(report)),
        ("made", "Recipe and versions", made(report, recipe)),
    ]
    return [part for part in parts if part[2]]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = ()) -> str:
    """A table of cells that are HTML already; the first cell of a row is its head. words: columns of running text."""
    kinds = [' class="words"' if place in words else "" for place in range(len(head))]
    top = "".join(f'<th scope="col"{kind}>{cell}</th>' for cell, kind in zip(head, kinds, strict=True))
    body = "".join(
        "<tr>"
        + f'<th scope="row"{kinds[0]}>{row[0]}</th>'
        + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row[1:], kinds[1:], strict=True))
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def named(name: str, place: int) -> str:
    return f'<i class="swatch c{place % 8}"></i>{escape(name)}'


def value(figure: float | None, label: Any, interval: Sequence[float | None] | None = None) -> str:
    """A figure with its interval beneath; a dash where it is not known."""
    if figure is None:
        return '<span class="faint">–</span>'
    beneath = ""
    if interval is not None and interval[0] is not None and interval[1] is not None:
        beneath = f"<small>{label(interval[0])} to {label(interval[1])}</small>"
    return f"{label(figure)}{beneath}"


def count(figure: float | None) -> str:
    return '<span class="faint">–</span>' if figure is None else f"{figure:,.0f}"


def teachers(report: Report) -> str:
    head = ["teacher", "queries", "replies", "verified", "kept", "waiting", "verified yield", "pass@1", "tokens, kept",
            "tokens, first attempt", "perplexity", "dollars", "per verified row"]  # fmt: skip
    rows = []
    for place, (name, part) in enumerate(report["teachers"].items()):
        tokens, first, ppl = part["tokens"] or {}, part.get("first_tokens") or {}, part["perplexity"] or {}
        rows.append([
            named(name, place), count(part["queries"]), count(part["responses"]), count(part["verified"]),
            count(part["kept"]), count(part["waiting"]),
            value(part["verified_yield"], percent_tenth, part.get("verified_yield_interval")),
            value(part["pass_at_1"], percent_tenth, part.get("pass_at_1_interval")),
            value(tokens.get("mean"), number, part.get("tokens_mean_interval")),
            value(first.get("mean"), number, part.get("first_tokens_mean_interval")),
            value(ppl.get("mean"), number), value(part["cost_usd"], dollars),
            value(part["cost_per_verified_usd"], dollars, part.get("cost_per_verified_interval")),
        ])  # fmt: skip
    note = (
        f"{report['parallel']:,} queries are kept by every teacher: the parallel set. Means with 95 % intervals: score "
        "intervals for shares, bootstrap over queries for the rest."
    )
    extra = [f"{escape(name)}: {_rest(part)}" for name, part in report["teachers"].items() if _rest(part)]
    more = f'<p class="note">{"; ".join(extra)}.</p>' if extra else ""
    return table(head, rows) + f'<p class="note">{note}</p>' + more


def _rest(part: Mapping[str, Any]) -> str:
    """The states that have no column of their own."""
    states = ("exhausted", "undecided", "too_long", "unverified", "unknown")
    return ", ".join(f"{part[state]:,} {state.replace('_', ' ')}" for state in states if part.get(state))


def difference(row: Mapping[str, Any]) -> tuple[str, str]:
    """The difference and its interval in the unit of the measure."""
    low, high = row["low"], row["high"]
    if row["unit"] == "rate":
        told = f"{100 * row['difference']:+.1f} points"
        span = "" if low is None else f"{100 * low:+.1f} to {100 * high:+.1f}"
    elif row["unit"] == "usd":
        told = f"{'-' if row['difference'] < 0 else '+'}{dollars(abs(row['difference']))}"
        span = "" if low is None or high is None else f"{_signed(low)} to {_signed(high)}"
    else:
        told = f"{row['difference']:+,.3g}" if abs(row["difference"]) < 100 else f"{row['difference']:+,.0f}"
        span = "" if low is None else f"{low:+,.4g} to {high:+,.4g}"
    return told, span


def _signed(figure: float) -> str:
    return f"{'-' if figure < 0 else '+'}{dollars(abs(figure))}"


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
    body, margin = _pairs(report["pairs"]), report["margin"]
    note = (
        "Each pair of teachers on the same queries; p-values are exact (McNemar) or by permutation, and corrected by "
        "Holm over this table. <i>Equal</i>: the 90 % interval lies inside the margin "
        f"({100 * margin['rate']:g} points, {100 * margin['relative']:g} %)."
    )
    out = body + f'<p class="note">{note}</p>'
    if report.get("exploratory"):
        out += (
            "<details><summary>Exploratory comparisons</summary>"
            '<p class="note">Categories, perplexity and the parallel set were not fixed beforehand. They are corrected '
            "as a family of their own, and prove nothing by themselves.</p>"
            + _pairs(report["exploratory"], category=True)
            + "</details>"
        )
    return out


def _pairs(rows: Sequence[Mapping[str, Any]], category: bool = False) -> str:
    head = ["a against b", *(["category"] if category else []), "measure", "a", "b", "difference", "ratio",
            "p, corrected", "queries", "says"]  # fmt: skip
    out = []
    for row in rows:
        told, span = difference(row)
        label = {"rate": percent_tenth, "usd": dollars}.get(row["unit"], number)
        out.append([
            f"{escape(row['a'])} against {escape(row['b'])}",
            *([escape(row["category"] or "all")] if category else []),
            escape(MEASURES.get(row["measure"], row["measure"])),
            value(row.get("a_value"), label), value(row.get("b_value"), label),
            f"{told}<small>{span}</small>",
            value(row.get("ratio"), lambda r: f"{r:.2f}", (row.get("ratio_low"), row.get("ratio_high"))),
            p_value(row["holm_p"]), count(row["n"]), outcome(row),
        ])  # fmt: skip
    return table(head, out)


def p_value(p: float | None) -> str:
    if p is None:
        return '<span class="faint">–</span>'
    return "&lt; 0.001" if p < 0.001 else f"{p:.3f}"


def categories(report: Report) -> str:
    names = list(report.get("categories", {}))
    if not names:
        return ""
    total = sum(report["categories"].values()) or 1
    head = ["category", "queries", "teacher", "verified yield", "pass@1", "kept", "tokens, mean", "median",
            "share of tokens", "per verified row"]  # fmt: skip
    rows = []
    for name in names:
        for place, (teacher, part) in enumerate(report["teachers"].items()):
            mine = part["categories"][name]
            tokens, whole = mine["tokens"] or {}, (part["tokens"] or {}).get("total")
            queries = report["categories"][name]
            rows.append([
                escape(name) if place == 0 else "",
                f"{queries:,}<small>{percent_tenth(queries / total)}</small>" if place == 0 else "",
                named(teacher, place),
                value(mine["verified_yield"], percent_tenth, mine.get("verified_yield_interval")),
                value(mine["pass_at_1"], percent_tenth, mine.get("pass_at_1_interval")),
                count(mine["kept"]), value(tokens.get("mean"), number, mine.get("tokens_mean_interval")),
                value(tokens.get("median"), number),
                value(tokens["total"] / whole if tokens and whole else None, percent_tenth),
                value(mine["cost_per_verified_usd"], dollars, mine.get("cost_per_verified_interval")),
            ])  # fmt: skip
    return table(head, rows)


def students(report: Report) -> str:
    rows = report.get("students") or []
    if not rows:
        return ""
    head = ["benchmark", "student of", "score", "items", "samples", "mean length", "cut off"]
    return table(head, [
        [
            escape(row["benchmark"]), escape(row["teacher"]),
            value(row["score"], percent_tenth, row.get("interval")), count(row.get("items")), count(row.get("samples")),
            value(row.get("mean_length"), number), value(row.get("truncated"), percent_tenth),
        ]
        for row in rows
    ])  # fmt: skip


def funnel(report: Report) -> str:
    steps = report.get("funnel") or []
    rows = []
    for step in steps:
        lost = ", ".join(
            f"{number_:,} {escape(rule)}" for rule, number_ in sorted(step["lost"].items(), key=lambda r: -r[1])
        )
        who = f"{escape(step['teacher'])}: " if step["teacher"] else ""
        rows.append([f"{who}{escape(step['step'])}", count(step["count"]), lost or '<span class="faint">–</span>'])
    return table(["step", "count", "left out, by rule"], rows, words=(2,)) if rows else ""


def rules(report: Report) -> str:
    out = ""
    rows = []
    for place, (name, part) in enumerate(report["teachers"].items()):
        judged = part.get("verdict_rules") or {}
        for rule, outcomes in sorted(judged.items(), key=lambda item: -sum(item[1].values())):
            rows.append(
                [named(name, place), escape(rule), *(count(outcomes.get(o, 0)) for o in ("pass", "fail", "unknown"))]
            )
    if rows:
        out += "<h3>Replies by the rule that decided</h3>" + table(
            ["teacher", "rule", "pass", "fail", "unknown"], rows, (1,)
        )
    dropped = [
        [
            named(name, place),
            escape(rule),
            count(number_),
            value(number_ / part["kept"] if part["kept"] else None, percent_tenth),
        ]
        for place, (name, part) in enumerate(report["teachers"].items())
        for rule, number_ in sorted((part.get("dropped_rules") or {}).items())
    ]
    if dropped:
        out += "<h3>Verified replies dropped by filters</h3>" + table(
            ["teacher", "rule", "replies", "against kept"], dropped, (1,)
        )
    reasons = sorted({reason for part in report["teachers"].values() for reason in part.get("finish_reasons") or {}})
    if reasons:
        finish = [
            [named(name, place), *(count((part.get("finish_reasons") or {}).get(reason, 0)) for reason in reasons)]
            for place, (name, part) in enumerate(report["teachers"].items())
        ]
        out += "<h3>Finish reasons of all replies</h3>" + table(["teacher", *(escape(r) for r in reasons)], finish)
    return out + audit(report)


def audit(report: Report) -> str:
    """The verifier audit, where one was made."""
    rows = report.get("audit") or []
    if not rows:
        return ""
    cells = [
        [escape(str(row["teacher"])), value(row.get("false_yes"), percent_tenth, row.get("false_yes_interval")),
         value(row.get("false_no"), percent_tenth, row.get("false_no_interval")), count(row.get("n"))]
        for row in rows
    ]  # fmt: skip
    return "<h3>Audit of the verifiers</h3>" + table(["teacher", "wrong yes", "wrong no", "second opinions"], cells)


def contamination(report: Report) -> str:
    found = report.get("contamination") or {}
    if not found:
        return ""
    rows = [
        [escape(name), count(one["items"]), count(one["rejected"]), count(one["items_found"]),
         ", ".join(f"{number_:,} {escape(rule)}" for rule, number_ in one["rules"].items())]
        for name, one in found.items()
    ]  # fmt: skip
    hits = [
        [escape(name), escape(str(hit.get("id") or hit.get("key") or "")), escape(hit["rule"]),
         escape(hit["match"] or ""),
         escape(hit.get("item_text") or "")]
        for name, one in found.items() for hit in one["hits"]
    ]  # fmt: skip
    out = table(["benchmark", "its items", "queries taken out", "items found", "by rule"], rows, (4,))
    if hits:
        shown = table(["benchmark", "query", "rule", "matching text", "item"], hits, (3, 4))
        out += f"<details><summary>The first {len(hits)} hits</summary>{shown}</details>"
    return out


def terms(report: Report) -> str:
    may = {
        "yes": "yes",
        "no": "no: compared, never written as training rows",
        "unknown": "unknown: find out before training",
    }
    rows = []
    for place, (name, part) in enumerate(report["teachers"].items()):
        facts = part.get("facts") or {}
        rows.append([
            named(name, place), escape(str(facts.get("model") or "–")), escape(str(facts.get("family") or "–")),
            escape(str(facts.get("thinking") or "–")), escape(may.get(str(facts.get("terms")), "–")),
            escape(str(facts.get("licence") or "not stated")), _price(facts.get("price")),
        ])  # fmt: skip
    out = table(["teacher", "model", "family", "thinks", "may be trained on", "licence", "price"], rows, (1, 4, 5))
    sources = [
        [escape(s.get("name", "")), escape(s.get("licence") or "not stated"), escape(s.get("terms", "unknown"))]
        for s in report.get("sources") or []
    ]
    return out + (table(["query source", "licence", "may be trained on"], sources, (0, 1)) if sources else "")


def _price(price: Mapping[str, float] | None) -> str:
    if not price:
        return '<span class="faint">–</span>'
    if "per_hour" in price:
        return f"${price['per_hour']:g} an hour"
    return escape(", ".join(f"{kind} ${dollars_:g}" for kind, dollars_ in price.items()) + " per million tokens")


def made(report: Report, recipe: str) -> str:
    versions = "\n".join(
        f"{name}: {value_}" for name, value_ in (report.get("made") or {}).items() if value_ is not None
    )
    out = f"<pre>{escape(versions)}</pre>"
    if recipe:
        out += f"<details><summary>recipe.yaml</summary><pre>{escape(recipe)}</pre></details>"
    return out
