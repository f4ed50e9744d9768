"""What `compare` promises, measured: coverage of its intervals, false positives of its families, and its speed.

    python bench/compare.py coverage      the written grid of docs/statistics.md
    python bench/compare.py families      1,000 experiments without any difference, through the stage's own pairs
    python bench/compare.py speed         3 x 100,000 records in JSONL, about 1 GB
    python bench/compare.py table FILE    what `coverage` printed, as the table of docs/statistics.md
Seed 1 throughout, not searched: the draws of the experiments, and the resamples, which are the product's own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.comparing.pairs import Effort, margins, primary
from stillhouse.comparing.population import STATES, Population, Side
from stillhouse.stats import means, rates, ratios

SIZES = (30, 200, 2000)
LARGE = 20_000  # more than are resampled one by one: stats.means.grouped
PROBABILITIES = (0.02, 0.1, 0.5, 0.9, 0.98)
SIGMAS = (0.5, 1.0)
UNKNOWN = (0.0, 0.1)
PROMISED = ("single rate", "paired rates", "paired mean difference", "paired cost difference", "paired cost ratio")
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
    if len(sizes) > 1:
        yield from _lengths(random, LARGE, 0.5, experiments)


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
        for _ in range(experiments):
            hard = random.normal(0, 0.6 * sigma, n)
            own = random.normal(0, 0.8 * sigma, (2, n))
            a, b = np.exp(hard + own[0]) * ratio, np.exp(hard + own[1])
            differences.append(means.mean_interval(a - b))
            found = ratios.compare_ratios((a, np.ones(n)), (b, np.ones(n)))
            shares.append(found.ratio_limits if found else None)
            if ratio == 1.0:
                singles.append(means.mean_interval(b))
        mean, made = np.exp(sigma**2 / 2), {"sigma": sigma, "ratio": ratio}
        yield _row("paired mean difference", n, made, differences, (ratio - 1) * mean)
        yield _row("ratio of means", n, made, shares, ratio)
        if singles:
            yield _row("single mean", n, {"sigma": sigma}, singles, mean)


def _costs(random: np.random.Generator, n: int, sigma: float, experiments: int) -> Iterator[dict[str, Any]]:
    """Dollars per verified: a query that is not solved costs three times as much, and counts in the money."""
    for p in (0.1, 0.6, 0.9):
        singles, gaps, shares = [], [], []
        for _ in range(experiments):
            a, b = (_cost(random, n, sigma, p, base) for base in (1.2, 1.0))
            singles.append(means.ratio_interval(*b))
            found = ratios.compare_ratios(a, b)
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
    heavy = "cost" in row["kind"] and row["sigma"] >= 1
    enough = row["n"] >= 200 and (row["events"] is None or row["events"] >= 10)
    return bool(enough and not heavy and row["kind"] in PROMISED)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows of the grid in Markdown: one line a kind and size, the least and the greatest coverage of its cells."""
    groups: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for row in rows:
        few = row["events"] is not None and row["events"] < 10
        heavy = row.get("sigma", 0) >= 1 and row["kind"] not in ("paired mean difference", "ratio of means")
        about = ", fewer than 10 events" if few else ", sigma 1" if heavy else ""
        groups.setdefault((row["kind"], row["n"], about), []).append(row)
    out = ["| interval | queries | cells | coverage, least to greatest | promised 93-97 % |", "|---|---:|---:|---|---|"]
    for (kind, n, about), mine in sorted(groups.items()):
        known = [row["coverage"] for row in mine if row["coverage"] is not None]
        span = f"{100 * min(known):.1f} to {100 * max(known):.1f} %" if known else "none given"
        none = sum(row["none"] for row in mine) / sum(row["experiments"] for row in mine)
        span += f" ({100 * none:.1f} % give none)" if none else ""
        out.append(f"| {kind}{about} | {n:,} | {len(mine)} | {span} | {'yes' if promised(mine[0]) else 'no'} |")
    return "\n".join(out)


# -- families ---------------------------------------------------------------------------------------------------


