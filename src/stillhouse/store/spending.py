"""What is spent, by name of teacher or judge, as a budget must count it when a run goes on.

In: the journal's index. Out: dollars. A reply counts its price; a fault that may have been paid, and an intent whose
outcome a kill swallowed, count their bound: a hard budget may be under-used by what is in doubt, never overrun.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.store.index import Index
from stillhouse.store.rows import FAULT, INTENT, REPLY


def spending(index: Index, names: set[str], queries: NDArray[Any]) -> dict[str, float]:
    """Dollars per name on these queries (S16 keys): a shared store holds other runs' money too."""
    if not len(index):
        return {}
    among = np.isin(index.query, queries)
    cost = np.nan_to_num(index.cost_usd)
    counted = np.where(index.kind == REPLY, cost, 0.0) + np.where((index.kind == FAULT) & index.maybe_paid, cost, 0.0)
    keys, inverse = np.unique(index.key, return_inverse=True)
    intents = np.bincount(inverse[index.kind == INTENT], minlength=len(keys))
    outcomes = np.bincount(inverse[index.kind != INTENT], minlength=len(keys))
    doubt = np.maximum(intents - outcomes, 0)
    last = np.zeros(len(keys), np.int64)
    rows = np.flatnonzero(index.kind == INTENT)
    last[inverse[rows]] = rows
    out: dict[str, float] = {}
    for code, name in enumerate(index.teachers):
        if name not in names:
            continue
        mine = (index.teacher == code) & among
        total = float(counted[mine].sum())
        for key in np.flatnonzero(doubt):
            if mine[last[key]] and index.kind[last[key]] == INTENT:
                total += float(cost[last[key]]) * int(doubt[key])
        out[name] = total
    return out
