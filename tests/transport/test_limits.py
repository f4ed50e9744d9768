"""Claims about limits, by simulation on a fake clock: what shrinks them, what does not, who waits, and who is dead."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from stillhouse.records import Fault
from stillhouse.testing import simulate
from stillhouse.transport.endpoint import FLOOR
from stillhouse.transport.limits import EndpointsDead, Limits, Slot

Behaviour = Callable[[float, str, int], tuple[float, Fault | None]]  # now, endpoint, in flight -> seconds, fault


def throttled(wait: float | None = None) -> Fault:
    return Fault("rate_limited", "too many", status=429, retry_after=wait)


class Run:
    """Many askers on one Limits; keeps the limit over time and what was sent when."""

    def __init__(self, limits: Limits, behaviour: Behaviour, *, askers: int = 400) -> None:
        self.limits, self.behaviour, self.askers = limits, behaviour, askers
        self.limit_at: list[tuple[float, int]] = []
        self.sent: list[tuple[float, str]] = []
        self.good = 0
        self.most = 0

    async def until(self, end: float) -> None:
        loop = asyncio.get_running_loop()

        async def asker() -> None:
            while loop.time() < end:
                try:
                    slot = await self.limits.acquire(1)
                except EndpointsDead:
                    return
                began = loop.time()
                self.sent.append((began, slot.endpoint))
                self.most = max(self.most, self.limits.in_flight)
                seconds, fault = self.behaviour(began, slot.endpoint, self.limits.in_flight)
                await asyncio.sleep(seconds)
                self.good += fault is None
                self.limits.release(slot, seconds=seconds, fault=fault)
                self.limit_at.append((loop.time(), self.limits.states()[0].limit))

        tasks = [asyncio.ensure_future(asker()) for _ in range(self.askers)]
        await asyncio.wait(tasks, timeout=end + 1 - loop.time())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def lowest(self, start: float = 0.0, end: float = 1e9) -> int:
        return min(limit for at, limit in self.limit_at if start <= at < end)


def run(behaviour: Behaviour, *, end: float, most: int = 64, askers: int = 400, urls: int = 1, **settings: Any) -> Run:
    async def main() -> Run:
        limits = Limits([f"http://{number}" for number in range(urls)], max_in_flight=most, **settings)
        made = Run(limits, behaviour, askers=askers)
        await made.until(end)
        return made

    done: Run = simulate(main())
    return done


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("spread", [0.25, 1.0])
def test_uniform_jitter_does_not_shrink_the_limit(seed: int, spread: float) -> None:
    draw = random.Random(seed)
    done = run(lambda now, url, busy: (2.0 * draw.uniform(1 - spread, 1 + spread) + 1e-3, None), end=300)
    assert done.lowest() == 64 and done.most == 64


@pytest.mark.parametrize("kind", ["rate_limited", "timeout", "reset"])
def test_five_percent_of_scattered_faults_never_push_under_an_eighth(kind: str) -> None:
    draw = random.Random(kind)
    fault = Fault(kind, "scattered", retry_after=1.0 if kind == "rate_limited" else None)
    done = run(lambda now, url, busy: (draw.uniform(1, 3), fault if draw.random() < 0.05 else None), end=400)
    assert done.lowest() >= 64 * FLOOR
    late = [limit for at, limit in done.limit_at if at > 200]
    assert sum(late) / len(late) > 32, "5 % of faults cost more than half of the limit"


def test_twenty_percent_of_faults_keep_at_least_an_eighth() -> None:
    draw = random.Random(1)
    done = run(lambda now, url, busy: (draw.uniform(1, 3), throttled() if draw.random() < 0.2 else None), end=300)
    assert done.lowest() >= 64 * FLOOR


def test_rising_latency_backs_off_and_recovered_latency_grows_back() -> None:
    draw = random.Random(2)

    def behaviour(now: float, url: str, busy: int) -> tuple[float, None]:
        return draw.uniform(1.5, 2.5) * (4 if 100 < now < 160 else 1), None

    done = run(behaviour, end=400)
    assert done.lowest(0, 100) == 64
    assert 64 * FLOOR <= done.lowest(100, 200) < 60
    assert done.limit_at[-1][1] == 64


def test_latency_that_stays_high_for_good_does_not_hold_the_limit_down_for_good() -> None:
    draw = random.Random(3)
    done = run(lambda now, url, busy: (draw.uniform(1.5, 2.5) * (3 if now > 60 else 1), None), end=700)
    assert done.lowest(60) < 64 and done.limit_at[-1][1] == 64


def test_latency_per_token_tells_long_replies_from_a_slow_server() -> None:
    async def main() -> int:
        limits, loop = Limits(["http://a"], max_in_flight=8), asyncio.get_running_loop()
        for number in range(1000):
            tokens = 100 if number < 500 else 1000
            slot = await limits.acquire()
            await asyncio.sleep(0.01 * tokens)
            limits.release(slot, seconds=0.01 * tokens, output_tokens=tokens)
        assert loop.time() > 1000
        return limits.states()[0].limit

    assert simulate(main()) == 8


def test_an_endpoint_with_less_room_is_found_and_used() -> None:
    """It takes 20 at once and refuses the rest: the limit settles near it, and most requests are good."""

    def behaviour(now: float, url: str, busy: int) -> tuple[float, Fault | None]:
        return (2.0, None) if busy <= 20 else (0.05, throttled())

    done = run(behaviour, end=200)
    late = [limit for at, limit in done.limit_at if at > 50]
    assert 10 <= sum(late) / len(late) <= 30
    assert done.good > 0.7 * 20 * 200 / 2


def test_one_round_trip_of_throttling_cuts_once() -> None:
    async def main() -> list[int]:
        limits = Limits(["http://a"], max_in_flight=64)
        slots = [await limits.acquire() for _ in range(8)]
        await asyncio.sleep(1)
        for slot in slots:
            limits.release(slot, seconds=1, fault=throttled())
        first = limits.states()[0].limit
        again = await limits.acquire()
        await asyncio.sleep(1)
        limits.release(again, seconds=1, fault=throttled())
        return [first, limits.states()[0].limit]

    first, second = simulate(main())
    assert first == 57  # 64 * 0.9, once for all eight
    assert 32 <= second < first


def test_retry_after_pauses_the_endpoint_when_it_is_all_that_comes() -> None:
    def behaviour(now: float, url: str, busy: int) -> tuple[float, Fault | None]:
        return (0.1, throttled(30.0)) if now < 40 else (0.1, None)

    done = run(behaviour, end=60, most=4, askers=10)
    times = sorted({round(at, 3) for at, _ in done.sent})
    assert not [at for at in times if 0.2 < at < 30.0], times[:10]
    assert done.good > 0


def test_rate_limit_headers_without_remainder_pause_until_the_reset() -> None:
    async def main() -> float:
        limits, loop = Limits(["http://a"], max_in_flight=4), asyncio.get_running_loop()
        slot = await limits.acquire()
        headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}
        limits.release(slot, seconds=1, headers=headers)
        await limits.acquire()
        return loop.time()

    assert simulate(main()) == pytest.approx(360)


def test_the_breaker_needs_an_unbroken_run() -> None:
    draw = random.Random(5)
    bad = Fault("server_error", "500")
    done = run(lambda now, url, busy: (0.5, bad if draw.random() < 0.5 else None), end=150, most=16, askers=50)
    assert done.good > 0.3 * 150 / 0.5 * 16


def test_a_dead_endpoint_is_left_and_the_others_go_on() -> None:
    def behaviour(now: float, url: str, busy: int) -> tuple[float, Fault | None]:
        return (0.001, Fault("refused", "closed")) if url == "http://0" else (1.0, None)

    done = run(behaviour, end=400, most=8, askers=40, urls=3, patience=120)
    states = {state.endpoint: state.state for state in done_states(done)}
    assert states == {"http://0": "dead", "http://1": "closed", "http://2": "closed"}
    asked = [at for at, url in done.sent if url == "http://0"]
    assert len(asked) < 60
    assert done.good >= 0.95 * 16 * 400


def done_states(done: Run) -> list[Any]:
    async def main() -> list[Any]:
        return list(done.limits.states())

    states: list[Any] = simulate(main())
    return states


def test_an_endpoint_that_comes_back_is_used_again() -> None:
    def behaviour(now: float, url: str, busy: int) -> tuple[float, Fault | None]:
        return (0.001, Fault("refused", "closed")) if 50 < now < 200 else (1.0, None)

    done = run(behaviour, end=600, most=8, askers=20)
    assert done_states(done)[0].state == "closed"
    assert len([at for at, _ in done.sent if 60 < at < 200]) < 20
    assert len([at for at, _ in done.sent if at > 300]) > 0.9 * 8 * 300


@pytest.mark.parametrize(("kind", "quick"), [("refused", False), ("auth", True), ("quota", True), ("not_found", True)])
def test_when_all_are_dead_everyone_who_waits_is_told(kind: str, quick: bool) -> None:
    async def main() -> tuple[float, int, str]:
        limits, loop = Limits(["http://a"], max_in_flight=4, patience=100), asyncio.get_running_loop()
        told: list[str] = []

        async def asker() -> None:
            while True:
                try:
                    slot = await limits.acquire()
                except EndpointsDead as dead:
                    told.append(str(dead))
                    return
                await asyncio.sleep(0.01)
                limits.release(slot, seconds=0.01, fault=Fault(kind, "no"))

        await asyncio.gather(*(asker() for _ in range(20)))
        return loop.time(), len(told), told[0]

    at, told, text = simulate(main())
    assert told == 20 and kind in text
    assert at < 1 if quick else 100 <= at < 250


def test_a_request_that_is_wrong_itself_does_not_count_against_the_endpoint() -> None:
    wrong = Fault("bad_request", "context too long")
    done = run(lambda now, url, busy: (0.1, wrong), end=60, most=8, askers=10)
    assert done_states(done)[0].state == "closed" and done.lowest() == 8


def test_slots_are_given_in_the_order_of_asking() -> None:
    async def main() -> list[int]:
        limits, order = Limits(["http://a"], max_in_flight=2), list[int]()

        async def asker(number: int) -> None:
            slot = await limits.acquire()
            order.append(number)
            await asyncio.sleep(1 + number % 3)
            limits.release(slot, seconds=1)

        await asyncio.gather(*(asker(number) for number in range(50)))
        return order

    assert simulate(main()) == list(range(50))


def test_cancelled_askers_leak_no_slot() -> None:
    async def main() -> None:
        limits, draw = Limits(["http://a"], max_in_flight=3), random.Random(7)

        async def asker() -> None:
            slot = await limits.acquire(1)
            try:
                await asyncio.sleep(draw.uniform(0, 2))
            finally:
                limits.release(slot, seconds=1)

        tasks = [asyncio.ensure_future(asker()) for _ in range(300)]
        for _ in range(200):
            await asyncio.sleep(draw.choice([0, 0, 0.01, 0.1]))
            draw.choice(tasks).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (limits.in_flight, limits.waiting) == (0, 0)
        slots = [await asyncio.wait_for(limits.acquire(), 1) for _ in range(3)]
        assert limits.in_flight == 3
        for slot in slots:
            limits.release(slot, seconds=1)

    simulate(main())


def test_an_asker_cancelled_in_the_turn_in_which_it_is_granted_gives_the_slot_on() -> None:
    async def main() -> None:
        limits = Limits(["http://a"], max_in_flight=1)
        slot = await limits.acquire()
        first, second = asyncio.ensure_future(limits.acquire()), asyncio.ensure_future(limits.acquire())
        await asyncio.sleep(0)
        limits.release(slot, seconds=1)  # grants the first ...
        first.cancel()  # ... which is gone before it hears of it
        given: Slot = await asyncio.wait_for(second, 1)
        assert limits.in_flight == 1
        limits.release(given, seconds=1)
        assert limits.in_flight == 0

    simulate(main())


def test_an_abandoned_trial_leaves_the_next_one_to_another() -> None:
    async def main() -> None:
        limits = Limits(["http://a"], max_in_flight=1)
        for _ in range(10):
            limits.release(await limits.acquire(), seconds=1, fault=Fault("reset", "gone"))
        trial = await limits.acquire()
        assert trial.trial
        limits.abandon(trial)
        assert (await limits.acquire()).trial

    simulate(main())


def test_a_slot_is_given_back_once() -> None:
    async def main() -> None:
        limits = Limits(["http://a"], max_in_flight=1)
        slot = await limits.acquire()
        limits.release(slot, seconds=1)
        with pytest.raises(ValueError, match="twice"):
            limits.abandon(slot)

    simulate(main())


@pytest.mark.parametrize("per_minute", [1, 7, 60, 1500])
def test_no_window_of_a_minute_holds_more_requests_than_allowed(per_minute: int) -> None:
    done = run(lambda now, url, busy: (0.2, None), end=200, most=64, askers=100, requests_per_minute=per_minute)
    times = [at for at, _ in done.sent]
    ahead = 0
    for start, at in enumerate(times):
        while ahead < len(times) and times[ahead] < at + 60 - 1e-6:
            ahead += 1
        assert ahead - start <= per_minute
    assert len(times) >= 0.9 * per_minute * 200 / 60


def test_tokens_per_minute_are_kept_and_what_was_not_used_is_given_back() -> None:
    async def main(used: int) -> float:
        limits, loop = Limits(["http://a"], max_in_flight=8, tokens_per_minute=6000), asyncio.get_running_loop()
        for _ in range(100):
            slot = await limits.acquire(1000)
            limits.release(slot, seconds=0.1, tokens=used)
        return loop.time()

    assert simulate(main(1000)) == pytest.approx(100 * 1000 / 100, rel=0.1)
    assert simulate(main(100)) < 0.2 * simulate(main(1000))


def test_several_endpoints_share_the_load() -> None:
    done = run(lambda now, url, busy: (1.0, None), end=50, most=5, askers=50, urls=4)
    shares = [sum(url == f"http://{number}" for _, url in done.sent) for number in range(4)]
    assert done.most == 20 and max(shares) - min(shares) <= 0.05 * sum(shares)


def test_a_slower_endpoint_gets_less() -> None:
    done = run(lambda now, url, busy: (4.0 if url == "http://0" else 1.0, None), end=100, most=8, askers=12, urls=2)
    slow, fast = (sum(url == f"http://{number}" for _, url in done.sent) for number in range(2))
    assert fast > 2 * slow
