"""One sitting of the loop over a table of queries: what stands is taken over, what is open is asked.

In: queries, teachers, judges, verifiers, the run's journal and verdicts. Out: where every pair stands, and the outcome.
Used by distill (ask until it passes), by evaluate (a fixed number of samples) and by plan (some of the queries).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.asking.interrupts import first_interrupt_drains
from stillhouse.batch.out import files_out
from stillhouse.batch.results import read_back
from stillhouse.batch.rounds import Round, present, refuse_unfit
from stillhouse.loop import Budget, Judged, Loop, Seat, VerifierAt, seat_for, state_counts
from stillhouse.records import Fault, Part, Teacher, TeacherSpec, UserMistake
from stillhouse.sitting.gauges import Gauges, Progress, prometheus
from stillhouse.sitting.standing import fill, identities_of, needed_categories
from stillhouse.store.batches import keys_out
from stillhouse.store.index import Index, load_index
from stillhouse.store.journal import Journal
from stillhouse.store.known import Known, load_known
from stillhouse.store.memory import hand_back
from stillhouse.store.pairs import TRUNCATED_RULE, WAITING, Pairs
from stillhouse.store.queries import QueryTable
from stillhouse.store.replies import Replies
from stillhouse.store.rows import REPLY
from stillhouse.store.run import Run
from stillhouse.store.spending import judges_spending, spending
from stillhouse.store.verdicts import VerdictLog, VerdictRow
from stillhouse.transport.metrics import serve_metrics
from stillhouse.workers.late import LatePool

log = logging.getLogger("stillhouse.sitting.session")
Watch = Callable[[list[Progress]], None]


@dataclass(slots=True)
class Sat:
    """What a sitting ends with. outcome: done, interrupted, budget or disk_full; problem: why, where it is not done.

    waits: teacher -> reason -> pairs. notes: what the user should know. progress: the last row of each teacher that was
    at work. replies: asked and paid in this sitting. pairs, index, known: as they stand now; identities: teacher ->
    category -> identity.
    """

    outcome: str = "done"
    problem: str = ""
    waits: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)
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
    watch: Watch | None = None,
    tell: Callable[[str], None] | None = None,
    metrics: int | None = None,
    until_pass: bool = True,
    purpose: str = "distill",
    awaiting_vote: tuple[Collection[str], int] = ((), 0),
) -> Sat:
    """Run the loop over a table until every pair rests (see distill). Nothing is opened where nothing is open.

    watch: hears the progress every second; tell: what the user should know at once. metrics: a port of loopback.
    """
    needed = needed_categories(table, verifiers)
    parts = {category: part for category, part in verifiers.items() if category in needed}
    built = {spec.name: spec.part.build() for spec in teachers}
    identities = identities_of(teachers, built, sorted(needed))
    refuse_unfit(teachers, built)
    notes: list[str] = []
    if purpose != "distill":
        if batches := [spec.name for spec in teachers if spec.batch]:
            raise UserMistake(f"{', '.join(batches)}: batch files are for distill; {purpose} asks live")
    elif present(run, teachers):
        notes += asyncio.run(read_back(run, table, teachers, built)).told()
    at = {name: VerifierAt.of(name, part.build()) for name, part in parts.items()}
    today = {name: verifier.version for name, verifier in at.items()}
    frozen = {**today, **{k: v for k, v in versions.items() if k in today}}
    known = load_known(verdict_set(run), frozen, today)
    all_pairs = {}
    for spec in teachers:  # before there is an index: a million replies take 80 MB here and 180 there
        all_pairs[spec.name] = Pairs(len(table), attempts, truncated_attempts, until_pass=until_pass)
        fill(all_pairs[spec.name], table, None, known, identities[spec.name], spec.max_tokens)
    known = known.only(known.rule.among(np.array([TRUNCATED_RULE], object)))
    hand_back()
    index = load_index(run.journals)
    for spec in teachers if len(known) else ():
        fill(all_pairs[spec.name], table, index, known, identities[spec.name], spec.max_tokens)
    hand_back()
    sat = Sat()
    if any((pairs.states() == WAITING).any() for pairs in all_pairs.values()):
        names = {spec.name for spec in (*teachers, *judges.values())}
        names |= {name for name in index.teachers if name.startswith("judge-")}  # the audit's judge is paid too
        session = _Session(
            run=run, table=table, index=index, parts=parts, at=at, built=built,
            teachers=teachers, judges=judges, pairs=all_pairs, watch=watch, tell=tell or (lambda _: None),
            workers=workers, metrics=metrics,
            budget_limits={"": budget_usd, **{s.name: s.budget_usd for s in (*teachers, *judges.values())}},
            spent=spending(index, names, table.keys), retries=retries, wanted=wanted, purpose=purpose,
            identities=identities, awaiting_vote=awaiting_vote,
        )  # fmt: skip
        sat = asyncio.run(session.work())
        del session, index  # before the next one, which is as large
        hand_back()
        index = load_index(run.journals)
    hand_back()
    sat.known = load_known(verdict_set(run), frozen, today)
    sat.pairs, sat.identities, sat.index = all_pairs, identities, index
    sat.notes = notes + sat.notes
    return sat


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
    watch: Watch | None
    tell: Callable[[str], None]
    workers: int | None
    metrics: int | None
    budget_limits: Mapping[str, float | None]
    spent: Mapping[str, float]
    retries: int
    wanted: Sequence[int] | None
    purpose: str
    identities: Mapping[str, Mapping[str, str]]
    awaiting_vote: tuple[Collection[str], int]
    seats: list[Seat] = field(default_factory=list)
    rounds: dict[str, Round] = field(default_factory=dict)
    rows: list[Progress] = field(default_factory=list)

    async def work(self) -> Sat:
        busy = [s for s in self.teachers if (self.pairs[s.name].states() == WAITING).any()]
        judge_parts = {spec.name: spec.part.build() for spec in self.judges.values()}
        await probe(busy, self.built, self.judges.values(), judge_parts)
        self.seats = [self.seat(spec) for spec in busy]
        judges = {k: seat_for(s, judge_parts[s.name], Pairs(0, 1)) for k, s in self.judges.items()}
        budget = Budget(self.budget_limits, self.spent)
        gauges = Gauges(budget, judges_before=judges_spending(self.index, self.table.keys), wanted=self.wanted)
        try:
            with Journal(self.run.journal) as journal, VerdictLog(verdict_set(self.run)) as log:
                self.open_rounds(journal)
                pool = LatePool(self.parts, self.workers or max(1, (os.cpu_count() or 2)))
                live = not all(seat.spec.batch for seat in self.seats)
                if live:  # what is wrong with a verifier is told before a reply is paid for
                    pool.start(whole=not all(verifier.at_once for verifier in self.at.values()))
                loop = Loop(
                    self.table, self.seats, judges,
                    verifiers=self.at,
                    pool=pool, journal=journal, memory=Replies(self.index), budget=budget,
                    keep=lambda judged: keep(log, judged),
                    retries=self.retries, wanted=self.wanted, purpose=self.purpose,
                    awaiting_vote=self.awaiting_vote,
                )  # fmt: skip
                try:
                    outcome = await self.run_loop(loop, gauges)
                finally:
                    pool.close()
                    for teacher in (*self.built.values(), *judge_parts.values()):
                        await teacher.close()
            if outcome != "refused":
                for finished in self.rounds.values():
                    finished.publish()  # the journal is closed: what may be uploaded now is known to it
        finally:
            for unfinished in self.rounds.values():
                unfinished.discard()
        if outcome == "refused":
            raise UserMistake(loop.problem)
        return self.ended(loop, judges)

    def seat(self, spec: TeacherSpec) -> Seat:
        made = seat_for(spec, self.built[spec.name], self.pairs[spec.name])
        mine = np.array([bytes.fromhex(i) for i in self.identities[spec.name].values()], "S16")
        made.proven = bool((self.index.identity.among(mine) & (self.index.kind == REPLY)).any())
        return made

    def open_rounds(self, journal: Journal) -> None:
        """Batch teachers write a file instead of sending; what is out in one is asked by nobody."""
        out = keys_out(self.index)
        for seat in self.seats:
            seat.outstanding = out
            if seat.spec.batch:
                teacher: Any = seat.teacher
                made = Round(self.run, seat.spec, teacher, journal, self.index, self.retries, self.purpose)
                self.rounds[seat.name], seat.enrol = made, made.enrol

    async def run_loop(self, loop: Loop, gauges: Gauges) -> str:
        """The loop with what watches it: the ticker, the metrics, the interrupts."""
        ticker = asyncio.create_task(self.tick(gauges))
        try:
            async with contextlib.AsyncExitStack() as stack:
                if self.metrics is not None:
                    read = lambda: prometheus(self.rows)  # noqa: E731
                    port = await stack.enter_async_context(serve_metrics(self.metrics, read))
                    self.tell(f"metrics: http://127.0.0.1:{port}/metrics")
                with first_interrupt_drains(lambda: self.interrupted(loop)), seldom_collected(frozen=True):
                    return await loop.run()
        finally:
            ticker.cancel()
            self.show(gauges)

    def interrupted(self, loop: Loop) -> None:
        flying = sum(seat.in_flight for seat in self.seats)
        self.tell(f"interrupted: nothing new is sent; {flying} in flight are awaited. Ctrl-C again stops at once")
        loop.drain("interrupted")

    def ended(self, loop: Loop, judges: Mapping[str, Seat]) -> Sat:
        waits = {s.name: dict(s.waits) for s in self.seats}
        for seat in self.seats:
            if seat.dead:
                waits[seat.name] = {seat.dead: state_counts(seat.pairs)["waiting"]}
        outcome, problem = loop.outcome, loop.problem
        distills = self.purpose == "distill" and present(self.run, self.teachers)
        out = files_out(self.run, waits) if distills else False
        short = [seat for seat in self.seats if seat.short]
        if short and outcome == "done" and not out:
            outcome, problem = "budget", next(iter(short[0].waits), "the budget carries no further request")
        notes = [note for seat in (*self.seats, *judges.values()) for note in seat.notes]
        return Sat(
            outcome, problem, {name: reasons for name, reasons in waits.items() if reasons}, notes, self.rows,
            sum(s.replies for s in self.seats),
        )  # fmt: skip

    async def tick(self, gauges: Gauges) -> None:
        while True:
            took = self.show(gauges)
            await asyncio.sleep(max(1.0, 50 * took))  # with millions of pairs a look costs: at most 2 % of the time

    def show(self, gauges: Gauges) -> float:
        """Read the gauges and let everybody see them. Returns the seconds that it took."""
        began = time.monotonic()
        self.rows = gauges.read(self.seats)
        try:
            whose = "candidates" if self.purpose == "evaluate" else "teachers"
            told = {whose: [row.as_json() for row in self.rows], "budget_usd": self.budget_limits.get("")}
            self.run.status.update(**told)
        except OSError as error:  # a full disk must not end what is paid for
            log.warning("status.json cannot be written: %s", error)
        if self.watch is not None:
            self.watch(self.rows)
        return time.monotonic() - began


async def probe(
    busy: Sequence[TeacherSpec],
    built: Mapping[str, Teacher],
    judges: Iterator[TeacherSpec] | Any,
    judge_parts: Mapping[str, Teacher],
) -> None:
    """Ask every endpoint who it is before the first paid call; all that is wrong is told at once."""
    problems: list[str] = []
    live = [spec for spec in busy if not spec.batch]  # a batch has no endpoint that could answer now
    for spec, teacher in [*((s, built[s.name]) for s in live), *((s, judge_parts[s.name]) for s in judges)]:
        try:
            await teacher.probe()
        except UserMistake as mistake:
            problems += mistake.problems
        except Fault as fault:
            what = "; is its server up, and is its base_url right?" if fault.kind == "refused" else ""
            problems.append(f"teacher {spec.name}: {fault}{what}")
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
def seldom_collected(*, frozen: bool = False) -> Iterator[None]:
    """The collector of cycles looks seldom: by default it takes a fifth of the loop's CPU, to find next to nothing.

    frozen: it looks only at what is made from now on, and not at all imported modules."""
    usual = gc.get_threshold()
    if frozen:
        gc.collect()
        gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        if frozen:
            gc.unfreeze()
