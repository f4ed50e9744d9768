"""Datasets that exist already, read into a Population: which queries they share, and how long their replies are.

In: files or folders, a reader (of replies with their queries), a tokenizer. Out: a Population, counts of what could
not be matched, and samples for the report's browser. A row counts as verified with verify_score >= 0.9, or without one.
"""

from __future__ import annotations

import heapq
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stillhouse.comparing.population import STATES, Population, Side
from stillhouse.engines.engine import Engine
from stillhouse.engines.parts import callable_of
from stillhouse.records import Filter, Part, UserMistake
from stillhouse.store.rendering import response_text
from stillhouse.store.tables import write_table
from stillhouse.store.tokens import TokenCounter, Tokenizer

Reader = Callable[[Path], Iterable[Any]]
SAMPLED = 2000
LONGEST_SAMPLE = 40_000
PASS = 0.9 - 1e-9
LONGEST, MOST_PERPLEXED = 32_768, 20.0  # what the filters of a run have for defaults
COUNTS = ("rows", "without_text", "without_query", "foreign_category", "below_score", "duplicates")
_BATCH = 256
_SUFFIXES = (".gz", ".zst", ".bz2", ".xz", ".jsonl", ".ndjson", ".json", ".parquet", ".csv")
SAMPLES = pa.schema([
    ("dataset", pa.string()), ("key", pa.string()), ("id", pa.string()), ("category", pa.string()),
    ("source", pa.string()), ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
    ("reference", pa.string()), ("text", pa.string()), ("score", pa.float64()), ("verified", pa.bool_()),
    ("tokens", pa.int64()),
])  # fmt: skip


@dataclass(frozen=True)
class Shard:
    """One dataset to read. filters: what a filter would drop is told of the sample, and nothing is dropped."""

    name: str
    path: Path
    reader: Part | Reader
    tokenizer: Part | Tokenizer | None
    cache: Path | None
    token_sample: int | None
    filters: tuple[Part | Filter, ...] = ()


@dataclass
class Columns:
    """One dataset, a row for each distinct query: keys ascending, tokens NaN where they were not counted. rows: how
    many replies the dataset holds to the query. drops: what filters would drop, of the `checked` sampled replies."""

    name: str
    keys: NDArray[np.bytes_]
    category: NDArray[np.int16]
    categories: tuple[str, ...]
    verified: NDArray[np.bool_]
    rows: NDArray[np.int32]
    perplexity: NDArray[np.float64]
    tokens: NDArray[np.float64]
    counts: dict[str, int]
    models: dict[str, int]
    samples: list[dict[str, Any]] = field(default_factory=list)
    tokenizer: str | None = None
    counted: int = 0
    checked: int = 0
    drops: dict[str, int] = field(default_factory=dict)


def dataset_names(paths: Sequence[Path]) -> list[str]:
    """The stem of each file or folder. Raises UserMistake for what is missing, a whole run, and names that clash."""
    problems = [f"{path}: there is no such file or folder" for path in paths if not path.exists()]
    names = []
    for path in paths:
        name = path.resolve().name
        while not path.is_dir() and name.lower().endswith(_SUFFIXES):
            name = name[: name.rindex(".")]
        names.append(name)
        held = sorted({str(file.parent) for file in [*path.glob("*/superset.parquet"), *path.glob("5-*/*/superset.*")]})
        if held and not (path / "superset.parquet").exists():
            problems.append(f"{path}: holds one dataset for each teacher: name those, {' '.join(held)}")
    problems += [
        f"two datasets are named {name}: rename one, or give the folder that it stands in; a name stands for a dataset "
        "in the report"
        for name, count in Counter(names).items()
        if count > 1
    ]
    if problems:
        raise UserMistake(*problems)
    return names


def size_of(paths: Sequence[Path]) -> int:
    """Bytes of the files and of all files in the folders."""
    files = (file for path in paths for file in (path.rglob("*") if path.is_dir() else (path,)))
    return sum(file.stat().st_size for file in files if file.is_file())


