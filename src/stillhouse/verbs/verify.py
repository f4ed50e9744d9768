"""`stillhouse verify`: judge a file of responses by itself, in order, on all cores, with bounded memory.

In: rows `{id, category, query | messages, response, ground_truth, test_case, instruction_constrain}`, JSONL or
parquet, or published records. Out: `{id, outcome, score, rule, reason}` per row, in the same order.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhouse.engines.engine import make_engine
from stillhouse.loop import VerifierAt
from stillhouse.pipeline import Outcome
from stillhouse.recipe import dataset_reader, usual_verifiers
from stillhouse.records import CATEGORIES, Part, UserMistake, Verdict, content_hash
from stillhouse.verbs.judging import in_order, verdict_of
from stillhouse.verbs.verify_engine import judged_by
from stillhouse.verbs.verify_output import Output, check_output
from stillhouse.verbs.verify_progress import Progress
from stillhouse.workers import WorkerPool


def verify(
    source: Path,
    out: Path | None,
    *,
    diff: bool = False,
    adopt: bool = False,
    category: str | None = None,
    workers: int | None = None,
    engine: str | None = None,
    quiet: bool = False,
) -> Outcome:
    """`stillhouse verify IN --out OUT`, or `RUN [--diff] [--adopt]`. Exit code 4 when a verdict is unknown.

    category: of the rows that name none. Raises UserMistake with every broken row, before anything is judged.
    """
    if workers is not None and workers < 1:
        raise UserMistake(f"--workers {workers}: one at least")
    if (source / "recipe.yaml").is_file():
        from stillhouse.verbs.reverify import reverify

        given = [n for n, v in (("--out", out), ("--category", category), ("--engine", engine)) if v is not None]
        if given:
            raise UserMistake(f"{' and '.join(given)}: of a file, and {source} is a run: its verdicts stay in the run")
        return reverify(source, diff=diff, adopt=adopt, workers=workers, quiet=quiet)
    if not source.exists():
        raise UserMistake(f"{source}: there is no such file, and no run stands there")
    if diff or adopt:
        raise UserMistake("--diff and --adopt are of a run, not of a file")
    if out is None:
        raise UserMistake(f"where to? stillhouse verify {source} --out verdicts.jsonl")
    if category is not None and category not in CATEGORIES:
        raise UserMistake(f"--category {category}: the categories are {', '.join(CATEGORIES)}")
    if engine not in (None, "local", "ray"):
        raise UserMistake(f"--engine {engine}: the engines are local and ray")
    check_output(source, out)
    counts = verify_file(source, out, category=category, workers=workers, engine=engine or "local", quiet=quiet)
    told = ", ".join(f"{outcome} {counts[outcome]}" for outcome in ("pass", "fail", "unknown"))
    lines = [f"{out}: {told}" + (f" ({counts['reused']} judged before)" if counts["reused"] else "")]
    lines += [f"unknown, {rule}: {n}" for rule, n in counts["unknown_rules"].items()]
    return Outcome(str(out), 4 if counts["unknown"] else 0, {"verify": counts}, told=lines)


@dataclass(frozen=True, slots=True)
class Survey:
    """What a first reading of the input found: how many rows, and of which categories."""

    rows: int
    categories: frozenset[str]


def survey(replies: Iterable[Any]) -> Survey:
    """Read all rows once. Raises UserMistake with all that cannot be read, file and line each."""
    rows, silent, categories, first = 0, 0, set(), None
    for reply in replies:
        rows += 1
        categories.add(reply.query.category)
        if reply.problem:
            silent, first = silent + 1, first or reply
    if first is not None and silent == rows:
        raise UserMistake(
            f"{first.query.origin}: no row holds a reply: it is read from `response`, the last turn of the assistant "
            f"in `messages` or `conversations`, or `completion`; this row has {', '.join(map(str, first.row))}"
        )
    return Survey(rows, frozenset(categories))


def verify_file(
    source: Path, out: Path, *, category: str | None = None, workers: int | None = None, engine: str = "local",
    quiet: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Judge every row of a file or folder; the output appears whole or not at all.

    engine: local judges in a pool of this machine, ray in shards on a cluster.
    Returns {"pass", "fail", "unknown", "reused", "unknown_rules"}. reused: rows that an interrupted call had judged.
    """
    part = dataset_reader()
    given = {"path": str(source)} | ({"fallback": category} if category else {})
    reader: Callable[[], Iterator[Any]] = Part(part.path, {**part.settings, **given}).build()
    found = survey(reader())
    parts = {name: verifier for name, verifier in usual_verifiers().items() if name in found.categories}
    at = {name: VerifierAt.of(name, verifier.build()) for name, verifier in parts.items()}
    with Progress(found.rows, quiet=quiet) as progress, Output(out, {n: v.version for n, v in at.items()}) as output:
        try:
            if engine == "local":
                return asyncio.run(_judged(reader(), output, parts, at, workers, progress))
            return _judged_in_shards(reader(), output, parts, engine, workers, progress)
        except (KeyboardInterrupt, asyncio.CancelledError):
            output.flush()
            progress.say(
                f"interrupted: {output.rows:,} of {found.rows:,} rows are judged and kept in {output.partial}; the "
                "same command goes on from there"
            )
            raise KeyboardInterrupt from None


