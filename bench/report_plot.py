"""The charts of a report drawn by Observable Plot in the browser: the peer of `bench/report.py --plot FOLDER`.

FOLDER is where `npm install @observablehq/plot d3` was run. The page holds the two libraries and the aggregates of
report.json, and draws the same kinds of charts; it has no tables, no traces and no browser of queries.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DRAW = r"""
const names = Object.keys(report.teachers);
const rows = names.map((teacher) => ({ teacher, ...report.teachers[teacher] }));
const put = (options) => document.body.append(Plot.plot({ width: 440, color: { domain: names }, ...options }));
for (const key of ["pass_at_1", "verified_yield"]) {
  const known = rows.filter((row) => row[key] !== null);
  const ends = { x1: (d) => d[key + "_interval"][0], x2: (d) => d[key + "_interval"][1] };
  put({ marginLeft: 90, x: { domain: [0, 1], grid: true }, marks: [
    Plot.ruleY(known, { y: "teacher", ...ends, stroke: "teacher" }),
    Plot.dot(known, { y: "teacher", x: key, fill: "teacher" }),
  ] });
}
const solved = rows.flatMap((row) => (row.pass_at_k || []).map((y, k) => ({ teacher: row.teacher, k: k + 1, y })));
put({ y: { domain: [0, 1], grid: true }, marks: [Plot.lineY(solved, { x: "k", y: "y", stroke: "teacher" })] });
for (const key of ["first_token_bins", "token_bins"]) {
  const bins = report[key];
  const data = names.flatMap((teacher) => bins.counts[teacher].map(
    (count, at) => ({ teacher, x1: bins.edges[at], x2: bins.edges[at + 1], count })));
  put({ marginLeft: 90, fy: { domain: names }, x: { type: "log" }, marks: [
    Plot.rectY(data, { fy: "teacher", x1: "x1", x2: "x2", y: "count", fill: "teacher" }),
  ] });
}
for (const key of ["first_token_box", "token_box", "perplexity_box", "cost_box"]) {
  const data = names.flatMap((teacher) => Object.entries(report.teachers[teacher].categories).map(
    ([category, part]) => ({ teacher, category, ...part[key] }))).filter((d) => d.n);
  const at = { fy: "category", y: "teacher" };
  put({ marginLeft: 90, fy: { label: null }, x: { grid: true }, marks: [
    Plot.ruleY(data, { ...at, x1: "low_whisker", x2: "high_whisker", stroke: "teacher" }),
    Plot.barX(data, { ...at, x1: "q1", x2: "q3", fill: "teacher", fillOpacity: 0.3 }),
    Plot.tickX(data, { ...at, x: "median", stroke: "teacher" }),
  ] });
}
const parts = report.wins.flatMap((row) => ["only_a", "both", "neither", "only_b"].map(
  (part) => ({ pair: row.a + " against " + row.b, part, count: row[part] })));
put({ marginLeft: 150, color: { legend: true }, marks: [Plot.barX(parts, { y: "pair", x: "count", fill: "part" })] });
const sets = report.overlap.map((row) => ({ set: row.teachers.join(" + ") || "none", queries: row.queries }));
put({ marginLeft: 150, marks: [Plot.barX(sets, { y: "set", x: "queries" })] });
put({ y: { grid: true }, marks: [
  Plot.lineY(report.difficulty, { x: "others_failed", y: "mean", stroke: "teacher" }),
  Plot.ruleX(report.difficulty, { x: "others_failed", y1: "low", y2: "high", stroke: "teacher" }),
] });
document.documentElement.dataset.ready = Math.round(performance.now());
"""


def plot_page(report: Path, libraries: Path, out: Path) -> dict[str, Any]:
    """Write the peer's page; returns its bytes, and those of the libraries."""
    code = [
        (libraries / "node_modules" / name).read_text(encoding="utf-8")
        for name in ("d3/dist/d3.min.js", "@observablehq/plot/dist/plot.umd.min.js")
    ]
    told = json.loads(report.read_text(encoding="utf-8"))
    kept = {key: told[key] for key in ("teachers", "first_token_bins", "token_bins", "wins", "overlap", "difficulty")}
    data = json.dumps(kept).replace("<", "\\u003c")
    scripts = "".join(f"<script>{text}</script>" for text in (*code, f"const report = {data};{DRAW}"))
    out.write_text(f"<!doctype html><meta charset=utf-8><body>{scripts}", encoding="utf-8")
    return {"plot_page_mb": round(out.stat().st_size / 1e6, 2), "plot_libraries_kb": sum(map(len, code)) // 1000}
