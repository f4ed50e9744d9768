"""What is spent, by name of teacher or judge, as a budget must count it when a run goes on.

In: the journal's index. Out: dollars. A reply counts its price; a fault that may have been paid, and an intent whose
outcome a kill swallowed, count their bound: a hard budget may be under-used by what is in doubt, never overrun.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.store.index import Index, by_key, is_among
from stillhouse.store.rows import FAULT, INTENT, REPLY


def spending(index: Index, names: set[str], queries: NDArray[Any]) -> dict[str, float]:
    """Dollars per name on these queries (S16 keys): a shared store holds other runs' money too."""
    if not len(index):
        return {}
    cost = np.nan_to_num(index.cost_usd)
    total = np.where((index.kind == REPLY) | ((index.kind == FAULT) & index.maybe_paid), cost, 0.0)
    order, new = by_key(index.key.values)
    number = np.empty(len(order), np.int64)
    number[order] = np.cumsum(new) - 1
    inverse, keys = number[index.key.codes], int(new.sum())
    is_intent = index.kind == INTENT
    intents = np.bincount(inverse[is_intent], minlength=keys)
    outcomes = np.bincount(inverse[~is_intent], minlength=keys)
    doubt = np.maximum(intents - outcomes, 0)
    last = np.zeros(keys, np.int64)
    rows = np.flatnonzero(is_intent)
    last[inverse[rows]] = rows
    # an intent without an outcome counts on its own row; several of one key on the last of them
    open_keys = np.flatnonzero(doubt)
    total[last[open_keys]] += cost[last[open_keys]] * doubt[open_keys]
    total[~index.query.among(queries)] = 0.0
    by_teacher = np.bincount(index.teacher, weights=total, minlength=len(index.teachers))
    return {name: float(by_teacher[code]) for code, name in enumerate(index.teachers) if name in names}


def judges_spending(index: Index, queries: NDArray[Any]) -> dict[str, float]:
    """Dollars of judges' replies per teacher that they were asked about, on these queries."""
    out: dict[str, float] = {}
    for purpose in index.purposes:
        kind, _, teacher = purpose.partition(":")
        if kind == "judge" and teacher:
            rows = index.rows(purpose=purpose)
            rows = rows[is_among(index.query[rows], queries)]
            out[teacher] = float(np.nansum(index.cost_usd[rows]))
    return out
