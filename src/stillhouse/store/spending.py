"""What is spent, by name of teacher or judge, as a budget must count it when a run goes on.

In: the journal's index. Out: dollars. A reply counts its price; a fault that may have been paid, and an intent whose
outcome a kill swallowed, count their bound: a hard budget may be under-used by what is in doubt, never overrun.
"""

from __future__ import annotations

import numpy as np

from stillhouse.store.index import Index
from stillhouse.store.rows import FAULT, INTENT, REPLY


def spending(index: Index, names: set[str]) -> dict[str, float]:
    """Dollars per name; names without a row are left out, unpriced rows count nothing."""
    if not len(index):
        return {}
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
        mine = index.teacher == code
        total = float(counted[mine].sum())
        for key in np.flatnonzero(doubt):
            if index.teacher[last[key]] == code and index.kind[last[key]] == INTENT:
                total += float(cost[last[key]]) * int(doubt[key])
        out[name] = total
    return out
