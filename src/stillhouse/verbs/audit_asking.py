"""A judge's second opinions: asked, journaled, limited and paid like any other judge's replies.

In: sampled queries and responses, the judge. Out: opinions in a verdict log of their own, so that to ask again is to go
on. The money counts against the run's budget.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stillhouse.asking.interrupts import first_interrupt_drains
from stillhouse.loop import Budget, Judged, Loop, Stopped, VerifierAt, seat_for
from stillhouse.records import Part, Query, Response, TeacherSpec
from stillhouse.sitting.session import keep, probe
from stillhouse.store.index import Index
from stillhouse.store.journal import Journal
from stillhouse.store.pairs import Pairs
from stillhouse.store.queries import QueryTable
from stillhouse.store.replies import Replies
from stillhouse.store.run import Run
from stillhouse.store.spending import spending
from stillhouse.store.verdicts import VerdictLog
from stillhouse.workers import WorkerPool

ASKER = "audit:verifiers"  # no teacher can have this name; the purpose of these calls is `judge:audit:verifiers`


@dataclass(frozen=True, slots=True)
class Asked:
    """outcome: done, interrupted, budget or disk_full; problem: why. waits: opinions that could not be had now."""

    outcome: str
    problem: str
    waits: int


@dataclass(frozen=True, slots=True)
class Asking:
    """What is needed to ask. limits: dollars by name, "" the run's. names: whose money counts against them."""

    run: Run
    table: QueryTable
    index: Index
    judge: TeacherSpec
    opinion: Part
    limits: Mapping[str, float | None]
    names: set[str]
    log: Path

    def ask(self, items: Sequence[tuple[Query, Response]]) -> Asked:
        """Ask on each; Ctrl-C drains. Raises UserMistake where the judge's endpoint, key or model is wrong."""
        return asyncio.run(self._ask(items))

    async def _ask(self, items: Sequence[tuple[Query, Response]]) -> Asked:
        built = self.judge.part.build()
        await probe([], {}, [self.judge], {self.judge.name: built})
        verifier = VerifierAt.of("opinion", self.opinion.build())
        budget = Budget(self.limits, spending(self.index, self.names, self.table.keys))
        asker = seat_for(TeacherSpec(ASKER, Part("none:none")), built, Pairs(0, 1))
        waits = 0
        with (
            Journal(self.run.journal) as journal, VerdictLog(self.log, name="opinions") as log,
            WorkerPool({"opinion": self.opinion}, workers=1) as pool,
        ):  # fmt: skip
            loop = Loop(
                self.table, [asker], {"audit": seat_for(self.judge, built, Pairs(0, 1))},
                verifiers=dict.fromkeys(set(self.table.categories), verifier), pool=pool, journal=journal,
                memory=Replies(self.index), budget=budget, keep=_nothing, purpose="audit",
            )  # fmt: skip

            async def one(query: Query, response: Response) -> int:
                try:
                    judged = await loop.judge(asker, query, response)
                except Stopped:
                    return 1
                named = Judged(query, response, self.verifier_name, verifier.version, judged.verdict, judged.judge)
                keep(log, named)
                return int(judged.verdict.transient)

            try:
                with first_interrupt_drains(lambda: loop.drain("interrupted")):
                    waits = sum(await asyncio.gather(*(one(*item) for item in items)))
            finally:
                await built.close()
        return Asked(loop.outcome, loop.problem, waits)

    @property
    def verifier_name(self) -> str:
        """Who gave an opinion, as the log names it."""
        return opinion_of(self.judge)


def opinion_of(judge: TeacherSpec) -> str:
    return f"{judge.name}:{judge.model or 'embedded'}"


def _nothing(judged: Judged) -> None:
    """Opinions are kept one by one, under the judge's name."""
