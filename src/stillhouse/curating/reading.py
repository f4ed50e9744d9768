"""First step of curate: a piece of a source becomes shards of rows with everything that a row by itself can tell.

In: pieces of sources (parts), query filters, the benchmarks' texts. Out: one folder a shard: its rows sorted by key,
and arrays in reading order: keys, references, rules, near-duplicate bands, shingles, benchmark hits.
"""

from __future__ import annotations

import contextlib
import hashlib
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stillhouse.curating.tables import query_table, text_array
from stillhouse.engines.parts import callable_of, imported
from stillhouse.engines.shards import whole_folder
from stillhouse.records import Part, Query, UserMistake, Verdict
from stillhouse.store.columns import QueryColumns, QueryTexts

BLOCK_ROWS = 50_000
BLOCK_BYTES = 32 << 20
GATHERED_ROWS, GATHERED_CHARACTERS = 1024, 1 << 20
KERNEL_BYTES = 4 << 20  # text whose words are in memory at once
MATCH_CHARACTERS = 2000

ALIVE, NO_TEXT, NO_REFERENCE, CONFLICT, DUPLICATE, FILTERED, NEAR, BENCHMARK = range(8)

TOLD = pa.schema([
    ("position", pa.int64()), ("ordinal", pa.int64()), ("item", pa.int64()), ("rule", pa.string()),
    ("reason", pa.string()), ("match", pa.string()),
])  # fmt: skip
"""What is to be told of rows of a shard, sorted by position. position: of the row in rows.arrow; ordinal: as read;
item: of the benchmarks, -1 where none matched."""

Told = tuple[int, int, str, str, str]  # ordinal, item, rule, reason, match


@dataclass(frozen=True, slots=True)
class Piece:
    """What one task reads: a source, or a part of one. number: its place in the order of the recipe."""

    number: int
    source: Part
    folder: Path


@dataclass(frozen=True, slots=True)
class Judging:
    """What rows are judged by while they are read; the same for every piece."""

    filters: tuple[Part, ...]
    verifiers: Mapping[str, Part]
    supplied: frozenset[str]
    near_duplicates: Part | None
    contamination: Part | None
    avoid: Path | None


@dataclass(frozen=True, slots=True)
class ReadPiece:
    """Callable of the engine: reads a piece into shards, unless that was done; returns (folder, rows) of each."""

    judging: Judging

    def __call__(self, piece: Piece) -> list[tuple[str, int]]:
        folder = piece.folder / f"piece-{piece.number:06d}"
        if not folder.exists():
            judge = _Judge(self.judging)
            with whole_folder(folder) as place:
                for number, block in enumerate(_blocks(piece.source.build())):
                    shard = place / f"{number:05d}"
                    shard.mkdir()
                    judge.write(block, shard)
        return [(str(shard), len(np.load(shard / "rule.npy", mmap_mode="r"))) for shard in sorted(folder.iterdir())]


def _blocks(source: Any) -> Iterator[QueryColumns]:
    """The rows of a source in blocks: what its `blocks()` gives, gathered, else record by record."""
    given = source.blocks() if hasattr(source, "blocks") else _gathered(source())
    block = QueryColumns()
    size = 0
    for more in given:
        block.extend(more)
        size += sum(map(len, more.text)) + sum(len(m.content) for turns in more.turns if turns for m in turns)
        if len(block) >= BLOCK_ROWS or size >= BLOCK_BYTES:
            yield block
            block, size = QueryColumns(), 0
    if len(block):
        yield block


def _gathered(source: Iterator[Query]) -> Iterator[QueryColumns]:
    block = QueryColumns()
    for query in source:
        if not isinstance(query, Query):
            raise UserMistake(f"a source must yield Query records, not {type(query).__name__}")
        block.add(query)
        if len(block) >= GATHERED_ROWS or len(query.text) >= GATHERED_CHARACTERS:
            yield block
            block = QueryColumns()
    yield block


