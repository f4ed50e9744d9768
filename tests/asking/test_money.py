"""Claims about the books: nothing reserved is forgotten, nobody waits in vain, an hour is paid once."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.asking.money import Budget, HourMeter, OutOfMoney
from stillhouse.testing import simulate

bounds = st.floats(0.01, 1.0)
requests = st.lists(st.tuples(st.sampled_from("ab"), bounds, st.floats(0, 1), st.floats(0, 3)), max_size=40)


@settings(max_examples=60, deadline=None)
@given(requests, st.floats(0, 5), st.floats(0, 3))
def test_what_is_in_flight_never_overruns_a_budget_and_nobody_waits_for_ever(
    asked: list[tuple[str, float, float, float]], whole: float, of_a: float
) -> None:
    """Each request: who, at most, the share of that it costs, seconds."""
    budget = Budget({"": whole, "a": of_a})
    refused: list[str] = []

    async def one(name: str, bound: float, share: float, seconds: float) -> None:
        while not budget.reserve(name, bound):
            try:
                await budget.room(name, bound)
            except OutOfMoney as reason:
                refused.append(reason.whose)
                return
        await asyncio.sleep(seconds)
        budget.settle(name, bound, bound * share)
        assert budget.spent[""] <= whole + 1e-9
        assert budget.spent.get("a", 0.0) <= of_a + 1e-9

    async def everybody() -> None:
        await asyncio.gather(*(one(*each) for each in asked))

    simulate(everybody())
    assert budget.reserved[""] == pytest.approx(0.0, abs=1e-9)
    assert set(refused) <= {"", "a"}


def test_those_who_wait_are_served_in_their_order_and_others_pass_by() -> None:
    order: list[str] = []

    async def wait(budget: Budget, name: str, bound: float, word: str) -> None:
        while not budget.reserve(name, bound):
            await budget.room(name, bound)
        order.append(word)

    async def play() -> None:
        budget = Budget({"a": 1.0, "b": 1.0})
        assert budget.reserve("a", 1.0) and budget.reserve("b", 1.0)
        waiters = [
            asyncio.create_task(wait(budget, *who)) for who in (("a", 0.9, "a1"), ("a", 0.1, "a2"), ("b", 0.5, "b"))
        ]
        await asyncio.sleep(1)
        budget.settle("b", 1.0, 0.5)
        await asyncio.sleep(1)
        assert order == ["b"], "a's money has not come back"
        budget.settle("a", 1.0, 0.0)
        await asyncio.gather(*waiters)

    simulate(play())
    assert order == ["b", "a1", "a2"]


def test_an_hour_is_paid_once_whatever_is_in_flight() -> None:
    now = [0.0]
    meter = HourMeter(3600.0, longest=60.0, clock=lambda: now[0])
    assert meter.exposure() == 0.0
    assert meter.exposure(one_more=True) == pytest.approx(60.0)
    costs = []
    for at, event in [(0, 1), (5, 1), (10, -1), (30, -1), (100, 1), (101, -1)]:
        now[0] = at
        if event == 1:
            meter.begin()
        else:
            costs.append(meter.end())
    assert costs == pytest.approx([10.0, 20.0, 1.0]), "from the first begin; idle time costs nothing"
    assert meter.book() == pytest.approx(31.0)
    assert meter.book() == 0.0


def test_the_standing_reserve_of_an_hour_covers_the_longest_request() -> None:
    now = [0.0]
    meter = HourMeter(3600.0, longest=60.0, clock=lambda: now[0])
    budget = Budget({"": 100.0})
    assert budget.hold("hour", meter.exposure(one_more=True))
    meter.begin()
    now[0] = 50.0
    assert not budget.hold("hour", meter.exposure(one_more=True)), "it would be 110 dollars from its first second on"
    budget.settle("hour", 0.0, meter.end())
    budget.hold("hour", meter.exposure())
    assert (budget.spent[""], budget.reserved[""]) == pytest.approx((50.0, 0.0))
    assert not budget.hold("hour", meter.exposure(one_more=True))
    with pytest.raises(OutOfMoney):
        simulate(budget.room("hour", 60.0))


@pytest.mark.parametrize(
    ("limits", "whose"), [({"": 1.0}, ""), ({"": 10.0, "a": 1.0}, "a")], ids=["of the run", "of the teacher"]
)
def test_it_is_said_whose_budget_is_used_up(limits: dict[str, float], whose: str) -> None:
    budget = Budget(limits, {"a": 0.9})
    with pytest.raises(OutOfMoney, match=r"cannot carry another request of a \(at most \$0\.2000\)") as caught:
        simulate(budget.room("a", 0.2))
    assert caught.value.whose == whose


def test_a_budget_below_a_cent_is_not_told_as_nothing() -> None:
    budget = Budget({"": 0.001}, {})
    with pytest.raises(OutOfMoney, match=r"the budget of the run, \$0\.001, cannot carry another request of a"):
        simulate(budget.room("a", 0.2))
