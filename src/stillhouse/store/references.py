"""What supplies references that queries do not bring, or bring wrongly: the teachers' vote, and the judge.

In: `3-verdicts/references.parquet`, written by distill where the recipe asks for it. Out: the reference that holds for
a query. `1-queries` is never changed: what stood there is kept beside as `original`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stillhouse.records import canonical_json
from stillhouse.store.queries import QueryTable
from stillhouse.store.run import Run
from stillhouse.store.tables import read_batches, read_rows, table_files, write_rows
from stillhouse.store.verdicts import PARQUET

MISSING, SUSPECT = "missing", "suspect"
SCHEMA = pa.schema(
    [
        pa.field("query", pa.string(), nullable=False), pa.field("why", pa.string(), nullable=False),
        pa.field("ground_truth", pa.string(), nullable=False), pa.field("original", pa.string()),
        pa.field("votes", pa.int32(), nullable=False), pa.field("voters", pa.int32(), nullable=False),
        pa.field("answers", pa.string(), nullable=False),
    ]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class VotedReference:
    """why: missing or suspect. original: what the query's row says. answers: teacher -> answer, JSON text."""

    query: str
    why: str
    ground_truth: str
    original: str | None
    votes: int
    voters: int
    answers: str


def load_references(run: Run, *, only: Iterable[str] = (MISSING, SUSPECT)) -> dict[str, VotedReference]:
    """By query key; only: for these reasons."""
    file, reasons = run.verdicts / "references.parquet", set(only)
    rows: Iterable[dict[str, Any]] = read_rows(file) if file.exists() else ()
    return {row["query"]: VotedReference(**row) for row in rows if row["why"] in reasons}


def save_references(run: Run, voted: Mapping[str, VotedReference]) -> None:
    """Write them all, or remove the file where there are none."""
    file = run.verdicts / "references.parquet"
    if not voted:
        file.unlink(missing_ok=True)
        return
    write_rows(file, (asdict(voted[key]) for key in sorted(voted)), SCHEMA)


def synthesised_constraints(run: Run) -> dict[str, str]:
    """Constraints that a judge read off queries that stated them in words only: query key -> JSON text."""
    found: dict[str, str] = {}
    for batch in read_batches(sorted((run.verdicts / "log").glob(f"*{PARQUET}")), ["query", "detail"]):
        mine = batch.filter(pc.fill_null(pc.match_substring(batch["detail"], '"synthesised"'), False))
        for row in mine.to_pylist():
            found[row["query"]] = canonical_json(json.loads(row["detail"])["synthesised"])
    return found


def open_queries(run: Run) -> QueryTable:
    """The kept queries with the references that hold today."""
    voted = load_references(run)
    return QueryTable(table_files(run.queries, "kept"), {key: one.ground_truth for key, one in voted.items()})
