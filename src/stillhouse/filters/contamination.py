"""Decontamination by text: equality after normalisation, and containment of any 13-word n-gram of a benchmark item.

In: benchmark items once, then shards of texts. Out: hits with the matching text and the item it is of. Hashes
propose, words compared as strings decide, so no hit is a collision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import pyarrow as pa

from stillhouse.filters.words import Words, mix, split_words

_SIEVE_BITS = 23  # a megabyte that stays in cache and turns away nearly every n-gram that is in no benchmark


@dataclass(frozen=True, slots=True)
class Hit:
    """Text `row` matches benchmark item `item` by `rule` (benchmark_equal or benchmark_ngram); match: the text."""

    row: int
    item: int
    rule: str
    match: str


class Contamination:
    """width: words of an n-gram. `index(items)` is what texts are judged by."""

    def __init__(self, width: int = 13) -> None:
        self.width = width

    def index(self, items: Sequence[str]) -> BenchmarkIndex:
        """items: the texts of all benchmarks."""
        return BenchmarkIndex(items, self.width)


class BenchmarkIndex:
    """Items shorter than `width` words match by equality only. Texts and items count as equal when their words are
    (case, white space, punctuation aside)."""

    words = staticmethod(split_words)

    def __init__(self, items: Sequence[str], width: int) -> None:
        self.width = width
        self._words = split_words(pa.array(items, pa.large_string()))
        whole, grams = _windows(self._words.hashes, self._words.offsets, width)
        filled = np.diff(self._words.offsets) > 0
        order = np.argsort(whole, kind="stable")
        order = order[filled[order]]
        self._whole, self._whole_items = whole[order], order
        values, first = np.unique(grams, return_index=True)
        self._grams, self._places = values, first.astype(np.int64)
        self._table = _table(values)
        self._sieve = np.zeros(1 << (_SIEVE_BITS - 3), np.uint8)
        bits = values >> np.uint64(64 - _SIEVE_BITS)
        np.bitwise_or.at(self._sieve, bits >> np.uint64(3), np.left_shift(1, bits & np.uint64(7)).astype(np.uint8))

    def judge(self, texts: pa.Array, words: Words | None = None) -> list[Hit]:
        """The hits among n texts, at most one a text, equality first."""
        words = words or split_words(texts)
        whole, at, gram = _seek(
            words.hashes, words.offsets, self.width, self._sieve, self._table, self._grams
        )  # fmt: skip
        hits = {}
        for row in np.flatnonzero(at >= 0).tolist():
            hit = self._confirmed(words, row, int(at[row]), int(self._places[gram[row]]))
            if hit is not None:
                hits[row] = hit
        if len(self._whole):
            place = np.minimum(np.searchsorted(self._whole, whole), len(self._whole) - 1)
            filled = np.diff(words.offsets) > 0
            for row in np.flatnonzero((self._whole[place] == whole) & filled).tolist():
                item = int(self._whole_items[place[row]])
                if _strings(words, *_row(words, row)) == _strings(self._words, *_row(self._words, item)):
                    first, last = _row(words, row)
                    hits[row] = Hit(row, item, "benchmark_equal", words.text(first, last - 1))
        return [hits[row] for row in sorted(hits)]

    def _confirmed(self, words: Words, row: int, at: int, place: int) -> Hit | None:
        if _strings(words, at, at + self.width) != _strings(self._words, place, place + self.width):
            return None
        item = int(np.searchsorted(self._words.offsets, place, side="right")) - 1
        last, item_last = _row(words, row)[1], _row(self._words, item)[1]
        end, item_end = at + self.width, place + self.width
        while end < last and item_end < item_last and words.hashes[end] == self._words.hashes[item_end]:
            end, item_end = end + 1, item_end + 1
        return Hit(row, item, "benchmark_ngram", words.text(at, end - 1))


def _row(words: Words, row: int) -> tuple[int, int]:
    return int(words.offsets[row]), int(words.offsets[row + 1])


def _strings(words: Words, first: int, last: int) -> list[str]:
    return [words.text(j, j).casefold() for j in range(first, last)]


@numba.njit(cache=True, nogil=True)
def _windows(hashes, offsets, width):  # type: ignore[no-untyped-def]  # compiled
    """Hash of every text's whole word sequence, and of each window, at the place of the window's first word (texts'
    last words, where no window fits, get the hash of what is there under another width, which matches nothing)."""
    rows = len(offsets) - 1
    whole, grams = np.zeros(rows, np.uint64), np.empty(len(hashes), np.uint64)
    prime = np.uint64(0x9E3779B97F4A7C15)
    for row in range(rows):
        value = np.uint64(0)
        for j in range(offsets[row], offsets[row + 1]):
            value = mix(value * prime + hashes[j])
        whole[row] = value
        for j in range(offsets[row], offsets[row + 1]):
            end = min(j + width, offsets[row + 1])
            value = np.uint64(end - j)
            for k in range(j, end):
                value = value * prime + hashes[k]
            grams[j] = mix(value)
    return whole, grams


@numba.njit(cache=True, nogil=True)
def _table(values):  # type: ignore[no-untyped-def]  # compiled
    """Open addressing over sorted unique values: places + 1, at most half full."""
    size = 16
    while size < 2 * len(values):
        size *= 2
    table = np.zeros(size, np.int32)
    for place in range(len(values)):
        slot = values[place] & np.uint64(size - 1)
        while table[slot]:
            slot = (slot + np.uint64(1)) & np.uint64(size - 1)
        table[slot] = place + 1
    return table


@numba.njit(cache=True, nogil=True)
def _seek(hashes, offsets, width, sieve, table, values):  # type: ignore[no-untyped-def]  # compiled
    """Hash of each whole text, its first window that stands in the table (-1 without one), and its value's place."""
    rows = len(offsets) - 1
    whole, at, gram = np.zeros(rows, np.uint64), np.full(rows, -1, np.int64), np.zeros(rows, np.int64)
    prime = np.uint64(0x9E3779B97F4A7C15)
    leaving = np.uint64(1)
    for _ in range(width):
        leaving *= prime
    shift, last_slot = np.uint64(64 - 23), np.uint64(len(table) - 1)
    for row in range(rows):
        value, rolling, found = np.uint64(0), np.uint64(width), False
        first = offsets[row]
        for j in range(first, offsets[row + 1]):
            value = mix(value * prime + hashes[j])
            rolling = rolling * prime + hashes[j]
            if j - first >= width:
                # the seed and the word that leaves: rolling keeps the value of `width` followed by the last words
                rolling -= leaving * hashes[j - width] + leaving * (prime - np.uint64(1)) * np.uint64(width)
            if found or j - first < width - 1:
                continue
            window = mix(rolling)
            bit = window >> shift
            if not (sieve[bit >> np.uint64(3)] >> (bit & np.uint64(7))) & np.uint64(1):
                continue
            slot = window & last_slot
            while table[slot]:
                if values[table[slot] - 1] == window:
                    at[row], gram[row], found = j - width + 1, table[slot] - 1, True
                    break
                slot = (slot + np.uint64(1)) & last_slot
        whole[row] = value
    return whole, at, gram
