"""Ask, verify, ask again: the one loop, used by distill, evaluate and plan.

In: the run's queries, seats and judges, a verifier per category, a journal. Out: journaled replies and a verdict row
each, until every pair is verified, exhausted, or waits for something. One asyncio process keeps the requests in
flight (asking.py); verification runs in worker processes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from stillhouse.asking.asker import Asker, GaveUp, NotRecorded, Recorder
from stillhouse.asking.money import Budget, Stopped
from stillhouse.asking.seats import Seat, seat_for, state_counts
from stillhouse.records import Ask, Parts, Query, Request, Response, Teacher, Verdict
from stillhouse.store.pairs import NO_REFERENCE_RULE, TRUNCATED_RULE, WAITING
from stillhouse.store.queries import QueryTable
from stillhouse.store.spilled import Spilled
from stillhouse.transport.limits import EndpointsDead
from stillhouse.workers import WorkerDied, WorkerError, WorkerTimeout, rule_of

AT_THE_BENCH = 64  # answers of one teacher that the workers hold at once: a fast one does not keep a slow one waiting
JUDGE_ASKS = 2  # a judge that cannot be parsed is asked once more
JUDGE_TOKENS = 1024  # the limit of a judge whose recipe names none; what it asks for may be less
RULINGS_KEPT = 100_000  # judges' replies that are kept in memory; more go to disk, for the question may come again
_TOO_LONG = re.compile(r"(?i)context|too long|(?:maximum|max|limit).{0,40}tokens?|tokens?.{0,40}(?:maximum|limit)")


class Memory(Protocol):
    """Replies of earlier runs: the journal's index."""

    def response(self, key: str, max_tokens: int) -> Response | None: ...


class Pool(Protocol):
    async def call(self, part: str, method: str, args: tuple[Any, ...], *, deadline: float, tries: int = 1) -> Any: ...


@dataclass(slots=True)
class Judged:
    """One verdict with its key: what the verdict log stores. judge: key of the judge's reply, where one spoke."""

    query: Query
    response: Response
    verifier: str
    version: str
    verdict: Verdict
    judge: str | None


@dataclass(frozen=True, slots=True)
class VerifierAt:
    """A verifier as the loop knows it: its name in the pool, its version, seconds per item, whether it asks judges.

    at_once: says in microseconds what is beyond doubt of a query and an answer part, here in the loop; None: a worker
    has to look. Sending an item to a worker and back takes ten times as long.
    """

    part: str
    version: str
    deadline: float
    asks: bool = False
    at_once: Callable[[Query, str], Verdict | None] | None = None

    @staticmethod
    def of(name: str, built: Any) -> VerifierAt:
        """Of a built verifier; asks: it has `ask(query, response, verdict)` for what a worker's end decided."""
        seconds, at_once = float(getattr(built, "deadline", 3.0)), getattr(built, "at_once", None)
        return VerifierAt(name, str(built.version), seconds, hasattr(built, "ask"), at_once)


