"""What is learnt of one endpoint: how much it may be asked at once, when it must be left alone, whether it is dead.

In: the outcome of each request, with its time. Out: a limit that adapts, a time to wait for, a breaker's state. Pure:
the time is handed in, so that it is tested by simulation. Knows no teacher and no HTTP.
"""

from __future__ import annotations

import statistics
from typing import Literal

from stillhouse.records import Fault

State = Literal["closed", "open", "trying", "dead"]

THROTTLED = frozenset({"rate_limited", "overloaded", "timeout"})  # it is asked too much
# the request was wrong, or is not what this endpoint holds; the endpoint works
ALIVE = frozenset({"bad_request", "too_large", "not_recorded"})
HOPELESS = frozenset({"auth", "not_found", "redirect", "tls", "quota"})  # waiting does not mend it

FLOOR = 1 / 8  # of the limit: scattered faults and latency never push under it
GROWTH = 1 / 8  # of the limit per round trip of good replies
LEAST_CUT, MOST_CUT, LATENCY_CUT = 0.9, 0.5, 0.8
RISEN = 1.5  # times the usual latency, in two windows in a row, is rising latency
LEAST_WINDOW = 32  # replies: the median of fewer wanders too much under jitter
UNBROKEN = 10  # failures in a row, without one sign of life between, open the breaker
LONGEST_PAUSE = 900.0
FIRST_REST, LONGEST_REST = 1.0, 60.0


class Endpoint:
    """One endpoint's limit, pause and breaker. patience: seconds of nothing but failures after which it is dead."""

    def __init__(self, url: str, most: int, *, patience: float = 600.0) -> None:
        if most < 1:
            raise ValueError(f"max_in_flight is 1 or more, not {most}")
        self.url, self.most, self.patience = url, most, patience
        self.limit = float(most)
        self.in_flight = 0
        self.state: State = "closed"
        self._paused_until = self._rests_until = float("-inf")
        self.last_fault: Fault | None = None
        self.throttles = 0  # in all, for the progress table
        self._cut_at = float("-inf")
        self._throttled_share = 0.0  # moving average over about one round trip
        self._throttles_in_a_row = 0
        self._failures, self._failing_since = 0, 0.0
        self._rest = FIRST_REST
        self._window: list[float] = []
        self._usual: float | None = None
        self._windows_seen = self._risen_windows = 0

    @property
    def floor(self) -> float:
        return max(1.0, self.most * FLOOR)

    @property
    def free_at(self) -> float:
        """Paused by its own word, or resting by the breaker's, until then."""
        return max(self._paused_until, self._rests_until)

    def has_room(self, now: float) -> bool:
        """May one more request be sent now? After a rest only one is, until it has come back."""
        if self.state == "dead" or now < self.free_at:
            return False
        if self.state == "closed":
            return self.in_flight < max(1, int(self.limit))
        return self.state == "open"

    def sent(self) -> bool:
        """Count a request that is sent; True when it is the breaker's trial."""
        self.in_flight += 1
        if self.state == "open":
            self.state = "trying"
            return True
        return False

    def done(
        self, fault: Fault | None, *, seconds: float, sent_at: float, now: float, trial: bool, busy: bool = True
    ) -> None:
        """Learn from one outcome. seconds: its latency, or latency per token. busy: the limit was being used."""
        self.in_flight -= 1
        throttled = fault is not None and fault.kind in THROTTLED
        weight = 2 / (max(8.0, self.limit) + 1)
        self._throttled_share += weight * (throttled - self._throttled_share)
        if fault is None or fault.kind in ALIVE:
            self._lives(now)
            if fault is None:
                self._learn_latency(seconds, sent_at, now)
                if busy and self._risen_windows == 0:
                    self.limit = min(self.most, self.limit + self.most * GROWTH / self.limit)
            return
        self.last_fault = fault
        if throttled:
            self._throttle(fault, sent_at, now)
        self._fails(fault, now, trial)

    def abandoned(self, trial: bool) -> None:
        """A request that was given up by the asker: nothing is learnt."""
        self.in_flight -= 1
        if trial and self.state == "trying":
            self.state = "open"

    def hear(self, wait: float, now: float) -> None:
        """The endpoint said itself for how long it wants nothing more."""
        self._paused_until = max(self._paused_until, now + min(wait, LONGEST_PAUSE))

    def _throttle(self, fault: Fault, sent_at: float, now: float) -> None:
        self.throttles += 1
        self._throttles_in_a_row += 1
        in_a_row = self._throttles_in_a_row >= min(3, int(self.limit))
        if sent_at >= self._cut_at:
            # scattered ones cut by what they are; a run of them by half, and then below the floor as well
            cut = min(LEAST_CUT, max(MOST_CUT, 1 - self._throttled_share))
            unbroken = self._throttles_in_a_row >= max(UNBROKEN, self.limit)
            self._cut(MOST_CUT if unbroken else cut, 1.0 if unbroken else self.floor, now)
        if in_a_row and fault.retry_after:
            self.hear(fault.retry_after, now)

    def _cut(self, factor: float, floor: float, now: float) -> None:
        self.limit = max(min(floor, self.limit), self.limit * factor)
        self._cut_at = now
        self._window.clear()

    def _learn_latency(self, seconds: float, sent_at: float, now: float) -> None:
        if sent_at < self._cut_at or seconds <= 0:
            return
        self._window.append(seconds)
        if len(self._window) < max(LEAST_WINDOW, int(self.limit)):
            return
        middle = statistics.median(self._window)
        self._window.clear()
        self._windows_seen += 1
        if self._windows_seen == 1:
            return  # of all that start at once the short ones come back first
        if self._usual is None:
            self._usual = middle
            return
        self._risen_windows = self._risen_windows + 1 if middle > RISEN * self._usual else 0
        self._usual += 0.1 * (middle - self._usual)  # replies may also have become longer for good
        if self._risen_windows >= 2:
            self._cut(LATENCY_CUT, self.floor, now)

    def _lives(self, now: float) -> None:
        if self.state in ("open", "trying"):
            self.limit = min(self.limit, self.floor)  # it has just come back
            self._rests_until = now
        if self.state != "dead":
            self.state = "closed"
        self._failures = self._throttles_in_a_row = 0
        self._rest = FIRST_REST

    def _fails(self, fault: Fault, now: float, trial: bool) -> None:
        if self._failures == 0:
            self._failing_since = now
        self._failures += 1
        # once it is open, only the trial says something new: what was under way when it opened does not
        opens = self._failures >= UNBROKEN if self.state == "closed" else trial
        if not opens or self.state == "dead":
            return
        if fault.kind in HOPELESS or (trial and now - self._failing_since >= self.patience):
            self.state = "dead"
            return
        self.state = "open"
        self._rests_until = now + self._rest
        if fault.retry_after:
            self.hear(fault.retry_after, now)
        self._rest = min(LONGEST_REST, 2 * self._rest)