class _Judge:
    """Built once a task: the filters, verifiers and indexes that rows go through."""

    def __init__(self, judging: Judging) -> None:
        self.judging = judging
        self.filters = [(callable_of(part), _screen_of(part)) for part in judging.filters]
        self.checks: dict[str, Callable[[Query], Verdict]] = {}
        self.near = judging.near_duplicates.build() if judging.near_duplicates else None
        self.contamination: Any = None
        if judging.contamination is not None and judging.avoid is not None:
            items = pq.read_table(judging.avoid, columns=["text"])["text"].to_pylist()
            self.contamination = judging.contamination.build().index(items)

    def write(self, block: QueryColumns, shard: Path) -> None:
        keys = block.make_keys()
        high, low = keys[:, 0].copy(), keys[:, 1].copy()
        table, whole, texts = query_table(block)
        rules, flags = self._rules(block, texts)
        order = np.lexsort((low, high))
        position = np.empty_like(order)
        position[order] = np.arange(len(order))
        with pa.OSFile(str(shard / "rows.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table.take(order), max_chunksize=4096)
        np.save(shard / "rule.npy", rules)
        np.save(shard / "high.npy", high)
        np.save(shard / "low.npy", low)
        np.save(shard / "sorted.npy", high[order])
        np.save(shard / "order.npy", order)
        np.save(shard / "position.npy", position)
        np.save(shard / "reference.npy", _references(block.ground_truth))
        write_told(shard / "flags.arrow", flags, position)
        write_told(shard / "hits.arrow", self._texts(block, whole, rules, shard), position)

    # ---- what a row by itself can tell ----

    def _rules(self, block: QueryColumns, texts: QueryTexts) -> tuple[NDArray[np.uint8], list[Told]]:
        rules = np.zeros(len(block), np.uint8)
        flags: list[Told] = []

        def reject(row: int, state: int, rule: str, reason: str, match: str = "") -> None:
            rules[row] = state
            flags.append((row, -1, rule, reason, match))

        for row, text in enumerate(block.text):
            if not text or text.isspace():
                reject(row, NO_TEXT, "no_text", str((block.extra[row] or {}).get("problem") or "the row has no text"))
        for row in self._without_reference(block):
            verdict = self._check(block.query(row)) if not rules[row] else None
            if verdict is not None and verdict.rule == "no_reference":
                problem = (block.extra[row] or {}).get("problem")
                reject(row, NO_REFERENCE, "no_reference", f"{verdict.reason}; {problem}" if problem else verdict.reason)
        for judge, screen in self.filters:
            asked = rules == ALIVE
            if screen is not None:
                asked &= screen(texts)
            for row in np.flatnonzero(asked).tolist():
                verdict = judge(block.query(row))
                if verdict.outcome == "fail":
                    match = str((verdict.detail or {}).get("match", ""))[:MATCH_CHARACTERS]
                    reject(row, FILTERED, verdict.rule, verdict.reason, match)
        return rules, flags

    def _without_reference(self, block: QueryColumns) -> list[int]:
        """Rows without a reference of any kind, in categories that have a verifier and nothing that supplies one."""
        if not self.judging.verifiers.keys() - self.judging.supplied:
            return []
        fields = zip(block.ground_truth, block.test_case, block.instruction_constrain, strict=True)
        return [row for row, (a, b, c) in enumerate(fields) if a is None and b is None and c is None]

    def _check(self, query: Query) -> Verdict | None:
        """The verifier's word on a query that has no reference at all; None where none is needed."""
        category = query.category
        if category in self.judging.supplied or category not in self.judging.verifiers:
            return None
        if category not in self.checks:
            self.checks[category] = self.judging.verifiers[category].build().check
        return self.checks[category](query)

    # ---- near-duplicates and benchmarks ----

    def _texts(self, block: QueryColumns, texts: pa.Array, rules: NDArray[np.uint8], shard: Path) -> list[Told]:
        """Spill signatures and return benchmark hits of the rows that stand so far, a few megabytes at a time."""
        if not (rules == ALIVE).all():
            texts = pc.if_else(pa.array(rules == ALIVE), texts, "")
        sizes = np.cumsum(pc.binary_length(texts).to_numpy(zero_copy_only=False))
        groups = _groups(block) if self.near is not None else np.zeros(0, np.uint64)
        bands, shingles, lengths, hits = [], [], [np.zeros(1, np.int64)], []
        start = 0
        while start < len(block) and (self.near is not None or self.contamination is not None):
            end = int(np.searchsorted(sizes, (sizes[start - 1] if start else 0) + KERNEL_BYTES)) + 1
            part, end = texts[start:end], min(end, len(block))
            words = (self.near or self.contamination).words(part)
            if self.near is not None:
                signed = self.near.sign(part, groups[start:end], words)
                bands.append(signed.bands)
                shingles.append(signed.shingles)
                lengths.append(np.diff(signed.offsets))
            if self.contamination is not None:
                hits += self._hits(block, rules, self.contamination.judge(part, words), start, end)
            start = end
        if self.near is not None and bands:
            np.save(shard / "bands.npy", np.concatenate(bands, axis=1))
            np.save(shard / "shingles.npy", np.concatenate(shingles))
            np.save(shard / "offsets.npy", np.cumsum(np.concatenate(lengths)))
        return hits

    def _hits(
        self, block: QueryColumns, rules: NDArray[np.uint8], hits: Sequence[Any], start: int, end: int
    ) -> list[Told]:
        found = {start + hit.row: hit for hit in hits}
        several = [i for i in range(start, end) if block.turns[i] and rules[i] == ALIVE]
        if several:  # the last question alone may be a benchmark's
            last = self.contamination.judge(text_array([block.text[i] for i in several]))
            found = {several[hit.row]: hit for hit in last} | found
        return [(i, h.item, h.rule, "", h.match[:MATCH_CHARACTERS]) for i, h in sorted(found.items())]


def _screen_of(part: Part) -> Callable[[QueryTexts], NDArray[np.bool_]] | None:
    """Which queries a filter need not be called for, where it tells; it tells for its default settings only."""
    return None if part.settings else getattr(imported(part), "suspects", None)


def _groups(block: QueryColumns) -> NDArray[np.uint64]:
    """The upper 64 bits of each query's reference hash, which near-duplicates must share."""
    known: dict[str | None, int] = {}
    groups = np.zeros(len(block), np.uint64)
    for row, answer in enumerate(block.ground_truth):
        if block.test_case[row] is not None or block.instruction_constrain[row] is not None:
            groups[row] = int(block.query(row).reference[:16], 16)
            continue
        if answer not in known:
            known[answer] = int(block.query(row).reference[:16], 16)
        groups[row] = known[answer]
    return groups


def _references(answers: Sequence[str | None]) -> NDArray[np.uint64]:
    known = {answer: _reference(answer) for answer in set(answers)}
    return np.fromiter((known[answer] for answer in answers), np.uint64, len(answers))


def _reference(text: str | None) -> int:
    """What two copies must agree on: the reference answer, 0 where there is none. 1/2, 0.5 and $\\frac12$ as written
    differ only where they are no plain numbers."""
    if text is None or not text.strip():
        return 0
    text = unicodedata.normalize("NFKC", text).strip().strip("$").strip()
    if text.startswith("\\boxed{") and text.endswith("}"):
        text = text[7:-1].strip()
    if len(text) < 40 and text[-1:].isdigit():
        with contextlib.suppress(ValueError, ZeroDivisionError):
            text = str(Fraction(text.replace(" ", "")))
    digest = hashlib.blake2b(text.casefold().encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


def write_told(path: Path, told: Sequence[Told], position: NDArray[np.int64]) -> None:
    """Write what is to be told of a shard's rows, in the order of their positions."""
    told = sorted(told, key=lambda row: int(position[row[0]]))
    ordinals, items, rules, reasons, matches = zip(*told, strict=True) if told else ((),) * 5
    columns = [
        pa.array(position[list(ordinals)], pa.int64()),
        pa.array(ordinals, pa.int64()),
        pa.array(items, pa.int64()),
    ]
    columns += [text_array(list(texts)).cast(pa.string()) for texts in (rules, reasons, matches)]
    table = pa.Table.from_arrays(columns, schema=TOLD)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, TOLD) as writer:
        writer.write_table(table)


def read_told(path: Path, first: int = 0, end: int | None = None) -> pa.Table:
    """What was told of the rows at positions first..end of a shard; an empty table where nothing was."""
    if not path.exists():
        return TOLD.empty_table()
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
        table = file.read_all()
    positions = table["position"].to_numpy()
    start = int(np.searchsorted(positions, first))
    stop = len(positions) if end is None else int(np.searchsorted(positions, end))
    return table.slice(start, stop - start)
