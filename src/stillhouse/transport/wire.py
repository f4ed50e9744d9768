"""HTTP/1.1 over asyncio's own transports: connections that are kept, TLS, deadlines. A third of aiohttp's CPU time.

In: method, URL, body, headers, a deadline. Out: status, headers and body of any reply, or a Fault of the wire: refused,
tls, timeout, reset, cut_body, too_large, bad_envelope. What a status means is the client's. aiohttp_wire has the same
methods and takes its place where a proxy is wanted.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import socket
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from stillhouse.records import Fault
from stillhouse.transport.connection import Connection, Exchange
from stillhouse.transport.faults import printable

CONNECT_SECONDS = 20.0
ROOM_BYTES = 256 * 1024  # of one read
KEEP_SECONDS = 4.0  # servers such as uvicorn drop an idle connection after 5 s: never send on one that is about to go


@dataclass(slots=True)
class Whole:
    """A reply with its whole body; headers by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Stream(Protocol):
    """A reply whose head is there and whose body is being read."""

    status: int
    headers: Mapping[str, str]

    def pieces(self) -> AsyncGenerator[bytes, None]: ...


class Wire(Protocol):
    """What carries requests. Raises Fault for all that is no reply; any status is a reply."""

    async def fetch(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], deadline: float, max_bytes: int
    ) -> Whole: ...

    def stream(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], deadline: float, max_bytes: int
    ) -> contextlib.AbstractAsyncContextManager[Stream]: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a URL leads, worked out once."""

    host: str
    port: int
    tls: bool
    path: str
    host_header: str
    shown: str
    numeric: bool  # an address and no name: there is but one way to it, and no race to run


class HttpWire:
    """Keeps connections to any number of places; bound to the event loop that first uses it.

    ca_file: PEM file of the authority of a self-signed endpoint.
    """

    def __init__(self, *, ca_file: str | None = None) -> None:
        self._ca_file = ca_file
        self._tls: ssl.SSLContext | None = None
        self._places: dict[str, _Place] = {}
        self._idle: dict[tuple[str, int, bool], deque[Connection]] = {}
        self._all: set[Connection] = set()
        self._room = memoryview(bytearray(ROOM_BYTES))
        self._loop: asyncio.AbstractEventLoop | None = None

    async def fetch(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], deadline: float, max_bytes: int
    ) -> Whole:
        """One request and its whole reply."""
        loop, place = asyncio.get_running_loop(), self._place(url)
        head = _head(method, place, body, headers)
        connection = await self._connection(loop, place, deadline)
        exchange = Exchange(place.shown, max_bytes, loop.create_future(), streaming=False)
        timer = self._send(loop, connection, exchange, head, body, deadline)
        try:
            await exchange.future
        finally:
            timer.cancel()
            self._leave(loop, place, connection, exchange)
        if exchange.error is not None:
            raise exchange.error
        response, pieces = exchange.response, exchange.pieces
        return Whole(response.status, response.headers, pieces[0] if len(pieces) == 1 else b"".join(pieces))

    @contextlib.asynccontextmanager
    async def stream(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], deadline: float, max_bytes: int
    ) -> AsyncGenerator[_Streamed, None]:
        """One request and the pieces of its reply as they come; leaving the block drops what is left of it."""
        loop, place = asyncio.get_running_loop(), self._place(url)
        head = _head(method, place, body, headers)
        connection = await self._connection(loop, place, deadline)
        exchange = Exchange(place.shown, max_bytes, loop.create_future(), streaming=True)
        timer = self._send(loop, connection, exchange, head, body, deadline)
        try:
            while not exchange.response.has_head and exchange.error is None:
                await exchange.future
                exchange.future = loop.create_future()
            if exchange.error is not None:
                raise exchange.error
            yield _Streamed(loop, connection, exchange)
        finally:
            timer.cancel()
            self._leave(loop, place, connection, exchange)

    async def close(self) -> None:
        """Drop every connection, and wait until it is gone."""
        gone = [connection for connection in self._all if not connection.lost.done()]
        for connection in gone:
            connection.abort()
        self._idle.clear()
        self._all.clear()
        if gone and self._loop is asyncio.get_running_loop():
            await asyncio.wait([connection.lost for connection in gone], timeout=1.0)

    def _send(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        exchange: Exchange,
        head: bytes,
        body: bytes | None,
        deadline: float,
    ) -> asyncio.TimerHandle:
        connection.exchange = exchange
        if connection.transport is not None:
            connection.transport.write(head + body if body else head)
        if not connection.open:
            exchange.lost("")
        return loop.call_later(deadline, exchange.expire, deadline)

    def _leave(
        self, loop: asyncio.AbstractEventLoop, place: _Place, connection: Connection, exchange: Exchange
    ) -> None:
        """Keep the connection where its reply is whole and it may be kept; drop it otherwise."""
        connection.exchange = None
        response = exchange.response
        whole = exchange.error is None and response.complete and response.keep_alive and not response.rest
        if whole and connection.open and self._loop is loop and connection in self._all:
            connection.resume()
            connection.idle_since = loop.time()
            self._idle.setdefault((place.host, place.port, place.tls), deque()).append(connection)
        else:
            self._all.discard(connection)
            connection.abort()

    async def _connection(self, loop: asyncio.AbstractEventLoop, place: _Place, deadline: float) -> Connection:
        if self._loop is not loop:
            self._idle, self._all, self._loop = {}, set(), loop
        idle = self._idle.get((place.host, place.port, place.tls))
        now = loop.time()
        while idle and not (idle[0].open and now - idle[0].idle_since < KEEP_SECONDS):
            old = idle.popleft()
            self._all.discard(old)
            old.abort()
        while idle:
            connection = idle.pop()  # the one used last: the others may grow old and be dropped
            if connection.open:
                return connection
            self._all.discard(connection)
        connection = await self._connect(loop, place, min(CONNECT_SECONDS, deadline / 2))
        self._all.add(connection)
        return connection

    async def _connect(self, loop: asyncio.AbstractEventLoop, place: _Place, seconds: float) -> Connection:
        fault: Fault
        try:
            async with asyncio.timeout(seconds):
                transport, connection = await loop.create_connection(
                    lambda: Connection(self._room),
                    place.host,
                    place.port,
                    ssl=self._context() if place.tls else None,
                    server_hostname=place.host if place.tls else None,
                    happy_eyeballs_delay=None if place.numeric else 0.25,
                )
        except TimeoutError:
            fault = Fault("timeout", f"{place.shown} does not accept connections: none within {seconds:g} s")
        except ssl.SSLError as error:
            fault = Fault("tls", f"no TLS connection to {place.shown}: {printable(str(error))}")
        except OSError as error:
            fault = Fault("refused", f"no connection to {place.shown}: {printable(str(error))}")
        else:
            _keep_alive(transport)
            return connection
        raise fault

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=self._ca_file)
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    def _place(self, url: str) -> _Place:
        found = self._places.get(url)
        if found is None:
            found = self._places[url] = _read_url(url)
            if len(self._places) > 1000:
                self._places = {url: found}
        return found


class _Streamed:
    """The body of a reply, as it comes."""

    __slots__ = ("_connection", "_exchange", "_loop", "headers", "status")

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: Connection, exchange: Exchange) -> None:
        self._loop, self._connection, self._exchange = loop, connection, exchange
        self.status: int = exchange.response.status
        self.headers: Mapping[str, str] = exchange.response.headers

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Raises Fault where the body ends before it should."""
        exchange = self._exchange
        while True:
            while exchange.pieces:
                piece = exchange.pieces.popleft()
                exchange.held -= len(piece)
                yield piece
            self._connection.resume()
            if exchange.error is not None:
                raise exchange.error
            if exchange.response.complete:
                return
            await exchange.future
            exchange.future = self._loop.create_future()