class Loop:
    """Runs pairs until nothing is left to ask. Build it, `await run()`, then read seats and `outcome`.

    A bug in a pair drains the others before it is raised: what is in flight is paid for.

    verifiers: by category. keep: called with each new Judged, in order of arrival. awaiting_vote: categories whose
    missing references a vote of the teachers will supply, and for which attempt it waits: that reply stays transient,
    those before it are final.
    """

    def __init__(
        self,
        table: QueryTable,
        seats: Sequence[Seat],
        judges: Mapping[str, Seat],
        *,
        verifiers: Mapping[str, VerifierAt],
        pool: Pool,
        journal: Recorder,
        memory: Memory,
        budget: Budget,
        keep: Callable[[Judged], None],
        retries: int = 12,
        purpose: str = "distill",
        sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
        wanted: Sequence[int] | None = None,
        awaiting_vote: tuple[Collection[str], int] = ((), 0),
    ) -> None:
        self.table, self.seats, self.judges = table, list(seats), judges
        self.verifiers, self.pool, self.memory = verifiers, pool, memory
        self.keep, self.purpose = keep, purpose
        self.asker = Asker(journal, budget, retries=retries, sleep=sleep)
        self.wanted = None if wanted is None else np.array(sorted(wanted), np.int64)
        self.vote_categories, self.vote_round = frozenset(awaiting_vote[0]), awaiting_vote[1]
        self._rulings: dict[str, asyncio.Task[Response]] = {}
        self._spilled = Spilled()
        self._bug: Exception | None = None
        self._benches = {seat.name: asyncio.Semaphore(AT_THE_BENCH) for seat in self.seats}

    # -- the session ------------------------------------------------------------------------------------------

    async def run(self) -> str:
        """Feed every seat side by side until all pairs rest. Returns the outcome."""
        try:
            async with asyncio.TaskGroup() as group:
                for seat in self.seats:
                    group.create_task(self._feed(seat))
        finally:
            for ruling in self._rulings.values():
                ruling.cancel()
            self._spilled.close()
        if self._bug is not None:
            raise self._bug
        return self.outcome

    @property
    def outcome(self) -> str:
        """done, interrupted, budget, disk_full, refused or bug."""
        return self.asker.outcome

    @property
    def problem(self) -> str:
        """Why, where it is not done."""
        return self.asker.problem

    def drain(self, outcome: str = "interrupted", problem: str = "") -> None:
        """Send nothing new; what is in flight is awaited, journaled and judged."""
        self.asker.drain(outcome, problem)

    async def _feed(self, seat: Seat) -> None:
        """Pairs in the order of their keys, as many at a time as keep the endpoint busy; and as pairs wait for
        something else (a worker, a judge, the end of a back-off), some more in their places."""
        most = seat.spec.max_in_flight * len(seat.spec.endpoints)
        open_pairs = np.flatnonzero(seat.pairs.states() == WAITING)
        if self.wanted is not None:
            open_pairs = np.intersect1d(open_pairs, self.wanted, assume_unique=True)
        following = self.table.read_at(open_pairs)  # one walk over the table: each pair goes to whoever is free
        spares = most // 4 + 32

        def relief() -> None:
            nonlocal spares
            if spares and not self.asker.draining:
                spares -= 1
                group.create_task(self._pairs(seat, following))

        async with asyncio.TaskGroup() as group:
            seat.relief = relief
            for _ in range(min(most, len(open_pairs))):
                group.create_task(self._pairs(seat, following))

    async def _pairs(self, seat: Seat, following: Iterator[tuple[Query, int]]) -> None:
        """One pair after another: cheaper than a task for each."""
        for query, position in following:
            if self.asker.draining or seat.dead:
                return
            await self._pair(seat, position, query)

    async def _pair(self, seat: Seat, position: int, query: Query) -> None:
        """One teacher's pair: attempt after attempt until its state rests."""
        seat.live += 1
        try:
            attempts = seat.pairs.unjudged(position)
            if seat.pairs.until_pass:
                for attempt in attempts:
                    if not await self._attempt(seat, position, query, attempt):
                        break
                    if seat.pairs.state(position) != WAITING:
                        break
            else:
                asked = (self._attempt(seat, position, query, attempt) for attempt in attempts)
                for result in await asyncio.gather(*asked, return_exceptions=True):
                    if isinstance(result, BaseException):
                        raise result
        except Stopped:
            pass  # the pair stays as it is; drain() has said why
        except GaveUp as reason:
            seat.waits_for(str(reason))
        except EndpointsDead as reason:
            seat.dead = seat.dead or str(reason)
        except Exception as bug:  # noqa: BLE001  raised again by run(), once what was paid for is on disk
            self._bug = self._bug or bug
            self.drain("bug", repr(bug))
        finally:
            seat.live -= 1

    async def _attempt(self, seat: Seat, position: int, query: Query, attempt: int) -> bool:
        """Get the reply (from the journal where it is there), judge it, note it. False when the pair has to wait."""
        request = seat.teacher.request(query, attempt)
        response = self.memory.response(request.key, request.max_tokens)
        if response is None:
            try:
                response = await self.asker.ask(seat, request, self.purpose)
            except NotRecorded:
                seat.pairs.ended[position] = True
                if seat.pairs.state(position) == WAITING:  # not one reply was recorded: nothing can be said of it
                    why = "no reply to the query was recorded"
                    seat.waits[why] = seat.waits.get(why, 0) + 1
                return False
        else:  # the reply may have been another name's; the normal form is this teacher's
            await asyncio.sleep(0)  # nothing is waited for: the others have their turn
            response = replace(response, teacher=seat.name, query=query.key, thinking=seat.spec.thinking)
        judged = await self.judge(seat, query, response)
        self.keep(judged)
        seat.pairs.note(position, attempt, judged.verdict)
        if judged.verdict.outcome == "unknown" and judged.verdict.transient:
            seat.waits_for(f"{judged.verdict.rule}: {judged.verdict.reason}")
            return False
        return True

    # -- judging ----------------------------------------------------------------------------------------------

    async def judge(self, seat: Seat, query: Query, response: Response) -> Judged:
        """The verdict: by form first, then by the category's verifier, then by a judge where that one asks."""
        parts = response.parts
        formal = structure(response, parts)
        if formal is not None:
            return Judged(query, response, "structure", "1", formal, None)
        at = self.verifiers[query.category]
        part, version, deadline = at.part, at.version, at.deadline
        plain = at.at_once(query, parts.answer) if at.at_once is not None else None
        if plain is not None:
            return Judged(query, response, part, version, plain, None)
        verdict = await self._work(seat, part, "__call__", (query, response), deadline)
        if at.asks and isinstance(verdict, Verdict) and verdict.rule in ("timeout", "memory", "died", "error"):
            verdict = await self._work(seat, part, "ask", (query, response, verdict), deadline)
        heard: str | None = None
        for asked in range(JUDGE_ASKS + 1):
            if not isinstance(verdict, Ask):
                break
            judge = self.judges.get(verdict.judge)
            if judge is None:
                verdict = verdict.so_far
                break
            if asked == JUDGE_ASKS:
                verdict = Verdict.unknown("judge", f"judge {judge.name} gave no readable verdict twice")
                break
            try:
                reply = await self._ruling(judge, seat, query, verdict)
            except (GaveUp, EndpointsDead) as reason:
                if "bad_request" in str(reason) and _TOO_LONG.search(str(reason)):
                    verdict = Verdict.unknown("judge", f"too long for judge {judge.name}: {reason}")
                    break
                verdict = Verdict.unknown("judge", f"judge {judge.name} is down: {reason}", transient=True)
                break
            heard = reply.key
            verdict = await self._work(seat, part, "settle", (query, response, reply), deadline)
        if verdict.rule == NO_REFERENCE_RULE and query.category in self.vote_categories:
            told = "the teachers do not agree on the reference, which their vote is to supply"
            verdict = Verdict.unknown("awaits_vote", told, transient=response.attempt >= self.vote_round)
        return Judged(query, response, part, version, verdict, heard)

    async def _work(self, seat: Seat, part: str, method: str, args: tuple[Any, ...], deadline: float) -> Any:
        """A verifier's call in a worker. Two time-outs or deaths on the same answer are a final unknown."""
        seat.step_aside()
        try:
            async with self._benches[seat.name]:
                return await self.pool.call(part, method, args, deadline=deadline, tries=2)
        except (WorkerTimeout, WorkerDied, WorkerError) as error:
            return Verdict.unknown(*rule_of(error))

    async def _ruling(self, judge: Seat, seat: Seat, query: Query, ask: Ask) -> Response:
        """A judge's reply: from the journal, from another pair that asks the same right now, or asked and paid."""
        seat.step_aside()
        request = plea(judge.teacher, query, ask)
        known = self.memory.response(request.key, request.max_tokens)
        task = self._rulings.get(request.key)
        if known is None and task is None:
            known = self._spilled.get(request.key)
        if known is not None:
            return known
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            if len(self._rulings) > RULINGS_KEPT:
                done = {k: t for k, t in self._rulings.items() if t.done()}
                self._spilled.put((k, t.result()) for k, t in done.items() if not t.cancelled() and not t.exception())
                self._rulings = {k: t for k, t in self._rulings.items() if k not in done}
            task = asyncio.ensure_future(self._heard(judge, seat, request))
            self._rulings[request.key] = task
        return await asyncio.shield(task)

    async def _heard(self, judge: Seat, seat: Seat, request: Request) -> Response:
        reply = await self.asker.ask(judge, request, f"judge:{seat.name}")
        seat.judges_usd += reply.cost_usd or 0.0
        return reply


