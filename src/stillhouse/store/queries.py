"""The kept queries of a run: keys in memory, texts on disk.

In: `1-queries/kept*.parquet`. Out: sorted keys as raw bytes, what the loop's state arrays run over, and the
queries of chosen positions in order, a row group at a time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stillhouse.records import Query, content_hash
from stillhouse.store.index import SortedKeys
from stillhouse.store.tables import row_to_query

_COLUMNS = ("key", "prompt", "category", "ground_truth", "test_case", "instruction_constrain")
Keys = NDArray[Any]  # dtype S16: 128-bit content keys as raw bytes


def raw_keys(keys: Sequence[str]) -> Keys:
    """Hex keys as an S16 array; sorts as the hex does."""
    return (
        np.frombuffer(b"".join(bytes.fromhex(k) for k in keys), dtype="V16").view("S16") if keys else np.empty(0, "S16")
    )


class QueryTable:
    """Positions are rows in file order, file by file. voted: references by query key that stand for those of the files
    (store/references.py)."""

    def __init__(self, files: Sequence[Path], voted: Mapping[str, str] | None = None) -> None:
        self._voted = voted or {}
        self.files = [pq.ParquetFile(f) for f in files]
        self._groups = [(f, g) for f in self.files for g in range(f.num_row_groups)]
        sizes = [f.metadata.row_group(g).num_rows for f, g in self._groups]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.categories: list[str] = []
        keys, prompts, references = bytearray(), bytearray(), bytearray()
        for file, group in self._groups:
            of = file.read_row_group(group, columns=list(_COLUMNS), use_threads=False).to_pydict()
            keys += bytes.fromhex("".join(of["key"]))
            prompts += bytes.fromhex("".join(of["prompt"]))
            truths = [self._voted.get(key, truth) for key, truth in zip(of["key"], of["ground_truth"], strict=True)]
            told = zip(truths, of["test_case"], of["instruction_constrain"], strict=True)
            references += bytes.fromhex("".join([content_hash(a or "", b or "", c or "") for a, b, c in told]))
            self.categories += map(sys.intern, of["category"])
        self.keys, self.prompts, self.references = (
            np.frombuffer(held, "V16").view("S16") for held in (keys, prompts, references)
        )
        self._order = np.argsort(self.prompts, kind="stable")
        self._sorted = SortedKeys(self.prompts[self._order])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def positions(self, prompts: Keys) -> NDArray[Any]:
        """Position of each prompt key (S16), -1 where the run has no such query."""
        at = self._sorted.find(prompts)
        return np.where(at >= 0, self._order[at], -1) if len(self) else at

    def read(self, wanted: NDArray[Any] | None = None) -> Iterator[Query]:
        """The queries at the given sorted positions (all without), a row group at a time."""
        for query, _ in self.read_at(wanted):
            yield query

    def read_at(self, wanted: NDArray[Any] | None = None) -> Iterator[tuple[Query, int]]:
        """The same with each query's position."""
        for (file, group), start, end in zip(self._groups, self._starts[:-1], self._starts[1:], strict=True):
            rows = None
            if wanted is not None:
                low, high = np.searchsorted(wanted, [start, end])
                if low == high:
                    continue
                rows = wanted[low:high] - start
            table = file.read_row_group(group)
            table = table if rows is None else table.take(rows)
            places = range(int(end - start)) if rows is None else rows.tolist()
            for row, place in zip(table.to_pylist(), places, strict=True):
                query = row_to_query(row)
                if query.key in self._voted:
                    query = replace(query, ground_truth=self._voted[query.key])
                yield query, int(start) + place
