"""Math verification beside Math-Verify alone: the same pairs, the same run, one core each, as a ratio.

    python bench/verification.py [--seconds 20] [--pool] [--no-accuracy]

Pairs: tests/verifiers/math/cases.jsonl, in a seeded order, each answer as a reply that ends in a box. Math-Verify
parses the reference in dollar signs and the whole reply, as its users call it, with its own time-outs. Both take turns
of a few seconds, so that a busy machine slows both. Prints one line a subject, the ratio, then accuracy on all rows.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from math_verify import parse, verify  # noqa: E402  the path is set first

from stillhouse.records import Message, Part, Query, Response, Verdict  # noqa: E402  the path is set first
from stillhouse.verifiers.math import Math  # noqa: E402  the path is set first
from stillhouse.workers import WorkerPool  # noqa: E402  the path is set first

CASES = ROOT / "tests" / "verifiers" / "math" / "cases.jsonl"
Pair = tuple[Query, Response]
TURNS = 5


def load() -> tuple[list[dict[str, object]], list[Pair]]:
    """The labelled rows in a seeded order, and each as a query and a reply."""
    rows = [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]
    random.Random(20250514).shuffle(rows)
    pairs = []
    for row in rows:
        query = Query((Message("user", "?"),), "math", ground_truth=str(row["reference"]))
        text = rf"We compute it step by step and find the value. The final answer is $\boxed{{{row['answer']}}}$."
        pairs.append((query, Response("k", query.key, "t", text)))
    return rows, pairs


def ours(pair: Pair) -> bool | None:
    verdict = VERIFIER(*pair)
    assert isinstance(verdict, Verdict)
    return None if verdict.outcome == "unknown" else verdict.outcome == "pass"


def theirs(pair: Pair) -> bool | None:
    query, response = pair
    return bool(verify(parse(f"${query.ground_truth}$"), parse(response.text)))


def take_turns(pairs: list[Pair], seconds: float) -> dict[str, float]:
    """Pairs per CPU second of each subject; each begins every turn where it left off."""
    subjects: dict[str, Callable[[Pair], bool | None]] = {"Math-Verify": theirs, "stillhouse": ours}
    done, spent, at = dict.fromkeys(subjects, 0), dict.fromkeys(subjects, 0.0), dict.fromkeys(subjects, 0)
    for subject in subjects.values():
        subject(pairs[0])  # import and warm
    for _ in range(TURNS):
        for name, subject in subjects.items():
            end = time.perf_counter() + seconds / TURNS
            began = time.process_time()
            while time.perf_counter() < end:
                subject(pairs[at[name] % len(pairs)])
                at[name] += 1
                done[name] += 1
            spent[name] += time.process_time() - began
    return {name: done[name] / spent[name] for name in subjects}


def accuracy(rows: list[dict[str, object]], pairs: list[Pair]) -> None:
    print(f"\n{'rows':24}{'':>6}{'stillhouse':>13}{'Math-Verify':>14}   wrong yes: ours, theirs")
    table: dict[str, list[int]] = {}
    for row, pair in zip(rows, pairs, strict=True):
        group = str(row["group"])
        mine, other = ours(pair), theirs(pair)
        for name in ("ordinary" if group.startswith("ordinary") else "tricky", group):
            line = table.setdefault(name, [0] * 5)
            line[0] += 1
            line[1] += mine is row["label"]
            line[2] += other is row["label"]
            line[3] += bool(mine) and not row["label"]
            line[4] += bool(other) and not row["label"]
    for name in sorted(table, key=lambda one: (one not in ("ordinary", "tricky"), one)):
        n, mine_right, their_right, yes, their_yes = table[name]
        if not name.startswith("ordinary_"):
            shares = f"{mine_right:>6} {mine_right / n:6.1%}{their_right:>7} {their_right / n:6.1%}"
            print(f"{name:24}{n:>6}{shares}   {yes}, {their_yes}")


def through_a_pool(pairs: list[Pair]) -> None:
    with WorkerPool({"math": Part("stillhouse.verifiers.math:Math")}, workers=2) as pool:
        many = pairs * 5
        began = time.perf_counter()
        failed = sum(isinstance(made, Exception) for made in pool.imap("math", "__call__", many, deadline=3.0))
        seconds = time.perf_counter() - began
    print(f"through a pool of 2 workers: {len(many) / seconds:,.0f} pairs/s of wall clock, {failed} stopped")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=20.0, help="of each subject")
    options.add_argument("--pool", action="store_true", help="also through killable workers")
    options.add_argument("--no-accuracy", action="store_true")
    given = options.parse_args()
    logging.disable(logging.CRITICAL)
    rows, pairs = load()
    rates = take_turns(pairs, given.seconds)
    for name, rate in rates.items():
        print(f"{name:24}{rate:>10,.1f} pairs per CPU second")
    print(f"ratio {rates['stillhouse'] / rates['Math-Verify']:.1f}")
    if given.pool:
        through_a_pool(pairs)
    if not given.no_accuracy:
        accuracy(rows, pairs)


VERIFIER = Math()

if __name__ == "__main__":
    main()
