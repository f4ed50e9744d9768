"""The ledger: what was asked, paid, lost and paid twice, proved from a journal's index.

In: an Index. Out: one Account per teacher and purpose, and their sum. Pure: no I/O. `stillhouse audit` prints it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from stillhouse.records import Price
from stillhouse.store.index import Array, Index, by_key, hex_key
from stillhouse.store.rows import BATCH, FAULT, INTENT, LENGTH, OTHER, REPLY, STOP, STOPPED

_SHOWN = 20  # keys named for each finding


@dataclass(slots=True)
class Account:
    """Counts of requests and replies, and their dollars; a sum over unpriced replies leaves them out.

    asked: intents. paid: replies. faults: requests that failed; maybe_paid: of these, those that may have been charged.
    in_flight: intents without an outcome that a living writer may still settle. submitted: those that stand in batch
    files. in_doubt: all other intents without an outcome, whose replies may have been paid for and lost; they alone can
    have been paid twice unseen. *_usd of these three: at most. saved_tokens: what the stopped replies would have had
    more, had they run to their limit; saved_usd: None where no price was given. reasked: replies asked again because
    the earlier one was truncated under a lower limit. asked_again: the earlier one was stopped, or truncated under no
    lower limit. paid_twice: the earlier reply was finished. unannounced: outcomes without an intent.
    """

    asked: int = 0
    paid: int = 0
    finished: int = 0
    truncated: int = 0
    stopped: int = 0
    faults: int = 0
    maybe_paid: int = 0
    in_flight: int = 0
    submitted: int = 0
    in_doubt: int = 0
    reasked: int = 0
    asked_again: int = 0
    paid_twice: int = 0
    unannounced: int = 0
    unpriced: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    saved_tokens: int = 0
    saved_usd: float | None = None
    paid_usd: float = 0.0
    maybe_paid_usd: float = 0.0
    in_flight_usd: float = 0.0
    submitted_usd: float = 0.0
    in_doubt_usd: float = 0.0
    reasked_usd: float = 0.0
    asked_again_usd: float = 0.0
    paid_twice_usd: float = 0.0

    def __add__(self, other: Account) -> Account:
        return Account(**{f.name: _sum(getattr(self, f.name), getattr(other, f.name)) for f in fields(Account)})


def _sum(one: Any, other: Any) -> Any:
    """None is not known, and adds nothing."""
    return other if one is None else one if other is None else one + other


@dataclass(frozen=True, slots=True)
class Ledger:
    """accounts: (teacher, purpose) -> Account. keys: finding -> some of the reply keys it was found at."""

    accounts: dict[tuple[str, str], Account]
    total: Account
    keys: dict[str, list[str]] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Nothing was paid twice, and every outcome has its intent."""
        return not (self.total.paid_twice or self.total.unannounced)

    def as_json(self) -> dict[str, Any]:
        """JSON values: {"total", "teachers": {NAME: {PURPOSE: {...}}}, "keys", "clean"}."""
        teachers: dict[str, dict[str, Any]] = {}
        for (teacher, purpose), account in sorted(self.accounts.items()):
            teachers.setdefault(teacher, {})[purpose] = asdict(account)
        return {"total": asdict(self.total), "teachers": teachers, "keys": self.keys, "clean": self.clean}


@dataclass(frozen=True, slots=True)
class _Finding:
    """Rows on whose accounts something is booked, how many each counts for, and the dollars of one."""

    rows: Array
    counts: Array
    dollars: Array


@dataclass(frozen=True, slots=True)
class _ByKey:
    """Rows sorted by key, then in the order they were written. key: number of the key of each sorted row."""

    order: Array
    key: Array
    start: Array  # where each key's rows begin
    last: Array  # where they end, inclusive

    @staticmethod
    def of(index: Index) -> _ByKey:
        order, new = by_key(np.asarray(index.key))  # rows of one key keep their order
        start = np.flatnonzero(new)
        last = np.append(start[1:], len(order))[: len(start)] - 1
        return _ByKey(order, np.cumsum(new) - 1, start, last)


