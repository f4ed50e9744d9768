"""What `compare` promises, measured: coverage of its intervals, false positives of its families, and its speed.

    python bench/compare.py coverage      the written grid of docs/statistics.md, about twenty minutes
    python bench/compare.py families      1,000 experiments without any difference
    python bench/compare.py speed         3 x 100,000 records in JSONL, about 1 GB
Seed 1 throughout, not searched. `--small` is about what the tests run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.stats import families, means, rates, ratios

SIZES = (30, 200, 2000)
PROBABILITIES = (0.02, 0.1, 0.5, 0.9, 0.98)
SIGMAS = (0.5, 1.0)
UNKNOWN = (0.0, 0.1)
PROMISED = ("single rate", "paired rates", "paired mean difference", "paired cost ratio")
Floats = Any


# -- coverage ---------------------------------------------------------------------------------------------------


def coverage(experiments: int, rate_experiments: int, sizes: tuple[int, ...] = SIZES) -> Iterator[dict[str, Any]]:
    """One row a cell: kind, n, what it was made with, coverage of the 95 % interval, and how many gave none."""
    random = np.random.default_rng(1)
    for n in sizes:
        for unknown in UNKNOWN:
            yield from _rates(random, n, unknown, rate_experiments)
        for sigma in SIGMAS:
            yield from _lengths(random, n, sigma, experiments)
            yield from _costs(random, n, sigma, experiments)


def _rates(random: np.random.Generator, n: int, unknown: float, experiments: int) -> Iterator[dict[str, Any]]:
    for p in PROBABILITIES:
        judged = random.binomial(n, 1 - unknown, experiments)
        passed = random.binomial(judged, p)
        found = [rates.wilson(int(s), int(m)) for s, m in zip(passed, judged, strict=True)]
        yield _row("single rate", n, {"p": p, "unknown": unknown}, found, p, events=n * min(p, 1 - p))
        for gap in (0.0, 0.05):
            q = p + gap if p + gap < 1 else p - gap
            both = min(p * q + 0.4 * np.sqrt(p * (1 - p) * q * (1 - q)), p, q)
            cells = [both, p - both, q - both]
            pairs = random.binomial(n, (1 - unknown) ** 2, experiments)
            drawn = np.array([random.multinomial(m, [*cells, max(0.0, 1 - sum(cells))]) for m in pairs])
            low, high = rates.paired_rates_many(drawn[:, 1], drawn[:, 2], np.maximum(pairs, 1))
            made = {"p": p, "q": round(q, 2), "unknown": unknown}
            limits = list(zip(low, high, strict=True))
            yield _row("paired rates", n, made, limits, p - q, events=n * (cells[1] + cells[2]))


def _lengths(random: np.random.Generator, n: int, sigma: float, experiments: int) -> Iterator[dict[str, Any]]:
    """Log-normal lengths whose logarithms share 36 % of their variance: the query's difficulty."""
    for ratio in (1.0, 1.2):
        differences, singles, shares = [], [], []
        for seed in range(experiments):
            hard = random.normal(0, 0.6 * sigma, n)
            own = random.normal(0, 0.8 * sigma, (2, n))
            a, b = np.exp(hard + own[0]) * ratio, np.exp(hard + own[1])
            differences.append(means.mean_interval(a - b, seed=seed))
            found = ratios.compare_ratios((a, np.ones(n)), (b, np.ones(n)), seed=seed)
            shares.append(found.ratio_limits if found else None)
            if ratio == 1.0:
                singles.append(means.mean_interval(b, seed=seed))
        mean, made = np.exp(sigma**2 / 2), {"sigma": sigma, "ratio": ratio}
        yield _row("paired mean difference", n, made, differences, (ratio - 1) * mean)
        yield _row("ratio of means", n, made, shares, ratio)
        if singles:
            yield _row("single mean", n, {"sigma": sigma}, singles, mean)


def _costs(random: np.random.Generator, n: int, sigma: float, experiments: int) -> Iterator[dict[str, Any]]:
    """Dollars per verified: a query that is not solved costs three times as much, and counts in the money."""
    for p in (0.1, 0.6, 0.9):
        singles, gaps, shares = [], [], []
        for seed in range(experiments):
            a, b = (_cost(random, n, sigma, p, base) for base in (1.2, 1.0))
            singles.append(means.ratio_interval(*b, seed=seed))
            found = ratios.compare_ratios(a, b, seed=seed)
            gaps.append(found.limits if found else None)
            shares.append(found.ratio_limits if found else None)
        true = np.exp(sigma**2 / 2) * (p + (1 - p) * 3) / p
        made, events = {"sigma": sigma, "p": p}, n * min(p, 1 - p)
        yield _row("cost per verified", n, made, singles, true, events=events)
        yield _row("paired cost difference", n, made, gaps, 0.2 * true, events=events)
        yield _row("paired cost ratio", n, made, shares, 1.2, events=events)


def _cost(random: np.random.Generator, n: int, sigma: float, p: float, base: float) -> tuple[Floats, Floats]:
    won = (random.random(n) < p).astype(float)
    return base * np.exp(random.normal(0, sigma, n)) * np.where(won > 0, 1, 3), won


def _row(
    kind: str, n: int, made: dict[str, float], found: list[Any], true: float, events: float | None = None
) -> dict[str, Any]:
    known = [limits for limits in found if limits is not None]
    hits = sum(low - 1e-9 <= true <= high + 1e-9 for low, high in known)
    return {
        "kind": kind, "n": n, **made, "coverage": hits / len(known) if known else None,
        "none": len(found) - len(known), "experiments": len(found), "events": events,
    }  # fmt: skip


