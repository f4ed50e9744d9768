"""An event loop whose clock jumps to the next timer: hours of waiting pass in milliseconds, always the same way.

In: a coroutine that waits by asyncio alone (no threads, no sockets). Out: its result. For tests and simulations.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Waits for nothing: asked to wait, it moves the clock on by as long."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing is left that could happen: the simulation is stuck")
        self.now += max(0.0, timeout)
        return []


class FakeTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._fake = _Selector()
        super().__init__(self._fake)

    def time(self) -> float:
        return self._fake.now


def simulate(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a clock of its own, which begins at 0."""
    with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
        return runner.run(main)
