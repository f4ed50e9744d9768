"""Third step of curate: a range of keys at a time, rows that stand are checked by their verifier and written.

In: the shards, every row's state and match. Out: parquet parts of kept and rejected rows, sorted by key, each rejected
one with its rule, reason, and the text it matched and where that came from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stillhouse.curating.checking import SelfCheck
from stillhouse.curating.reading import (
    BENCHMARK,
    CONFLICT,
    DUPLICATE,
    FILTERED,
    MATCH_CHARACTERS,
    NEAR,
    NO_REFERENCE,
    NO_TEXT,
    read_told,
)
from stillhouse.curating.tables import SPILLED, to_queries
from stillhouse.engines.shards import told_when_full, whole_file
from stillhouse.records import Part, Query
from stillhouse.store.tables import QUERIES, REJECTED, row_to_query, write_table

RULES = {NO_TEXT: "no_text", NO_REFERENCE: "no_reference", CONFLICT: "conflicting_reference", DUPLICATE: "duplicate",
         NEAR: "near_duplicate"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Group:
    """A range of keys by their upper 64 bits, both ends included."""

    number: int
    low: int
    high: int


@dataclass(slots=True)
class Written:
    """What one group came to. hits: rows rejected for a benchmark: item, rule, key, id, source, match."""

    kept: str
    rejected: str
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # (source, category, rule or "kept")
    hits: list[tuple[int, str, str, str | None, str, str]] = field(default_factory=list)

    def to_json(self) -> bytes:
        return orjson.dumps([[[*name, n] for name, n in self.counts.items()], self.hits])

    @staticmethod
    def from_json(kept: str, rejected: str, data: bytes) -> Written:
        counts, hits = orjson.loads(data)
        found = Counter({(source, category, rule): n for source, category, rule, n in counts})
        return Written(kept, rejected, found, [tuple(hit) for hit in hits])


@dataclass(frozen=True, slots=True)
class _Slice:
    """rows: numbers of a group's rows, sorted by key and, within one key, as read; table: the same rows unsorted,
    order: where in it each of them stands; told: row number -> what the shard tells of it."""

    rows: NDArray[np.int64]
    table: pa.Table
    order: NDArray[np.int64]
    told: dict[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class WriteGroup:
    """Callable of the engine. spans: (shard, first row, end); state and match: spilled arrays over all rows."""

    spans: list[tuple[Path, int, int]]
    state: Path
    match: Path
    avoid: Path | None
    hit_files: tuple[str, ...]
    verifiers: Mapping[str, Part]
    supplied: frozenset[str]
    folder: Path
    decided: str  # names the states and matches: a part that was written by others is written again

    def __call__(self, group: Group) -> Written:
        done = self.folder / f"written-{self.decided}-{group.number:05d}.json"
        kept, rejected = (self.folder / f"{stem}-{group.number:05d}.parquet" for stem in ("kept", "rejected"))
        if done.exists() and kept.exists() and rejected.exists():  # they move away when the stage is published
            return Written.from_json(str(kept), str(rejected), done.read_bytes())
        outcome = self._write(group, Written(str(kept), str(rejected)))
        with whole_file(done) as place:
            place.write_bytes(outcome.to_json())
        return outcome

    def _write(self, group: Group, outcome: Written) -> Written:
        slice_ = self._rows(group)
        rows, order = slice_.rows, slice_.order
        state = np.load(self.state, mmap_mode="r")[rows]
        stands = np.flatnonzero(state == 0)
        kept = to_queries(slice_.table.take(order[stands]))
        checked = self._check(kept)
        passed = np.array([reason is None for reason in checked], np.bool_)
        set_aside = pa.table({
            "rule": pa.array([r[0] for r in checked if r is not None], pa.string()),
            "reason": pa.array([r[1] for r in checked if r is not None], pa.string()),
        })  # fmt: skip
        failed = kept.filter(pa.array(~passed))
        for name in ("rule", "reason"):
            failed = failed.append_column(name, set_aside[name])
        for name in ("match", "match_source"):
            failed = failed.append_column(name, pa.nulls(failed.num_rows, pa.string()))
        kept = kept if passed.all() else kept.filter(pa.array(passed))
        gone = np.flatnonzero(state != 0)
        rejected = self._explained(
            to_queries(slice_.table.take(order[gone])), rows[gone], state[gone], slice_.told, outcome
        )
        rejected = pa.concat_tables([rejected, failed.select(rejected.column_names)]).sort_by("key")
        with told_when_full(self.folder):
            write_table(Path(outcome.kept), kept, QUERIES)
            write_table(Path(outcome.rejected), rejected.select(REJECTED.names), REJECTED)
        _count(outcome.counts, kept, ["kept"] * kept.num_rows)
        _count(outcome.counts, rejected, rejected["rule"].to_pylist())
        return outcome

    def _rows(self, group: Group) -> _Slice:
        """The rows of a group. Of each shard only what lies in the range of keys is touched."""
        tables, numbers, keys = [SPILLED.empty_table()], [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
        lows, told = [np.zeros(0, np.uint64)], {}
        for folder, start, _ in self.spans:
            high = np.load(folder / "sorted.npy", mmap_mode="r")
            first = int(np.searchsorted(high, np.uint64(group.low)))
            end = int(np.searchsorted(high, np.uint64(group.high), side="right"))
            if first == end:
                continue
            own = np.array(np.load(folder / "order.npy", mmap_mode="r")[first:end])
            with pa.memory_map(str(folder / "rows.arrow")) as source, pa.ipc.open_file(source) as file:
                tables.append(file.read_all().slice(first, end - first))
            numbers.append(start + own)
            keys.append(np.array(high[first:end]))
            lows.append(np.load(folder / "low.npy", mmap_mode="r")[own])
            for name in ("flags.arrow", *reversed(self.hit_files)):  # of two hits the one that was decided first stands
                for row in read_told(folder / name, first, end).to_pylist():
                    told[start + row["ordinal"]] = row
        rows = np.concatenate(numbers)
        order = np.lexsort((rows, np.concatenate(lows), np.concatenate(keys)))
        return _Slice(rows[order], pa.concat_tables(tables), order, told)

    # ---- the gold self-check ----

    def _check(self, table: pa.Table) -> list[tuple[str, str] | None]:
        """Per row None where it may stay, else rule and reason."""
        places: dict[str, list[int]] = {}
        for place, category in enumerate(table["category"].to_pylist()):
            places.setdefault(category, []).append(place)

        def read(chosen: Sequence[int]) -> Iterator[Query]:
            return map(row_to_query, table.take(chosen).to_pylist())

        told = SelfCheck(self.verifiers, self.supplied).words(places, read)
        return [told.get(place) for place in range(table.num_rows)]

    # ---- why rows were rejected ----

    def _explained(
        self, table: pa.Table, rows: NDArray[np.int64], state: NDArray[np.uint8], told: Mapping[int, Mapping[str, Any]],
        outcome: Written,
    ) -> pa.Table:  # fmt: skip
        size = len(rows)
        rule, reason = [RULES.get(int(s), "") for s in state], [""] * size
        match: list[str | None] = [None] * size
        source: list[str | None] = [None] * size
        for place in np.flatnonzero(np.isin(state, (NO_TEXT, NO_REFERENCE, FILTERED, BENCHMARK))).tolist():
            row = told[int(rows[place])]
            rule[place], reason[place], match[place] = row["rule"], row["reason"], row["match"] or None
        self._from_rows(rows, state, reason, match, source, table)
        hit = np.flatnonzero(state == BENCHMARK).tolist()
        if hit and self.avoid is not None:
            items = pq.read_table(self.avoid, columns=["name", "item"])
            keys, ids, sources = table["key"].to_pylist(), table["id"].to_pylist(), table["source"].to_pylist()
            for place in hit:
                item = told[int(rows[place])]["item"]
                source[place] = items["name"][item].as_py()
                reason[place] = f"matches {items['item'][item].as_py()} of {source[place]}"
                found = (item, rule[place], keys[place], ids[place], sources[place], match[place] or "")
                outcome.hits.append(found)
        for name, values in (("rule", rule), ("reason", reason), ("match", match), ("match_source", source)):
            table = table.append_column(name, pa.array(values, pa.string()))
        return table

    def _from_rows(
        self, rows: NDArray[np.int64], state: NDArray[np.uint8], reason: list[str], match: list[str | None],
        source: list[str | None], table: pa.Table,
    ) -> None:  # fmt: skip
        """Copies and near-duplicates: the text, source and origin of the row that each matched."""
        chosen = np.flatnonzero(np.isin(state, (DUPLICATE, CONFLICT, NEAR)))
        others = np.load(self.match, mmap_mode="r")[rows[chosen]]
        order = np.argsort(others, kind="stable")
        chosen, others = chosen[order], others[order]
        own = table["ground_truth"]
        for folder, start, end in self.spans:
            low, high = np.searchsorted(others, (start, end))
            if low == high:
                continue
            wanted = np.load(folder / "position.npy", mmap_mode="r")[others[low:high] - start]
            with pa.memory_map(str(folder / "rows.arrow")) as mapped, pa.ipc.open_file(mapped) as file:
                found = _take(file, wanted, ["query", "source", "origin", "ground_truth"])
            for place, other in zip(chosen[low:high].tolist(), found, strict=True):
                source[place] = other["source"]
                if state[place] == CONFLICT:
                    match[place] = other["ground_truth"][:MATCH_CHARACTERS]
                    mine, theirs = _short(own[place].as_py()), _short(other["ground_truth"])
                    reason[place] = f"reference {mine} here, {theirs} at {other['origin']}"
                else:
                    match[place] = other["query"][:MATCH_CHARACTERS]
                    alike = "the same" if state[place] == DUPLICATE else "nearly the same"
                    reason[place] = f"{alike} as {other['origin']}"


def _take(file: Any, wanted: NDArray[np.int64], columns: list[str]) -> list[dict[str, Any]]:
    """Rows of an arrow file by position, in the order asked."""
    rows: list[dict[str, Any]] = file.read_all().select(columns).take(wanted).to_pylist()
    return rows


def _short(text: str | None) -> str:
    return repr(text if text is None or len(text) <= 60 else text[:57] + "...")


def _count(counts: Counter[tuple[str, str, str]], table: pa.Table, rules: Sequence[str]) -> None:
    if not table.num_rows:
        return
    named = pa.table({"source": table["source"], "category": table["category"], "rule": pa.array(rules, pa.string())})
    grouped = named.group_by(["source", "category", "rule"]).aggregate([([], "count_all")]).to_pylist()
    for row in grouped:
        counts[row["source"], row["category"], row["rule"]] += row["count_all"]
