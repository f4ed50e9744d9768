"""Curate: order of the steps, counts that add up, and what a rejected row tells."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from stillhouse.engines.local import Local
from stillhouse.records import Part
from stillhouse.stages.curate import curate
from stillhouse.store.run import Run
from stillhouse.store.tables import read_rows, table_files

sys.path.insert(0, str(Path(__file__).parent))  # workers get this path too

FILTERS = [
    Part(f"stillhouse.filters.query_text:{name}")
    for name in ("oversized", "odd_characters", "incomplete", "url", "table", "image")
]
LONG = (
    "A farmer has 17 sheep and sells 9 of them at the market before noon, then buys 4 more from his neighbour on the "
    "way home; how many sheep does the farmer have when he arrives at home in the evening?"
)


def rows(*given: dict[str, Any], source: str = "rows", category: str = "math") -> Part:
    return Part("curate_parts:Rows", {"rows": list(given), "source": source, "category": category})


def curated(
    folder: Path, sources: list[Part], *, workers: int = 1, **settings: Any
) -> tuple[dict[str, Any], dict, dict]:
    settings = {"filters": FILTERS, "verifiers": {"math": Part("curate_parts:Whole")}} | settings
    with Run(folder) as run, Local(workers) as engine:
        counts = curate(run, sources=sources, engine=engine, **settings)
        kept = {row["id"] or row["query"]: row for row in read_rows(table_files(run.queries, "kept"))}
        rejected = {row["id"] or row["query"]: row for row in read_rows(table_files(run.queries, "rejected"))}
    assert counts["in"] == counts["kept"] + counts["rejected"]
    assert counts["rejected"] == sum(counts["rules"].values())
    return counts, kept, rejected


def test_every_rule_says_why_and_counts_add_up(tmp_path: Path) -> None:
    first = rows(
        {"id": "good", "query": "What is 1 + 1?", "ground_truth": "2"},
        {"id": "no text", "query": "  ", "ground_truth": "2"},
        {"id": "no reference", "query": "What is 1 + 2?"},
        {"id": "bad reference", "query": "What is 1 + 3?", "ground_truth": "four"},
        {"id": "link", "query": "See https://example.com/a and answer 3", "ground_truth": "2"},
        {"id": "cut", "query": "Compute $3 + x", "ground_truth": "2", "messages": [("user", "Compute \\[3 + x")]},
        {"id": "long", "query": LONG, "ground_truth": "12"},
        {"id": "exam", "query": "what is 6 times 7 ?", "ground_truth": "42"},
        source="first",
    )
    second = rows(
        {"id": "copy", "query": " What is 1 + 1?\n", "ground_truth": "2"},
        {"id": "near", "query": LONG.replace("in the evening", "in the night"), "ground_truth": "12"},
        {"id": "other number", "query": LONG.replace("17", "18"), "ground_truth": "12"},
        {"id": "other reference", "query": LONG.replace("the evening", "the night"), "ground_truth": "13"},
        {"id": "one", "query": "What is 2 + 2?", "ground_truth": "4"},
        {"id": "two", "query": "What is 2 + 2?", "ground_truth": "5"},
        source="second",
    )
    exam = rows({"id": "e1", "query": "What is 6 times 7?"}, source="exam")
    _, kept, rejected = curated(tmp_path, [first, second], avoid=[("exam", exam)])
    assert set(kept) == {"good", "long", "other number"}
    told = {name: (row["rule"], row["match_source"]) for name, row in rejected.items()}
    assert told == {
        "no text": ("no_text", None),
        "no reference": ("no_reference", None),
        "bad reference": ("self_check", None),
        "link": ("url", None),
        "cut": ("incomplete", None),
        "exam": ("benchmark_equal", "exam"),
        "copy": ("duplicate", "first"),
        "near": ("conflicting_reference", "second"),
        "other reference": ("conflicting_reference", "second"),
        "one": ("conflicting_reference", "second"),
        "two": ("conflicting_reference", "second"),
    }
