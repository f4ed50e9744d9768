"""The queries of a comparison with what each teacher made of them, as aligned arrays.

In: a run folder (pairs, accepted responses, filter verdicts), or rows of datasets that exist. Out: a Population:
one row for each query, one Side for each teacher. Texts are read once, in batches, for their tokens only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stillhouse.records import UserMistake
from stillhouse.stages.compare_tokens import TokenCounter, assistant_text

STATES = ("verified", "unverified", "waiting", "exhausted", "undecided", "too_long")
NOT_ASKED = -1
_BATCH = 4096
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass
class Side:
    """What one teacher made of every query of the population; arrays of the population's length.

    state: index into STATES, -1 where the teacher was not asked. first: 1 passed, 0 failed, -1 not judged. tokens:
    of the kept reply, first_tokens: of the first attempt whatever became of it; NaN where there is none or it was not
    counted. cost: dollars, NaN where unpriced.
    """

    state: NDArray[np.int8]
    first: NDArray[np.int8]
    first_tokens: Floats
    attempts: NDArray[np.int32]
    passed_at: NDArray[np.int32]
    responses: NDArray[np.int32]
    unknown: NDArray[np.int32]
    cost: Floats
    prompt_tokens: Floats
    completion_tokens: Floats
    kept: Bools
    tokens: Floats
    perplexity: Floats
    rules: dict[str, int] = field(default_factory=dict)
    finish: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def blank(size: int) -> Side:
        """A teacher that was asked nothing."""
        return Side(
            state=np.full(size, NOT_ASKED, np.int8),
            first=np.full(size, -1, np.int8),
            first_tokens=np.full(size, np.nan),
            attempts=np.zeros(size, np.int32),
            passed_at=np.zeros(size, np.int32),
            responses=np.zeros(size, np.int32),
            unknown=np.zeros(size, np.int32),
            cost=np.full(size, np.nan),
            prompt_tokens=np.zeros(size),
            completion_tokens=np.zeros(size),
            kept=np.zeros(size, np.bool_),
            tokens=np.full(size, np.nan),
            perplexity=np.full(size, np.nan),
        )

    def in_state(self, *names: str) -> Bools:
        """Where the pair is in one of the states."""
        return np.asarray(np.isin(self.state, [STATES.index(name) for name in names]), np.bool_)

    @property
    def asked(self) -> Bools:
        return np.asarray(self.state != NOT_ASKED, np.bool_)

    @property
    def decided(self) -> Bools:
        """Pairs that count in the yield: asked, not waiting, not accepted by structure alone."""
        return np.asarray(self.asked & ~self.in_state("waiting", "unverified"), np.bool_)


@dataclass
class Population:
    """queries: sorted keys as bytes; category: index into categories. selected: datasets that exist already, whose
    rows are what passed, so that first attempts, yields and money are not known. first_tokens_by: who counted the
    first attempts, the one tokenizer or each teacher's endpoint."""

    queries: NDArray[np.bytes_]
    category: NDArray[np.int16]
    categories: tuple[str, ...]
    sides: dict[str, Side]
    selected: bool = False
    first_tokens_by: str = "endpoints"

    @property
    def size(self) -> int:
        return int(self.queries.size)

    @property
    def parallel(self) -> Bools:
        """Queries that every teacher has a kept response for."""
        kept = [side.kept for side in self.sides.values()]
        return np.logical_and.reduce(kept) if kept else np.zeros(self.size, np.bool_)

    def places(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """Positions of keys, all of which must be in the population."""
        wanted = np.array(keys, "S32")
        places = np.searchsorted(self.queries, wanted)
        if wanted.size and (not self.size or (self.queries[np.minimum(places, self.size - 1)] != wanted).any()):
            raise ValueError("a response belongs to no query of 3-verdicts/pairs.parquet: the run folder is incomplete")
        return places


def read_run(folder: Path, teachers: Sequence[str], tokens: TokenCounter, sample: int | None = None) -> Population:
    """The population of a run folder. sample: count tokens of at most so many queries, the same for all teachers."""
    file = folder / "3-verdicts" / "pairs.parquet"
    if not file.exists():
        raise UserMistake(f"{file} does not exist: run distill first")
    pairs = pq.read_table(file)
    keys = np.array(pairs["query"].to_pylist(), "S32")
    queries, first_rows, rows = np.unique(keys, return_index=True, return_inverse=True)
    names = sorted(set(pairs["category"].to_pylist()))
    codes = {name: code for code, name in enumerate(names)}
    category = np.array([codes[name] for name in pairs["category"].to_pylist()], np.int16)[first_rows]
    population = Population(queries, category, tuple(names), {})
    owners = np.array(pairs["teacher"].to_pylist(), object)
    first_keys: dict[str, tuple[str, int]] = {}
    for teacher in teachers:
        mask = owners == teacher
        side = _fill(Side.blank(population.size), pairs.filter(pa.array(mask)), rows[mask])
        population.sides[teacher] = side
        if "first_response" in pairs.column_names:
            mine = pairs["first_response"].filter(pa.array(mask)).to_pylist()
            first_keys |= {key: (teacher, int(row)) for key, row in zip(mine, rows[mask], strict=True) if key}
    counted = sampled_rows(population.size, sample)
    for teacher in teachers:
        _read_kept(folder, teacher, population, tokens, counted)
    _read_first_attempts(folder, population, first_keys, tokens, counted)
    return population


def sampled_rows(size: int, sample: int | None) -> Bools:
    """Which queries have their tokens counted. Keys are hashes, so an even choice over sorted keys is random."""
    if sample is None or size <= sample:
        return np.ones(size, np.bool_)
    chosen = np.zeros(size, np.bool_)
    chosen[np.linspace(0, size - 1, sample).astype(np.int64)] = True
    return chosen


def _fill(side: Side, rows: pa.Table, places: NDArray[np.int64]) -> Side:
    states = {name: code for code, name in enumerate(STATES)}
    side.state[places] = [states[name] for name in rows["state"].to_pylist()]
    outcomes = {"pass": 1, "fail": 0}
    side.first[places] = [outcomes.get(name, -1) for name in rows["first_outcome"].to_pylist()]
    for name in ("attempts", "passed_at", "responses", "unknown", "prompt_tokens", "completion_tokens"):
        getattr(side, name)[places] = pc.fill_null(rows[name], 0).to_numpy()
    side.first_tokens[places] = _floats(rows["first_tokens"])
    cost = _floats(rows["cost_usd"])
    # A pair that was never asked has cost nothing, priced or not; it must not make its teacher look unpriced.
    cost[np.isnan(cost) & (side.responses[places] == 0)] = 0.0
    side.cost[places] = cost
    return side


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.array(pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy(), np.float64)


def _read_kept(folder: Path, teacher: str, population: Population, tokens: TokenCounter, counted: Bools) -> None:
    side = population.sides[teacher]
    dropped, side.dropped, perplexity = read_filters(folder, teacher)
    for batch in accepted_batches(folder, teacher):
        rules = batch.column("verify_rule").to_pylist() if "verify_rule" in batch.schema.names else []
        for rule in rules:
            side.rules[rule or "none"] = side.rules.get(rule or "none", 0) + 1
        keep = np.array([key not in dropped for key in batch.column("key").to_pylist()], np.bool_)
        kept = batch.filter(pa.array(keep))
        places = population.places(kept.column("query").to_pylist())
        side.kept[places] = True
        side.perplexity[places] = [perplexity.get(key, np.nan) for key in kept.column("key").to_pylist()]
        wanted = counted[places]
        if wanted.any():
            side.tokens[places[wanted]] = tokens.count(texts_of(kept.filter(pa.array(wanted))))


def read_filters(folder: Path, teacher: str) -> tuple[set[str], dict[str, int], dict[str, float]]:
    """Keys of the dropped responses, how many each rule dropped, and perplexities by response key."""
    file = folder / "4-filters" / f"{teacher}.parquet"
    if not file.exists():
        return set(), {}, {}
    table = pq.read_table(file, columns=["response", "filter", "outcome", "score", "rule"])
    dropped: set[str] = set()
    rules: dict[str, int] = {}
    failed = table.filter(pc.equal(table["outcome"], "fail"))
    for key, name, rule in zip(
        failed["response"].to_pylist(), failed["filter"].to_pylist(), failed["rule"].to_pylist(), strict=True
    ):
        dropped.add(key)
        rules[rule or name] = rules.get(rule or name, 0) + 1
    judged = table.filter(pc.and_(pc.equal(table["filter"], "perplexity"), pc.is_valid(table["score"])))
    return dropped, rules, dict(zip(judged["response"].to_pylist(), judged["score"].to_pylist(), strict=True))


def accepted_batches(folder: Path, teacher: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The accepted responses of a teacher, sorted by query, in batches; nothing where none was accepted."""
    file = folder / "2-responses" / f"accepted-{teacher}.parquet"
    if file.exists():
        yield from pq.ParquetFile(file).iter_batches(_BATCH, columns=columns)


def reply_files(folder: Path) -> list[Path]:
    """The compacted parquet files of all replies (the accepted ones are a copy and not among them)."""
    return sorted(file for file in (folder / "2-responses").rglob("*.parquet") if not file.name.startswith("accepted-"))


def texts_of(batch: pa.RecordBatch) -> list[str]:
    """The assistant texts of a batch of responses."""
    rows = batch.num_rows
    reasoning = _column(batch, "reasoning", rows)
    thinking = _column(batch, "thinking", rows)
    return [
        assistant_text(text or "", thought, mode or "optional")
        for text, thought, mode in zip(batch.column("text").to_pylist(), reasoning, thinking, strict=True)
    ]


def _column(batch: pa.RecordBatch, name: str, rows: int) -> list[Any]:
    return batch.column(name).to_pylist() if name in batch.schema.names else [None] * rows


def _read_first_attempts(
    folder: Path, population: Population, first: Mapping[str, tuple[str, int]], tokens: TokenCounter, counted: Bools
) -> None:
    """First attempts counted by the one tokenizer; what the endpoints reported stands only where no text is found.

    Figures of different tokenizers never stand side by side: where a text is missing, the counts of all teachers
    stay those of their endpoints, and the report says so.
    """
    found = {teacher: np.full(population.size, np.nan) for teacher in population.sides}
    files = reply_files(folder)
    for file in files:
        columns = [
            n
            for n in ("key", "teacher", "text", "reasoning", "thinking", "finish_reason")
            if n in pq.read_schema(file).names
        ]
        for batch in pq.ParquetFile(file).iter_batches(_BATCH, columns=columns):
            _count_batch(batch, population, first, tokens, counted, found)
    texts_complete = bool(files) and not any(
        (np.isnan(found[teacher]) & ~np.isnan(side.first_tokens) & counted).any()
        for teacher, side in population.sides.items()
    )
    if tokens.works and texts_complete:
        population.first_tokens_by = "tokenizer"
        for teacher, side in population.sides.items():
            side.first_tokens = found[teacher]


def _count_batch(
    batch: pa.RecordBatch,
    population: Population,
    first: Mapping[str, tuple[str, int]],
    tokens: TokenCounter,
    counted: Bools,
    found: Mapping[str, Floats],
) -> None:
    for teacher, reason in zip(
        batch.column("teacher").to_pylist(), batch.column("finish_reason").to_pylist(), strict=True
    ):
        if teacher in population.sides:
            finish = population.sides[teacher].finish
            finish[reason] = finish.get(reason, 0) + 1
    if not tokens.works:
        return
    owners = [first.get(key) for key in batch.column("key").to_pylist()]
    wanted = [owner is not None and bool(counted[owner[1]]) for owner in owners]
    if not any(wanted):
        return
    counts = tokens.count(texts_of(batch.filter(pa.array(wanted))))
    for owner, count in zip((o for o, w in zip(owners, wanted, strict=True) if w and o), counts, strict=True):
        found[owner[0]][owner[1]] = count


def rows_of(values: Iterable[str]) -> dict[str, int]:
    """How often each value occurs."""
    out: dict[str, int] = {}
    for value in values:
        out[value] = out.get(value, 0) + 1
    return out
