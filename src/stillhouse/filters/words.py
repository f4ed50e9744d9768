"""The words of texts as 64-bit hashes, at native speed: what near-duplicates and n-gram rules are counted in.

In: an Arrow string array. Out: word hashes with their places, and per text a hash of its numbers. A word is a run of
letters, marks and digits, case folded after NFKC; a CJK character is a word by itself; all else separates.
"""

from __future__ import annotations

import functools
import unicodedata
from dataclasses import dataclass

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

_PLANES = 0x20000  # code points with classes of their own; above, up to 0x3FFFF, all is CJK
_SEPARATOR, _LETTER, _DIGIT, _CJK, _CJK_NUMBER, _OPERATOR = range(6)  # the compiled loops name them by number
_CJK_RANGES = ((0x2E80, 0x2FFF), (0x3005, 0x3007), (0x3021, 0x3029), (0x3040, 0x30FF), (0x31F0, 0x31FF),
               (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF))  # fmt: skip
_CJK_NUMBERS = "零〇一二三四五六七八九十百千万萬亿億两兩半"
_NUMBER_WORDS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "seventy",
    "eighty",
    "ninety",
    "hundred",
    "thousand",
    "million",
    "billion",
    "trillion",
    "half",
    "third",
    "quarter",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "first",
    "second",
    "last",
    "twice",
    "thrice",
    "double",
    "triple",
    "dozen",
    "pair",
    "single",
    "odd",
    "even",
    "positive",
    "negative",
    "minus",
    "plus",
]
_OPERATORS = "+-*/^<>=%−±×÷·≤≥≠√"


@dataclass(frozen=True, slots=True)
class Words:
    """The words of n texts. Text i has hashes[offsets[i]:offsets[i + 1]]; word j lies at data[starts[j]:ends[j]].

    numbers: a hash of the sequence of number words of each text, with the sign or operator before each.
    """

    hashes: U64
    offsets: I64
    starts: I64
    ends: I64
    numbers: U64
    data: NDArray[np.uint8]

    def text(self, first: int, last: int) -> str:
        """The text from word `first` to word `last`, inclusive, as normalised."""
        return bytes(self.data[self.starts[first] : self.ends[last]]).decode("utf-8", "replace")


def split_words(texts: pa.Array) -> Words:
    """Words of a string array (nulls count as empty). Memory: about 12 bytes for each byte of text."""
    data, offsets = text_bytes(texts)
    if len(data) and int(data.max()) >= 0x80:
        data, offsets = text_bytes(pc.utf8_normalize(texts, form="NFKC"))
    classes, folds = _tables()
    known = _number_words()
    hashes, firsts, starts, ends, numbers = _hash_words(data, offsets, classes, folds, known, _sieve(known))
    return Words(hashes, firsts, starts, ends, numbers, data)


def text_bytes(texts: pa.Array) -> tuple[NDArray[np.uint8], I64]:
    """The UTF-8 bytes of a string array and the n + 1 offsets into them, without a copy where that is possible."""
    texts = pc.fill_null(texts.cast(pa.large_string()), "")
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    _, offsets_buffer, data_buffer = texts.buffers()
    if len(texts) == 0 or offsets_buffer is None:
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    offsets = np.frombuffer(offsets_buffer, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else np.zeros(0, np.uint8)
    return data[offsets[0] : offsets[-1]], offsets - offsets[0]


def folded(text: str) -> list[str]:
    """The words of one text as strings, by the same rules: for confirming what hashes propose, and for tests."""
    words = split_words(pa.array([text]))
    return [words.text(j, j).casefold() for j in range(len(words.hashes))]


@functools.cache
def _tables() -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    classes = np.zeros(_PLANES, np.uint8)
    folds = np.arange(_PLANES, dtype=np.uint32)
    for code in range(_PLANES):
        character = chr(code)
        category = unicodedata.category(character)
        if category[0] in "LMN":
            classes[code] = _DIGIT if category == "Nd" else _LETTER
            fold = character.casefold()
            if len(fold) == 1 and ord(fold) < _PLANES:
                folds[code] = ord(fold)
    for low, high in _CJK_RANGES:
        classes[low : high + 1] = np.where(classes[low : high + 1] != _SEPARATOR, _CJK, _SEPARATOR)
    for character in _CJK_NUMBERS:
        classes[ord(character)] = _CJK_NUMBER
    for character in _OPERATORS:
        classes[ord(character)] = _OPERATOR
    return classes, folds


@functools.cache
def _number_words() -> U64:
    plain = np.zeros(0, np.uint64)
    data, offsets = text_bytes(pa.array(_NUMBER_WORDS))
    classes, folds = _tables()
    return np.sort(_hash_words(data, offsets, classes, folds, plain, _sieve(plain))[0])


def _sieve(hashes: U64) -> NDArray[np.bool_]:
    """Marks the upper 12 bits of hashes: nearly every other word is turned away by one look."""
    sieve = np.zeros(1 << 12, np.bool_)
    sieve[(hashes >> np.uint64(52)).astype(np.int64)] = True
    return sieve


@numba.njit("Tuple((u4, i8))(u1[::1], i8, i8)", cache=True, nogil=True)
def _decode(data, at, end):  # type: ignore[no-untyped-def]  # compiled
    """Code point at a byte, and where the next one starts; what is no UTF-8 decodes to U+FFFD, a byte at a time."""
    first = data[at]
    if first < 0x80:
        return np.uint32(first), at + 1
    length = 2 if first >= 0xC2 and first < 0xE0 else 3 if first >= 0xE0 and first < 0xF0 else 4
    if first < 0xC2 or first > 0xF4 or at + length > end:
        return np.uint32(0xFFFD), at + 1
    code = np.uint32(first & (0x7F >> length))
    for k in range(1, length):
        following = data[at + k]
        if following & 0xC0 != 0x80:
            return np.uint32(0xFFFD), at + 1
        code = (code << np.uint32(6)) | np.uint32(following & 0x3F)
    return code, at + length


@numba.njit("u1(u1[::1], u4)", cache=True, nogil=True)
def _class(classes, code):  # type: ignore[no-untyped-def]  # compiled
    if code < 0x20000:
        return classes[code]
    return np.uint8(3) if code < 0x40000 else np.uint8(0)


@numba.njit("u8(u8)", cache=True, nogil=True, inline="always")
def mix(value):  # type: ignore[no-untyped-def]  # compiled
    """Spread 64 bits over 64 bits, one to one (the finaliser of MurmurHash3)."""
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xFF51AFD7ED558CCD)
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


