"""Claims about space set aside, with a disk that is as full as each case wants it."""

import asyncio
import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from stillhouse.records import Request, Response
from stillhouse.store import journal as journal_module
from stillhouse.store import writer
from stillhouse.store.index import load_index
from stillhouse.store.journal import Journal, JournalFull
from stillhouse.store.reading import read_entries
from stillhouse.store.segments import SEGMENT

Ask, Answer = Callable[..., Request], Callable[..., Response]
MB = 1 << 20


class Disk:
    """Stands in for posix_fallocate: refuses what goes beyond `free` bytes in one file, or says it cannot do it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free, self.error, self.real = 1 << 40, errno.ENOSPC, os.posix_fallocate
        monkeypatch.setattr(writer.os, "posix_fallocate", self.allocate)

    def allocate(self, fd: int, offset: int, length: int) -> None:
        if offset + length > self.free:
            raise OSError(self.error, os.strerror(self.error))
        self.real(fd, offset, length)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_without_room_for_a_first_segment_nothing_is_opened_and_nothing_left(tmp_path: Path, disk: Disk) -> None:
    disk.free = 1000
    with pytest.raises(JournalFull, match="cannot be set aside"):
        Journal(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_small_disk_is_used_up_to_what_is_in_flight(tmp_path: Path, disk: Disk, ask: Ask) -> None:
    disk.free = 2 * MB  # less than the journal would like to have ahead
    with Journal(tmp_path, reserve=16 * MB) as journal:
        for number in range(5):
            journal.intent(ask(number, max_tokens=30_000), retry=0)
        with pytest.raises(JournalFull):
            for number in range(5, 10):
                journal.intent(ask(number, max_tokens=30_000), retry=0)
        disk.free = 1 << 40
        journal.intent(ask(10, max_tokens=30_000), retry=0)


def test_of_one_turn_those_intents_are_written_for_which_there_is_room(tmp_path: Path, disk: Disk, ask: Ask) -> None:
    disk.free = 2 * MB

    async def write() -> list[BaseException | None]:
        with Journal(tmp_path, reserve=16 * MB) as journal:
            asked = (journal.announce(ask(number, max_tokens=30_000), retry=0) for number in range(10))
            return await asyncio.gather(*asked, return_exceptions=True)

    told = asyncio.run(write())
    assert {type(one) for one in told} == {type(None), JournalFull}
    assert len(list(read_entries(tmp_path))) == told.count(None) >= 5


def test_an_outcome_frees_what_its_intent_had_set_aside(tmp_path: Path, disk: Disk, ask: Ask, answer: Answer) -> None:
    disk.free = 3 * MB

    async def write() -> None:
        with Journal(tmp_path, reserve=MB) as journal:
            for number in range(30):  # 1 MB each: only one at a time fits
                journal.intent(ask(number, max_tokens=100_000), retry=0)
                await journal.reply(answer(ask(number)), retry=0)
            for retry in range(5):  # a retry takes the place of what it repeats
                journal.intent(ask(100, max_tokens=100_000), retry=retry)

    asyncio.run(write())
    assert len(load_index(tmp_path).rows()) == 30


def test_a_segment_goes_on_where_the_next_cannot_be_set_aside(
    tmp_path: Path, disk: Disk, ask: Ask, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    async def write() -> None:
        with Journal(tmp_path, seal_bytes=2000, reserve=MB) as journal:
            disk.free = 100
            for number in range(20):
                await journal.reply(answer(ask(number)), retry=0)

    asyncio.run(write())
    assert len(list(tmp_path.glob(f"*{SEGMENT}"))) == 1
    assert len(load_index(tmp_path).rows()) == 20
    assert "the segment goes on" in caplog.text


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL])
def test_where_space_cannot_be_set_aside_the_free_space_is_asked(
    tmp_path: Path, disk: Disk, ask: Ask, answer: Answer, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    disk.free, disk.error = 0, code

    async def write() -> None:
        with Journal(tmp_path) as journal:
            journal.intent(ask(1), retry=0)
            await journal.reply(answer(ask(1)), retry=0)
            none_left = os.statvfs_result([4096, 4096, 9, 0, 0, 0, 0, 0, 0, 255])
            monkeypatch.setattr(writer.os, "fstatvfs", lambda fd: none_left)
            with pytest.raises(JournalFull):
                journal.intent(ask(2, max_tokens=10_000_000), retry=0)

    asyncio.run(write())
    assert [e.kind for e in read_entries(tmp_path)] == ["intent", "reply"]


def test_a_reply_waits_for_room_and_is_kept_once_there_is_some(
    tmp_path: Path, ask: Ask, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refused = os.pwrite, [0]

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        if bytes(data[:4]) == b"\xffSF\x01" and refused[0] < 3:
            refused[0] += 1
            if refused[0] == 2:
                real(fd, data[:50], offset)  # half a frame, and then no more
            raise OSError(errno.ENOSPC, "full")
        return real(fd, data, offset)

    monkeypatch.setattr(writer.os, "pwrite", pwrite)
    monkeypatch.setattr(journal_module, "_RETRY_FULL", 0.001)

    async def write() -> None:
        with Journal(tmp_path) as journal:
            await asyncio.gather(*(journal.reply(answer(ask(n)), retry=0) for n in range(3)))

    asyncio.run(write())
    index = load_index(tmp_path)
    assert (refused[0], len(index.rows()), index.damage) == (3, 3, ())


def test_a_reply_that_finds_no_room_is_never_acknowledged_and_the_journal_goes_on(
    tmp_path: Path, ask: Ask, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, full = os.pwrite, [True]

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        if full[0] and len(data) > 100_000:
            raise OSError(errno.ENOSPC, "full")
        return real(fd, data, offset)

    monkeypatch.setattr(writer.os, "pwrite", pwrite)
    monkeypatch.setattr(journal_module, "_PATIENCE", 0.0)
    large = random.Random(1).randbytes(300_000).hex()  # more than a frame: it stands in one of its own

    async def write() -> list[object]:
        with Journal(tmp_path) as journal:
            first = await asyncio.gather(
                journal.reply(answer(ask(1)), retry=0),
                journal.reply(answer(ask(2), text=large), retry=0),
                journal.reply(answer(ask(3)), retry=0),
                return_exceptions=True,
            )
            full[0] = False
            await journal.reply(answer(ask(2), text=large), retry=0)
            return first

    one, two, three = asyncio.run(write())
    assert (one, three) == (None, None)
    assert isinstance(two, JournalFull)
    assert [e.key for e in read_entries(tmp_path)] == [ask(n).key for n in (1, 3, 2)]
