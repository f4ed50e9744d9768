"""What a sitting shows while it runs: one row a teacher, for the progress table, status.json and the metrics.

In: seats, the budget's books, the time. Out: Progress rows, as values, as JSON and as Prometheus text. Rates are those
of the last ten minutes, so that an estimate follows an endpoint that slows down.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stillhouse.asking.money import Budget
from stillhouse.asking.seats import Seat, state_counts

WINDOW_SECONDS = 600.0
LEAST_SECONDS = 5.0  # of a window before it says anything
DONE = ("verified", "unverified")


@dataclass(frozen=True, slots=True)
class Progress:
    """One teacher's row.

    states: pairs by where they stand. attempts: replies judged, of earlier sittings too. replies, faults,
    rate_limited, tokens (completion), stopped_early, saved_tokens, saved_usd: of this sitting, in `seconds`.
    tokens_per_second, eta_seconds: over the last ten minutes, None while nothing can be said. spent_usd: on these
    queries with its judges, earlier sittings included; projected_usd: at the end of the run, if it goes on like this;
    both None without a price. limit: what may be in flight now. dead: why it is asked no more, "" while it is.
    """

    teacher: str
    queries: int
    states: Mapping[str, int]
    attempts: int
    in_flight: int
    limit: int
    replies: int
    faults: int
    rate_limited: int
    tokens: int
    seconds: float
    tokens_per_second: float | None
    eta_seconds: float | None
    spent_usd: float | None
    projected_usd: float | None
    stopped_early: int
    saved_tokens: int
    saved_usd: float | None
    dead: str

    @property
    def verified(self) -> int:
        return sum(self.states[name] for name in DONE)

    @property
    def rested(self) -> int:
        return self.queries - self.states["waiting"]

    @property
    def verified_share(self) -> float | None:
        return self.verified / self.queries if self.queries else None

    @property
    def attempts_per_verified(self) -> float | None:
        return self.attempts / self.verified if self.verified else None

    @property
    def cost_per_verified_usd(self) -> float | None:
        return self.spent_usd / self.verified if self.verified and self.spent_usd is not None else None

    def as_json(self) -> dict[str, Any]:
        """The row of status.json: states stand beside the other figures."""
        figures = {name: getattr(self, name) for name in self.__slots__ if name != "states"}
        made = ("verified_share", "attempts_per_verified", "cost_per_verified_usd")
        rounded = {
            name: round(value, 6) if isinstance(value, float) else value
            for name, value in {**figures, **{name: getattr(self, name) for name in made}}.items()
        }
        return {"teacher": self.teacher, "queries": self.queries, **self.states, **rounded}


class Gauges:
    """Reads the seats of a sitting. before: dollars that judges were paid about each teacher in earlier sittings.

    wanted: positions of the queries that this sitting asks, where it is not all of them (a pilot): then the rows speak
    of those alone.
    """

    def __init__(
        self,
        budget: Budget,
        *,
        judges_before: Mapping[str, float] | None = None,
        wanted: Sequence[int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budget, self._judges, self._clock = budget, dict(judges_before or {}), clock
        self._wanted = None if wanted is None else np.array(wanted, np.int64)
        self._windows: dict[str, deque[tuple[float, int, int, float]]] = {}

    def read(self, seats: Iterable[Seat]) -> list[Progress]:
        """A row for each seat, as it stands now."""
        return [self._row(seat, self._clock()) for seat in seats]

    def _row(self, seat: Seat, now: float) -> Progress:
        states, spent = state_counts(seat.pairs, self._wanted), self._spent(seat)
        queries = sum(states.values())
        rested = queries - states["waiting"]
        window = self._windows.setdefault(seat.name, deque())
        window.append((now, rested, seat.completion_tokens, spent or 0.0))
        while now - window[0][0] > WINDOW_SECONDS:
            window.popleft()
        seconds, rests, tokens, dollars = (new - old for old, new in zip(window[0], window[-1], strict=True))
        long_enough = seconds >= LEAST_SECONDS
        rate = rests / seconds if long_enough and rests else None
        waiting = states["waiting"]
        return Progress(
            teacher=seat.name, queries=queries, states=states,
            attempts=int(np.bitwise_count(seat.pairs.judged).sum(dtype=np.int64)),
            in_flight=seat.in_flight, limit=sum(endpoint.limit for endpoint in seat.limits.states()),
            replies=seat.replies, faults=seat.faults, rate_limited=seat.rate_limited, tokens=seat.completion_tokens,
            seconds=time.monotonic() - seat.started,
            tokens_per_second=tokens / seconds if long_enough else None,
            eta_seconds=0.0 if not waiting else waiting / rate if rate else None,
            spent_usd=spent, projected_usd=_projected(spent, waiting, rests, dollars, rested),
            stopped_early=seat.stopped_early, saved_tokens=seat.saved_tokens, saved_usd=seat.saved_usd, dead=seat.dead,
        )  # fmt: skip

    def _spent(self, seat: Seat) -> float | None:
        """Its own dollars and those of its judges."""
        judges = self._judges.get(seat.name, 0.0) + seat.judges_usd
        if seat.spec.price is None:
            return judges or None
        return self._budget.spent.get(seat.name, 0.0) + judges


def _projected(spent: float | None, waiting: int, rests: float, dollars: float, rested: int) -> float | None:
    """Dollars at the end: what a pair cost lately for each that waits; of the whole run while the window is thin."""
    if spent is None or not waiting:
        return spent
    if rests >= 20:
        return spent + waiting * dollars / rests
    return spent + waiting * spent / rested if rested else None


_METRICS: tuple[tuple[str, str, str], ...] = (
    ("queries", "gauge", "Queries of the run"),
    ("verified", "gauge", "Pairs with a passing verdict"),
    ("waiting", "gauge", "Pairs that are not at rest"),
    ("attempts", "counter", "Replies judged"),
    ("replies", "counter", "Replies of this sitting"),
    ("faults", "counter", "Transport faults of this sitting"),
    ("rate_limited", "counter", "Faults that were 429 or 503"),
    ("tokens", "counter", "Completion tokens of this sitting"),
    ("in_flight", "gauge", "Requests in flight"),
    ("limit", "gauge", "Requests that may be in flight"),
    ("spent_usd", "gauge", "Dollars spent on these queries, judges included"),
    ("projected_usd", "gauge", "Dollars expected at the end"),
    ("eta_seconds", "gauge", "Seconds until all pairs rest, at the pace of the last ten minutes"),
    ("stopped_early", "counter", "Streams that were cancelled"),
    ("saved_tokens", "counter", "Tokens that early stops saved at most"),
)


def prometheus(rows: Iterable[Progress]) -> str:
    """The rows in Prometheus' text format; what is not known is left out."""
    told = [(row.teacher, row.as_json()) for row in rows]
    lines: list[str] = []
    for name, kind, words in _METRICS:
        full = f"stillhouse_{name}" + ("_total" if kind == "counter" else "")
        lines += (f"# HELP {full} {words}.", f"# TYPE {full} {kind}")
        lines += (f'{full}{{teacher="{who}"}} {facts[name]}' for who, facts in told if facts[name] is not None)
    return "\n".join(lines) + "\n"


def dollars(value: float) -> str:
    """Cents where they say something, four digits behind the point for small change, more for what is smaller yet."""
    if value >= 10:
        return f"${value:,.2f}"
    digits = 4 if value <= 0 or value >= 0.001 else 1 - math.floor(math.log10(value))
    return f"${value:,.{digits}f}"
