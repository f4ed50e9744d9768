"""Near-duplicate queries: MinHash bands propose pairs, the exact Jaccard of the word 5-shingle sets decides.

In: texts with a group each (what must be equal: reference, tests, constraints). Out: band hashes and shingle sets a
shard, candidate pairs a band, true pairs of candidates. The group and the text's numbers enter every band hash, so
queries that differ in one of them are never even proposed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stillhouse.filters.words import I64, U64, Words, mix, split_words

BUCKET_ALL_PAIRS = 48  # in a larger bucket a row is compared with the first and the last so many rows only
BUCKET_NEIGHBOURS = 16
_SEED = 20504


@dataclass(frozen=True, slots=True)
class Signatures:
    """bands: (bands, n), 0 where a text is too short to compare; text i has the shingle hashes
    shingles[offsets[i]:offsets[i + 1]], in the order of the text."""

    bands: U64
    shingles: U64
    offsets: I64


class NearDuplicates:
    """threshold: Jaccard of near-duplicates; shingle: words a shingle; shortest: words below which only exact
    duplicates count; bands x rows: MinHash values. With 16 x 4 a pair at 0.8 is proposed with probability
    1 - (1 - 0.8^4)^16 = 0.9998, one at 0.5 with 0.64."""

    rule = "near_duplicate"

    def __init__(
        self, threshold: float = 0.8, *, shingle: int = 5, shortest: int = 8, bands: int = 16, rows: int = 4
    ) -> None:
        self.threshold, self.shingle, self.shortest, self.bands, self.rows = threshold, shingle, shortest, bands, rows
        random = np.random.default_rng(_SEED)
        count = bands * rows
        self._factors = random.integers(0, 2**32, count, dtype=np.uint32) | np.uint32(1)
        self._terms = random.integers(0, 2**32, count, dtype=np.uint32)

    words = staticmethod(split_words)

    def sign(self, texts: pa.Array, groups: U64, words: Words | None = None) -> Signatures:
        """Signatures of n texts. groups: hash of what must be equal in near-duplicates; words: where at hand."""
        words = words or split_words(texts)
        bands, shingles, offsets = _sign(
            words.hashes, words.offsets, words.numbers, groups, self._factors, self._terms,
            self.shingle, self.shortest, self.rows,
        )  # fmt: skip
        return Signatures(bands, shingles, offsets)

    def candidates(self, hashes: U64, rows: I64) -> tuple[NDArray[np.int64], int]:
        """Pairs (m, 2) of rows, earlier first, that share a hash of one band; and how many buckets were too large
        to propose all their pairs. hashes must be of one band, without the 0 of short texts."""
        twice = _repeated(hashes)
        hashes, rows = hashes[twice], rows[twice]
        order = np.lexsort((rows, hashes))
        pairs, capped = _bucket_pairs(hashes[order], rows[order], BUCKET_ALL_PAIRS, BUCKET_NEIGHBOURS)
        return pairs, int(capped)

    @staticmethod
    def signed(shingles: U64, offsets: I64) -> Signatures:
        """Shingle sets read back from where they were spilled, for `similarity`."""
        return Signatures(np.zeros((0, 0), np.uint64), shingles, offsets)

    def similarity(self, signatures: Signatures, left: I64, right: I64) -> NDArray[np.float64]:
        """Exact Jaccard of the shingle sets of texts left[i] and right[i]."""
        sets, ends = _as_sets(signatures.shingles.copy(), signatures.offsets)
        result: NDArray[np.float64] = _jaccard(sets, signatures.offsets, ends, left, right)
        return result

    @staticmethod
    def drop(pairs: NDArray[np.int64], gone: I64) -> None:
        """Mark in `gone` (a row's kept near-duplicate, -1 while it stays) which rows go: rows in order, each goes that
        is similar to an earlier row that stays. pairs: (m, 2), all similar, earlier first, of ascending later rows
        from call to call."""
        order = np.lexsort((pairs[:, 0], pairs[:, 1]))
        _drop(pairs[order], gone)

    @staticmethod
    def first_kept(pairs: NDArray[np.int64]) -> tuple[I64, I64]:
        """Rows that go and the kept row of each, where all pairs are at hand."""
        gone = np.full(int(pairs.max(initial=-1)) + 1, -1, np.int64)
        NearDuplicates.drop(pairs, gone)
        rows = np.flatnonzero(gone >= 0)
        return rows, gone[rows]


@numba.njit(cache=True, nogil=True)
def _drop(pairs, gone):  # type: ignore[no-untyped-def]  # compiled
    for at in range(len(pairs)):
        earlier, later = pairs[at, 0], pairs[at, 1]
        if gone[later] < 0 and gone[earlier] < 0:
            gone[later] = earlier


@numba.njit(cache=True, nogil=True)
def _sign(words, word_offsets, numbers, groups, factors, terms, width, shortest, per_band):  # type: ignore[no-untyped-def]  # compiled
    rows, perms = len(word_offsets) - 1, len(factors)
    bands = np.zeros((perms // per_band, rows), np.uint64)
    shingles = np.empty(len(words), np.uint64)
    offsets = np.empty(rows + 1, np.int64)
    least = np.empty(perms, np.uint32)
    prime = np.uint64(0x9E3779B97F4A7C15)
    filled = 0
    for row in range(rows):
        offsets[row] = filled
        first, last = word_offsets[row], word_offsets[row + 1]
        if last - first < shortest or last - first < width:
            continue
        count = last - first - width + 1
        own = shingles[filled : filled + count]
        for j in range(count):
            value = np.uint64(width)
            for k in range(width):
                value = (value ^ words[first + j + k]) * prime
                value ^= value >> np.uint64(32)
            own[j] = mix(value)
        filled += count
        least[:] = np.uint32(0xFFFFFFFF)
        for j in range(count):
            low = np.uint32(own[j])
            high = np.uint32(own[j] >> np.uint64(32))
            for k in range(perms):
                value32 = np.uint32((low ^ terms[k]) * factors[k]) ^ high
                least[k] = min(least[k], value32)
        salt = mix(groups[row] * prime + numbers[row])
        for band in range(perms // per_band):
            value = salt + np.uint64(band)
            for k in range(band * per_band, (band + 1) * per_band):
                value = mix((value ^ np.uint64(least[k])) * prime)
            bands[band, row] = max(value, np.uint64(1))
    offsets[rows] = filled
    return bands, shingles[:filled].copy(), offsets


@numba.njit(cache=True, nogil=True)
def _bucket_pairs(hashes, rows, all_pairs, neighbours):  # type: ignore[no-untyped-def]  # compiled
    total, capped = 0, 0
    for step in range(2):  # count, then fill
        if step == 1:
            pairs = np.empty((total, 2), np.int64)
            total = 0
        start = 0
        while start < len(hashes):
            end = start + 1
            while end < len(hashes) and hashes[end] == hashes[start]:
                end += 1
            large = end - start > all_pairs
            if large and step == 0:
                capped += 1
            for later in range(start + 1, end):
                head = min(later, start + neighbours) if large else later
                for earlier in range(start, head):
                    if step == 1:
                        pairs[total, 0], pairs[total, 1] = rows[earlier], rows[later]
                    total += 1
                for earlier in range(max(head, later - neighbours), later):
                    if step == 1:
                        pairs[total, 0], pairs[total, 1] = rows[earlier], rows[later]
                    total += 1
            start = end
    return pairs, capped


@numba.njit(cache=True, nogil=True)
def _repeated(hashes):  # type: ignore[no-untyped-def]  # compiled
    """Places of hashes that may stand more than once: nearly all others need not be sorted."""
    size = 1 << 12
    while size < 8 * len(hashes):
        size *= 2
    mask = np.uint64(size - 1)
    seen, twice = np.zeros(size >> 3, np.uint8), np.zeros(size >> 3, np.uint8)
    for value in hashes:
        place, bit = (value & mask) >> np.uint64(3), np.uint8(1) << np.uint8(value & np.uint64(7))
        twice[place] |= seen[place] & bit
        seen[place] |= bit
    found = np.empty(len(hashes), np.int64)
    count = 0
    for at in range(len(hashes)):
        value = hashes[at]
        found[count] = at
        count += (twice[(value & mask) >> np.uint64(3)] >> np.uint8(value & np.uint64(7))) & 1
    return found[:count]


@numba.njit(cache=True, nogil=True)
def _as_sets(shingles, offsets):  # type: ignore[no-untyped-def]  # compiled
    """Sorts each text's shingles in place and drops its repetitions; returns where each set ends."""
    ends = np.empty(len(offsets) - 1, np.int64)
    for row in range(len(offsets) - 1):
        own = shingles[offsets[row] : offsets[row + 1]]
        own.sort()
        unique = min(len(own), 1)
        for j in range(1, len(own)):
            if own[j] != own[unique - 1]:
                own[unique] = own[j]
                unique += 1
        ends[row] = offsets[row] + unique
    return shingles, ends


@numba.njit(cache=True, nogil=True)
def _jaccard(shingles, offsets, ends, left, right):  # type: ignore[no-untyped-def]  # compiled
    out = np.zeros(len(left), np.float64)
    for pair in range(len(left)):
        a, a_end = offsets[left[pair]], ends[left[pair]]
        b, b_end = offsets[right[pair]], ends[right[pair]]
        both, either = 0, (a_end - a) + (b_end - b)
        while a < a_end and b < b_end:
            if shingles[a] == shingles[b]:
                both += 1
                a += 1
                b += 1
            elif shingles[a] < shingles[b]:
                a += 1
            else:
                b += 1
        if either - both > 0:
            out[pair] = both / (either - both)
    return out
