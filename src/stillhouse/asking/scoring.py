"""A model asked once about each of many things: journaled, priced, limited and retried like any request of the loop.

In: a TeacherSpec and batches of conversations. Out: for each batch its replies in order, from the journal where it has
them. Used by the filter for perplexities. What stops the asking is raised, and what was paid for stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from stillhouse.asking.asker import Asker, GaveUp
from stillhouse.asking.interrupts import first_interrupt_drains
from stillhouse.asking.money import Budget, Stopped
from stillhouse.asking.seats import Seat, seat_for
from stillhouse.records import Fault, Query, Request, Response, TeacherSpec, UserMistake
from stillhouse.store.index import load_index
from stillhouse.store.journal import Journal
from stillhouse.store.pairs import Pairs
from stillhouse.store.queries import QueryTable
from stillhouse.store.replies import Replies
from stillhouse.store.run import Run
from stillhouse.store.spending import spending
from stillhouse.store.tables import table_files
from stillhouse.transport.limits import EndpointsDead

RETRIES = 12
FINAL = ("bad_request", "too_large")  # the request itself cannot be answered: that is its result


class Unanswered(Exception):  # noqa: N818  a state of the world that the pipeline tells
    """Not everything could be asked. outcome: interrupted, budget, disk_full, refused or waiting."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome


def ask_each(
    run: Run,
    spec: TeacherSpec,
    batches: Iterable[Sequence[tuple[str, Query]]],
    *,
    purpose: str,
    budget_usd: float | None = None,
) -> Iterator[list[Response | str]]:
    """Replies batch by batch: of each (key of the run's query, conversation) the reply, or why it can have none.

    budget_usd: of the whole run; the spec's own holds too. Raises Unanswered, and UserMistake where the endpoint, key
    or model is wrong.
    """
    index = load_index(run.journals)
    keys = QueryTable(table_files(run.queries, "kept")).keys
    spent = spending(index, set(index.teachers), keys)
    memory, teacher = Replies(index), spec.part.build()
    seat = seat_for(spec, teacher, Pairs(0, 1))
    seat.proven = bool(len(index.rows(teacher=spec.name)))
    probed = False
    with asyncio.Runner() as runner, Journal(run.journal) as journal:
        asker = Asker(journal, Budget({"": budget_usd, spec.name: spec.budget_usd}, spent), retries=RETRIES)
        try:
            for batch in batches:
                requests = [replace(teacher.request(asked, 1), query=key) for key, asked in batch]
                held = [memory.response(request.key, request.max_tokens) for request in requests]
                missing = [request for request, reply in zip(requests, held, strict=True) if reply is None]
                if missing and not probed:
                    probed = True
                    runner.run(_probe(seat))
                given = iter(runner.run(_ask(asker, seat, missing, purpose)) if missing else ())
                yield [next(given) if reply is None else reply for reply in held]
        finally:
            runner.run(teacher.close())


async def _probe(seat: Seat) -> None:
    try:
        await seat.teacher.probe()
    except Fault as fault:
        raise UserMistake(f"{seat.name}: {fault}") from None


async def _ask(asker: Asker, seat: Seat, requests: Sequence[Request], purpose: str) -> list[Response | str]:
    room = asyncio.Semaphore(2 * seat.spec.max_in_flight * len(seat.spec.endpoints))
    stopped: list[str] = []

    async def one(request: Request) -> Response | str:
        async with room:
            try:
                return await asker.ask(seat, request, purpose)
            except GaveUp as reason:
                if not str(reason).startswith(FINAL):
                    stopped.append(str(reason))
                return str(reason)
            except (Stopped, EndpointsDead) as reason:
                stopped.append(str(reason))
                return ""

    with first_interrupt_drains(lambda: asker.drain("interrupted", "interrupted")):
        replies = await asyncio.gather(*(one(request) for request in requests))
    if asker.outcome != "done":
        raise Unanswered(asker.outcome, asker.problem or asker.outcome)
    if stopped:
        raise Unanswered("waiting", f"{len(stopped)} of {len(requests)} could not be asked: {stopped[0]}")
    return replies
