"""One request until its reply is there: slot, money, intent, sending, journal; and again after a fault.

In: a seat and a Request. Out: a Response that is paid for and on disk, or why there is none in this sitting. Holds what
all requests share: the budget, the journal, and whether the sitting drains.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from stillhouse.asking.money import Budget, OutOfMoney, Stopped
from stillhouse.asking.seats import GRACE, Seat
from stillhouse.records import Fault, Request, Response
from stillhouse.store.journal import JournalFull
from stillhouse.transport.limits import Slot

T = TypeVar("T")
FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 60.0
ELSEWHERE = frozenset({"auth", "not_found", "quota", "redirect", "tls"})  # the endpoint's, not the request's
REFUSALS = ELSEWHERE | {"bad_request"}
MOST_REFUSALS = 10  # before a first reply: then it is the recipe that is wrong


class GaveUp(Exception):  # noqa: N818  a signal between coroutines, not an error
    """This request failed for good in this run; the pair waits."""


class NotRecorded(Exception):  # noqa: N818  as above
    """A recorded teacher has no further reply to this query."""


class Recorder(Protocol):
    """What asking needs of the journal (store.journal.Journal)."""

    async def announce(self, request: Request, *, retry: int, purpose: str) -> None: ...
    async def reply(self, response: Response, *, retry: int, purpose: str) -> None: ...
    async def fault(self, request: Request, fault: Fault, *, retry: int, purpose: str) -> None: ...


class Asker:
    """Asks for all seats of a sitting. outcome: done, interrupted, budget, disk_full, refused or bug; problem: why."""

    def __init__(
        self,
        journal: Recorder,
        budget: Budget,
        *,
        retries: int,
        sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
    ) -> None:
        self.journal, self.budget, self.retries, self.sleep = journal, budget, retries, sleep
        self.outcome, self.problem = "done", ""
        self._draining = False
        self._idle: set[asyncio.Task[Any]] = set()  # tasks that wait for leave to send: a drain wakes them
        self._woken: set[asyncio.Task[Any]] = set()

    # -- draining ---------------------------------------------------------------------------------------------

    @property
    def draining(self) -> bool:
        return self._draining

    def drain(self, outcome: str, problem: str = "") -> None:
        """Send nothing new; what is in flight is awaited, journaled and judged."""
        if not self._draining:
            self.outcome, self.problem = outcome, problem
            self._draining = True
            for task in self._idle:
                self._woken.add(task)
                task.cancel()

    async def unless_drained(self, waiting: Coroutine[Any, Any, T]) -> T:
        """Wait for something that is no request in flight; a drain ends the wait with Stopped."""
        task = asyncio.current_task()
        if self._draining or task is None:
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

    # -- asking -----------------------------------------------------------------------------------------------

    async def ask(self, seat: Seat, request: Request, purpose: str) -> Response:
        """Send until a reply is there. Raises Stopped, GaveUp, NotRecorded or EndpointsDead."""
        if request.key in seat.outstanding:
            raise Stopped  # in a batch file whose result has not come; its file is told at the end
        if seat.enrol is not None:
            self._enrol(seat, request)
        for retry in range(self.retries + 1):
            outcome = await self._once(seat, request, purpose, retry)
            if isinstance(outcome, Response):
                return outcome
            if outcome.kind == "not_recorded":
                raise NotRecorded
            if not outcome.retryable and outcome.kind not in ELSEWHERE:
                raise GaveUp(str(outcome))
            if retry < self.retries:
                await self._back_off(seat, retry, outcome)
        raise GaveUp(f"{self.retries + 1} transport faults in a row, the last one {outcome}")

    def _enrol(self, seat: Seat, request: Request) -> None:
        """Into the round's batch file, if the money for it can be set aside for as long as the round lasts."""
        if self._draining:
            raise Stopped
        bound = seat.bound(request)
        if not self.budget.reserve(seat.name, bound):
            seat.short = True
            raise GaveUp(f"the budget cannot carry it in this round (at most ${bound:.4f} a request)")
        try:
            if seat.enrol is not None:
                seat.enrol(request, bound)
        except GaveUp:
            self.budget.settle(seat.name, bound, 0.0)
            raise
        except (JournalFull, OSError) as error:
            self.drain("disk_full", str(error))
            raise Stopped from error
        raise Stopped

    async def _once(self, seat: Seat, request: Request, purpose: str, retry: int) -> Response | Fault:
        slot, bound = await self._slot(seat, request)
        if request.endpoint != slot.endpoint:
            request = replace(request, endpoint=slot.endpoint)
        seat.in_flight += 1
        started = time.monotonic()
        cost = 0.0
        outcome: Response | Fault | None = None
        try:
            await self._intent(request, retry, purpose)
            cost = bound  # what ends without an outcome counts as paid
            outcome = await self._sent(seat, request)
            if isinstance(outcome, Fault):
                cost = bound if outcome.maybe_paid else 0.0
                seat.faults += 1
                seat.rate_limited += outcome.kind in ("rate_limited", "overloaded")
                self._mind_refusals(seat, outcome, slot.endpoint)
            else:
                outcome = _priced(seat, outcome, bound)
                cost = outcome.cost_usd or 0.0
            await self._kept(seat, request, outcome, retry, purpose)
            return outcome
        finally:
            seat.in_flight -= 1
            _give_back(seat, slot, time.monotonic() - started, outcome)
            if seat.meter is None:
                self.budget.settle(seat.name, bound, cost)

    async def _sent(self, seat: Seat, request: Request) -> Response | Fault:
        """What came of it. The teacher keeps its own deadline; one that does not is given up here."""
        longest, meter = seat.spec.timeout + GRACE, seat.meter
        if meter is not None:
            meter.begin()
        response: Response | None
        try:
            if getattr(seat.teacher, "keeps_deadline", False):
                response = await seat.teacher.send(request)
            else:
                async with asyncio.timeout(longest):
                    response = await seat.teacher.send(request)
        except Fault as fault:
            return fault
        except TimeoutError:
            return Fault("timeout", f"{seat.name} gave neither reply nor fault within {longest:g} s", maybe_paid=True)
        finally:
            if meter is not None:
                self.budget.settle(seat.name, 0.0, meter.end())
                self.budget.hold(seat.name, meter.exposure())
        return response or Fault("bad_envelope", "the teacher gave no reply", maybe_paid=True)

    async def _kept(self, seat: Seat, request: Request, outcome: Response | Fault, retry: int, purpose: str) -> None:
        """On disk before anybody looks at it."""
        try:
            if isinstance(outcome, Fault):
                await self.journal.fault(request, outcome, retry=retry, purpose=purpose)
            else:
                await self.journal.reply(outcome, retry=retry, purpose=purpose)
                seat.count(outcome, request.bound_usd or 0.0)
        except (JournalFull, OSError) as error:
            self.drain("disk_full", str(error))
            raise Stopped from error

    async def _slot(self, seat: Seat, request: Request) -> tuple[Slot, float]:
        """A place at an endpoint with the money for it reserved, and how much that is."""
        while True:
            self._may_send(seat)
            tokens = request.prompt_tokens + request.max_tokens
            slot = seat.limits.take(tokens)
            if slot is None:
                slot = await self.unless_drained(seat.limits.acquire(tokens))
                try:
                    self._may_send(seat)
                except (Stopped, GaveUp):
                    seat.limits.return_unused(slot)
                    raise
            bound = seat.bound(request)
            if self._reserved(seat, bound):
                return slot, bound
            seat.limits.return_unused(slot)
            await self._room(seat, bound)

    def _reserved(self, seat: Seat, bound: float) -> bool:
        if seat.meter is None:
            return self.budget.reserve(seat.name, bound)
        return self.budget.hold(seat.name, seat.meter.exposure(one_more=True))

    async def _room(self, seat: Seat, bound: float) -> None:
        """Wait for money; where none can come, the run (or this teacher) is over."""
        more = bound
        if seat.meter is not None:
            bound = seat.meter.rate * seat.meter.longest
            more = seat.meter.exposure(one_more=True) - self.budget.held(seat.name)
        try:
            await self.unless_drained(self.budget.room(seat.name, bound, more))
        except OutOfMoney as reason:
            if not reason.whose:
                self.drain("budget", str(reason))
                raise
            seat.dead = seat.dead or str(reason)
            if self.outcome == "done":
                self.outcome, self.problem = "budget", str(reason)
            raise GaveUp(str(reason)) from reason

    def _may_send(self, seat: Seat) -> None:
        if self._draining:
            raise Stopped
        if seat.dead:
            raise GaveUp(seat.dead)

    async def _intent(self, request: Request, retry: int, purpose: str) -> None:
        try:
            await self.journal.announce(request, retry=retry, purpose=purpose)
        except (JournalFull, OSError) as error:  # the journal cannot be written: nothing new is sent
            self.drain("disk_full", str(error))
            raise Stopped from error

    def _mind_refusals(self, seat: Seat, fault: Fault, endpoint: str) -> None:
        """Ten refusals before a first reply: what `GET /models` could not tell is told before the other million."""
        if seat.proven or fault.kind not in REFUSALS:
            return
        seat.refusals[endpoint] += 1
        if seat.refusals.total() >= MOST_REFUSALS and len(seat.refusals) == len(seat.spec.endpoints):
            self.drain("refused", f"teacher {seat.name}: every request so far was refused: {fault}")

    async def _back_off(self, seat: Seat, retry: int, fault: Fault) -> None:
        """Full jitter over a doubling span; Retry-After is a floor. A drain ends the wait."""
        span = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2**retry)
        wait = max(random.uniform(0.5 * span, span), fault.retry_after or 0.0)
        seat.step_aside()
        await self.unless_drained(self.sleep(wait))


def _priced(seat: Seat, response: Response, bound: float) -> Response:
    """The reply with its dollars, where its teacher left them out: by the hour, by its tokens, else by its bound."""
    if seat.meter is not None:
        return replace(response, cost_usd=seat.meter.book())
    price = seat.spec.price
    if response.cost_usd is not None or price is None or not bound:
        return response
    told = response.prompt_tokens or response.completion_tokens
    cost = price.cost(
        response.prompt_tokens, response.completion_tokens, response.cached_tokens or 0, response.thinking_tokens or 0
    )
    return replace(response, cost_usd=cost if told and cost is not None else bound)


def _give_back(seat: Seat, slot: Slot, seconds: float, outcome: Response | Fault | None) -> None:
    """The slot, with what the limits learn from it; nothing where we did not wait for the outcome."""
    if isinstance(outcome, Fault):
        seat.limits.release(slot, seconds=seconds, fault=outcome)
    elif outcome is not None:
        used = outcome.prompt_tokens + outcome.completion_tokens
        seat.limits.release(slot, seconds=seconds, tokens=used, output_tokens=outcome.completion_tokens)
    else:
        seat.limits.abandon(slot)
