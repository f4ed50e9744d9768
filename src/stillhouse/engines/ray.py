"""The Ray engine: the same shards as tasks on a Ray cluster, or on a Ray started here.

In: a function and shards whose files lie on storage that every node sees. Out: results in order. Ray repeats a task
whose worker or node died; what a shard left half-done never shows, since shards appear whole.
"""

from __future__ import annotations

import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from stillhouse.engines.engine import Result, Shard, ShardFailed
from stillhouse.records import UserMistake

DEATHS_PER_SHARD = 3
AHEAD = 4  # tasks handed to Ray per CPU of the cluster


class Ray:
    """address: of a running cluster (default: RAY_ADDRESS, else a Ray of this machine is started and ended here).
    workers: CPUs of a Ray started here, default all. Raises UserMistake where ray is not installed or not reached."""

    def __init__(self, workers: int | None = None, *, address: str | None = None) -> None:
        try:
            import ray
        except ImportError as error:
            raise UserMistake("engine: ray needs the package ray: pip install 'stillhouse[ray]'") from error
        self._ray: Any = ray
        self._own = not ray.is_initialized()
        if self._own:
            self._start(workers, address or os.environ.get("RAY_ADDRESS"))
        self.workers = max(1, int(ray.cluster_resources().get("CPU", 1)))

    def _start(self, workers: int | None, address: str | None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        settings: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "warning"}
        if address is None:
            cpus = workers or len(os.sched_getaffinity(0))
            settings |= {"num_cpus": cpus, "object_store_memory": 256 << 20, "address": "local"}
        else:
            settings |= {"address": address}
        held = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)  # its workers import what we can import
        try:
            self._ray.init(**settings)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserMistake(f"no Ray cluster at {address or 'this machine'}: {error}") from error
        finally:
            os.environ.pop("PYTHONPATH")
            if held is not None:
                os.environ["PYTHONPATH"] = held

    def imap(self, function: Callable[[Shard], Result], shards: Iterable[Shard]) -> Iterator[Result]:
        """See Engine.imap.

        After a failure, what was handed out runs on until the driver leaves: Ray's own cancelling can end the driver
        without a word when a task completes at that moment (ray-project/ray#54798).
        """
        ray = self._ray
        task = ray.remote(_call).options(num_cpus=1, max_retries=DEATHS_PER_SHARD - 1, retry_exceptions=False)
        shared = ray.put(function)
        source = iter(shards)
        waiting: deque[tuple[Any, Shard]] = deque()
        while True:
            while len(waiting) < AHEAD * self.workers and (drawn := list(_first(source))):
                waiting.append((task.remote(shared, drawn[0]), drawn[0]))
            if not waiting:
                return
            reference, shard = waiting.popleft()
            try:
                outcome = ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                raise ShardFailed(shard, re.sub(r"\x1b\[\d*m", "", str(error))) from error
            except ray.exceptions.RayError as error:
                raise ShardFailed(shard, f"its worker died {DEATHS_PER_SHARD} times: {error}") from error
            if isinstance(outcome, _Mistake):
                raise UserMistake(*outcome.problems)
            yield outcome

    def close(self) -> None:
        """Leave the cluster; a Ray started here ends."""
        if self._own and self._ray.is_initialized():
            self._ray.shutdown()

    def __enter__(self) -> Ray:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Mistake:
    """A UserMistake on its way back: Ray would wrap the exception and lose its list."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems


def _first(source: Iterator[Shard]) -> Iterator[Shard]:
    for shard in source:
        yield shard
        return


def _call(function: Callable[[Any], Any], shard: Any) -> Any:
    try:
        return function(shard)
    except UserMistake as mistake:
        return _Mistake(mistake.problems)
