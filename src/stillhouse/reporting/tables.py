"""The figures of the report as HTML tables: teachers, categories, students, and what is still open.

In: report.json. Out: HTML; "" where there is nothing to show. Every text is escaped, and every figure that has an
interval shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stillhouse.reporting.charts_students import ordered, several_seeds
from stillhouse.reporting.svg import colour, dollars, number, percent_tenth
from stillhouse.reporting.text import isolated, plural, spoken, words

Report = Mapping[str, Any]
Label = Callable[[float], str]
DASH = '<span class="faint">–</span>'
DOLLARS = "$ per 1,000 verified"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], texts: Sequence[int] = (), kind: str = "") -> str:
    """A table of cells that are HTML already; the first cell of a row is its head, an only one a heading of rows.

    texts: columns of running text, set to the left. kind: `stack` for rows that become cards on a phone, `grouped`
    for a line only above rows whose first cell is filled.
    """
    kinds = [' class="words"' if place in texts else "" for place in range(len(head))]
    top = "".join(f'<th scope="col"{kind}>{cell}</th>' for cell, kind in zip(head, kinds, strict=True))
    body = "".join(_row(row, head, kinds) for row in rows)
    named_kind = f' class="{kind}"' if kind else ""
    return f'<div class="scroll"><table{named_kind}><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _row(row: Sequence[str], head: Sequence[str], kinds: Sequence[str]) -> str:
    if len(row) == 1:
        return f'<tr class="group"><th scope="rowgroup" colspan="{len(head)}">{row[0]}</th></tr>'
    cells = "".join(_cell(cell, kind, label) for cell, kind, label in zip(row[1:], kinds[1:], head[1:], strict=True))
    return f'<tr><th scope="row"{kinds[0]}>{row[0]}</th>{cells}</tr>'


def _cell(cell: str, kind: str, label: str) -> str:
    """label: the column's name, which a phone shows beside the figure."""
    about = f' data-label="{label}"' if cell and "<" not in label else ""
    return f"<td{kind}{about}>{cell}</td>"


def named(name: str, report: Report) -> str:
    """A teacher's name with its colour; grey for what is no teacher."""
    names = list(report["teachers"])
    kind = colour(names.index(name)) if name in names else "n"
    return f'<span class="name" title="{words(name)}"><i class="swatch c{kind}"></i>{isolated(name, 60)}</span>'


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


def amount(figure: float) -> str:
    """A mean, with the decimals that its size leaves to see."""
    return number(figure) if abs(figure) >= 100 else f"{figure:.1f}"


def two_places(figure: float) -> str:
    return f"{figure:.2f}"