def plea(judge: Teacher, query: Query, ask: Ask) -> Request:
    """The request to a judge: its key is of the question, so the same question is never paid for twice. No I/O.

    A judge whose limit is above the usual one is a model that thinks first: it has all of its limit.
    """
    system = "\n".join(m.content for m in ask.messages if m.role == "system") or None
    asked = Query(tuple(m for m in ask.messages if m.role != "system"), "judge", system=system)
    request = judge.request(asked, 1)
    limit = request.max_tokens if request.max_tokens > JUDGE_TOKENS else min(request.max_tokens, ask.max_tokens)
    return replace(request, query=query.key, max_tokens=limit)


def structure(response: Response, parts: Parts | None = None) -> Verdict | None:
    """The verdict by form alone, or None where the verifier has to look: no verifier sees a reply out of form.

    parts: the response's normal form, where it has been made already.
    """
    if response.truncated:
        limit = f"{response.max_tokens} tokens" if response.max_tokens else "its limit"
        return Verdict("fail", 0.0, TRUNCATED_RULE, f"cut at {limit}")
    if response.finish_reason == "stopped":
        return Verdict("fail", 0.0, "stopped", "cancelled while it was streaming")
    if response.finish_reason != "stop":
        return Verdict("fail", 0.0, "finish_reason", f"finish_reason is {response.finish_reason!r}")
    malformed = (parts or response.parts).malformed
    return Verdict("fail", 0.0, "malformed", malformed) if malformed else None


__all__ = [
    "Budget", "Judged", "Loop", "Seat", "Stopped", "VerifierAt", "seat_for", "state_counts", "structure",
]  # fmt: skip
