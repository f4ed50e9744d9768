"""WorkerPool: parts of the shelves in persistent processes that can be killed, for callers of one thread.

In: (part, method, arguments, deadline). Out: what the method returned, or why it could not. Thousands of coroutines
may call at once; a file's items go through `imap` in order, a bounded number at a time.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from stillhouse.records import Part, UserMistake
from stillhouse.workers.boot import Nursery
from stillhouse.workers.crew import AHEAD_JOBS, TICK_SECONDS, Crew, Job


class WorkerPool:
    """Processes that build each part once and run its methods; a context manager.

    parts: name -> Part, built in every worker (`.build()`); its `canary()`, where it has one, is run at each start of a
    worker unless canary=False. memory_mb: address space of one worker (RLIMIT_AS). recycle_after: items after which
    a worker is replaced. Returns when the first worker is ready. Raises UserMistake or RuntimeError, with the
    reason, when a part cannot be built or its canary fails. Use it from one thread, `call` from one loop at a time.
    on_demand: begin one worker, and others when work waits. wait: for the first to be ready; else what is wrong with
    the parts is raised by `call`.
    """

    def __init__(
        self,
        parts: Mapping[str, Part],
        *,
        workers: int,
        memory_mb: int = 2048,
        recycle_after: int = 5000,
        canary: bool = True,
        on_demand: bool = False,
        wait: bool = True,
    ) -> None:
        if workers < 1:
            raise UserMistake(f"workers must be at least 1, not {workers}")
        self._parts = frozenset(parts)
        self._nursery = Nursery(parts, memory_mb=memory_mb, canary=canary)
        self._driver: _Select | _Loop = _Select()
        self._ticking = False
        try:
            at_first = 1 if on_demand else None
            self._crew = Crew(
                self._nursery, self._driver, workers=workers, recycle_after=recycle_after, at_first=at_first
            )
            if wait:
                self._wait_for_one()
        except BaseException:
            self.close()
            raise

    def _wait_for_one(self) -> None:
        """Until a worker has built its parts and passed their canaries. Raises what is wrong with them."""
        assert isinstance(self._driver, _Select)  # noqa: S101  set a few lines above
        while not any(worker.ready for worker in self._crew.workers.values()):
            self._driver.wait(TICK_SECONDS)
            self._crew.tick()
            if self._crew.broken is not None:
                raise self._crew.broken

    async def call(self, part: str, method: str, args: tuple[Any, ...], *, deadline: float, tries: int = 1) -> Any:
        """What `method` of `part` returns for args (all picklable). deadline: seconds of wall clock from its
        start, less the time that a machine too busy did not let its worker run (at most four times the deadline).

        Raises WorkerTimeout, WorkerDied or WorkerError; the first two after `tries` times. method is "__call__" for
        the part itself.
        """
        self._check(part)
        loop = asyncio.get_running_loop()
        self._attach(loop)
        future: asyncio.Future[Job] = loop.create_future()

        def finish(job: Job) -> None:
            if not future.done():
                future.set_result(job)

        job = Job(self._crew.number(), part, method, args, deadline, tries, finish)
        self._crew.submit(job)
        self._soon(loop)
        try:
            await future
        except asyncio.CancelledError:
            job.finish = None  # what is queued is dropped, what runs may end
            raise
        if job.error is not None:
            raise job.error
        return job.value

    def imap(
        self, part: str, method: str, items: Iterable[tuple[Any, ...]], *, deadline: float, tries: int = 1
    ) -> Iterator[Any]:
        """Results in the order of items (tuples of arguments); an item that failed yields its exception.

        Reads ahead a bounded number of items. Not to be used inside an event loop.
        """
        self._check(part)
        driver = self._select()
        source = iter(items)
        window = 2 * AHEAD_JOBS * self._crew.size
        waiting: deque[Job] = deque()
        more = True
        try:
            while True:
                while more and len(waiting) < window:
                    args = next(source, None)
                    if args is None:
                        more = False
                        break
                    job = Job(self._crew.number(), part, method, args, deadline, tries, _nobody)
                    waiting.append(job)
                    self._crew.submit(job)
                if not waiting:
                    return
                self._crew.hand_out()
                self._pump(driver, waiting[0])
                while waiting and waiting[0].done:
                    done = waiting.popleft()
                    yield done.value if done.error is None else self._error(done.error)
        finally:
            for job in waiting:
                job.finish = None

    def _error(self, error: Exception) -> Exception:
        if error is self._crew.broken:  # not of this item: nothing works any more
            raise error
        return error

    def _pump(self, driver: _Select, first: Job) -> None:
        ticked = time.monotonic()
        while not first.done:
            driver.wait(TICK_SECONDS)
            now = time.monotonic()
            if now - ticked >= TICK_SECONDS:
                ticked = now
                self._crew.tick()

    def close(self) -> None:
        """End the workers and wait for them; jobs that run are lost. Idempotent."""
        if hasattr(self, "_crew"):
            self._crew.close()
        self._nursery.close()
        self._driver.close()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- who watches the sockets ----
    def _check(self, part: str) -> None:
        if part not in self._parts:
            raise KeyError(f"no part {part!r} in this pool; it has {sorted(self._parts)}")

    def _attach(self, loop: asyncio.AbstractEventLoop) -> None:
        if isinstance(self._driver, _Loop) and self._driver.loop is loop:
            return
        self._switch(_Loop(loop))
        self._ticking = False

    def _select(self) -> _Select:
        if not isinstance(self._driver, _Select):
            self._switch(_Select())
        assert isinstance(self._driver, _Select)  # noqa: S101  for the type checker
        return self._driver

    def _switch(self, driver: _Select | _Loop) -> None:
        if self._crew.broken is None:
            lost = isinstance(self._driver, _Loop) and self._driver.loop.is_closed()
            if not lost and self._crew.busy:
                raise RuntimeError("the pool is in use by another event loop or an imap; give each its own pool")
            self._crew.move_to(driver)
        self._driver.close()
        self._driver = driver

    def _soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hand out once per turn of the loop, however many callers it had, and keep the clock going."""
        assert isinstance(self._driver, _Loop)  # noqa: S101  for the type checker
        if not self._driver.planned:
            self._driver.planned = True
            loop.call_soon(self._turn, self._driver)
        if not self._ticking:
            self._ticking = True
            loop.call_later(TICK_SECONDS, self._tick, self._driver)

    def _turn(self, driver: _Loop) -> None:
        driver.planned = False
        self._crew.hand_out()

    def _tick(self, driver: _Loop) -> None:
        if driver is not self._driver or self._nursery.closed:
            return
        self._crew.tick()
        self._ticking = self._crew.busy
        if self._ticking:
            driver.loop.call_later(TICK_SECONDS, self._tick, driver)


