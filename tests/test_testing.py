"""Claims about the public fakes: they do what they are told, count what they were asked, and are the same each time."""

import asyncio
from typing import Any

import pytest

from stillhouse.records import Fault, Message, Price, Query, Response, Teacher
from stillhouse.teachers.openai import OpenAI
from stillhouse.testing import FAULTS, REPLY_MODES, FakeServer, FakeTeacher, fake_text, fault_of, simulate


def ask(text: str = "q", reference: str | None = "7", **more: Any) -> Query:
    return Query((Message("user", text),), "math", ground_truth=reference, **more)


async def replies(teacher: FakeTeacher, query: Query, attempts: int, sendings: int = 1) -> list[Any]:
    found: list[Any] = []
    for attempt in range(1, attempts + 1):
        for _ in range(sendings):
            try:
                found.append((await teacher.send(teacher.request(query, attempt))).text)
            except Fault as fault:
                found.append(fault.kind)
    return found


def test_it_is_a_teacher_and_answers_with_the_reference() -> None:
    teacher = FakeTeacher()
    assert isinstance(teacher, Teacher)
    response = simulate(teacher.send(teacher.request(ask(), 1)))
    assert response.parts.answer == "\\boxed{7}" and response.parts.thinking


@pytest.mark.parametrize(
    ("script", "attempts", "texts"),
    [
        ({"q": "one"}, 2, ["one", "one"]),
        ({"q": ["one", "two"]}, 3, ["one", "two", "two"]),
        ({"my-id": "by id"}, 1, ["by id"]),
        ({"other": "x"}, 1, [fake_text("good", "7")[0]]),
        (lambda query, attempt: f"{query.text}{attempt}", 2, ["q1", "q2"]),
        ({"q": [fault_of("reset"), "one", "two"]}, 2, ["reset", "two"]),
    ],
)
def test_a_script_says_what_is_replied_to_each_attempt(script: Any, attempts: int, texts: list[str]) -> None:
    assert simulate(replies(FakeTeacher(script=script), ask(id="my-id"), attempts)) == texts


def test_a_fault_in_a_list_is_raised_once_and_the_retry_is_answered() -> None:
    teacher = FakeTeacher(script={"q": [fault_of("rate_limited"), fault_of("cut_body"), "one", "two"]})
    assert simulate(replies(teacher, ask(), 2, sendings=3)) == [
        "rate_limited", "cut_body", "one", "two", "two", "two",
    ]  # fmt: skip


def test_a_response_in_the_script_gives_its_own_tokens_and_reasoning() -> None:
    given = Response("", "", "", "text", reasoning="why", finish_reason="length", completion_tokens=99)
    teacher = FakeTeacher(script={"q": given}, price={"input": 1.0, "output": 1.0})
    response = simulate(teacher.send(teacher.request(ask(), 1)))
    assert (response.text, response.reasoning, response.finish_reason) == ("text", "why", "length")
    assert response.completion_tokens == 99 and response.cost_usd and response.key


@pytest.mark.parametrize("mode", REPLY_MODES)
def test_every_mode_of_reply_is_what_it_says(mode: str) -> None:
    teacher = FakeTeacher(script={"q": mode}, max_tokens=400)
    response = simulate(teacher.send(teacher.request(ask(), 1)))
    malformed = response.parts.malformed is not None
    assert malformed is (mode in ("truncated", "malformed", "empty", "looping"))
    assert response.truncated is (mode in ("truncated", "looping"))


@pytest.mark.parametrize("kind", sorted(Fault.RETRYABLE | {"auth", "tls", "redirect", "too_large", "not_found"}))
def test_every_kind_of_fault_can_be_scripted(kind: str) -> None:
    assert simulate(replies(FakeTeacher(script={"q": [fault_of(kind), "x"]}), ask(), 1)) == [kind]


