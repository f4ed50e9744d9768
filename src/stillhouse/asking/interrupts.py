"""Ctrl-C while requests are in flight: the first lets them end and be kept, the second stops at once.

In: what drains. Out: KeyboardInterrupt where it was the second.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def first_interrupt_drains(drain: Callable[[], None]) -> Iterator[None]:
    """For the task that enters it, on its event loop; SIGTERM is as good as Ctrl-C."""
    running, task, hits = asyncio.get_running_loop(), asyncio.current_task(), 0

    def on_signal() -> None:
        nonlocal hits
        hits += 1
        if hits == 1:
            drain()
        elif task is not None:
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        running.add_signal_handler(number, on_signal)
    try:
        yield
    except asyncio.CancelledError:
        if hits < 2:
            raise
        raise KeyboardInterrupt from None
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            running.remove_signal_handler(number)
