"""Dollars: reserved before a request and settled after it, so that what is in flight can never overrun a budget.

In: what a request may cost at most, what it did cost. Out: leave to send, or OutOfMoney with the reason. Pure but for
waiting: no I/O. An endpoint that is paid by the hour holds a standing reserve as long as a request of it may run.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping

_HAIR = 1e-12  # dollars: sums of floats


class Stopped(Exception):  # noqa: N818  a signal between coroutines, not an error
    """No new request may be sent: drained, out of money, or the disk is full. The pair is left as it stands."""


class OutOfMoney(Stopped):
    """The next request might overrun a budget, and nothing in flight can still give money back. whose: "" the run's."""

    def __init__(self, whose: str, reason: str) -> None:
        super().__init__(reason)
        self.whose = whose


class Budget:
    """The books of one sitting. limits: dollars by name, "" for the whole run; names without one are only counted.

    spent: dollars by name that earlier sittings spent. Holds for names together: whatever settles settles for "" too.
    """

    def __init__(self, limits: Mapping[str, float | None], spent: Mapping[str, float] | None = None) -> None:
        self.limits = {name: limit for name, limit in limits.items() if limit is not None}
        self.spent: dict[str, float] = {"": 0.0}
        self.reserved: dict[str, float] = {"": 0.0}
        self._held: dict[str, float] = {}
        self._waiting: dict[str, deque[tuple[float, float, asyncio.Future[None]]]] = {}
        for name, amount in (spent or {}).items():
            self._add(self.spent, name, amount)

    @staticmethod
    def _add(book: dict[str, float], name: str, amount: float) -> None:
        book[name] = book.get(name, 0.0) + amount
        book[""] = book.get("", 0.0) + amount

    def affordable(self, name: str, bound: float) -> bool:
        """Whether the bound fits, even if all that is reserved is spent."""
        return all(
            self.spent.get(key, 0.0) + self.reserved.get(key, 0.0) + bound <= self.limits[key] + _HAIR
            for key in ("", name)
            if key in self.limits
        )

    def reserve(self, name: str, bound: float) -> bool:
        """Set the bound aside, if it can be afforded whatever else is in flight."""
        if not self.affordable(name, bound):
            return False
        self._add(self.reserved, name, bound)
        return True

    def hold(self, name: str, amount: float) -> bool:
        """Replace the standing reserve of an endpoint by the hour; False, and nothing changed, where it does not fit.
        To lower it always succeeds."""
        more = amount - self._held.get(name, 0.0)
        if more > 0 and not self.affordable(name, more):
            return False
        self._held[name] = amount
        self._add(self.reserved, name, more)
        if more < 0:
            self._wake()
        return True

    def held(self, name: str) -> float:
        """The standing reserve of an endpoint by the hour."""
        return self._held.get(name, 0.0)

    def settle(self, name: str, bound: float, cost: float) -> None:
        """What was reserved is over; what it came to is spent."""
        self._add(self.reserved, name, -bound)
        self._add(self.spent, name, cost)
        self._wake()

    async def room(self, name: str, bound: float, more: float | None = None) -> None:
        """Wait until the bound may fit. OutOfMoney when settling everything at no cost would not make room.

        more: what of the bound is not held yet, by the hour.
        """
        self._refuse(name, bound)
        more = bound if more is None else more
        if self.affordable(name, more):
            return
        place = (bound, more, asyncio.get_running_loop().create_future())
        queue = self._waiting.setdefault(name, deque())
        queue.append(place)
        try:
            await place[2]
        finally:
            if place in queue:
                queue.remove(place)
        self._refuse(name, bound)

    def _refuse(self, name: str, bound: float) -> None:
        for key in ("", name):
            if key in self.limits and self._hopeless(key, bound):
                whose = f"the budget of {key or 'the run'}, ${self.limits[key]:,.4g}"
                raise OutOfMoney(
                    key,
                    f"{whose}, cannot carry another request of {name} (at most ${bound:.4f}): "
                    f"${self.spent.get(key, 0.0):.4f} are spent",
                )

    def _hopeless(self, key: str, bound: float) -> bool:
        return self.spent.get(key, 0.0) + bound > self.limits[key] + _HAIR

    def _wake(self) -> None:
        """Wake those for whom there is room now, first come first served by name, and those who wait in vain."""
        taken: dict[str, float] = {}
        for name, queue in self._waiting.items():
            while queue:
                bound, more, future = queue[0]
                vain = any(key in self.limits and self._hopeless(key, bound) for key in ("", name))
                if not vain and not self._fits_beside(name, more, taken):
                    break
                queue.popleft()
                if not vain:
                    self._add(taken, name, more)
                if not future.done():
                    future.set_result(None)

    def _fits_beside(self, name: str, bound: float, taken: Mapping[str, float]) -> bool:
        return all(
            self.spent.get(key, 0.0) + self.reserved.get(key, 0.0) + taken.get(key, 0.0) + bound
            <= self.limits[key] + _HAIR
            for key in ("", name)
            if key in self.limits
        )


class HourMeter:
    """Price of an endpoint paid by the hour: each reply carries the busy time since the reply before it.

    longest: seconds that one request can take at most.
    """

    def __init__(self, per_hour: float, longest: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.longest, self.clock = per_hour / 3600.0, longest, clock
        self.in_flight, self.mark, self._until, self._unbooked = 0, 0.0, 0.0, 0.0

    def begin(self) -> None:
        now = self.clock()
        if self.in_flight == 0:
            self.mark = now
        self.in_flight += 1
        self._until = max(self._until, now + self.longest)

    def end(self) -> float:
        """Dollars of the busy time since the last end."""
        now = self.clock()
        cost, self.mark = (now - self.mark) * self.rate, now
        self.in_flight -= 1
        self._unbooked += cost
        return cost

    def book(self) -> float:
        """Dollars that no reply carries yet: busy time that ended in faults goes onto the next reply."""
        amount, self._unbooked = self._unbooked, 0.0
        return amount

    def exposure(self, *, one_more: bool = False) -> float:
        """The most that what is in flight (and one request more, sent now) can still come to, dollars."""
        if not self.in_flight and not one_more:
            return 0.0
        now = self.clock()
        until = max(self._until if self.in_flight else 0.0, now + self.longest if one_more else 0.0)
        return max(0.0, until - (self.mark if self.in_flight else now)) * self.rate
