"""Claims about the journal: what it says is kept is kept, in order, whole, and readable while it is written."""

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stillhouse.records import Fault, Request, Response
from stillhouse.store import writer
from stillhouse.store.frames import Damage, FrameEncoder
from stillhouse.store.journal import Journal, load_index, read_entries, read_responses
from stillhouse.store.rows import FAULT, INTENT, REPLY, SegmentRows
from stillhouse.store.segments import SEGMENT

Ask, Answer, Fill = Callable[..., Request], Callable[..., Response], Callable[..., list[Response]]

HOSTILE = [
    "", "\n\r\0", "</think>" * 3, "\u2028 line separator", "ÿSF\x01", "\ud800 half a pair", "🐸" * 1000,
    "x" * 2_000_000, '{"kind": "reply"}\n',
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_any_text_comes_back_as_it_was(tmp_path: Path, ask: Ask, answer: Answer, text: str) -> None:
    given = answer(ask(1), text=text, reasoning=text or None, finish_reason=text[:300] or "stop", model=text[:10])

    async def write() -> None:
        with Journal(tmp_path) as journal:
            await journal.reply(given, retry=3, purpose="judge")

    asyncio.run(write())
    index = load_index(tmp_path)
    assert list(read_responses(index, index.rows())) == [given]
    assert (index.retry[0], index.purposes[index.purpose[0]], index.damage) == (3, "judge", ())


@pytest.mark.parametrize(
    ("field", "value", "held"),
    [("prompt_tokens", 10**30, 2**32 - 1), ("completion_tokens", -5, 0), ("cost_usd", None, None)],
)
def test_an_absurd_count_of_a_server_is_kept_and_clipped_in_the_index(
    tmp_path: Path, ask: Ask, answer: Answer, field: str, value: object, held: object
) -> None:
    given = answer(ask(1), **{field: value})

    async def write() -> None:
        with Journal(tmp_path) as journal:
            await journal.reply(given, retry=0)

    asyncio.run(write())
    index = load_index(tmp_path)
    assert [e.response for e in read_entries(tmp_path)] == [given]
    assert getattr(index, field)[0] == held or (held is None and index.cost_usd[0] != index.cost_usd[0])


def test_intents_stand_before_their_outcomes_and_faults_keep_what_came(
    tmp_path: Path, ask: Ask, answer: Answer
) -> None:
    request, fault = ask(1, endpoint="http://a"), Fault("cut_body", "cut", status=200, maybe_paid=True, raw="{'half")

    async def write() -> None:
        with Journal(tmp_path) as journal:
            journal.intent(request, retry=0)
            await journal.fault(request, fault, retry=0)
            journal.intent(request, retry=1)
            await journal.reply(answer(request), retry=1)

    asyncio.run(write())
    entries = list(read_entries(tmp_path))
    assert [(e.kind, e.retry) for e in entries] == [("intent", 0), ("fault", 0), ("intent", 1), ("reply", 1)]
    assert entries[0].request == request
    told = entries[1].fault
    assert (told.kind, told.status, told.maybe_paid, told.raw) == ("cut_body", 200, True, "{'half")
    index = load_index(tmp_path)
    assert index.kind.tolist() == [INTENT, FAULT, INTENT, REPLY]
    assert index.maybe_paid.tolist() == [False, True, False, False]
    assert index.labels[index.label[1]] == "cut_body"


def test_an_intent_is_with_the_kernel_before_the_call_returns(tmp_path: Path, ask: Ask) -> None:
    with Journal(tmp_path) as journal:
        for number in range(20):
            journal.intent(ask(number), retry=0)
            assert [e.key for e in read_entries(tmp_path)] == [ask(n).key for n in range(number + 1)]


def test_a_reply_is_acknowledged_only_after_fsync(
    tmp_path: Path, ask: Ask, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_sync, synced = threading.Event(), threading.Event()
    real = os.fdatasync

    def slow(fd: int) -> None:
        synced.set()
        assert may_sync.wait(10)
        real(fd)

    async def write() -> None:
        with Journal(tmp_path) as journal:
            monkeypatch.setattr(writer.os, "fdatasync", slow)
            waiting = asyncio.create_task(journal.reply(answer(ask(1)), retry=0))
            await asyncio.to_thread(synced.wait, 10)
            assert not waiting.done()
            may_sync.set()
            await waiting

    asyncio.run(write())


def test_an_fsync_that_fails_is_never_taken_for_success_and_the_journal_stops(
    tmp_path: Path, ask: Ask, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    async def write() -> None:
        journal = Journal(tmp_path)
        monkeypatch.setattr(writer.os, "fdatasync", broken)
        with pytest.raises(OSError, match="broken"):
            await journal.reply(answer(ask(1)), retry=0)
        with pytest.raises(OSError, match="cannot be written any more"):
            journal.intent(ask(2), retry=0)
        with pytest.raises(OSError, match="cannot be written any more"):
            await journal.reply(answer(ask(2)), retry=0)
        with pytest.raises(OSError, match="cannot be written any more"):
            journal.close()

    asyncio.run(write())


def test_a_cancelled_waiter_loses_nothing(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    async def write() -> None:
        with Journal(tmp_path, commit_seconds=0.1) as journal:
            waiting = asyncio.create_task(journal.reply(answer(ask(1)), retry=0))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await journal.reply(answer(ask(2)), retry=0)

    asyncio.run(write())
    assert [e.key for e in read_entries(tmp_path)] == [ask(1).key, ask(2).key]


def test_segments_are_sealed_by_size_each_with_its_index(tmp_path: Path, fill: Fill) -> None:
    async def write() -> None:
        with Journal(tmp_path / "small", seal_bytes=1000) as journal:
            for response in expected:
                await journal.reply(response, retry=0)  # one by one: a seal comes between two groups

    expected = fill(tmp_path / "other", range(20))
    asyncio.run(write())
    names = sorted(p.name for p in (tmp_path / "small").iterdir())
    segments = [n for n in names if n.endswith(SEGMENT)]
    assert len(segments) > 3
    assert [n for n in names if n.endswith(".idx")] == [n.replace(SEGMENT, ".idx") for n in segments]
    index = load_index(tmp_path / "small")
    assert list(read_responses(index, index.rows())) == expected
    assert not any(s.live for s in index.segments)


def test_a_segment_is_sealed_by_age_though_nothing_more_is_written(
    tmp_path: Path, ask: Ask, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed, real = threading.Event(), writer.write_index

    def write_index(path: Path, rows: SegmentRows) -> None:
        real(path, rows)
        sealed.set()

    monkeypatch.setattr(writer, "write_index", write_index)

    async def write() -> None:
        with Journal(tmp_path, seal_seconds=0.05) as journal:
            await journal.reply(answer(ask(1)), retry=0)
            assert await asyncio.to_thread(sealed.wait, 10)
            assert not load_index(tmp_path).segments[0].live

    asyncio.run(write())


def test_a_closed_journal_leaves_no_space_set_aside_and_an_unused_one_leaves_no_file(
    tmp_path: Path, fill: Fill
) -> None:
    fill(tmp_path / "used", range(3))
    (segment,) = (tmp_path / "used").glob(f"*{SEGMENT}")
    assert segment.read_bytes().rstrip(b"\0")[-1:] == segment.read_bytes()[-1:]
    assert segment.stat().st_blocks * 512 < 64 * 1024
    Journal(tmp_path / "unused").close()
    assert list((tmp_path / "unused").iterdir()) == []


def test_nothing_is_written_after_close(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    async def write() -> None:
        journal = Journal(tmp_path)
        journal.close()
        journal.close()
        with pytest.raises(ValueError, match="closed"):
            journal.intent(ask(1), retry=0)
        with pytest.raises(ValueError, match="closed"):
            await journal.reply(answer(ask(1)), retry=0)

    asyncio.run(write())


@pytest.mark.parametrize("attempt", [-1, 65_536])
def test_an_attempt_out_of_range_is_refused_before_anything_is_written(tmp_path: Path, ask: Ask, attempt: int) -> None:
    with Journal(tmp_path) as journal, pytest.raises(ValueError, match="attempt"):
        journal.intent(ask(1, attempt), retry=0)
    assert list(read_entries(tmp_path)) == []


def test_two_journals_may_write_into_one_folder(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    async def write() -> None:
        with Journal(tmp_path, name="a") as one, Journal(tmp_path, name="b") as two:
            await asyncio.gather(*(journal.reply(answer(ask(n)), retry=0) for n, journal in enumerate([one, two] * 10)))

    asyncio.run(write())
    index = load_index(tmp_path)
    assert sorted(r.key for r in read_responses(index, index.rows())) == sorted(ask(n).key for n in range(20))
    assert len(index.segments) == 2


def test_readers_beside_a_writer_see_only_whole_records_and_never_fewer(
    tmp_path: Path, ask: Ask, answer: Answer
) -> None:
    stop, errors, looks = threading.Event(), list[BaseException](), list[int]()

    def look() -> None:
        seen = 0
        try:
            while not stop.is_set():
                index, damage = load_index(tmp_path), list[Damage]()
                assert index.damage == ()
                replies = index.rows()
                assert len(replies) >= seen
                seen = len(replies)
                texts = {r.key: r.text for r in read_responses(index, replies[-50:], damage=damage)}
                assert all(key in text for key, text in texts.items())
                assert len(texts) == min(50, len(replies))
                assert sum(1 for _ in read_entries(tmp_path, damage=damage)) >= len(index)
                assert damage == []
                looks.append(seen)
        except BaseException as error:  # noqa: BLE001  a thread's assertion is told by the test
            errors.append(error)

    async def write() -> None:
        with Journal(tmp_path, seal_bytes=30_000, reserve=1 << 20) as journal:
            for start in range(0, 600, 50):
                requests = [ask(n) for n in range(start, start + 50)]
                for request in requests:
                    journal.intent(request, retry=0)
                await asyncio.gather(*(journal.reply(answer(r), retry=0) for r in requests))

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    asyncio.run(write())
    stop.set()
    for reader in readers:
        reader.join()
    assert errors == []
    assert len(load_index(tmp_path).rows()) == 600
    assert max(looks) > 0


def test_a_bad_frame_is_skipped_told_and_costs_no_other_record(
    tmp_path: Path, ask: Ask, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    async def write() -> None:
        with Journal(tmp_path) as journal:
            for number in range(5):
                await journal.reply(answer(ask(number)), retry=0)

    asyncio.run(write())
    index = load_index(tmp_path)
    (segment,) = tmp_path.glob(f"*{SEGMENT}")
    data = bytearray(segment.read_bytes())
    data[int(index.frame[2]) + 60] ^= 4
    segment.write_bytes(data)
    damage: list[Damage] = []
    kept = [ask(n).key for n in (0, 1, 3, 4)]
    assert [e.key for e in read_entries(tmp_path, damage=damage)] == kept
    assert [r.key for r in read_responses(index, index.rows(), damage=damage)] == kept
    assert [(d.segment, d.offset, d.reason) for d in damage] == [
        (segment.name, int(index.frame[2]), "checksum does not match")
    ] * 2
    list(read_responses(index, index.rows()))
    assert "checksum does not match" in caplog.text


def test_intents_of_one_turn_of_the_loop_are_one_frame_and_stand_before_anybody_goes_on(
    tmp_path: Path, ask: Ask
) -> None:
    async def write() -> None:
        with Journal(tmp_path) as journal:

            async def send(number: int) -> None:
                await journal.announce(ask(number), retry=0)
                assert ask(number).key in {entry.key for entry in read_entries(tmp_path)}  # with the kernel, unsealed

            await asyncio.gather(*(send(number) for number in range(20)))

    asyncio.run(write())
    entries = list(read_entries(tmp_path))
    assert (len({entry.key for entry in entries}), len({entry.frame for entry in entries})) == (20, 1)


def test_a_cancelled_sender_takes_no_other_one_with_it(tmp_path: Path, ask: Ask) -> None:
    async def write() -> list[BaseException | None]:
        with Journal(tmp_path) as journal:
            tasks = [asyncio.create_task(journal.announce(ask(number), retry=0)) for number in range(3)]
            await asyncio.sleep(0)
            tasks[1].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(one) for one in asyncio.run(write())] == [type(None), asyncio.CancelledError, type(None)]
    assert len(list(read_entries(tmp_path))) == 3


def test_all_senders_of_a_turn_hear_that_the_journal_is_closed(tmp_path: Path, ask: Ask) -> None:
    async def write() -> list[BaseException | None]:
        journal = Journal(tmp_path)
        tasks = [asyncio.create_task(journal.announce(ask(number), retry=0)) for number in range(2)]
        await asyncio.sleep(0)
        journal.close()
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(one) for one in asyncio.run(write())] == [ValueError, ValueError]


def test_whatever_goes_wrong_with_the_intents_of_a_turn_reaches_every_sender(
    tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> bytes:
        raise RuntimeError("no frame today")

    async def write() -> list[BaseException | None]:
        with Journal(tmp_path) as journal, monkeypatch.context() as patch:
            patch.setattr(FrameEncoder, "encode", broken)
            sent = (journal.announce(ask(number), retry=0) for number in range(3))
            return await asyncio.wait_for(asyncio.gather(*sent, return_exceptions=True), 10)

    assert [str(one) for one in asyncio.run(write())] == ["no frame today"] * 3
