"""Which replies today's verifiers judge otherwise than the frozen ones did.

In: the verdict log, both sets of versions, queries and journal index. Out: a Flip each, with query, teacher and why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stillhouse.store.index import Index, hex_key
from stillhouse.store.known import verdicts_by_reply
from stillhouse.store.queries import QueryTable


@dataclass(frozen=True, slots=True)
class Flip:
    """before, after: outcome and rule. reason: of the verdict of today. id: the user's own of the query."""

    response: str
    query: str
    id: str | None
    teacher: str
    attempt: int
    before: str
    before_rule: str
    after: str
    after_rule: str
    reason: str

    @property
    def way(self) -> str:
        return f"{self.before} -> {self.after}"

    def line(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return (
            f"  {self.id or self.query}, {self.teacher}, attempt {self.attempt}: {self.before} ({self.before_rule}) -> "
            f"{self.after} ({self.after_rule}){why}"
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def flips_of(
    verdicts: pa.Table, frozen: Mapping[str, str], today: Mapping[str, str], table: QueryTable, index: Index
) -> list[Flip]:
    """Every flip, by teacher and query. Only verdicts on today's references are compared."""
    before, after = verdicts_by_reply(verdicts, frozen, frozen), verdicts_by_reply(verdicts, today, today)
    _, i, j = np.intersect1d(before.key, after.key, return_indices=True)
    moved = (before.outcome[i] != after.outcome[j]) & (before.reference[i] == after.reference[j])
    i, j = i[moved], j[moved]
    positions, rows = table.positions(after.prompt[j]), index.find(after.key[j])
    good = (positions >= 0) & (rows >= 0)
    i, j, positions, rows = i[good], j[good], positions[good], rows[good]
    ids = {place: (query.id, query.key) for query, place in table.read_at(np.unique(positions))}
    reasons = _reasons(verdicts, {hex_key(key) for key in after.key[j]}, today)
    found = []
    for a, b, place, row in zip(i, j, positions.tolist(), rows.tolist(), strict=True):
        key = hex_key(after.key[b])
        found.append(Flip(
            key, ids[place][1], ids[place][0], index.teachers[int(index.teacher[row])], int(after.attempt[b]),
            str(before.outcome[a]), str(before.rule[a]), str(after.outcome[b]), str(after.rule[b]),
            reasons.get(key, ""),
        ))  # fmt: skip
    return sorted(found, key=lambda flip: (flip.teacher, flip.query, flip.attempt))


def _reasons(verdicts: pa.Table, keys: set[str], today: Mapping[str, str]) -> dict[str, str]:
    if not keys:
        return {}
    mine = verdicts.filter(pc.is_in(verdicts["response"], pa.array(sorted(keys))))
    rows = mine.select(["response", "verifier", "version", "reason"]).to_pylist()
    return {r["response"]: r["reason"] for r in rows if r["version"] == today.get(r["verifier"], r["version"])}


def summed(flips: Sequence[Flip]) -> dict[str, dict[str, int]]:
    """Teacher -> direction -> how many."""
    counts = Counter((flip.teacher, flip.way) for flip in flips)
    out: dict[str, dict[str, int]] = {}
    for (teacher, way), n in sorted(counts.items()):
        out.setdefault(teacher, {})[way] = n
    return out
