"""How much may be asked of a teacher's endpoints at once, and when: adaptive concurrency, pace, breaker, fairness.

In: acquire before a request, release with its outcome. Out: slots, in the order in which they were asked for. Knows no
teacher. Its clock is the event loop's, so a loop with a clock of its own simulates hours in milliseconds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stillhouse.records import Fault
from stillhouse.transport.endpoint import Endpoint, State
from stillhouse.transport.faults import retry_after, spent
from stillhouse.transport.pace import Pace


class EndpointsDead(Exception):  # noqa: N818  a state of the world that the loop waits for, not a bug
    """Every endpoint has failed without one sign of life for as long as we are patient; says with what."""

    def __init__(self, faults: Mapping[str, Fault | None]) -> None:
        super().__init__("; ".join(f"{url}: {fault or 'no reply'}" for url, fault in faults.items()))
        self.faults = dict(faults)


@dataclass(slots=True, eq=False)
class Slot:
    """Leave to send one request to `endpoint`; to be released (or abandoned) exactly once."""

    endpoint: str
    sent_at: float
    tokens: int = 0
    trial: bool = False
    over: bool = False


@dataclass(frozen=True, slots=True)
class EndpointState:
    """For progress tables: limit is what may be in flight now; paused: seconds from now, 0 when it is not."""

    endpoint: str
    state: State
    in_flight: int
    limit: int
    paused: float
    throttles: int
    last_fault: str = ""


@dataclass(slots=True, eq=False)
class _Waiter:
    future: asyncio.Future[Slot]
    tokens: int


class Limits:
    """One per teacher. max_in_flight: of each endpoint, where its limit starts and its most. patience: seconds.

    requests_per_minute and tokens_per_minute hold for all endpoints together. All methods are to be called within the
    running event loop.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        max_in_flight: int,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        patience: float = 600.0,
    ) -> None:
        if not endpoints:
            raise ValueError("limits need at least one endpoint")
        self._endpoints = {url: Endpoint(url, max_in_flight, patience=patience) for url in endpoints}
        self._requests = Pace(requests_per_minute) if requests_per_minute else None
        self._tokens = Pace(tokens_per_minute) if tokens_per_minute else None
        self._queue: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._turn = 0

    def take(self, tokens: int = 0) -> Slot | None:
        """The same without waiting: None where there is no leave right now."""
        self._raise_if_dead()
        return None if self._queue else self._grant(tokens, asyncio.get_running_loop().time())

    async def acquire(self, tokens: int = 0) -> Slot:
        """Wait for leave to send one request of about that many tokens. First come, first served.

        May be cancelled at any time. Raises EndpointsDead when no endpoint will ever answer.
        """
        slot = self.take(tokens)
        if slot is not None:
            return slot
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop.create_future(), tokens)
        self._queue.append(waiter)
        self._serve()
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
                self.return_unused(waiter.future.result())  # it was granted in the same turn of the event loop
            elif waiter in self._queue:
                self._queue.remove(waiter)
                self._serve()
            raise

    def release(
        self,
        slot: Slot,
        *,
        seconds: float,
        fault: Fault | None = None,
        headers: Mapping[str, str] | None = None,
        tokens: int | None = None,
        output_tokens: int | None = None,
    ) -> None:
        """Give the slot back and learn. seconds: how long the request took. tokens: used in all, for the pace;
        output_tokens: makes latency comparable between short and long replies. headers: lower-case names."""
        endpoint, now = self._close(slot), asyncio.get_running_loop().time()
        latency = seconds / output_tokens if output_tokens else seconds
        busy = endpoint.in_flight >= endpoint.limit / 2
        endpoint.done(fault, seconds=latency, sent_at=slot.sent_at, now=now, trial=slot.trial, busy=busy)
        if headers:
            self.hear(slot.endpoint, headers)
        if self._tokens is not None and tokens is not None:
            self._tokens.give_back(slot.tokens - tokens)
        self._serve()

    def abandon(self, slot: Slot) -> None:
        """Give the slot back of a request whose outcome we chose not to wait for."""
        self._close(slot).abandoned(slot.trial)
        self._serve()

    def return_unused(self, slot: Slot) -> None:
        """Give the slot back of a request that was never sent, and what it took of the pace."""
        if self._requests is not None:
            self._requests.give_back(1)
        if self._tokens is not None:
            self._tokens.give_back(slot.tokens)
        self.abandon(slot)

    def hear(self, url: str, headers: Mapping[str, str]) -> None:
        """Rate-limit headers of any reply: where nothing remains, the endpoint rests until the reset."""
        if url in self._endpoints and spent(headers):
            wait = retry_after(headers)
            if wait:
                self._endpoints[url].hear(wait, asyncio.get_running_loop().time())

    @property
    def in_flight(self) -> int:
        return sum(endpoint.in_flight for endpoint in self._endpoints.values())

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def dead(self) -> bool:
        for endpoint in self._endpoints.values():  # noqa: SIM110  asked twice a request
            if endpoint.state != "dead":
                return False
        return True

    def states(self) -> list[EndpointState]:
        """How each endpoint stands."""
        now = asyncio.get_running_loop().time()
        return [
            EndpointState(
                url, one.state, one.in_flight, max(1, int(one.limit)), max(0.0, one.free_at - now), one.throttles,
                str(one.last_fault or ""),
            )
            for url, one in self._endpoints.items()
        ]  # fmt: skip

    def _close(self, slot: Slot) -> Endpoint:
        if slot.over:
            raise ValueError(f"a slot of {slot.endpoint} was given back twice")
        slot.over = True
        return self._endpoints[slot.endpoint]

    def _raise_if_dead(self) -> None:
        if self.dead:
            raise EndpointsDead({url: endpoint.last_fault for url, endpoint in self._endpoints.items()})

    def _grant(self, tokens: int, now: float) -> Slot | None:
        free = [endpoint for endpoint in self._endpoints.values() if endpoint.has_room(now)]
        if not free or self._pace_wait(tokens, now) > 0:
            return None
        self._turn += 1
        endpoint = free[0]
        if len(free) > 1:
            # the least loaded; equals by turns. A resting one gets its one trial first, or it would never come back
            order = range(len(free))
            best = min(order, key=lambda at: (free[at].state == "closed", free[at].in_flight / free[at].limit,
                                              (at - self._turn) % len(free)))  # fmt: skip
            endpoint = free[best]
        if self._requests is not None:
            self._requests.take(1, now)
        if self._tokens is not None:
            self._tokens.take(tokens, now)
        return Slot(endpoint.url, now, tokens, trial=endpoint.sent())

    def _pace_wait(self, tokens: int, now: float) -> float:
        if self._requests is None and self._tokens is None:
            return 0.0
        waits = [0.0]
        if self._requests is not None:
            waits.append(self._requests.wait(1, now))
        if self._tokens is not None:
            waits.append(self._tokens.wait(tokens, now))
        return max(waits)

    def _serve(self) -> None:
        """Serve the queue in its order as far as it goes; set a timer where only time is missing."""
        if not self._queue and self._timer is None:
            return
        loop = asyncio.get_running_loop()
        if self.dead:
            faults = {url: endpoint.last_fault for url, endpoint in self._endpoints.items()}
            while self._queue:
                waiter = self._queue.popleft()
                if not waiter.future.done():
                    waiter.future.set_exception(EndpointsDead(faults))
            return
        now = loop.time()
        while self._queue:
            if self._queue[0].future.done():  # cancelled
                self._queue.popleft()
                continue
            slot = self._grant(self._queue[0].tokens, now)
            if slot is None:
                break
            self._queue.popleft().future.set_result(slot)
        self._set_timer(loop, now)

    def _set_timer(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._queue:
            return
        rests = [one.free_at for one in self._endpoints.values() if one.state != "dead" and one.free_at > now]
        pace = self._pace_wait(self._queue[0].tokens, now)
        times = rests + ([now + pace] if pace > 0 else [])
        if times:
            self._timer = loop.call_at(min(times), self._serve)
