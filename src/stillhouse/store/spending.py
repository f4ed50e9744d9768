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

_BLOCK = 262_144  # rows that are looked at together: what that takes for a moment is then small


def spending(index: Index, names: set[str], queries: NDArray[Any]) -> dict[str, float]:
    """Dollars per name on these queries (S16 keys): a shared store holds other runs' money too."""
    if not len(index):
        return {}
    order, new = by_key(index.key.values)
    number = np.empty(len(order), np.uint32)
    number[order] = np.cumsum(new) - 1
    among = index.query.among(queries)
    doubt, last = np.zeros(int(new.sum()), np.int32), np.zeros(int(new.sum()), np.int64)
    by_teacher = np.zeros(len(index.teachers))
    for start in range(0, len(index), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(index)))
        kind, key = index.kind[rows], number[index.key.codes[rows]]
        asked = kind == INTENT
        np.add.at(doubt, key, np.where(asked, 1, -1).astype(np.int32))
        last[key[asked]] = rows[asked]
        paid = rows[((kind == REPLY) | ((kind == FAULT) & index.maybe_paid[rows])) & among[rows]]
        np.add.at(by_teacher, index.teacher[paid], np.nan_to_num(index.cost_usd[paid]))
    # an intent without an outcome counts on its own row; several of one key on the last of them
    open_keys = np.flatnonzero(doubt > 0)
    open_keys = open_keys[among[last[open_keys]]]
    rows = last[open_keys]
    np.add.at(by_teacher, index.teacher[rows], np.nan_to_num(index.cost_usd[rows]) * doubt[open_keys])
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
