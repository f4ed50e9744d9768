"""HTTP for teachers, judges and embedders: one request in, one whole reply or one Fault out; it never retries.

In: URL, body bytes, headers. Out: status, headers and bytes (or server-sent events) of a 2xx reply. Every way to fail
is a records.Fault that says whether the request may have been paid, with the keys of the request scrubbed from it.
What carries the bytes is a Wire: ours, or aiohttp's where a proxy is wanted.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from stillhouse.records import Fault
from stillhouse.transport.faults import parse_json, printable, scrub, scrub_bytes, secrets_of, status_fault
from stillhouse.transport.sse import Events
from stillhouse.transport.wire import HttpWire, Wire, show

MAX_BYTES = 16_000_000  # of one reply; 49,152 tokens with log-probabilities stay under it
_MOST_OF_AN_ERROR = 65_536


@dataclass(slots=True)
class Reply:
    """A whole 2xx reply. headers: lower-case names. seconds: request sent to last byte read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    where: str = ""
    secrets: tuple[str, ...] = ()

    def json(self) -> Any:
        """The parsed body; raises Fault (bad_json or bad_envelope, maybe_paid)."""
        return parse_json(self.body, self.secrets, where=self.where)


class Client:
    """Keeps connections open to any number of endpoints; bound to the event loop that first uses it.

    ca_file: PEM file of the authority of a self-signed endpoint. proxy: True uses HTTP(S)_PROXY and NO_PROXY of the
    environment, by aiohttp; without it no proxy is used. wire: another carrier. Redirects are never followed: a key
    must not travel to another host.
    """

    def __init__(self, *, ca_file: str | None = None, proxy: bool = False, wire: Wire | None = None) -> None:
        self._wire = wire or _default_wire(ca_file, proxy=proxy)

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, deadline: float, max_bytes: int = MAX_BYTES
    ) -> Reply:
        """POST once and read the whole reply. Raises Fault for everything that is not a whole 2xx."""
        return await self._whole("POST", url, body, headers, deadline, max_bytes)

    async def post_json(
        self, url: str, body: bytes, headers: Mapping[str, str], *, deadline: float, max_bytes: int = MAX_BYTES
    ) -> tuple[Reply, Any]:
        """POST once; the reply and its parsed JSON. Raises Fault."""
        reply = await self._whole("POST", url, body, headers, deadline, max_bytes)
        return reply, reply.json()

    async def get(self, url: str, headers: Mapping[str, str], *, deadline: float, max_bytes: int = MAX_BYTES) -> Reply:
        """GET once. Raises Fault."""
        return await self._whole("GET", url, None, headers, deadline, max_bytes)

    async def stream_json(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        deadline: float,
        max_bytes: int = MAX_BYTES,
        on_headers: Callable[[Mapping[str, str]], None] | None = None,
    ) -> AsyncGenerator[Any, None]:
        """POST once; each server-sent event's JSON as it comes, then None for `[DONE]`; without it the body just ended.

        A server that ignores `stream` gives one JSON object, which comes as one event. Close the generator
        (`contextlib.aclosing`) to cancel: the connection is dropped at once. on_headers hears the reply's headers,
        by lower-case name. Raises Fault.
        """
        where, secrets = show(url), secrets_of(headers)
        whole = b""
        try:
            async with (
                self._wire.stream("POST", url, body, headers, deadline, max_bytes) as reply,
                contextlib.aclosing(reply.pieces()) as pieces,
            ):
                if on_headers is not None:
                    on_headers(reply.headers)
                good = 200 <= reply.status < 300
                if good and reply.headers.get("content-type", "").startswith("text/event-stream"):
                    async for event in _events(pieces, where, secrets):
                        yield event
                    return
                async for piece in pieces:
                    whole += piece
                    if not good and len(whole) > _MOST_OF_AN_ERROR:
                        break
            if not good:
                raise status_fault(reply.status, reply.headers, whole, secrets, where=where)
            yield parse_json(whole, secrets, where=where)
            yield None
        except Fault as fault:
            raise _scrubbed(fault, secrets) from None

    async def close(self) -> None:
        """Drop every connection; the client may be used again."""
        await self._wire.close()

    async def _whole(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], deadline: float, max_bytes: int
    ) -> Reply:
        secrets = secrets_of(headers)
        began = time.perf_counter()
        try:
            reply = await self._wire.fetch(method, url, body, headers, deadline, max_bytes)
        except Fault as fault:
            raise _scrubbed(fault, secrets) from None
        seconds = time.perf_counter() - began
        where = show(url)
        if not 200 <= reply.status < 300:
            raise status_fault(reply.status, reply.headers, reply.body, secrets, where=where)
        return Reply(reply.status, reply.headers, scrub_bytes(reply.body, secrets), seconds, where, secrets)


def _default_wire(ca_file: str | None, *, proxy: bool) -> Wire:
    if not proxy:
        return HttpWire(ca_file=ca_file)
    from stillhouse.transport.aiohttp_wire import AiohttpWire

    return AiohttpWire(ca_file=ca_file, proxy=True)


async def _events(
    pieces: AsyncGenerator[bytes, None], where: str, secrets: tuple[str, ...]
) -> AsyncGenerator[Any, None]:
    events = Events()
    async for piece in pieces:
        for data in events.feed(piece):
            if data.strip() == b"[DONE]":
                yield None
                return
            yield parse_json(data, secrets, where=where)
    for data in events.end():
        yield None if data.strip() == b"[DONE]" else parse_json(data, secrets, where=where)


def _scrubbed(fault: Fault, secrets: tuple[str, ...]) -> Fault:
    fault.reason, fault.raw = scrub(fault.reason, secrets), scrub(fault.raw, secrets)
    fault.args = (f"{fault.kind}: {fault.reason}",)
    return fault


def endpoint_problems(url: str) -> list[str]:
    """What is wrong with a base URL, before anything is sent to it."""
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError as error:
        return [f"{printable(url)!r} is no URL: {error}"]
    found: list[str] = []
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        found.append(f"{show(url)!r} is no http:// or https:// URL such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password:
        found.append(f"{show(url)} holds a user or password: name the variable of the key with api_key_env instead")
    if parts.query or parts.fragment:
        found.append(f"{show(url)} has a query or fragment, which base_url cannot have: extra_body takes settings")
    return found


def to_json(value: Any) -> bytes:
    """JSON bytes; lone surrogates, which no wire carries, become U+FFFD."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return orjson.dumps(without_surrogates(value))


def without_surrogates(value: Any) -> Any:
    """A copy of JSON-like data whose texts are valid Unicode."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {without_surrogates(str(key)): without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_surrogates(item) for item in value]
    return value
