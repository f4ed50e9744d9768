"""Ask, journal, verify, ask again: the one loop, used by distill, evaluate and plan.

In: the run's queries, teachers and judges, a verifier per category, a journal. Out: journaled replies and a verdict
row each, until every pair is verified, exhausted, or waits for something. One asyncio process keeps the requests in
flight; verification runs in worker processes; a paid reply is on disk before its text is looked at.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import numpy as np

from stillhouse.records import Ask, Fault, Query, Request, Response, Teacher, TeacherSpec, UserMistake, Verdict
from stillhouse.store.journal import JournalFull
from stillhouse.store.pairs import NO_REFERENCE_RULE, NOT_RECORDED_RULE, STATES, TRUNCATED_RULE, WAITING, Pairs
from stillhouse.store.queries import QueryTable
from stillhouse.store.spilled import Spilled
from stillhouse.transport.limits import EndpointsDead, Limits, Slot
from stillhouse.workers import WorkerDied, WorkerError, WorkerTimeout, rule_of

T = TypeVar("T")
FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 60.0
JUDGE_ASKS = 2  # a judge that cannot be parsed is asked once more
RULINGS_KEPT = 100_000  # judges' replies that are kept in memory; more go to disk, for the question may come again
JUDGE_TOKENS = 1024  # the limit of a judge whose recipe names none; what it asks for may be less


_TOO_LONG = re.compile(r"(?i)context|too long|(?:maximum|max|limit).{0,40}tokens?|tokens?.{0,40}(?:maximum|limit)")


class Stopped(Exception):  # noqa: N818  a signal between coroutines, not an error
    """No new request may be sent: drained, out of money, or the disk is full. The pair is left as it stands."""


class OutOfMoney(Stopped):
    """The next request might overrun a budget, and nothing in flight can still give money back. whose: "" the run's."""

    def __init__(self, whose: str, reason: str) -> None:
        super().__init__(reason)
        self.whose = whose


class GaveUp(Exception):  # noqa: N818  as above
    """This request failed for good in this run; the pair waits."""


class Recorder(Protocol):
    """What the loop needs of the journal (store.journal.Journal)."""

    def intent(self, request: Request, *, retry: int, purpose: str) -> None: ...
    async def reply(self, response: Response, *, retry: int, purpose: str) -> None: ...
    async def fault(self, request: Request, fault: Fault, *, retry: int, purpose: str) -> None: ...


class Memory(Protocol):
    """Replies of earlier runs: the journal's index."""

    def response(self, key: str, max_tokens: int) -> Response | None: ...


class Pool(Protocol):
    async def call(self, part: str, method: str, args: tuple[Any, ...], *, deadline: float, tries: int = 1) -> Any: ...


class Budget:
    """Money reserved before a request and settled after it, so that what is in flight can never overrun a limit.

    limits: dollars by name, "" for the whole run; names without a limit are only counted.
    """

    def __init__(self, limits: Mapping[str, float | None], spent: Mapping[str, float] | None = None) -> None:
        self.limits = {name: limit for name, limit in limits.items() if limit is not None}
        self.spent: dict[str, float] = {"": 0.0}
        self.reserved: dict[str, float] = {"": 0.0}
        self._settled = asyncio.Event()
        for name, amount in (spent or {}).items():
            self._add(self.spent, name, amount)

    @staticmethod
    def _add(book: dict[str, float], name: str, amount: float) -> None:
        book[name] = book.get(name, 0.0) + amount
        book[""] = book.get("", 0.0) + amount

    def affordable(self, name: str, bound: float) -> bool:
        return all(
            self.spent.get(key, 0.0) + self.reserved.get(key, 0.0) + bound <= self.limits[key] + 1e-12
            for key in ("", name)
            if key in self.limits
        )

    def reserve(self, name: str, bound: float) -> bool:
        """Set the bound aside, if it can be afforded whatever else is in flight."""
        if not self.affordable(name, bound):
            return False
        self._add(self.reserved, name, bound)
        return True

    async def room(self, name: str, bound: float) -> None:
        """Wait until something settles; OutOfMoney when settling everything at no cost would not make room."""
        for key in ("", name):
            if key in self.limits and self.spent.get(key, 0.0) + bound > self.limits[key] + 1e-12:
                whose = f"the budget of {key}" if key else "the budget of the run"
                raise OutOfMoney(
                    key,
                    f"{whose}, ${self.limits[key]:.2f}, cannot carry another request of {name} (at most ${bound:.4f}): "
                    f"${self.spent.get(key, 0.0):.4f} are spent",
                )
        self._settled.clear()
        await self._settled.wait()

    def settle(self, name: str, bound: float, cost: float) -> None:
        self._add(self.reserved, name, -bound)
        self._add(self.spent, name, cost)
        self._settled.set()


