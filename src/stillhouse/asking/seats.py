"""A seat: a teacher (or judge) at work in one sitting, with its limits, its meter, and what it has done so far.

In: a TeacherSpec and its built part. Out: a Seat, which the loop works with and the gauges read. No I/O.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.asking.money import HourMeter
from stillhouse.records import Request, Response, Teacher, TeacherSpec
from stillhouse.store.pairs import STATES, Pairs
from stillhouse.transport.limits import Limits

MOST_REASONS = 20  # kept apart; servers put times and ids into their messages
GRACE = 30.0  # seconds beyond its own time-out after which a request is given up for its teacher
OTHER_REASONS = "other reasons"

Enrol = Callable[[Request, float], None]


@dataclass(slots=True)
class Seat:
    """What one teacher does in this sitting.

    live: pairs under way. refusals: by endpoint, before a first reply. proven: it has replied before, in this sitting
    or in an earlier one. overcharge: the most that a reply cost, as a multiple of its bound. judges_usd: dollars of
    judges that were asked about its replies. enrol: of a batch teacher, what takes (request, dollars at most) into the
    round's file. short: a round could not hold everything, for want of money. outstanding: keys whose batch results
    have not come. relief: puts one more pair to work, within bounds. dead: why it is asked no more. waits: reason ->
    pairs. notes: what the user should know at the end.
    """

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
    proven: bool = False
    refusals: Counter[str] = field(default_factory=Counter)
    overcharge: float = 1.0
    judges_usd: float = 0.0
    enrol: Enrol | None = None
    relief: Callable[[], None] | None = None
    outstanding: Set[str] = frozenset()
    short: bool = False
    started: float = field(default_factory=time.monotonic)
    waits: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.spec.name

    def bound(self, request: Request) -> float:
        """The most that a request can cost, dollars, by its price and by what the endpoint has charged beyond it."""
        return (request.bound_usd or 0.0) * self.overcharge

    def step_aside(self) -> None:
        """A pair waits for something that is no request of it in flight: another one may use its place meanwhile."""
        if self.relief is not None:
            self.relief()

    def waits_for(self, reason: str) -> None:
        """One pair waits, and why; beyond so many different reasons they are counted together."""
        if reason not in self.waits and len(self.waits) >= MOST_REASONS:
            reason = OTHER_REASONS
        self.waits[reason] = self.waits.get(reason, 0) + 1

    def count(self, response: Response, bound: float) -> None:
        """A reply, paid and on disk. bound: dollars, by its price alone."""
        self.replies += 1
        self.proven = True
        self.completion_tokens += response.completion_tokens
        if response.finish_reason == "stopped":
            self.stopped_early += 1
            self.saved_tokens += max(0, response.max_tokens - response.completion_tokens)
        cost = response.cost_usd or 0.0
        if self.meter is None and bound > 0 and cost > bound * (1 + 1e-9):
            if self.overcharge == 1.0:
                self.notes.append(
                    f"{self.name}: a reply cost ${cost:.4f} by the server's usage, more than its bound of ${bound:.4f} "
                    f"({response.prompt_tokens} prompt and {response.completion_tokens} completion tokens, limit "
                    f"{response.max_tokens}); from then on that much more is reserved for each request"
                )
            self.overcharge = max(self.overcharge, cost / bound)

    @property
    def saved_usd(self) -> float | None:
        """Dollars that early stops saved, were every stopped reply to run to its limit; None without a token price."""
        price = self.spec.price
        return None if price is None else price.cost(0, self.saved_tokens)


def seat_for(spec: TeacherSpec, teacher: Teacher, pairs: Pairs) -> Seat:
    """A seat with the limits and the hour meter that the spec asks for."""
    limits = Limits(
        spec.endpoints, max_in_flight=spec.max_in_flight, requests_per_minute=spec.requests_per_minute,
        tokens_per_minute=spec.tokens_per_minute, patience=spec.patience,
    )  # fmt: skip
    if hasattr(teacher, "hear"):
        teacher.hear = limits.hear  # rate-limit headers of good replies
    price, meter = spec.price, None
    if price is not None and price.per_hour is not None:
        meter = HourMeter(price.per_hour * len(spec.endpoints), spec.timeout + GRACE)
    return Seat(spec, teacher, limits, pairs, meter)


def state_counts(pairs: Pairs, wanted: NDArray[Any] | None = None) -> dict[str, int]:
    """How many pairs (at these positions) stand where: one entry per state, sums to the number of pairs."""
    states = pairs.states() if wanted is None else pairs.states()[wanted]
    counts = np.bincount(states, minlength=len(STATES))
    return {name: int(n) for name, n in zip(STATES, counts, strict=True)}
