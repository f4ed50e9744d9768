"""Words as hashes: the same words for the same text however it is written, and numbers that tell questions apart."""

from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.filters.words import folded, split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, World!", ["hello", "world"]),
        ("don't stop", ["don", "t", "stop"]),
        ("x²+1.5", ["x2", "1", "5"]),
        ("你好 world", ["你", "好", "world"]),
        ("ＡＢＣ １２", ["abc", "12"]),
        ("STRASSE Straße", ["strasse", "strasse"]),
        ("カタカナ", ["カ", "タ", "カ", "ナ"]),
        ("안녕 하세요", ["안녕", "하세요"]),
        ("naïve café", ["naïve", "café"]),
        ("", []),
        (" .,;! ", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert folded(text) == words


def test_case_punctuation_and_white_space_do_not_change_words() -> None:
    words = split_words(pa.array(["What is the Sum?", "what   is, the\n-- SUM", "Ünïcode ﬁt", "üNÏCODE fit"]))
    first, second, third, fourth = (
        words.hashes[a:b].tolist() for a, b in zip(words.offsets[:-1], words.offsets[1:], strict=True)
    )
    assert first == second
    assert third == fourth


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("a farm has 17 cows", "a farm has 18 cows", False),
        ("a farm has 17 cows", "the farm had 17 cows", True),
        ("3 and then 5", "5 and then 3", False),
        ("x - 3 = 0", "x + 3 = 0", False),
        ("find -3", "find 3", False),
        ("about 1.5 litres", "about 15 litres", False),
        ("about 1.5 litres", "about 1 5 litres", False),
        ("the end. 5 cows", "the end 5 cows", True),
        ("three cows", "four cows", False),
        ("the largest cow", "the smallest cow", True),
        ("有三个苹果", "有四个苹果", False),
        ("有三个苹果", "有三个香蕉", True),
        ("$3$ apples", "3 apples", True),
    ],
)
def test_numbers_tell_questions_apart(left: str, right: str, same: bool) -> None:
    left_hash, right_hash = split_words(pa.array([left, right])).numbers
    assert (left_hash == right_hash) == same


@given(st.lists(st.text(max_size=60), max_size=8))
def test_any_text_has_words_within_its_bytes(texts: list[str]) -> None:
    texts = [t.encode("utf-8", "replace").decode() for t in texts]
    words = split_words(pa.array(texts, pa.large_string()))
    assert len(words.offsets) == len(texts) + 1
    assert (np.diff(words.offsets) >= 0).all() and words.offsets[-1] == len(words.hashes)
    assert (words.starts < words.ends).all() and (words.ends[:-1] <= words.starts[1:]).all()
    for i, text in enumerate(texts):
        alone = split_words(pa.array([text], pa.large_string()))
        assert alone.hashes.tolist() == words.hashes[words.offsets[i] : words.offsets[i + 1]].tolist()


@given(st.text(max_size=80))
def test_hashes_are_equal_exactly_when_words_are(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    words = split_words(pa.array([text, text.upper().lower()]))
    spelt = [words.text(j, j) for j in range(len(words.hashes))]
    by_hash: dict[int, set[str]] = {}
    for value, word in zip(words.hashes.tolist(), spelt, strict=True):
        by_hash.setdefault(value, set()).add(unicodedata.normalize("NFKC", word).casefold())
    assert all(len(found) == 1 for found in by_hash.values())


def test_slices_nulls_and_chunks_are_read_right() -> None:
    array = pa.array(["one", None, "two three", ""])
    assert np.diff(split_words(array).offsets).tolist() == [1, 0, 2, 0]
    assert np.diff(split_words(array[2:]).offsets).tolist() == [2, 0]
    assert np.diff(split_words(pa.chunked_array([array, array])).offsets).tolist() == [1, 0, 2, 0] * 2
    assert split_words(pa.array([], pa.string())).offsets.tolist() == [0]
