"""One sitting of the loop over a table of queries: what stands is taken over, what is open is asked.

In: queries, teachers, judges, verifiers, the run's journal and verdicts. Out: where every pair stands, and the outcome.
Used by distill (ask until it passes), by evaluate (a fixed number of samples) and by plan (some of the queries).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.loop import Budget, Judged, Loop, Seat, VerifierAt, seat_for, state_counts
from stillhouse.records import Fault, Part, Query, Teacher, TeacherSpec, UserMistake, content_hash
from stillhouse.store.index import Index, hex_key, load_index
from stillhouse.store.journal import Journal
from stillhouse.store.known import Known, verdicts_by_reply
from stillhouse.store.pairs import WAITING, Pairs
from stillhouse.store.queries import QueryTable
from stillhouse.store.replies import Replies
from stillhouse.store.run import Run
from stillhouse.store.spending import spending
from stillhouse.store.tables import QUERIES, query_to_row, write_rows
from stillhouse.store.verdicts import VerdictLog, VerdictRow, load_verdicts
from stillhouse.workers import WorkerPool


@dataclass(frozen=True, slots=True)
class Progress:
    """One teacher's row of the progress table. seconds: of this session; tokens: completion tokens of this session."""

    teacher: str
    queries: int
    states: Mapping[str, int]
    in_flight: int
    replies: int
    faults: int
    rate_limited: int
    tokens: int
    seconds: float
    spent_usd: float | None
    dead: str
    limit: int


@dataclass(slots=True)
class Sat:
    """What a sitting ends with. outcome: done, interrupted, budget or disk_full; problem: why, where it is not done.

    waits: teacher -> reason -> pairs. replies: asked and paid in this sitting. pairs, index, known: as they stand now;
    identities: teacher -> category -> identity.
    """

    outcome: str = "done"
    problem: str = ""
    waits: dict[str, dict[str, int]] = field(default_factory=dict)
    replies: int = 0
    pairs: dict[str, Pairs] = field(default_factory=dict)
    identities: dict[str, dict[str, str]] = field(default_factory=dict)
    index: Index = field(default_factory=lambda: load_index([]))
    known: Known | None = None


def sit(
    run: Run,
    table: QueryTable,
    *,
    teachers: Sequence[TeacherSpec],
    judges: Mapping[str, TeacherSpec],
    verifiers: Mapping[str, Part],
    versions: Mapping[str, str],
    attempts: int,
    truncated_attempts: int = 2,
    retries: int = 12,
    budget_usd: float | None = None,
    workers: int | None = None,
    wanted: Sequence[int] | None = None,
    watch: Callable[[list[Progress]], None] | None = None,
    until_pass: bool = True,
    purpose: str = "distill",
    awaiting_vote: tuple[Collection[str], int] = ((), 0),
) -> Sat:
    """Run the loop over a table until every pair rests (see distill). Nothing is opened where nothing is open."""
    needed = _needed(table, verifiers)
    parts = {category: part for category, part in verifiers.items() if category in needed}
    built = {spec.name: spec.part.build() for spec in teachers}
    identities = _identities(teachers, built, sorted(needed))
    index = load_index(run.journals)
    at = {name: VerifierAt.of(name, part.build()) for name, part in parts.items()}
    today = {name: verifier.version for name, verifier in at.items()}
    frozen = {**today, **{k: v for k, v in versions.items() if k in today}}
    known = verdicts_by_reply(load_verdicts(verdict_set(run)), frozen, today)
    all_pairs = {}
    for spec in teachers:
        all_pairs[spec.name] = Pairs(len(table), attempts, truncated_attempts, until_pass=until_pass)
        fill(all_pairs[spec.name], table, index, known, identities[spec.name], spec.max_tokens)
    sat = Sat()
    if any((pairs.states() == WAITING).any() for pairs in all_pairs.values()):
        names = {spec.name for spec in (*teachers, *judges.values())}
        names |= {name for name in index.teachers if name.startswith("judge-")}  # the audit's judge is paid too
        session = _Session(
            run=run, table=table, index=index, parts=parts, at=at, built=built,
            teachers=teachers, judges=judges, pairs=all_pairs, watch=watch, workers=workers,
            budget_limits={"": budget_usd, **{s.name: s.budget_usd for s in (*teachers, *judges.values())}},
            spent=spending(index, names, table.keys), retries=retries, wanted=wanted, until_pass=until_pass,
            purpose=purpose, awaiting_vote=awaiting_vote,
        )  # fmt: skip
        sat = asyncio.run(session.work())
        index = load_index(run.journals)
        known = verdicts_by_reply(load_verdicts(verdict_set(run)), frozen, today)
    sat.pairs, sat.identities, sat.index, sat.known = all_pairs, identities, index, known
    return sat


