"""The stage `report`: report.html of a run folder, one page that opens from disk, and its charts as SVG files.

In: report.json and what the other stages left; it only reads, and can be made again at any time. Out: report.html,
report/NAME.svg, and report/traces-N.js where the sampled traces are too large for the page.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from stillhouse.records import UserMistake
from stillhouse.reporting.beside import beside
from stillhouse.reporting.charts import charts
from stillhouse.reporting.page import page
from stillhouse.reporting.samples import collect, thinking_seen, traces
from stillhouse.reporting.traces import pack
from stillhouse.store.run import Run

SAMPLES = 2000


def report(
    run: Run | Path, *, samples: int = SAMPLES, name: str = "", sources: Sequence[Mapping[str, str]] = ()
) -> dict[str, int]:
    """Write report.html. Returns counts of what it shows. Raises UserMistake when compare has not been run.

    run: the Run or its folder. samples: queries whose traces are shown. name: the title, the folder's name without.
    sources: name, licence and terms of each source of queries.
    """
    run = run if isinstance(run, Run) else Run(run, read_only=True)
    folder = run.folder
    try:
        told = orjson.loads((folder / "report.json").read_bytes())
    except FileNotFoundError:
        raise UserMistake(f"{folder / 'report.json'} does not exist: run compare first") from None
    except orjson.JSONDecodeError as error:
        raise UserMistake(f"{folder / 'report.json'} is not JSON ({error}): run compare again") from None
    sampled = collect(run, list(told["teachers"]), samples)
    found = traces(run, sampled)
    chunks, sidecars = pack([found[key] for key in sampled.chosen if key in found])
    told |= {"sources": told.get("sources") or list(sources), **beside(run, told)}
    for teacher, seen in thinking_seen(found.values(), sampled.teachers).items():
        told["teachers"][teacher]["thinking_seen"] = seen
    place = folder / "report"
    _clear(place)
    drawn = 0
    for chart, wide, _ in charts(told):
        drawn += 1
        _write(place / f"{chart.name}.svg", wide.svg(standalone=True))
    for number, text in sidecars.items():
        _write(place / f"traces-{number}.js", text)
    recipe = folder / "recipe.yaml"
    html = page(
        told,
        title=name or told.get("name") or folder.resolve().name,
        recipe=recipe.read_text(encoding="utf-8") if recipe.exists() else "",
        index=sampled.index,
        total=sampled.total,
        chunks=chunks,
        sidecars=sorted(sidecars),
    )
    _write(folder / "report.html", html)
    return {"charts": drawn, "queries": sampled.total, "traced": len(found), "bytes": len(html.encode())}


def _clear(folder: Path) -> None:
    """Take away what an earlier report left; a chart that is gone must not stay as a file."""
    folder.mkdir(exist_ok=True)
    for file in [*folder.glob("*.svg"), *folder.glob("traces-*.js")]:
        file.unlink()


def _write(file: Path, text: str) -> None:
    partial = file.with_name(file.name + ".partial")
    with partial.open("w", encoding="utf-8", errors="replace") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(file)
