"""`stillhouse verify`: judge a file of responses by itself, in order, on all cores, with bounded memory.

In: rows `{id, category, query | messages, response, ground_truth, test_case, instruction_constrain}`, JSONL or
parquet, or published records. Out: `{id, outcome, score, rule, reason}` per row, in the same order.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson
import pyarrow as pa

from stillhouse.loop import VerifierAt, structure
from stillhouse.pipeline import Outcome
from stillhouse.recipe import dataset_reader, usual_verifiers
from stillhouse.records import Ask, Part, UserMistake, Verdict
from stillhouse.store.segments import replaced
from stillhouse.store.tables import TableWriter
from stillhouse.workers import WorkerDied, WorkerError, WorkerPool, WorkerTimeout, rule_of

WINDOW = 512  # rows read ahead of the oldest one that is still being judged
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()), pa.field("outcome", pa.string()), pa.field("score", pa.float64()),
        pa.field("rule", pa.string()), pa.field("reason", pa.string()),
    ]
)  # fmt: skip


def verify(source: Path, out: Path | None, *, diff: bool = False, adopt: bool = False, quiet: bool = False) -> Outcome:
    """`stillhouse verify IN --out OUT`, or `RUN [--diff] [--adopt]`. Exit code 4 when a verdict is unknown."""
    if (source / "recipe.yaml").is_file():
        from stillhouse.verbs.reverify import reverify

        return reverify(source, diff=diff, adopt=adopt, quiet=quiet)
    if not source.exists():
        raise UserMistake(f"{source}: there is no such file, and no run stands there")
    if out is None:
        raise UserMistake(f"where to? stillhouse verify {source} --out verdicts.jsonl")
    if diff or adopt:
        raise UserMistake("--diff and --adopt are of a run, not of a file")
    counts = verify_file(source, out)
    told = ", ".join(f"{outcome} {n}" for outcome, n in counts.items())
    return Outcome(str(out), 4 if counts["unknown"] else 0, {"verify": counts}, [], None, None, [f"{out}: {told}"])


def verify_file(source: Path, out: Path, *, workers: int | None = None) -> dict[str, int]:
    """Judge every row of a file or folder; the output appears whole or not at all. Returns counts by outcome."""
    part = dataset_reader()
    reader = Part(part.path, {**part.settings, "path": str(source), "fallback": "unnamed"}).build()
    return asyncio.run(_stream(reader(), out, usual_verifiers(), workers or max(1, os.cpu_count() or 2)))


async def _stream(replies: Iterator[Any], out: Path, verifiers: Mapping[str, Part], workers: int) -> dict[str, int]:
    counts = {"pass": 0, "fail": 0, "unknown": 0}
    at = {name: VerifierAt.of(name, part.build()) for name, part in verifiers.items()}
    with _Writer(out) as writer, WorkerPool(verifiers, workers=workers) as pool:
        waiting: deque[tuple[Any, asyncio.Task[Verdict]]] = deque()
        for reply in itertools.chain(replies, [None]):
            while waiting and (reply is None or len(waiting) >= WINDOW or waiting[0][1].done()):
                first, task = waiting.popleft()
                verdict = await task
                counts[verdict.outcome] += 1
                writer.add({
                    "id": first.query.id, "outcome": verdict.outcome, "score": verdict.score, "rule": verdict.rule,
                    "reason": verdict.reason,
                })  # fmt: skip
            if reply is not None:
                waiting.append((reply, asyncio.ensure_future(_judge(pool, at, reply))))
                await asyncio.sleep(0)
    return counts


async def _judge(pool: WorkerPool, at: Mapping[str, VerifierAt], reply: Any) -> Verdict:
    """One row's verdict: by form, then by its category's verifier; without judges a wish to ask stands as it is."""
    query, response = reply.query, reply.response
    if reply.problem:
        return Verdict("fail", 0.0, "no_response", reply.problem)
    formal = structure(response)
    if formal is not None:
        return formal
    verifier = at.get(query.category)
    if verifier is None:
        return Verdict.unknown("no_verifier", f"no verifier for category {query.category!r}")
    try:
        verdict = await pool.call(verifier.part, "__call__", (query, response), deadline=verifier.deadline, tries=2)
    except (WorkerTimeout, WorkerDied, WorkerError) as error:
        return Verdict.unknown(*rule_of(error))
    return verdict.so_far if isinstance(verdict, Ask) else verdict


class _Writer(AbstractContextManager["_Writer"]):
    """Verdict rows as JSONL, or as parquet where the name says so; whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._parquet = TableWriter(path, SCHEMA) if path.suffix == ".parquet" else None
        self._path = path

    def __enter__(self) -> _Writer:
        if self._parquet is not None:
            self._parquet.__enter__()
        else:
            self._replacing = replaced(self._path)
            self._file = self._replacing.__enter__().open("wb")
        return self

    def add(self, row: Mapping[str, Any]) -> None:
        if self._parquet is not None:
            self._parquet.add(row)
        else:
            self._file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._parquet is not None:
            self._parquet.__exit__(kind, error, trace)
        else:
            self._file.close()
            self._replacing.__exit__(kind, error, trace)
