"""Prometheus text over HTTP, on loopback alone. In: a callable that gives the text. Out: GET /metrics, while it serves.

Why by hand: it is one route that answers one client; a web server would be a dependency for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from stillhouse.records import UserMistake

HOST = "127.0.0.1"
_MOST_OF_A_HEAD = 16_384
_PATIENCE = 5.0  # seconds for a scraper to send its request


@contextlib.asynccontextmanager
async def serve_metrics(port: int, read: Callable[[], str]) -> AsyncIterator[int]:
    """Serve until the block ends; yields the port (0 takes a free one). Raises UserMistake where it is taken."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
            words = head.split(b" ", 2)
            found = words[0] == b"GET" and len(words) == 3 and words[1].split(b"?")[0] in (b"/", b"/metrics")
            body = read().encode() if found else b"GET /metrics\n"
            status = "200 OK" if found else "404 Not Found"
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        writer.close()

    try:
        server = await asyncio.start_server(answer, HOST, port, limit=_MOST_OF_A_HEAD)
    except (OSError, OverflowError) as error:
        raise UserMistake(f"--metrics {port}: {HOST}:{port} cannot be served: {error}") from error
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
