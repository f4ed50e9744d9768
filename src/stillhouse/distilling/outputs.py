"""What distill leaves for the stages after it, computed from the journal's index and the verdicts.

Out: `3-verdicts/pairs.parquet`, a row per (teacher, query) with its state, attempts and money, and
`2-responses/accepted-TEACHER.parquet`, the passing response of each verified or unverified pair, sorted by query key.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stillhouse.records import Response, TeacherSpec
from stillhouse.store.entries import response_of
from stillhouse.store.index import Index, hex_key
from stillhouse.store.ledger import audit
from stillhouse.store.pairs import STATES, UNVERIFIED, VERIFIED, Pairs
from stillhouse.store.queries import QueryTable
from stillhouse.store.reading import read_replies
from stillhouse.store.run import Run
from stillhouse.store.segments import replaced
from stillhouse.store.tables import RESPONSES, TableWriter, exact_columns, response_to_row, to_table

Array = NDArray[Any]
PAIRS = pa.schema(
    [
        ("query", pa.string()), ("category", pa.string()), ("teacher", pa.string()), ("identity", pa.string()),
        ("state", pa.string()), ("attempts", pa.int32()), ("first_outcome", pa.string()),
        ("first_tokens", pa.int64()), ("first_response", pa.string()), ("passed_at", pa.int32()),
        ("response", pa.string()), ("responses", pa.int32()), ("unknown", pa.int32()), ("truncated", pa.int32()),
        ("cost_usd", pa.float64()), ("prompt_tokens", pa.int64()), ("completion_tokens", pa.int64()),
    ]
)  # fmt: skip
ACCEPTED = pa.schema([*RESPONSES, pa.field("verify_score", pa.float64()), pa.field("verify_rule", pa.string())])
REPEATING = (
    "teacher", "identity", "attempt", "finish_reason", "prompt_tokens", "counted", "model", "max_tokens", "thinking",
    "verify_score", "verify_rule",
)  # fmt: skip
_FIELDS = tuple(field.name for field in fields(Response))
PAIRS_ROWS = 65_536  # of pairs.parquet that are in memory at once
PARTITION_ROWS, MOST_ROWS = 128, 16_384  # accepted responses whose texts are in memory at once: the first, and at most
PARTITION_BYTES = 8 << 20  # so many as have about this size; each partition walks through the journal's frames once


def write_outputs(
    run: Run,
    table: QueryTable,
    index: Index,
    known: Any,
    teachers: Sequence[TeacherSpec],
    identities: Mapping[str, Mapping[str, str]],
    pairs: Mapping[str, Pairs],
) -> None:
    """Write both files for every teacher; accepted responses stand sorted by query key."""
    with TableWriter(run.verdicts / "pairs.parquet", PAIRS) as writer:
        for spec in teachers:
            mine = np.array([bytes.fromhex(i) for i in identities[spec.name].values()], "S16")
            view = _View(table, index, known, mine, pairs[spec.name], spec)
            for part in view.pairs_tables(identities[spec.name]):
                writer.write(part)
            _write_accepted(run, table, index, view, spec)


class _View:
    """One teacher's rows of the index and of the verdicts, laid over the positions of the run's queries."""

    def __init__(
        self, table: QueryTable, index: Index, known: Any, identities: Array, pairs: Pairs, spec: TeacherSpec
    ) -> None:
        self.table, self.index, self.known, self.pairs, self.spec = table, index, known, pairs, spec
        rows = np.flatnonzero(np.isin(known.identity, identities))
        positions = table.positions(known.prompt[rows])
        self.rows, self.positions = rows[positions >= 0], positions[positions >= 0]
        replies = np.flatnonzero(np.isin(index.identity, identities) & (index.kind == 1))
        at = table.positions(index.prompt[replies])
        self.replies, self.reply_at = replies[at >= 0], at[at >= 0]
        self.states = pairs.states()

    def verdict_at(self, attempts: Array) -> Array:
        """Row of `known` for each position's given attempt, -1 without one."""
        out = np.full(len(self.table), -1, np.int64)
        hit = self.known.attempt[self.rows] == attempts[self.positions]
        out[self.positions[hit]] = self.rows[hit]
        return out

    def money(self) -> Array:
        """Dollars of each pair: its replies, and the judges that were asked about them; nan without a price."""
        if self.spec.price is None:
            return np.full(len(self.table), np.nan)
        total = np.zeros(len(self.table))
        np.add.at(total, self.reply_at, np.nan_to_num(self.index.cost_usd[self.replies]))
        purpose = f"judge:{self.spec.name}"
        judged = self.index.rows(purpose=purpose) if purpose in self.index.purposes else np.empty(0, np.int64)
        order = np.argsort(self.table.keys, kind="stable")
        held = self.table.keys[order]
        if len(judged) and len(held):
            at = np.minimum(np.searchsorted(held, self.index.query[judged]), len(held) - 1)
            hit = held[at] == self.index.query[judged]
            np.add.at(total, order[at[hit]], np.nan_to_num(self.index.cost_usd[judged[hit]]))
        return total

    def pairs_tables(self, identities: Mapping[str, str]) -> Iterator[pa.Table]:
        """A row for each query, PAIRS_ROWS at a time: their texts take far more memory than the figures."""
        known, size = self.known, len(self.table)
        first = self.verdict_at(np.ones(size, np.int64))
        passed_at = self.pairs.passed_at.astype(np.int32)
        passed = np.where(passed_at > 0, self.verdict_at(passed_at.astype(np.int64)), -1)
        first_rows = self.index.find(known.key[first[first >= 0]])
        first_tokens = np.full(size, -1, np.int64)
        first_tokens[np.flatnonzero(first >= 0)] = np.where(
            first_rows >= 0, self.index.completion_tokens[np.maximum(first_rows, 0)].astype(np.int64), -1
        )
        count = np.bincount(self.reply_at, minlength=size).astype(np.int32)
        prompt, completion = np.zeros(size, np.int64), np.zeros(size, np.int64)
        np.add.at(prompt, self.reply_at, self.index.prompt_tokens[self.replies].astype(np.int64))
        np.add.at(completion, self.reply_at, self.index.completion_tokens[self.replies].astype(np.int64))
        cost = self.money()
        for start in range(0, size, PAIRS_ROWS):
            at = slice(start, start + PAIRS_ROWS)
            categories = self.table.categories[at]
            yield pa.table(
                {
                    "query": [hex_key(k) for k in self.table.keys[at]],
                    "category": categories,
                    "teacher": [self.spec.name] * len(categories),
                    "identity": [identities[c] for c in categories],
                    "state": [STATES[s] for s in self.states[at]],
                    "attempts": np.bitwise_count(self.pairs.judged[at]).astype(np.int32),
                    "first_outcome": [None if r < 0 else str(known.outcome[r]) for r in first[at]],
                    "first_tokens": pa.array(first_tokens[at], mask=first_tokens[at] < 0),
                    "first_response": [None if r < 0 else hex_key(known.key[r]) for r in first[at]],
                    "passed_at": pa.array(passed_at[at], mask=passed_at[at] == 0),
                    "response": [None if r < 0 else hex_key(known.key[r]) for r in passed[at]],
                    "responses": count[at],
                    "unknown": np.bitwise_count(self.pairs.unknown[at]).astype(np.int32),
                    "truncated": np.bitwise_count(self.pairs.truncated[at]).astype(np.int32),
                    "cost_usd": pa.array(cost[at], mask=np.isnan(cost[at])),
                    "prompt_tokens": prompt[at],
                    "completion_tokens": completion[at],
                },
                schema=PAIRS,
            )

    def accepted(self) -> tuple[Array, Array, Array]:
        """Positions of verified and unverified pairs, the index rows of their replies, and their verdict rows."""
        positions = np.flatnonzero((self.states == VERIFIED) | (self.states == UNVERIFIED))
        verdicts = self.verdict_at(self.pairs.passed_at.astype(np.int64))[positions]
        positions, verdicts = positions[verdicts >= 0], verdicts[verdicts >= 0]
        rows = self.index.find(self.known.key[verdicts])
        return positions[rows >= 0], rows[rows >= 0], verdicts[rows >= 0]


