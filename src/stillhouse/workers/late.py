"""A WorkerPool that starts when it is first needed. In and out: as pool.WorkerPool.call.

Why: a round of batch requests often has nothing to judge, and starting processes takes a second or more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stillhouse.records import Part
from stillhouse.workers.pool import WorkerPool


class LatePool:
    """Starts with its first call, or at `start`."""

    def __init__(self, parts: Mapping[str, Part], workers: int) -> None:
        self._parts, self._workers = parts, workers
        self._pool: WorkerPool | None = None

    def start(self) -> WorkerPool:
        if self._pool is None:
            self._pool = WorkerPool(self._parts, workers=self._workers)
        return self._pool

    async def call(self, part: str, method: str, args: tuple[Any, ...], *, deadline: float, tries: int = 1) -> Any:
        return await self.start().call(part, method, args, deadline=deadline, tries=tries)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
