"""The life of one worker process: build the parts, prove them with their canaries, then answer item after item.

In: frames (number, part, method, args). Out: frames (number, status, value, seconds). A mark in shared memory says
which item runs since when, so that the pool can kill a worker that is late without asking it.
"""

from __future__ import annotations

import mmap
import os
import resource
import socket
import time
import traceback
from collections.abc import Mapping
from typing import Any

from stillhouse.records import Part, UserMistake
from stillhouse.workers.frames import Reader, pack

READY, BROKEN, RETIRE, DONE, RAISED, MEMORY = "ready", "broken", "retire", "done", "raised", "memory"
MARK_BYTES = 16  # two u64: number of the running item, CLOCK_MONOTONIC nanoseconds of its start (0: between items)
FLUSH_SECONDS = 0.002
CHECK_EVERY = 64
PAGE = os.sysconf("SC_PAGE_SIZE")


def live(sock: socket.socket, mark: int, parts: Mapping[str, Part], memory_mb: int, canary: bool) -> None:
    """Run until the pool closes its end of the socket."""
    sock.setblocking(True)
    limit = memory_mb << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    built = _build(sock, parts, canary)
    if built is None:
        return
    with mmap.mmap(mark, MARK_BYTES) as shared:
        view = memoryview(shared).cast("Q")
        try:
            sock.sendall(pack((0, READY, os.getpid(), 0.0)))
            _serve(sock, view, built, limit)
        finally:
            view.release()
    for part in built.values():
        close = getattr(part, "close", None)
        if callable(close):
            close()


def _build(sock: socket.socket, parts: Mapping[str, Part], canary: bool) -> dict[str, Any] | None:
    """The parts by name, or None after telling the pool which one is broken and why."""
    built: dict[str, Any] = {}
    name = ""
    try:
        for name, part in parts.items():
            built[name] = part.build()
            sing = getattr(built[name], "canary", None)
            if canary and callable(sing):
                sing()
    except UserMistake as mistake:
        sock.sendall(pack((0, BROKEN, mistake.problems, 0.0)))
        return None
    except BaseException as error:  # noqa: BLE001  whatever a part raises at start must reach the user
        reason = f"part {name} ({parts[name].path}) does not work here: {_summary(error)}\n{traceback.format_exc()}"
        sock.sendall(pack((0, BROKEN, reason, 0.0)))
        return None
    return built


def _serve(sock: socket.socket, mark: memoryview, parts: Mapping[str, Any], limit: int) -> None:
    reader = Reader()
    out = bytearray()
    flushed = time.monotonic()
    served = 0
    retiring = False
    while data := sock.recv(1 << 18):
        for number, name, method, args in reader.feed(data):
            started = time.monotonic_ns()
            mark[0] = number
            mark[1] = started
            status, value = _run(parts[name], method, args)
            mark[1] = 0
            seconds = (time.monotonic_ns() - started) / 1e9
            out += _result(number, status, value, seconds)
            served += 1
            if not retiring and (status == MEMORY or (served % CHECK_EVERY == 0 and _address_space() > limit // 2)):
                out += pack((0, RETIRE, None, 0.0))
                retiring = True
            now = time.monotonic()
            if now - flushed > FLUSH_SECONDS:
                sock.sendall(out)
                out.clear()
                flushed = now
        if out:
            sock.sendall(out)
            out.clear()
            flushed = time.monotonic()


def _run(part: Any, method: str, args: tuple[Any, ...]) -> tuple[str, Any]:
    try:
        return DONE, getattr(part, method)(*args)
    except MemoryError:
        return MEMORY, None
    except BaseException as error:  # noqa: BLE001  SystemExit of a part too is an error of its item, not of the worker
        return RAISED, (_summary(error), traceback.format_exc(limit=-20))


def _result(number: int, status: str, value: Any, seconds: float) -> bytes:
    try:
        return pack((number, status, value, seconds))
    except MemoryError:
        return pack((number, MEMORY, None, seconds))
    except Exception as error:  # noqa: BLE001  a result that cannot be pickled is told as an error of its item
        return pack((number, RAISED, (f"a result that cannot be sent: {_summary(error)}", ""), seconds))


def _summary(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  an exception may fail to print itself
        text = "?"
    return f"{type(error).__name__}: {text}"[:500]


def _address_space() -> int:
    """Bytes of virtual memory, what RLIMIT_AS counts."""
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123  an unbuffered read of one line, many times a second
        return int(file.read().split()[0]) * PAGE
