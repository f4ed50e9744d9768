"""How long a run takes to begin over a journal of a million replies, and how much memory.

In: a mock endpoint, a number of replies. Out: a line: seconds until the first request of the run that goes on, and peak
memory. The folder is real: kept queries, intents and replies in checksummed segments with indexes, a verdict each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SEGMENT_ROWS, FRAME_ROWS, OPEN = 100_000, 400, 1000


def start(mock: Any, replies: int) -> None:
    """All but a thousand pairs are verified; the run that goes on asks those."""
    with tempfile.TemporaryDirectory() as name:
        print(f"\nstart over a journal of {replies:,} replies (and as many intents)\n", flush=True)
        began = time.monotonic()
        run = _lay(Path(name), mock, replies)
        size = sum(f.stat().st_size for f in run.rglob("*") if f.is_file())
        print(f"  the folder: {size / 1e9:.2f} GB, made in {time.monotonic() - began:.0f} s", flush=True)
        mock.set()
        out = Path(name) / "measured.json"
        measure = [sys.executable, str(Path(__file__).with_name("generation_measure.py")), str(out), "--"]
        began = time.monotonic()
        with (Path(name) / "log.txt").open("wb") as log:
            command = [*measure, sys.executable, "-m", "stillhouse", "distill", str(run), "--json"]
            with subprocess.Popen(command, stdout=log, stderr=log) as child:
                while mock.stats()["requests"] == 0 and child.poll() is None:
                    time.sleep(0.05)
                first, peak = time.monotonic() - began, _peak_mb(child.pid)
        told = json.loads(out.read_text())
        print(f"  first request after {first:.1f} s (target 10), peak memory until then {peak:.0f} MB of the largest "
              "process (target 500)")  # fmt: skip
        print(f"  to the end {told['wall']:.1f} s, CPU {told['cpu']:.1f} s, peak memory {told['peak_rss_mb']:.0f} MB "
              f"of the largest process, {told['peak_pss_mb']:.0f} MB of all; exit {told['exit']}, asked "
              f"{mock.stats()['requests']:,}", flush=True)  # fmt: skip


def _peak_mb(measurer: int) -> float:
    """The most that the one command under the measurer ever held, of its own process alone."""
    most = 0
    for task in Path(f"/proc/{measurer}/task").iterdir():
        for child in (task / "children").read_text().split():
            status = Path(f"/proc/{child}/status").read_text()
            most = max(most, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")))
    return most / 1024


def _lay(folder: Path, mock: Any, replies: int) -> Path:
    from generation import lay

    from stillhouse.recipe import load_recipe, parts
    from stillhouse.records import Message, Query, Response, Verdict
    from stillhouse.store.entries import intent_line, reply_line
    from stillhouse.store.frames import FrameEncoder
    from stillhouse.store.rows import Packer, SegmentRows, placed, write_index
    from stillhouse.store.segments import SEGMENT, new_segment_name
    from stillhouse.store.tables import QUERIES, VERDICTS, TableWriter, query_to_row, write_rows
    from stillhouse.store.verdicts import VerdictRow
    from stillhouse.verifiers.math import Math

    run = lay(folder, mock, 0, 256)
    made = [
        Query((Message("user", f"Which number stands in this mark? [id:{n}]"),), "math", ground_truth=str(n))
        for n in range(replies + OPEN)
    ]
    made.sort(key=lambda query: query.key)
    write_rows(run / "1-queries" / "kept.parquet", map(query_to_row, made), QUERIES)
    spec = parts(load_recipe(run / "recipe.yaml"), run).teachers[0]
    teacher, version = spec.part.build(), Math.version
    journal, log = run / "2-responses", run / "3-verdicts" / "log"
    journal.mkdir()
    log.mkdir(parents=True)
    with TableWriter(log / f"{new_segment_name('log')}.verdicts.parquet", VERDICTS) as verdicts:
        for start_ in range(0, replies, SEGMENT_ROWS):
            path = journal / f"{new_segment_name('bench')}{SEGMENT}"
            rows, encoder, at = SegmentRows(Packer()), FrameEncoder(os.urandom(8), level=1), 0
            with path.open("wb") as file:
                for begin in range(start_, min(replies, start_ + SEGMENT_ROWS), FRAME_ROWS):
                    lines, packed = list[bytes](), list[bytes]()
                    for query in made[begin : min(begin + FRAME_ROWS, replies, start_ + SEGMENT_ROWS)]:
                        request = teacher.request(query, 1)
                        told: dict[str, Any] = {"retry": 0, "purpose": "distill", "created": time.time()}
                        text = f"<think>{'so we look at it once more. ' * 8}</think>\\boxed{{{query.ground_truth}}}"
                        response = Response(
                            request.key, query.key, spec.name, text, request.prompt, request.identity, 1, None,
                            prompt_tokens=80, completion_tokens=150, cost_usd=0.0002, model="mock",
                            max_tokens=request.max_tokens, created=told["created"],
                        )  # fmt: skip
                        lines += (intent_line(request, **told), reply_line(response, **told))
                        packed += (rows.packer.intent(request, **told), rows.packer.reply(response, **told))
                        row = VerdictRow.of(
                            query, response, Verdict.of(1, 1, "math_exact"), verifier="math", version=version
                        )
                        verdicts.add({name: getattr(row, name) for name in VERDICTS.names})
                    frame = encoder.encode(lines)
                    file.write(frame)
                    for number, row_ in enumerate(packed):
                        rows.packed += placed(row_, at, number)
                    at += len(frame)
            rows.end = at
            write_index(path, rows)
    return run
