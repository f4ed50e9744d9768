"""Second step of curate: what only the whole corpus can tell, decided on arrays of numbers with bounded memory.

In: the shards' key, reference and band arrays. Out: for every row, in the order of reading, its state and the row it
matched. Exact duplicates go by ranges of keys, near-duplicates by bands; candidate pairs spill to disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.curating.reading import ALIVE, BENCHMARK, CONFLICT, DUPLICATE, NEAR, read_told
from stillhouse.engines.engine import Engine
from stillhouse.engines.shards import whole_file
from stillhouse.records import Part

ROWS_AT_ONCE = 4_000_000  # rows of a key range that are sorted in memory together
BAND_ROWS = 1_000_000  # hashes of a band that are; each may propose 32 pairs, where all rows are alike
PAIRS_AT_ONCE = 1_000_000  # proposed by all bands together for one range of rows

Rows = NDArray[np.int64]


@dataclass(slots=True)
class Corpus:
    """All rows in the order of reading: shard i holds rows starts[i]..starts[i + 1]. state: as in curate_reading;
    match: the row that a rejected one matched, or -1."""

    shards: list[Path]
    starts: Rows
    state: NDArray[np.uint8]
    match: Rows
    work: Path
    hit_files: list[str] = field(default_factory=list)  # in the order in which they were decided

    @classmethod
    def of(cls, shards: Sequence[tuple[str, int]], work: Path) -> Corpus:
        starts = np.concatenate([[0], np.cumsum([rows for _, rows in shards])]).astype(np.int64)
        folders = [Path(folder) for folder, _ in shards]
        state = np.concatenate([np.zeros(0, np.uint8), *(np.load(folder / "rule.npy") for folder in folders)])
        return cls(folders, starts, state, np.full(len(state), -1, np.int64), work)

    def spans(self) -> list[tuple[Path, int, int]]:
        return [(f, int(a), int(b)) for f, a, b in zip(self.shards, self.starts[:-1], self.starts[1:], strict=True)]

    def spill_state(self, name: str) -> Path:
        """The states as a file, for tasks in other processes."""
        path = self.work / f"{name}.npy"
        with whole_file(path) as place, place.open("wb") as out:
            np.save(out, self.state)
        return path


def drop_duplicates(corpus: Corpus, engine: Engine) -> None:
    """Mark exact duplicates (the first row stays) and copies with conflicting references (none stays). Rows without
    text, or without a reference that they need, are out of it; rows that a filter rejects are not."""
    parts = max(1, -(-len(corpus.state) // ROWS_AT_ONCE))
    state = corpus.spill_state("read")
    task = _Duplicates(corpus.spans(), state, parts, corpus.work)
    for path in engine.imap(task, range(parts)):
        found = np.load(path)
        corpus.state[found["row"]] = found["state"]
        corpus.match[found["row"]] = found["match"]


@dataclass(frozen=True, slots=True)
class _Duplicates:
    spans: list[tuple[Path, int, int]]
    state: Path
    parts: int
    work: Path

    def __call__(self, part: int) -> str:
        states = np.load(self.state, mmap_mode="r")
        columns: list[list[NDArray[Any]]] = [[], [], [], []]
        low_end, high_end = (part << 64) // self.parts, ((part + 1) << 64) // self.parts - 1
        for folder, start, end in self.spans:
            high = np.load(folder / "high.npy")
            own = states[start:end]
            chosen = np.flatnonzero((high >= np.uint64(low_end)) & (high <= np.uint64(high_end)) & _in_question(own))
            for column, values in zip(
                columns,
                (
                    high[chosen],
                    np.load(folder / "low.npy")[chosen],
                    start + chosen,
                    np.load(folder / "reference.npy")[chosen],
                ),
                strict=True,
            ):
                column.append(values)
        high, low, row, reference = (np.concatenate(c) if c else np.zeros(0, np.uint64) for c in columns)
        path = self.work / f"duplicates-{part:05d}.npy"
        with whole_file(path) as place, place.open("wb") as out:
            np.save(out, _judged(high, low, row.astype(np.int64), reference))
        return str(path)


def _in_question(state: NDArray[np.uint8]) -> NDArray[np.bool_]:
    asked: NDArray[np.bool_] = (state == ALIVE) | (state > DUPLICATE)
    return asked


_FOUND = np.dtype([("row", np.int64), ("state", np.uint8), ("match", np.int64)])


def _judged(high: NDArray[Any], low: NDArray[Any], row: Rows, reference: NDArray[Any]) -> NDArray[Any]:
    """Rows to mark among those of one key range."""
    order = np.lexsort((row, low, high))
    high, low, row, reference = high[order], low[order], row[order], reference[order]
    same = np.concatenate([[False], (high[1:] == high[:-1]) & (low[1:] == low[:-1])])[: len(row)]
    group = np.cumsum(~same) - 1
    first = np.flatnonzero(~same)
    repeated = np.bincount(group, minlength=len(first)) > 1
    marked: list[NDArray[Any]] = []
    held = np.flatnonzero(repeated[group] & (reference != 0)) if len(row) else np.zeros(0, np.int64)
    held = held[np.lexsort((reference[held], group[held]))]
    turns = np.flatnonzero((group[held][1:] == group[held][:-1]) & (reference[held][1:] != reference[held][:-1]))
    conflicting = np.zeros(len(first), np.bool_)
    conflicting[group[held[turns]]] = True
    clash = np.flatnonzero(conflicting[group]) if len(row) else np.zeros(0, np.int64)
    if len(clash):
        own, other = _two_sides(group, reference, held, turns)
        against = np.where(reference[clash] == reference[own[group[clash]]], other[group[clash]], own[group[clash]])
        marked.append(_found(row[clash], CONFLICT, row[against]))
    copies = np.flatnonzero(same & ~conflicting[group]) if len(row) else clash
    marked.append(_found(row[copies], DUPLICATE, row[first[group[copies]]]))
    return np.concatenate(marked)


def _two_sides(group: Rows, reference: NDArray[Any], held: Rows, turns: Rows) -> tuple[Rows, Rows]:
    """For each group in conflict, the places of two rows whose references differ."""
    own, other = np.zeros(group[-1] + 1, np.int64), np.zeros(group[-1] + 1, np.int64)
    own[group[held[turns]]], other[group[held[turns]]] = held[turns], held[turns + 1]
    return own, other


def _found(rows: Rows, state: int, match: Rows) -> NDArray[Any]:
    out = np.empty(len(rows), _FOUND)
    out["row"], out["state"], out["match"] = rows, state, match
    return out


def drop_near_duplicates(corpus: Corpus, engine: Engine, part: Part) -> dict[str, int]:
    """Mark near-duplicates of earlier rows that stay. Returns counts of candidates and of buckets cut short."""
    near = part.build()
    state = corpus.spill_state("alive")
    alive = int((corpus.state == ALIVE).sum())
    splits = max(1, -(-alive // BAND_ROWS))
    bands = _Bands(corpus.spans(), state, splits, part, corpus.work)
    shares = [(band, split) for split in range(splits) for band in range(near.bands)]
    files, capped = [], 0
    for path, short in engine.imap(bands, shares):
        files.append(path)
        capped += short
    candidates = similar = 0
    gone = np.full(len(corpus.state), -1, np.int64)
    task = _Similar(corpus.spans(), tuple(files), part, corpus.work)
    for path, proposed in engine.imap(task, _ranges(files, len(corpus.state))):  # in the order of the later rows
        pairs = np.load(path)
        near.drop(pairs, gone)
        candidates, similar = candidates + proposed, similar + len(pairs)
    rows = np.flatnonzero(gone >= 0)
    corpus.state[rows], corpus.match[rows] = NEAR, gone[rows]
    return {"candidates": candidates, "similar": similar, "large_buckets": capped}


def _ranges(files: Sequence[str], rows: int) -> list[tuple[int, int]]:
    """Ranges of later rows such that what all bands propose for one fits in memory."""
    counts = np.zeros(rows + 1, np.int64)
    for path in files:
        later, times = np.unique(np.load(path, mmap_mode="r")[:, 1], return_counts=True)
        counts[later + 1] += times
    share = np.cumsum(counts) // PAIRS_AT_ONCE
    starts = np.flatnonzero(np.diff(share, prepend=-1))
    ends = np.append(starts[1:], rows)
    return [(int(a), int(b)) for a, b in zip(starts, ends, strict=True) if counts[a + 1 : b + 1].any()]


@dataclass(frozen=True, slots=True)
class _Bands:
    spans: list[tuple[Path, int, int]]
    state: Path
    splits: int
    part: Part
    work: Path

    def __call__(self, share: tuple[int, int]) -> tuple[str, int]:
        band, split = share
        states = np.load(self.state, mmap_mode="r")
        low_end, high_end = (split << 64) // self.splits, ((split + 1) << 64) // self.splits - 1
        hashes, rows = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for folder, start, end in self.spans:
            own = np.load(folder / "bands.npy", mmap_mode="r")[band]
            chosen = (states[start:end] == ALIVE) & (own != 0)
            chosen &= (own >= np.uint64(low_end)) & (own <= np.uint64(high_end))
            rows.append(start + np.flatnonzero(chosen))
            hashes.append(own[chosen])
        pairs, capped = self.part.build().candidates(np.concatenate(hashes), np.concatenate(rows))
        path = self.work / f"pairs-{band:03d}-{split:05d}.npy"
        with whole_file(path) as place, place.open("wb") as out:
            np.save(out, pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))])
        return str(path), capped


@dataclass(frozen=True, slots=True)
class _Similar:
    """Decides what the bands propose for a range of later rows. files: pairs of each band, sorted by later row."""

    spans: list[tuple[Path, int, int]]
    files: tuple[str, ...]
    part: Part
    work: Path

    def __call__(self, chunk: tuple[int, int]) -> tuple[str, int]:
        near = self.part.build()
        found = [np.zeros((0, 2), np.int64)]
        for file in self.files:
            every = np.load(file, mmap_mode="r")
            start, end = np.searchsorted(every[:, 1], chunk)
            found.append(np.array(every[start:end]))
        pairs = np.unique(np.concatenate(found), axis=0)
        rows, places = np.unique(pairs, return_inverse=True)
        places = places.reshape(-1, 2)
        shingles, lengths = [np.zeros(0, np.uint64)], [np.zeros(1, np.int64)]
        for folder, start, end in self.spans:
            own = rows[np.searchsorted(rows, start) : np.searchsorted(rows, end)] - start
            if len(own):
                offsets = np.load(folder / "offsets.npy")
                values = np.load(folder / "shingles.npy", mmap_mode="r")
                shingles += [values[offsets[o] : offsets[o + 1]] for o in own.tolist()]
                lengths.append(offsets[own + 1] - offsets[own])
        signed = near.signed(np.concatenate(shingles), np.cumsum(np.concatenate(lengths)))
        share = near.similarity(signed, places[:, 0].copy(), places[:, 1].copy())
        path = self.work / f"similar-{chunk[0]:012d}.npy"
        with whole_file(path) as place, place.open("wb") as out:
            np.save(out, pairs[share >= near.threshold])
        return str(path), len(pairs)


def drop_benchmark_hits(corpus: Corpus, name: str = "hits.arrow") -> None:
    """Mark the rows that stand so far and match a benchmark; match holds the number of the benchmark's item."""
    corpus.hit_files.append(name)
    for folder, start, _ in corpus.spans():
        hits = read_told(folder / name)
        rows = start + hits["ordinal"].to_numpy()
        fresh = corpus.state[rows] == ALIVE
        corpus.state[rows[fresh]] = BENCHMARK
        corpus.match[rows[fresh]] = hits["item"].to_numpy()[fresh]