def _write_accepted(run: Run, table: QueryTable, index: Index, view: _View, spec: TeacherSpec) -> None:
    positions, rows, verdicts = view.accepted()
    order = np.argsort(table.keys[positions], kind="stable")
    positions, rows, verdicts = positions[order], rows[order], verdicts[order]
    with TableWriter(accepted_file(run, spec.name), ACCEPTED, repeating=REPEATING) as writer:
        start, size = 0, PARTITION_ROWS
        while start < len(rows):
            part = slice(start, start + size)
            made = _accepted_rows(table, index, view, spec, positions[part], rows[part], verdicts[part])
            writer.write(made)
            start += size
            size = min(max(PARTITION_ROWS, PARTITION_BYTES * made.num_rows // (made.nbytes + 1)), MOST_ROWS)


def _accepted_rows(
    table: QueryTable, index: Index, view: _View, spec: TeacherSpec, positions: Array, rows: Array, verdicts: Array
) -> pa.Table:
    """Rows in the order of their queries; texts are read in the order of the journal, which reads each frame once."""
    given = dict(read_replies(index, np.unique(rows)))  # without those of damaged frames
    held = np.array([row in given for row in rows.tolist()], bool)
    replies = [given[row] for row in rows[held].tolist()]
    scores, rules = view.known.score[verdicts[held]].astype(np.float64), view.known.rule[verdicts[held]]
    made = _replies_table(replies)
    told: dict[str, Any] = {
        "query": pa.array([hex_key(key) for key in table.keys[positions[held]]], pa.string()),
        "teacher": pa.repeat(pa.scalar(spec.name), len(replies)),
        "thinking": pa.repeat(pa.scalar(spec.thinking), len(replies)),
        "verify_score": pa.array(scores, mask=np.isnan(scores)),
        "verify_rule": pa.array([str(rule) for rule in rules], pa.string()),
    }
    return pa.table([told[n] if n in told else made[n] for n in ACCEPTED.names], schema=ACCEPTED)


def _replies_table(replies: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Journaled replies as a table of RESPONSES: at once where each is of this version and fits its columns."""
    if all(tuple(reply) == _FIELDS for reply in replies):
        made = exact_columns([tuple(reply.values()) for reply in replies], _FIELDS, RESPONSES) if replies else None
        if made is not None:
            return made
    return to_table([response_to_row(response_of({"response": reply})) for reply in replies], RESPONSES)


def write_account(run: Run, index: Index, asked: Sequence[TeacherSpec]) -> None:
    """`2-responses/account.json`: the ledger, for the report; the same figures as `stillhouse audit`."""
    ledger = audit(index, {spec.name: spec.price for spec in asked if spec.price is not None})
    with replaced(account_file(run)) as temporary:
        temporary.write_text(json.dumps(ledger.as_json(), indent=1) + "\n", encoding="utf-8")


def account_file(run: Run) -> Path:
    """Where the ledger of the run stands."""
    return run.responses / "account.json"


def accepted_file(run: Run, teacher: str) -> Path:
    """Where a teacher's accepted responses stand."""
    return run.responses / f"accepted-{teacher}.parquet"
