"""Where each (teacher, query) pair stands: a few bits a pair, over the run's sorted prompt keys.

In: verdicts and the journal's index. Out: which attempts are judged, and the pair's state. One array of 8 or 32
bytes a pair, so that 1.89 million queries of three teachers fit in memory while their texts stay on disk.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.records import Verdict

STATES = ("waiting", "verified", "unverified", "exhausted", "undecided", "too_long")
WAITING, VERIFIED, UNVERIFIED, EXHAUSTED, UNDECIDED, TOO_LONG = range(6)
TRUNCATED_RULE, UNVERIFIED_RULE, NOT_RECORDED_RULE = "truncated", "unverified", "not_recorded"
NO_REFERENCE_RULE = "no_reference"  # there is nothing to verify by: another attempt would end as this one


class Pairs:
    """The pairs of one teacher. An attempt counts from 1 and is one bit; at most 64 attempts.

    limit: attempts until a pair is exhausted; truncated_limit: truncated replies until it rests as too_long.
    until_pass False keeps asking until every attempt is judged (evaluation).
    """

    def __init__(self, size: int, limit: int, truncated_limit: int = 2, *, until_pass: bool = True) -> None:
        width = np.uint16 if limit <= 16 else np.uint64
        self.limit, self.truncated_limit, self.until_pass = limit, truncated_limit, until_pass
        self.judged: NDArray[Any] = np.zeros(size, width)
        self.truncated: NDArray[Any] = np.zeros(size, width)
        self.unknown: NDArray[Any] = np.zeros(size, width)
        self.passed_at: NDArray[Any] = np.zeros(size, np.uint8)
        self.unverified: NDArray[Any] = np.zeros(size, np.bool_)
        self.ended: NDArray[Any] = np.zeros(size, np.bool_)  # no further attempt can be had, or judged

    def __len__(self) -> int:
        return len(self.judged)

    def load(
        self,
        positions: NDArray[Any],
        attempts: NDArray[Any],
        outcomes: NDArray[Any],
        rules: NDArray[Any],
    ) -> None:
        """Take over verdicts that stand in the store: one row each, positions -1 are skipped. May be called again."""
        good = (positions >= 0) & (attempts >= 1) & (attempts <= 8 * self.judged.itemsize)
        positions, attempts, outcomes, rules = positions[good], attempts[good], outcomes[good], rules[good]
        bit = np.left_shift(self.judged.dtype.type(1), (attempts - 1).astype(self.judged.dtype))
        np.bitwise_or.at(self.judged, positions, bit)
        cut, unknown, passed = rules == TRUNCATED_RULE, outcomes == "unknown", outcomes == "pass"
        np.bitwise_or.at(self.truncated, positions[cut], bit[cut])
        np.bitwise_or.at(self.unknown, positions[unknown], bit[unknown])
        first = np.where(self.passed_at == 0, 255, self.passed_at).astype(np.uint8)
        np.minimum.at(first, positions[passed], attempts[passed].astype(np.uint8))
        self.passed_at[first < 255] = first[first < 255]
        self.unverified[positions[passed & (rules == UNVERIFIED_RULE)]] = True
        self.ended[positions[unknown & (rules == NO_REFERENCE_RULE)]] = True

    def note(self, position: int, attempt: int, verdict: Verdict) -> None:
        """One new verdict. A transient unknown is not noted: the pair waits and is judged again."""
        if verdict.outcome == "unknown" and verdict.transient:
            return
        bit = self.judged.dtype.type(1 << (attempt - 1))
        self.judged[position] |= bit
        if verdict.rule == TRUNCATED_RULE:
            self.truncated[position] |= bit
        if verdict.outcome == "unknown":
            self.unknown[position] |= bit
            self.ended[position] |= verdict.rule == NO_REFERENCE_RULE
        if verdict.outcome == "pass":
            first = int(self.passed_at[position])
            self.passed_at[position] = min(first, attempt) if first else attempt
            self.unverified[position] = verdict.rule == UNVERIFIED_RULE

    def unjudged(self, position: int) -> list[int]:
        """The attempts that have no verdict yet, in order."""
        judged = int(self.judged[position])
        return [attempt for attempt in range(1, self.limit + 1) if not judged >> (attempt - 1) & 1]

    def is_judged(self, position: int, attempt: int) -> bool:
        return bool(int(self.judged[position]) >> (attempt - 1) & 1)

    def state(self, position: int) -> int:
        """What the pair's bits come to; WAITING while something remains to be asked or judged."""
        judged = int(self.judged[position]) & ((1 << self.limit) - 1)
        if self.passed_at[position] and self.until_pass:
            return UNVERIFIED if self.unverified[position] else VERIFIED
        if self.until_pass and int(self.truncated[position]).bit_count() >= self.truncated_limit:
            return TOO_LONG
        if judged.bit_count() < self.limit and not (self.ended[position] and judged):
            return WAITING
        if self.passed_at[position]:
            return VERIFIED
        unknown = int(self.unknown[position]) & judged
        return UNDECIDED if unknown and unknown == judged else EXHAUSTED

    def states(self) -> NDArray[Any]:
        """All states at once, uint8: the same as `state` of each position."""
        full = (1 << self.limit) - 1
        dtype = self.judged.dtype.type
        judged = self.judged & dtype(full)
        out = np.full(len(self), WAITING, np.uint8)
        done = (np.bitwise_count(judged) >= self.limit) | (self.ended & (judged != 0))
        unknown = self.unknown & judged
        out[done] = EXHAUSTED
        out[done & (unknown == judged) & (unknown != 0)] = UNDECIDED
        passed = self.passed_at > 0
        if self.until_pass:
            out[np.bitwise_count(self.truncated) >= self.truncated_limit] = TOO_LONG
            out[passed & ~self.unverified] = VERIFIED
            out[passed & self.unverified] = UNVERIFIED
        else:
            out[done & passed] = VERIFIED
        return out
