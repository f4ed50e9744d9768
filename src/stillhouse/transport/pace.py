"""Requests or tokens per minute as a bucket that fills steadily. Pure: the time is handed in.

In: the amount that is wanted and the time. Out: how long to wait for it. Chosen so that no window of 60 s holds more
than the limit, and that the flow is even: providers also enforce their limits over seconds.
"""

from __future__ import annotations


class Pace:
    """per_minute: the limit. A single amount above a twentieth of it runs into debt, which is waited for afterwards."""

    def __init__(self, per_minute: float) -> None:
        if per_minute <= 0:
            raise ValueError(f"a limit per minute is above 0, not {per_minute}")
        self.size = max(1.0, per_minute / 20)
        # what was saved up may go out at once, and 60 s of flow on top of it: together the limit
        self.per_second = (per_minute - self.size + 1) / 60 if per_minute > 1 else per_minute / 60
        self._level, self._at = self.size, float("-inf")

    def wait(self, amount: float, now: float) -> float:
        """Seconds until amount may be taken; 0 when it may be now."""
        self._fill(now)
        need = min(amount, self.size)
        # a hair's breadth of rounding must not make a timer that fires at once, again and again
        return max(0.0, (need - self._level) / self.per_second) if need - self._level > 1e-9 else 0.0

    def take(self, amount: float, now: float) -> None:
        self._fill(now)
        self._level -= amount

    def give_back(self, amount: float) -> None:
        """What was reserved and not used; may be negative, when more was used than reserved."""
        self._level = min(self.size, self._level + amount)

    def _fill(self, now: float) -> None:
        if now > self._at:
            if self._at != float("-inf"):
                self._level = min(self.size, self._level + (now - self._at) * self.per_second)
            self._at = now