def false_positives(experiments: int, n: int, *, uneven: bool, unknown: float = 0.05) -> dict[str, Any]:
    """How often the primary family of three teachers without any difference finds one, through the stage's own
    `primary`. uneven: their lengths and costs differ in spread, though not in the mean. unknown: share that waits."""
    random = np.random.default_rng(1)
    found = 0
    for _ in range(experiments):
        hard = random.normal(0, 1, n)
        sides = {name: _side(random, hard, 0.3 + 0.35 * place * uneven, unknown) for place, name in enumerate("abc")}
        made = Population(np.arange(n).astype("S16"), np.zeros(n, np.int16), ("math",), sides)
        rows = primary(made, margins(None), Effort(1, resamples=100, permutations=999))
        found += any(row["holm_p"] is not None and row["holm_p"] < 0.05 for row in rows)
    return {"n": n, "uneven": uneven, "experiments": experiments, "false_positives": found / experiments}


def _side(random: np.random.Generator, hard: Floats, sigma: float, unknown: float) -> Side:
    """A teacher that passes the harder queries more rarely; what it does not solve costs three times as much."""
    n = hard.size
    first = random.normal(0, 1, n) > hard
    solved = first | (random.normal(0, 1, n) > hard)
    waits = random.random(n) < unknown
    made = Side.blank(n)
    made.state[:] = np.where(waits, STATES.index("waiting"), np.where(solved, 0, STATES.index("exhausted")))
    made.first[:] = np.where(waits, -1, first)
    made.first_tokens[:] = np.exp(0.3 * hard + random.normal(-(sigma**2) / 2, sigma, n))
    made.cost[:] = made.first_tokens * np.where(solved, 1, 3)
    made.responses[:] = 1
    made.kept[:] = solved & ~waits
    return made


# -- speed ------------------------------------------------------------------------------------------------------


def speed(records: int, token_sample: int | None, folder: Path) -> dict[str, Any]:
    """Time, CPU and memory of `compare_datasets` over three JSONL files in the published shape, in processes of its
    own. Memory is the largest sum over all of them, looked at ten times a second."""
    paths = [folder / f"teacher-{name}.jsonl" for name in "abc"]
    for number, path in enumerate(paths):
        if not path.exists():
            _write_dataset(path, records, number)
    size = sum(path.stat().st_size for path in paths)
    command = [sys.executable, __file__, "_speed", str(folder), str(token_sample or 0)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        peak, used = 0, dict[int, float]()
        while process.poll() is None:
            resident, seconds = _looked_at(process.pid)
            peak, used = max(peak, resident), used | seconds
            time.sleep(0.1)
        told = process.stdout.read() if process.stdout else ""
    return {"records": 3 * records, "megabytes": round(size / 1e6), **json.loads(told.splitlines()[-1]),
            "cpu_seconds": round(sum(used.values())), "peak_mb": round(peak / 1e6)}  # fmt: skip


def _looked_at(session: int) -> tuple[int, dict[int, float]]:
    """Bytes resident of all processes of a session (what they share is counted once for each), and each one's CPU."""
    resident, used = 0, dict[int, float]()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                resident += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
                used[int(stat.parent.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return resident, used


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
    from stillhouse.recipe import dataset_filters
    from stillhouse.records import Part
    from stillhouse.stages.compare import compare_datasets
    from stillhouse.stages.report import report

    paths = sorted(folder.glob("teacher-*.jsonl"))
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    started = time.perf_counter()
    compare_datasets(
        paths, out, reader=Part("stillhouse.sources.responses:Responses"), tokenizer=words_counted,
        token_sample=token_sample or None, filters=dataset_filters(),
    )  # fmt: skip
    compared = time.perf_counter() - started
    report(out)
    print(json.dumps({
        "token_sample": token_sample or None, "compare_seconds": round(compared, 1),
        "report_seconds": round(time.perf_counter() - started - compared, 1),
    }))  # fmt: skip


# -- command line -----------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("coverage", "families", "speed", "table", "_speed"))
    parser.add_argument("rest", nargs="*")
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args()
    if given.what == "_speed":
        _speed(Path(given.rest[0]), int(given.rest[1]))
    elif given.what == "table":
        lines = Path(given.rest[0]).read_text(encoding="utf-8").splitlines()
        print(table([json.loads(line.partition("}")[0] + "}") for line in lines]))
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
