"""The journal: every paid reply is on disk, fsynced, before anybody looks at its text.

In: intents before their requests, replies and faults as they come. Out: append-only segments (frames.py), which
load_index, read_entries and read_responses read, also while they are written. Replies are committed in groups by a
thread; a disk that is full is told before anything new is sent, and what is in flight still fits.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from stillhouse.records import Fault, Request, Response
from stillhouse.store.entries import Entry, fault_line, intent_line, reply_line
from stillhouse.store.frames import MAX_FRAME, Damage, FrameEncoder
from stillhouse.store.index import Index, load_index
from stillhouse.store.reading import read_entries, read_responses
from stillhouse.store.recovery import recover
from stillhouse.store.rows import Packer
from stillhouse.store.writer import NO_SPACE, SegmentWriter

__all__ = [
    "Damage", "Entry", "Index", "Journal", "JournalFull", "load_index", "read_entries", "read_responses",
]  # fmt: skip

log = logging.getLogger("stillhouse.store")
MB = 1 << 20
COMMIT_BYTES = 4 * MB  # a group is written at the latest when it is this large
FRAME_BYTES = MB // 4  # text of one frame: what a flipped bit can cost, and what one reply costs to read
RESERVE = 64 * 1024  # bytes set aside for a request in flight, beside those of its tokens
BYTES_PER_TOKEN = 8  # an upper bound of what a token takes in a compressed frame
_PATIENCE = 30.0  # seconds that a reply waits for room on a full disk before it is given up
_RETRY_FULL = 1.0


class JournalFull(Exception):  # noqa: N818  a state of the disk, which the loop acts on
    """The disk is full: nothing new may be sent; what is in flight has its space set aside."""


@dataclass(slots=True)
class _Pending:
    """A record that waits for its group: its line, its row of the index, whom to wake."""

    line: bytes
    row: bytes
    key: str
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]


class Journal:
    """The one writer of its segments; several journals, also of several processes, may share a folder.

    Thread-safe. name: the writer's name in its segments' names. commit_seconds: how long a group may gather; a group
    is never older than 0.1 s when it is written. reserve: bytes set aside ahead beyond what is in flight.
    Opening mends what a killed writer left behind: torn tails are cut, missing indexes made again; `damage` tells.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str | None = None,
        seal_bytes: int = 256 * MB,
        seal_seconds: float = 900.0,
        commit_seconds: float = 0.01,
        reserve: int = 16 * MB,
    ) -> None:
        """Raises JournalFull when there is no room for a first segment."""
        self.folder = folder
        self.name = re.sub(r"[^A-Za-z0-9_.]+", "_", name or f"{os.uname().nodename}_{os.getpid()}")
        folder.mkdir(parents=True, exist_ok=True)
        self.damage: list[Damage] = recover(folder)
        self._seal_bytes, self._seal_seconds = seal_bytes, seal_seconds
        self._commit_seconds, self._reserve = min(commit_seconds, 0.1), reserve
        salt = os.urandom(8)
        self._intents, self._groups = FrameEncoder(salt, level=1), FrameEncoder(salt)
        self._packer = Packer()
        self._flight: dict[str, int] = {}  # bytes set aside for each key in flight
        self._in_flight = 0
        self._write = threading.Lock()  # the segment, its rows and what is set aside
        self._wake = threading.Condition()  # the queue and the flags below
        self._queue: deque[_Pending] = deque()
        self._queued_bytes = 0
        self._closing = False
        self._broken: BaseException | None = None
        self._rotate_after = 0.0
        self._segment = self._new_segment()
        self._begun = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"journal {self.name}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except OSError:
            if error is None:
                raise
            log.exception("%s: the journal could not be closed well", self.folder)

    def intent(self, request: Request, *, retry: int, purpose: str = "distill") -> None:
        """Write that a request is about to be sent: it is with the kernel on return, safe against `kill -9`.

        Raises JournalFull, and then nothing may be sent; OSError when the journal cannot be written any more.
        """
        told: dict[str, Any] = {"retry": retry, "purpose": purpose, "created": time.time()}
        line, row = intent_line(request, **told), self._packer.intent(request, **told)
        need = RESERVE + BYTES_PER_TOKEN * max(0, request.max_tokens)
        with self._write:
            self._check()
            in_flight = self._in_flight - self._flight.get(request.key, 0) + need
            self._set_aside(in_flight)
            try:
                self._segment.append(self._intents.encode([line]), [row])
            except OSError as error:
                if error.errno in NO_SPACE:
                    raise JournalFull(f"{self.folder}: {error.strerror}; nothing new is sent") from error
                raise
            self._in_flight, self._flight[request.key] = in_flight, need

    async def reply(self, response: Response, *, retry: int, purpose: str = "distill") -> None:
        """Write a reply; returns when it is fsynced. Raises JournalFull or OSError when it could not be kept."""
        told: dict[str, Any] = {"retry": retry, "purpose": purpose, "created": time.time()}
        row = self._packer.reply(response, **told)
        await self._committed(reply_line(response, **told), row, response.key)

    async def fault(self, request: Request, fault: Fault, *, retry: int, purpose: str = "distill") -> None:
        """Write what became of a request instead of a reply; returns when it is fsynced."""
        told: dict[str, Any] = {"retry": retry, "purpose": purpose, "created": time.time()}
        row = self._packer.fault(request, fault, **told)
        await self._committed(fault_line(request, fault, **told), row, request.key)

    def close(self) -> None:
        """Write what is queued, seal the segment, stop the thread. May be called twice.

        Raises OSError when the journal had stopped working; whoever waited was told then.
        """
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._thread.join()
        if self._broken is not None:
            self._check()

    # what is set aside

    def _set_aside(self, need: int) -> None:
        """Hold the write lock. Make the segment's free space cover all that is in flight, or raise JournalFull."""
        if self._segment.room >= need + FRAME_BYTES:
            return
        for room in (need + self._reserve, need + FRAME_BYTES):
            try:
                self._segment.allocate(room)
            except OSError as error:
                if error.errno not in NO_SPACE:
                    raise
            else:
                return
        raise JournalFull(
            f"{self.folder}: the disk has no room for {need / MB:.1f} MB of replies in flight; nothing new is sent. "
            "Free some space and run again: nothing is lost"
        )

    def _look_ahead(self) -> None:
        """Hold the write lock. Set space aside here in the thread, so that an intent rarely has to."""
        if self._segment.room < self._in_flight + self._reserve // 2:
            try:
                self._segment.allocate(self._in_flight + self._reserve)
            except OSError as error:
                if error.errno not in NO_SPACE:
                    raise
                log.debug("%s: little room is left: %s", self.folder, error)

    def _new_segment(self) -> SegmentWriter:
        """A segment with room for what is in flight, and for more where the disk has it."""
        for room in (self._in_flight + self._reserve, self._in_flight + FRAME_BYTES):
            try:
                return SegmentWriter(self.folder, self.name, room, self._packer)
            except OSError as error:
                if error.errno not in NO_SPACE:
                    raise
                reason = f"{self.folder}: {room / MB:.1f} MB cannot be set aside for the journal: {error.strerror}"
        raise JournalFull(reason)

    # the group commit

    async def _committed(self, line: bytes, row: bytes, key: str) -> None:
        if len(line) >= MAX_FRAME:
            raise ValueError(f"a record of {len(line)} bytes is more than a frame holds; limit what is read of a reply")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        with self._wake:
            self._check()
            self._queue.append(_Pending(line, row, key, loop, done))
            self._queued_bytes += len(line)
            if len(self._queue) == 1 or self._queued_bytes >= COMMIT_BYTES:
                self._wake.notify()
        await done

    def _check(self) -> None:
        """Raise when nothing can be written any more."""
        if self._broken is not None:
            raise OSError(f"{self.folder}: the journal cannot be written any more: {self._broken}") from self._broken
        if self._closing:
            raise ValueError(f"the journal of {self.folder} is closed")

    def _run(self) -> None:
        group: list[_Pending] = []
        try:
            while True:
                group = self._next_group()
                if group:
                    self._commit(group)
                elif self._closing:
                    break
                self._rotate_if_due()
            with self._write:  # an intent may be half-way through
                self._segment.seal()
        except BaseException as error:  # noqa: BLE001  the thread ends; everyone who waits is told why
            log.error("%s: the journal's writer stopped: %s", self.folder, error)
            with self._wake:
                self._broken = error
                group = group + list(self._queue)
                self._queue.clear()
            with self._write:
                self._segment.abandon()
            _wake(group, error)

    def _next_group(self) -> list[_Pending]:
        """What has gathered within commit_seconds of its first record, or COMMIT_BYTES; empty when a seal is due."""
        with self._wake:
            if not self._queue and not self._closing:
                self._wake.wait(timeout=max(0.05, self._begun + self._seal_seconds - time.monotonic()))
            if not self._queue:
                return []
            until = time.monotonic() + self._commit_seconds
            while not self._closing and self._queued_bytes < COMMIT_BYTES:
                left = until - time.monotonic()
                if left <= 0:
                    break
                self._wake.wait(timeout=left)
            group, size = [], 0
            while self._queue and size < COMMIT_BYTES:
                group.append(self._queue.popleft())
                size += len(group[-1].line)
            self._queued_bytes -= size
            return group

    def _commit(self, group: list[_Pending]) -> None:
        """Write a group as frames and fsync once; then wake those who wait for it."""
        patience = time.monotonic() + _PATIENCE
        refused: list[_Pending] = []
        for part in _frames_of(group):
            frame = self._groups.encode([one.line for one in part])
            if not self._append(frame, part, patience):
                refused += part
        self._segment.sync()
        with self._write:
            for one in group:
                self._in_flight -= self._flight.pop(one.key, 0)
            self._look_ahead()
        if refused:
            _wake(refused, JournalFull(f"{self.folder}: the disk is full and {len(refused)} replies could not be kept"))
        lost = {id(one) for one in refused}
        _wake([one for one in group if id(one) not in lost], None)

    def _append(self, frame: bytes, part: list[_Pending], patience: float) -> bool:
        """Whether a frame could be written: on a full disk it is tried again for a while, since it was paid for."""
        told = False
        while True:
            try:
                with self._write:
                    self._segment.append(frame, [one.row for one in part])
                return True
            except OSError as error:
                if error.errno not in NO_SPACE:
                    raise
                if not told:
                    log.error("%s: the disk is full; %d replies wait for room", self.folder, len(part))
                told = True
            if self._closing or time.monotonic() > patience:
                return False
            time.sleep(_RETRY_FULL)

    def _rotate_if_due(self) -> None:
        """Begin the next segment when this one is large or old; stay when the next cannot be set aside."""
        now = time.monotonic()
        segment = self._segment
        old = now - self._begun >= self._seal_seconds
        if self._closing or now < self._rotate_after or not (segment.end >= self._seal_bytes or old):
            return
        if not segment.end:
            self._begun = now
            return
        try:
            following = self._new_segment()
        except JournalFull as full:
            log.warning("%s; the segment goes on", full)
            self._rotate_after = now + 5.0
            return
        with self._write:
            # between the look above and now more may have been sent: what is in flight must fit the new segment too
            try:
                following.allocate(self._in_flight + FRAME_BYTES)
            except OSError as error:
                if error.errno not in NO_SPACE:
                    raise
                following.seal()
                self._rotate_after = now + 5.0
                return
            self._segment, self._begun = following, now
        segment.seal()


def _frames_of(group: list[_Pending]) -> list[list[_Pending]]:
    """Cut a group where a frame's text would grow over FRAME_BYTES."""
    parts: list[list[_Pending]] = []
    size = FRAME_BYTES
    for one in group:
        if size + len(one.line) > FRAME_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(one)
        size += len(one.line)
    return parts


def _wake(group: list[_Pending], error: BaseException | None) -> None:
    """Tell all who wait, one call per event loop."""
    loops: dict[int, tuple[asyncio.AbstractEventLoop, list[asyncio.Future[None]]]] = {}
    for one in group:
        loops.setdefault(id(one.loop), (one.loop, []))[1].append(one.done)
    for loop, futures in loops.values():
        try:
            loop.call_soon_threadsafe(_settle, futures, error)
        except RuntimeError:  # the loop is closed: nobody waits any more, and the record is on disk all the same
            log.debug("nobody waits for %d records", len(futures))


def _settle(futures: list[asyncio.Future[None]], error: BaseException | None) -> None:
    for future in futures:
        if future.done():  # whoever waited was cancelled
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
