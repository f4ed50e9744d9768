"""`stillhouse verify` of a large file: rows a second, and the peak memory of all its processes together.

    python bench/verify_file.py [--rows 100000] [--workers N]

Rows: tests/verifiers/math/cases.jsonl drawn with a seed, each answer as a reply of about a kilobyte that ends in a box.
Memory: the resident sets of the whole process tree, summed three times a second, so shared pages count more than once.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CASES = ROOT / "tests" / "verifiers" / "math" / "cases.jsonl"


def write_rows(path: Path, count: int) -> None:
    cases = [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]
    draw = random.Random(20250514)
    with path.open("w", encoding="utf-8") as out:
        for number in range(count):
            case = draw.choice(cases)
            thought = "We think of it step by step. " * 40
            reply = f"<think>{thought}</think><answer>So the final answer is $\\boxed{{{case['answer']}}}$.</answer>"
            row = {"id": f"r{number}", "category": "math", "query": f"What is the value, number {number}?",
                   "response": reply, "ground_truth": str(case["reference"])}  # fmt: skip
            out.write(json.dumps(row) + "\n")


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        children.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        left += children.get(found[-1], [])
    return found


def resident(pids: list[int]) -> int:
    """Bytes of all resident sets."""
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):
            continue
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "rows.jsonl"
        write_rows(source, given.rows)
        command = [sys.executable, "-m", "stillhouse", "verify", str(source), "--out", f"{folder}/v.jsonl"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        began, peak = time.monotonic(), 0
        going = subprocess.Popen([*command, "--workers", str(given.workers)], env=environment)
        while going.poll() is None:
            peak = max(peak, resident(tree(going.pid)))
            time.sleep(0.3)
        seconds = time.monotonic() - began
        if going.returncode not in (0, 4):
            sys.exit(f"verify ended with {going.returncode}")
        size = source.stat().st_size / 1e6
        print(f"{given.rows:,} rows, {size:.0f} MB, {given.workers} workers: {seconds:.1f} s, "
              f"{given.rows / seconds:,.0f} rows/s, peak {peak / 1e6:.0f} MB over all processes")  # fmt: skip


if __name__ == "__main__":
    main()
