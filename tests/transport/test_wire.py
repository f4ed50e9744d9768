"""Claims about the wire: connections are kept, TLS is checked, a slow reader holds the sender, nothing leaks."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stillhouse.records import Fault
from stillhouse.testing import FakeServer
from stillhouse.transport.connection import MOST_BUFFERED
from stillhouse.transport.wire import HttpWire

CERT, KEY = Path(__file__).parent / "tls" / "cert.pem", Path(__file__).parent / "tls" / "key.pem"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]


class Listener:
    """Counts its connections; each is handled by the given function with its number."""

    def __init__(self, handler: Handler) -> None:
        self.handler, self.connections, self.port = handler, 0, 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self.handler(reader, writer, self.connections)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def listening(handler: Handler, *, tls: bool = False) -> AsyncIterator[Listener]:
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERT, KEY)
    listener = Listener(handler)
    server = await asyncio.start_server(listener, "127.0.0.1", 0, ssl=context)
    listener.port = server.sockets[0].getsockname()[1]
    try:
        yield listener
    finally:
        server.close()


async def ask(wire: HttpWire, url: str, deadline: float = 20.0) -> bytes:
    return (await wire.fetch("POST", url, b"body", {"X": "y"}, deadline, 1_000_000)).body


async def answer_each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
    while True:
        await reader.readuntil(b"\r\n\r\nbody")
        writer.write(OK)


def test_connections_are_kept_and_as_many_as_are_needed_at_once() -> None:
    async def main() -> None:
        wire = HttpWire()
        async with listening(answer_each) as server:
            url = f"http://127.0.0.1:{server.port}/v1"
            for _ in range(5):
                assert await ask(wire, url) == b"ok"
            assert server.connections == 1
            await asyncio.gather(*(ask(wire, url) for _ in range(7)))
            assert server.connections == 7
            await asyncio.gather(*(ask(wire, url) for _ in range(7)))
            assert server.connections == 7
            await wire.close()
            assert await ask(wire, url) == b"ok"  # it may be used again
            await wire.close()

    asyncio.run(main())


@pytest.mark.parametrize("after", ["close", "speak", "say close"])
def test_a_connection_that_the_server_gave_up_is_not_used_again(after: str) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await reader.readuntil(b"\r\n\r\nbody")
        writer.write(OK if after != "say close" else OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        await writer.drain()
        if after == "speak":
            writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
            await reader.read()

    async def main() -> None:
        wire = HttpWire()
        async with listening(handler) as server:
            for turn in range(1, 4):
                assert await ask(wire, f"http://127.0.0.1:{server.port}/") == b"ok"
                for connection in list(wire._all):
                    await asyncio.wait_for(asyncio.shield(connection.lost), 5)
                assert server.connections == turn
            await wire.close()

    asyncio.run(main())


def test_tls_is_checked_against_the_given_authority() -> None:
    async def main() -> None:
        async with listening(answer_each, tls=True) as server:
            url = f"https://127.0.0.1:{server.port}/v1"
            trusting, strict = HttpWire(ca_file=str(CERT)), HttpWire()
            for _ in range(3):
                assert await ask(trusting, url) == b"ok"
            assert server.connections == 1
            with pytest.raises(Fault) as caught:
                await ask(strict, url)
            assert (caught.value.kind, caught.value.maybe_paid) == ("tls", False)
            assert "certificate" in caught.value.reason.lower()
            await trusting.close()
            await strict.close()

    asyncio.run(main())


def test_a_cancelled_request_drops_its_connection() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await reader.readuntil(b"\r\n\r\nbody")
        came.set()
        assert await reader.read() == b""
        gone.set()

    came, gone = asyncio.Event(), asyncio.Event()

    async def main() -> None:
        wire = HttpWire()
        async with listening(handler) as server:
            task = asyncio.ensure_future(ask(wire, f"http://127.0.0.1:{server.port}/"))
            await came.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(gone.wait(), 5)
            assert not wire._all
            await wire.close()

    asyncio.run(main())


def test_a_slow_reader_of_a_stream_holds_the_sender_back() -> None:
    size = 40 * MOST_BUFFERED

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 100_000):
            writer.write(b"x" * 100_000)
            await writer.drain()

    async def main() -> None:
        wire, read, most = HttpWire(), 0, 0
        async with listening(handler) as server:
            url = f"http://127.0.0.1:{server.port}/"
            async with wire.stream("GET", url, None, {}, 60.0, 2 * size) as reply:
                exchange = next(iter(wire._all)).exchange
                assert exchange is not None
                async for piece in reply.pieces():
                    read += len(piece)
                    most = max(most, exchange.held)
                    await asyncio.sleep(0)
            assert read == size and most < 2 * MOST_BUFFERED
            await wire.close()

    asyncio.run(main())


def test_leaving_a_stream_drops_its_connection_and_reading_it_all_keeps_it() -> None:
    async def main() -> None:
        wire = HttpWire()
        async with listening(answer_each) as server:
            url = f"http://127.0.0.1:{server.port}/"
            async with wire.stream("POST", url, b"body", {}, 20.0, 1000) as reply:
                assert [piece async for piece in reply.pieces()] == [b"ok"]
            async with wire.stream("POST", url, b"body", {}, 20.0, 1000):
                pass
            assert server.connections == 1
            await ask(wire, url)
            await wire.close()

    asyncio.run(main())


def test_a_deadline_counts_from_the_request_to_the_last_byte() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async def main() -> None:
        wire = HttpWire()
        async with listening(handler) as server:
            with pytest.raises(Fault) as caught:
                await ask(wire, f"http://127.0.0.1:{server.port}/", deadline=0.2)
            assert caught.value.kind == "timeout" and caught.value.raw.startswith("xx")
            await wire.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("url", "headers", "says"),
    [
        ("nowhere", {}, "is no URL"),
        ("http://[::1", {}, "is no URL"),
        ("http://127.0.0.1:9/", {"X": "a\r\nInjected: b"}, "cannot be sent"),
    ],
)
def test_what_cannot_be_sent_is_a_bad_request(url: str, headers: dict[str, str], says: str) -> None:
    with pytest.raises(Fault) as caught:
        asyncio.run(HttpWire().fetch("GET", url, None, headers, 5.0, 1000))
    assert caught.value.kind == "bad_request" and says in caught.value.reason


def test_a_thousand_requests_at_once_all_come_back_through_faults() -> None:
    async def one(wire: HttpWire, url: str, number: int) -> str:
        body = b'{"model":"fake-model","messages":[{"role":"user","content":"%d"}]}' % number
        try:
            return str((await wire.fetch("POST", url, body, {}, 30.0, 1_000_000)).status)
        except Fault as fault:
            return fault.kind

    async def main() -> list[str]:
        wire = HttpWire()
        try:
            url = f"{server.url}/chat/completions"
            return list(await asyncio.gather(*(one(wire, url, number) for number in range(1000))))
        finally:
            await wire.close()

    with FakeServer(faults={"reset": 0.1, "cut_body": 0.1, "500": 0.1}, seed=1) as server:
        found = asyncio.run(main())
    assert set(found) == {"200", "500", "reset", "cut_body"} and found.count("200") > 600
    assert server.counts.requests == 1000
