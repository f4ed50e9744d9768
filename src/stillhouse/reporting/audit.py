"""What the audit of the verifiers found, as HTML: error rates, yields corrected by them, suspect references.

In: 3-verdicts/audit.json as `audit --verifiers` writes it. Out: HTML; "" without an audit. Every text is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillhouse.reporting.svg import percent_tenth
from stillhouse.reporting.tables import Report, columns, count, named, note, table, value
from stillhouse.reporting.text import isolated, plural, words

MOST_SUSPECTS = 25
PROSE = "<small>read off prose</small>"


def audit(report: Report) -> str:
    """Second opinions on a sample of verdicts: false yes, false no, and the rates corrected by them."""
    held = report.get("audit") or {}
    found: Mapping[str, Any] = held if isinstance(held, Mapping) else {"teachers": held}
    rows = [
        [named(row["teacher"], report), count(row.get("n")),
         _rate(row, "false_yes"), _rate(row, "false_no"), _rate(row, "verified_yield"), _rate(row, "corrected_yield"),
         _rate(row, "pass_at_1"), _rate(row, "corrected_pass_at_1")]
        for row in found.get("teachers") or [] if row.get("n")
    ]  # fmt: skip
    head = ["teacher", "opinions", "wrong yes", "wrong no", "verified yield", "corrected", "pass@1", "corrected"]
    out = ""
    if rows:
        by = ", ".join(f"{n:,} {words(name, 60)}" for name, n in (found.get("by") or {}).items())
        whose = f" Opinions: {by}." if by else ""
        out += "<h3>Audit of the verifiers</h3>" + table(*columns(head, rows), kind="stack")
        out += note(
            "A seeded sample of verdicts was looked at again. An opinion is taken as the truth: what a second reader "
            f"errs is in no interval.{whose}"
        )
        out += _rules(found.get("rules") or [])
    return out + _suspects(found)


def _rate(row: Mapping[str, Any], name: str) -> str:
    return value(row.get(name), percent_tenth, row.get(f"{name}_interval"))


def _rules(rows: Sequence[Mapping[str, Any]]) -> str:
    wrong = [
        [words(row["rule"], 60), words(row["outcome"], 20), _rate(row, "wrong"), count(row.get("n")),
         count(row.get("verdicts"))]
        for row in rows if row.get("wrong")
    ]  # fmt: skip
    if not wrong:
        return ""
    return table(["rule", "said", "wrong", "opinions", "verdicts"], wrong, (1,), kind="stack")


def _suspects(found: Mapping[str, Any]) -> str:
    """References that the teachers contradict together; nothing is changed by it."""
    rows = [
        [isolated(row.get("id") or str(row.get("key", ""))[:12], 40), isolated(row.get("query"), 160),
         isolated(row.get("ground_truth"), 60), isolated(row.get("voted"), 60),
         f"{row.get('votes', 0):,} of {row.get('voters', 0):,}" + ("" if row.get("firm") else PROSE)]
        for row in (found.get("suspect_references") or [])[:MOST_SUSPECTS]
    ]  # fmt: skip
    if not rows:
        return ""
    total = plural(int(found.get("suspects") or len(rows)), "suspect reference")
    told = note("The teachers agree with each other and not with the reference. Nothing is changed by this list.")
    shown = table(["query", "text", "reference", "teachers say", "votes"], rows, (1, 2, 3), kind="stack")
    more = f", the clearest {len(rows)}" if int(found.get("suspects") or 0) > len(rows) else ""
    return f"<details><summary>{total}{more}</summary>{told}{shown}</details>"
