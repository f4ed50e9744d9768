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

from stillhouse.engines.parts import callable_of
from stillhouse.engines.shards import whole_folder
from stillhouse.records import Part, Query, UserMistake, Verdict
from stillhouse.store.tables import QUERIES, query_to_row, to_table

BLOCK_ROWS = 50_000
BLOCK_BYTES = 32 << 20
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
                for number, block in enumerate(_blocks(piece.source.build()())):
                    shard = place / f"{number:05d}"
                    shard.mkdir()
                    judge.write(block, shard)
        return [(str(shard), len(np.load(shard / "rule.npy", mmap_mode="r"))) for shard in sorted(folder.iterdir())]


def _blocks(source: Iterator[Query]) -> Iterator[list[Query]]:
    block: list[Query] = []
    size = 0
    for query in source:
        if not isinstance(query, Query):
            raise UserMistake(f"a source must yield Query records, not {type(query).__name__}")
        block.append(query)
        size += sum(len(message.content) for message in query.messages)
        if len(block) >= BLOCK_ROWS or size >= BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block


class _Judge:
    """Built once a task: the filters, verifiers and indexes that rows go through."""

    def __init__(self, judging: Judging) -> None:
        self.judging = judging
        self.filters = [callable_of(part) for part in judging.filters]
        self.checks: dict[str, Callable[[Query], Verdict]] = {}
        self.near = judging.near_duplicates.build() if judging.near_duplicates else None
        self.contamination: Any = None
        if judging.contamination is not None and judging.avoid is not None:
            items = pq.read_table(judging.avoid, columns=["text"])["text"].to_pylist()
            self.contamination = judging.contamination.build().index(items)

    def write(self, block: Sequence[Query], shard: Path) -> None:
        rules = np.zeros(len(block), np.uint8)
        flags: list[Told] = []
        for ordinal, query in enumerate(block):
            rule, flag = self._row(query)
            if flag is not None:
                rules[ordinal] = rule
                flags.append((ordinal, -1, *flag))
        high, low = _keys(block)
        order = np.lexsort((low, high))
        position = np.empty_like(order)
        position[order] = np.arange(len(order))
        table, texts = queries_table(block)
        with pa.OSFile(str(shard / "rows.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table.take(order), max_chunksize=4096)
        np.save(shard / "rule.npy", rules)
        np.save(shard / "high.npy", high)
        np.save(shard / "low.npy", low)
        np.save(shard / "sorted.npy", high[order])
        np.save(shard / "order.npy", order)
        np.save(shard / "position.npy", position)
        np.save(shard / "reference.npy", np.fromiter((_reference(q) for q in block), np.uint64, len(block)))
        write_told(shard / "flags.arrow", flags, position)
        write_told(shard / "hits.arrow", self._texts(block, texts, rules, shard), position)

    def _row(self, query: Query) -> tuple[int, tuple[str, str, str] | None]:
        if not query.text.strip():
            problem = (query.extra or {}).get("problem") or "the row has no text"
            return NO_TEXT, ("no_text", str(problem), "")
        if query.ground_truth is None and query.test_case is None and query.instruction_constrain is None:
            verdict = self._check(query)
            if verdict is not None and verdict.rule == "no_reference":
                problem = (query.extra or {}).get("problem")
                return NO_REFERENCE, ("no_reference", f"{verdict.reason}; {problem}" if problem else verdict.reason, "")
        for judge in self.filters:
            verdict = judge(query)
            if verdict.outcome == "fail":
                match = str((verdict.detail or {}).get("match", ""))[:MATCH_CHARACTERS]
                return FILTERED, (verdict.rule, verdict.reason, match)
        return ALIVE, None

    def _check(self, query: Query) -> Verdict | None:
        """The verifier's word on a query that has no reference at all; None where none is needed."""
        category = query.category
        if category in self.judging.supplied or category not in self.judging.verifiers:
            return None
        if category not in self.checks:
            self.checks[category] = self.judging.verifiers[category].build().check
        return self.checks[category](query)

    def _texts(self, block: Sequence[Query], texts: pa.Array, rules: NDArray[np.uint8], shard: Path) -> list[Told]:
        """Spill signatures and return benchmark hits of the rows that stand so far, a few megabytes at a time."""
        texts = pc.if_else(pa.array(rules == ALIVE), texts, "")
        sizes = np.cumsum(pc.binary_length(texts).to_numpy(zero_copy_only=False))
        bands, shingles, lengths, hits = [], [], [np.zeros(1, np.int64)], []
        start = 0
        while start < len(block) and (self.near is not None or self.contamination is not None):
            end = int(np.searchsorted(sizes, (sizes[start - 1] if start else 0) + KERNEL_BYTES)) + 1
            part, end = texts[start:end], min(end, len(block))
            words = (self.near or self.contamination).words(part)
            if self.near is not None:
                groups = np.fromiter((int(q.reference[:16], 16) for q in block[start:end]), np.uint64, end - start)
                signed = self.near.sign(part, groups, words)
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
        self, block: Sequence[Query], rules: NDArray[np.uint8], hits: Sequence[Any], start: int, end: int
    ) -> list[Told]:
        found = {start + hit.row: hit for hit in hits}
        several = [i for i in range(start, end) if len(block[i].messages) > 1 and rules[i] == ALIVE]
        if several:  # the last question alone may be a benchmark's
            last = self.contamination.judge(text_array([block[i].text for i in several]))
            found = {several[hit.row]: hit for hit in last} | found
        return [(i, h.item, h.rule, "", h.match[:MATCH_CHARACTERS]) for i, h in sorted(found.items())]


def text_array(texts: Sequence[str]) -> pa.Array:
    """Texts as arrow; a lone surrogate, which arrow cannot hold, becomes U+FFFD."""
    try:
        return pa.array(texts, pa.large_string())
    except UnicodeEncodeError:
        return pa.array(
            [t.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for t in texts], pa.large_string()
        )


def queries_table(block: Sequence[Query]) -> tuple[pa.Table, pa.Array]:
    """Queries as a table of QUERIES, and all turns of each as one text; column by column, which is several times
    faster than row by row, and each text made into arrow once."""
    try:
        return _by_columns(block)
    except UnicodeEncodeError:
        table = to_table([query_to_row(query) for query in block], QUERIES)
        return table, text_array([_conversation(query) for query in block])


def _conversation(query: Query) -> str:
    return "\n\n".join(message.content for message in query.messages)


def _by_columns(block: Sequence[Query]) -> tuple[pa.Table, pa.Array]:
    turns = [m for query in block for m in query.messages]
    contents, roles = pa.array([m.content for m in turns], pa.string()), pa.array([m.role for m in turns], pa.string())
    names = [pa.field("role", pa.string()), pa.field("content", pa.string())]
    ends = np.cumsum([0, *(len(query.messages) for query in block)])
    messages = pa.ListArray.from_arrays(
        pa.array(ends, pa.int32()), pa.StructArray.from_arrays([roles, contents], fields=names)
    )
    texts, whole = contents, contents
    if len(turns) != len(block) or int(np.diff(ends).min()) != 1:
        texts = pa.array([q.text for q in block], pa.string())
        whole = pa.array([_conversation(q) for q in block], pa.string())
    columns: dict[str, Any] = {"messages": messages, "query": texts}
    for name in ("key", "category", "source", "id", "system", "ground_truth", "origin"):
        columns[name] = pa.array([getattr(q, name) for q in block], pa.string())
    plain = columns["system"].null_count == len(block)
    columns["prompt"] = columns["key"] if plain else pa.array([q.prompt_key for q in block], pa.string())
    for name in ("test_case", "instruction_constrain", "extra"):
        values = [getattr(query, name) for query in block]
        filled = [v is not None for v in values]
        if any(filled):
            values = [query_to_row(q)[name] if full else None for q, full in zip(block, filled, strict=True)]
        columns[name] = pa.array(values, pa.string())
    return pa.Table.from_arrays([columns[name] for name in QUERIES.names], schema=QUERIES), whole


def _keys(block: Sequence[Query]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    raw = np.frombuffer(bytes.fromhex("".join(query.key for query in block)), ">u8").reshape(-1, 2)
    return raw[:, 0].astype(np.uint64), raw[:, 1].astype(np.uint64)


def _reference(query: Query) -> int:
    """What two copies must agree on: the reference answer, 0 where there is none. 1/2, 0.5 and $\\frac12$ as written
    differ only where they are no plain numbers."""
    text = query.ground_truth
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
