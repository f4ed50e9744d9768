"""A real HTTP server on loopback that speaks the OpenAI API and fails on the wire in every way. For tests.

In: a script or shares of faults. Out: replies, and counts of what was asked, paid and in flight. It is written on
asyncio streams: a proper server cannot cut, reset or garble its replies. Users import it from stillhouse.testing.
"""

from __future__ import annotations

import asyncio
import random
import threading
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

FAULTS = (
    "429", "503", "500", "502", "reset", "reset_early", "cut_body", "cut_json", "html", "redirect", "hang", "huge",
    "bad_utf8", "cut_stream", "no_choices", "not_json", "empty_body", "error_in_200", "not_http",
)  # fmt: skip


@dataclass(slots=True)
class Counts:
    """What a FakeServer has seen. prompt: the text of the last user turn."""

    requests: int = 0
    answered: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    cancelled: int = 0  # streams that the client left
    requests_of: Counter[str] = field(default_factory=Counter)
    paid: Counter[str] = field(default_factory=Counter)  # prompt -> whole replies, or replies spoilt after generating
    faults: Counter[str] = field(default_factory=Counter)
    bodies: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=1000))  # of the latest requests
    headers: deque[dict[str, str]] = field(default_factory=lambda: deque(maxlen=1000))


Answer = Callable[[dict[str, Any]], "str | dict[str, Any]"]