class HourMeter:
    """Price of an endpoint paid by the hour: each reply carries the busy time since the reply before it."""

    def __init__(self, per_hour: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.clock, self.in_flight, self.mark = per_hour / 3600.0, clock, 0, 0.0

    def begin(self) -> None:
        if self.in_flight == 0:
            self.mark = self.clock()
        self.in_flight += 1

    def end(self) -> float:
        now = self.clock()
        cost, self.mark = (now - self.mark) * self.rate, now
        self.in_flight -= 1
        return cost


@dataclass(slots=True)
class Seat:
    """A teacher at work: its part, its limits, where its pairs stand, and what it has done in this session."""

    spec: TeacherSpec
    teacher: Teacher
    limits: Limits
    pairs: Pairs
    meter: HourMeter | None = None
    in_flight: int = 0
    live: int = 0
    replies: int = 0
    faults: int = 0
    rate_limited: int = 0
    completion_tokens: int = 0
    stopped_early: int = 0
    saved_tokens: int = 0
    dead: str = ""
    started: float = field(default_factory=time.monotonic)
    waits: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.spec.name


@dataclass(frozen=True, slots=True)
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
    """A verifier as the loop knows it: its name in the pool, its version, seconds per item, whether it asks judges."""

    part: str
    version: str
    deadline: float
    asks: bool = False

    @staticmethod
    def of(name: str, built: Any) -> VerifierAt:
        """Of a built verifier; asks: it has `ask(query, response, verdict)` for what a worker's end decided."""
        return VerifierAt(name, str(built.version), float(getattr(built, "deadline", 3.0)), hasattr(built, "ask"))


class Loop:
    """Runs pairs until nothing is left to ask. Build it, `await run()`, then read seats and `outcome`.

    A bug in a pair drains the others before it is raised: what is in flight is paid for.

    awaiting_vote: categories whose missing references a vote of the teachers will supply, and for which attempt it
    waits: that reply stays transient, those before it are final. verifiers: by category. keep: called with each new
    Judged, in order of arrival. outcome: done, interrupted, budget, disk_full or bug.
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
        self.verifiers, self.pool, self.journal, self.memory = verifiers, pool, journal, memory
        self.budget, self.keep, self.retries, self.purpose, self.sleep = budget, keep, retries, purpose, sleep
        self.vote_categories, self.vote_round = frozenset(awaiting_vote[0]), awaiting_vote[1]
        self.wanted = None if wanted is None else np.array(sorted(wanted), np.int64)
        self.outcome, self.problem = "done", ""
        self._draining = asyncio.Event()
        self._rulings: dict[str, asyncio.Task[Response]] = {}
        self._spilled = Spilled()
        self._bug: Exception | None = None
        self._idle: set[asyncio.Task[Any]] = set()  # tasks that wait for leave to send: a drain wakes them
        self._woken: set[asyncio.Task[Any]] = set()

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

    def drain(self, outcome: str = "interrupted", problem: str = "") -> None:
        """Send nothing new; what is in flight is awaited, journaled and judged."""
        if not self._draining.is_set():
            self.outcome, self.problem = outcome, problem
            self._draining.set()
            for task in self._idle:
                self._woken.add(task)
                task.cancel()

    async def _unless_drained(self, waiting: Coroutine[Any, Any, T]) -> T:
        """Wait for something that is no request in flight; a drain ends the wait with Stopped."""
        task = asyncio.current_task()
        if self._draining.is_set() or task is None:
            waiting.close()
            raise Stopped
        self._idle.add(task)
        try:
            return await waiting
        except asyncio.CancelledError:
            if task not in self._woken:
                raise
            self._woken.discard(task)
            task.uncancel()
            raise Stopped from None
        finally:
            self._idle.discard(task)

    async def _feed(self, seat: Seat) -> None:
        """Start pairs in the order of their keys, as many at a time as keep the endpoint and the verifiers busy."""
        room = asyncio.Semaphore(seat.spec.max_in_flight + seat.spec.max_in_flight // 4 + 32)
        open_pairs = np.flatnonzero(seat.pairs.states() == WAITING)
        if self.wanted is not None:
            open_pairs = np.intersect1d(open_pairs, self.wanted, assume_unique=True)
        async with asyncio.TaskGroup() as group:
            for query, position in self.table.read_at(open_pairs):
                await room.acquire()
                if self._draining.is_set() or seat.dead:
                    room.release()
                    break
                task = group.create_task(self._pair(seat, position, query))
                task.add_done_callback(lambda _: room.release())

    async def _pair(self, seat: Seat, position: int, query: Query) -> None:
        """One teacher's pair: attempt after attempt until its state rests."""
        seat.live += 1
        try:
            attempts = [a for a in range(1, seat.pairs.limit + 1) if not seat.pairs.is_judged(position, a)]
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
            seat.waits[str(reason)] = seat.waits.get(str(reason), 0) + 1
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
                response = await self._ask(seat, request, self.purpose)
            except NotRecorded:
                seat.pairs.ended[position] = True
                return False
        else:  # the reply may have been another name's; the normal form is this teacher's
            response = replace(response, teacher=seat.name, query=query.key, thinking=seat.spec.thinking)
        judged = await self.judge(seat, query, response)
        self.keep(judged)
        seat.pairs.note(position, attempt, judged.verdict)
        if judged.verdict.outcome == "unknown" and judged.verdict.transient:
            reason = f"{judged.verdict.rule}: {judged.verdict.reason}"
            seat.waits[reason] = seat.waits.get(reason, 0) + 1
            return False
        return True

    # -- asking -----------------------------------------------------------------------------------------------

    async def _ask(self, seat: Seat, request: Request, purpose: str) -> Response:
        """Send until a reply is there: intent, request, journal; transport faults are retried with back-off."""
        for retry in range(self.retries + 1):
            outcome = await self._once(seat, request, purpose, retry)
            if isinstance(outcome, Response):
                return outcome
            if outcome.kind == "not_recorded":
                raise NotRecorded
            if outcome.kind in ("auth", "not_found", "quota"):
                seat.dead = seat.dead or str(outcome)
                raise GaveUp(str(outcome))
            if not outcome.retryable:
                raise GaveUp(str(outcome))
            if retry < self.retries:
                await self._back_off(retry, outcome)
        raise GaveUp(f"transport faults {self.retries + 1} times in a row")

    async def _once(self, seat: Seat, request: Request, purpose: str, retry: int) -> Response | Fault:
        bound = request.bound_usd or 0.0
        slot = await self._slot(seat, request, bound)
        request = replace(request, endpoint=slot.endpoint)
        seat.in_flight += 1
        if seat.meter is not None:
            seat.meter.begin()
        started = time.monotonic()
        fault: Fault | None = None
        response: Response | None = None
        cost = 0.0
        try:
            self._intent(request, retry, purpose)
            try:
                response = await seat.teacher.send(request)
            except Fault as caught:
                fault = caught
                cost = bound if caught.maybe_paid else 0.0
            if seat.meter is not None:
                cost = seat.meter.end()
            if fault is not None or response is None:
                fault = fault or Fault("bad_envelope", "the teacher gave no reply")
                self._count_fault(seat, fault)
                await self.journal.fault(request, fault, retry=retry, purpose=purpose)
                return fault
            if seat.meter is not None:
                response = replace(response, cost_usd=cost)
            cost = response.cost_usd or 0.0
            await self.journal.reply(response, retry=retry, purpose=purpose)
            self._count_reply(seat, response)
            return response
        finally:
            seat.in_flight -= 1
            self._give_back(seat, slot, time.monotonic() - started, fault, response)
            self.budget.settle(seat.name, bound, cost)

    async def _slot(self, seat: Seat, request: Request, bound: float) -> Slot:
        """A place at an endpoint with the money for it reserved."""
        while True:
            self._may_send(seat)
            slot = await self._unless_drained(seat.limits.acquire(request.prompt_tokens + request.max_tokens))
            try:
                self._may_send(seat)
                if self.budget.affordable(seat.name, self._hour_bound(seat)) and self.budget.reserve(seat.name, bound):
                    return slot
            except (Stopped, GaveUp):
                seat.limits.abandon(slot)
                raise
            seat.limits.abandon(slot)
            try:
                await self._unless_drained(self.budget.room(seat.name, max(bound, self._hour_bound(seat))))
            except OutOfMoney as reason:
                if not reason.whose:
                    self.drain("budget", str(reason))
                    raise
                seat.dead = seat.dead or str(reason)
                if self.outcome == "done":
                    self.outcome, self.problem = "budget", str(reason)
                raise GaveUp(str(reason)) from reason

    @staticmethod
    def _give_back(seat: Seat, slot: Slot, seconds: float, fault: Fault | None, response: Response | None) -> None:
        """The slot, with what the limits learn from it; nothing where we did not wait for the outcome."""
        if fault is not None:
            seat.limits.release(slot, seconds=seconds, fault=fault)
        elif response is not None:
            used = response.prompt_tokens + response.completion_tokens
            seat.limits.release(slot, seconds=seconds, tokens=used, output_tokens=response.completion_tokens)
        else:
            seat.limits.abandon(slot)

    def _may_send(self, seat: Seat) -> None:
        if self._draining.is_set():
            raise Stopped
        if seat.dead:
            raise GaveUp(seat.dead)

    def _hour_bound(self, seat: Seat) -> float:
        """By the hour, the most that draining can cost is one time-out of the endpoints."""
        return seat.meter.rate * seat.spec.timeout if seat.meter is not None else 0.0

    def _intent(self, request: Request, retry: int, purpose: str) -> None:
        try:
            self.journal.intent(request, retry=retry, purpose=purpose)
        except (JournalFull, OSError) as error:  # the journal cannot be written: nothing new is sent
            self.drain("disk_full", str(error))
            raise Stopped from error

    def _count_reply(self, seat: Seat, response: Response) -> None:
        seat.replies += 1
        seat.completion_tokens += response.completion_tokens
        if response.finish_reason == "stopped":
            seat.stopped_early += 1
            seat.saved_tokens += max(0, response.max_tokens - response.completion_tokens)

    def _count_fault(self, seat: Seat, fault: Fault) -> None:
        seat.faults += 1
        seat.rate_limited += fault.kind in ("rate_limited", "overloaded")

    async def _back_off(self, retry: int, fault: Fault) -> None:
        """Full jitter over a doubling span; Retry-After is a floor. A drain ends the wait."""
        span = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2**retry)
        wait = max(random.uniform(0.5 * span, span), fault.retry_after or 0.0)
        await self._unless_drained(self.sleep(wait))

    # -- judging ----------------------------------------------------------------------------------------------

    async def judge(self, seat: Seat, query: Query, response: Response) -> Judged:
        """The verdict: by form first, then by the category's verifier, then by a judge where that one asks."""
        formal = structure(response)
        if formal is not None:
            return Judged(query, response, "structure", "1", formal, None)
        at = self.verifiers[query.category]
        part, version, deadline = at.part, at.version, at.deadline
        verdict = await self._work(part, "__call__", (query, response), deadline)
        if at.asks and isinstance(verdict, Verdict) and verdict.rule in ("timeout", "memory", "died", "error"):
            verdict = await self._work(part, "ask", (query, response, verdict), deadline)
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
            verdict = await self._work(part, "settle", (query, response, reply), deadline)
        if verdict.rule == NO_REFERENCE_RULE and query.category in self.vote_categories:
            told = "the teachers do not agree on the reference, which their vote is to supply"
            verdict = Verdict.unknown("awaits_vote", told, transient=response.attempt >= self.vote_round)
        return Judged(query, response, part, version, verdict, heard)

    async def _work(self, part: str, method: str, args: tuple[Any, ...], deadline: float) -> Any:
        """A verifier's call in a worker. Two time-outs or deaths on the same answer are a final unknown."""
        try:
            return await self.pool.call(part, method, args, deadline=deadline, tries=2)
        except (WorkerTimeout, WorkerDied, WorkerError) as error:
            return Verdict.unknown(*rule_of(error))

    async def _ruling(self, judge: Seat, seat: Seat, query: Query, ask: Ask) -> Response:
        """A judge's reply: from the journal, from another pair that asks the same right now, or asked and paid."""
        request = plea(judge.teacher, query, ask)
        known = self.memory.response(request.key, request.max_tokens)
        task = self._rulings.get(request.key)
        if known is None and task is None:
            known = self._spilled.get(request.key)
        if known is not None:
            return known
        if task is None:
            if len(self._rulings) > RULINGS_KEPT:
                done = {k: t for k, t in self._rulings.items() if t.done()}
                self._spilled.put((k, t.result()) for k, t in done.items() if not t.cancelled() and not t.exception())
                self._rulings = {k: t for k, t in self._rulings.items() if k not in done}
            task = asyncio.ensure_future(self._ask(judge, request, f"judge:{seat.name}"))
            self._rulings[request.key] = task
        return await asyncio.shield(task)


