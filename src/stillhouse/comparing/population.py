"""The queries of a comparison with what each teacher made of them, as aligned arrays.

In: nothing; compare_reading fills it. Out: a Population: one row for each query, one Side for each teacher.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

STATES = ("verified", "unverified", "waiting", "exhausted", "undecided", "too_long")
NOT_ASKED = -1
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass
class Side:
    """What one teacher made of every query of the population; arrays of the population's length.

    state: index into STATES, -1 where the teacher was not asked. first: 1 passed, 0 failed, -1 not judged. tokens:
    of the kept reply, first_tokens: of the first attempt whatever became of it; NaN where there is none or it was not
    counted. cost: dollars, NaN where unpriced. finish: category -> how many replies ended how. unpriced_judges: replies
    of judges about its pairs that have no price, and so are in no cost.
    """

    state: NDArray[np.int8]
    first: NDArray[np.int8]
    first_tokens: Floats
    attempts: NDArray[np.int32]
    passed_at: NDArray[np.int32]
    responses: NDArray[np.int32]
    unknown: NDArray[np.int32]
    cost: Floats
    prompt_tokens: Floats
    completion_tokens: Floats
    kept: Bools
    tokens: Floats
    perplexity: Floats
    rules: dict[str, int] = field(default_factory=dict)
    finish: dict[str, dict[str, int]] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    unpriced_judges: int = 0

    @staticmethod
    def blank(size: int) -> Side:
        """A teacher that was asked nothing."""
        return Side(
            state=np.full(size, NOT_ASKED, np.int8),
            first=np.full(size, -1, np.int8),
            first_tokens=np.full(size, np.nan),
            attempts=np.zeros(size, np.int32),
            passed_at=np.zeros(size, np.int32),
            responses=np.zeros(size, np.int32),
            unknown=np.zeros(size, np.int32),
            cost=np.full(size, np.nan),
            prompt_tokens=np.zeros(size),
            completion_tokens=np.zeros(size),
            kept=np.zeros(size, np.bool_),
            tokens=np.full(size, np.nan),
            perplexity=np.full(size, np.nan),
        )

    def in_state(self, *names: str) -> Bools:
        """Where the pair is in one of the states."""
        return np.asarray(np.isin(self.state, [STATES.index(name) for name in names]), np.bool_)

    @property
    def asked(self) -> Bools:
        return np.asarray(self.state != NOT_ASKED, np.bool_)

    @property
    def open(self) -> Bools:
        """Pairs that may be a pass or not, for all that is known: they make the bounds."""
        return self.in_state("waiting", "undecided", "unverified")

    @property
    def decided(self) -> Bools:
        """Pairs that count in the yield: asked, not waiting, not accepted by structure alone."""
        return np.asarray(self.asked & ~self.in_state("waiting", "unverified"), np.bool_)


@dataclass
class Population:
    """queries: sorted keys, 128 bits as raw bytes; category: index into categories. selected: datasets that exist
    already, whose rows are what passed, so that first attempts, yields and money are not known. first_tokens_by: who
    counted the first attempts, the one tokenizer or each teacher's endpoint."""

    queries: NDArray[np.bytes_]
    category: NDArray[np.int16]
    categories: tuple[str, ...]
    sides: dict[str, Side]
    selected: bool = False
    first_tokens_by: str = "endpoints"

    @property
    def size(self) -> int:
        return int(self.queries.size)

    @property
    def parallel(self) -> Bools:
        """Queries that every teacher has a kept response for."""
        kept = [side.kept for side in self.sides.values()]
        return np.logical_and.reduce(kept) if kept else np.zeros(self.size, np.bool_)
