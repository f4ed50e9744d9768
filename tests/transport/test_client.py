"""Claims about the client: every way to fail is a Fault of its own, says whether it may be paid, and bears no key."""

import asyncio
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stillhouse.records import Fault
from stillhouse.testing import FakeServer
from stillhouse.transport.aiohttp_wire import AiohttpWire
from stillhouse.transport.client import Client, endpoint_problems, to_json
from stillhouse.transport.wire import HttpWire, Wire

KEY = "sk-secret-0123456789"
BODY = to_json({"model": "fake-model", "messages": [{"role": "user", "content": "What is 1 + 1?"}], "max_tokens": 50})


WIRES: dict[str, Callable[[], Wire]] = {"ours": HttpWire, "aiohttp": AiohttpWire}


@pytest.fixture(params=WIRES, autouse=True)
def wire(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every claim holds for both carriers."""
    global made_wire
    made_wire = WIRES[request.param]
    yield
    made_wire = HttpWire


made_wire: Callable[[], Wire] = HttpWire


def run(work: Callable[[Client], Any]) -> Any:
    async def main() -> Any:
        client = Client(wire=made_wire())
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(main())


def fault_of_post(url: str, *, deadline: float = 20.0, max_bytes: int = 1_000_000, body: bytes = BODY) -> Fault:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}

    async def work(client: Client) -> None:
        await client.post_json(url, body, headers, deadline=deadline, max_bytes=max_bytes)

    with pytest.raises(Fault) as caught:
        run(work)
    assert KEY not in "".join(traceback.format_exception(caught.value)) + repr(caught.value.raw)
    return caught.value


@pytest.mark.parametrize(
    ("script", "kind", "retryable", "maybe_paid", "says"),
    [
        ("429", "rate_limited", True, False, "answered 429: the fake server says 429"),
        ("503", "overloaded", True, False, "answered 503"),
        ("500", "server_error", True, False, "answered 500"),
        ("502", "server_error", True, True, "answered 502"),
        ("reset", "reset", True, True, "closed the connection without a reply"),
        ("reset_early", "reset", True, True, "closed the connection"),
        ("cut_body", "cut_body", True, True, "closed the connection"),
        ("cut_json", "bad_json", True, True, "JSON that is cut after"),
        ("bad_utf8", "bad_json", True, True, "invalid UTF-8 at byte"),
        ("not_json", "bad_json", True, True, "what is not JSON"),
        ("html", "bad_envelope", True, True, "an HTML page instead of JSON: is base_url right?"),
        ("empty_body", "bad_envelope", True, True, "an empty body"),
        ("redirect", "redirect", False, False, "redirects to http://127.0.0.1:9/elsewhere, which is not followed"),
        ("huge", "too_large", False, True, "more than 1000000 bytes"),
        ("not_http", "bad_envelope", True, True, "what is not HTTP"),
    ],
)
def test_each_failure_is_a_fault_of_its_own(
    script: str, kind: str, retryable: bool, maybe_paid: bool, says: str
) -> None:
    with FakeServer(script=[script], huge_bytes=3_000_000) as server:
        fault = fault_of_post(f"{server.url}/chat/completions")
    assert (fault.kind, fault.retryable, fault.maybe_paid) == (kind, retryable, maybe_paid), fault
    assert says in fault.reason, fault.reason


def test_a_declared_length_over_the_limit_is_refused_before_it_is_read() -> None:
    with FakeServer(lambda body: "x" * 5000) as server:
        assert fault_of_post(f"{server.url}/chat/completions", max_bytes=1000).kind == "too_large"


def test_a_server_that_hangs_is_a_timeout_that_may_be_paid() -> None:
    with FakeServer(script=["hang"]) as server:
        fault = fault_of_post(f"{server.url}/chat/completions", deadline=0.3)
    assert (fault.kind, fault.maybe_paid) == ("timeout", True)


def test_a_closed_port_and_an_unknown_host_are_refused_and_unpaid() -> None:
    for url in ("http://127.0.0.1:9/v1", "http://no-such-host.invalid/v1"):
        fault = fault_of_post(url)
        assert (fault.kind, fault.maybe_paid, fault.retryable) == ("refused", False, True), fault


def test_tls_to_a_plain_port_is_a_tls_fault() -> None:
    with FakeServer() as server:
        fault = fault_of_post(server.url.replace("http:", "https:") + "/chat/completions")
    assert (fault.kind, fault.retryable, fault.maybe_paid) == ("tls", False, False), fault


def test_an_echoed_key_is_scrubbed_from_reason_raw_and_body() -> None:
    with FakeServer(key="another") as server:
        fault = fault_of_post(f"{server.url}/chat/completions")  # its 401 repeats the key it was given
    assert fault.kind == "auth" and "[key]" in fault.reason and "[key]" in fault.raw
    with FakeServer(lambda body: f"your key is {KEY}") as server:

        async def work(client: Client) -> Any:
            url, headers = f"{server.url}/chat/completions", {"Authorization": f"Bearer {KEY}"}
            return await client.post_json(url, BODY, headers, deadline=20)

        reply, data = run(work)
    assert KEY.encode() not in reply.body
    assert data["choices"][0]["message"]["content"] == "your key is [key]"


def test_retry_after_of_the_server_is_carried() -> None:
    with FakeServer(script=["429"], retry_after="7") as server:
        assert fault_of_post(f"{server.url}/chat/completions").retry_after == 7.0


def test_one_client_serves_event_loop_after_event_loop() -> None:
    client = Client(wire=made_wire())

    async def once(url: str) -> int:
        reply = await client.get(url, {}, deadline=20)
        await client.close()
        return reply.status

    with FakeServer() as server:
        assert [asyncio.run(once(f"{server.url}/models")) for _ in range(2)] == [200, 200]


def test_a_stream_gives_events_then_none_for_done() -> None:
    async def work(client: Client) -> list[Any]:
        url = f"{server.url}/chat/completions"
        body = BODY[:-1] + b',"stream":true}'
        return [event async for event in client.stream_json(url, body, {}, deadline=20)]

    with FakeServer(lambda body: "one two three") as server:
        events = run(work)
    said = [event["choices"][0]["delta"].get("content") for event in events if event and event["choices"]]
    assert [text for text in said if text] == ["one", " two", " three"]
    assert events[-1] is None


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("127.0.0.1:8000/v1", "is no http:// or https:// URL"),
        ("ftp://host/v1", "is no http:// or https:// URL"),
        ("http://user:secret@host/v1", "holds a user or password"),
        ("http://host/v1?key=1", "has a query or fragment"),
        ("http://host:99999/v1", "is no URL"),
    ],
)
def test_a_wrong_base_url_is_told_before_anything_is_sent(url: str, says: str) -> None:
    problems = endpoint_problems(url)
    assert any(says in problem for problem in problems), problems
    assert not any("secret" in problem for problem in problems)


def test_a_good_base_url_has_no_problems() -> None:
    assert endpoint_problems("http://127.0.0.1:8000/v1") == endpoint_problems("https://[::1]/v1") == []


def test_lone_surrogates_are_sent_as_replacement_characters() -> None:
    assert to_json({"a": ["x\ud800y"]}) == '{"a":["x\ufffdy"]}'.encode()
    assert to_json({"a": "\U0001f600"}) == '{"a":"\U0001f600"}'.encode()
