"""A fixed number of samples of each query, whatever passes: the one loop, as evaluate needs it.

In: a run, queries, one teacher, verifiers. Out: what the sitting ended with, and a row for each judged sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stillhouse.records import Part, Query, TeacherSpec, content_hash
from stillhouse.sitting.session import Sat, sit
from stillhouse.store.index import hex_key
from stillhouse.store.queries import QueryTable
from stillhouse.store.run import Run
from stillhouse.store.tables import QUERIES, query_to_row, write_rows


def sample(
    run: Run,
    queries: Sequence[Query],
    samples: int,
    *,
    teacher: TeacherSpec,
    verifiers: Mapping[str, Part],
    judges: Mapping[str, TeacherSpec] | None = None,
    **settings: Any,
) -> tuple[Sat, list[dict[str, Any]]]:
    """A fixed number of samples of each query, whatever passes (evaluation). settings: of `sit`.

    Rows: query, attempt, outcome, rule, finish_reason, completion_tokens, malformed, cost_usd; one a judged sample.
    """
    place = run.evaluations / "items"
    place.mkdir(parents=True, exist_ok=True)
    ordered = sorted(queries, key=lambda q: q.key)
    file = place / f"{content_hash(*(q.key for q in ordered))}.parquet"
    write_rows(file, map(query_to_row, ordered), QUERIES)
    table = QueryTable([file])
    sat = sit(
        run, table, teachers=[teacher], judges=judges or {}, verifiers=verifiers, versions={}, attempts=samples,
        until_pass=False, purpose="evaluate", **settings,
    )  # fmt: skip
    known, index = sat.known, sat.index
    if known is None:
        return sat, []
    mine = np.array([bytes.fromhex(i) for i in sat.identities[teacher.name].values()], "S16")
    rows = np.flatnonzero(np.isin(known.identity, mine) & (known.attempt <= samples))
    rows = rows[table.positions(known.prompt[rows]) >= 0]
    replies = index.find(known.key[rows])
    made = []
    for row, reply in zip(rows.tolist(), replies.tolist(), strict=True):
        if reply < 0:
            continue
        cost = float(index.cost_usd[reply])
        made.append({
            "query": hex_key(index.query[reply]), "attempt": int(known.attempt[row]),
            "outcome": str(known.outcome[row]),
            "rule": str(known.rule[row]), "finish_reason": index.labels[int(index.label[reply])],
            "completion_tokens": int(index.completion_tokens[reply]),
            "malformed": "malformed" if known.rule[row] == "malformed" else None,
            "cost_usd": None if np.isnan(cost) else cost,
        })  # fmt: skip
    return sat, made
