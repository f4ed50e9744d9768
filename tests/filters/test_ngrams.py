"""Repeated n-grams: exact counts against a Counter, the edges of the rule, and any split giving the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from stillhouse.filters.ngrams import RepeatedNgrams
from stillhouse.records import UserMistake

RANDOM = np.random.default_rng(4)


def prose(count: int) -> list[int]:
    return RANDOM.integers(0, 5000, count).tolist()


def spilled(folder: Path, texts: list[list[int]], shards: int = 1) -> list[tuple[Path, Path]]:
    files = []
    for number, part in enumerate(np.array_split(np.arange(len(texts)), shards)):
        tokens, offsets = folder / f"{number}-tokens.npy", folder / f"{number}-offsets.npy"
        np.save(tokens, np.array([t for i in part for t in texts[i]], np.uint32))
        np.save(offsets, np.cumsum([0, *(len(texts[i]) for i in part)], dtype=np.int64))
        files.append((tokens, offsets))
    return files


def judged(folder: Path, texts: list[list[int]], splits: int = 1, **settings):
    rule = RepeatedNgrams(**settings)
    files, windows = spilled(folder, texts), sum(map(len, texts))
    frequent = rule.merge([rule.count(files, split, splits, windows) for split in range(splits)])
    return rule.judge(np.load(files[0][0]), np.load(files[0][1]), frequent), frequent


@pytest.mark.parametrize(("shards", "splits"), [(1, 1), (3, 1), (2, 5)])
def test_counts_are_exact_however_they_are_split(tmp_path: Path, shards: int, splits: int) -> None:
    phrases = [prose(30) for _ in range(5)]
    texts = [prose(50) + phrases[i % 5] + prose(20) for i in range(200)] + [prose(10), [], [7] * 400]
    rule = RepeatedNgrams()
    files, windows = spilled(tmp_path, texts, shards), sum(map(len, texts))
    frequent = rule.merge([rule.count(files, split, splits, windows) for split in range(splits)])
    truth = Counter(tuple(text[k : k + 20]) for text in texts for k in range(len(text) - 19))
    assert sorted(frequent.counts.tolist()) == sorted(count for count in truth.values() if count > 20)


@pytest.mark.parametrize(("copies", "dropped"), [(20, 0), (21, 21)])
def test_twenty_occurrences_stay_and_twenty_one_do_not(tmp_path: Path, copies: int, dropped: int) -> None:
    phrase = prose(20)
    verdicts, _ = judged(tmp_path, [prose(40) + phrase for _ in range(copies)] + [prose(60)])
    assert [v.outcome for v, _ in verdicts].count("fail") == dropped


@pytest.mark.parametrize(("filling", "outcome"), [(79, "fail"), (80, "pass")])
def test_more_than_a_fifth_of_the_tokens_must_be_covered(tmp_path: Path, filling: int, outcome: str) -> None:
    phrase = prose(20)
    verdicts, _ = judged(tmp_path, [phrase + prose(20) for _ in range(21)] + [prose(filling) + phrase])
    assert verdicts[-1][0].outcome == outcome


def test_strict_drops_what_share_keeps(tmp_path: Path) -> None:
    phrase = prose(20)
    texts = [phrase + prose(20) for _ in range(21)] + [prose(200) + phrase, prose(50)]
    assert [v.outcome for v, _ in judged(tmp_path, texts)[0]][-2:] == ["pass", "pass"]
    assert [v.outcome for v, _ in judged(tmp_path, texts, mode="strict")[0]][-2:] == ["fail", "pass"]


def test_a_sample_that_alone_repeats_a_window_goes(tmp_path: Path) -> None:
    phrase = prose(20)
    alone = [t for _ in range(21) for t in (*phrase, *prose(100))]
    twenty = [t for _ in range(20) for t in (*alone[:20][::-1], *prose(100))]
    verdicts, _ = judged(tmp_path, [alone, twenty, prose(100)])
    assert [v.outcome for v, _ in verdicts] == ["fail", "pass", "pass"]
    assert "21 times in this response alone" in verdicts[0][0].reason
    assert alone[verdicts[0][1] : verdicts[0][1] + 20] == phrase


def test_memory_is_split_into_tasks() -> None:
    rule = RepeatedNgrams(sketch_mb=1)
    assert rule.splits(1000) == 1
    assert rule.splits(6 << 20) == 1
    assert rule.splits(60 << 20) == 10


@pytest.mark.parametrize("settings", [{"mode": "loose"}, {"most": 0}, {"most": 255}])
def test_impossible_settings_are_mistakes(settings) -> None:
    with pytest.raises(UserMistake):
        RepeatedNgrams(**settings)
