"""Third step of curate: a range of keys at a time, rows that stand are checked by their verifier and written.

In: the shards, every row's state and match. Out: parquet parts of kept and rejected rows, sorted by key, each rejected
one with its rule, reason, and the text it matched and where that came from.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stillhouse.engines.shards import told_when_full
from stillhouse.records import Part, Query, UserMistake, Verdict
from stillhouse.stages.curate_reading import (
    BENCHMARK,
    CONFLICT,
    DUPLICATE,
    FILTERED,
    MATCH_CHARACTERS,
    NEAR,
    NO_REFERENCE,
    NO_TEXT,
)
from stillhouse.store.tables import QUERIES, REJECTED, row_to_query, write_table
from stillhouse.workers import WorkerDied, WorkerError, WorkerPool, WorkerTimeout

CHECK_SECONDS = 3.0  # of a verifier that names no deadline of its own
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

    def __call__(self, group: Group) -> Written:
        rows, table, order = self._rows(group)
        state = np.load(self.state, mmap_mode="r")[rows]
        stands = np.flatnonzero(state == 0)
        outcome = Written(
            str(self.folder / f"kept-{group.number:05d}.parquet"),
            str(self.folder / f"rejected-{group.number:05d}.parquet"),
        )
        kept = table.take(order[stands])
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
        rejected = self._explained(table.take(order[gone]), rows[gone], state[gone], outcome)
        rejected = pa.concat_tables([rejected, failed.select(rejected.column_names)]).sort_by("key")
        with told_when_full(self.folder):
            write_table(Path(outcome.kept), kept, QUERIES)
            write_table(Path(outcome.rejected), rejected.select(REJECTED.names), REJECTED)
        _count(outcome.counts, kept, ["kept"] * kept.num_rows)
        _count(outcome.counts, rejected, rejected["rule"].to_pylist())
        return outcome

    def _rows(self, group: Group) -> tuple[NDArray[np.int64], pa.Table, NDArray[np.int64]]:
        """The rows of a group: their numbers, sorted by key and, within one key, as read; an unsorted table, and
        where in it each of them stands."""
        tables, numbers, keys = [QUERIES.empty_table()], [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
        lows = [np.zeros(0, np.uint64)]
        for folder, start, _ in self.spans:
            order = np.load(folder / "order.npy", mmap_mode="r")
            high = np.load(folder / "high.npy", mmap_mode="r")[order]
            first = int(np.searchsorted(high, np.uint64(group.low)))
            end = int(np.searchsorted(high, np.uint64(group.high), side="right"))
            if first == end:
                continue
            own = np.asarray(order[first:end])
            with pa.memory_map(str(folder / "rows.arrow")) as source, pa.ipc.open_file(source) as file:
                tables.append(file.read_all().slice(first, end - first))
            numbers.append(start + own)
            keys.append(high[first:end])
            lows.append(np.load(folder / "low.npy", mmap_mode="r")[own])
        rows, table = np.concatenate(numbers), pa.concat_tables(tables)
        order = np.lexsort((rows, np.concatenate(lows), np.concatenate(keys)))
        return rows[order], table, order

    # ---- the gold self-check ----

    def _check(self, table: pa.Table) -> list[tuple[str, str] | None]:
        """Per row None where it may stay, else rule and reason. Verifiers run in a process of their own."""
        out: list[tuple[str, str] | None] = [None] * table.num_rows
        categories = table["category"].to_pylist()
        parts = {name: part for name, part in self.verifiers.items() if name in set(categories)}
        if not parts:
            return out
        with WorkerPool(parts, workers=1) as pool:
            for name, part in parts.items():
                places = [i for i, category in enumerate(categories) if category == name]
                results = pool.imap(name, "check", self._asked(table, places), deadline=_deadline(part))
                for place, result in zip(places, results, strict=True):
                    out[place] = self._word(result, name, table, place)
        return out

    @staticmethod
    def _asked(table: pa.Table, places: Sequence[int]) -> Iterator[tuple[Query]]:
        for start in range(0, len(places), 512):
            for row in table.take(places[start : start + 512]).to_pylist():
                yield (row_to_query(row),)

    def _word(self, result: Any, category: str, table: pa.Table, place: int) -> tuple[str, str] | None:
        if isinstance(result, WorkerTimeout | WorkerDied):
            return "self_check", f"its verifier did not end on its own reference: {result}"
        if isinstance(result, WorkerError):
            return "self_check", f"its verifier raised: {str(result).strip().splitlines()[-1]}"
        if isinstance(result, Exception):
            raise result
        verdict: Verdict = result
        if verdict.outcome == "pass":
            return None
        if verdict.outcome == "unknown" and verdict.transient:
            raise UserMistake(
                f"the verifier of category {category} cannot check references now: {verdict.reason}; mend that and "
                "run again: what was read stays"
            )
        if verdict.rule == "no_reference":
            return None if category in self.supplied else ("no_reference", verdict.reason)
        return "self_check", f"{verdict.rule}: {verdict.reason}" if verdict.reason else verdict.rule

    # ---- why rows were rejected ----

    def _explained(
        self, table: pa.Table, rows: NDArray[np.int64], state: NDArray[np.uint8], outcome: Written
    ) -> pa.Table:
        size = len(rows)
        rule, reason = [RULES.get(int(s), "") for s in state], [""] * size
        match: list[str | None] = [None] * size
        source: list[str | None] = [None] * size
        self._from_flags(rows, state, rule, reason, match)
        self._from_rows(rows, state, reason, match, source, table)
        self._from_hits(rows, state, rule, reason, match, source)
        keys, ids, sources = table["key"].to_pylist(), table["id"].to_pylist(), table["source"].to_pylist()
        items = np.load(self.match, mmap_mode="r")[rows]
        for i in np.flatnonzero(state == BENCHMARK).tolist():
            outcome.hits.append((int(items[i]), rule[i], keys[i], ids[i], sources[i], match[i] or ""))
        for name, values in (("rule", rule), ("reason", reason), ("match", match), ("match_source", source)):
            table = table.append_column(name, pa.array(values, pa.string()))
        return table

    def _by_shard(self, rows: NDArray[np.int64]) -> Iterator[tuple[Path, int, NDArray[np.int64]]]:
        """For each shard that holds some of the (unsorted) rows: its folder, first row, and places in `rows`."""
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        for folder, start, end in self.spans:
            places = order[np.searchsorted(ordered, start) : np.searchsorted(ordered, end)]
            if len(places):
                yield folder, start, places

    def _from_flags(
        self,
        rows: NDArray[np.int64],
        state: NDArray[np.uint8],
        rule: list[str],
        reason: list[str],
        match: list[str | None],
    ) -> None:
        chosen = np.flatnonzero((state == NO_TEXT) | (state == NO_REFERENCE) | (state == FILTERED))
        for folder, start, places in self._by_shard(rows[chosen]):
            flags = pq.read_table(folder / "flags.parquet").to_pydict()
            at = {ordinal: i for i, ordinal in enumerate(flags["ordinal"])}
            for place in chosen[places].tolist():
                i = at[int(rows[place]) - start]
                rule[place], reason[place], match[place] = (
                    flags["rule"][i],
                    flags["reason"][i],
                    flags["match"][i] or None,
                )

    def _from_rows(
        self, rows: NDArray[np.int64], state: NDArray[np.uint8], reason: list[str], match: list[str | None],
        source: list[str | None], table: pa.Table,
    ) -> None:  # fmt: skip
        """Copies and near-duplicates: the text, source and origin of the row that each matched."""
        chosen = np.flatnonzero((state == DUPLICATE) | (state == CONFLICT) | (state == NEAR))
        others = np.load(self.match, mmap_mode="r")[rows[chosen]]
        own = table["ground_truth"]
        for folder, start, places in self._by_shard(others):
            order = np.load(folder / "order.npy")
            position = np.empty_like(order)
            position[order] = np.arange(len(order))
            wanted = position[others[places] - start]
            with pa.memory_map(str(folder / "rows.arrow")) as mapped, pa.ipc.open_file(mapped) as file:
                found = _take(file, wanted, ["query", "source", "origin", "ground_truth"])
            for place, other in zip(chosen[places].tolist(), found, strict=True):
                source[place] = other["source"]
                if state[place] == CONFLICT:
                    match[place] = other["ground_truth"][:MATCH_CHARACTERS]
                    mine = own[place].as_py()
                    reason[place] = (
                        f"reference {_short(mine)} here, {_short(other['ground_truth'])} at {other['origin']}"
                    )
                else:
                    match[place] = other["query"][:MATCH_CHARACTERS]
                    reason[place] = (
                        f"{'the same' if state[place] == DUPLICATE else 'nearly the same'} as {other['origin']}"
                    )

    def _from_hits(
        self, rows: NDArray[np.int64], state: NDArray[np.uint8], rule: list[str], reason: list[str],
        match: list[str | None], source: list[str | None],
    ) -> None:  # fmt: skip
        chosen = np.flatnonzero(state == BENCHMARK)
        if not len(chosen) or self.avoid is None:
            return
        items = pq.read_table(self.avoid, columns=["name", "item"])
        for folder, start, places in self._by_shard(rows[chosen]):
            hits: dict[int, tuple[int, str, str]] = {}
            for name in reversed(self.hit_files):  # what was decided first stands
                if (folder / name).exists():
                    held = pq.read_table(folder / name).to_pydict()
                    hits |= {
                        o: (i, r, m) for o, i, r, m in
                        zip(held["ordinal"], held["item"], held["rule"], held["match"], strict=True)
                    }  # fmt: skip
            for place in chosen[places].tolist():
                item, rule[place], match[place] = hits[int(rows[place]) - start]
                source[place] = items["name"][item].as_py()
                reason[place] = f"matches {items['item'][item].as_py()} of {source[place]}"


def _take(file: Any, wanted: NDArray[np.int64], columns: list[str]) -> list[dict[str, Any]]:
    """Rows of an arrow file by position, in the order asked."""
    rows: list[dict[str, Any]] = file.read_all().select(columns).take(wanted).to_pylist()
    return rows


def _short(text: str | None) -> str:
    return repr(text if text is None or len(text) <= 60 else text[:57] + "...")


def _deadline(part: Part) -> float:
    module, _, name = part.path.partition(":")
    return float(getattr(getattr(importlib.import_module(module), name, None), "deadline", CHECK_SECONDS))


def _count(counts: Counter[tuple[str, str, str]], table: pa.Table, rules: Sequence[str]) -> None:
    if not table.num_rows:
        return
    named = pa.table({"source": table["source"], "category": table["category"], "rule": pa.array(rules, pa.string())})
    grouped = named.group_by(["source", "category", "rule"]).aggregate([([], "count_all")]).to_pylist()
    for row in grouped:
        counts[row["source"], row["category"], row["rule"]] += row["count_all"]
