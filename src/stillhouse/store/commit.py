"""Group commit: many records wait for one fsync, in a thread of their own.

In: records from any event loop. Out: calls of `write` with frames' worth of records as they gather, one `sync` for
the group, and then those who wait are woken. A group is closed at most `seconds` after its first record, or when it is
large; what arrives early is compressed and written while the group is still open.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol

log = logging.getLogger("stillhouse.store")
GROUP_BYTES = 4 << 20  # a group is synced at the latest when it is this large
FRAME_BYTES = 1 << 18  # text of one frame: what a flipped bit can cost, and what one reply costs to read


@dataclass(slots=True)
class Record:
    """A record that waits for its group: its line, its row of the index, whom to wake."""

    line: bytes
    row: bytes
    key: str
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]


class Sink(Protocol):
    """Where the groups go; all are called in the thread. What they raise ends the commit for good, but see write."""

    def write(self, records: list[Record]) -> Exception | None:
        """Write one frame; what is returned instead of None is told to those who wait for these records alone."""

    def sync(self) -> None: ...

    def settled(self, records: list[Record]) -> None:
        """Called once the records are durable, or were given up, before those who wait are woken."""

    def idle(self) -> float:
        """Called between groups; returns the seconds after which it wants to be called again."""

    def finish(self) -> None:
        """Called last, when all is written."""

    def abandon(self, error: BaseException) -> None:
        """Called last, when writing has failed."""


class GroupCommit:
    """Owns the thread. Thread-safe; `put` may be awaited in any event loop, also in several."""

    def __init__(self, sink: Sink, name: str, *, seconds: float) -> None:
        self._sink, self._seconds = sink, seconds
        self._wake = threading.Condition()
        self._queue: deque[Record] = deque()
        self._queued_bytes = 0
        self._wanted_bytes = 1  # the thread is woken when so much has gathered
        self._group: list[Record] = []
        self._refused: list[tuple[list[Record], Exception]] = []
        self._closing = False
        self.broken: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def closing(self) -> bool:
        return self._closing

    async def put(self, line: bytes, row: bytes, key: str) -> None:
        """Queue a record; returns when it is durable. Raises what `write` returned, or what ended the thread."""
        loop = asyncio.get_running_loop()
        record = Record(line, row, key, loop, loop.create_future())
        with self._wake:
            if self.broken is not None:
                raise OSError(f"the journal's writer stopped: {self.broken}") from self.broken
            if self._closing:
                raise ValueError("the journal is closed")
            self._queue.append(record)
            self._queued_bytes += len(line)
            if self._queued_bytes >= self._wanted_bytes:
                self._wake.notify()
        await record.done

    def close(self) -> None:
        """Write what is queued and end the thread. May be called twice."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    # in the thread

    def _run(self) -> None:
        try:
            while self._wait(self._sink.idle()):
                self._commit()
            self._sink.finish()
        except BaseException as error:  # noqa: BLE001  the thread ends; everyone who waits is told why
            log.error("the journal's writer stopped: %s", error)
            with self._wake:
                self.broken = error
                left = self._group + list(self._queue)
                self._queue.clear()
            self._sink.abandon(error)
            _wake(left, error)

    def _wait(self, seconds: float) -> bool:
        """Wait for a first record; False when all is written and the commit is closing."""
        with self._wake:
            if not self._queue and not self._closing:
                self._wake.wait(timeout=seconds)
            return bool(self._queue) or not self._closing

    def _commit(self) -> None:
        """Write what gathers as it comes, sync once, wake those who wait."""
        until, size = time.monotonic() + self._seconds, 0
        part: list[Record] = []
        part_bytes = 0
        while size < GROUP_BYTES and (taken := self._take(until, GROUP_BYTES - size)):
            self._group += taken
            for record in taken:
                if part and part_bytes + len(record.line) > FRAME_BYTES:
                    self._write(part)
                    part, part_bytes = [], 0
                part.append(record)
                part_bytes += len(record.line)
                size += len(record.line)
        if not part:
            return
        self._write(part)
        self._sink.sync()
        group, self._group = self._group, []
        refused, self._refused = self._refused, []
        self._sink.settled(group)
        for records, error in refused:
            _wake(records, error)
        given_up = {id(record) for records, _ in refused for record in records}
        _wake([record for record in group if id(record) not in given_up], None)

    def _take(self, until: float, most: int) -> list[Record]:
        """What has gathered: a frame's worth, or whatever is there when the time is up; empty then without any."""
        with self._wake:
            self._wanted_bytes = FRAME_BYTES
            while self._queued_bytes < FRAME_BYTES and not self._closing:
                left = until - time.monotonic()
                if left <= 0:
                    break
                self._wake.wait(timeout=left)
            self._wanted_bytes = 1
            taken, size = [], 0
            while self._queue and size < most:
                taken.append(self._queue.popleft())
                size += len(taken[-1].line)
            self._queued_bytes -= size
            return taken

    def _write(self, part: list[Record]) -> None:
        error = self._sink.write(part)
        if error is not None:
            self._refused.append((part, error))


def _wake(records: list[Record], error: BaseException | None) -> None:
    """Tell all who wait, one call per event loop."""
    loops: dict[int, tuple[asyncio.AbstractEventLoop, list[asyncio.Future[None]]]] = {}
    for record in records:
        loops.setdefault(id(record.loop), (record.loop, []))[1].append(record.done)
    for loop, futures in loops.values():
        try:
            loop.call_soon_threadsafe(settle, futures, error)
        except RuntimeError:  # the loop is closed: nobody waits any more, and the record is on disk all the same
            log.debug("nobody waits for %d records", len(futures))


def settle(futures: list[asyncio.Future[None]], error: BaseException | None) -> None:
    """Wake those who wait, in their event loop: all is well, or why not."""
    for future in futures:
        if future.done():  # whoever waited was cancelled
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
