"""Where every pair stands before anything is asked: the verdicts that hold, laid over the queries.

In: the table of queries, teachers, the journal's index, the verdicts. Out: Pairs that are filled in. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.records import Part, Teacher, TeacherSpec, UserMistake
from stillhouse.store.index import Index
from stillhouse.store.known import Known
from stillhouse.store.pairs import TRUNCATED_RULE, Pairs
from stillhouse.store.queries import QueryTable

_BLOCK = 131_072  # verdicts that are looked at together: what that takes for a moment is then small


def needed_categories(table: QueryTable, verifiers: Mapping[str, Part]) -> set[str]:
    found = set(table.categories)
    missing = sorted(found - set(verifiers))
    if missing:
        raise UserMistake(*(
            f"no verifier for category {c}: name a judge or a verifier, or `verify: {{{c}: structure}}` for form alone"
            for c in missing
        ))  # fmt: skip
    return found


def identities_of(
    teachers: Sequence[TeacherSpec], built: Mapping[str, Teacher], categories: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Teacher -> category -> identity; two teachers that would give the same replies are a mistake."""
    out: dict[str, dict[str, str]] = {}
    for spec in teachers:
        mine = {category: built[spec.name].identity(category) for category in categories}
        for other, theirs in out.items():
            if mine == theirs and mine:
                raise UserMistake(
                    f"teachers {other} and {spec.name} have the same model, prompt and sampling: their replies would "
                    "be the same; change one, or leave one out"
                )
        out[spec.name] = mine
    return out


def fill(
    pairs: Pairs,
    table: QueryTable,
    index: Index | None,
    known: Known,
    identities: Mapping[str, str],
    max_tokens: int,
) -> None:
    """Take over the verdicts that stand: those of this teacher's identity, on the query's reference of today.

    Without an index those on truncated replies are passed over: only with it can be told whether they hold.
    """
    mine = known.identity.among(np.array([bytes.fromhex(i) for i in identities.values()], "S16"))
    if index is None:
        mine &= ~known.rule.among(np.array([TRUNCATED_RULE], object))
    every = np.flatnonzero(mine)
    for start in range(0, len(every), _BLOCK):
        _take_over(pairs, table, index, known, every[start : start + _BLOCK], max_tokens)


def _take_over(
    pairs: Pairs, table: QueryTable, index: Index | None, known: Known, rows: NDArray[Any], max_tokens: int
) -> None:
    positions = table.positions(known.prompt[rows])
    there = positions >= 0
    rows, positions = rows[there], positions[there]
    formal = known.verifier[rows] == "structure"
    current = formal | (known.reference[rows] == table.references[positions])
    # a reply that was cut under a lower limit than today's is asked again: its verdict says nothing any more
    cut = known.rule[rows] == TRUNCATED_RULE
    if index is not None and cut.any():
        found = index.find(known.key[rows[cut]])
        stale = (found < 0) | (index.max_tokens[np.maximum(found, 0)] < max_tokens)
        stale &= (found < 0) | index.unfinished(np.maximum(found, 0))
        current[np.flatnonzero(cut)[stale]] = False
        finished = (found >= 0) & ~index.unfinished(np.maximum(found, 0))
        current[np.flatnonzero(cut)[finished]] = False
    rows, positions = rows[current], positions[current]
    pairs.load(positions, known.attempt[rows], known.outcome[rows], known.rule[rows])
