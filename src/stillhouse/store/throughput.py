"""How fast a teacher answered, proved from the journal: the time in which something was in flight, and what came of it.

In: an Index. Out: tokens per second and requests in flight on average, over busy time alone, so that nights between two
sittings do not count. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.store.index import Index
from stillhouse.store.rows import BATCH, INTENT, REPLY

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Throughput:
    """busy_seconds: with at least one request in flight. in_flight: on average, while busy."""

    tokens: int
    busy_seconds: float
    in_flight: float

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.busy_seconds


def throughput(index: Index, teacher: str, queries: Array | None = None) -> Throughput | None:
    """Of a teacher's replies (to these queries, S16 keys); None where too little was answered live to say."""
    if teacher not in index.teachers:
        return None
    mine = index.teacher == index.teachers.index(teacher)
    if queries is not None:
        mine &= np.isin(index.query, queries)
    rows = np.flatnonzero(mine & ((index.kind == INTENT) | (index.kind == REPLY)))
    batch = np.array([label.startswith(BATCH) for label in index.labels] or [False], bool)
    order = rows[np.lexsort((rows, index.key[rows]))]  # of each key in the order they were written
    before, after = order[:-1], order[1:]
    pair = (index.kind[before] == INTENT) & (index.kind[after] == REPLY) & (index.key[before] == index.key[after])
    pair &= ~batch[index.label[before]]
    begun, ended = index.created[before[pair]], index.created[after[pair]]
    if len(begun) < 2:
        return None
    ended = np.maximum(ended, begun)
    place = np.argsort(begun, kind="stable")
    begun, ended = begun[place], ended[place]
    reach = np.maximum.accumulate(ended)
    idle = np.maximum(begun[1:] - reach[:-1], 0.0).sum()
    busy = float(reach[-1] - begun[0] - idle)
    if busy <= 0:
        return None
    tokens = int(index.completion_tokens[after[pair]].sum(dtype=np.int64))
    return Throughput(tokens, busy, float((ended - begun).sum()) / busy)