class FakeServer:
    """An OpenAI-compatible server on loopback in a thread of its own; a context manager whose `.url` ends in /v1.

    answer: from the request's body to a text, or to a message object (`content`, `reasoning_content`, ..) that may
    also hold `finish_reason` and `usage`. Default: a boxed hash of the prompt in normal form.
    script: names of FAULTS (or "" for a good reply) for the first requests, in order. faults: shares by name for all
    others, drawn from the seed. key: what the Authorization header must bear. seconds: before a reply begins.
    retry_after: of 429 and 503. usage=False leaves usage out. Serves /v1/chat/completions (whole and streamed, with
    logprobs), /v1/completions (scores of the prompt as vLLM and SGLang give them), /v1/models and /tokenize. What it
    saw is in `.counts`.
    """

    def __init__(
        self,
        answer: Answer | None = None,
        *,
        models: Iterable[str] = ("fake-model",),
        script: Iterable[str] = (),
        faults: Mapping[str, float] | None = None,
        seed: int = 0,
        key: str | None = None,
        seconds: float = 0.0,
        retry_after: str = "0",
        usage: bool = True,
        huge_bytes: int = 50_000_000,
    ) -> None:
        unknown = [name for name in (*(faults or {}), *script) if name and name not in FAULTS]
        if unknown:
            raise ValueError(f"there are no faults {unknown}; there are {', '.join(FAULTS)}")
        self.counts = Counts()
        self.models, self.key, self.seconds, self.retry_after = tuple(models), key, seconds, retry_after
        self.faults, self.usage, self.huge_bytes = dict(faults or {}), usage, huge_bytes
        self.url = ""
        self._answer = answer or default_answer
        self._script = list(script)
        self._draw = random.Random(seed)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._came = threading.Condition()

    def __enter__(self) -> FakeServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen on an ephemeral port of 127.0.0.1."""
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="fake-server", daemon=True)
        self._thread.start()
        ready.wait()

    def stop(self) -> None:
        """Drop every connection and end the thread."""
        if self._loop is not None and self._thread is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop_event.set)
            self._thread.join()

    def wait_for_requests(self, number: int, timeout: float = 30.0) -> bool:
        """Block until so many requests have come, faults included; False when they have not in that time."""
        with self._came:
            return self._came.wait_for(lambda: self.counts.requests >= number, timeout)

    def _run(self, ready: threading.Event) -> None:
        asyncio.run(self._serve(ready))

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stop_event = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=2**26)
        port = server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1"
        ready.set()
        await self._stop_event.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a coroutine runs in a task
        self._tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the server stops: both are ends of a connection
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request of a connection; False closes it."""
        try:
            first = await reader.readexactly(1)
            if first == b"\x16":  # the hello of a TLS client
                writer.write(_head(400, 0))
                return False
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except asyncio.IncompleteReadError:
            return False
        method, path, _ = head[0].split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:]) if name}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            said = headers.get("authorization", "")
            return _send(
                writer, 401, {"error": {"message": f"Incorrect API key provided: {said}", "code": "invalid_api_key"}}
            )
        if method == "GET" and path.endswith("/models"):
            return _send(
                writer, 200, {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]}
            )
        if method == "POST" and path == "/tokenize":
            tokens = fake_tokens(str(orjson.loads(body).get("prompt", "")))
            return _send(writer, 200, {"tokens": tokens, "count": len(tokens), "max_model_len": 4096})
        if method != "POST" or not path.endswith("/completions"):
            return _send(writer, 404, {"error": {"message": f"no route {path}"}})
        counts = self.counts
        counts.in_flight += 1
        counts.most_in_flight = max(counts.most_in_flight, counts.in_flight)
        try:
            return await self._completion(path, headers, orjson.loads(body), reader, writer)
        finally:
            counts.in_flight -= 1

    async def _completion(
        self,
        path: str,
        headers: dict[str, str],
        body: dict[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        counts, prompt = self.counts, prompt_of(body)
        with self._came:
            counts.requests += 1
            self._came.notify_all()
        counts.requests_of[prompt] += 1
        counts.bodies.append(body)
        counts.headers.append(headers)
        fault = self._next_fault()
        if fault:
            counts.faults[fault] += 1
        if fault in _BEFORE_GENERATING:
            return await self._fail(fault, b"", reader, writer)
        await asyncio.sleep(self.seconds)
        if body.get("model") not in self.models:
            return _send(writer, 404, {"error": {"message": f"The model `{body.get('model')}` does not exist."}})
        if "chat" not in path:
            counts.paid[prompt] += 1
            counts.answered += not fault
            return _send(writer, 200, _scored(body))
        reply = chat_reply(body, self._answer(body), usage=self.usage)
        counts.paid[prompt] += 1
        if fault and not (fault == "cut_stream" and body.get("stream")):
            return await self._fail("cut_body" if fault == "cut_stream" else fault, orjson.dumps(reply), reader, writer)
        if fault:
            return await self._stream(reply, body, writer, whole=False)
        counts.answered += 1
        if body.get("stream"):
            return await self._stream(reply, body, writer)
        return _send(writer, 200, reply)

    def _next_fault(self) -> str:
        if self._script:
            return self._script.pop(0)
        at = self._draw.random()
        for name, share in self.faults.items():
            if at < share:
                return name
            at -= share
        return ""

    async def _fail(self, fault: str, reply: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        wait = {"Retry-After": self.retry_after}
        if fault in ("429", "503", "500", "502"):
            error = {"error": {"message": f"the fake server says {fault}", "type": "fake", "code": int(fault)}}
            return _send(writer, int(fault), error, wait if fault in ("429", "503") else None)
        if fault == "redirect":
            return _send(writer, 302, b"", {"Location": "http://127.0.0.1:9/elsewhere"})
        if fault == "hang":
            await reader.read(1)  # until the client gives up, or the server stops
            return False
        if fault == "huge":
            return await _send_huge(writer, self.huge_bytes)
        if fault == "cut_body":
            writer.write(_head(200, len(reply)) + reply[: len(reply) // 2])
        elif fault == "not_http":
            writer.write(b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n")
        elif fault in ("reset", "reset_early"):
            writer.transport.abort()
            return False
        else:
            spoilt = {
                "cut_json": reply[: len(reply) // 2],
                "html": b"<!DOCTYPE html><html><body>Welcome to nginx</body></html>",
                "bad_utf8": reply.replace(b"content", b"cont\xff\xfeent"),
                "no_choices": b'{"id": "x", "object": "chat.completion"}',
                "not_json": b"OK, here is your answer",
                "empty_body": b"",
                "error_in_200": b'{"error": {"message": "upstream overloaded", "code": 503}}',
            }[fault]
            return _send(writer, 200, spoilt)
        await writer.drain()
        return False

    async def _stream(
        self, reply: dict[str, Any], body: dict[str, Any], writer: asyncio.StreamWriter, *, whole: bool = True
    ) -> bool:
        """Server-sent events, a word each; stops generating when the client has left, as vLLM does."""
        choice = reply["choices"][0]
        message = choice["message"]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        frame = {"id": reply["id"], "object": "chat.completion.chunk", "model": reply["model"]}
        for name in ("reasoning_content", "reasoning", "content"):
            for piece in _pieces(message.get(name) or ""):
                _event(writer, {**frame, "choices": [{"index": 0, "delta": {name: piece}, "finish_reason": None}]})
                await writer.drain()
                await asyncio.sleep(0)
                if writer.is_closing():
                    self.counts.cancelled += 1
                    return False
        if not whole:
            return False
        _event(writer, {**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
        if body.get("stream_options", {}).get("include_usage") and "usage" in reply:
            _event(writer, {**frame, "choices": [], "usage": reply["usage"]})
        _event(writer, b"[DONE]")
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


_BEFORE_GENERATING = frozenset({"429", "503", "500", "redirect", "hang", "huge", "reset_early", "html", "not_http"})


def default_answer(body: dict[str, Any]) -> str:
    """A reply in normal form whose boxed number is a hash of the prompt."""
    return f"<think>We work it out.</think><answer>\\boxed{{{zlib.crc32(prompt_of(body).encode())}}}</answer>"


def prompt_of(body: Mapping[str, Any]) -> str:
    """The text of the last user turn (or the prompt of a completion request)."""
    for message in reversed(body.get("messages", ())):
        if message.get("role") == "user":
            return str(message.get("content", ""))
    return str(body.get("prompt", ""))


def chat_reply(body: Mapping[str, Any], answer: str | dict[str, Any], *, usage: bool = True) -> dict[str, Any]:
    """A whole chat completion; max_tokens cuts the content after so many words, with finish reason `length`."""
    message = {"content": answer} if isinstance(answer, str) else dict(answer)
    finish, told = message.pop("finish_reason", "stop"), message.pop("usage", None)
    limit, content = body.get("max_tokens"), message.get("content")
    if isinstance(limit, int) and isinstance(content, str) and len(content.split()) > limit:
        message["content"], finish = " ".join(content.split()[:limit]), "length"
    said = [message.get(name) or "" for name in ("content", "reasoning_content", "reasoning")]
    prompt = sum(_words(str(turn.get("content", ""))) for turn in body.get("messages", ()))
    completion = sum(len(str(text).split()) for text in said)
    choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    if body.get("logprobs"):
        tokens = str(message.get("content") or "").split()
        choice["logprobs"] = {"content": [{"token": token, "logprob": -0.5, "top_logprobs": []} for token in tokens]}
    reply = {"id": "chatcmpl-fake", "object": "chat.completion", "model": body.get("model"), "choices": [choice]}
    if usage:
        counted = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        reply["usage"] = told or counted
    return reply


def _words(text: str) -> int:
    return max(1, len(text.split()))


def fake_tokens(text: str) -> list[int]:
    """A number for each blank-separated word: what /tokenize gives."""
    return [zlib.crc32(word.encode()) % 50_000 for word in text.split()]


def fake_logprob(token: int) -> float:
    """The log-probability that the server gives a token of a prompt: between -1.0 and -0.1."""
    return -(token % 10 + 1) / 10


def _scored(body: Mapping[str, Any]) -> dict[str, Any]:
    """A completion that scores its prompt, as vLLM (prompt_logprobs) or SGLang (echo with logprobs) does."""
    prompt = body.get("prompt", "")
    tokens = list(prompt) if isinstance(prompt, list) else fake_tokens(str(prompt))
    scores = [None, *(fake_logprob(token) for token in tokens[1:])]
    choice: dict[str, Any] = {"index": 0, "text": " end", "finish_reason": "length"}
    if "prompt_logprobs" in body:
        scored = zip(tokens, scores, strict=True)
        choice["prompt_logprobs"] = [
            None if score is None else {str(token): {"logprob": score, "rank": 1, "decoded_token": "?"}}
            for token, score in scored
        ]
    if body.get("echo") and body.get("logprobs") is not None:
        choice["logprobs"] = {"token_logprobs": [*scores, -0.5], "tokens": ["?"] * (len(tokens) + 1)}
    return {"id": "cmpl-fake", "object": "text_completion", "model": body.get("model"), "choices": [choice]}


def _pieces(text: str) -> list[str]:
    words = text.split(" ")
    return [word if at == 0 else f" {word}" for at, word in enumerate(words) if word or at]


def _event(writer: asyncio.StreamWriter, data: Mapping[str, Any] | bytes) -> None:
    line = b"data: " + (data if isinstance(data, bytes) else orjson.dumps(data)) + b"\n\n"
    writer.write(b"%x\r\n%s\r\n" % (len(line), line))


def _head(status: int, length: int, headers: Mapping[str, str] | None = None, kind: str = "application/json") -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"Content-Type: {kind}", f"Content-Length: {length}"]
    lines += (f"{name}: {value}" for name, value in (headers or {}).items())
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _send(writer: asyncio.StreamWriter, status: int, data: Any, headers: Mapping[str, str] | None = None) -> bool:
    body = data if isinstance(data, bytes) else orjson.dumps(data)
    writer.write(_head(status, len(body), headers) + body)
    return True


async def _send_huge(writer: asyncio.StreamWriter, size: int) -> bool:
    """A chunked reply of that many bytes: its length is not told beforehand."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    block = b"x" * 65_536
    for _ in range(size // len(block) + 1):
        writer.write(b"%x\r\n%s\r\n" % (len(block), block))
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    return False
