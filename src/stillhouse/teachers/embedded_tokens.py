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


class EmbeddedTokens:
    """Token counts of texts. path: another GGUF file with this tokenizer. Raises UserMistake without a model."""

    name = f"{MODEL_NAME} (embedded)"

    def __init__(self, path: str | None = None) -> None:
        self._ranks = _merge_ranks(str(find_model(path)))
        self._known: dict[str, int] = {}

    def __call__(self, texts: Iterable[str]) -> list[int]:
        """One count a text."""
        return [self.count(text) for text in texts]

    def count(self, text: str) -> int:
        known, total = self._known, 0
        for word in (_ASCII_WORDS if text.isascii() else _WORDS).findall(text):
            count = known.get(word)
            if count is None:
                count = _merged(word.encode("utf-8", "replace"), self._ranks)
                if len(known) < _MOST_REMEMBERED and len(word) < 100:
                    known[word] = count
            total += count
        return total


def _merged(word: bytes, ranks: Mapping[tuple[bytes, bytes], int]) -> int:
    """How many tokens a word has: merge the pair that was learnt first, the leftmost of equals, until none is left.

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
    count = len(parts)
    while heap:
        _, left, first, second = heapq.heappop(heap)
        right = after[left]
        if right >= len(parts) or parts[left] != first or parts[right] != second:
            continue  # one of the two has been merged since
        parts[left], parts[right] = first + second, b""
        after[left] = after[right]
        count -= 1
        if after[left] < len(parts):
            before[after[left]] = left
            offer(left, after[left])
        if before[left] >= 0:
            offer(before[left], left)
    return count


def count_tokens(texts: Iterable[str]) -> list[int]:
    """Tokens of each text by the embedded model's vocabulary, which is read once per process."""
    return _shared()(texts)


@functools.cache
def _shared() -> EmbeddedTokens:
    return EmbeddedTokens()


@functools.lru_cache(maxsize=2)
def _merge_ranks(path: str) -> dict[tuple[bytes, bytes], int]:
    """(left, right) -> the place at which the merge was learnt."""
    fields = read_gguf_fields(Path(path), {"tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.merges"})
    kind = (fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre"))
    if kind != ("gpt2", "smollm"):
        raise UserMistake(f"embedded: {path} has a tokenizer of kind {kind}; only that of SmolLM2 can be counted with")
    to_byte = {character: byte for byte, character in _byte_characters().items()}
    ranks: dict[tuple[bytes, bytes], int] = {}
    for rank, merge in enumerate(fields["tokenizer.ggml.merges"]):
        left, _, right = merge.partition(" ")
        pair = (bytes(to_byte[character] for character in left), bytes(to_byte[character] for character in right))
        ranks.setdefault(pair, rank)
    return ranks


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