async def _judged(
    replies: Iterator[Any],
    output: Output,
    parts: Mapping[str, Part],
    at: Mapping[str, VerifierAt],
    workers: int | None,
    progress: Progress,
) -> dict[str, Any]:
    counts: Counter[str] = Counter({"pass": 0, "fail": 0, "unknown": 0})
    rules: Counter[str] = Counter()
    left = _not_judged_before(replies, output, counts, progress)
    with contextlib.ExitStack() as stack:
        pool: WorkerPool | None = None
        if parts:
            pool = stack.enter_context(WorkerPool(parts, workers=workers or max(1, os.cpu_count() or 2)))

        async def judge(item: tuple[str, Any]) -> Verdict:
            reply = item[1]
            if reply.problem:
                return Verdict.unknown("no_response", reply.problem)
            if pool is None:
                return await verdict_of(_NO_POOL, at, reply.query, reply.response)
            return await verdict_of(pool, at, reply.query, reply.response)

        async with contextlib.aclosing(in_order(left, judge, _characters)) as judged:
            async for (of, reply), verdict in judged:
                output.add(of, reply.query.id, verdict)
                counts[verdict.outcome] += 1
                if verdict.outcome == "unknown":
                    rules[verdict.rule] += 1
                progress.advance(output.rows, counts)
    return {**counts, "reused": output.reused, "unknown_rules": dict(rules.most_common())}


def _judged_in_shards(
    replies: Iterator[Any], output: Output, parts: Mapping[str, Part], engine: str, workers: int | None,
    progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    counts: Counter[str] = Counter({"pass": 0, "fail": 0, "unknown": 0})
    rules: Counter[str] = Counter()
    names: deque[str] = deque()

    def left() -> Iterator[Any]:
        for of, reply in _not_judged_before(replies, output, counts, progress):
            names.append(of)
            yield reply

    with make_engine(engine, workers=workers) as made:
        for reply, verdict in judged_by(made, left(), parts):
            output.add(names.popleft(), reply.query.id, verdict)
            counts[verdict.outcome] += 1
            if verdict.outcome == "unknown":
                rules[verdict.rule] += 1
            progress.advance(output.rows, counts)
    return {**counts, "reused": output.reused, "unknown_rules": dict(rules.most_common())}


_NO_POOL: Any = None  # never called: without parts no category has a verifier


def _not_judged_before(
    replies: Iterator[Any], output: Output, counts: Counter[str], progress: Progress
) -> Iterator[tuple[str, Any]]:
    """The rows that remain, with their hashes; those before them stand in the partial output."""
    for reply in replies:
        of = content_hash(
            reply.query.category, reply.query.key, reply.query.reference, reply.response.key,
            reply.response.finish_reason, reply.query.id or "",
        )  # fmt: skip
        outcome = output.known(of)
        if outcome is None:
            yield of, reply
        else:
            counts[outcome] += 1
            progress.advance(output.rows, counts)


def _characters(item: tuple[str, Any]) -> int:
    reply = item[1]
    size = len(reply.response.text) + len(reply.response.reasoning or "")
    return size + sum(len(message.content) for message in reply.query.messages)
