"""Counts tokens by the embedded model's own vocabulary, without the model: byte-pair encoding read from its GGUF file.

In: texts. Out: token counts, those of the model's server. Why by hand: the runtime cannot load a vocabulary alone, and
a report over a million replies must neither load a model nor ask a server. Special tokens are plain text here.
"""

from __future__ import annotations

import functools
import heapq
import mmap
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regex

from stillhouse.records import UserMistake
from stillhouse.teachers.embedded_server import MODEL_NAME, find_model

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST_REMEMBERED = 500_000  # words; about 60 MB

# How the model's own tokenizer cuts a text into words before it merges bytes: digits one by one, a blank with the word
# that follows, white space up to the last blank. White space before a digit stays whole, as digits are cut off first.
_WORDS = regex.compile(
    r"\p{N}|'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?[^\p{White_Space}\p{L}\p{N}]+"
    r"|\p{White_Space}+(?![^\p{White_Space}\p{N}])|\p{White_Space}+"
)
_ASCII_WORDS = re.compile(
    r"[0-9]|'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+| ?[^\s0-9A-Za-z]+|\s+(?![^\s0-9])|\s+", flags=re.ASCII
)


class Tokenizer:
    """The embedded model's tokenizer; called with texts it counts. path: another GGUF file with this tokenizer.

    Raises UserMistake where the model is not installed.
    """

    name = f"{MODEL_NAME} (embedded)"

    def __init__(self, path: str | None = None) -> None:
        self._vocabulary = _vocabulary(str(find_model(path)))
        self._known: dict[str, tuple[int, ...]] = {}

    def __call__(self, texts: Iterable[str]) -> list[int]:
        """How many tokens each text has."""
        return [sum(map(len, self._words(text))) for text in texts]

    def encode(self, texts: Iterable[str]) -> list[list[int]]:
        """The token numbers of each text."""
        return [[number for word in self._words(text) for number in word] for text in texts]

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of token numbers; bytes that are no UTF-8 by themselves become U+FFFD."""
        tokens = self._vocabulary.tokens
        return b"".join(tokens[number] for number in numbers).decode("utf-8", "replace")

    def _words(self, text: str) -> list[tuple[int, ...]]:
        known = self._known
        words = (_ASCII_WORDS if text.isascii() else _WORDS).findall(text)
        try:
            return [known[word] for word in words]
        except KeyError:
            return [known[word] if word in known else self._encode_word(word) for word in words]

    def _encode_word(self, word: str) -> tuple[int, ...]:
        vocabulary = self._vocabulary
        parts = _merged(word.encode("utf-8", "replace"), vocabulary.ranks)
        numbers = tuple(vocabulary.numbers[part] for part in parts if part in vocabulary.numbers)
        if len(self._known) < _MOST_REMEMBERED and len(word) < 100:
            self._known[word] = numbers
        return numbers


def count_tokens(texts: Iterable[str]) -> list[int]:
    """Tokens of each text by the embedded model's vocabulary, which is read once per process."""
    return _shared()(texts)


@functools.cache
def _shared() -> Tokenizer:
    return Tokenizer()


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    """tokens: by number. numbers: the other way; a few single bytes have none. ranks: when a pair was learnt."""

    tokens: list[bytes]
    numbers: dict[bytes, int]
    ranks: dict[tuple[bytes, bytes], int]