def plea(judge: Teacher, query: Query, ask: Ask) -> Request:
    """The request to a judge: its key is of the question, so the same question is never paid for twice. No I/O.

    A judge whose limit is above the usual one is a model that thinks first: it has all of its limit.
    """
    system = "\n".join(m.content for m in ask.messages if m.role == "system") or None
    asked = Query(tuple(m for m in ask.messages if m.role != "system"), "judge", system=system)
    request = judge.request(asked, 1)
    limit = request.max_tokens if request.max_tokens > JUDGE_TOKENS else min(request.max_tokens, ask.max_tokens)
    return replace(request, query=query.key, max_tokens=limit)


def seat_for(spec: TeacherSpec, teacher: Teacher, pairs: Pairs) -> Seat:
    """A seat with the limits and the hour meter that the spec asks for."""
    limits = Limits(
        spec.endpoints, max_in_flight=spec.max_in_flight, requests_per_minute=spec.requests_per_minute,
        tokens_per_minute=spec.tokens_per_minute, patience=spec.patience,
    )  # fmt: skip
    if hasattr(teacher, "hear"):
        teacher.hear = limits.hear  # rate-limit headers of good replies
    price = spec.price
    meter = HourMeter(price.per_hour * len(spec.endpoints)) if price and price.per_hour is not None else None
    return Seat(spec, teacher, limits, pairs, meter)