def _needed(table: QueryTable, verifiers: Mapping[str, Part]) -> set[str]:
    found = set(table.categories)
    missing = sorted(found - set(verifiers))
    if missing:
        raise UserMistake(*(
            f"no verifier for category {c}: name a judge or a verifier, or `verify: {{{c}: structure}}` for form alone"
            for c in missing
        ))  # fmt: skip
    return found


def _identities(
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
    index: Index,
    known: Any,
    identities: Mapping[str, str],
    max_tokens: int,
) -> None:
    """Take over the verdicts that stand: those of this teacher's identity, on the query's reference of today."""
    mine = np.isin(known.identity, np.array([bytes.fromhex(i) for i in identities.values()], "S16"))
    rows = np.flatnonzero(mine)
    positions = table.positions(known.prompt[rows])
    there = positions >= 0
    rows, positions = rows[there], positions[there]
    formal = known.verifier[rows] == "structure"
    current = formal | (known.reference[rows] == table.references[positions])
    # a reply that was cut under a lower limit than today's is asked again: its verdict says nothing any more
    cut = known.rule[rows] == "truncated"
    if cut.any():
        found = index.find(known.key[rows[cut]])
        stale = (found < 0) | (index.max_tokens[np.maximum(found, 0)] < max_tokens)
        stale &= (found < 0) | index.unfinished(np.maximum(found, 0))
        current[np.flatnonzero(cut)[stale]] = False
        finished = (found >= 0) & ~index.unfinished(np.maximum(found, 0))
        current[np.flatnonzero(cut)[finished]] = False
    rows, positions = rows[current], positions[current]
    pairs.load(positions, known.attempt[rows], known.outcome[rows], known.rule[rows])


