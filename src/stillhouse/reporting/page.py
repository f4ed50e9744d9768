"""report.html: one file, no request, no markup made of anybody's text.

In: report.json, the index and chunks of traces. Out: HTML. Names and sentences are escaped here; texts of queries and
models travel as data, compressed, and enter the page through textContent. A content policy holds the rest.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

import orjson

from stillhouse.reporting import evidence as evidence
from stillhouse.reporting import tables as tables
from stillhouse.reporting.audit import audit
from stillhouse.reporting.charts import NARROW, WIDE, charts
from stillhouse.reporting.charts_right import wins
from stillhouse.reporting.pairs import comparison, students
from stillhouse.reporting.svg import colour, dollars
from stillhouse.reporting.text import isolated, joined_units, plural, visible, words
from stillhouse.reporting.traces import packed

NOUNS = {
    "cost_per_verified": "dollars per verified row",
    "verified_yield": "share of queries verified within the limit",
    "pass_at_1": "share of first attempts that pass",
    "student_mean": "mean score of the students over all benchmarks",
}
OUTCOMES = (
    ("first", "passed at once"),
    ("missed", "failed at first"),
    ("solved", "solved"),
    ("unsolved", "not solved"),
    ("waiting", "waits"),
)
Section = tuple[str, str, str]


def page(
    report: Mapping[str, Any],
    *,
    title: str,
    recipe: str,
    index: Mapping[str, Any],
    total: int,
    chunks: Sequence[Sequence[Any]],
    sidecars: Sequence[int],
) -> str:
    """The whole file."""
    style, script = _asset("report.css"), _asset("report.js")
    data = {
        "teachers": [visible(name) for name in report["teachers"]],
        "index": packed(index) if index.get("key") else None,
        "total": total,
        "chunks": chunks,
    }
    beside = " file:" if sidecars else ""
    policy = (
        f"default-src 'none'; script-src {_hash(script)}{beside}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = sections(report, recipe, index)
    links = "".join(f'<a href="#{key}">{escape(told)}</a>' for key, told, _ in parts)
    shown = "".join(f'<section id="{key}"><h2>{escape(told)}</h2>{body}</section>' for key, told, body in parts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="description" content="{escape(visible(report["decision"]["sentence"]))}">
<title>{words(title)}: comparison of teachers</title>
<style>{style}</style>
</head>
<body>
<nav aria-label="Sections"><div class="brand">Stillhouse</div><div class="links">{links}</div>
<button id="theme" type="button" title="Light or dark">Light / dark</button></nav>
<div class="body">
<header>
<h1>{isolated(title, 80)}<span>{_scope(report)}</span></h1>
{_hero(report)}
{_facts(report)}
{_caveats(report)}
</header>
<main>
{shown}
</main>
<footer>{_footer(report)}</footer>
</div>
<div id="tip" role="presentation" hidden></div>
<script type="application/json" id="data">{_json(data)}</script>
<script>{script}</script>
</body>
</html>
"""


def as_served(html: str) -> str:
    """A page that may ask the server that it came from, and nobody else, for what it does not hold itself."""
    marked = html.replace('<html lang="en">', '<html lang="en" data-served>', 1)
    return marked.replace("base-uri 'none'", "connect-src 'self'; base-uri 'none'", 1)


def sections(report: Mapping[str, Any], recipe: str, index: Mapping[str, Any]) -> list[Section]:
    """(anchor, title, HTML) of what the page shows, in its order."""
    names, existing = list(report["teachers"]), bool(report.get("matching"))
    funnel = evidence.funnel(report)
    checks = evidence.rules(report) + evidence.repeats(report) + audit(report)
    parts = [
        ("teachers", "Datasets" if existing else "Teachers", tables.teachers(report)),
        ("students", "Students", tables.students(report) + _charts(report, "students") + students(report)),
        ("comparison", "Dataset against dataset" if existing else "Teacher against teacher", comparison(report)),
        (
            "right",
            "Shared queries" if existing else "Right answers",
            _charts(report, "right") + _wins_by_category(report),
        ),
        ("length", "Length", _charts(report, "length")),
        ("cost", "Perplexity, attempts and cost", _charts(report, "cost")),
        ("categories", "By category", tables.categories(report)),
        ("samples", "Samples side by side", _browser(names, existing) if index.get("key") else ""),
        ("funnel", "From queries to the parallel set", (_charts(report, "funnel") + funnel) if funnel else ""),
        ("rules", "Verifiers and filters", checks),
        ("contamination", "Contamination", evidence.contamination(report)),
        ("account", "What was paid", evidence.account(report)),
        ("forecast", "Forecast and outcome", evidence.forecast(report)),
        ("terms", "Terms" if existing else "Teachers, sources and terms", evidence.terms(report) if names else ""),
        ("made", "Recipe and versions", evidence.made(report, recipe)),
    ]
    return [part for part in parts if part[2]]


