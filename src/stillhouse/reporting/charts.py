"""The charts of the report in the order of the page: each from aggregates alone, at a wide and a narrow width.

In: report.json as a dict. Out: Charts, whose `draw` gives a Drawing, or None where there is nothing to draw; the page
and the folder of SVG files leave such a chart out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from stillhouse.reporting import charts_right as right
from stillhouse.reporting import charts_sizes as sizes
from stillhouse.reporting import charts_students as students
from stillhouse.reporting.svg import Drawing

Report = Mapping[str, Any]
WIDE, NARROW = 440.0, 336.0  # what a chart has in two columns on a desk, and in one on a phone: letters keep their size


@dataclass(frozen=True)
class Chart:
    """group: the section of the page. note: what the reader needs to know to read it right."""

    name: str
    group: str
    title: str
    note: str
    draw: Callable[[Report, float], Drawing | None]


BOX = "Box: quartiles and median. Whiskers: farthest values within 1.5 interquartile ranges. Ring: mean."

CHARTS = (
    Chart("decision", "decision", "What the decision rests on", "", right.leading),
    Chart(
        "rates", "right", "Solved at the first attempt, and within the limit",
        "Share of queries with 95 % score intervals. Grey band: where the figure could lie if everything that waits or "
        "has no verdict failed, or passed.", right.rates,
    ),
    Chart(
        "wins", "right", "First attempts, head to head",
        "The same queries asked of both teachers. Only first attempts tell teachers apart: given more, both solve "
        "nearly everything. κ: agreement beyond chance.", right.wins,
    ),
    Chart(
        "pass_at_k", "right", "Solved within k attempts",
        "Share of decided queries that had passed after so many attempts.", right.pass_at_k,
    ),
    Chart(
        "overlap", "right", "Who solves what",
        "Queries by the exact set of teachers that solved them; filled dots name the set.", right.overlap,
    ),
    Chart(
        "first_lengths", "length", "Length of first attempts, all queries",
        "Unselected: what each teacher writes when asked once. Stroke: median. Logarithmic axis.",
        lambda report, width: sizes.ridges(report, "first_token_bins", "first_token_box", width),
    ),
    Chart(
        "kept_lengths", "length", "Length of kept replies",
        "Verified and filtered replies, to whichever queries they are. Stroke: median. Logarithmic axis.",
        lambda report, width: sizes.ridges(report, "token_bins", "token_box", width),
    ),
    Chart(
        "difficulty", "length", "Length against difficulty",
        "Mean tokens of a teacher's first attempts, by how many of the other teachers failed theirs. A teacher that "
        "thinks longer on harder queries rises to the right. Hollow: too few queries for an interval.",
        sizes.difficulty,
    ),
    Chart(
        "first_length_boxes", "length", "Length of first attempts by category", BOX,
        lambda report, width: sizes.boxes(report, "first_token_box", "tokens", width, divided=True),
    ),
    Chart(
        "length_boxes", "length", "Length of kept replies by category", BOX,
        lambda report, width: sizes.boxes(report, "token_box", "tokens", width, divided=True),
    ),
    Chart(
        "parallel_length_boxes", "length", "Length in the parallel set by category",
        "What students are trained on: of each teacher the replies to the same queries. " + BOX,
        lambda report, width: sizes.boxes(report, "parallel_token_box", "tokens", width),
    ),
    Chart(
        "perplexity_boxes", "cost", "Perplexity of kept replies by category",
        "Under the recipe's perplexity model: a teacher of that model's own family reads as easier than it is. " + BOX,
        lambda report, width: sizes.boxes(report, "perplexity_box", "perplexity", width),
    ),
    Chart(
        "attempts", "cost", "Attempts by category",
        "Queries by the attempts that were spent on them, the darkest for one; at the right their mean.",
        sizes.attempts,
    ),
    Chart(
        "cost", "cost", "Dollars per 1,000 verified rows",
        "All money of a teacher, failed attempts, exhausted pairs and judges included, with 95 % bootstrap intervals "
        "over queries.", sizes.costs,
    ),
    Chart(
        "cost_boxes", "cost", "Dollars per query by category",
        "Money of each query of a teacher, whatever came of it. " + BOX,
        lambda report, width: sizes.boxes(report, "cost_box", "dollars", width),
    ),
    Chart(
        "student_scores", "students", "Scores of the students",
        "pass@1 with 95 % intervals clustered by item. Grey: controls, which saw no teacher's data.",
        students.scores,
    ),
    Chart(
        "student_lengths", "students", "Length of the students' replies by difficulty",
        "Mean tokens on easy, middle and hard items; an item is as hard as all the other candidates found it.",
        students.adaptive,
    ),
    Chart(
        "losses", "students", "Training loss",
        "Thin: each step; bold: running mean. A lower loss says that the data are predictable to the student, not that "
        "they teach more.", students.losses,
    ),
    Chart(
        "funnel", "funnel", "Queries, teacher by teacher",
        "Of the queries asked: kept, dropped by filters, and not accepted.", right.funnel,
    ),
)  # fmt: skip


# Of datasets that exist already some charts are read otherwise: nothing is known of what was not accepted.
EXISTING = {
    "overlap": ("Who has what", "Queries by the exact set of datasets that hold a verified reply: filled dots."),
    "kept_lengths": ("Length of the replies", "Verified replies, of all queries of each dataset. Stroke: median. "
                     "Logarithmic axis."),
    "length_boxes": ("Length of the replies by category", BOX),
    "perplexity_boxes": ("Perplexity of the replies by category", "As the datasets tell it. " + BOX),
}  # fmt: skip


def charts(report: Report, group: str | None = None) -> Iterator[tuple[Chart, Drawing, Drawing]]:
    """(chart, wide, narrow) of every chart that has something to draw."""
    for each in CHARTS:
        chart = each
        if group is None or chart.group == group:
            if report.get("matching") and chart.name in EXISTING:
                chart = replace(chart, title=EXISTING[chart.name][0], note=EXISTING[chart.name][1])
            if len(report.get("categories", {})) < 2:
                chart = replace(chart, title=chart.title.removesuffix(" by category"))
            wide, narrow = chart.draw(report, WIDE), chart.draw(report, NARROW)
            if wide is not None and narrow is not None:
                yield chart, wide, narrow