@dataclass(slots=True)
class _Session:
    """One sitting of the loop: opens what it needs, closes what it opened."""

    run: Run
    table: QueryTable
    index: Index
    parts: Mapping[str, Part]
    at: Mapping[str, VerifierAt]
    built: Mapping[str, Teacher]
    teachers: Sequence[TeacherSpec]
    judges: Mapping[str, TeacherSpec]
    pairs: Mapping[str, Pairs]
    watch: Callable[[list[Progress]], None] | None
    workers: int | None
    budget_limits: Mapping[str, float | None]
    spent: Mapping[str, float]
    retries: int
    wanted: Sequence[int] | None
    until_pass: bool
    purpose: str
    awaiting_vote: tuple[Collection[str], int]
    seats: list[Seat] = field(default_factory=list)

    async def work(self) -> Sat:
        busy = [s for s in self.teachers if (self.pairs[s.name].states() == WAITING).any()]
        judge_parts = {spec.name: spec.part.build() for spec in self.judges.values()}
        await probe(busy, self.built, self.judges.values(), judge_parts)
        self.seats = [seat_for(s, self.built[s.name], self.pairs[s.name]) for s in busy]
        judges = {k: seat_for(s, judge_parts[s.name], Pairs(0, 1)) for k, s in self.judges.items()}
        budget = Budget(self.budget_limits, self.spent)
        with Journal(self.run.journal) as journal, VerdictLog(verdict_set(self.run)) as log:
            pool = WorkerPool(self.parts, workers=self.workers or max(1, (os.cpu_count() or 2)))
            loop = Loop(
                self.table, self.seats, judges,
                verifiers=self.at,
                pool=pool, journal=journal, memory=Replies(self.index), budget=budget,
                keep=lambda judged: keep(log, judged),
                retries=self.retries, wanted=self.wanted, purpose=self.purpose,
                awaiting_vote=self.awaiting_vote,
            )  # fmt: skip
            ticker = asyncio.create_task(self.tick(budget))
            try:
                with first_interrupt_drains(loop):
                    outcome = await loop.run()
            finally:
                ticker.cancel()
                pool.close()
                for teacher in (*self.built.values(), *judge_parts.values()):
                    await teacher.close()
        self.show(budget)
        waits = {s.name: dict(s.waits) for s in self.seats}
        for seat in self.seats:
            if seat.dead:
                waits[seat.name] = {seat.dead: state_counts(seat.pairs)["waiting"]}
        waits = {name: reasons for name, reasons in waits.items() if reasons}
        return Sat(outcome, loop.problem, waits, sum(s.replies for s in self.seats))

    async def tick(self, budget: Budget) -> None:
        while True:
            self.show(budget)
            await asyncio.sleep(1.0)

    def show(self, budget: Budget) -> None:
        rows = self.progress(budget)
        self.run.status.update(teachers=[_status_row(r) for r in rows], updated=time.time())
        if self.watch is not None:
            self.watch(rows)

    def progress(self, budget: Budget) -> list[Progress]:
        """A row per busy teacher. spent_usd: None where the teacher has no price."""
        now = time.monotonic()
        return [
            Progress(
                s.name, len(s.pairs), state_counts(s.pairs), s.in_flight, s.replies, s.faults, s.rate_limited,
                s.completion_tokens, now - s.started, budget.spent.get(s.name, 0.0) if s.spec.price else None,
                s.dead, sum(e.limit for e in s.limits.states()),
            )
            for s in self.seats
        ]  # fmt: skip


def _status_row(row: Progress) -> dict[str, Any]:
    return {
        "teacher": row.teacher, "queries": row.queries, **row.states, "in_flight": row.in_flight,
        "replies": row.replies, "faults": row.faults, "tokens": row.tokens,
        "seconds": round(row.seconds, 1), "spent_usd": row.spent_usd,
    }  # fmt: skip


async def probe(
    busy: Sequence[TeacherSpec],
    built: Mapping[str, Teacher],
    judges: Iterator[TeacherSpec] | Any,
    judge_parts: Mapping[str, Teacher],
) -> None:
    """Ask every endpoint who it is before the first paid call; all that is wrong is told at once."""
    problems: list[str] = []
    for spec, teacher in [*((s, built[s.name]) for s in busy), *((s, judge_parts[s.name]) for s in judges)]:
        try:
            await teacher.probe()
        except UserMistake as mistake:
            problems += mistake.problems
        except Fault as fault:
            problems.append(f"teacher {spec.name}: {fault}")
    if problems:
        for teacher in (*built.values(), *judge_parts.values()):
            await teacher.close()
        raise UserMistake(*problems)


def verdict_set(run: Run) -> Path:
    """Where the loop's verdicts stand."""
    return run.verdicts / "log"


def keep(log: VerdictLog, judged: Judged) -> None:
    """A verdict of the loop as a row of the log."""
    log.append(VerdictRow.of(
        judged.query, judged.response, judged.verdict, verifier=judged.verifier, version=judged.version,
        judge=judged.judge,
    ))  # fmt: skip


@contextlib.contextmanager
def first_interrupt_drains(loop: Loop) -> Iterator[None]:
    """The first Ctrl-C drains: what is in flight is awaited and kept. The second stops."""
    running = asyncio.get_running_loop()
    me = asyncio.current_task()
    hits = 0

    def on_signal() -> None:
        nonlocal hits
        hits += 1
        if hits == 1:
            loop.drain("interrupted")
        elif me is not None:
            me.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        running.add_signal_handler(number, on_signal)
    try:
        yield
    except asyncio.CancelledError:
        if hits < 2:
            raise
        raise KeyboardInterrupt from None
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            running.remove_signal_handler(number)


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
