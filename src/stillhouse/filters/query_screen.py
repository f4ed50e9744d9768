"""Which of many texts the filters of `query_text` need to look at: one compiled walk over the bytes for all six.

In: the texts of queries as arrow arrays. Out: a bit a filter for every text. A text without a filter's bit certainly
passes it; one with it is judged by the filter itself, so that what is rejected, and why, is said in one place only.
"""

from __future__ import annotations

import functools
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from stillhouse.filters.words import text_bytes
from stillhouse.store.columns import QueryTexts

OVERSIZED, ODD, INCOMPLETE, URL, TABLE, IMAGE = (np.uint8(1 << n) for n in range(6))
LARGE = 200_000  # bytes; what has fewer has fewer characters too
_NOUNS = ("imag", "pict", "diag", "grap", "chart", "illus", "draw", "photo", "sketch", "plot", "fig")
_ENDINGS = (".com/", ".org/", ".net/", ".edu/", ".gov/", ".io/")
_MARKS = ("<img", "[asy]", "\\includegraphics")
_TABLES = ("\\begin{ar", "\\begin{ta", "\\begin{lo", "<ta", "<tr")


def suspects(texts: QueryTexts, bit: np.uint8) -> NDArray[np.bool_]:
    """For every query, whether the filter of this bit must look at it. The walk is made once for all filters."""
    if "screen" not in texts.notes:
        bits = _screened(texts.user, texts.code)
        if texts.last is not texts.user:
            last = _screened(texts.last, texts.code)
            bits = (bits & ~INCOMPLETE) | (last & INCOMPLETE)
        bits[texts.sizes > LARGE] |= OVERSIZED
        texts.notes["screen"] = bits
    found: NDArray[np.bool_] = (texts.notes["screen"] & bit) != 0
    return found


def _screened(texts: Any, code: NDArray[np.bool_]) -> NDArray[np.uint8]:
    data, offsets = text_bytes(texts)
    bits: NDArray[np.uint8] = _screen(
        data, offsets, code, _classes(), *map(_packed, (_NOUNS, _ENDINGS, _MARKS, _TABLES))
    )
    return bits