def note(text: str) -> str:
    return f'<p class="note">{text}</p>'


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Without the columns in which nothing is known."""
    shown = [place for place in range(len(head)) if any(row[place] not in (DASH, "") for row in rows)]
    return [head[place] for place in shown], [[row[place] for place in shown] for row in rows]


def teachers(report: Report) -> str:
    rows = []
    for name, part in report["teachers"].items():
        tokens, first, ppl = part["tokens"] or {}, part.get("first_tokens") or {}, part["perplexity"] or {}
        rows.append([
            named(name, report),
            _over(part["queries"], None if report.get("matching") else part["responses"], "replies"),
            _over(part["verified"], part["kept"], "kept"),
            value(part["pass_at_1"], percent_tenth, part.get("pass_at_1_interval")),
            value(part["verified_yield"], percent_tenth, part.get("verified_yield_interval")),
            value(first.get("mean"), amount, part.get("first_tokens_mean_interval")),
            value(tokens.get("mean"), amount, part.get("tokens_mean_interval")),
            value(ppl.get("mean"), two_places), value(part["cost_usd"], dollars),
            value(part["cost_per_verified_usd"], per_thousand, part.get("cost_per_verified_interval")),
        ])  # fmt: skip
    head = [_kind(report), "queries", "verified", "pass@1", "verified yield", "tokens, first attempt", "tokens, kept",
            "perplexity", "dollars", DOLLARS]  # fmt: skip
    shared = plural(report["parallel"], "query is", "queries are")
    out = table(*columns(head, rows), kind="stack") + note(
        f"{shared} kept by every {_kind(report)}: the parallel set. Small figures are 95 % intervals: score intervals "
        "for shares, bootstrap over queries for means and dollars."
    )
    return out + unknown(report) + matching(report)


def _kind(report: Report) -> str:
    """What a row is of: a teacher, or a dataset that exists already."""
    return "dataset" if report.get("matching") else "teacher"


def _over(figure: float | None, beneath: float | None, noun: str) -> str:
    """A count, and beneath it what came of it."""
    return count(figure) + (f"<small>{beneath:,} {noun}</small>" if beneath is not None else "")


OPEN = ("waiting", "exhausted", "undecided", "too_long", "unverified")


def unknown(report: Report) -> str:
    """What did not end in a verified reply, and where a figure could lie if all that is open failed, or passed."""
    rows = []
    for name, part in report["teachers"].items():
        states = [count(part.get(state)) if part.get(state) else DASH for state in OPEN]
        without = count(part["unknown"]) if part.get("unknown") else DASH
        bounds = [_bounds(part.get(f"{key}_bounds")) for key in ("pass_at_1", "verified_yield")]
        rows.append([named(name, report), *states, without, *bounds])
    if not any(cell != DASH for row in rows for cell in row[1:]):
        return ""
    head = ["teacher", *(spoken(state) for state in OPEN), "replies without verdict", "pass@1 bounds", "yield bounds"]
    out = "<h3>What did not end in a verified reply</h3>" + table(*columns(head, rows), kind="stack steps")
    if all(row[-1] == DASH and row[-2] == DASH for row in rows):
        return out
    return out + note(
        "What waits, is undecided or unverified, and replies without a verdict count neither way. Bounds: where the "
        "figure lies if all of them failed, and if all passed."
    )


def _bounds(bounds: Sequence[float] | None) -> str:
    if bounds is None or bounds[1] - bounds[0] < 5e-4:
        return DASH
    return f"{percent_tenth(bounds[0]).removesuffix(' %')} to {percent_tenth(bounds[1])}"


def matching(report: Report) -> str:
    """Of datasets that exist already: what could be matched, and what was set aside."""
    keys = ("rows", "without_text", "below_score", "duplicates", "queries", "in_every_dataset", "in_no_other")
    rows = [
        [named(name, report), *(count(found.get(key)) for key in keys)]
        for name, found in (report.get("matching") or {}).items()
    ]
    head = ["dataset", "rows", "without text", "below 0.9", "of a query seen before", "queries", "in every dataset",
            "in no other"]  # fmt: skip
    if not rows:
        return ""
    return "<h3>Matched by their queries</h3>" + table(head, rows, kind="stack") + _would_drop(report)


def _would_drop(report: Report) -> str:
    """What the filters of a run would drop of a sample of each dataset; nothing is dropped."""
    found = report.get("would_drop") or {}
    rules = sorted({rule for one in found.values() for rule in one["rules"]})
    rows = [
        [named(name, report), count(one["checked"]), *(count(one["rules"].get(rule, 0)) for rule in rules)]
        for name, one in found.items() if one["checked"]
    ]  # fmt: skip
    head = ["dataset", "rows looked at", *(words(spoken(rule), 60) for rule in rules)]
    return "<h3>What filters would drop of a sample</h3>" + table(head, rows, kind="stack") if rows and rules else ""


def categories(report: Report) -> str:
    names = list(report.get("categories", {}))
    if len(names) < 2:
        return ""  # the table of teachers has said it all
    total = sum(report.get("categories", {}).values()) or 1
    rows = []
    for name in names:
        queries = report["categories"][name]
        for place, (teacher, part) in enumerate(report["teachers"].items()):
            mine = part["categories"][name]
            tokens, whole = mine["tokens"] or {}, (part["tokens"] or {}).get("total")
            rows.append([
                f'<bdi title="{words(name)}">{words(name, 60)}</bdi>' if place == 0 else "",
                f"{queries:,}<small>{percent_tenth(queries / total)}</small>" if place == 0 else "",
                named(teacher, report),
                value(mine["pass_at_1"], percent_tenth, mine.get("pass_at_1_interval")),
                value(mine["verified_yield"], percent_tenth, mine.get("verified_yield_interval")),
                count(mine["kept"]), value(tokens.get("mean"), amount, mine.get("tokens_mean_interval")),
                value(tokens.get("median"), number),
                value(mine.get("share"), percent_tenth),
                value(tokens["total"] / whole if tokens and whole else None, percent_tenth),
                value((mine["perplexity"] or {}).get("mean"), two_places),
                value((mine.get("attempts") or {}).get("mean"), two_places),
                value(mine["cost_per_verified_usd"], per_thousand, mine.get("cost_per_verified_interval")),
            ])  # fmt: skip
    head = ["category", "queries", _kind(report), "pass@1", "verified yield", "kept", "tokens, kept", "median",
            "share of rows", "share of tokens", "perplexity", "attempts", DOLLARS]  # fmt: skip
    return table(*columns(head, rows), texts=(2,), kind="grouped stack") if rows else ""


def students(report: Report) -> str:
    """Scores of the students and their controls, and what the data had said of their teachers."""
    if not report.get("students"):
        return ""
    head = ["benchmark", "candidate", "score", "items", "samples", "mean length", "cut off", "stopped by itself",
            "in format"]  # fmt: skip
    rows, seeds = ordered(report), several_seeds(report)
    shown = [
        [isolated(row["benchmark"], 40) if place == 0 or rows[place - 1]["benchmark"] != row["benchmark"] else "",
         named(row["teacher"], report) + (f" <small>seed {row['seed']}</small>" if seeds else "")
         if row["teacher"] and not row.get("control") else named(row["candidate"], report),
         value(row["score"], percent_tenth, row.get("interval")), count(row.get("items")), count(row.get("samples")),
         value(row.get("mean_length"), amount, row.get("mean_length_interval")),
         value(row.get("truncated"), percent_tenth), value(row.get("stop_ratio"), percent_tenth),
         value(row.get("format_rate"), percent_tenth)]
        for place, row in enumerate(rows)
    ]  # fmt: skip
    out = table(*columns(head, shown), texts=(1,), kind="grouped stack")
    means = {row["teacher"]: row["student"] for row in report.get("joined") or []}
    guesses = [
        [named(row["teacher"], report), _mean_score(row["student_mean"], means.get(row["teacher"]) or {}),
         value(row["pass_at_1"], percent_tenth), value(row["verified_yield"], percent_tenth),
         value(row["mean_tokens"], amount), value(row["mean_perplexity"], two_places),
         value(row["cost_per_verified_usd"], per_thousand)]
        for row in report.get("predicted") or []
    ]  # fmt: skip
    if guesses:
        top = ["teacher", "student's mean score", "teacher's pass@1", "verified yield", "tokens, kept", "perplexity",
               DOLLARS]  # fmt: skip
        out += "<h3>What the data said, beside what the students did</h3>"
        out += table(*columns(top, guesses), kind="stack")
    return out


def _mean_score(score: float | None, student: Mapping[str, Any]) -> str:
    """A teacher's students on average, with the interval of a single one or the spread of several seeds."""
    spread = student.get("seed_sd")
    told = f"<small>{student['seeds']} seeds, sd {100 * spread:.1f}</small>" if spread is not None else ""
    return value(score, percent_tenth, student.get("interval")) + told
