"""The workers of a pool as a machine that never waits: hands out jobs, keeps deadlines, replaces the dead.

In: jobs, and calls when a socket is readable or time has passed. Out: finished jobs. Who waits, an event loop or a
plain select, is the driver's business.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from stillhouse.records import UserMistake
from stillhouse.workers.boot import Nursery
from stillhouse.workers.faults import WorkerDied, WorkerError, WorkerTimeout
from stillhouse.workers.frames import Reader, pack
from stillhouse.workers.worker import BROKEN, DONE, MARK_BYTES, MEMORY, READY, RETIRE

TICK_SECONDS = 0.05
STARVED_TIMES = 4  # so many deadlines an item may take where the machine does not let its worker run
AHEAD_SECONDS = 0.02  # so much work may wait inside a worker, to hide the way there and back
AHEAD_JOBS = 256
STUCK_SECONDS = 0.2  # what waits behind an item that runs longer than this is given to another worker too
START_SECONDS = 120.0
START_TRIES = 3
RESTARTS = 3
GROW_SECONDS = 0.5  # so much work has to wait before another worker is worth its start


class Driver(Protocol):
    """Who tells the crew that a file descriptor can be read or written."""

    def read(self, fd: int, ready: Callable[[], None] | None) -> None: ...
    def write(self, fd: int, ready: Callable[[], None] | None) -> None: ...


@dataclass(slots=True, eq=False)
class Job:
    """One item on its way. `finish` is called once; None when nobody waits any more."""

    number: int
    part: str
    method: str
    args: tuple[Any, ...]
    deadline: float
    tries: int
    finish: Callable[[Job], None] | None
    value: Any = None
    error: Exception | None = None
    done: bool = False
    restarts: int = 0
    doubled: bool = False

    def settle(self, value: Any, error: Exception | None) -> None:
        if self.done:
            return
        self.done, self.value, self.error = True, value, error
        if self.finish is not None:
            self.finish(self)


@dataclass(slots=True, eq=False)
class Worker:
    """Our end of one worker process."""

    id: str
    sock: socket.socket
    mark: mmap.mmap
    born: float
    reader: Reader = field(default_factory=Reader)
    out: bytearray = field(default_factory=bytearray)
    pending: dict[int, Job] = field(default_factory=dict)
    load: float = 0.0
    served: int = 0
    ready: bool = False
    retiring: bool = False
    stuck: bool = False  # its item runs long: it gets nothing more before that ends
    pid: int = 0
    delayed: tuple[int, float] = (0, 0.0)  # the item last looked at, and the worker's time in the run queue then
    late: Job | None = None  # the job for which it was killed
    gone: bool = False

    @property
    def able(self) -> bool:
        return self.ready and not (self.retiring or self.gone or self.stuck) and self.late is None

    def running(self) -> tuple[int, float]:
        """Number of the running item and seconds since its start; zeros between items."""
        words = memoryview(self.mark).cast("Q")
        try:
            number, started = words[0], words[1]
        finally:
            words.release()
        return (number, (time.monotonic_ns() - started) / 1e9) if started else (0, 0.0)


class Crew:
    """All workers of one pool. Used from one thread."""

    def __init__(
        self, nursery: Nursery, driver: Driver, *, workers: int, recycle_after: int, at_first: int | None = None
    ) -> None:
        """workers: how many there are at most; at_first: how many begin (all without), the others as work waits."""
        self.nursery, self.driver = nursery, driver
        self.size, self.recycle_after = workers, recycle_after
        self.workers: dict[str, Worker] = {}
        self.queue: deque[Job] = deque()
        self.seconds: dict[tuple[str, str], float] = {}  # moving mean of what one item costs
        self.broken: Exception | None = None
        self.failed_starts = 0
        self.births = 0
        self.next_number = 0
        driver.read(nursery.control.fileno(), self.on_nursery)
        for _ in range(workers if at_first is None else min(at_first, workers)):
            self._start_worker()

    # ---- driver ----
    def move_to(self, driver: Driver) -> None:
        """Let another driver watch our sockets; the former must not have been closed with callbacks to come."""
        fds = [self.nursery.control.fileno(), *(w.sock.fileno() for w in self.workers.values() if not w.gone)]
        for fd in fds:
            self.driver.read(fd, None)
            self.driver.write(fd, None)
        self.driver = driver
        driver.read(self.nursery.control.fileno(), self.on_nursery)
        for worker in self.workers.values():
            if not worker.gone:
                self._watch(worker)

    def _watch(self, worker: Worker) -> None:
        self.driver.read(worker.sock.fileno(), lambda: self._on_worker(worker))
        if worker.out:
            self.driver.write(worker.sock.fileno(), lambda: self._send(worker))

    @property
    def busy(self) -> bool:
        """Whether anybody waits for a job."""
        jobs = (job for worker in self.workers.values() for job in worker.pending.values())
        return any(not j.done and j.finish is not None for j in (*self.queue, *jobs))

    # ---- jobs ----
    def submit(self, job: Job) -> None:
        if self.broken is not None:
            job.settle(None, self.broken)
        else:
            self.queue.append(job)

    def number(self) -> int:
        self.next_number += 1
        return self.next_number

    def hand_out(self) -> None:
        """Give queued jobs to workers that have room, the emptiest first."""
        able = [worker for worker in self.workers.values() if worker.able]
        touched: set[str] = set()
        while self.queue and able:
            worker = min(able, key=lambda w: (w.load, len(w.pending)))
            job = self.queue[0]
            cost = self.seconds.get((job.part, job.method), AHEAD_SECONDS)
            if worker.pending and (worker.load + cost > AHEAD_SECONDS or len(worker.pending) >= AHEAD_JOBS):
                break
            self.queue.popleft()
            if job.done or job.finish is None or job.number in worker.pending:
                continue
            if self._give(worker, job):
                worker.load += cost
                touched.add(worker.id)
            if worker.served >= self.recycle_after:
                worker.retiring = True
                able.remove(worker)
        for name in touched:
            self._send(self.workers[name])

    def _give(self, worker: Worker, job: Job) -> bool:
        try:
            worker.out += pack((job.number, job.part, job.method, job.args))
        except Exception as error:  # noqa: BLE001  what cannot be pickled is told to its own caller
            job.settle(None, error)
            return False
        worker.pending[job.number] = job
        worker.served += 1
        return True

    def _send(self, worker: Worker) -> None:
        if worker.gone:
            return
        try:
            while worker.out:
                sent = worker.sock.send(memoryview(worker.out)[: 1 << 20])
                del worker.out[:sent]
        except BlockingIOError:
            self.driver.write(worker.sock.fileno(), lambda: self._send(worker))
            return
        except OSError:  # it died; the nursery will say so
            worker.out.clear()
        self.driver.write(worker.sock.fileno(), None)

    # ---- what workers say ----
    def _on_worker(self, worker: Worker) -> None:
        try:
            data = worker.sock.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # its end is told by the nursery, with the reason
            self.driver.read(worker.sock.fileno(), None)
            return
        self._take(worker, data)
        if worker.retiring and not worker.pending and not worker.gone:
            self._close(worker)
        self.hand_out()

    def _take(self, worker: Worker, data: bytes) -> None:
        for number, status, value, seconds in worker.reader.feed(data):
            if status == READY:
                worker.ready, worker.pid, self.failed_starts = True, value, 0
            elif status == BROKEN:
                made = RuntimeError(value) if isinstance(value, str) else UserMistake(*value)
                self._break(made)
            elif status == RETIRE:
                worker.retiring = True
            else:
                self._finish(worker, number, status, value, seconds)

    def _finish(self, worker: Worker, number: int, status: str, value: Any, seconds: float) -> None:
        job = worker.pending.pop(number)
        worker.stuck = False
        kind = (job.part, job.method)
        known = self.seconds.get(kind)
        sample = min(seconds, 0.1)  # one slow item must not make all others travel alone for long
        self.seconds[kind] = sample if known is None else known + 0.05 * (sample - known)
        worker.load = max(0.0, worker.load - self.seconds[kind]) if worker.pending else 0.0
        if status == DONE:
            job.settle(value, None)
        elif status == MEMORY:
            self._again_or(job, WorkerDied(job.part, "the memory limit of its worker was reached", memory=True))
        else:
            job.settle(None, WorkerError(job.part, *value))

    def _again_or(self, job: Job, error: Exception) -> None:
        job.tries -= 1
        if job.tries > 0 and not job.done:
            self.queue.append(job)
        else:
            job.settle(None, error)

    # ---- time ----
    def tick(self) -> None:
        """Kill who is late. To be called every TICK_SECONDS while jobs are out."""
        now = time.monotonic()
        for worker in list(self.workers.values()):
            if worker.late is not None or worker.gone:
                continue
            if not worker.ready:
                if now - worker.born > START_SECONDS:
                    self.nursery.kill(worker.id)
                continue
            number, seconds = worker.running()
            job = worker.pending.get(number)
            if job is None:
                continue
            if worker.delayed[0] != number:
                worker.delayed = (number, _queued(worker.pid))
            if seconds > job.deadline and self._overdue(worker, job, seconds):
                worker.late = job
                self.nursery.kill(worker.id)
            elif seconds > STUCK_SECONDS:
                worker.stuck = True
                self._double(worker, job)
        self.hand_out()
        self._grow()

    def _grow(self) -> None:
        """One more worker, where those that there are have more to do than its start takes."""
        if not self.queue or len(self.workers) >= self.size or self.broken is not None:
            return
        if all(worker.ready for worker in self.workers.values()):
            waiting = sum(self.seconds.get((job.part, job.method), AHEAD_SECONDS) for job in self.queue)
            if waiting > GROW_SECONDS or not any(worker.able for worker in self.workers.values()):
                self._start_worker()

    def _overdue(self, worker: Worker, job: Job, seconds: float) -> bool:
        """Whether it is late by its own fault: time in which a busy machine did not let it run is not counted."""
        starved = _queued(worker.pid) - worker.delayed[1]
        return seconds - starved > job.deadline or seconds > STARVED_TIMES * job.deadline

    def _double(self, worker: Worker, stuck: Job) -> None:
        """What waits behind a slow item goes to others too; whoever is first counts, the parts being pure."""
        for job in reversed(worker.pending.values()):
            if job is not stuck and not job.doubled and not job.done:
                job.doubled = True
                self.queue.appendleft(job)

    # ---- births and deaths ----
    def _start_worker(self) -> None:
        self.births += 1
        ours, theirs = socket.socketpair()
        fd = os.memfd_create("worker-mark")
        try:
            os.ftruncate(fd, MARK_BYTES)
            mark = mmap.mmap(fd, MARK_BYTES)
            worker = Worker(f"w{self.births}", ours, mark, time.monotonic())
            ours.setblocking(False)
            self.nursery.start(worker.id, theirs.fileno(), fd)
        finally:
            theirs.close()
            os.close(fd)
        self.workers[worker.id] = worker
        self._watch(worker)

    def on_nursery(self) -> None:
        """Read what the nursery says of deaths; its own end breaks the pool."""
        for name, status in self.nursery.deaths():
            worker = self.workers.pop(name, None)
            if worker is not None:
                self._bury(worker, status)
        if self.nursery.gone:
            self.driver.read(self.nursery.control.fileno(), None)
            self._break(RuntimeError("the process that starts the workers ended; start again, or see what killed it"))
        self.hand_out()

    def _bury(self, worker: Worker, status: str) -> None:
        """Settle or queue again what the dead had, blame the item that ran, start another."""
        self._drain(worker)
        number, _ = worker.running()
        culprit = worker.late if worker.late is not None and not worker.late.done else worker.pending.get(number)
        left = [job for job in worker.pending.values() if job is not culprit and not job.done]
        was_ready = worker.ready
        self._close(worker)
        worker.mark.close()
        if culprit is not None and not culprit.done:
            late = worker.late is culprit
            self._again_or(culprit, WorkerTimeout(culprit.part, culprit.deadline) if late else _death(culprit, status))
        for job in reversed(left):
            job.restarts += 1
            job.doubled = False
            if job.restarts > RESTARTS:
                job.settle(None, _death(job, status))
            else:
                self.queue.appendleft(job)
        if self.broken is not None:
            return
        if not was_ready:
            self.failed_starts += 1
            if self.failed_starts >= START_TRIES:
                self._break(RuntimeError(f"workers end before they are ready (exit status {status})"))
                return
        self._start_worker()

    def _drain(self, worker: Worker) -> None:
        """Results that it sent before it died count."""
        with contextlib.suppress(OSError):
            while data := worker.sock.recv(1 << 18):
                self._take(worker, data)

    def _close(self, worker: Worker) -> None:
        """Close our end: a living worker ends when it reads that."""
        if not worker.gone:
            worker.gone = True
            self.driver.read(worker.sock.fileno(), None)
            self.driver.write(worker.sock.fileno(), None)
            worker.sock.close()

    def _break(self, error: Exception) -> None:
        if self.broken is None:
            self.broken = error
        jobs = [job for worker in self.workers.values() for job in worker.pending.values()]
        for job in (*jobs, *self.queue):
            job.settle(None, self.broken)
        self.queue.clear()

    def close(self) -> None:
        """Close every socket; idempotent."""
        self._break(RuntimeError("the pool is closed"))
        for worker in self.workers.values():
            self._close(worker)
            worker.mark.close()
        self.workers.clear()
        if not self.nursery.closed:
            self.driver.read(self.nursery.control.fileno(), None)


def _queued(pid: int) -> float:
    """Seconds that a process was ready to run and had no processor; 0 where the kernel does not tell."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def _death(job: Job, status: str) -> WorkerDied:
    if status.startswith("-"):
        number = int(status)
        memory = number in (-9, -6)  # the kernel's killer, or an allocator that gave up
        return WorkerDied(job.part, f"its worker was killed by signal {-number}", memory=memory)
    return WorkerDied(job.part, f"its worker ended with exit status {status}")
