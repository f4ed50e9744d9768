"""Generation beside its peers: one mock endpoint, one run, CPU of every process, memory, faults and kills.

    python bench/generation.py --peer datatrove=/venvs/datatrove/bin/python --peer openai=... --peer curator=... \\
        --peer distilabel=...                  # a peer without an interpreter is named as missing
    python bench/generation.py --only fast long start faults kills --rounds 3 [--mock http://127.0.0.1:8800]

Ours is `stillhouse distill RUN`, whole: the durable journal, math verified by the exact path, outputs. The peers ask
and write a file. "beyond start-up" is the slope between one row and all. Each answer here is a plain number, so every
verdict is given in the loop and no worker starts; one that does need a worker starts it. Compare ratios, not seconds.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
os.environ["PYTHONPATH"] = str(HERE.parent / "src") + os.pathsep + os.environ.get("PYTHONPATH", "")

PEERS = ("datatrove", "openai", "curator", "distilabel")
TARGETS = {"datatrove": 3, "openai": 10, "curator": 10, "distilabel": 25}


class Mock:
    """A mock endpoint that can be set while it runs; the doors are those of generation_mock.py."""

    def __init__(self, address: str) -> None:
        self.address = address.removesuffix("/").removesuffix("/v1")
        self.url = f"{self.address}/v1"
        self.knobs = set(self.get("/config"))

    def get(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(self.address + path, timeout=30) as reply:
            told: dict[str, Any] = json.load(reply)
        return told

    def set(self, **knobs: float) -> None:
        """Everything else back to nothing: no latency, no faults, 600 bytes."""
        quiet = {name: 0 for name in self.knobs if name.startswith("r") and name != "retry_after"}
        given = {**quiet, "latency_ms": 0, "jitter_ms": 0, "bytes": 600, "max_inflight": 0, **knobs}
        self.get("/config?" + "&".join(f"{name}={value}" for name, value in given.items()))
        self.get("/reset")

    def stats(self) -> dict[str, Any]:
        return self.get("/stats")


@contextmanager
def mock_at(address: str | None) -> Iterator[Mock]:
    """The mock that was named, or our own for as long as it is needed."""
    if address is not None:
        yield Mock(address)
        return
    command = [sys.executable, str(HERE / "generation_mock.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield Mock(f"http://127.0.0.1:{int(child.stdout.readline())}")
        finally:
            child.terminate()


def measured(command: list[str], folder: Path) -> dict[str, Any]:
    """What a command took; raises where it failed."""
    out, log = folder / "measured.json", folder / "log.txt"
    with log.open("wb") as file:
        subprocess.run(
            [sys.executable, str(HERE / "generation_measure.py"), str(out), "--", *command],
            check=True, stdout=file, stderr=subprocess.STDOUT, cwd=folder,
        )  # fmt: skip
    told: dict[str, Any] = json.loads(out.read_text())
    if told["exit"]:
        raise RuntimeError(f"{' '.join(command)} ended with {told['exit']}:\n{log.read_text()[-2000:]}")
    return told


def lay(folder: Path, mock: Mock, rows: int, in_flight: int, **teacher: Any) -> Path:
    """A run folder whose queries are curated already; returns it. teacher: further settings of the teacher."""
    from stillhouse.records import Message, Query
    from stillhouse.store.tables import QUERIES, query_to_row, write_rows

    run = folder / "run"
    (run / "1-queries").mkdir(parents=True)
    made = (
        Query((Message("user", f"Which number stands in this mark? [id:{n}]"),), "math", ground_truth=str(n))
        for n in range(rows)
    )
    write_rows(run / "1-queries" / "kept.parquet", map(query_to_row, sorted(made, key=lambda q: q.key)), QUERIES)
    (folder / "q.jsonl").write_text("")
    distill = teacher.pop("distill", {})
    asked = {"name": "mock", "model": "mock", "base_url": mock.url, "max_in_flight": in_flight,
             "price": {"input": 1.0, "output": 1.0}, **teacher}  # fmt: skip
    recipe = {"name": "bench", "queries": [{"path": str(folder / "q.jsonl"), "category": "math"}], "teachers": [asked]}
    (run / "recipe.yaml").write_text(json.dumps(recipe | ({"distill": distill} if distill else {})))
    return run


def distill(run: Path) -> list[str]:
    return [sys.executable, "-m", "stillhouse", "distill", str(run), "--json"]


def ours(mock: Mock, rows: int, in_flight: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        told = measured(distill(lay(Path(name), mock, rows, in_flight, distill={"workers": 1})), Path(name))
    told["delivered"] = mock.stats()["unique_ok"]
    return told


def theirs(peer: str, python: str, mock: Mock, rows: int, in_flight: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out"
        told = measured(
            [python, str(HERE / "generation_peers.py"), peer, "--url", mock.url, "--rows", str(rows),
             "--in-flight", str(in_flight), "--out", str(out)], Path(name),
        )  # fmt: skip
        told["delivered"] = sum(len(f.read_bytes().splitlines()) for f in out.glob("replies*.jsonl"))
    return told


def fast(mock: Mock, peers: dict[str, str], *, rows: int, rounds: int) -> None:
    """0 ms, 600 bytes, 256 in flight: what a row costs."""
    print(f"\n0 ms, 600 B, 256 in flight, {rows:,} rows, median of {rounds}\n", flush=True)
    print(f"{'':12}{'CPU s per 1,000 rows':>22}{'beyond start-up':>17}{'ratio':>8}{'target':>8}{'start-up s':>12}"
          f"{'rows/s':>9}{'RSS MB':>8}{'all MB':>8}{'delivered':>11}", flush=True)  # fmt: skip
    mock.set()
    kept: dict[str, list[tuple[float, float, dict[str, Any]]]] = {name: [] for name in ("stillhouse", *peers)}
    for turn in range(rounds):
        for name in list(kept) if turn % 2 == 0 else list(kept)[::-1]:
            both = []
            for count in (1, rows):
                mock.get("/reset")
                both.append(ours(mock, count, 256) if name == "stillhouse" else
                            theirs(name, peers[name], mock, count, 256))  # fmt: skip
            one, many = both
            slope = (many["cpu"] - one["cpu"]) / (rows - 1) * 1000
            kept[name].append((slope, one["cpu"], many))
    base = statistics.median(slope for slope, _, _ in kept["stillhouse"])
    for name, runs in kept.items():
        slope = statistics.median(run[0] for run in runs)
        begun = statistics.median(run[1] for run in runs)
        whole = statistics.median(run[2]["cpu"] for run in runs) / rows * 1000
        pace = statistics.median(rows / run[2]["wall"] for run in runs)
        rss, pss = (max(run[2][key] for run in runs) for key in ("peak_rss_mb", "peak_pss_mb"))
        told = min(run[2]["delivered"] for run in runs)
        aim = f"{TARGETS[name]}x" if name in TARGETS else "<= 0.5"
        print(f"{name:12}{whole:>22.2f}{slope:>17.3f}{slope / base:>7.1f}x{aim:>8}{begun:>12.2f}{pace:>9.0f}"
              f"{rss:>8.0f}{pss:>8.0f}{told:>11,}", flush=True)  # fmt: skip


def fastest(rows: int, in_flight: int, least: float, most: float) -> float:
    """Seconds from the first request to the last reply of a client that costs nothing and never leaves a place empty,
    with latencies uniform in [least, most]: more than rows / in_flight * mean, as the last replies come by themselves.
    """
    dice, ends = random.Random(1), [0.0] * in_flight
    for _ in range(rows):
        heapq.heapreplace(ends, ends[0] + dice.uniform(least, most))
    return max(ends)


def long(mock: Mock, peers: dict[str, str], *, rows: int, rounds: int) -> None:
    """2 s +- 0.5 s, 40 kB, 1,024 in flight: wall time beside that of a client that costs nothing, and memory."""
    ideal = fastest(rows, 1024, 1.5, 2.5)
    print(f"\n2 s +- 0.5 s, 40 kB, 1,024 in flight, {rows:,} rows: a client that costs nothing takes {ideal:.1f} s "
          f"(without the last replies' wait {rows / 1024 * 2:.1f} s)\n", flush=True)  # fmt: skip
    print(f"{'':12}{'wall s':>9}{'asking':>9}{'to ideal':>10}{'less start-up':>15}{'to ideal':>10}{'CPU s':>8}"
          f"{'RSS MB':>8}{'all MB':>8}{'most in flight':>16}{'delivered':>11}", flush=True)  # fmt: skip
    for name in ("stillhouse", *(p for p in peers if p in ("datatrove", "openai"))):
        for _ in range(rounds):
            both = []
            for count in (1, rows):
                mock.set(latency_ms=2000, jitter_ms=500, bytes=40000)
                with watched(mock) as span:
                    both.append(ours(mock, count, 1024) if name == "stillhouse" else
                                theirs(name, peers[name], mock, count, 1024))  # fmt: skip
            one, many = both
            work, asking = many["wall"] - max(0.0, one["wall"] - 2.0), span[1] - span[0]
            print(f"{name:12}{many['wall']:>9.1f}{asking:>9.1f}{asking / ideal:>9.2f}x{work:>15.1f}"
                  f"{work / ideal:>9.2f}x{many['cpu']:>8.1f}{many['peak_rss_mb']:>8.0f}{many['peak_pss_mb']:>8.0f}"
                  f"{mock.stats()['max_inflight']:>16,}{many['delivered']:>11,}", flush=True)  # fmt: skip
    mock.set()


@contextmanager
def watched(mock: Mock) -> Iterator[list[float]]:
    """Seconds at which the first request came and the last whole reply went, as the mock saw them (to 50 ms)."""
    span, over = [0.0, 0.0], threading.Event()

    def watch() -> None:
        paid = 0
        while not over.wait(0.05):
            stats, now = mock.stats(), time.monotonic()
            span[0] = span[0] or now * bool(stats["requests"])
            if stats["ok"] > paid:
                span[1], paid = now, stats["ok"]

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield span
    finally:
        over.set()
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mock", help="address of a mock endpoint; ours is started without it")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help="a peer's interpreter")
    parser.add_argument("--only", nargs="+", choices=("fast", "long", "start", "faults", "kills"))
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--replies", type=int, default=1_000_000)
    given = parser.parse_args()
    found = dict(one.split("=", 1) for one in given.peer)
    peers = {name: found[name] for name in PEERS if name in found and Path(found[name]).exists()}
    missing = [name for name in PEERS if name not in peers]
    if missing:
        print(f"missing, so not measured: {', '.join(missing)}")
    chosen = given.only or ("fast", "long", "start", "faults", "kills")
    with mock_at(given.mock) as mock:
        if "fast" in chosen:
            fast(mock, peers, rows=given.rows, rounds=given.rounds)
        if "long" in chosen:
            long(mock, peers, rows=5000, rounds=given.rounds)
        if "start" in chosen:
            from generation_start import start

            start(mock, given.replies)
        if "faults" in chosen:
            from generation_faults import faults

            faults(mock, rows=1000)
        if "kills" in chosen:
            from generation_faults import kills

            kills(mock, given.kills)


if __name__ == "__main__":
    main()
