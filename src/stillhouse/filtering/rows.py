"""Rows of the filter stage: the queries of some responses, and a filter's verdict as a row of FILTERED.

In: responses, files of kept queries, verdicts. Out: queries by key, rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from stillhouse.records import Query, Response, Verdict, canonical_json
from stillhouse.store.tables import row_to_query


def queries_of(responses: Sequence[Response], files: Sequence[Path]) -> dict[str, Query]:
    """The kept queries of some responses; only row groups in their range of keys are read."""
    if not responses:
        return {}
    wanted = {response.query for response in responses}
    low, high = min(wanted), max(wanted)
    found: dict[str, Query] = {}
    for path in files:
        table = pq.read_table(path, filters=[("key", ">=", low), ("key", "<=", high)])
        found |= {row["key"]: row_to_query(row) for row in table.to_pylist() if row["key"] in wanted}
    missing = wanted - found.keys()
    if missing:
        raise RuntimeError(f"{len(missing)} accepted responses are of no kept query, the first of {min(missing)}")
    return found


def filtered_row(response: Response, name: str, verdict: Verdict, match: str = "") -> dict[str, Any]:
    detail = dict(verdict.detail or {}) | ({"match": match} if match else {})
    return {
        "query": response.query, "response": response.key, "filter": name, "outcome": verdict.outcome,
        "rule": verdict.rule, "reason": verdict.reason, "score": verdict.score,
        "detail": canonical_json(detail) if detail else None,
    }  # fmt: skip