def audit(index: Index, prices: Mapping[str, Price] | None = None) -> Ledger:
    """Count everything of an index; a key's findings are booked on the teacher and purpose of its row.

    prices: of the teachers by name, for what early stops saved.
    """
    if not len(index):
        return Ledger({}, Account())
    by_key = _ByKey.of(index)
    findings = {**_without_outcome(index, by_key), **_repeated(index, by_key)}
    pair = index.teacher.astype(np.int64) * len(index.purposes) + index.purpose
    accounts: dict[tuple[str, str], Account] = {}
    for code in np.unique(pair).tolist():
        teacher, purpose = divmod(code, len(index.purposes))
        account = _counted(index, np.flatnonzero(pair == code))
        for name, found in findings.items():
            mine = pair[found.rows] == code
            setattr(account, name, int(found.counts[mine].sum()))
            if hasattr(account, f"{name}_usd"):
                setattr(account, f"{name}_usd", float(np.nansum(found.dollars[mine] * found.counts[mine])))
        price = (prices or {}).get(index.teachers[teacher])
        if account.stopped and price is not None:
            account.saved_usd = price.cost(0, account.saved_tokens)
        accounts[index.teachers[teacher], index.purposes[purpose]] = account
    keys = {n: [hex_key(k) for k in index.key[found.rows[:_SHOWN]]] for n, found in findings.items() if len(found.rows)}
    return Ledger(accounts, sum(accounts.values(), Account()), keys)


def _without_outcome(index: Index, by_key: _ByKey) -> dict[str, _Finding]:
    """Compare intents with outcomes, key by key; findings are booked on the key's last row."""
    announced = index.kind[by_key.order] == INTENT
    intents = np.add.reduceat(announced.astype(np.int64), by_key.start)
    left = 2 * intents - (by_key.last - by_key.start + 1)  # intents without outcomes
    bound = np.fmax.reduceat(np.where(announced, index.cost_usd[by_key.order], np.nan), by_key.start)
    last = by_key.order[by_key.last]
    live = np.array([segment.live for segment in index.segments], dtype=bool)
    batch = np.array([label.startswith(BATCH) for label in index.labels], dtype=bool)
    unsettled = (left > 0) & (index.kind[last] == INTENT)
    submitted = unsettled & batch[index.label[last]]
    flying = unsettled & ~submitted & live[index.segment[last]]
    doubt = np.maximum(left, 0) - flying - submitted
    counts = {
        "in_flight": flying.astype(np.int64), "submitted": submitted.astype(np.int64), "in_doubt": doubt,
        "unannounced": np.maximum(-left, 0),
    }  # fmt: skip
    return {name: _Finding(last[n > 0], n[n > 0], bound[n > 0]) for name, n in counts.items()}


def _repeated(index: Index, by_key: _ByKey) -> dict[str, _Finding]:
    """Replies that have an earlier reply of their key."""
    is_reply = index.kind[by_key.order] == REPLY
    replies, key = by_key.order[is_reply], by_key.key[is_reply]
    several = np.flatnonzero(np.bincount(key, minlength=1)[key] > 1)
    found: dict[str, list[int]] = {"paid_twice": [], "asked_again": [], "reasked": []}
    before, finished, stopped, highest = -1, False, False, 0
    for number, row in zip(key[several].tolist(), replies[several].tolist(), strict=True):
        finish, limit = int(index.finish[row]), int(index.max_tokens[row])
        if number != before:
            before, finished, highest = number, False, 0
        elif finished:
            found["paid_twice"].append(row)
        elif stopped or limit <= highest:
            found["asked_again"].append(row)
        else:
            found["reasked"].append(row)
        finished, stopped = finished or finish not in (LENGTH, STOPPED), finish == STOPPED
        highest = max(highest, limit)
    rows = {name: np.array(given, dtype=np.int64) for name, given in found.items()}
    return {name: _Finding(r, np.ones(len(r), dtype=np.int64), index.cost_usd[r]) for name, r in rows.items()}


def _counted(index: Index, rows: Array) -> Account:
    """What can be told from each row alone."""
    kind, finish = index.kind[rows], index.finish[rows]
    replies = rows[kind == REPLY]
    maybe = rows[(kind == FAULT) & index.maybe_paid[rows]]
    cost = index.cost_usd[replies]
    halted = replies[index.finish[replies] == STOPPED]
    saved = index.max_tokens[halted].astype(np.int64) - index.completion_tokens[halted]
    return Account(
        asked=int((kind == INTENT).sum()), paid=len(replies), finished=int(np.isin(finish, (STOP, OTHER)).sum()),
        truncated=int((finish == LENGTH).sum()), stopped=int((finish == STOPPED).sum()),
        faults=int((kind == FAULT).sum()), maybe_paid=len(maybe), unpriced=int(np.isnan(cost).sum()),
        prompt_tokens=int(index.prompt_tokens[replies].sum(dtype=np.int64)),
        completion_tokens=int(index.completion_tokens[replies].sum(dtype=np.int64)),
        saved_tokens=int(np.maximum(saved, 0).sum()), paid_usd=float(np.nansum(cost)),
        maybe_paid_usd=float(np.nansum(index.cost_usd[maybe])),
    )  # fmt: skip
