"""Recall and precision of every rule of curate on a corpus in which each row's fate is known.

    python bench/planted.py                # 20,000 questions and what is planted among them
    python bench/planted.py --rows 5000

Expected are the rules as docs/curate.md states them: the true Jaccard of word 5-shingles is computed here by sets of
Python strings. Beside each kind that must go stand look-alikes that must stay. Embeddings are told apart: what is said
of them depends on the model.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson

from stillhouse.engines.local import Local
from stillhouse.records import Part
from stillhouse.stages.curate import curate
from stillhouse.store.run import Run
from stillhouse.store.tables import read_rows, table_files

RANDOM = random.Random(11)
LETTERS = "etaoinshrdlucmfwyp"
WORDS = ["".join(RANDOM.choice(LETTERS) for _ in range(RANDOM.randint(3, 9))) for _ in range(20_000)]
FILTERS = ("oversized", "odd_characters", "incomplete", "url", "table", "image")
Planted = tuple[str, str, str, str]  # kind, expected rule ("kept" where it must stay), text, reference


def prose(count: int = 60) -> list[str]:
    return RANDOM.choices(WORDS, k=count)


def jaccard(left: list[str], right: list[str]) -> float:
    sets = [{tuple(words[i : i + 5]) for i in range(len(words) - 4)} for words in (left, right)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def edited(words: list[str], edits: int) -> list[str]:
    out = list(words)
    for at in RANDOM.sample(range(len(words)), edits):
        out[at] = RANDOM.choice(WORDS)
    return out


def copies(base: list[str]) -> Iterator[Planted]:
    text = " ".join(base) + "?"
    yield "copy with other white space around it", "duplicate", f"  {text}\n", "7"
    for edits in (1, 2, 3):
        near = edited(base, edits)
        share = jaccard(base, near)
        told = "near copy, Jaccard >= 0.8" if share >= 0.8 else "near copy, Jaccard < 0.8"
        yield told, "near_duplicate" if share >= 0.8 else "kept", " ".join(near) + "?", "7"
    yield "near copy with another reference", "kept", " ".join(edited(base, 1)) + "?", "8"
    yield "near copy with another number", "kept", " ".join([*base[:-1], "12"]) + "?", "7"


def leaks(item: list[str]) -> Iterator[Planted]:
    at = RANDOM.randrange(len(item) - 14)
    words, other = prose(), prose()
    yield "benchmark item in capitals, without marks", "benchmark_equal", " ".join(item).upper(), "7"
    yield "13 words of an item", "benchmark_ngram", " ".join([*words[:20], *item[at : at + 13], *words[40:]]), "7"
    yield "12 words of an item", "kept", " ".join([*other[:20], *item[at : at + 12], *other[39:]]), "7"


def faults() -> Iterator[Planted]:
    text = " ".join(prose(30))
    for kind, rule, made in (
        ("a URL", "url", f"{text} see https://example.com/a?b=1 for it?"),
        ("a host in a sentence", "kept", f"{text} as the firm example.com says?"),
        ("a Markdown table", "table", f"{text}\n| a | b |\n|---|---|\n| 1 | 2 |\nWhich is it?"),
        ("bars of absolute values", "kept", f"{text}\nSolve $|x| + |y| = 3$.\nHow many are there?"),
        ("an image", "image", f"{text} ![plot](a.png) what is it?"),
        ("words that refer to a figure", "image", f"{text} in the figure below, what is it?"),
        ("a figure of speech", "kept", f"{text} the figures add up to 12, is that so?"),
        ("an open formula", "incomplete", f"{text} with \\[ x + y"),
        ("currency", "kept", f"{text} for $5 each, what is the price?"),
        ("an ellipsis at the end", "incomplete", f"{text} and so on..."),
        ("control characters", "odd_characters", f"{text[:60]}" + "\x00\x01" * 4),
        ("Chinese", "kept", f"求方程 x + y = {RANDOM.randrange(10**6)} 的正整数解 {RANDOM.choice(WORDS)}。"),
    ):  # fmt: skip
        yield kind, rule, made, "7"


def corpus(rows: int) -> tuple[list[Planted], list[str]]:
    bases = [prose() for _ in range(rows)]
    items = [prose() for _ in range(max(rows // 50, 20))]
    out: list[Planted] = [("a question of its own", "kept", " ".join(base) + "?", "7") for base in bases]
    for base in bases[:: max(rows // 2000, 1)]:
        out += copies(base)
    for item in items:
        out += leaks(item)
    for _ in range(max(rows // 50, 20)):
        out += faults()
    return out, [" ".join(item) + "." for item in items]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    planted, items = corpus(parser.parse_args().rows)
    with tempfile.TemporaryDirectory() as folder:
        queries, exam = Path(folder, "q.jsonl"), Path(folder, "exam.jsonl")
        lines = [
            {"id": str(n), "query": text, "ground_truth": answer} for n, (_, _, text, answer) in enumerate(planted)
        ]
        queries.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
        exam.write_bytes(b"".join(orjson.dumps({"query": item}) + b"\n" for item in items))
        files = "stillhouse.sources.files:Files"
        with Run(Path(folder, "run")) as run, Local(1) as engine:
            curate(
                run, sources=[Part(files, {"path": str(queries), "category": "math"})],
                filters=[Part(f"stillhouse.filters.query_text:{name}") for name in FILTERS],
                avoid=[("exam", Part(files, {"path": str(exam), "category": "math"}))], engine=engine,
            )  # fmt: skip
            got = dict.fromkeys(range(len(planted)), "lost")
            got |= {int(row["id"]): "kept" for row in read_rows(table_files(run.queries, "kept"))}
            got |= {int(row["id"]): row["rule"] for row in read_rows(table_files(run.queries, "rejected"))}
    tell(planted, got)


def tell(planted: list[Planted], got: dict[int, str]) -> None:
    print("planted                                      rows  must be           as it must be")
    kinds = Counter((kind, rule) for kind, rule, _, _ in planted)
    right = Counter((kind, rule) for n, (kind, rule, _, _) in enumerate(planted) if got[n] == rule)
    for (kind, rule), count in kinds.items():
        print(f"{kind:42} {count:7,}  {rule:16} {right[kind, rule] / count:14.4f}")
    print("\nrule               planted    found    recall  precision")
    for rule in sorted({rule for _, rule, _, _ in planted} | set(got.values())):
        wanted = {n for n, one in enumerate(planted) if one[1] == rule}
        found = {n for n, one in got.items() if one == rule}
        recall = len(wanted & found) / len(wanted) if wanted else float("nan")
        precision = len(wanted & found) / len(found) if found else float("nan")
        print(f"{rule:16} {len(wanted):9,} {len(found):8,} {recall:9.4f} {precision:10.4f}")


if __name__ == "__main__":
    main()
