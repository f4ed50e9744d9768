"""The journal beside SQLite (synchronous FULL) and plain fsynced JSONL, in one run; then loading a large index.

In: nothing. Out: a table: records a second with every reply durable before it is acknowledged, ratios to SQLite, size
on disk, CPU; for the index of N replies the load time and the peak memory. One command: `python bench/journal.py`.
All three write the same records, group them the same way (10 ms or 4 MB), and fsync each group; the order in which
they run changes from round to round, so that a busy machine is unfair to none.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np

from stillhouse.records import Request, Response, content_hash, response_key
from stillhouse.store.entries import reply_line
from stillhouse.store.index import load_index, raw_keys
from stillhouse.store.journal import Journal
from stillhouse.store.rows import SegmentRows, write_index
from stillhouse.store.segments import SEGMENT, new_segment_name

IN_FLIGHT = 256
COMMIT_SECONDS, COMMIT_BYTES = 0.01, 4 << 20
WORDS = """the of a to we is in that so x y n number sum let and have then since for value equal which prime factor
hence thus total side square root triangle angle check again wait case first second step answer solve therefore 12 7
144 3.5 0 1 2 modulo gives left right times plus minus equation both substitute expand simplify proof bound"""


def texts(kilobytes: int) -> list[str]:
    """Different texts of about the given size, about as compressible as reasoning is (to about a third)."""
    rng, words, made = random.Random(1), WORDS.split(), []
    for _ in range(64):
        parts, size = [], 0
        while size < kilobytes * 1024:
            word = rng.choice(words) if rng.random() < 0.75 else f"{rng.getrandbits(24):x}"
            parts.append(word)
            size += len(word) + 1
        made.append(" ".join(parts))
    return made


def request(number: int, identity: str) -> Request:
    query = content_hash(str(number))
    key = response_key(identity, query, 1)
    return Request(key, query, query, "teacher", identity, 1, (), {}, 32_768, bound_usd=0.01)


def response(of: Request, text: str) -> Response:
    return Response(of.key, of.query, of.teacher, text, of.prompt, of.identity, of.attempt, max_tokens=of.max_tokens,
                    completion_tokens=len(text) // 4, cost_usd=0.001, created=time.time())  # fmt: skip


class Grouped:
    """The peers' group commit: what the journal's thread does, over any function that stores a group durably."""

    def __init__(self, store: Callable[[list[tuple[str, bytes]]], None]) -> None:
        self._store, self._waiting = store, list[tuple[str, bytes, asyncio.Future[None]]]()
        self._task: asyncio.Task[None] | None = None

    async def put(self, key: str, line: bytes) -> None:
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((key, line, done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._commit())
        await done

    async def _commit(self) -> None:
        while self._waiting:
            if sum(len(line) for _, line, _ in self._waiting) < COMMIT_BYTES:
                await asyncio.sleep(COMMIT_SECONDS)
            group, self._waiting = self._waiting, []
            await asyncio.to_thread(self._store, [(key, line) for key, line, _ in group])
            for _, _, done in group:
                done.set_result(None)


async def feed(count: int, made: list[str], put: Callable[[Request, Response], Awaitable[None]]) -> None:
    numbers = iter(range(count))
    identity = content_hash("identity")

    async def one() -> None:
        for number in numbers:
            asked = request(number, identity)
            await put(asked, response(asked, made[number % len(made)]))

    await asyncio.gather(*(one() for _ in range(IN_FLIGHT)))


def with_journal(folder: Path, count: int, made: list[str]) -> None:
    async def run() -> None:
        with Journal(folder, commit_seconds=COMMIT_SECONDS) as journal:

            async def put(asked: Request, told: Response) -> None:
                journal.intent(asked, retry=0)
                await journal.reply(told, retry=0)

            await feed(count, made, put)

    asyncio.run(run())


def with_sqlite(folder: Path, count: int, made: list[str]) -> None:
    base = sqlite3.connect(folder / "replies.db", check_same_thread=False, isolation_level=None)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("PRAGMA synchronous=FULL")
    base.execute("CREATE TABLE replies (key TEXT PRIMARY KEY, line BLOB)")

    def store(group: list[tuple[str, bytes]]) -> None:
        base.execute("BEGIN")
        base.executemany("INSERT INTO replies VALUES (?, ?)", group)
        base.execute("COMMIT")

    run_peer(store, count, made)
    base.close()


def with_jsonl(folder: Path, count: int, made: list[str]) -> None:
    fd = os.open(folder / "replies.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def store(group: list[tuple[str, bytes]]) -> None:
        os.write(fd, b"".join(line + b"\n" for _, line in group))
        os.fsync(fd)

    run_peer(store, count, made)
    os.close(fd)


def run_peer(store: Callable[[list[tuple[str, bytes]]], None], count: int, made: list[str]) -> None:
    async def run() -> None:
        grouped = Grouped(store)

        async def put(asked: Request, told: Response) -> None:
            await grouped.put(asked.key, reply_line(told, retry=0, purpose="distill", created=told.created))

        await feed(count, made, put)

    asyncio.run(run())


PEERS = {"sqlite FULL": with_sqlite, "jsonl + fsync": with_jsonl, "journal": with_journal}


def compare(folder: Path, count: int, kilobytes: int, rounds: int) -> None:
    made = texts(kilobytes)
    raw = count * statistics.mean(map(len, made))
    seconds: dict[str, list[float]] = {name: [] for name in PEERS}
    cpu: dict[str, list[float]] = {name: [] for name in PEERS}
    size: dict[str, float] = {}
    for round_ in range(rounds):
        names = list(PEERS)
        for name in names[round_ % 3 :] + names[: round_ % 3]:
            here = folder / f"{name.split()[0]}{round_}"
            here.mkdir()
            started, used = time.perf_counter(), time.process_time()
            PEERS[name](here, count, made)
            seconds[name].append(time.perf_counter() - started)
            cpu[name].append(time.process_time() - used)
            size[name] = sum(f.stat().st_size for f in here.iterdir()) / raw
            shutil.rmtree(here)
    print(f"\n{count} replies of {kilobytes} kB, {IN_FLIGHT} in flight, median of {rounds} rounds")
    print(f"{'store':<15}{'records/s':>10}{'to SQLite':>11}{'CPU ms/rec':>12}{'size/text':>11}")
    base = statistics.median(seconds["sqlite FULL"])
    for name in PEERS:
        took = statistics.median(seconds[name])
        per = statistics.median(cpu[name]) / count * 1e3
        print(f"{name:<15}{count / took:>10.0f}{base / took:>11.2f}{per:>12.3f}{size[name]:>11.2f}")
    print("(the journal writes an intent for each request too, checksums every frame and keeps an index)")


def make_index(folder: Path, replies: int) -> None:
    """Sealed segments as a run of that many replies (and as many intents) leaves them, without the texts."""
    identity, per_segment, made = content_hash("identity"), 20_000, 0
    while made < replies:
        rows = SegmentRows()
        for number in range(made, min(replies, made + per_segment)):
            asked = request(number, identity)
            told = {"retry": 0, "purpose": "distill", "created": 1.0}
            rows.packed += rows.packer.intent(asked, **told)
            rows.packed += rows.packer.reply(response(asked, "x" * 400), **told)
        path = folder / f"{new_segment_name('bench')}{SEGMENT}"
        rows.end = 1 << 20
        with path.open("wb") as file:
            file.truncate(rows.end)
        write_index(path, rows)
        made += per_segment


def measure_index(folder: Path, replies: int) -> None:
    """In a process of its own, so that the peak is its own."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    index = load_index(folder)
    loaded = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    prompts = np.sort(raw_keys([content_hash(str(n)) for n in range(replies)]))
    started = time.perf_counter()
    state = index.lookup(content_hash("identity"), prompts, attempts=8)
    looked = time.perf_counter() - started
    told = {"records": len(index), "load_seconds": loaded, "lookup_seconds": looked,
            "peak_mb": peak / 1024, "start_mb": before / 1024, "found": int((state >= 0).sum())}  # fmt: skip
    print(json.dumps(told))


def index_report(folder: Path, replies: int) -> None:
    make_index(folder, replies)
    command = [sys.executable, __file__, "--measure-index", str(folder), "--replies", str(replies)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    told = json.loads(done.stdout)
    print(f"\nindex of {replies} replies and as many intents ({told['records']} records, {told['found']} found)")
    print(f"load {told['load_seconds']:.2f} s, state of one teacher over all queries {told['lookup_seconds']:.2f} s, "
          f"peak {told['peak_mb']:.0f} MB (of which the interpreter and libraries {told['start_mb']:.0f})")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=4000)
    parser.add_argument("--kilobytes", type=int, nargs="+", default=[40, 1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--replies", type=int, default=1_000_000, help="replies of the index; 0 leaves it out")
    parser.add_argument("--folder", type=Path, help="where to write; on the disk that is to be measured")
    parser.add_argument("--measure-index", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure_index:
        measure_index(given.measure_index, given.replies)
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for kilobytes in given.kilobytes:
            compare(Path(folder), given.records, kilobytes, given.rounds)
        if given.replies:
            index_report(Path(folder), given.replies)


if __name__ == "__main__":
    main()