def test_shares_are_drawn_from_the_seed_and_retries_are_drawn_anew() -> None:
    def kinds(seed: int) -> list[str]:
        teacher = FakeTeacher(right=0.5, faults={"reset": 0.1, "rate_limited": 0.1}, seed=seed)

        async def main() -> list[str]:
            return [one for number in range(300) for one in await replies(teacher, ask(f"q{number}"), 1)]

        found: list[str] = simulate(main())
        return found

    first = kinds(1)
    assert first == kinds(1) != kinds(2)
    assert 15 <= first.count("reset") <= 45 and 15 <= first.count("rate_limited") <= 45
    assert 90 <= first.count(fake_text("good", "7")[0]) <= 150


def test_what_was_asked_paid_and_in_flight_is_counted() -> None:
    teacher = FakeTeacher(script={"a": [fault_of("reset"), "x"]}, seconds=1.0)

    async def main() -> None:
        first, second = teacher.request(ask("a"), 1), teacher.request(ask("b"), 1)
        await asyncio.gather(teacher.send(first), teacher.send(second), return_exceptions=True)
        await teacher.send(first)
        assert (teacher.asked[first.key], teacher.paid[first.key]) == (2, 1)
        assert (teacher.asked[second.key], teacher.paid[second.key]) == (1, 1)

    simulate(main())
    assert (teacher.most_in_flight, teacher.in_flight) == (2, 0)


def test_the_bound_is_not_under_the_cost() -> None:
    teacher = FakeTeacher(price=Price(1.0, 2.0), max_tokens=50)
    request = teacher.request(ask("many words " * 50), 1)
    response = simulate(teacher.send(request))
    assert request.bound_usd is not None and response.cost_usd is not None and request.bound_usd >= response.cost_usd


# -- the server ----------------------------------------------------------------------------------------------------


async def over_http(server: FakeServer, count: int, **settings: Any) -> list[str]:
    teacher = OpenAI("t", "fake-model", base_url=server.url, **settings)

    async def one(number: int) -> str:
        try:
            return (await teacher.send(teacher.request(ask(f"q{number}"), 1))).finish_reason
        except Fault as fault:
            return fault.kind

    try:
        return list(await asyncio.gather(*(one(number) for number in range(count))))
    finally:
        await teacher.close()


def test_the_server_counts_requests_and_paid_answers_per_prompt() -> None:
    with FakeServer(script=["429", "", "cut_json"], seconds=0.05) as server:
        found = asyncio.run(over_http(server, 5, suffixes={}))
        counts = server.counts
    assert sorted(found) == ["bad_json", "rate_limited", "stop", "stop", "stop"]
    assert counts.requests == 5 and counts.answered == 3 and sum(counts.paid.values()) == 4
    assert set(counts.requests_of) == {f"q{number}" for number in range(5)}
    assert counts.most_in_flight > 1 and counts.in_flight == 0
    assert dict(counts.faults) == {"429": 1, "cut_json": 1}


def test_seeded_shares_of_faults_come_over_the_wire() -> None:
    with FakeServer(faults={"500": 0.2, "reset": 0.2}, seed=3) as server:
        found = asyncio.run(over_http(server, 200))
    assert 20 <= found.count("server_error") <= 60 and 20 <= found.count("reset") <= 60 and found.count("stop") > 90


def test_a_fault_that_it_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="there are no faults"):
        FakeServer(script=["explode"])
    assert "hang" in FAULTS


def test_max_tokens_cuts_and_says_so_and_usage_adds_up() -> None:
    with FakeServer(lambda body: "one two three four") as server:
        teacher = OpenAI("t", "fake-model", base_url=server.url, max_tokens=2)

        async def main() -> Response:
            try:
                return await teacher.send(teacher.request(ask(), 1))
            finally:
                await teacher.close()

        response = asyncio.run(main())
    assert (response.text, response.finish_reason, response.completion_tokens) == ("one two", "length", 2)


def test_it_stops_with_requests_under_way() -> None:
    async def main() -> str:
        with FakeServer(script=["hang"]) as server:
            task = asyncio.ensure_future(over_http(server, 1))
            assert await asyncio.to_thread(server.wait_for_requests, 1)
            await asyncio.to_thread(server.stop)
        return (await task)[0]

    assert asyncio.run(main()) == "reset"