def _head(method: str, place: _Place, body: bytes | None, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"{method} {place.path} HTTP/1.1",
        f"Host: {place.host_header}",
        "User-Agent: stillhouse",
        "Accept-Encoding: identity",
    ]
    for name, value in headers.items():
        if "\n" in value or "\r" in value or "\n" in name or ":" in name:
            raise Fault("bad_request", f"the header {printable(name)} of a request to {place.shown} cannot be sent")
        lines.append(f"{name}: {value}")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    lines += ("", "")
    return "\r\n".join(lines).encode("latin-1", "replace")


def _keep_alive(transport: asyncio.BaseTransport) -> None:
    """Notice a dead peer: a long generation is silent for many minutes, and gateways forget it."""
    made: Any = transport.get_extra_info("socket")
    if made is None:
        return
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 6)):
        if hasattr(socket, option):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


@functools.lru_cache(maxsize=1024)
def show(url: str) -> str:
    """The URL as it may be shown: without user, password, query and fragment."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"


def _read_url(url: str) -> _Place:
    try:
        parts, shown = urlsplit(url), show(url)
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
    except ValueError as error:
        raise Fault("bad_request", f"{printable(url)!r} is no URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Fault("bad_request", f"{shown!r} is no URL")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = parts.hostname.encode("idna").decode("ascii") if not parts.hostname.isascii() else parts.hostname
    named = f"[{host}]" if ":" in host else host
    usual = port == (443 if tls else 80)
    return _Place(host, port, tls, path, named if usual else f"{named}:{port}", shown, _is_address(host))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