@functools.cache
def _packed(words: tuple[str, ...]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Lower-case words one after another, and where each begins."""
    data = "".join(words).encode()
    return np.frombuffer(data, np.uint8), np.cumsum([0, *map(len, words)])


@functools.cache
def _classes() -> NDArray[np.uint8]:
    """Of every code point of the basic plane: 1 odd, 2 broken, by the very expressions of the filter."""
    from stillhouse.filters.query_text import BROKEN, ODD_ONES

    classes = np.zeros(1 << 16, np.uint8)
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, 1 << 16)]))
    for bit, pattern in ((1, ODD_ONES), (2, BROKEN)):
        classes[[ord(c) for c in pattern.findall(every)]] |= bit
    return classes


@numba.njit(cache=True, nogil=True, inline="always")
def _lower(byte):  # type: ignore[no-untyped-def]  # compiled
    return byte | 0x20 if 65 <= byte <= 90 else byte


@numba.njit(cache=True, nogil=True)
def _one_of(data, at, end, words):  # type: ignore[no-untyped-def]  # compiled
    """Whether one of the packed words begins at a place, in any case."""
    letters, starts = words
    for n in range(len(starts) - 1):
        first, length = starts[n], starts[n + 1] - starts[n]
        if at + length > end:
            continue
        k = 0
        while k < length and _lower(data[at + k]) == letters[first + k]:
            k += 1
        if k == length:
            return True
    return False


@numba.njit(cache=True, nogil=True)
def _blank(byte):  # type: ignore[no-untyped-def]  # compiled
    return byte == 32 or 9 <= byte <= 13 or 28 <= byte <= 31


@numba.njit(cache=True, nogil=True)
def _word_end(data, at, end):  # type: ignore[no-untyped-def]  # compiled
    """Whether no word goes on at a place; yes for what is not ASCII."""
    if at >= end:
        return True
    low = _lower(data[at])
    return not (97 <= low <= 122 or 48 <= low <= 57 or low == 95)


@numba.njit(cache=True, nogil=True)
def _ends_open(data, start, end):  # type: ignore[no-untyped-def]  # compiled
    """Whether a text may end in an ellipsis or a backslash, outer white space aside."""
    while end > start and _blank(data[end - 1]):
        end -= 1
    if end == start or data[end - 1] == 92:
        return True
    if end - start >= 3 and data[end - 1] == 46 and data[end - 2] == 46 and data[end - 3] == 46:
        return True
    if end - start >= 3 and data[end - 1] >= 0x80:  # an ellipsis, or white space that hides one
        a, b, c = data[end - 3], data[end - 2], data[end - 1]
        if a == 0xE2:
            return b <= 0x81
        return (a == 0xE1 and b == 0x9A) or (a == 0xE3 and b == 0x80 and c == 0x80) or b == 0xC2
    return False


@numba.njit(cache=True, nogil=True)
def _screen(data, offsets, code, classes, nouns, endings, marks, tables):  # type: ignore[no-untyped-def]  # compiled
    rows = len(offsets) - 1
    bits = np.zeros(rows, np.uint8)
    starts = np.zeros(128, np.bool_)
    for n in range(len(nouns[1]) - 1):
        starts[nouns[0][nouns[1][n]]] = True
    for row in range(rows):
        start, end = offsets[row], offsets[row + 1]
        found = np.uint8(0)
        following, odd, broken, tokens, tabs = 0, 0, 0, 0, 0
        digit, pipe, line, currency, unlike = False, False, False, False, False
        square, rounds, begins, braces, dollar = 0, 0, 0, 0, 0
        cut = _ends_open(data, start, end)
        escaped = start  # what stands before this place was taken together with a backslash
        before = np.uint8(32)
        inside = False  # a run of ASCII letters and digits
        for at in range(start, end):
            byte = data[at]
            if 97 <= byte <= 122 or 65 <= byte <= 90:
                if not inside:
                    inside = True
                    low = byte | 0x20
                    tokens += _blank(before)
                    if low == 119:
                        if at + 3 < end and data[at + 3] == 46 and data[at + 1] | 0x20 == 119:
                            found |= np.uint8(8)
                    elif starts[low] and _one_of(data, at, end, nouns):
                        found |= np.uint8(32)
                before = byte
                continue
            if byte == 32:
                inside, before = False, byte
                continue
            inside = 48 <= byte <= 57 or byte == 95
            if byte >= 0x80:
                if byte < 0xC0:
                    following += 1
                else:
                    value = np.uint32(0)
                    if byte < 0xE0 and at + 1 < end:
                        value = np.uint32(byte & 0x1F) << 6 | np.uint32(data[at + 1] & 0x3F)
                        unlike = unlike or value == 0x130 or value == 0x131 or value == 0x17F
                    elif byte < 0xF0 and at + 2 < end:
                        value = np.uint32(byte & 0x0F) << 12 | np.uint32(data[at + 1] & 0x3F) << 6
                        value |= np.uint32(data[at + 2] & 0x3F)
                        unlike = unlike or value == 0x212A
                        if value == 0x56FE:
                            found |= np.uint8(32)
                    kind = classes[value] if byte < 0xF0 else np.uint8(3)
                    odd += int(kind & 1)
                    broken += int(kind >> 1)
                tokens += _blank(before)
                before = byte
                continue
            if byte < 32 or byte == 127:
                broken += classes[byte] >> 1
                tabs += byte == 9
                line = line or byte == 10
            if 48 <= byte <= 57:
                digit = True
                if before == 36 or ((before == 32 or 9 <= before <= 13) and at - 2 >= start and data[at - 2] == 36):
                    currency = True
            elif byte == 46:
                if at + 3 < end and _one_of(data, at, end, endings):
                    found |= np.uint8(8)
            elif byte == 58:
                if at + 2 < end and data[at + 1] == 47 and data[at + 2] == 47:
                    found |= np.uint8(8)
            elif byte == 124:
                pipe = True
            elif byte == 60 or byte == 91:
                if _one_of(data, at, end, marks):
                    found |= np.uint8(32)
                if byte == 60 and _one_of(data, at, end, tables):
                    found |= np.uint8(16)
                if byte == 91 and before == 33:
                    found |= np.uint8(32)
            elif byte == 96 and at + 2 < end and data[at + 1] == 96 and data[at + 2] == 96:
                cut = True
            if byte == 92:
                if _one_of(data, at, end, marks):
                    found |= np.uint8(32)
                if _one_of(data, at, end, tables):
                    found |= np.uint8(16)
                if at >= escaped and at + 1 < end:
                    escaped = at + 2
                    after = data[at + 1]
                    if after == 91 or after == 93:
                        square += 1 if after == 91 else -1
                    elif after == 40 or after == 41:
                        rounds += 1 if after == 40 else -1
                    elif (
                        after == 98
                        and at + 5 < end
                        and data[at + 2] == 101
                        and data[at + 3] == 103
                        and data[at + 4] == 105
                        and data[at + 5] == 110
                        and _word_end(data, at + 6, end)
                    ):
                        begins += 1
                        unlike = unlike or (at + 6 < end and data[at + 6] >= 0x80)
                    elif (
                        after == 101
                        and at + 3 < end
                        and data[at + 2] == 110
                        and data[at + 3] == 100
                        and _word_end(data, at + 4, end)
                    ):
                        begins -= 1
                        unlike = unlike or (at + 4 < end and data[at + 4] >= 0x80)
            elif at >= escaped:
                if byte == 123:
                    braces += 1
                elif byte == 125:
                    braces -= 1
                    if braces < 0 and not code[row]:
                        cut = True
                elif byte == 36:
                    double = at + 1 < end and data[at + 1] == 36
                    escaped = at + 2 if double else escaped
                    width = 2 if double else 1
                    if dollar == 0:
                        dollar = width
                    elif dollar == width:
                        dollar = 0
                    elif dollar == 1:
                        dollar = 1
            if not _blank(byte):
                tokens += _blank(before)
            before = byte
        if not code[row] and (square > 0 or rounds > 0 or begins > 0 or braces != 0):
            cut = True
        if not code[row] and dollar != 0 and not (dollar == 1 and currency):
            cut = True
        if cut or unlike or (tokens < 3 and not digit):
            found |= np.uint8(4)
        points = end - start - following
        if (broken > 0 and 100 * broken >= points) or (odd + broken > 0 and 10 * (odd + broken) >= 3 * points):
            found |= np.uint8(2)
        if (pipe and line) or tabs >= 3:
            found |= np.uint8(16)
        if unlike:
            found |= np.uint8(8 | 16 | 32)
        bits[row] = found
    return bits
