"""The gold self-check of curate: each reference is tried on its own verifier, many at a time, in a killable process.

In: verifiers by category, queries. Out: per query its verdict, or how its check ended. Queries travel in batches, which
costs a tenth of sending them one by one; a batch that does not end well is checked query by query.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillhouse.records import Part, Query, UserMistake, Verdict
from stillhouse.workers import WorkerDied, WorkerError, WorkerPool, WorkerTimeout

BATCH = 64
CHECK_SECONDS = 3.0  # of a verifier that names no deadline of its own


Reader = Callable[[Sequence[int]], Iterator[Query]]


class Checks:
    """A verifier that is asked for many checks at once; built in the worker."""

    def __init__(self, verifier: Part) -> None:
        self.verifier = verifier.build()
        self.check = self.verifier.check
        for name in ("canary", "close"):
            if hasattr(self.verifier, name):
                setattr(self, name, getattr(self.verifier, name))

    def check_all(self, queries: list[Query]) -> list[Verdict]:
        return [self.check(query) for query in queries]


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """verifiers: by category. supplied: categories whose missing references the recipe supplies otherwise."""

    verifiers: Mapping[str, Part]
    supplied: frozenset[str]

    def words(self, places: Mapping[str, Sequence[int]], read: Reader) -> dict[int, tuple[str, str]]:
        """Rule and reason of every place whose query may not stay. places: of each category's queries; read: gives the
        queries of some places. Raises UserMistake where a verifier is down."""
        parts = {name: self.verifiers[name] for name in places if name in self.verifiers}
        out: dict[int, tuple[str, str]] = {}
        if not parts:
            return out
        checks = {name: Part(f"{__name__}:Checks", {"verifier": part}) for name, part in parts.items()}
        with WorkerPool(checks, workers=1) as pool:
            for name, part in parts.items():
                for place, result in _results(pool, name, _deadline(part), places[name], read):
                    word = self._word(result, name)
                    if word is not None:
                        out[place] = word
        return out

    def _word(self, result: Any, category: str) -> tuple[str, str] | None:
        if isinstance(result, WorkerTimeout | WorkerDied):
            return "self_check", f"its verifier did not end on its own reference: {result}"
        if isinstance(result, WorkerError):
            return "self_check", f"its verifier raised: {str(result).strip().splitlines()[-1]}"
        if isinstance(result, Exception):
            raise result
        verdict: Verdict = result
        if verdict.outcome == "pass":
            return None
        if verdict.outcome == "unknown" and verdict.transient:
            raise UserMistake(
                f"the verifier of category {category} cannot check references now: {verdict.reason}; mend that and "
                "run again: what was read stays"
            )
        if verdict.rule == "no_reference":
            return None if category in self.supplied else ("no_reference", verdict.reason)
        return "self_check", f"{verdict.rule}: {verdict.reason}" if verdict.reason else verdict.rule


def _results(
    pool: WorkerPool, name: str, deadline: float, places: Sequence[int], read: Reader
) -> Iterator[tuple[int, Any]]:
    """A verdict or an exception for each place: in batches first, then one by one where a batch did not end well."""
    batches = [places[at : at + BATCH] for at in range(0, len(places), BATCH)]
    again: list[int] = []
    answers = pool.imap(name, "check_all", ((list(read(batch)),) for batch in batches), deadline=deadline)
    for batch, answer in zip(batches, answers, strict=True):
        if isinstance(answer, Exception):
            again += batch
        else:
            yield from zip(batch, answer, strict=True)
    single = ((query,) for at in range(0, len(again), BATCH) for query in read(again[at : at + BATCH]))
    yield from zip(again, pool.imap(name, "check", single, deadline=deadline), strict=True)


def _deadline(part: Part) -> float:
    module, _, name = part.path.partition(":")
    return float(getattr(getattr(importlib.import_module(module), name, None), "deadline", CHECK_SECONDS))
