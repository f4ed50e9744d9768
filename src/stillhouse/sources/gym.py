"""Procedural tasks of reasoning-gym as a source, through the `gym` extra.

In: the name of a task, a seed, how many. Out: queries with the task's own answer as ground_truth, endless in principle
and the same for one seed. The package takes seconds to import, so it is imported when the first query is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stillhouse.records import CATEGORIES, Message, Query, UserMistake
from stillhouse.sources.rows import did_you_mean


class Gym:
    """A source of queries of one task. category: by which rule answers are compared (most tasks: math).

    limit: how many. Other settings go to the task (`min_digits=2`). Raises UserMistake for an unknown task or setting.
    """

    terms = "yes"

    def __init__(
        self,
        task: str,
        category: str = "math",
        source: str | None = None,
        limit: int = 100,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        if category not in CATEGORIES:
            raise UserMistake(f"category: unknown {category!r}{did_you_mean(category, CATEGORIES)}")
        self.task, self.category, self.source = task, category, source or f"reasoning-gym/{task}"
        self.limit, self.seed, self.settings = limit, seed, settings

    def __call__(self) -> Iterator[Query]:
        for number, entry in enumerate(self._entries()):
            name = f"{self.task}-{self.seed}-{number}"
            yield Query(
                (Message("user", str(entry["question"])),),
                self.category,
                id=name,
                source=self.source,
                ground_truth=None if entry["answer"] is None else str(entry["answer"]),
                origin=f"reasoning-gym:{name}",
                extra={"task": self.task},
            )

    def _entries(self) -> Iterator[dict[str, Any]]:
        try:
            import reasoning_gym
            from reasoning_gym.factory import DATASETS
        except ImportError as error:
            raise UserMistake(f"gym: {self.task}: tasks need `pip install 'stillhouse[gym]'`") from error
        if self.task not in DATASETS:
            raise UserMistake(f"gym: there is no task {self.task!r}{did_you_mean(self.task, DATASETS)}")
        try:
            made = reasoning_gym.create_dataset(self.task, seed=self.seed, size=self.limit, **self.settings)
        except (TypeError, AssertionError, ValueError) as error:
            raise UserMistake(f"gym: {self.task} does not take {self.settings}: {error}") from error
        yield from (made[number] for number in range(self.limit))
