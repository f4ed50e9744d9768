"""Repeated n-grams of a whole dataset, counted exactly in bounded memory.

In: token numbers of all responses, spilled a shard a file. Out: the windows that occur too often, and a verdict a
response. A sketch that never under-counts lets few windows through; only those are counted by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numba
import numpy as np
from numpy.typing import NDArray

from stillhouse.filters.tokens import U32
from stillhouse.records import UserMistake, Verdict

LOAD = 6  # windows a counter: of those that occur once, one in a million shares a counter with 20 others
_SIEVE_BITS = 20

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Frequent:
    """Windows of too many occurrences: two 64-bit hashes each (sorted by the first), and how often they occur."""

    first: U64
    second: U64
    counts: I64


class RepeatedNgrams:
    """width: tokens of a window; most: occurrences that a window may have (one more flags it); share: of a sample's
    tokens that flagged windows may cover; mode `strict` drops every sample with a flagged window. sketch_mb: memory
    of one counting task; windows are split by hash into as many tasks as it takes."""

    rule = "repeated_ngrams"

    def __init__(
        self,
        mode: Literal["share", "strict"] = "share",
        *,
        width: int = 20,
        most: int = 20,
        share: float = 0.20,
        sketch_mb: int = 512,
    ) -> None:
        if mode not in ("share", "strict"):
            raise UserMistake(f"ngram_mode: there is no mode {mode!r}: use share or strict")
        if not 1 <= most < 255:
            raise UserMistake(f"most: occurrences that a window may have lie between 1 and 254, not {most}")
        self.mode, self.width, self.most, self.share, self.sketch_mb = mode, width, most, share, sketch_mb

    def splits(self, windows: int, workers: int = 1) -> int:
        """Counting tasks for so many windows: as many as the sketch's memory asks for, and one for each worker."""
        return max(1, workers if windows > 1 << 22 else 1, -(-windows // (LOAD * self.sketch_mb << 20)))

    def count(self, shards: Sequence[tuple[Path, Path]], split: int, splits: int, windows: int) -> Frequent:
        """The flagged windows among those whose hash falls into split `split` of `splits`. shards: files of token
        numbers (uint32) and of offsets (int64) as np.save leaves them; windows: of all shards together."""
        bits = 16
        while LOAD << bits < windows // splits and (2 << bits) <= self.sketch_mb << 20:
            bits += 1
        sketch = np.zeros(1 << bits, np.uint8)
        low, high = np.uint64((split << 64) // splits), np.uint64(((split + 1) << 64) // splits - 1)
        for tokens, offsets in shards:
            _sketch(np.load(tokens, mmap_mode="r"), np.load(offsets), self.width, sketch, bits, low, high, self.most)
        table = _new_table(1 << 12)
        for tokens, offsets in shards:
            held, places = np.load(tokens, mmap_mode="r"), np.load(offsets)
            table = _count(held, places, self.width, sketch, bits, low, high, self.most, table)
        first, second, counts = table
        flagged = np.flatnonzero(counts > self.most)
        flagged = flagged[np.argsort(first[flagged], kind="stable")]
        return Frequent(first[flagged], second[flagged], counts[flagged])

    @staticmethod
    def merge(parts: Sequence[Frequent]) -> Frequent:
        """The flagged windows of all splits."""
        first, second = np.concatenate([p.first for p in parts]), np.concatenate([p.second for p in parts])
        counts = np.concatenate([p.counts for p in parts])
        order = np.argsort(first, kind="stable")
        return Frequent(first[order], second[order], counts[order])

    def judge(self, tokens: U32, offsets: I64, frequent: Frequent) -> list[tuple[Verdict, int]]:
        """A verdict a text, and the first token of the window that it shows as evidence (-1 without one)."""
        sieve = np.zeros(1 << _SIEVE_BITS, np.bool_)
        sieve[frequent.first >> np.uint64(64 - _SIEVE_BITS)] = True
        covered, alone, worst, count, flagged = _cover(
            tokens, offsets, self.width, frequent.first, frequent.second, frequent.counts, sieve
        )  # fmt: skip
        out = []
        for row in range(len(offsets) - 1):
            size = int(offsets[row + 1] - offsets[row])
            share = covered[row] / size if size else 0.0
            if alone[row] > self.most:
                reason = f"one window of {self.width} tokens stands {alone[row]} times in this response alone"
            elif self.mode == "strict" and flagged[row]:
                reason = f"a window of {self.width} tokens that occurs {count[row]} times in the dataset"
            elif share > self.share:
                reason = (
                    f"{share:.0%} of its tokens are in windows that occur more than {self.most} times in the dataset"
                )
            else:
                out.append((Verdict("pass", round(1 - share, 4), self.rule), -1))
                continue
            detail = {"covered": round(share, 4), "occurrences": int(count[row])}
            out.append((Verdict("fail", round(1 - share, 4), self.rule, reason, detail=detail), int(worst[row])))
        return out


_PRIME, _OTHER = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)


@numba.njit(cache=True, nogil=True, inline="always")
def _mix(value):  # type: ignore[no-untyped-def]  # compiled
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xFF51AFD7ED558CCD)
    return value ^ (value >> np.uint64(32))


@numba.njit(cache=True, nogil=True)
def _power(prime, width):  # type: ignore[no-untyped-def]  # compiled
    value = np.uint64(1)
    for _ in range(width):
        value *= prime
    return value


@numba.njit(cache=True, nogil=True)
def _sketch(tokens, offsets, width, sketch, bits, low, high, most):  # type: ignore[no-untyped-def]  # compiled
    """Count windows by hash; a counter stops one above `most`, which is all that is asked of it."""
    leaving, shift = _power(_PRIME, width), np.uint64(64 - bits)
    whole = low == np.uint64(0) and high == np.uint64(0xFFFFFFFFFFFFFFFF)
    for row in range(len(offsets) - 1):
        rolling = np.uint64(0)
        first = offsets[row]
        for j in range(first, offsets[row + 1]):
            rolling = rolling * _PRIME + np.uint64(tokens[j]) + np.uint64(1)
            if j - first >= width:
                rolling -= leaving * (np.uint64(tokens[j - width]) + np.uint64(1))
            if j - first >= width - 1:
                value = _mix(rolling)
                if whole or (value >= low and value <= high):
                    slot = (value * _OTHER) >> shift
                    if sketch[slot] <= most:
                        sketch[slot] += np.uint8(1)


@numba.njit(cache=True, nogil=True)
def _new_table(size):  # type: ignore[no-untyped-def]  # compiled
    return np.zeros(size, np.uint64), np.zeros(size, np.uint64), np.zeros(size, np.int64)


@numba.njit(cache=True, nogil=True)
def _second(tokens, start, width):  # type: ignore[no-untyped-def]  # compiled
    """A hash of the window that is independent of the rolling one: together they are 128 bits."""
    value = np.uint64(width)
    for j in range(start, start + width):
        value = (value ^ np.uint64(tokens[j])) * _OTHER
        value ^= value >> np.uint64(31)
    return value


@numba.njit(cache=True, nogil=True)
def _slot(first, second, counts, value, other):  # type: ignore[no-untyped-def]  # compiled
    last = np.uint64(len(first) - 1)
    slot = (value ^ (value >> np.uint64(32))) & last
    while counts[slot] and (first[slot] != value or second[slot] != other):
        slot = (slot + np.uint64(1)) & last
    return slot


@numba.njit(cache=True, nogil=True)
def _count(tokens, offsets, width, sketch, bits, low, high, most, table):  # type: ignore[no-untyped-def]  # compiled
    """Count by itself every window that the sketch cannot rule out; the table doubles when it is half full."""
    first, second, counts = table
    filled = 0
    for slot in range(len(counts)):
        filled += counts[slot] > 0
    leaving, shift = _power(_PRIME, width), np.uint64(64 - bits)
    whole = low == np.uint64(0) and high == np.uint64(0xFFFFFFFFFFFFFFFF)
    for row in range(len(offsets) - 1):
        rolling = np.uint64(0)
        begin = offsets[row]
        for j in range(begin, offsets[row + 1]):
            rolling = rolling * _PRIME + np.uint64(tokens[j]) + np.uint64(1)
            if j - begin >= width:
                rolling -= leaving * (np.uint64(tokens[j - width]) + np.uint64(1))
            if j - begin < width - 1:
                continue
            value = _mix(rolling)
            if not (whole or (value >= low and value <= high)):
                continue
            if sketch[(value * _OTHER) >> shift] <= most:
                continue
            other = _second(tokens, j - width + 1, width)
            at = _slot(first, second, counts, value, other)
            if not counts[at]:
                first[at], second[at] = value, other
                filled += 1
            counts[at] += 1
            if 2 * filled > len(counts):
                wide, wide_second, wide_counts = _new_table(2 * len(counts))
                for slot in range(len(counts)):
                    if counts[slot]:
                        to = _slot(wide, wide_second, wide_counts, first[slot], second[slot])
                        wide[to], wide_second[to], wide_counts[to] = first[slot], second[slot], counts[slot]
                first, second, counts = wide, wide_second, wide_counts
    return first, second, counts


@numba.njit(cache=True, nogil=True)
def _cover(tokens, offsets, width, first, second, counts, sieve):  # type: ignore[no-untyped-def]  # compiled
    """Per text: tokens under flagged windows, the most that one flagged window occurs in it, the place and the
    dataset-wide count of its worst window, and its flagged windows."""
    rows = len(offsets) - 1
    covered, alone = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    worst, count, flagged = np.full(rows, -1, np.int64), np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    leaving = _power(_PRIME, width)
    for row in range(rows):
        rolling = np.uint64(0)
        begin, free = offsets[row], offsets[row]
        places = np.empty(0, np.int64)
        for j in range(begin, offsets[row + 1]):
            rolling = rolling * _PRIME + np.uint64(tokens[j]) + np.uint64(1)
            if j - begin >= width:
                rolling -= leaving * (np.uint64(tokens[j - width]) + np.uint64(1))
            if j - begin < width - 1:
                continue
            value = _mix(rolling)
            if not sieve[value >> np.uint64(44)]:
                continue
            at = np.searchsorted(first, value)
            if at >= len(first) or first[at] != value:
                continue
            other = _second(tokens, j - width + 1, width)
            while at < len(first) and first[at] == value and second[at] != other:
                at += 1
            if at >= len(first) or first[at] != value:
                continue
            if len(places) == 0:
                places = np.empty(offsets[row + 1] - begin, np.int64)
            places[flagged[row]] = at
            flagged[row] += 1
            covered[row] += j + 1 - max(free, j - width + 1)
            free = j + 1
            if counts[at] > count[row]:
                count[row], worst[row] = counts[at], j - width + 1 - begin
        own = np.sort(places[: flagged[row]])
        run = 0
        for k in range(len(own)):
            run = run + 1 if k and own[k] == own[k - 1] else 1
            alone[row] = max(alone[row], run)
    return covered, alone, worst, count, flagged
