"""What curate costs from 10,000 to 1,000,000 queries (10,000,000 with --rows), and filter a response: CPU and memory.

    python bench/scale.py                      # the curve of docs/scale.md
    python bench/scale.py --rows 10000000      # one size
    python bench/scale.py --rows 200000 --workers 1 2 --engine local ray
    python bench/scale.py --responses 2000 8000     # the filter stage, responses of 3,000 words

Rows are 60-word questions over a Zipf vocabulary, in JSONL files of 50,000; 4 % are exact and 4 % near copies, 0.1 %
hold 14 words of a benchmark item. All of curate but embeddings and the gold self-check runs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from stillhouse.engines.engine import make_engine
from stillhouse.records import Message, Part, Query, Response, TeacherSpec
from stillhouse.stages.curate import curate
from stillhouse.stages.filter import filter as filter_responses
from stillhouse.store.run import Run
from stillhouse.store.tables import QUERIES, RESPONSES, TableWriter, query_to_row, response_to_row, write_rows

FILES = "stillhouse.sources.files:Files"
WORDS = 60
FILE_ROWS, MILLION = 50_000, 1_000_000
_NO_DIGITS = str.maketrans("0123456789", "ghijklmnop")
RESPONSE_FILTERS = ("structure:structure", "length:Length", "repetition:back_to_back")
ACCEPTED = pa.schema([*RESPONSES, pa.field("verify_score", pa.float64()), pa.field("verify_rule", pa.string())])
FILTERS = ("oversized", "odd_characters", "incomplete", "url", "table", "image")


def vocabulary(random: np.random.Generator, size: int = 50_000) -> list[str]:
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    weights = 1 / np.arange(1, 27) ** 0.7
    made = {
        "".join(random.choice(letters, length, p=weights / weights.sum()))
        for length in random.integers(3, 10, 2 * size)
    }
    return sorted(made)[:size]


def write_corpus(folder: Path, rows: int, seed: int = 7) -> tuple[Path, Path, dict[str, int]]:
    """A folder of JSONL files of questions and a file of benchmark items; returns them and what was planted. Above a
    million rows the first million is repeated with other letters for its letters, so that no word is the same."""
    if rows > MILLION:
        return _repeated(folder, rows, *write_corpus(folder, MILLION, seed))
    random = np.random.default_rng(seed)
    words = np.array(vocabulary(random), object)
    weights = 1 / np.arange(1, len(words) + 1) ** 0.9
    chances = np.cumsum(weights / weights.sum())
    random.shuffle(words)

    def texts(count: int) -> np.ndarray:
        return words[np.minimum(np.searchsorted(chances, random.random((count, WORDS))), len(words) - 1)]

    exam = texts(1000)
    planted = {"duplicate": 0, "near_duplicate": 0, "benchmark": 0}
    queries, items = folder / f"queries-{rows}", folder / "exam.jsonl"
    noted = folder / f"planted-{rows}.json"
    if noted.exists():
        return queries, items, json.loads(noted.read_text())
    queries.mkdir()
    with items.open("w") as out:
        out.writelines(json.dumps({"query": " ".join(item), "category": "math"}) + "\n" for item in exam)
    former = exam
    for start in range(0, rows, 10_000):
        with (queries / f"{start // FILE_ROWS:05d}.jsonl").open("a") as out:
            block = texts(min(10_000, rows - start))
            kinds = random.random(len(block))
            lines = []
            for i, (row, kind) in enumerate(zip(block, kinds, strict=True)):
                if start and kind < 0.04:
                    row = former[i % len(former)]
                    planted["duplicate"] += 1
                elif start and kind < 0.08:
                    row = former[i % len(former)].copy()
                    row[WORDS - 1] = f"otherwise{random.integers(0, 1 << 40):x}".translate(_NO_DIGITS)
                    planted["near_duplicate"] += 1
                elif 0.08 <= kind < 0.081:
                    at = i % 40
                    row[at : at + 14] = exam[i % 1000][at : at + 14]
                    planted["benchmark"] += 1
                lines.append(json.dumps({"id": str(start + i), "query": " ".join(row) + "?"}) + "\n")
            out.writelines(lines)
        former = block[kinds >= 0.081] if start == 0 else former
    noted.write_text(json.dumps(planted))
    return queries, items, planted


def _repeated(
    folder: Path, rows: int, million: Path, items: Path, planted: dict[str, int]
) -> tuple[Path, Path, dict[str, int]]:
    queries, copies = folder / f"queries-{rows}", rows // MILLION
    queries.mkdir(exist_ok=True)
    letters = "abcdefghijklmnopqrstuvwxyz"
    for copy in range(copies):
        moved = letters[copy:] + letters[:copy]
        table = bytes.maketrans(letters.encode(), moved.encode())
        for file in sorted(million.iterdir()):
            out = queries / f"{copy:03d}-{file.name}"
            if out.exists():
                continue
            cells = (line.partition(b'"query": "') for line in file.read_bytes().splitlines())
            out.write_bytes(b"".join(head + mark + text.translate(table) + b"\n" for head, mark, text in cells))
    return queries, items, {name: n * (copies if name != "benchmark" else 1) for name, n in planted.items()}


class Memory(threading.Thread):
    """Peak of the proportional memory of this process and its children, megabytes, sampled every 0.2 seconds."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self._done = 0.0, threading.Event()

    def run(self) -> None:
        while not self._done.wait(0.2):
            self.peak = max(self.peak, sum(_private(pid) for pid in _family(os.getpid())) / 1024)

    def end(self) -> float:
        self._done.set()
        self.join()
        return self.peak


