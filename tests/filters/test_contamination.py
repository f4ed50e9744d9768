"""Decontamination by words: equality after normalisation, any 13-gram, and the text that matched."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from stillhouse.filters.contamination import Contamination
from stillhouse.filters.words import folded

RANDOM = random.Random(11)
WORDS = ["".join(RANDOM.choice("abcdefghijklmnop") for _ in range(RANDOM.randint(3, 9))) for _ in range(3000)]


def prose(count: int) -> str:
    return " ".join(RANDOM.choice(WORDS) for _ in range(count))


ITEM = prose(40)
PART = " ".join(ITEM.split()[20:33])


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (ITEM, "benchmark_equal"),
        (ITEM.upper().replace(" ", "  ,") + "?!", "benchmark_equal"),
        (f"{prose(5)} {PART} {prose(9)}", "benchmark_ngram"),
        (PART, "benchmark_ngram"),
        (PART.replace(" ", "; ").title(), "benchmark_ngram"),
        (f"{prose(5)} {' '.join(PART.split()[1:])} {prose(9)}", None),
        ("Short item here", "benchmark_equal"),
        ("a short item here and there", None),
        ("", None),
        ("?!", None),
    ],
)
def test_texts(text: str, rule: str | None) -> None:
    index = Contamination().index([prose(30), ITEM, "short  ITEM, here!", "..."])
    hits = index.judge(pa.array([prose(50), text]))
    assert [(hit.row, hit.rule) for hit in hits] == ([(1, rule)] if rule else [])
    if rule == "benchmark_ngram":
        assert folded(hits[0].match) == PART.split() and hits[0].item == 1


def test_the_match_is_as_long_as_the_texts_agree() -> None:
    longer = " ".join(ITEM.split()[5:30])
    (hit,) = Contamination().index([ITEM]).judge(pa.array([f"{prose(3)} {longer} {prose(3)}"]))
    assert hit.match == longer


def test_cjk_characters_count_as_words() -> None:
    item = "已知函数的图像经过原点并且在区间上单调递增求实数的取值范围"
    (hit,) = Contamination().index([item]).judge(pa.array([f"题目：{item[3:17]}。请回答", item[:12]]))
    assert (hit.row, hit.rule, hit.match) == (0, "benchmark_ngram", item[3:17])


def test_every_planted_window_is_found_wherever_it_lies() -> None:
    items = [prose(60) for _ in range(300)]
    texts = []
    for number in range(3000):
        words = prose(60).split()
        if number % 3 == 0:
            item = RANDOM.choice(items).split()
            at, start = RANDOM.randrange(47), RANDOM.randrange(47)
            words[at : at + 13] = item[start : start + 13]
        texts.append(" ".join(words))
    hits = Contamination().index(items).judge(pa.array(texts))
    assert {hit.row for hit in hits} == set(range(0, 3000, 3))


def test_nothing_to_avoid_hits_nothing() -> None:
    assert Contamination().index([]).judge(pa.array([ITEM])) == []