class NotRecorded(Exception):  # noqa: N818  a signal, not an error
    """A recorded teacher has no further reply to this query."""


def structure(response: Response) -> Verdict | None:
    """The verdict by form alone, or None where the verifier has to look: no verifier sees a reply out of form."""
    if response.truncated:
        limit = f"{response.max_tokens} tokens" if response.max_tokens else "its limit"
        return Verdict("fail", 0.0, TRUNCATED_RULE, f"cut at {limit}")
    if response.finish_reason == "stopped":
        return Verdict("fail", 0.0, "stopped", "cancelled while it was streaming")
    if response.finish_reason != "stop":
        return Verdict("fail", 0.0, "finish_reason", f"finish_reason is {response.finish_reason!r}")
    malformed = response.parts.malformed
    return Verdict("fail", 0.0, "malformed", malformed) if malformed else None


def state_counts(pairs: Pairs) -> dict[str, int]:
    """How many pairs stand where: one entry per state, sums to the number of pairs."""
    counts = np.bincount(pairs.states(), minlength=len(STATES))
    return {name: int(n) for name, n in zip(STATES, counts, strict=True)}


__all__ = [
    "NOT_RECORDED_RULE",
    "Budget",
    "HourMeter",
    "Judged",
    "Loop",
    "OutOfMoney",
    "Seat",
    "UserMistake",
    "state_counts",
    "structure",
]