def _family(pid: int) -> list[int]:
    found = [pid]
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += _family(int(child))
    except OSError:
        pass
    return found


def _private(pid: int) -> int:
    """Anonymous memory in kB: mapped files are the page cache's, which gives them back."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def measure(queries: Path, items: Path, rows: int, workers: int, engine: str, out: Path) -> dict[str, float]:
    source = Part(FILES, {"path": str(queries), "category": "math", "source": "made"})
    exam = Part(FILES, {"path": str(items), "category": "math", "source": "exam"})
    filters = [Part(f"stillhouse.filters.query_text:{name}") for name in FILTERS]
    shutil.rmtree(out, ignore_errors=True)
    with make_engine(engine, workers=workers) as made, Run(out) as run:
        list(made.imap(_warm, range(2 * workers)))
        before, started, own = _cpu(made), time.monotonic(), time.process_time()
        memory = Memory()
        memory.start()
        counts = curate(run, sources=[source], filters=filters, avoid=[("exam", exam)], engine=made)
        seconds, peak = time.monotonic() - started, memory.end()
        cpu, own = _cpu(made) - before, time.process_time() - own
    # what two cores can gain at most: the driver's own work does not spread
    gain = cpu / (own + (cpu - own) / 2) if workers > 1 else 1.0
    measured = {"rows": rows, "workers": workers, "seconds": seconds, "cpu": cpu, "gain": gain, "peak_mb": peak}
    return measured | counts["rules"]


def measure_filter(rows: int, workers: int, out: Path) -> dict[str, float]:
    """The filter stage over `rows` responses of 3,000 words; a twentieth of them holds one of 20 boilerplates."""
    random = np.random.default_rng(3)
    words = np.array(vocabulary(random), object)
    boilerplates = [" ".join(words[random.integers(0, len(words), 800)]) for _ in range(20)]
    shutil.rmtree(out, ignore_errors=True)
    with make_engine("local", workers=workers) as engine, Run(out) as run:
        queries = [Query((Message("user", f"Question number {n}?"),), "other") for n in range(rows)]
        queries.sort(key=lambda query: query.key)
        write_rows(run.queries / "kept.parquet", map(query_to_row, queries), QUERIES)
        run.responses.mkdir()
        with TableWriter(run.responses / "accepted-t.parquet", ACCEPTED) as table:
            for n, query in enumerate(queries):
                text = " ".join(words[random.integers(0, len(words), 3000)])
                text = f"{boilerplates[n % 20]} {text[:12_000]}" if n % 20 == 0 else text
                response = Response(f"{n:032x}", query.key, "t", f"<think>{text}</think><answer>4</answer>")
                table.add(response_to_row(response) | {"verify_score": 1.0, "verify_rule": "math"})
        list(engine.imap(_warm, range(2 * workers)))
        before, started = _cpu(engine), time.monotonic()
        memory = Memory()
        memory.start()
        filters = [Part(f"stillhouse.filters.{name}") for name in RESPONSE_FILTERS]
        corpus = [Part("stillhouse.filters.ngrams:RepeatedNgrams")]
        teachers = [TeacherSpec("t", Part("none:none"))]
        counts = filter_responses(run, teachers=teachers, filters=filters, corpus=corpus, engine=engine)["t"]
        seconds, peak = time.monotonic() - started, memory.end()
        cpu = _cpu(engine) - before
    return {"seconds": seconds, "cpu": cpu, "peak_mb": peak, "dropped": counts["dropped"]}


def _warm(number: int) -> None:
    """Curate a few rows in this worker, so that imports and compiled code are not measured: they are paid once."""
    import stillhouse.filters.ngrams
    import stillhouse.filters.repetition  # noqa: F401

    with tempfile.TemporaryDirectory() as folder, Run(Path(folder, "run")) as run, make_engine(workers=1) as engine:
        queries, items = Path(folder, "q.jsonl"), Path(folder, "e.jsonl")
        text = " ".join(f"word{number}x{n}" for n in range(60))
        rows = [text, f"{text} more", f"see https://x.y/{number} here now", f"{number} what is 2 in words?"]
        queries.write_text("".join(json.dumps({"query": row}) + "\n" for row in rows))
        items.write_text(json.dumps({"query": text[:200]}) + "\n")
        source, exam = (Part(FILES, {"path": str(path), "category": "math"}) for path in (queries, items))
        filters = [Part(f"stillhouse.filters.query_text:{name}") for name in FILTERS]
        curate(run, sources=[source], filters=filters, avoid=[("exam", exam)], engine=engine)


def _cpu(_: object) -> float:
    """CPU seconds of this process and of its children that live or have lived."""
    total = time.process_time() + resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    for pid in _family(os.getpid())[1:]:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            continue
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 30_000, 100_000, 300_000, 1_000_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[2])
    parser.add_argument("--engine", nargs="+", default=["local"])
    parser.add_argument("--folder", type=Path, default=None, help="where corpora are made, and stay (default: nowhere)")
    parser.add_argument("--responses", type=int, nargs="+", default=[], help="measure the filter stage instead")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="scale-"))
    folder.mkdir(parents=True, exist_ok=True)
    if given.responses:
        print("responses  workers  seconds  CPU s  rows/CPU s  peak MB  dropped")
        for rows in given.responses:
            for workers in given.workers:
                m = measure_filter(rows, workers, folder / "run")
                print(
                    f"{rows:9,} {workers:8} {m['seconds']:8.1f} {m['cpu']:6.1f} {rows / m['cpu']:11,.0f} "
                    f"{m['peak_mb']:8,.0f} {m['dropped']:8,}",
                    flush=True,
                )
        shutil.rmtree(folder / "run")
        return
    print(
        "engine  workers       rows  seconds  CPU s  rows/CPU s  us/row  peak MB  gain of 2 cores  found (planted)",
        flush=True,
    )
    try:
        for rows in given.rows:
            queries, items, planted = write_corpus(folder, rows)
            for engine in given.engine:
                for workers in given.workers:
                    m = measure(queries, items, rows, workers, engine, folder / "run")
                    found = ", ".join(
                        f"{name} {m.get(name if name != 'benchmark' else 'benchmark_ngram', 0):.0f} ({count})"
                        for name, count in planted.items()
                    )
                    print(
                        f"{engine:6} {workers:8} {rows:10,} {m['seconds']:8.1f} {m['cpu']:6.1f} "
                        f"{rows / m['cpu']:11,.0f} {1e6 * m['cpu'] / rows:7.1f} "
                        f"{m['peak_mb']:8,.0f} {m['gain']:16.2f}  {found}",
                        flush=True,
                    )
            if given.folder is None and rows != MILLION:  # larger ones are made from the million
                shutil.rmtree(queries)
    finally:
        if given.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
