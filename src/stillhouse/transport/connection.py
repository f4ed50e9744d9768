"""One socket of the wire, and one request and reply on it.

In: bytes as asyncio brings them. Out: a response that is whole, or a Fault, and a waiter that is woken. Everything that
goes wrong once a request is on its way may have been paid.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

from stillhouse.records import Fault
from stillhouse.transport.faults import printable, raw_start
from stillhouse.transport.http_parser import BadHttp, Response

MOST_BUFFERED = 4_000_000  # bytes of a stream that wait for their reader before the sender is held back


class Exchange:
    """One request and what has come of its reply."""

    __slots__ = ("bytes_read", "error", "future", "held", "max_bytes", "pieces", "response", "streaming", "where")

    def __init__(self, where: str, max_bytes: int, future: asyncio.Future[None], *, streaming: bool) -> None:
        self.where, self.max_bytes, self.streaming = where, max_bytes, streaming
        self.future = future  # of the whole reply; in a stream of the next thing that happens
        self.response = Response()
        self.pieces: deque[bytes] = deque()
        self.bytes_read = self.held = 0
        self.error: Fault | None = None

    def feed(self, data: bytes) -> None:
        response = self.response
        try:
            for piece in response.feed(data):
                self.pieces.append(piece)
                self.bytes_read += len(piece)
                self.held += len(piece)
        except BadHttp as bad:
            self.fail("bad_envelope", f"answered with what is not HTTP: {printable(str(bad))}")
            return
        if max(self.bytes_read, response.length or 0 if response.has_head else 0) > self.max_bytes:
            self.fail("too_large", f"sent more than {self.max_bytes} bytes")
        elif response.complete or self.streaming:
            self.wake()

    def lost(self, why: str) -> None:
        """The connection is gone."""
        if self.error is not None or self.response.end():
            self.wake()
        elif self.response.has_head:
            self.fail("cut_body", f"closed the connection after {self.bytes_read} bytes of the reply{why}")
        else:
            self.fail("reset", f"closed the connection without a reply{why}")

    def fail(self, kind: str, reason: str) -> None:
        """The end, and why; the first reason stays."""
        if self.error is not None:
            return
        status, raw = self.response.status or None, raw_start(b"".join(self.pieces))
        self.error = Fault(kind, f"{self.where} {reason}", status=status, maybe_paid=True, raw=raw)
        self.wake()

    def expire(self, deadline: float) -> None:
        """Too late; unless all of it came in the very turn in which the time ran out."""
        if self.error is None and not self.response.complete:
            self.fail("timeout", f"gave no whole reply within {deadline:g} s")

    def wake(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class Connection(asyncio.BufferedProtocol):
    """One socket; carries one exchange at a time. room: where bytes arrive, shared by all connections of an event loop:
    they are copied out before the next read. A buffer of its own for each read, as asyncio.Protocol has it, costs more.
    """

    __slots__ = ("exchange", "idle_since", "lost", "paused", "room", "transport")

    def __init__(self, room: memoryview) -> None:
        self.room = room
        self.transport: asyncio.Transport | None = None
        self.exchange: Exchange | None = None
        self.idle_since = 0.0
        self.paused = False
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.room

    def buffer_updated(self, nbytes: int) -> None:
        data, exchange = bytes(self.room[:nbytes]), self.exchange
        if exchange is None:
            self.abort()  # it speaks without having been asked: it is about to close, or broken
            return
        exchange.feed(data)
        if exchange.streaming and exchange.held > MOST_BUFFERED and not self.paused and self.transport is not None:
            self.paused = True
            self.transport.pause_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if self.exchange is not None:
            self.exchange.lost(f" ({printable(str(error) or type(error).__name__)})" if error else "")
        if not self.lost.done():
            self.lost.set_result(None)

    def resume(self) -> None:
        if self.paused and self.transport is not None:
            self.paused = False
            self.transport.resume_reading()

    @property
    def open(self) -> bool:
        return not self.lost.done() and self.transport is not None and not self.transport.is_closing()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()
