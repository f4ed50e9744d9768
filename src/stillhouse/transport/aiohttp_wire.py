"""The same wire by aiohttp: for proxies, and to measure ours against.

In: method, URL, body, headers, a deadline. Out: as of wire.HttpWire. Imported only where it is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Mapping

import aiohttp

from stillhouse.records import Fault
from stillhouse.transport.faults import printable, raw_start
from stillhouse.transport.wire import CONNECT_SECONDS, KEEP_SECONDS, Whole, show


class AiohttpWire:
    """proxy: use HTTP(S)_PROXY and NO_PROXY of the environment. ca_file: as of HttpWire."""

    def __init__(self, *, ca_file: str | None = None, proxy: bool = False) -> None:
        self._ca_file, self._proxy = ca_file, proxy
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def fetch(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], deadline: float, max_bytes: int
    ) -> Whole:
        async with self.stream(method, url, body, headers, deadline, max_bytes) as reply:
            pieces = [piece async for piece in reply.pieces()]
            return Whole(reply.status, reply.headers, b"".join(pieces))

    @contextlib.asynccontextmanager
    async def stream(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], deadline: float, max_bytes: int
    ) -> AsyncGenerator[_Streamed, None]:
        where = show(url)
        wait = aiohttp.ClientTimeout(total=deadline, sock_connect=min(CONNECT_SECONDS, deadline / 2))
        sent = {"Accept-Encoding": "identity", **headers}
        fault: Fault
        try:
            async with self._open().request(
                method, url, data=body, headers=sent, timeout=wait, allow_redirects=False
            ) as response:
                if (response.content_length or 0) > max_bytes:
                    raise _too_large(where, max_bytes, response.status)
                yield _Streamed(response, where, max_bytes)
                return
        except (aiohttp.ClientError, OSError, ValueError) as error:
            fault = _fault(error, where, deadline)
        raise fault from None  # outside the except block: the client's exception holds the request, and so the key

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None and not session.closed:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is None or self._session.closed or self._loop is not loop:
            connector = aiohttp.TCPConnector(
                limit=0,
                ssl=ssl.create_default_context(cafile=self._ca_file) if self._ca_file else True,
                ttl_dns_cache=60,
                keepalive_timeout=KEEP_SECONDS,
            )
            self._session = aiohttp.ClientSession(
                connector=connector, trust_env=self._proxy, cookie_jar=aiohttp.DummyCookieJar()
            )
            self._loop = loop
        return self._session


class _Streamed:
    def __init__(self, response: aiohttp.ClientResponse, where: str, max_bytes: int) -> None:
        self._response, self._where, self._max_bytes = response, where, max_bytes
        self.status: int = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        read, start, fault = 0, b"", None
        try:
            async for piece in self._response.content.iter_any():
                read += len(piece)
                if read > self._max_bytes:
                    raise _too_large(self._where, self._max_bytes, self.status)
                if len(start) < 8192:
                    start += piece
                yield piece
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, ConnectionError) as error:
            reason = f"{self._where} closed the connection after {read} bytes of the reply ({type(error).__name__})"
            fault = Fault("cut_body", reason, status=self.status, maybe_paid=True, raw=raw_start(start))
        if fault is not None:
            raise fault from None


def _too_large(where: str, max_bytes: int, status: int) -> Fault:
    return Fault("too_large", f"{where} sent more than {max_bytes} bytes", status=status, maybe_paid=True)


def _fault(error: Exception, where: str, deadline: float) -> Fault:
    """Only what failed while it connected is certainly unpaid; of all else the body may have arrived."""
    said = printable(str(error)) or type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return Fault("tls", f"no TLS connection to {where}: {said}")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Fault("timeout", f"{where} does not accept connections: none within {CONNECT_SECONDS:g} s")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return Fault("refused", f"the proxy before {where} answered {error.status}")
    if isinstance(error, aiohttp.ClientConnectorError):
        return Fault("refused", f"no connection to {where}: {said}")
    if isinstance(error, TimeoutError):
        return Fault("timeout", f"{where} gave no whole reply within {deadline:g} s", maybe_paid=True)
    if isinstance(error, aiohttp.ClientResponseError):
        return Fault(
            "bad_envelope", f"{where} answered with what is not HTTP: {printable(error.message)}", maybe_paid=True
        )
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        return Fault("reset", f"{where} closed the connection without a reply ({said})", maybe_paid=True)
    return Fault("bad_request", f"the request to {where} cannot be sent: {said}")
