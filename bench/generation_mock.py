"""A mock of an OpenAI-compatible chat endpoint for measuring clients: fast, faulty on demand, and it counts.

    python bench/generation_mock.py --port 8800

Asyncio protocol over raw bytes, about 10,000 short replies a CPU second, so that on two cores the client is what is
measured. GET /config?latency_ms=2000&jitter_ms=500&bytes=40000&r429=0.05 sets it while it runs, /stats tells, /reset
zeroes. Whole 200s are counted as paid by the number in `[id:N]` of the prompt, whose right answer is N.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import struct
from collections import Counter
from typing import Any
from urllib.parse import parse_qsl, urlsplit

FAULTS = ("r429", "r503", "r500", "r502", "rreset", "rtrunc", "rbadjson", "rhtml", "rempty", "rlength", "rhang")
CONFIG: dict[str, float] = {
    "latency_ms": 0, "jitter_ms": 0, "bytes": 600, "retry_after": 1, "max_inflight": 0, "seed": 1,
    **dict.fromkeys(FAULTS, 0.0),
}  # fmt: skip
SENTENCES = (
    "Let me think about this step by step before giving the answer. ",
    "First, we note that the total is the sum of the parts we were given. ",
    "Wait, let me double check that calculation once more.\\n\\n",
    "Substituting x = 12 into the equation gives 3x + 4 = 40. ",
    "So the remaining distance is 240 km and the speed is 60 km/h. ",
    "Hmm, alternatively we could consider the complement of this event.\\n\\n",
    "Therefore the ratio simplifies to 5:7 and the result follows. ",
)
PHRASES = {200: "OK", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error", 502: "Bad Gateway",
           503: "Service Unavailable"}  # fmt: skip


class Mock:
    """What is told, drawn and counted, over all connections."""

    def __init__(self) -> None:
        self.draw = random.Random(1)
        self.filler = ""
        self.reset()
        self.configure({})

    def reset(self) -> None:
        self.paid: Counter[bytes] = Counter()
        self.counts: Counter[str] = Counter()
        self.inflight = self.max_inflight = 0

    def configure(self, given: dict[str, str]) -> None:
        for name, value in given.items():
            if name.replace("-", "_") in CONFIG:
                CONFIG[name.replace("-", "_")] = float(value)
        if "seed" in given:
            self.draw.seed(int(CONFIG["seed"]))
        rng, parts, size = random.Random(7), [], 0
        while size < CONFIG["bytes"] + 200:
            parts.append(rng.choice(SENTENCES))
            size += len(parts[-1])
        self.filler = "".join(parts)

    def stats(self) -> dict[str, Any]:
        ok = self.counts["ok"]
        return {
            **{name: self.counts[name] for name in ("requests", "ok", "gone", *FAULTS)}, "unique_ok": len(self.paid),
            "dup_paid": ok - len(self.paid), "inflight": self.inflight, "max_inflight": self.max_inflight,
        }  # fmt: skip

    def fault(self) -> str:
        at = self.draw.random()
        for name in FAULTS:
            at -= CONFIG[name]
            if at < 0:
                return name
        return ""

    def completion(self, number: bytes, model: bytes, *, cut: bool = False) -> bytes:
        """A chat completion whose answer is the number; cut: by its limit."""
        tail = f"</think>\\nThe answer for [id:{number.decode()}] is \\\\boxed{{{number.decode()}}}"
        room = max(0, int(CONFIG["bytes"]) - len(tail) - 7)
        text = "<think>" + self.filler[:room].rstrip("\\") + ("" if cut else tail)
        tokens = max(1, len(text) // 4)
        return (
            b'{"id":"c1","object":"chat.completion","created":1700000000,"model":"' + model + b'","choices":[{'
            b'"index":0,"message":{"role":"assistant","content":"'
            + text.encode()
            + b'"},"logprobs":null,"finish_reason":"'
            + (b"length" if cut else b"stop")
            + b'"}],"usage":{"prompt_tokens":80,"completion_tokens":%d,"total_tokens":%d}}' % (tokens, tokens + 80)
        )


MOCK = Mock()


def whole(status: int, body: bytes, more: str = "", kind: str = "application/json", length: int | None = None) -> bytes:
    head = f"HTTP/1.1 {status} {PHRASES[status]}\r\nContent-Type: {kind}\r\n{more}"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


class Door(asyncio.Protocol):
    """One connection; one request at a time on it."""

    def __init__(self) -> None:
        self.buffer = b""
        self.waiting = 0
        self.last = False  # the client reads until the connection ends, as datatrove's does

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def connection_lost(self, error: Exception | None) -> None:
        MOCK.inflight -= self.waiting
        MOCK.counts["gone"] += self.waiting
        self.waiting = 0

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            head, found, rest = self.buffer.partition(b"\r\n\r\n")
            if not found:
                return
            size = 0
            at = head.lower().find(b"\r\ncontent-length:")
            if at >= 0:
                size = int(head[at + 17 :].split(b"\r\n", 1)[0])
            if len(rest) < size:
                return
            self.buffer = rest[size:]
            self.serve(head, rest[:size])

    def serve(self, head: bytes, body: bytes) -> None:
        method, path, _ = head.split(b" ", 2)
        self.last = b"\r\nconnection: close" in head.lower()
        if method == b"GET":
            self.transport.write(whole(200, control(path.decode())))
            return
        MOCK.counts["requests"] += 1
        MOCK.inflight += 1
        self.waiting += 1
        MOCK.max_inflight = max(MOCK.max_inflight, MOCK.inflight)
        at = body.find(b"[id:")
        number = body[at + 4 : body.find(b"]", at)] if at >= 0 else b"0"
        at = body.find(b'"model"')
        model = body[at:].split(b'"', 4)[3] if at >= 0 else b"mock"
        fault = MOCK.fault()
        if 0 < CONFIG["max_inflight"] < MOCK.inflight:
            fault = "r429"
        if fault == "rhang":
            MOCK.counts[fault] += 1
            return
        wait = (CONFIG["latency_ms"] + CONFIG["jitter_ms"] * MOCK.draw.uniform(-1, 1)) / 1000
        if fault in ("r429", "r503"):
            wait = min(wait, 0.005)
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self.answer, number, model, fault)
        else:
            self.answer(number, model, fault)

    def answer(self, number: bytes, model: bytes, fault: str) -> None:
        if not self.waiting:
            return  # the client left
        self.waiting -= 1
        MOCK.inflight -= 1
        MOCK.counts[fault or "ok"] += 1
        write = self.transport.write
        if fault in ("r429", "r503", "r500", "r502"):
            error = b'{"error":{"message":"the mock says no","type":"mock"}}'
            after = f"Retry-After: {CONFIG['retry_after']:g}\r\n" if fault in ("r429", "r503") else ""
            write(whole(int(fault[1:]), error, after))
        elif fault == "rreset":
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            self.transport.abort()
        elif fault == "rhtml":
            write(whole(200, b"<!DOCTYPE html><html><body>Welcome to nginx</body></html>", kind="text/html"))
        elif fault == "rempty":
            write(whole(200, b""))
        else:
            body = MOCK.completion(number, model, cut=fault == "rlength")
            if fault == "rtrunc":
                write(whole(200, body[: len(body) // 2], length=len(body)))
                self.transport.close()
            elif fault == "rbadjson":
                write(whole(200, body[: len(body) // 2]))
            else:
                if not fault:
                    MOCK.paid[number] += 1
                write(whole(200, body))
        if self.last:
            self.transport.close()


def control(path: str) -> bytes:
    parts = urlsplit(path)
    if parts.path == "/config":
        MOCK.configure(dict(parse_qsl(parts.query)))
        return json.dumps(CONFIG).encode()
    if parts.path == "/reset":
        MOCK.reset()
        return b"{}"
    if parts.path == "/stats":
        return json.dumps(MOCK.stats()).encode()
    return b'{"object":"list","data":[{"id":"mock","object":"model","created":1,"owned_by":"mock"}]}'


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Door, "127.0.0.1", port, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--port", type=int, default=0, help="0: any free one, printed on the first line")
    asyncio.run(main(parser.parse_args().port))