def _nobody(_: Job) -> None:
    """imap looks at its jobs by itself."""


class _Select:
    """A driver that waits in select, for use without an event loop."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.callbacks: dict[int, dict[int, Callable[[], None]]] = {}

    def read(self, fd: int, ready: Callable[[], None] | None) -> None:
        self._set(fd, selectors.EVENT_READ, ready)

    def write(self, fd: int, ready: Callable[[], None] | None) -> None:
        self._set(fd, selectors.EVENT_WRITE, ready)

    def _set(self, fd: int, event: int, ready: Callable[[], None] | None) -> None:
        wanted = self.callbacks.setdefault(fd, {})
        before = sum(wanted)
        if ready is None:
            wanted.pop(event, None)
        else:
            wanted[event] = ready
        after = sum(wanted)
        if not after:
            del self.callbacks[fd]
        if before == after:
            return
        if not before:
            self.selector.register(fd, after)
        elif after:
            self.selector.modify(fd, after)
        else:
            self.selector.unregister(fd)

    def wait(self, seconds: float) -> None:
        for key, events in self.selector.select(seconds):
            for event in (selectors.EVENT_READ, selectors.EVENT_WRITE):
                ready = self.callbacks.get(key.fd, {}).get(event)
                if events & event and ready is not None:
                    ready()

    def close(self) -> None:
        self.selector.close()


class _Loop:
    """A driver over a running event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.planned = False

    def read(self, fd: int, ready: Callable[[], None] | None) -> None:
        if not self.loop.is_closed():
            if ready is None:
                self.loop.remove_reader(fd)
            else:
                self.loop.add_reader(fd, ready)

    def write(self, fd: int, ready: Callable[[], None] | None) -> None:
        if not self.loop.is_closed():
            if ready is None:
                self.loop.remove_writer(fd)
            else:
                self.loop.add_writer(fd, ready)

    def close(self) -> None:
        """The loop belongs to its owner."""