def promised(row: dict[str, Any]) -> bool:
    """Whether docs/statistics.md promises 93-97 % for this cell; the other cells state what they have."""
    return bool(row["n"] >= 200 and (row["events"] is None or row["events"] >= 10) and row["kind"] in PROMISED)


# -- families ---------------------------------------------------------------------------------------------------


def false_positives(experiments: int, n: int, *, uneven: bool, permutations: int = 999) -> dict[str, Any]:
    """How often the primary family of three teachers without any difference finds one. uneven: their lengths differ
    in spread, though not in the mean."""
    random = np.random.default_rng(1)
    found = 0
    for seed in range(experiments):
        teachers = [_teacher(random, n, 0.3 + 0.35 * place * uneven) for place in range(3)]
        values: list[float | None] = []
        for a, b in ((0, 1), (0, 2), (1, 2)):
            values += _tests(teachers[a], teachers[b], seed, permutations)
        found += any(p is not None and p < 0.05 for p in families.holm(values))
    return {"n": n, "uneven": uneven, "experiments": experiments, "false_positives": found / experiments}


def _teacher(random: np.random.Generator, n: int, sigma: float) -> dict[str, Floats]:
    first = random.random(n) < 0.5
    solved = first | (random.random(n) < 0.6)
    length = np.exp(random.normal(-(sigma**2) / 2, sigma, n))
    return {"first": first, "solved": solved, "length": length, "cost": length * np.where(first, 1, 3)}


def _tests(a: dict[str, Floats], b: dict[str, Floats], seed: int, permutations: int) -> list[float | None]:
    out: list[float | None] = [
        rates.mcnemar(int((a[k] & ~b[k]).sum()), int((b[k] & ~a[k]).sum())) for k in ("first", "solved")
    ]
    out.append(means.sign_flip(a["length"] - b["length"], permutations=permutations, seed=seed))
    sides = [(t["cost"], t["solved"].astype(float)) for t in (a, b)]
    out.append(ratios.swap_ratio(sides[0], sides[1], permutations=permutations, seed=seed))
    return out


# -- speed ------------------------------------------------------------------------------------------------------


def speed(records: int, token_sample: int | None, folder: Path) -> dict[str, Any]:
    """Time and memory of `compare_datasets` over three JSONL files in the published shape, in a process of its own."""
    paths = [folder / f"teacher-{name}.jsonl" for name in "abc"]
    for number, path in enumerate(paths):
        if not path.exists():
            _write_dataset(path, records, number)
    size = sum(path.stat().st_size for path in paths)
    command = [sys.executable, __file__, "_speed", str(folder), str(token_sample or 0)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {"records": 3 * records, "megabytes": round(size / 1e6), **json.loads(done.stdout.splitlines()[-1])}


def _write_dataset(path: Path, records: int, number: int) -> None:
    random = np.random.default_rng(number)
    words = np.array("so we take the sum of these two terms and see that each case is 12 = x".split())  # noqa: SIM905
    with path.open("w", encoding="utf-8") as out:
        for row in range(records):
            thought = " ".join(random.choice(words, int(300 * np.exp(random.normal(0, 0.6)))))
            info = {"source": "made", "category": "math", "ground_truth": str(row), "test_case": None,
                    "instruction_constrain": None}  # fmt: skip
            reply = {"think_content": thought, "answer_content": str(row), "verify_score": 1.0, "ppl": 2.0,
                     "model_name": path.stem}  # fmt: skip
            value = f"<think>{thought}</think><answer>{row}</answer>"
            turns = [{"from": "human", "value": f"What is {row} + 0?", "info": info},
                     {"from": "assistant", "value": value, "info": reply}]  # fmt: skip
            out.write(json.dumps({"system": None, "conversations": turns}) + "\n")


def words_counted(texts: Any) -> list[int]:
    """A tokenizer that costs about nothing, so that the rest is measured."""
    return [text.count(" ") + 1 for text in texts]


def _speed(folder: Path, token_sample: int) -> None:
    from stillhouse.records import Part
    from stillhouse.stages.compare import compare_datasets
    from stillhouse.stages.report import report

    paths = sorted(folder.glob("teacher-*.jsonl"))
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    started = time.perf_counter()
    compare_datasets(
        paths, out, reader=Part("stillhouse.sources.responses:Responses"), tokenizer=words_counted,
        token_sample=token_sample or None,
    )  # fmt: skip
    compared = time.perf_counter() - started
    report(out)
    own, workers = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({
        "token_sample": token_sample or None, "compare_seconds": round(compared, 1),
        "report_seconds": round(time.perf_counter() - started - compared, 1), "peak_mb": round(own / 1024),
        "largest_worker_mb": round(workers / 1024),
    }))  # fmt: skip


# -- command line -----------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("coverage", "families", "speed", "_speed"))
    parser.add_argument("rest", nargs="*")
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args()
    if given.what == "_speed":
        _speed(Path(given.rest[0]), int(given.rest[1]))
    elif given.what == "coverage":
        for row in coverage(100 if given.small else 1000, 1000 if given.small else 10_000):
            outside = promised(row) and not 0.93 <= row["coverage"] <= 0.97
            rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}
            print(json.dumps(rounded), "<-- outside" if outside else "", flush=True)
    elif given.what == "families":
        for n in (30, 200, 1000):
            for uneven in (False, True):
                print(json.dumps(false_positives(50 if given.small else 1000, n, uneven=uneven)), flush=True)
    else:
        with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
            for sample in (None, 20_000):
                print(json.dumps(speed(1000 if given.small else 100_000, sample, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
