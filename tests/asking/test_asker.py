"""Claims about the loop with fake teachers on a clock of its own: money, deadlines, refusals, endpoints, judges."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.asking.money import Budget, HourMeter
from stillhouse.asking.seats import GRACE, Seat, seat_for, state_counts
from stillhouse.loop import Loop, VerifierAt
from stillhouse.records import Ask, Fault, Message, Part, Price, Query, Request, Response, TeacherSpec, Verdict
from stillhouse.store.pairs import Pairs
from stillhouse.testing import FakeTeacher, simulate

TIMEOUT = 20.0


class Table:
    """The queries, as the loop reads them."""

    def __init__(self, count: int) -> None:
        self.queries = [Query((Message("user", f"{n}?"),), "math", ground_truth=str(n)) for n in range(count)]

    def __len__(self) -> int:
        return len(self.queries)

    def read_at(self, wanted: Any = None) -> Iterator[tuple[Query, int]]:
        for position in range(len(self)) if wanted is None else wanted.tolist():
            yield self.queries[position], position


class Book:
    """A journal in memory that adds up what a provider may charge."""

    def __init__(self) -> None:
        self.intents: list[Request] = []
        self.replies: list[Response] = []
        self.faults: list[tuple[Request, Fault]] = []

    async def announce(self, request: Request, *, retry: int, purpose: str) -> None:
        self.intents.append(request)

    async def reply(self, response: Response, *, retry: int, purpose: str) -> None:
        await asyncio.sleep(0.01)
        self.replies.append(response)

    async def fault(self, request: Request, fault: Fault, *, retry: int, purpose: str) -> None:
        await asyncio.sleep(0.01)
        self.faults.append((request, fault))

    def charged(self, name: str) -> float:
        """Dollars at most: the replies, and what may have been paid behind a fault."""
        paid = sum(r.cost_usd or 0.0 for r in self.replies if r.teacher == name)
        return paid + sum(r.bound_usd or 0.0 for r, f in self.faults if r.teacher == name and f.maybe_paid)


class Bench:
    """A pool that judges at once: right answers pass, of the others some want to hear a judge."""

    async def call(self, part: str, method: str, args: tuple[Any, ...], *, deadline: float, tries: int = 1) -> Any:
        query, response = args[:2]
        if method == "settle":
            return Verdict.of(int("yes" in args[2].text), 1, "judge")
        said = response.answer == f"\\boxed{{{query.ground_truth}}}"
        plea = Ask("math", (Message("user", query.key + response.key),), 50, Verdict.of(0, 1, "no"))
        return plea if not said and int(response.key, 16) % 2 else Verdict.of(int(said), 1, "exact")


class Nothing:
    def response(self, key: str, max_tokens: int) -> None:
        return None


def spec_of(teacher: FakeTeacher, **more: Any) -> TeacherSpec:
    given: dict[str, Any] = {"max_in_flight": teacher.max_in_flight, "price": teacher.price, "timeout": TIMEOUT}
    return TeacherSpec(teacher.name, Part("x:y"), max_tokens=teacher.max_tokens, **(given | more))


def sit(
    teachers: list[FakeTeacher],
    count: int,
    *,
    limits: Mapping[str, float | None] | None = None,
    judge: FakeTeacher | None = None,
    attempts: int = 3,
    **of_spec: Any,
) -> tuple[Loop, Book, Budget, list[Seat]]:
    """One sitting to its end, on its own clock."""
    table, book = Table(count), Book()
    budget = Budget(limits or {})

    async def run() -> tuple[Loop, list[Seat]]:
        clock = asyncio.get_running_loop().time

        def seat(teacher: FakeTeacher, size: int) -> Seat:
            made = seat_for(spec_of(teacher, **of_spec), teacher, Pairs(size, attempts))
            if made.meter is not None:
                made.meter = HourMeter(made.meter.rate * 3600, made.meter.longest, clock)
            return made

        seats = [seat(teacher, count) for teacher in teachers]
        loop = Loop(
            table, seats, {"math": seat(judge, 0)} if judge else {},  # type: ignore[arg-type]
            verifiers={"math": VerifierAt("math", "1", 3.0)}, pool=Bench(), journal=book, memory=Nothing(),
            budget=budget, keep=lambda _: None, retries=4,
        )  # fmt: skip
        await loop.run()
        return loop, seats

    loop, seats = simulate(run())
    return loop, book, budget, seats


prices = st.one_of(
    st.builds(Price, input=st.floats(0, 50), output=st.floats(0, 5000)),
    st.builds(Price, per_hour=st.floats(0.1, 60)),
)
fault_shares = st.dictionaries(
    st.sampled_from(["rate_limited", "reset", "timeout", "server_error", "bad_json"]), st.floats(0, 0.15), max_size=4
)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), first=prices, second=prices, judge=prices, faults=fault_shares,
    whole=st.one_of(st.none(), st.floats(0, 4)), own=st.one_of(st.none(), st.floats(0, 2)), flight=st.integers(1, 12),
)  # fmt: skip
def test_a_budget_is_never_overrun_whatever_it_costs_and_whatever_fails(
    seed: int, first: Price, second: Price, judge: Price, faults: dict[str, float], whole: float | None,
    own: float | None, flight: int,
) -> None:  # fmt: skip
    draw = random.Random(seed)
    more: dict[str, Any] = {"right": 0.5, "faults": faults, "max_tokens": 60, "max_in_flight": flight}
    teachers = [
        FakeTeacher("a", price=first, seed=seed, seconds=draw.uniform(0, 19), **more),
        FakeTeacher("b", price=second, seed=seed + 1, model="other", seconds=draw.uniform(0, 19), **more),
    ]
    ruler = FakeTeacher("judge", lambda *_: "yes", price=judge, faults=faults, seconds=1.0, max_tokens=60)
    limits = {"": whole, "a": own, "judge": own}
    loop, book, budget, seats = sit(teachers, 12, limits=limits, judge=ruler)
    for name, limit in limits.items():
        if limit is not None:
            names = [name] if name else ["a", "b", "judge"]
            assert sum(map(book.charged, names)) <= limit + 1e-9
            assert budget.spent.get(name, 0.0) <= limit + 1e-9
    assert budget.reserved[""] == pytest.approx(0.0, abs=1e-6)
    if loop.outcome == "done":
        assert all(state_counts(seat.pairs)["waiting"] == sum(seat.waits.values()) for seat in seats)
    else:
        assert loop.outcome == "budget"


class Silent(FakeTeacher):
    """Never answers, and keeps no deadline of its own."""

    async def send(self, request: Request) -> Response:
        await asyncio.sleep(10**9)
        raise AssertionError


def test_a_teacher_that_keeps_no_deadline_is_given_up() -> None:
    loop, book, budget, seats = sit([Silent("a", price={"input": 1, "output": 1})], 1)
    assert loop.outcome == "done"
    assert {fault.kind for _, fault in book.faults} == {"timeout"}
    assert f"{TIMEOUT + GRACE:g} s" in str(book.faults[0][1])
    assert budget.spent["a"] == pytest.approx(5 * (book.intents[0].bound_usd or 0)), "each may have been paid"
    assert list(seats[0].waits.values()) == [1]


class Refusing(FakeTeacher):
    """Refuses what goes to `where`; "" refuses everything."""

    where, kind = "", "bad_request"

    async def send(self, request: Request) -> Response:
        if request.endpoint.startswith(self.where):
            await asyncio.sleep(0.1)
            raise Fault(self.kind, f"{request.endpoint} does not like it")
        return await super().send(request)


def test_what_every_request_is_refused_for_is_told_before_all_are_sent() -> None:
    loop, book, _, _ = sit([Refusing("a", max_in_flight=8)], 500)
    assert loop.outcome == "refused"
    assert "every request so far was refused: bad_request" in loop.problem
    assert len(book.intents) < 40


def test_some_refusals_after_a_first_reply_concern_their_own_pairs_alone() -> None:
    def script(query: Query, attempt: int) -> Any:
        return Fault("bad_request", "too long") if int(query.text[:-1]) % 2 else "good"

    loop, _, _, seats = sit([FakeTeacher("a", script, max_in_flight=1)], 60)
    assert loop.outcome == "done"
    assert state_counts(seats[0].pairs)["verified"] == 30
    assert seats[0].waits == {"bad_request: too long": 30}


@pytest.mark.parametrize("kind", ["auth", "not_found", "quota", "tls", "refused", "timeout", "server_error"])
def test_one_of_two_endpoints_fails_and_the_other_goes_on(kind: str) -> None:
    teacher = Refusing("a", max_in_flight=4, seconds=1.0)
    teacher.where, teacher.kind = "http://dead", kind
    loop, book, _, seats = sit([teacher], 80, endpoints=("http://dead", "http://alive"))
    assert loop.outcome == "done"
    assert state_counts(seats[0].pairs)["verified"] == 80
    assert len(book.faults) < 60, "the breaker lets it rest"


def test_all_endpoints_dead_ends_the_teacher_and_not_the_run() -> None:
    dead = Refusing("a", max_in_flight=4)
    dead.kind = "refused"
    loop, _, _, seats = sit([dead, FakeTeacher("b", model="other")], 30)
    assert loop.outcome == "done"
    assert "refused" in seats[0].dead
    assert state_counts(seats[0].pairs)["waiting"] == 30
    assert state_counts(seats[1].pairs)["verified"] == 30


class Unpriced(FakeTeacher):
    """Leaves the dollars out of its replies."""

    async def send(self, request: Request) -> Response:
        return replace(await super().send(request), cost_usd=None)


def test_a_reply_without_its_dollars_is_priced_by_its_tokens() -> None:
    _, book, budget, _ = sit([Unpriced("a", price={"input": 1e6, "output": 1e6})], 3)
    assert all(r.cost_usd == r.prompt_tokens + r.completion_tokens for r in book.replies)
    assert budget.spent["a"] == sum(r.cost_usd or 0 for r in book.replies)


class Dearer(FakeTeacher):
    """Its server counts three times what its bound allows."""

    async def send(self, request: Request) -> Response:
        made = await super().send(request)
        return replace(made, cost_usd=3 * (request.bound_usd or 0))


def test_an_endpoint_that_charges_beyond_its_bound_is_told_and_reserved_for() -> None:
    teacher = Dearer("a", price={"input": 1e4, "output": 1e4}, max_in_flight=1, max_tokens=20)
    _, book, budget, seats = sit([teacher], 40, limits={"": 10.0})
    assert "more than its bound" in seats[0].notes[0]
    assert seats[0].overcharge == pytest.approx(3.0)
    assert budget.spent[""] <= 10.0 + 2 * 3 * (book.intents[0].bound_usd or 0), "but for the first reply"


def test_a_request_that_was_not_sent_gives_its_pace_back() -> None:
    teacher = FakeTeacher("a", price={"input": 0, "output": 1e4}, max_in_flight=8, max_tokens=100, seconds=1.0)
    loop, book, _, _ = sit([teacher], 20, limits={"": 3.0}, requests_per_minute=6000.0)
    assert loop.outcome == "done", "three at a time fit the budget; those who wait for money use up no pace"
    assert len(book.replies) == 20


def test_reasons_to_wait_are_counted_together_when_they_are_too_many() -> None:
    faults = lambda query, attempt: Fault("too_large", f"request {query.text}")  # noqa: E731
    _, _, _, seats = sit([FakeTeacher("a", faults)], 100)
    assert len(seats[0].waits) == 21
    assert sum(seats[0].waits.values()) == 100


def test_thousands_in_flight_share_the_loop() -> None:
    teachers = [FakeTeacher(n, model=n, right=0.6, max_in_flight=1500, seconds=2.0) for n in ("a", "b")]
    _, book, _, seats = sit(teachers, 3000)
    assert [t.most_in_flight for t in teachers] == [1500, 1500]
    assert all(state_counts(s.pairs)["waiting"] == 0 for s in seats)
    assert int(np.sum([t.asked.total() for t in teachers])) == len(book.replies)


class SlowBench(Bench):
    """Workers that take four seconds for an answer."""

    async def call(self, part: str, method: str, args: tuple[Any, ...], *, deadline: float, tries: int = 1) -> Any:
        await asyncio.sleep(4.0)
        return Verdict.of(1, 1, "exact")


@pytest.mark.parametrize("at_once", [True, False])
def test_a_place_at_the_endpoint_is_not_left_empty_while_a_pair_waits_for_a_worker(at_once: bool) -> None:
    """40 pairs, one second a reply, four in flight: ten seconds of asking, however long the workers take."""
    teacher = FakeTeacher("a", seconds=1.0, max_in_flight=4)
    most = 0

    class Counted(FakeTeacher):
        async def send(self, request: Request) -> Response:
            nonlocal most
            most = max(most, seat.live)
            return await teacher.send(request)

    seat = seat_for(spec_of(teacher), Counted("a", max_in_flight=4), Pairs(40, 1))
    told = Verdict.of(1, 1, "exact")
    verifier = VerifierAt("math", "1", 9.0, at_once=(lambda query, answer: told) if at_once else None)
    table: Any = Table(40)

    async def run() -> float:
        loop = Loop(
            table, [seat], {}, verifiers={"math": verifier}, pool=SlowBench(), journal=Book(), memory=Nothing(),
            budget=Budget({}), keep=lambda _: None,
        )  # fmt: skip
        await loop.run()
        return asyncio.get_running_loop().time()

    seconds = simulate(run())
    assert state_counts(seat.pairs)["verified"] == 40
    assert most == 4 if at_once else most > 4, "more pairs than places only where one waits for something else"
    assert seconds < 11 + (0 if at_once else 4)
