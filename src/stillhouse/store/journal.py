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
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from stillhouse.records import Fault, Request, Response
from stillhouse.store.commit import FRAME_BYTES, GroupCommit, Record, settle
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
RESERVE = 64 * 1024  # bytes set aside for a request in flight, beside those of its tokens
BYTES_PER_TOKEN = 8  # an upper bound of what a token takes in a compressed frame
ZSTD_LEVEL = 1  # level 3 takes 1.1 to 1.6 times the CPU and saves at most 5 % on reasoning text
FEW = 4  # intents in a frame that are not worth compressing
_PATIENCE = 30.0  # seconds that a reply waits for room on a full disk before it is given up
_RETRY_FULL, _RETRY_ROTATE = 1.0, 5.0


class Intent(NamedTuple):
    """An intent as it is written. need: bytes to set aside for the outcome that it announces."""

    line: bytes
    row: bytes
    key: str
    need: int


Announced = tuple[Intent, "asyncio.Future[None]"]


class JournalFull(Exception):  # noqa: N818  a state of the disk, which the loop acts on
    """The disk is full: nothing new may be sent; what is in flight has its space set aside."""


class Journal:
    """The one writer of its segments; several journals, also of several processes, may share a folder.

    Thread-safe. name: the writer's name in its segments' names. commit_seconds: how long a group may gather, at most
    0.1. reserve: bytes set aside beyond what is in flight. Opening mends what a killed writer left behind: torn tails
    are cut, missing indexes made again; `damage` tells what was found.
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
        self._packer = Packer()
        self._segments = _Segments(folder, self.name, self._packer, seal_bytes, seal_seconds, reserve)
        self._commit = GroupCommit(self._segments, f"journal {self.name}", seconds=min(commit_seconds, 0.1))
        self._segments.closing = lambda: self._commit.closing
        self._turns: dict[asyncio.AbstractEventLoop, list[Announced]] = {}

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

    def intent(self, request: Request, *, retry: int, purpose: str = "distill", here: bool = True) -> None:
        """Write that a request is about to be sent: it is with the kernel on return, safe against `kill -9`.

        here: its outcome will be written by this journal, and room for it is set aside (not so in a batch).
        Raises JournalFull, and then nothing may be sent; OSError when the journal cannot be written any more;
        ValueError after close.
        """
        intent = self._intent(request, retry, purpose, here=here)
        self._check()
        self._segments.announce([intent])

    async def announce(self, request: Request, *, retry: int, purpose: str = "distill") -> None:
        """The same for a loop that sends many requests in one turn: their intents are one write to the kernel.

        Raises what `intent` raises; on a nearly full disk for those alone that no longer fit.
        """
        intent = self._intent(request, retry, purpose)
        self._check()
        loop = asyncio.get_running_loop()
        turn = self._turns.get(loop)
        if turn is None:
            turn = self._turns[loop] = []
            loop.call_soon(self._announce_turn, loop)
        written = loop.create_future()
        turn.append((intent, written))
        await written

    def _announce_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        turn = self._turns.pop(loop)
        if not self._announced(turn) and len(turn) > 1:  # a nearly full disk: some of them may fit
            for one in turn:
                self._announced([one])

    def _announced(self, turn: Sequence[Announced]) -> bool:
        """Write intents and tell who waits; not, where room is missing for all of several together."""
        error: Exception | None = None
        try:
            self._check()
            self._segments.announce([intent for intent, _ in turn])
        except JournalFull as full:
            if len(turn) > 1:
                return False
            error = full
        except Exception as reason:  # noqa: BLE001  nobody would wake those who wait
            error = reason
        settle([written for _, written in turn], error)
        return True

    def _intent(self, request: Request, retry: int, purpose: str, *, here: bool = True) -> Intent:
        told: dict[str, Any] = {"retry": retry, "purpose": purpose, "created": time.time()}
        need = (RESERVE + BYTES_PER_TOKEN * max(0, request.max_tokens)) * here
        return Intent(intent_line(request, **told), self._packer.intent(request, **told), request.key, need)

    async def reply(self, response: Response, *, retry: int, purpose: str = "distill") -> None:
        """Write a reply; returns when it is fsynced. Raises JournalFull or OSError when it could not be kept."""
        told: dict[str, Any] = {"retry": retry, "purpose": purpose, "created": time.time()}
        row = self._packer.reply(response, **told)
        await self._put(reply_line(response, **told), row, response.key)

    async def fault(self, request: Request, fault: Fault, *, retry: int, purpose: str = "distill") -> None:
        """Write what became of a request instead of a reply; returns when it is fsynced."""
        told: dict[str, Any] = {"retry": retry, "purpose": purpose, "created": time.time()}
        row = self._packer.fault(request, fault, **told)
        await self._put(fault_line(request, fault, **told), row, request.key)

    async def _put(self, line: bytes, row: bytes, key: str) -> None:
        if len(line) >= MAX_FRAME:
            raise ValueError(f"a record of {len(line)} bytes is more than a frame holds; limit what is read of a reply")
        self._check()
        await self._commit.put(line, row, key)

    def _check(self) -> None:
        """Raise when nothing can be written any more."""
        broken = self._commit.broken
        if broken is not None:
            raise OSError(f"{self.folder}: the journal cannot be written any more: {broken}") from broken
        if self._commit.closing:
            raise ValueError(f"the journal of {self.folder} is closed")

    def close(self) -> None:
        """Write what is queued, seal the segment, stop the thread. May be called twice.

        Raises OSError when the journal had stopped working; whoever waited was told then.
        """
        self._commit.close()
        if self._commit.broken is not None:
            self._check()


class _Segments:
    """The journal's segments as the commit's sink: the one being written, what is set aside in it, and the next.

    The lock guards the segment, its rows and what is set aside; sync and seal run without it.
    """

    def __init__(
        self, folder: Path, name: str, packer: Packer, seal_bytes: int, seal_seconds: float, reserve: int
    ) -> None:
        self._folder, self._name, self._packer = folder, name, packer
        self._seal_bytes, self._seal_seconds, self._reserve = seal_bytes, seal_seconds, reserve
        self.closing: Callable[[], bool] = lambda: False  # set by the journal: a close waits for no disk
        salt = os.urandom(8)
        self._intents, self._groups = (FrameEncoder(salt, level=ZSTD_LEVEL) for _ in range(2))
        self._flight: dict[str, int] = {}  # bytes set aside for each key in flight
        self._in_flight = 0
        self._lock = threading.Lock()
        self._segment = self._new_segment()
        self._begun = time.monotonic()
        self._rotate_after = 0.0

    def announce(self, intents: Sequence[Intent]) -> None:
        """Set aside what these intents announce, and write them as a frame. Raises JournalFull or OSError."""
        needs = {intent.key: intent.need for intent in intents if intent.need}
        with self._lock:
            in_flight = self._in_flight + sum(needs.values()) - sum(self._flight.get(key, 0) for key in needs)
            self._set_aside(in_flight)
            try:
                frame = self._intents.encode([intent.line for intent in intents], stored=len(intents) <= FEW)
                self._segment.append(frame, [intent.row for intent in intents])
            except OSError as error:
                if error.errno in NO_SPACE:
                    raise JournalFull(f"{self._folder}: {error.strerror}; nothing new is sent") from error
                raise
            self._in_flight = in_flight
            self._flight |= needs

    def _set_aside(self, need: int) -> None:
        """Hold the lock. Make the segment's free space cover all that is in flight, or raise JournalFull."""
        if self._segment.room >= need + FRAME_BYTES:
            return
        for room in (need + self._reserve, need + FRAME_BYTES):
            if self._allocated(self._segment, room):
                return
        raise JournalFull(
            f"{self._folder}: the disk has no room for {need / MB:.1f} MB of replies in flight; nothing new is sent. "
            "Free some space and run again: nothing is lost"
        )

    def _allocated(self, segment: SegmentWriter, room: int) -> bool:
        """Whether so much could be set aside in a segment."""
        try:
            segment.allocate(room)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            return False
        return True

    def _new_segment(self) -> SegmentWriter:
        """A segment with room for what is in flight, and for more where the disk has it. Raises JournalFull."""
        for room in (self._in_flight + self._reserve, self._in_flight + FRAME_BYTES):
            try:
                return SegmentWriter(self._folder, self._name, room, self._packer)
            except OSError as error:
                if error.errno not in NO_SPACE:
                    raise
                reason = f"{self._folder}: {room / MB:.1f} MB cannot be set aside for the journal: {error.strerror}"
        raise JournalFull(reason)

    # the commit's sink: called in its thread

    def write(self, records: list[Record]) -> Exception | None:
        """Write one frame; on a full disk it is tried again for a while, since it was paid for."""
        frame, rows = self._groups.encode([record.line for record in records]), [record.row for record in records]
        patience, told = time.monotonic() + _PATIENCE, False
        while True:
            try:
                with self._lock:
                    self._segment.append(frame, rows)
                return None
            except OSError as error:
                if error.errno not in NO_SPACE:
                    raise
            if self.closing() or time.monotonic() > patience:
                return JournalFull(f"{self._folder}: the disk is full and {len(records)} replies could not be kept")
            if not told:
                log.error("%s: the disk is full; %d replies wait for room", self._folder, len(records))
            told = True
            time.sleep(_RETRY_FULL)

    def sync(self) -> None:
        self._segment.sync()

    def settled(self, records: list[Record]) -> None:
        """What they had set aside is free again; look ahead here, so that an intent rarely has to wait for space."""
        with self._lock:
            for record in records:
                self._in_flight -= self._flight.pop(record.key, 0)
            if self._segment.room < self._in_flight + self._reserve // 2:
                self._allocated(self._segment, self._in_flight + self._reserve)

    def idle(self) -> float:
        """Begin the next segment when this one is large or old; stay when the next cannot be set aside."""
        now, segment = time.monotonic(), self._segment
        if not segment.end:
            self._begun = now
        due = segment.end >= self._seal_bytes or now - self._begun >= self._seal_seconds
        if due and now >= self._rotate_after and not self._rotated(now):
            self._rotate_after = now + _RETRY_ROTATE
        return max(0.05, max(self._rotate_after, self._begun + self._seal_seconds) - now)

    def _rotated(self, now: float) -> bool:
        try:
            following = self._new_segment()
        except JournalFull as full:
            log.warning("%s; the segment goes on", full)
            return False
        with self._lock:  # more may be in flight than a moment ago, and must fit the new segment too
            if not self._allocated(following, self._in_flight + FRAME_BYTES):
                following.seal()
                return False
            sealed, self._segment, self._begun = self._segment, following, now
        sealed.seal()
        return True

    def finish(self) -> None:
        with self._lock:  # an intent may be half-way through
            self._segment.seal()

    def abandon(self, error: BaseException) -> None:
        with self._lock:
            self._segment.abandon()