def read_dataset(shard: Shard) -> Columns:
    """Read one dataset in a stream: texts are held for the tokenizer's batch, or for the sample, and no longer."""
    reader = shard.reader
    if isinstance(reader, Part):
        settings = {"fallback": "other", **reader.settings, "path": str(shard.path)}
        replies = Part(reader.path, settings).build()()
    else:
        replies = reader(shard.path)
    taking = _Taking(shard, TokenCounter(shard.tokenizer, shard.cache))
    for reply in replies:
        taking.take(reply)
    return taking.columns()


class Lowest:
    """Values of the `most` smallest keys. Keys are hashes, so this is a random sample; and of several datasets that
    share a query either all hold it or those that lack it have smaller ones: the samples match each other."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held: dict[bytes, Any] = {}
        self._heap: list[int] = []  # negated keys: the largest comes first

    def wants(self, key: bytes) -> bool:
        return len(self.held) < self.most or key in self.held or int.from_bytes(key) < -self._heap[0]

    def put(self, key: bytes, value: Any) -> None:
        if key not in self.held:
            heapq.heappush(self._heap, -int.from_bytes(key))
        self.held[key] = value
        if len(self.held) > self.most:
            del self.held[(-heapq.heappop(self._heap)).to_bytes(16)]


class _Taking:
    """Takes the replies of one dataset, one row a query: the first that is verified, else the first."""

    def __init__(self, shard: Shard, tokens: TokenCounter) -> None:
        self.shard, self.tokens = shard, tokens
        self.row_of: dict[bytes, int] = {}
        self.codes: dict[str, int] = {}
        self.category, self.verified, self.rows = array("h"), bytearray(), array("i")
        self.perplexity, self.sizes = array("d"), array("d")
        self.counts, self.models, self.foreign = Counter[str](), Counter[str](), Counter[str]()
        self.waiting: list[tuple[int, str]] = []
        self.drawn = Lowest(SAMPLED if shard.token_sample is None else shard.token_sample)
        self.shown = Lowest(SAMPLED)

    def take(self, reply: Any) -> None:
        self.counts["rows"] += 1
        if reply.problem or not reply.query.messages:
            self.counts["without_text" if reply.problem else "without_query"] += 1
            return
        if reply.foreign is not None:
            self.counts["foreign_category"] += 1
            self.foreign[reply.foreign[:100]] += 1
        verified = reply.score is None or reply.score >= PASS
        self.counts["below_score"] += not verified
        self.models[reply.model_name or ""] += 1
        key = bytes.fromhex(reply.query.key)
        row = self._row(key, reply, verified)
        if row is None:
            return
        text = response_text(reply.response)
        if self.shown.wants(key):
            self.shown.put(key, (row, _sample(self.shard.name, reply, verified, text)))
        if self.drawn.wants(key):
            self.drawn.put(key, (row, text, reply._replace(row={}), verified))
        if self.tokens.works and self.shard.token_sample is None:
            self.waiting.append((row, text))
            if len(self.waiting) >= _BATCH:
                self._flush()

    def _row(self, key: bytes, reply: Any, verified: bool) -> int | None:
        """The row that this reply is; None for a duplicate that changes nothing."""
        row = self.row_of.get(key)
        if row is None:
            row = self.row_of[key] = len(self.row_of)
            self.category.append(self.codes.setdefault(reply.query.category, len(self.codes)))
            self.sizes.append(np.nan)
            self.rows.append(1)
            self.verified.append(verified)
            self.perplexity.append(np.nan)
        else:
            self.counts["duplicates"] += 1
            self.rows[row] += 1
            if self.verified[row] or not verified:
                return None
            self.verified[row] = True
        self.perplexity[row] = np.nan if reply.perplexity is None else reply.perplexity
        return row

    def _flush(self) -> None:
        for (row, _), size in zip(self.waiting, self.tokens.count([text for _, text in self.waiting]), strict=True):
            self.sizes[row] = size
        self.waiting.clear()

    def columns(self) -> Columns:
        drawn = list(self.drawn.held.values())
        if self.tokens.works and self.shard.token_sample is not None:
            self.waiting = [(row, text) for row, text, _, _ in drawn]
        self._flush()
        self.tokens.save()
        accepted = [(reply, self.sizes[row]) for row, _, reply, verified in drawn if verified]
        keys = np.array(list(self.row_of), "S16")
        order = np.argsort(keys, kind="stable")
        for row, item in self.shown.held.values():
            size = self.sizes[row]
            item["tokens"] = None if np.isnan(size) else int(size)
        return Columns(
            self.shard.name, keys[order], np.array(self.category, np.int16)[order], tuple(self.codes),
            np.frombuffer(bytes(self.verified), np.bool_)[order], np.array(self.rows, np.int32)[order],
            np.array(self.perplexity)[order], np.array(self.sizes)[order], dict(self.counts), dict(self.models),
            [item for _, item in self.shown.held.values()], self.tokens.name, self.tokens.counted,
            len(accepted), would_drop(accepted, self.shard.filters),
        )  # fmt: skip


def would_drop(replies: Iterable[tuple[Any, float]], filters: Sequence[Part | Filter]) -> dict[str, int]:
    """How many replies each rule would drop; a reply counts for the first that fails it. replies: with their tokens,
    NaN where not counted."""
    judges = [callable_of(given) if isinstance(given, Part) else given for given in filters]
    out: Counter[str] = Counter()
    for reply, size in replies:
        failed = (verdict.rule for judge in judges if (verdict := judge(reply.query, reply.response)).outcome == "fail")
        rule = next(failed, None)
        if rule is None and size > LONGEST:
            rule = "too_long"
        if rule is None and (reply.perplexity or 0.0) > MOST_PERPLEXED:
            rule = "perplexity"
        if rule is not None:
            out[rule] += 1
    return dict(out)


def _sample(dataset: str, reply: Any, verified: bool, text: str) -> dict[str, Any]:
    query = reply.query
    return {
        "dataset": dataset, "key": query.key, "id": query.id, "category": query.category, "source": query.source,
        "messages": [{"role": m.role, "content": m.content[:LONGEST_SAMPLE]} for m in query.messages],
        "reference": query.ground_truth, "text": text[:LONGEST_SAMPLE], "score": reply.score, "verified": verified,
    }  # fmt: skip


def read_datasets(shards: Sequence[Shard], engine: Engine) -> tuple[Population, list[Columns]]:
    """All datasets as one population over the union of their queries; a category is that of the first dataset."""
    every = list(engine.imap(read_dataset, shards))
    queries = np.unique(np.concatenate([columns.keys for columns in every]))
    names = sorted({category for columns in every for category in columns.categories})
    codes = {name: code for code, name in enumerate(names)}
    population = Population(queries, np.full(queries.size, -1, np.int16), tuple(names), {}, selected=True)
    for columns in every:
        places = np.searchsorted(queries, columns.keys)
        mine = np.array([codes[name] for name in columns.categories], np.int16)[columns.category]
        population.category[places] = np.where(population.category[places] < 0, mine, population.category[places])
        side = population.sides[columns.name] = Side.blank(int(queries.size))
        side.state[places] = np.where(columns.verified, STATES.index("verified"), STATES.index("exhausted"))
        side.responses[places] = columns.rows
        side.kept[places] = columns.verified
        side.tokens[places] = np.where(columns.verified, columns.tokens, np.nan)
        side.perplexity[places] = np.where(columns.verified, columns.perplexity, np.nan)
    return population, every


def matching(population: Population, every: Sequence[Columns]) -> dict[str, dict[str, int]]:
    """Of each dataset: its rows, what was set aside, and how many of its queries no other dataset has."""
    holders = sum(
        (side.asked.astype(np.int16) for side in population.sides.values()), np.zeros(population.size, np.int16)
    )
    out = {}
    for columns in every:
        asked = population.sides[columns.name].asked
        told = {name: int(columns.counts.get(name, 0)) for name in COUNTS}
        out[columns.name] = told | {
            "queries": int(asked.sum()),
            "in_every_dataset": int((asked & (holders == len(every))).sum()),
            "in_no_other": int((asked & (holders == 1)).sum()),
        }
    return out


def write_samples(file: Path, every: Sequence[Columns]) -> None:
    """What the report's browser shows: of each dataset the replies to the queries of the smallest keys."""
    chosen = set(sorted({item["key"] for columns in every for item in columns.samples})[:SAMPLED])
    rows = [item for columns in every for item in columns.samples if item["key"] in chosen]
    rows.sort(key=lambda item: item["key"])
    write_table(file, pa.Table.from_pylist(rows, SAMPLES))
