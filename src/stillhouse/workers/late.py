"""A WorkerPool that starts when it is first needed. In and out: as pool.WorkerPool.call.

Why: a round of batch requests often has nothing to judge, and where verdicts are plain nearly all are given in the
loop; each process that starts takes a second of CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stillhouse.records import Part
from stillhouse.workers.pool import WorkerPool


class LatePool:
    """Starts at `start`, else one worker with the first call, which keeps nobody waiting."""

    def __init__(self, parts: Mapping[str, Part], workers: int) -> None:
        self._parts, self._workers = parts, workers
        self._pool: WorkerPool | None = None

    def start(self, *, whole: bool) -> None:
        """Now, and wait for the first worker: whole: all of them, else one, and more as work gathers.

        Raises UserMistake or RuntimeError where a part cannot work: before a reply is paid for.
        """
        if self._pool is None:
            self._pool = WorkerPool(self._parts, workers=self._workers, on_demand=not whole)

    async def call(self, part: str, method: str, args: tuple[Any, ...], *, deadline: float, tries: int = 1) -> Any:
        if self._pool is None:
            self._pool = WorkerPool(self._parts, workers=self._workers, on_demand=True, wait=False)
        return await self._pool.call(part, method, args, deadline=deadline, tries=tries)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
