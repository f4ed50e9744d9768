"""What lies under the figures, as HTML: funnel, rules, finish reasons, contamination, terms, recipe.

In: report.json, the recipe's text. Out: HTML; "" where there is nothing to show. Every text is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from stillhouse.stages.report_svg import percent_tenth
from stillhouse.stages.report_tables import DASH, Report, count, named, table, value


def funnel(report: Report) -> str:
    """One row a step, one column a teacher; what a step left out stands under it, by rule."""
    steps = report.get("funnel") or []
    names = list(report["teachers"])
    shared = [step for step in steps if not step["teacher"]]
    own = {name: [step for step in steps if step["teacher"] == name] for name in names}
    rows: list[list[str]] = []
    for step in shared[:-1]:
        rows.append([escape(step["step"]), count(step["count"]), *[""] * len(names)])
        lost = sorted(step["lost"].items(), key=lambda item: -item[1])
        rows += [[_left(rule), _lost(number), *[""] * len(names)] for rule, number in lost]
    for place, step in enumerate(own[names[0]] if names else []):
        mine = [own[name][place] for name in names]
        rows.append([escape(step["step"]), "", *(count(one["count"]) for one in mine)])
        rules = sorted({rule for one in mine for rule in one["lost"]})
        rows += [[_left(rule), "", *(_lost(one["lost"].get(rule, 0)) for one in mine)] for rule in rules]
    rows += [[escape(step["step"]), count(step["count"]), *[""] * len(names)] for step in shared[-1:]]
    return table(["", "queries", *(named(name, report) for name in names)], rows) if rows and names else ""


def _left(rule: str) -> str:
    return f'<span class="under faint">{escape(rule.replace("_", " "))}</span>'


def _lost(figure: int) -> str:
    return f'<span class="faint">−{figure:,}</span>' if figure else DASH


def rules(report: Report) -> str:
    out = ""
    rows = [
        [named(name, report), escape(rule), *(count(outcomes.get(o, 0)) for o in ("pass", "fail", "unknown"))]
        for name, part in report["teachers"].items()
        for rule, outcomes in sorted((part.get("verdict_rules") or {}).items(), key=lambda i: -sum(i[1].values()))
    ]
    if rows:
        head = ["teacher", "rule", "pass", "fail", "unknown"]
        out += "<h3>Replies by the rule that decided</h3>" + table(head, rows, (1,))
    dropped = [
        [named(name, report), escape(rule), count(lost),
         value(lost / part["verified"] if part["verified"] else None, percent_tenth)]
        for name, part in report["teachers"].items()
        for rule, lost in sorted((part.get("dropped_rules") or {}).items())
    ]  # fmt: skip
    if dropped:
        head = ["teacher", "filter", "replies", "of verified"]
        out += "<h3>Verified replies that filters dropped</h3>" + table(head, dropped, (1,))
    parts = report["teachers"].items()
    reasons = sorted({reason for _, part in parts for reason in part.get("finish_reasons") or {}})
    if reasons:
        finish = [
            [named(name, report), *(count((part.get("finish_reasons") or {}).get(reason, 0)) for reason in reasons)]
            for name, part in parts
        ]
        out += "<h3>How replies ended</h3>" + table(["teacher", *(escape(r) for r in reasons)], finish)
    return out + audit(report)


def audit(report: Report) -> str:
    """The verifier audit, where one was made."""
    cells = [
        [escape(str(row["teacher"])), value(row.get("false_yes"), percent_tenth, row.get("false_yes_interval")),
         value(row.get("false_no"), percent_tenth, row.get("false_no_interval")), count(row.get("n"))]
        for row in report.get("audit") or []
    ]  # fmt: skip
    head = ["teacher", "wrong yes", "wrong no", "second opinions"]
    return "<h3>Audit of the verifiers</h3>" + table(head, cells) if cells else ""


def contamination(report: Report) -> str:
    found = report.get("contamination") or {}
    rows = [
        [escape(name), count(one["items"]), count(one["rejected"]), count(one["items_found"]),
         ", ".join(f"{lost:,} {escape(rule)}" for rule, lost in one["rules"].items()) or DASH]
        for name, one in found.items()
    ]  # fmt: skip
    hits = [
        [escape(name), escape(str(hit.get("id") or hit.get("key") or "")), escape(hit["rule"]),
         escape(hit["match"] or ""), escape(hit.get("item_text") or "")]
        for name, one in found.items() for hit in one["hits"]
    ]  # fmt: skip
    out = ""
    if rows:
        out = table(["benchmark", "its items", "queries taken out", "items found", "by rule"], rows, (4,))
    if hits:
        shown = table(["benchmark", "query", "rule", "matching text", "item"], hits, (1, 2, 3, 4))
        title = "The hit" if len(hits) == 1 else f"The first {len(hits)} hits"
        out += f"<details><summary>{title}</summary>{shown}</details>"
    return out


def terms(report: Report) -> str:
    may = {
        "yes": "yes",
        "no": "no: compared, never written as training rows",
        "unknown": "unknown: find out before training",
    }
    rows = []
    for name, part in report["teachers"].items():
        facts = part.get("facts") or {}
        rows.append([
            named(name, report), escape(str(facts.get("model") or "–")), escape(str(facts.get("family") or "–")),
            escape(str(facts.get("thinking") or "–")), escape(may.get(str(facts.get("terms")), "–")),
            escape(str(facts.get("licence") or "not stated")), _price(facts.get("price")),
        ])  # fmt: skip
    head = ["teacher", "model", "family", "thinks", "may be trained on", "licence", "price"]
    out = table(head, rows, (1, 2, 3, 4, 5, 6), kind="stack")
    sources = [
        [escape(s.get("name", "")), escape(s.get("licence") or "not stated"), escape(s.get("terms", "unknown"))]
        for s in report.get("sources") or []
    ]
    return out + (table(["query source", "licence", "may be trained on"], sources, (1, 2)) if sources else "")


def _price(price: Mapping[str, float] | None) -> str:
    if not price:
        return DASH
    if "per_hour" in price:
        return f"${price['per_hour']:g} an hour"
    return escape(", ".join(f"{kind} ${rate:g}" for kind, rate in price.items()) + " per million tokens")


def made(report: Report, recipe: str) -> str:
    told = "\n".join(f"{name}: {fact}" for name, fact in (report.get("made") or {}).items() if fact is not None)
    out = f"<pre>{escape(told)}</pre>"
    if recipe:
        out += f"<details><summary>recipe.yaml</summary><pre>{escape(recipe)}</pre></details>"
    return out
