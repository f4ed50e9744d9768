"""The local engine: a few processes of this machine, each doing one shard at a time.

In: a function and shards. Out: results in order. Workers are started by forkserver (never forked from a threaded
parent), may have children of their own, stay for the next call, and end when the engine is closed or its process dies.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import connection, util
from typing import Any

from stillhouse.engines.engine import Result, Shard, ShardFailed
from stillhouse.records import UserMistake

DEATHS_PER_SHARD = 3  # a shard that kills its worker so often is given up
AHEAD = 4  # results kept per worker while an earlier shard is still being done


@dataclass
class _Worker:
    process: Any
    pipe: connection.Connection
    task: int | None = None  # number of the shard it is doing


class Local:
    """workers: processes (default: the CPUs this process may use); with 1 the shards are done right here.

    A worker that dies (killed, out of memory) costs its shard a repetition, at most DEATHS_PER_SHARD of them. An
    exception in the function is raised as ShardFailed from it (UserMistake as it is). Leaving the iterator early,
    or Ctrl-C, ends the workers at once. Scripts need the `if __name__ == "__main__"` guard of multiprocessing.
    """

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise UserMistake(f"the local engine needs at least 1 worker, not {workers}")
        self.workers = workers or len(os.sched_getaffinity(0))
        self._idle: list[_Worker] = []
        self._context = multiprocessing.get_context("forkserver")
        self._finalize = util.Finalize(self, _end_all, (self._idle,), exitpriority=100)

    def imap(self, function: Callable[[Shard], Result], shards: Iterable[Shard]) -> Iterator[Result]:
        """See Engine.imap."""
        return self._here(function, shards) if self.workers == 1 else self._spread(function, shards)

    def close(self) -> None:
        """End the workers. The engine may be used again: it starts new ones."""
        _end_all(self._idle)

    def __enter__(self) -> Local:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def _here(function: Callable[[Shard], Result], shards: Iterable[Shard]) -> Iterator[Result]:
        for shard in shards:
            try:
                result = function(shard)
            except UserMistake:
                raise
            except Exception as error:
                raise ShardFailed(shard, f"{type(error).__name__}: {error}") from error
            yield result

    def _spread(self, function: Callable[[Shard], Result], shards: Iterable[Shard]) -> Iterator[Result]:
        code = pickle.dumps(function)
        source = enumerate(shards)
        waiting: dict[int, Any] = {}  # drawn and not done, by number
        again: list[int] = []
        done: dict[int, Any] = {}
        deaths: dict[int, int] = {}
        busy: list[_Worker] = []
        following, drained = 0, False
        try:
            while True:
                while len(busy) < self.workers and not (drained and not again):
                    if again:
                        number = again.pop()
                    elif len(done) + len(busy) >= AHEAD * self.workers:
                        break
                    elif (drawn := next(source, None)) is None:
                        drained = True
                        break
                    else:
                        number, waiting[drawn[0]] = drawn
                    busy.append(self._hand_out(number, code, waiting[number]))
                while following in done:
                    yield done.pop(following)
                    following += 1
                if not busy:
                    if drained and not again:
                        return
                    continue
                ready = connection.wait([worker.pipe for worker in busy])
                for worker in [w for w in busy if w.pipe in ready]:
                    busy.remove(worker)
                    number = worker.task if worker.task is not None else -1
                    outcome = _receive(worker)
                    if outcome is None:
                        again.append(number)
                        deaths[number] = deaths.get(number, 0) + 1
                        how = _end(worker)
                        if deaths[number] >= DEATHS_PER_SHARD:
                            raise ShardFailed(waiting[number], f"its worker died {deaths[number]} times ({how})")
                        continue
                    worker.task = None
                    self._idle.append(worker)
                    _raise_failure(outcome, waiting[number])
                    del waiting[number]
                    done[number] = outcome[1]
        finally:
            _end_all(busy)

    def _hand_out(self, number: int, code: bytes, shard: Any) -> _Worker:
        task = pickle.dumps((code, shard))
        while True:
            worker = self._idle.pop() if self._idle else self._start()
            try:
                worker.pipe.send_bytes(task)
            except (BrokenPipeError, ConnectionResetError):  # it died while idle: nothing is lost
                _end(worker)
                continue
            worker.task = number
            return worker

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs,), name="stillhouse-worker")
        process.start()
        theirs.close()
        return _Worker(process, ours)


def _raise_failure(outcome: tuple[Any, ...], shard: Any) -> None:
    if outcome[0] == "mistake":
        raise UserMistake(*outcome[1])
    if outcome[0] == "failed":
        raise ShardFailed(shard, f"{outcome[1]}\n{outcome[2]}")


def _receive(worker: _Worker) -> tuple[Any, ...] | None:
    """What the worker answered; None when it died."""
    try:
        answer: tuple[Any, ...] = pickle.loads(worker.pipe.recv_bytes())  # noqa: S301  our own process sent it
    except (EOFError, ConnectionResetError):
        return None
    return answer


def _end(worker: _Worker) -> str:
    worker.pipe.close()
    worker.process.join(0.2)
    if worker.process.exitcode is None:
        worker.process.kill()
        worker.process.join()
    code = worker.process.exitcode
    worker.process.close()
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _end_all(workers: list[_Worker]) -> None:
    for worker in workers:
        if worker.task is not None:
            worker.process.kill()
    while workers:
        _end(workers.pop())


def _work(pipe: connection.Connection) -> None:
    """A worker's life: until the pipe ends. Ctrl-C is the parent's affair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            task = pipe.recv_bytes()
        except (EOFError, ConnectionResetError):
            return
        answer: tuple[Any, ...]
        try:
            code, shard = pickle.loads(task)  # noqa: S301  our own parent sent it
            answer = ("done", pickle.loads(code)(shard))  # noqa: S301
            data = pickle.dumps(answer)
        except UserMistake as mistake:
            data = pickle.dumps(("mistake", mistake.problems))
        except Exception as error:  # noqa: BLE001  every failure goes to the parent with its traceback
            data = pickle.dumps(("failed", f"{type(error).__name__}: {error}", traceback.format_exc()))
        try:
            pipe.send_bytes(data)
        except (BrokenPipeError, ConnectionResetError):
            return
