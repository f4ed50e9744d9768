"""HTTP for teachers, judges and embedders: one request in, one whole reply or one Fault out; it never retries.

In: URL, body bytes, headers. Out: status, headers and bytes (or server-sent events) of a 2xx reply. Every way to
fail becomes a records.Fault that says whether the request may have been paid. aiohttp stands behind `Client` alone,
so that another client with these four methods can take its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from stillhouse.records import Fault, UserMistake
from stillhouse.transport.faults import parse_json, printable, raw_start, scrub, scrub_bytes, secrets_of, status_fault
from stillhouse.transport.sse import Events

MAX_BYTES = 16_000_000  # of one reply; 49,152 tokens with log-probabilities stay under it
CONNECT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
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
    environment; without it no proxy is used. Redirects are never followed: a key must not travel to another host.
    """

    def __init__(self, *, ca_file: str | None = None, proxy: bool = False) -> None:
        self._ca_file, self._proxy = ca_file, proxy
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

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
        secrets = secrets_of(headers)
        read = 0
        async with self._exchange("POST", url, body, headers, deadline) as (response, where):
            if on_headers is not None:
                on_headers(_lower(response))
            if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                whole = await _body(response, max_bytes, where, secrets)
                yield parse_json(whole, secrets, where=where)
                yield None
                return
            events = Events()
            async for chunk in response.content.iter_any():
                read += len(chunk)
                if read > max_bytes:
                    raise _too_large(where, max_bytes, response.status)
                for data in events.feed(chunk):
                    if data.strip() == b"[DONE]":
                        yield None
                        return
                    yield parse_json(data, secrets, where=where)
            for data in events.end():
                yield None if data.strip() == b"[DONE]" else parse_json(data, secrets, where=where)

    async def close(self) -> None:
        """Drop every connection; the client may be used again."""
        session, self._session = self._session, None
        if session is not None and not session.closed:
            await session.close()

    async def _whole(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], deadline: float, max_bytes: int
    ) -> Reply:
        began = time.perf_counter()
        async with self._exchange(method, url, body, headers, deadline) as (response, where):
            secrets = secrets_of(headers)
            data = scrub_bytes(await _body(response, max_bytes, where, secrets), secrets)
            seconds = time.perf_counter() - began
            return Reply(response.status, _lower(response), data, seconds, where, secrets)

    @contextlib.asynccontextmanager
    async def _exchange(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], deadline: float
    ) -> AsyncIterator[tuple[aiohttp.ClientResponse, str]]:
        """One request; gives a 2xx response whose body is still to be read, and turns every failure into a Fault."""
        where, secrets = place(url), secrets_of(headers)
        reason: Fault
        wait = aiohttp.ClientTimeout(total=deadline, sock_connect=min(CONNECT_SECONDS, deadline / 2))
        try:
            session = self._open()
            async with session.request(
                method,
                url,
                data=body,
                headers={"Accept-Encoding": "identity", **headers},
                timeout=wait,
                allow_redirects=False,
            ) as response:
                if not 200 <= response.status < 300:
                    start = await _start(response)
                    raise status_fault(response.status, _lower(response), start, secrets, where=where)
                yield response, where
                return
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            reason = wire_fault(error, where, secrets, deadline)
        raise reason from None  # outside the except block: the client's exception holds the request, and so the key

    def _open(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is None or self._session.closed or self._loop is not loop:
            connector = aiohttp.TCPConnector(
                limit=0,
                ssl=ssl.create_default_context(cafile=self._ca_file) if self._ca_file else True,
                ttl_dns_cache=60,
                keepalive_timeout=30,
                socket_factory=_socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                trust_env=self._proxy,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            self._loop = loop
        return self._session


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket that notices a dead peer: a long generation is silent for many minutes, and gateways forget it."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 6)):
        if hasattr(socket, option):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return made


def place(url: str) -> str:
    """The URL as it may be shown: without user, password, query and fragment."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"


def endpoint_problems(url: str) -> list[str]:
    """What is wrong with a base URL, before anything is sent to it."""
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError as error:
        return [f"{printable(url)!r} is no URL: {error}"]
    found: list[str] = []
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        found.append(f"{place(url)!r} is no http:// or https:// URL such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password:
        found.append(f"{place(url)} holds a user or password: name the variable of the key with api_key_env instead")
    if parts.query or parts.fragment:
        found.append(f"{place(url)} has a query or fragment, which base_url cannot have: extra_body takes settings")
    return found


def require_endpoints(urls: list[str], where: str) -> None:
    """Raise UserMistake with every problem of every URL."""
    problems = [f"{where}: {problem}" for url in urls for problem in endpoint_problems(url)]
    if problems:
        raise UserMistake(*problems)


async def _body(response: aiohttp.ClientResponse, max_bytes: int, where: str, secrets: tuple[str, ...]) -> bytes:
    """The whole body, never more than max_bytes of it."""
    if (response.content_length or 0) > max_bytes:
        raise _too_large(where, max_bytes, response.status)
    chunks: list[bytes] = []
    read = 0
    try:
        async for chunk in response.content.iter_any():
            read += len(chunk)
            if read > max_bytes:
                raise _too_large(where, max_bytes, response.status)
            chunks.append(chunk)
    except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, ConnectionError) as error:
        got = b"".join(chunks)
        reason = f"{where} closed the connection after {read} bytes of the reply ({type(error).__name__})"
        cut = Fault("cut_body", reason, status=response.status, maybe_paid=True, raw=raw_start(got, secrets))
    else:
        return b"".join(chunks)
    raise cut


async def _start(response: aiohttp.ClientResponse, limit: int = 65_536) -> bytes:
    """The beginning of an error body; what breaks while reading it adds nothing."""
    start = b""
    with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
        async for chunk in response.content.iter_any():
            start += chunk
            if len(start) >= limit:
                break
    return start[:limit]


def _lower(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _too_large(where: str, max_bytes: int, status: int) -> Fault:
    return Fault("too_large", f"{where} sent more than {max_bytes} bytes", status=status, maybe_paid=True)


def wire_fault(error: BaseException, where: str, secrets: tuple[str, ...], deadline: float) -> Fault:
    """The fault of a request that ended without a whole reply.

    Only what failed while it connected is certainly unpaid; of all else the body may have arrived.
    """
    said = scrub(printable(str(error)), secrets) or type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return Fault("tls", f"no TLS connection to {where}: {said}")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Fault("timeout", f"{where} does not accept connections: none within {CONNECT_SECONDS:g} s")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return Fault("refused", f"the proxy before {where} answered {error.status}")
    if isinstance(error, aiohttp.ClientConnectorError):
        return Fault("refused", f"no connection to {where}: {said}")
    if isinstance(error, TimeoutError):
        return Fault("timeout", f"no whole reply of {where} within {deadline:g} s", maybe_paid=True)
    if isinstance(error, aiohttp.ClientResponseError):
        reason = f"{where} answered with what is not HTTP: {scrub(printable(error.message), secrets)}"
        return Fault("bad_envelope", reason, maybe_paid=True)
    if isinstance(error, aiohttp.ClientPayloadError):
        return Fault("cut_body", f"{where} closed the connection within its reply ({said})", maybe_paid=True)
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        return Fault("reset", f"{where} closed the connection without a whole reply ({said})", maybe_paid=True)
    return Fault("bad_request", f"the request to {where} cannot be sent: {said}")


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