def _asset(name: str) -> str:
    return (files("stillhouse.reporting") / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def _json(value: Any) -> str:
    """JSON that cannot end its script element, nor start a comment in it."""
    text = orjson.dumps(value).decode()
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _scope(report: Mapping[str, Any]) -> str:
    kind = "dataset" if report.get("matching") else "teacher"
    named = list(report.get("categories", {}))
    of = f"{words(named[0], 40)} " if len(named) == 1 else ""
    over = f"{report['queries']:,} {of}{'query' if report['queries'] == 1 else 'queries'}"
    several = f" in {len(named)} categories" if len(named) > 1 else ""
    return f"{plural(len(report['teachers']), kind)} over {over}{several}"


def _hero(report: Mapping[str, Any]) -> str:
    """The decision, what it means, and the figures that it rests on."""
    sentence = visible(report["decision"]["sentence"])
    lead, rest = (joined_units(part) for part in _split(sentence, list(report["teachers"])))
    chart = "".join(wide.svg(kind="wide") + narrow.svg(kind="narrow") for _, wide, narrow in charts(report, "decision"))
    drawn = f'<figure id="chart-decision">{chart}</figure>' if chart else ""
    return (
        f'<div class="hero"><div><p class="decision"><b>{escape(lead)}</b> <span>{escape(rest)}</span></p>'
        f"{_basis(report)}</div>{drawn}</div>"
    )


def _split(sentence: str, names: Sequence[str]) -> tuple[str, str]:
    """The sentence as what leads, up to its first semicolon outside brackets or its first full stop, and what follows,
    each as a sentence of its own; a teacher's name stays as it is written."""
    depth = 0
    for at, sign in enumerate(sentence):
        depth += (sign == "(") - (sign == ")")
        rest = sentence[at + 1 :].lstrip()
        if depth == 0 and rest and sign == ";":
            kept = any(re.match(re.escape(name) + r"(?![\w.-])", rest) for name in names)
            return f"{sentence[:at]}.", rest if kept else rest[0].upper() + rest[1:]
        if depth == 0 and rest and sign == "." and sentence[at + 1].isspace():
            return sentence[: at + 1], rest
    return sentence, ""


def _basis(report: Mapping[str, Any]) -> str:
    decision = report["decision"]
    told = {
        "data": "It rests on the data alone: on what the teachers' replies are, not on what a student learns of them.",
        "students": "It rests on students trained on each dataset and evaluated on the same benchmarks.",
    }[decision["basis"]]
    if decision.get("measure"):
        fixed = "fixed in the recipe beforehand" if report.get("decide_by") else "the default where it is known"
        told += f" The measure, {fixed}: {NOUNS[decision['measure']]}."
    return f'<p class="basis">{escape(told)}</p>'


def _facts(report: Mapping[str, Any]) -> str:
    """A strip of the run's size."""
    parts = list(report["teachers"].values())
    spent = [part["cost_usd"] for part in parts]
    kept = sum(part["kept"] or 0 for part in parts)
    facts = [("Queries", f"{report['queries']:,}")]
    if not report.get("matching"):
        facts.append(("Replies", f"{sum(part['responses'] or 0 for part in parts):,}"))
    facts += [("Kept replies", f"{kept:,}"), ("Parallel set", f"{report['parallel']:,}")]
    if any(cost is not None for cost in spent):
        facts.append(("Spent", dollars(sum(cost or 0 for cost in spent))))
    waiting = sum(part.get("waiting") or 0 for part in parts)
    if waiting:
        facts.append(("Waiting", f"{waiting:,}"))
    items = "".join(f"<div><dt>{name}</dt><dd>{figure}</dd></div>" for name, figure in facts)
    return f'<dl class="strip">{items}</dl>'


def _caveats(report: Mapping[str, Any]) -> str:
    items = "".join(f"<li>{escape(visible(told))}</li>" for told in report.get("caveats", []))
    return f'<div class="caveats"><h2>Read with care</h2><ul>{items}</ul></div>' if items else ""


def _charts(report: Mapping[str, Any], group: str) -> str:
    out = [
        f'<figure id="chart-{chart.name}"><figcaption><h3>{escape(chart.title)}</h3><p>{escape(chart.note)}</p>'
        f"</figcaption>{wide.svg(kind='wide')}{narrow.svg(kind='narrow')}</figure>"
        for chart, wide, narrow in charts(report, group)
    ]
    single = " single" if len(out) == 1 else ""
    return f'<div class="charts{single}">{"".join(out)}</div>' if out else ""


def _wins_by_category(report: Mapping[str, Any]) -> str:
    """First attempts head to head within each category, folded; "" where compare does not tell them apart."""
    views = report.get("by_category") or {}
    out = []
    for name, view in views.items() if len(views) > 1 else ():
        one = {"teachers": report["teachers"], "wins": view.get("wins") or []}
        wide, narrow = wins(one, WIDE), wins(one, NARROW)
        if wide is not None and narrow is not None:
            out.append(
                f"<figure><figcaption><h3>{isolated(name, 60)}</h3></figcaption>{wide.svg(kind='wide')}"
                f"{narrow.svg(kind='narrow')}</figure>"
            )
    told = "First attempts, head to head, within each category"
    return f'<details><summary>{told}</summary><div class="charts">{"".join(out)}</div></details>' if out else ""


def _browser(teachers: Sequence[str], existing: bool) -> str:
    outcomes = (("solved", "accepted"), ("unsolved", "not accepted")) if existing else OUTCOMES
    shown = (
        "Of each dataset its reply to the query."
        if existing
        else ("Of each teacher: its first attempt, and the reply that was accepted where that was a later one.")
    )
    unknown = " hidden" if existing else ""
    options = "".join(f'<option value="{key}">{told}</option>' for key, told in outcomes)
    picks = "".join(
        f'<label>{isolated(name, 40)}<select id="outcome-{place}"><option value="">any outcome</option>{options}'
        "</select></label>"
        for place, name in enumerate(teachers)
    )
    heads = "".join(
        f'<span title="{words(name)}"><i class="swatch c{colour(place)}"></i>{isolated(name, 40)}</span>'
        for place, name in enumerate(teachers)
    )
    return f"""<p class="note" id="shown">{shown} The address of this page keeps what you see, so a link shows it to
others.</p>
<div class="filters">
<label class="search">Search queries<input id="q" type="search" autocomplete="off" placeholder="words, an id or a key">
</label>
<label>Category<select id="category"><option value="">all</option></select></label>
<label>Source<select id="source"><option value="">all</option></select></label>
{picks}
<label class="check"{unknown}><input id="differ" type="checkbox">teachers differ at first</label>
<label class="check"><input id="traced" type="checkbox" checked>with traces</label>
<button id="clear" type="button">Clear</button>
</div>
<p id="found" role="status">The browser of queries needs JavaScript; everything else on this page does not.</p>
<div class="row head"><span></span><span class="marks">{heads}</span></div>
<div id="list"></div>
<div class="pages"><button id="back" type="button">Back</button><span id="page"></span>
<button id="next" type="button">Next</button></div>"""


def _footer(report: Mapping[str, Any]) -> str:
    made = report.get("made", {})
    counted = f"Tokens counted by {words(made['tokenizer'])}." if made.get("tokenizer") else "Tokens were not counted."
    version, seed = words(made.get("stillhouse", "")), words(made.get("seed", ""))
    where = "Every figure stands in report.json, every chart in report/."
    return f"Made by Stillhouse {version}, seed {seed}. {counted} {where}"
