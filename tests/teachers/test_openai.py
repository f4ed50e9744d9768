"""Claims about the chat teacher: what it asks, what it makes of replies, what it costs, and what it refuses."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from stillhouse.records import Fault, Message, Query, Request, Response, Teacher, UserMistake
from stillhouse.teachers.openai import OpenAI, seed_of
from stillhouse.teachers.profiles import MATH_SUFFIX, THINK_ANSWER
from stillhouse.testing import LOOP_TEXT, FakeServer

NOWHERE = "http://127.0.0.1:9/v1"


def ask(text: str = "What is 1 + 1?", category: str = "math", **more: Any) -> Query:
    return Query((Message("user", text),), category, **more)


def teacher(base_url: str = NOWHERE, **settings: Any) -> OpenAI:
    return OpenAI("t", "fake-model", base_url=base_url, **settings)


def sent(server: FakeServer, query: Query | None = None, **settings: Any) -> Response:
    async def main() -> Response:
        made = teacher(server.url, **settings)
        try:
            return await made.send(made.request(query or ask(), 0))
        finally:
            await made.close()

    return asyncio.run(main())


def answers(reply: str | dict[str, Any]) -> Callable[[dict[str, Any]], str | dict[str, Any]]:
    return lambda body: reply


def test_it_is_a_teacher() -> None:
    assert isinstance(teacher(), Teacher)


def test_the_request_carries_prompt_suffix_sampling_seed_and_limit() -> None:
    made = teacher(top_k=20)
    request = made.request(ask(), 3)
    assert [turn.role for turn in request.messages] == ["system", "user"]
    assert request.messages[0].content == THINK_ANSWER
    assert request.messages[1].content == f"What is 1 + 1?\n{MATH_SUFFIX}"
    assert request.sampling == {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "seed": seed_of(request.key)}
    body = made.body(request)
    assert body["max_tokens"] == 32_768 and body["model"] == "fake-model" and body["seed"] == seed_of(request.key)


def test_attempts_have_keys_and_seeds_of_their_own() -> None:
    made = teacher()
    requests = [made.request(ask(), attempt) for attempt in range(20)]
    assert len({request.key for request in requests}) == len({r.sampling["seed"] for r in requests}) == 20


@pytest.mark.parametrize(
    ("settings", "same"),
    [
        ({"price": {"input": 1, "output": 2}}, True),
        ({"max_tokens": 5}, True),
        ({"stream": True, "timeout": 5}, True),
        ({"max_in_flight": 3}, True),
        ({"terms": "no"}, True),
        ({"temperature": 0.7}, False),
        ({"revision": "abc"}, False),
        ({"system_prompt": None}, False),
        ({"suffixes": {}}, False),
        ({"suffixes": {"code": "x", "math": MATH_SUFFIX}}, True),
        ({"extra_body": {"top_n_sigma": 1}}, False),
        ({"seed": False}, False),
        ({"examples": [{"user": "u", "assistant": "a"}]}, False),
        ({"examples": {"code": [{"user": "u", "assistant": "a"}]}}, True),
    ],
)
def test_the_identity_holds_what_decides_the_reply_and_nothing_else(settings: dict[str, Any], same: bool) -> None:
    assert (teacher(**settings).identity("math") == teacher().identity("math")) is same


def test_name_and_url_are_not_in_the_identity() -> None:
    other = OpenAI("another", "fake-model", base_urls=["http://a/v1", "http://b/v1/"])
    assert other.identity("math") == teacher().identity("math")
    assert other.endpoints == ("http://a/v1", "http://b/v1")


THINK = "We add."


@pytest.mark.parametrize(
    ("reply", "thinking", "answer"),
    [
        ({"content": "2", "reasoning_content": THINK}, THINK, "2"),
        ({"content": "2", "reasoning": THINK}, THINK, "2"),
        ({"content": f"<think>{THINK}</think>\n\n2"}, THINK, "2"),
        ({"content": f"{THINK}</think><answer>2</answer>"}, THINK, "2"),
        ({"content": [{"type": "text", "text": "2"}], "reasoning": THINK}, THINK, "2"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_thinking_is_read_in_every_shape(reply: dict[str, Any], thinking: str, answer: str, stream: bool) -> None:
    with FakeServer(answers(reply)) as server:
        response = sent(server, stream=stream and isinstance(reply["content"], str))
    assert (response.parts.thinking, response.parts.answer, response.finish_reason) == (thinking, answer, "stop")
    assert not response.counted and response.completion_tokens > 0


@pytest.mark.parametrize("stream", [False, True])
def test_usage_and_its_details_make_the_price(stream: bool) -> None:
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 500,
        "prompt_tokens_details": {"cached_tokens": 400},
        "completion_tokens_details": {"reasoning_tokens": 300},
    }
    price = {"input": 1.0, "output": 10.0, "cached": 0.1, "thinking": 20.0}
    with FakeServer(answers({"content": "2", "usage": usage})) as server:
        response = sent(server, price=price, stream=stream)
    assert (response.prompt_tokens, response.completion_tokens) == (1000, 500)
    assert (response.cached_tokens, response.thinking_tokens, response.counted) == (400, 300, False)
    assert response.cost_usd == pytest.approx((600 * 1 + 400 * 0.1 + 200 * 10 + 300 * 20) / 1e6)


@pytest.mark.parametrize(
    "usage",
    [{}, {"prompt_tokens": -1, "completion_tokens": True}, {"prompt_tokens": "9", "completion_tokens": None}, [1]],
)
def test_missing_or_impossible_usage_is_counted_and_marked(usage: Any) -> None:
    with FakeServer(answers({"content": "word " * 40, "usage": usage or None}), usage=bool(usage)) as server:
        response = sent(server, price={"input": 1, "output": 1})
    assert response.counted and response.completion_tokens == 50  # 200 bytes
    assert response.cost_usd is not None and response.cost_usd > 0


def test_a_counter_of_ones_own_is_used() -> None:
    with FakeServer(answers("one two three"), usage=False) as server:
        assert sent(server, counter="stillhouse.testing:count_words").completion_tokens == 3


@pytest.mark.parametrize(
    ("reply", "finish", "malformed"),
    [
        ({"content": "", "finish_reason": "stop"}, "stop", True),
        ({"content": None, "finish_reason": "stop"}, "stop", True),
        ({"content": "<think>cut", "finish_reason": "length"}, "length", True),
        ({"content": "2", "finish_reason": "content_filter"}, "content_filter", False),
        ({"content": "2", "finish_reason": None}, "missing", False),
        ({"content": "2", "finish_reason": "eos_token"}, "stop", False),
        ({"content": None, "reasoning_content": "only thoughts", "finish_reason": "length"}, "length", True),
    ],
)
def test_a_poor_reply_is_a_response_and_not_a_fault(reply: dict[str, Any], finish: str, malformed: bool) -> None:
    with FakeServer(answers(reply)) as server:
        response = sent(server)
    assert response.finish_reason == finish
    assert (response.parts.malformed is not None) is malformed


@pytest.mark.parametrize(
    ("script", "reply", "kind", "says"),
    [
        (["no_choices"], "2", "bad_envelope", "has no choices"),
        (["error_in_200"], "2", "overloaded", "upstream overloaded"),
        ([], {"content": "2", "finish_reason": "abort"}, "server_error", "gave up"),
        (["cut_json"], "2", "bad_json", "cut"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_broken_envelope_is_a_fault_that_may_be_paid(
    script: list[str], reply: Any, kind: str, says: str, stream: bool
) -> None:
    with FakeServer(answers(reply), script=script) as server, pytest.raises(Fault) as caught:
        sent(server, stream=stream)
    assert caught.value.kind == kind and says in caught.value.reason, caught.value
    assert caught.value.maybe_paid and caught.value.retryable


def test_the_bound_is_never_under_the_price() -> None:
    text = "数学" * 300 + "a b c" * 100
    with FakeServer(answers("word " * 5000)) as server:
        made = teacher(server.url, price={"input": 3.0, "output": 5.0}, max_tokens=100)
        request = made.request(ask(text), 0)
        response = sent(server, ask(text), price={"input": 3.0, "output": 5.0}, max_tokens=100)
    assert request.bound_usd is not None and response.cost_usd is not None
    assert response.finish_reason == "length" and response.completion_tokens <= 100
    assert request.bound_usd >= response.cost_usd
    assert request.prompt_tokens >= len(text.encode())


def test_a_price_per_hour_bounds_nothing_and_costs_nothing_per_reply() -> None:
    with FakeServer() as server:
        response = sent(server, price={"per_hour": 18.0})
    assert response.cost_usd is None
    assert teacher(price={"per_hour": 18.0}).request(ask(), 0).bound_usd is None


@pytest.mark.parametrize("stream", [False, True])
def test_a_key_reaches_the_header_and_nothing_else(monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    key = "sk-abcdef-987654"
    monkeypatch.setenv("A_KEY", key)
    with FakeServer(answers(f"you sent {key[:5]} {key}, {key}"), key=key) as server:
        response = sent(server, api_key_env="A_KEY", stream=stream)
        assert server.counts.headers[0]["authorization"] == f"Bearer {key}"
    assert key not in repr(response) and "[key]" in response.text


def stream_of(server: FakeServer, **settings: Any) -> Response:
    return sent(server, stream=True, **settings)


def test_a_stream_that_loops_is_cancelled_and_counted() -> None:
    with FakeServer(answers(f"<think>{LOOP_TEXT * 3000}"), models=["fake-model"]) as server:
        response = stream_of(server, max_tokens=40_000, price={"input": 1, "output": 1})
        assert server.counts.cancelled <= 1
    assert response.finish_reason == "stopped" and response.counted
    assert 50 < response.completion_tokens < 2_000
    assert LOOP_TEXT in response.text
    assert response.max_tokens - response.completion_tokens > 38_000  # what was saved, at most


def test_a_stream_that_runs_over_its_limit_is_cancelled() -> None:
    words = " ".join(str(number) for number in range(5000))
    with FakeServer(lambda body: (body.pop("max_tokens"), words)[1]) as server:
        response = stream_of(server, max_tokens=100)
    assert response.finish_reason == "stopped" and response.completion_tokens == 100


def test_without_early_stop_a_loop_runs_on() -> None:
    with FakeServer(answers(LOOP_TEXT * 10)) as server:
        response = stream_of(server, early_stop=False)
    assert response.finish_reason == "stop" and not response.counted


def test_a_stream_that_ends_early_is_a_fault_with_what_was_read() -> None:
    with FakeServer(answers("one two three four"), script=["cut_stream"]) as server, pytest.raises(Fault) as caught:
        stream_of(server)
    assert caught.value.kind == "cut_body" and caught.value.maybe_paid and "one two" in caught.value.raw


def probe(base_url: str, **settings: Any) -> None:
    async def main() -> None:
        made = teacher(base_url, **settings)
        try:
            await made.probe()
        finally:
            await made.close()

    asyncio.run(main())


def test_a_probe_costs_nothing_and_accepts_a_good_endpoint() -> None:
    with FakeServer() as server:
        probe(server.url)
        assert server.counts.requests == 0


@pytest.mark.parametrize(
    ("server", "settings", "says"),
    [
        ({"models": ["fake-model-2"]}, {}, "did you mean 'fake-model-2'?"),
        ({"key": "right"}, {"api_key_env": "WRONG_KEY"}, "refuses the key in WRONG_KEY"),
        ({"key": "right"}, {}, "wants a key: set api_key_env"),
        ({}, {"api_key_env": "UNSET_KEY"}, "the variable UNSET_KEY is not set"),
    ],
)
def test_a_probe_tells_what_to_mend(
    monkeypatch: pytest.MonkeyPatch, server: Mapping[str, Any], settings: Mapping[str, Any], says: str
) -> None:
    monkeypatch.setenv("WRONG_KEY", "sk-wrong-key")
    monkeypatch.delenv("UNSET_KEY", raising=False)
    with FakeServer(**server) as fake, pytest.raises(UserMistake) as caught:
        probe(fake.url, **settings)
    assert says in str(caught.value) and "sk-wrong-key" not in str(caught.value)


def test_a_probe_of_a_closed_port_is_a_fault() -> None:
    with pytest.raises(Fault) as caught:
        probe(NOWHERE)
    assert caught.value.kind == "refused"


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(UserMistake) as caught:
        OpenAI(
            "t", "", base_url="nowhere", profile="qwen3-235b", price={"input": -1, "outptu": 2}, terms="maybe",
            temperature=9, max_tokens=0, extra_body={"messages": []}, suffixes={"maths": "x"}, thinking="much",  # type: ignore[arg-type]
            examples=[{"user": "u"}], temprature=1, counter="no_module:count",
        )  # fmt: skip
    told = str(caught.value)
    for word in ("nowhere", "did you mean qwen3-235b-a22b", "price.input", "outptu", "terms", "temperature",
                 "max_tokens", "extra_body", "maths", "thinking", "example", "model is missing",
                 "did you mean temperature?", "counter"):  # fmt: skip
        assert word in told, f"{word} is not in {told}"


def test_bare_yes_and_no_of_yaml_are_terms() -> None:
    assert teacher(terms=False).settings.terms == "no" and teacher(terms=True).settings.terms == "yes"


def test_a_request_with_another_limit_keeps_its_key() -> None:
    made = teacher(price={"input": 1, "output": 1})
    low, high = made.request(ask(), 0, max_tokens=10), made.request(ask(), 0, max_tokens=1000)
    assert low.key == high.key and low.max_tokens == 10
    assert low.bound_usd is not None and high.bound_usd is not None and low.bound_usd < high.bound_usd


def test_the_loop_may_choose_the_endpoint() -> None:
    async def main() -> Response:
        made = OpenAI("t", "fake-model", base_urls=[NOWHERE, server.url])
        request: Request = made.request(ask(), 0)
        try:
            return await made.send(replace(request, endpoint=server.url))
        finally:
            await made.close()

    with FakeServer() as server:
        assert asyncio.run(main()).finish_reason == "stop"
