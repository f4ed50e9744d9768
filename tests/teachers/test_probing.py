"""Claims about the probe: what is wrong with an endpoint is told before anything is paid, with a reason to act on."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from stillhouse.records import Fault, UserMistake
from stillhouse.teachers.openai import OpenAI

LISTED = {"prompt": "0.0000003", "completion": "0.0000012"}


@contextmanager
def serving(status: int, kind: str, body: str, headers: dict[str, str] | None = None) -> Iterator[str]:
    """One answer to every GET."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in ({"Content-Type": kind, "Content-Length": str(len(body))} | (headers or {})).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def probed(url: str, **settings: Any) -> str:
    """What the probe says; "" where all is well."""
    teacher = OpenAI("am", "the-model", base_url=url, **settings)

    async def probe() -> None:
        try:
            await teacher.probe()
        finally:
            await teacher.close()

    try:
        asyncio.run(probe())
    except (UserMistake, Fault) as problem:
        return str(problem)
    return ""


def listing(**more: Any) -> str:
    return json.dumps({"object": "list", "data": [{"id": "other"}, {"id": "the-model", **more}]})


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((200, "application/json", listing()), ""),
        ((200, "text/html", "<!DOCTYPE html><html><body>Welcome to nginx!</body></html>"), "is base_url right?"),
        ((200, "application/json", json.dumps({"data": [{"id": "the-modle"}]})), "did you mean 'the-modle'?"),
        ((200, "application/json", '{"data": [{"id": "the-mo'), "cut after 24 bytes"),
        ((200, "text/plain", ""), "empty body"),
        ((401, "application/json", '{"error": {"message": "no key"}}'), "wants a key: set api_key_env"),
        ((301, "text/plain", "", {"Location": "https://elsewhere.example/v1"}), "redirects to https://elsewhere.example"),
        ((404, "text/plain", "not found"), ""),  # not every server lists its models: the first replies tell
        ((503, "text/plain", "starting"), "overloaded"),
    ],
    ids=["good", "HTML", "another model", "cut", "empty", "no key", "redirect", "no list", "starting"],
)  # fmt: skip
def test_what_is_wrong_is_told(answer: tuple[Any, ...], told: str) -> None:
    with serving(*answer) as url:
        said = probed(url)
    assert told in said
    assert bool(told) == bool(said), said


@pytest.mark.parametrize(
    ("price", "pricing", "told"),
    [
        ({"input": 0.3, "output": 1.2}, LISTED, ""),
        ({"input": 0.15, "output": 0.6}, LISTED, ""),  # a batch at half the price
        ({"input": 0.3, "output": 12.0}, LISTED, "output 12 where 1.2 is listed"),
        ({"input": 300.0, "output": 1.2}, LISTED, "input 300 where 0.3 is listed"),
        ({"input": 0.3, "output": 12.0}, {"prompt": "-1", "completion": "free"}, ""),
        ({"input": 0.3, "output": 12.0}, None, ""),
        ({"per_hour": 5.0}, LISTED, ""),
        (None, LISTED, ""),
    ],
)
def test_a_price_is_held_against_the_listed_one(price: Any, pricing: Any, told: str) -> None:
    with serving(200, "application/json", listing(pricing=pricing)) as url:
        said = probed(url, price=price)
    assert told in said
    assert bool(told) == bool(said), said


def test_a_plain_port_behind_https_is_told() -> None:
    with serving(200, "application/json", listing()) as url:
        assert "tls" in probed(url.replace("http://", "https://")).lower()
