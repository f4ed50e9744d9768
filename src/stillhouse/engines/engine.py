"""What a stage needs of an engine: one method that maps a function over shards, and how a shard may fail.

In: a picklable function and shards. Out: its results in the order of the shards. The function writes its own
output atomically (see `shards`), so a shard that is done twice leaves what a shard done once leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from stillhouse.records import UserMistake

Shard = TypeVar("Shard")
Result = TypeVar("Result")


class Engine(Protocol):
    """Maps functions over shards. workers: how many shards run at a time."""

    workers: int

    def imap(self, function: Callable[[Shard], Result], shards: Iterable[Shard]) -> Iterator[Result]:
        """Results in the order of the shards, of which only a bounded number is drawn ahead. Raises ShardFailed."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Engine: ...

    def __exit__(self, *_: object) -> None: ...


class ShardFailed(Exception):  # noqa: N818  says what happened to the shard, as Fault does for a request
    """A shard could not be done. shard: the shard as handed in; reason: the worker's traceback, or how it died."""

    def __init__(self, shard: Any, reason: str) -> None:
        text = repr(shard)
        text = text if len(text) <= 300 else text[:297] + "..."
        super().__init__(f"shard {text} failed: {reason}")
        self.shard, self.reason = shard, reason


def make_engine(name: str = "local", *, workers: int | None = None, address: str | None = None) -> Engine:
    """The engine that a recipe names: `local` or `ray` (address: of a running cluster, None starts one here)."""
    if name == "local":
        from stillhouse.engines.local import Local

        return Local(workers)
    if name == "ray":
        from stillhouse.engines.ray import Ray

        return Ray(workers, address=address)
    raise UserMistake(f"there is no engine {name!r}: use local or ray")
