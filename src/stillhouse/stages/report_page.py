"""report.html: one file, no request, no markup made of anybody's text.

In: report.json, the index and chunks of traces. Out: HTML. Names and sentences are escaped here; texts of queries and
models travel as data, compressed, and enter the page through textContent. A content policy holds the rest.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

import orjson

from stillhouse.stages import report_evidence as evidence
from stillhouse.stages import report_tables as tables
from stillhouse.stages.report_charts import NARROW, WIDE, charts
from stillhouse.stages.report_traces import packed

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
        "teachers": list(report["teachers"]),
        "index": packed(index) if index else None,
        "total": total,
        "chunks": chunks,
    }
    beside = " file:" if sidecars else ""
    policy = (
        f"default-src 'none'; script-src {_hash(script)}{beside}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    decision = report["decision"]
    parts = sections(report, recipe, index)
    links = "".join(f'<a href="#{key}">{escape(words)}</a>' for key, words, _ in parts)
    shown = "".join(f'<section id="{key}"><h2>{escape(words)}</h2>{body}</section>' for key, words, body in parts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}: comparison of teachers</title>
<style>{style}</style>
</head>
<body>
<header>
<div class="top"><h1>{escape(title)}</h1><button id="theme" type="button">Light / dark</button></div>
<p class="decision">{escape(decision["sentence"])}</p>
{_basis(report)}
{_caveats(report)}
<nav>{links}</nav>
</header>
<main>
{shown}
</main>
<footer>{escape(_footer(report))}</footer>
<script type="application/json" id="data">{_json(data)}</script>
<script>{script}</script>
</body>
</html>
"""


def sections(report: Mapping[str, Any], recipe: str, index: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(anchor, title, HTML) of what the page shows, in its order."""
    parts = [
        ("teachers", "Teachers", tables.teachers(report)),
        ("students", "Students", tables.students(report)),
        ("comparison", "Teacher against teacher", tables.comparison(report)),
        ("charts", "Distributions", _charts(report)),
        ("categories", "By category", tables.categories(report)),
        ("samples", "Samples side by side", _browser(list(report["teachers"])) if index else ""),
        ("funnel", "From queries to the parallel set", evidence.funnel(report)),
        ("rules", "Verifiers and filters", evidence.rules(report)),
        ("contamination", "Contamination", evidence.contamination(report)),
        ("terms", "Terms", evidence.terms(report)),
        ("made", "Recipe and versions", evidence.made(report, recipe)),
    ]
    return [part for part in parts if part[2]]


def _asset(name: str) -> str:
    return (files("stillhouse.stages") / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def _json(value: Any) -> str:
    """JSON that cannot end its script element, nor start a comment in it."""
    text = orjson.dumps(value).decode()
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _basis(report: Mapping[str, Any]) -> str:
    decision = report["decision"]
    words = {
        "data": "Basis: the data alone. The decision speaks of what the teachers' replies are, not of what a student "
        "learns from them.",
        "students": "Basis: students trained on each dataset and evaluated on the same benchmarks.",
    }[decision["basis"]]
    if decision.get("measure"):
        fixed = "fixed in the recipe beforehand" if report.get("decide_by") else "the default where it is known"
        words += f" Measure, {fixed}: {NOUNS[decision['measure']]}."
    return f'<p class="basis">{escape(words)}</p>'


def _caveats(report: Mapping[str, Any]) -> str:
    items = "".join(f"<li>{escape(words)}</li>" for words in report.get("caveats", []))
    return f'<ul class="caveats">{items}</ul>' if items else ""


def _charts(report: Mapping[str, Any]) -> str:
    out = []
    for name, title, note, draw in charts(report):
        wide, narrow = draw(WIDE), draw(NARROW)
        if wide is None or narrow is None:
            continue
        both = wide.svg().replace("<svg ", '<svg class="wide" ', 1) + narrow.svg().replace(
            "<svg ", '<svg class="narrow" ', 1
        )
        out.append(
            f'<figure id="chart-{name}"><figcaption><h3>{escape(title)}</h3><p>{escape(note)}</p></figcaption>'
            f"{both}</figure>"
        )
    return f'<div class="charts">{"".join(out)}</div>' if out else ""


def _browser(teachers: Sequence[str]) -> str:
    options = "".join(f'<option value="{key}">{words}</option>' for key, words in OUTCOMES)
    picks = "".join(
        f'<label>{escape(name)}<select id="outcome-{place}"><option value="">any outcome</option>{options}</select>'
        "</label>"
        for place, name in enumerate(teachers)
    )
    heads = "".join(
        f'<span title="{escape(name)}"><i class="swatch c{place % 8}"></i>{escape(name)}</span>'
        for place, name in enumerate(teachers)
    )
    return f"""<p class="note">Of each teacher: its first attempt, and the reply that was accepted where that was a
later one. The address of this page keeps what you see, so a link shows it to others.</p>
<div class="filters">
<label class="search">Search queries<input id="q" type="search" autocomplete="off"></label>
<label>Category<select id="category"><option value="">all</option></select></label>
<label>Source<select id="source"><option value="">all</option></select></label>
{picks}
<label class="check"><input id="differ" type="checkbox">teachers differ at first</label>
<label class="check"><input id="traced" type="checkbox" checked>with traces</label>
<button id="clear" type="button">Clear</button>
</div>
<p id="found" role="status"></p>
<div class="row head"><span></span><span class="marks">{heads}</span></div>
<div id="list"></div>
<div class="pages"><button id="back" type="button">Back</button><span id="page"></span>
<button id="next" type="button">Next</button></div>"""


def _footer(report: Mapping[str, Any]) -> str:
    made = report.get("made", {})
    counted = f"Tokens counted by {made['tokenizer']}." if made.get("tokenizer") else "Tokens were not counted."
    return f"Made by Stillhouse {made.get('stillhouse', '')}, seed {made.get('seed', '')}. {counted}"