def _merged(word: bytes, ranks: Mapping[tuple[bytes, bytes], int]) -> list[bytes]:
    """The tokens of a word: merge the pair that was learnt first, the leftmost of equals, until none is left.

    A heap of pairs over a linked list: a "word" of a megabyte of noise must not take quadratic time.
    """
    parts: list[bytes] = [word[at : at + 1] for at in range(len(word))]
    after = list(range(1, len(parts) + 1))
    before = list(range(-1, len(parts) - 1))
    heap: list[tuple[int, int, bytes, bytes]] = []

    def offer(left: int, right: int) -> None:
        rank = ranks.get((parts[left], parts[right]))
        if rank is not None:
            heapq.heappush(heap, (rank, left, parts[left], parts[right]))

    for at in range(len(parts) - 1):
        offer(at, at + 1)
    while heap:
        _, left, first, second = heapq.heappop(heap)
        right = after[left]
        if right >= len(parts) or parts[left] != first or parts[right] != second:
            continue  # one of the two has been merged since
        parts[left], parts[right] = first + second, b""
        after[left] = after[right]
        if after[left] < len(parts):
            before[after[left]] = left
            offer(left, after[left])
        if before[left] >= 0:
            offer(before[left], left)
    return [part for part in parts if part]


@functools.lru_cache(maxsize=2)
def _vocabulary(path: str) -> _Vocabulary:
    names = ("model", "pre", "tokens", "merges")
    fields = read_gguf_fields(Path(path), {f"tokenizer.ggml.{name}" for name in names})
    model, pre, tokens, merges = (fields.get(f"tokenizer.ggml.{name}") for name in names)
    if (model, pre) != ("gpt2", "smollm") or tokens is None or merges is None:
        raise UserMistake(f"embedded: {path} has a tokenizer of kind {model}/{pre}; only SmolLM2's can be used here")
    to_byte = {character: byte for byte, character in _byte_characters().items()}

    def raw(text: str) -> bytes:
        known = all(character in to_byte for character in text)
        return bytes(to_byte[character] for character in text) if known else text.encode()

    ranks: dict[tuple[bytes, bytes], int] = {}
    for rank, merge in enumerate(merges):
        left, _, right = merge.partition(" ")
        ranks.setdefault((raw(left), raw(right)), rank)
    plain = [raw(token) for token in tokens]
    numbers: dict[bytes, int] = {}
    for number, token in enumerate(plain):
        numbers.setdefault(token, number)
    return _Vocabulary(plain, numbers, ranks)


def _byte_characters() -> dict[int, str]:
    """The printable character that byte-level vocabularies write for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {byte: chr(byte) for byte in printable}
    rest = (byte for byte in range(256) if byte not in table)
    return table | {byte: chr(256 + at) for at, byte in enumerate(rest)}


def read_gguf_fields(path: Path, names: set[str]) -> dict[str, Any]:
    """The named header fields of a GGUF file; stops when it has them. Raises UserMistake for other files."""
    found: dict[str, Any] = {}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            magic, version, _, count = struct.unpack_from("<4sIQQ", data, 0)
            if magic != b"GGUF" or version not in (2, 3):
                raise UserMistake(f"embedded: {path} is no GGUF file of version 2 or 3")
            at = 24
            for _ in range(count):
                name, at = _read_value(data, at, _STRING)
                (kind,) = struct.unpack_from("<I", data, at)
                value, at = _read_value(data, at + 4, kind)
                if name in names:
                    found[name] = value
                    if len(found) == len(names):
                        break
        except (struct.error, KeyError, IndexError, UnicodeDecodeError) as error:
            raise UserMistake(f"embedded: the header of {path} is damaged: {error}") from error
    return found


def _read_value(data: mmap.mmap, at: int, kind: int) -> tuple[Any, int]:
    if kind == _STRING:
        (size,) = struct.unpack_from("<Q", data, at)
        return data[at + 8 : at + 8 + size].decode("utf-8"), at + 8 + size
    if kind == _ARRAY:
        inner, count = struct.unpack_from("<IQ", data, at)
        at += 12
        if inner in _SCALARS:
            form = f"<{count}{_SCALARS[inner]}"
            return struct.unpack_from(form, data, at), at + struct.calcsize(form)
        values: list[Any] = []
        for _ in range(count):
            value, at = _read_value(data, at, inner)
            values.append(value)
        return values, at
    form = f"<{_SCALARS[kind]}"
    return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
