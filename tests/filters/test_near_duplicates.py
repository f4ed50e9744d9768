"""Near-duplicates: what LSH proposes and exact Jaccard decides, on planted edits and on the rules' edges."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

from stillhouse.filters.near_duplicates import NearDuplicates
from stillhouse.filters.words import folded

RANDOM = random.Random(3)
WORDS = ["".join(RANDOM.choice("abcdefghijklmnop") for _ in range(RANDOM.randint(3, 9))) for _ in range(3000)]


def prose(count: int) -> list[str]:
    return [RANDOM.choice(WORDS) for _ in range(count)]


def jaccard(left: str, right: str) -> float:
    """By the book: sets of 5-tuples of words."""
    sets = []
    for text in (left, right):
        words = folded(text)
        sets.append({tuple(words[i : i + 5]) for i in range(len(words) - 4)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1]) if sets[0] | sets[1] else 0.0


def edited(words: list[str], edits: int) -> list[str]:
    out = list(words)
    at = RANDOM.randrange(len(words) - edits)
    out[at : at + edits] = prose(edits)
    return out


def found(texts: list[str], groups: list[int] | None = None, **settings: int) -> dict[int, int]:
    """Row -> the kept row it is a near-duplicate of."""
    near = NearDuplicates(**settings)
    signed = near.sign(pa.array(texts), np.array(groups or [0] * len(texts), np.uint64))
    pairs = [np.zeros((0, 2), np.int64)]
    for band in signed.bands:
        rows = np.flatnonzero(band)
        pairs.append(near.candidates(band[rows], rows)[0])
    every = np.unique(np.concatenate(pairs), axis=0)
    share = near.similarity(signed, every[:, 0].copy(), every[:, 1].copy())
    gone, kept = near.first_kept(every[share >= near.threshold])
    return dict(zip(gone.tolist(), kept.tolist(), strict=True))


def test_planted_near_duplicates_are_found_and_nothing_else() -> None:
    texts, truth = [], {}
    for _ in range(1500):
        base = prose(60)
        texts.append(" ".join(base))
        for edits in (1, 4, 7):
            texts.append(" ".join(edited(base, edits)))
            if jaccard(texts[-1], " ".join(base)) >= 0.8:
                truth[len(texts) - 1] = True
    hits = found(texts)
    assert len(truth) > 1000
    assert len(set(truth) - set(hits)) <= 0.002 * len(truth)
    assert all(jaccard(texts[row], texts[kept]) >= 0.8 for row, kept in hits.items())


def test_similarity_is_the_exact_jaccard() -> None:
    texts = [" ".join(prose(40))]
    texts += [" ".join(edited(texts[0].split(), n)) for n in (1, 3, 9, 20)] + ["the same " * 20]
    near = NearDuplicates()
    signed = near.sign(pa.array(texts), np.zeros(len(texts), np.uint64))
    left = np.zeros(len(texts), np.int64)
    shares = near.similarity(signed, left, np.arange(len(texts)))
    assert shares.tolist() == [jaccard(texts[0], text) for text in texts]


BASE = "a farmer has 17 sheep and sells some of them at the big market before noon then walks home alone"


@pytest.mark.parametrize(
    ("other", "groups", "alike"),
    [
        (BASE.replace("alone", "slowly"), [1, 1], True),
        (BASE.replace("alone", "slowly"), [1, 2], False),
        (BASE.replace("17", "18"), [1, 1], False),
        (BASE.replace("a farmer", "one farmer"), [1, 1], False),
        (BASE.upper().replace("ALONE", "Slowly!"), [1, 1], True),
    ],
    ids=["one word", "another reference", "another number", "a number word", "case"],
)
def test_references_and_numbers_keep_questions_apart(other: str, groups: list[int], alike: bool) -> None:
    assert (found([BASE, other], groups) == {1: 0}) == alike


def test_under_eight_words_only_exact_duplicates_count() -> None:
    assert found(["what is the very next step", "what is the very next step"]) == {}
    assert found(["what is the very next step to take", "what is the very next step to take"]) == {1: 0}


def test_cjk_characters_are_words() -> None:
    text = "小明有很多苹果他把其中的一部分给了他的朋友们请问他现在还剩下多少个苹果呢请写出过程"
    assert found([text, text.replace("过程", "答案")]) == {1: 0}


def test_a_row_goes_only_for_a_row_that_stays() -> None:
    gone, kept = NearDuplicates.first_kept(np.array([[0, 1], [1, 2], [3, 4]]))
    assert dict(zip(gone.tolist(), kept.tolist(), strict=True)) == {1: 0, 4: 3}  # 2 resembles only 1, which is gone


def test_a_large_bucket_stays_linear_and_loses_no_copy() -> None:
    near = NearDuplicates()
    rows = np.arange(20_000)
    pairs, capped = near.candidates(np.full(len(rows), 7, np.uint64), rows)
    assert capped == 1
    assert len(pairs) < 40 * len(rows)
    assert set(pairs[:, 1].tolist()) == set(range(1, len(rows)))
