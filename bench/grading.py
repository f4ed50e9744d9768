"""The time that grading takes for the paper's load of a student, 8,512 generations: 5,840 of math and 2,672 of code.

    python bench/grading.py [--math 400] [--code 60] [--tests 40] [--workers 2]

Math: the labelled pairs of tests/verifiers/math/cases.jsonl behind a long thought, through killable workers. Code:
small programs with --tests tests each by LiveCodeBench's rules (all tests, 6 s, a failing test stops the item), half of
them right, so that all of their tests are run. Prints rates and the extrapolated time; a program that runs into its
6 seconds is not among them: one such test costs as much as 200 others, and the table says what a share of them adds.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stillhouse.records import Message, Part, Query, Response
from stillhouse.workers import WorkerPool

CASES = Path(__file__).resolve().parent.parent / "tests" / "verifiers" / "math" / "cases.jsonl"
MATH, CODE = 2 * 30 * 64 + 500 * 4, 167 * 16
THOUGHT = "We try a value, see that it does not hold, and go back to where we were. " * 800  # about 12,000 tokens
LIMIT = 6.0


def math_pairs(count: int) -> list[tuple[Query, Response]]:
    rows = [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if str(row["group"]).startswith("ordinary")]
    random.Random(1).shuffle(rows)
    pairs = []
    for row in (rows * (count // len(rows) + 1))[:count]:
        query = Query((Message("user", "?"),), "math", ground_truth=str(row["reference"]))
        text = f"<think>{THOUGHT}</think><answer>The answer is $\\boxed{{{row['answer']}}}$.</answer>"
        pairs.append((query, Response("k", query.key, "t", text)))
    return pairs


def code_pairs(count: int, tests: int) -> list[tuple[Query, Response]]:
    numbers = random.Random(2)
    pairs = []
    for place in range(count):
        values = [[numbers.randrange(1000) for _ in range(20)] for _ in range(tests)]
        case = {"call_type": "std", "inputs": [" ".join(map(str, v)) + "\n" for v in values],
                "outputs": [f"{sum(sorted(v)[:3])}\n" for v in values]}  # fmt: skip
        wrong = "" if place % 2 == 0 else "\nif numbers[0] % 3 == 0:\n    total += 1"
        code = f"numbers = list(map(int, input().split()))\ntotal = sum(sorted(numbers)[:3]){wrong}\nprint(total)"
        query = Query((Message("user", f"problem {place}"),), "code", id=str(place), test_case=case)
        pairs.append((query, Response(f"k{place}", query.key, "t", f"<think>{THOUGHT}</think>```python\n{code}\n```")))
    return pairs


def rate(part: Part, pairs: Iterable[Any], workers: int, deadline: float) -> tuple[float, int]:
    """Items a second of wall clock, and how many had no verdict; the workers are warm."""
    held = list(pairs)
    with WorkerPool({"it": part}, workers=workers) as pool:
        list(pool.imap("it", "__call__", held[: 2 * workers], deadline=deadline))
        began = time.perf_counter()
        made = list(pool.imap("it", "__call__", held, deadline=deadline))
        seconds = time.perf_counter() - began
    return len(held) / seconds, sum(isinstance(one, Exception) for one in made)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--math", type=int, default=400)
    options.add_argument("--code", type=int, default=60)
    options.add_argument("--tests", type=int, default=40)
    options.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = options.parse_args()
    logging.disable(logging.CRITICAL)
    code = Part("stillhouse.verifiers.code:Code", {"tests": 1000, "python_timeout": LIMIT, "stop_early": True})
    math_rate, lost = rate(Part("stillhouse.verifiers.math:Math"), math_pairs(given.math), given.workers, 3.0)
    first = MATH / math_rate / 60
    print(f"math {math_rate:8.1f} replies/s, {lost} without a verdict; {MATH:,} take {first:.1f} minutes")
    live = Part("stillhouse.benchmarks.livecodebench:LiveCode", {"code": code})
    code_rate, lost = rate(live, code_pairs(given.code, given.tests), given.workers, 600.0)
    minutes = CODE / code_rate / 60
    print(f"code {code_rate:8.1f} replies/s of {given.tests} tests, {lost} without a verdict; {CODE:,} take "
          f"{minutes:.1f} minutes")  # fmt: skip
    print(f"8,512 generations: {first + minutes:.1f} minutes on {given.workers} workers")
    for share in (0.05, 0.2):
        more = share * CODE * LIMIT / given.workers / 60
        print(f"  where {share:.0%} of the programs run into the limit of {LIMIT:g} s: {more:.1f} minutes more")


if __name__ == "__main__":
    main()
