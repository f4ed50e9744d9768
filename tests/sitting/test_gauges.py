"""Claims about what a sitting shows: rates of the last ten minutes, dollars with the judges, metrics that parse."""

from __future__ import annotations

import asyncio
import urllib.request
from typing import Any

import pytest

from stillhouse.asking.money import Budget
from stillhouse.asking.seats import Seat, seat_for
from stillhouse.records import Message, Part, Price, Query, Response, TeacherSpec, UserMistake, Verdict
from stillhouse.sitting.gauges import Gauges, prometheus
from stillhouse.store.pairs import Pairs
from stillhouse.testing import FakeTeacher
from stillhouse.transport.metrics import serve_metrics

PRICE = Price(input=1.0, output=10.0)


def seat(size: int = 1000, price: Price | None = PRICE) -> Seat:
    spec = TeacherSpec("am", Part("x:y"), price=price, max_in_flight=7)
    return seat_for(spec, FakeTeacher("am"), Pairs(size, 4))


def passes(to: Seat, count: int) -> None:
    done = int((to.pairs.passed_at > 0).sum())
    for position in range(done, done + count):
        to.pairs.note(position, 1, Verdict.of(0, 1, "x"))
        to.pairs.note(position, 2, Verdict.of(1, 1, "x"))


async def rows(price: Price | None = PRICE) -> dict[str, Any]:
    now, mine, budget = [0.0], seat(price=price), Budget({}, {"am": 1.0})
    gauges = Gauges(budget, judges_before={"am": 0.5}, clock=lambda: now[0])
    first = gauges.read([mine])[0]
    assert (first.eta_seconds, first.tokens_per_second) == (None, None), "nothing can be said yet"
    for minute in range(1, 31):
        now[0] = minute * 60.0
        passes(mine, 30 if minute <= 15 else 10)  # it slows down half-way
        mine.completion_tokens += 600
        budget.settle("am", 0.0, 0.1)
        mine.judges_usd += 0.1
        last = gauges.read([mine])[0]
    return last.as_json()


def test_estimates_follow_the_last_ten_minutes() -> None:
    row = asyncio.run(rows())
    assert row["waiting"] == 400
    assert row["eta_seconds"] == pytest.approx(400 / (10 / 60)), "not the pace of the quick beginning"
    assert row["tokens_per_second"] == pytest.approx(10.0)
    assert row["spent_usd"] == pytest.approx(1.5 + 30 * 0.2), "its judges are its money"
    assert row["projected_usd"] == pytest.approx(7.5 + 400 * (0.2 / 10))
    assert (row["attempts_per_verified"], row["verified_share"]) == (2.0, 0.6)
    assert row["cost_per_verified_usd"] == pytest.approx(7.5 / 600, abs=1e-6)


def test_without_a_price_no_dollars_are_made_up() -> None:
    row = asyncio.run(rows(price=None))
    assert row["cost_per_verified_usd"] == pytest.approx((0.5 + 3.0) / 600, abs=1e-6), (
        "judges have a price of their own"
    )


def test_what_is_at_rest_costs_nothing_more() -> None:
    async def play() -> Any:
        mine = seat(size=5)
        passes(mine, 5)
        return Gauges(Budget({}, {"am": 2.0})).read([mine])[0]

    row = asyncio.run(play())
    assert (row.eta_seconds, row.projected_usd, row.rested) == (0.0, 2.0, 5)


def test_early_stops_are_told_in_tokens_and_dollars() -> None:
    async def play() -> Any:
        mine = seat()
        request = FakeTeacher("am", price=PRICE).request
        asked = request(Query((Message("user", "?"),), "math"), 1)
        reply = Response(
            asked.key, asked.query, "am", "x", finish_reason="stopped", completion_tokens=24, max_tokens=1024
        )
        mine.count(reply, 0.0)
        return Gauges(Budget({})).read([mine])[0]

    row = asyncio.run(play())
    assert (row.stopped_early, row.saved_tokens, row.saved_usd) == (1, 1000, pytest.approx(0.01))


def test_metrics_are_served_on_loopback_and_parse() -> None:
    async def play() -> tuple[str, int, str]:
        text = prometheus(Gauges(Budget({})).read([seat()]))
        async with serve_metrics(0, lambda: text) as port:

            def get(path: str) -> Any:
                try:
                    return urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5)
                except urllib.error.HTTPError as error:
                    return error

            good = await asyncio.to_thread(get, "/metrics")
            bad = await asyncio.to_thread(get, "/etc/passwd")
            with pytest.raises(UserMistake, match="--metrics"):
                async with serve_metrics(port, lambda: text):
                    pass
            with good, bad:
                return good.read().decode(), bad.status, good.headers["Content-Type"]

    text, missing, kind = asyncio.run(play())
    assert missing == 404
    assert kind.startswith("text/plain; version=0.0.4")
    for line in text.splitlines():
        assert line.startswith(("# ", "stillhouse_")), line
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            assert name.endswith('{teacher="am"}')
            float(value)
    assert 'stillhouse_waiting{teacher="am"} 1000' in text
    assert "eta_seconds{" not in text, "what is not known is left out"