@numba.njit(cache=True, nogil=True)
def _hash_words(data, offsets, classes, folds, number_words, sieve):  # type: ignore[no-untyped-def]  # compiled
    rows = len(offsets) - 1
    most = (len(data) + rows) // 2 + 1  # a word takes two bytes with its separator, and so does a CJK one beside others
    hashes, starts, ends = np.empty(most, np.uint64), np.empty(most, np.int64), np.empty(most, np.int64)
    firsts, numbers = np.empty(rows + 1, np.int64), np.zeros(rows, np.uint64)
    prime, seed = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xCBF29CE484222325)
    word = 0
    for row in range(rows):
        firsts[row] = word
        at, end = offsets[row], offsets[row + 1]
        number = np.uint64(0)
        sign = np.uint64(0)  # the operator before the present place, blanks aside
        after_digit, point = False, False  # `1.5`: a point between digits belongs to the number
        inside, digits = False, False
        value = seed
        while True:
            stop = at >= end
            start = at
            if stop:
                code, kind = np.uint32(0), np.uint8(0)
            elif data[at] < 0x80:
                code = np.uint32(data[at])
                kind = classes[code]
                at += 1
                if inside and kind == 1:  # within a word, where most bytes are
                    value = (value ^ np.uint64(folds[code])) * prime
                    value ^= value >> np.uint64(29)
                    continue
            else:
                code, at = _decode(data, at, end)
                kind = _class(classes, code)
            if inside and kind != 1 and kind != 2:
                hashed = mix(value)
                hashes[word] = hashed
                ends[word] = start
                told = digits
                if not told and sieve[hashed >> np.uint64(52)]:
                    place = np.searchsorted(number_words, hashed)
                    told = place < len(number_words) and number_words[place] == hashed
                if told:
                    number = mix((number + sign) * prime + hashed)
                after_digit, sign, inside = digits, np.uint64(0), False
                word += 1
            if stop:
                numbers[row] = number
                break
            if kind == 1 or kind == 2:
                if not inside:
                    inside, digits, value = True, False, seed
                    starts[word] = start
                    if point and kind == 2:
                        sign = np.uint64(46)
                digits = digits or kind == 2
                value = (value ^ np.uint64(folds[code])) * prime
                value ^= value >> np.uint64(29)
                point = False
            elif kind == 3 or kind == 4:
                hashes[word] = mix((seed ^ np.uint64(code)) * prime)
                starts[word], ends[word] = start, at
                if kind == 4:
                    number = mix((number + sign) * prime + hashes[word])
                sign, after_digit, point = np.uint64(0), False, False
                word += 1
            else:
                point = code == 46 and after_digit
                sign = np.uint64(code) if kind == 5 else sign
                after_digit = False
    firsts[rows] = word
    return hashes[:word], firsts, starts[:word], ends[:word], numbers
