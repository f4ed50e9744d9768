"""`stillhouse verify IN --engine ray`: rows are judged as shards of an engine, each by a worker pool where it runs.

In: replies in any number, verifiers, an engine. Out: each with its verdict, in order. What is drawn ahead is a few
shards; the rows travel with the shard, so only the machine that reads them needs the file.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stillhouse.engines.engine import Engine
from stillhouse.loop import VerifierAt
from stillhouse.records import Part, Query, Response, Verdict
from stillhouse.verbs.judging import in_order, verdict_of
from stillhouse.workers import WorkerPool

SHARD_ROWS = 2048  # a shard pays once for the start of its pool
SHARD_CHARACTERS = 24_000_000

Row = tuple[Query, Response, str]


@dataclass(frozen=True, slots=True)
class JudgeRows:
    """Callable of the engine: verdicts of (query, response, what is wrong with the row), in order."""

    parts: Mapping[str, Part]

    def __call__(self, rows: list[Row]) -> list[Verdict]:
        return asyncio.run(self._judged(rows))

    async def _judged(self, rows: list[Row]) -> list[Verdict]:
        wanted = {query.category for query, _, _ in rows}
        parts = {name: part for name, part in self.parts.items() if name in wanted}
        at = {name: VerifierAt.of(name, part.build()) for name, part in parts.items()}
        none: Any = None  # never called: without parts no category has a verifier
        pool = WorkerPool(parts, workers=1) if parts else none
        try:

            async def judge(row: Row) -> Verdict:
                query, response, problem = row
                if problem:
                    return Verdict.unknown("no_response", problem)
                return await verdict_of(pool, at, query, response)

            return [verdict async for _, verdict in in_order(iter(rows), judge, lambda row: len(row[1].text))]
        finally:
            if pool is not None:
                pool.close()


def judged_by(engine: Engine, replies: Iterator[Any], parts: Mapping[str, Part]) -> Iterator[tuple[Any, Verdict]]:
    """Each reply with its verdict, in order. replies: records of the dataset reader."""
    drawn: deque[list[Any]] = deque()

    def shards() -> Iterator[list[Row]]:
        shard: list[Any] = []
        size = 0
        for reply in replies:
            shard.append(reply)
            size += len(reply.response.text) + len(reply.response.reasoning or "") + len(reply.query.text)
            if len(shard) >= SHARD_ROWS or size >= SHARD_CHARACTERS:
                drawn.append(shard)
                yield [(one.query, one.response, one.problem) for one in shard]
                shard, size = [], 0
        if shard:
            drawn.append(shard)
            yield [(one.query, one.response, one.problem) for one in shard]

    for verdicts in engine.imap(JudgeRows(dict(parts)), shards()):
        yield from zip(drawn.popleft(), verdicts, strict=True)
