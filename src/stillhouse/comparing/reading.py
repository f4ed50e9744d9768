"""A run folder read into a Population: pairs, kept replies with their lengths, first attempts from the journal.

In: pairs.parquet, accepted responses, filter verdicts, the journal. Out: a Population. Texts are read once, in
batches, for their tokens only, so memory is bounded by the number of queries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stillhouse.comparing.population import STATES, Bools, Floats, Population, Side
from stillhouse.records import UserMistake
from stillhouse.store.index import Index, load_index, raw_keys
from stillhouse.store.reading import read_responses
from stillhouse.store.rendering import assistant_text, response_text
from stillhouse.store.run import Run
from stillhouse.store.tables import read_batches
from stillhouse.store.tokens import TokenCounter

BATCH = 1024
Places = NDArray[np.int64]


def open_run(run: Run | Path | str) -> Run:
    """The Run itself, or that of a folder, for reading."""
    return run if isinstance(run, Run) else Run(run, read_only=True)


def read_run(run: Run, teachers: Sequence[str], tokens: TokenCounter, sample: int | None = None) -> Population:
    """The population of a run. sample: count tokens of at most so many queries, the same for all teachers."""
    file = run.verdicts / "pairs.parquet"
    if not file.exists():
        raise UserMistake(f"{file} does not exist: run distill first")
    pairs = pq.read_table(file)
    queries, first_rows, rows = np.unique(raw(pairs["query"]), return_index=True, return_inverse=True)
    names = sorted(set(pairs["category"].to_pylist()))
    code = pc.index_in(pairs["category"], value_set=pa.array(names, pa.string())).to_numpy()
    population = Population(queries, code.astype(np.int16)[first_rows], tuple(names), {})
    counted = sampled_rows(population.size, sample)
    first_keys = np.full((len(teachers), population.size), b"", "S16")
    for number, teacher in enumerate(teachers):
        mask = pc.equal(pairs["teacher"], teacher)
        mine, places = pairs.filter(mask), rows[mask.to_numpy()]
        side = population.sides[teacher] = _fill(Side.blank(population.size), mine, places)
        _leave_unjudged(population, side)
        first_keys[number, places] = raw(mine["first_response"])
        _read_kept(run, teacher, population, tokens, counted)
    index = load_index(run.journals)
    _finish_reasons(index, population, pairs)
    for teacher, side in population.sides.items():
        judged = index.rows(purpose=f"judge:{teacher}")
        mine = np.isnan(index.cost_usd[judged]) & np.isin(index.query[judged], population.queries)
        side.unpriced_judges = int(mine.sum())
    if tokens.works:
        _first_attempts(index, population, first_keys, tokens, counted)
    return population


def raw(column: pa.ChunkedArray) -> NDArray[Any]:
    """Hex keys as S16; a null is empty."""
    empty = "0" * 32
    keys = raw_keys(pc.fill_null(column, empty).to_pylist()).copy()
    keys[pc.is_null(column).to_numpy()] = b""
    return keys


def sampled_rows(size: int, sample: int | None) -> Bools:
    """Which queries have their tokens counted. Keys are hashes, so an even choice over sorted keys is random."""
    chosen = np.ones(size, np.bool_)
    if sample is not None and size > sample:
        chosen[:] = False
        chosen[np.linspace(0, size - 1, sample).astype(np.int64)] = True
    return chosen


def _fill(side: Side, rows: pa.Table, places: Places) -> Side:
    states = pc.index_in(rows["state"], value_set=pa.array(STATES))
    if states.null_count:
        raise ValueError(f"pairs.parquet holds a state that is none of {', '.join(STATES)}")
    side.state[places] = states.to_numpy()
    judged = rows["first_outcome"].to_pylist()
    side.first[places] = [1 if outcome == "pass" else 0 if outcome == "fail" else -1 for outcome in judged]
    for name in ("attempts", "passed_at", "responses", "unknown", "prompt_tokens", "completion_tokens"):
        getattr(side, name)[places] = pc.fill_null(rows[name], 0).to_numpy()
    side.first_tokens[places] = _floats(rows["first_tokens"])
    cost = _floats(rows["cost_usd"])
    # A pair that was never asked has cost nothing, priced or not; it must not make its teacher look unpriced.
    cost[np.isnan(cost) & (side.responses[places] == 0)] = 0.0
    side.cost[places] = cost
    return side


def _leave_unjudged(population: Population, side: Side) -> None:
    """Where a category is accepted by its form alone, no first attempt was judged: pass@1 is of those that were."""
    by_form = np.unique(population.category[side.in_state("unverified")])
    side.first[np.isin(population.category, by_form)] = -1


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.array(pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy(), np.float64)


def _read_kept(run: Run, teacher: str, population: Population, tokens: TokenCounter, counted: Bools) -> None:
    side = population.sides[teacher]
    dropped, side.dropped, perplexity = read_filters(run, teacher)
    for batch in accepted_batches(run, teacher):
        for rule in batch.column("verify_rule").to_pylist():
            side.rules[rule or "none"] = side.rules.get(rule or "none", 0) + 1
        keep = np.array([key not in dropped for key in batch.column("key").to_pylist()], np.bool_)
        kept = batch.filter(pa.array(keep))
        places = np.searchsorted(population.queries, raw(pa.chunked_array([kept.column("query")])))
        side.kept[places] = True
        side.perplexity[places] = [perplexity.get(key, np.nan) for key in kept.column("key").to_pylist()]
        wanted = counted[places]
        if wanted.any():
            side.tokens[places[wanted]] = tokens.count(texts_of(kept.filter(pa.array(wanted))))


def read_filters(run: Run, teacher: str) -> tuple[set[str], dict[str, int], dict[str, float]]:
    """Keys of the dropped responses, how many each rule dropped, and perplexities by response key."""
    dropped: set[str] = set()
    rules: dict[str, int] = {}
    perplexity: dict[str, float] = {}
    file = run.filters / f"{teacher}.parquet"
    columns = ["response", "filter", "outcome", "score", "rule"]
    for batch in read_batches(file, columns, batch_rows=65536) if file.exists() else ():
        for row in batch.to_pylist():
            if row["outcome"] == "fail":
                dropped.add(row["response"])
                rules[row["rule"]] = rules.get(row["rule"], 0) + 1
            if row["filter"] == "perplexity" and row["score"] is not None:
                perplexity[row["response"]] = row["score"]
    return dropped, rules, perplexity


def accepted_batches(run: Run, teacher: str) -> Iterator[pa.RecordBatch]:
    """The accepted responses of a teacher, sorted by query, in batches; nothing where none was accepted."""
    file = run.responses / f"accepted-{teacher}.parquet"
    columns = ["key", "query", "text", "reasoning", "thinking", "verify_rule"]
    return read_batches(file, columns, batch_rows=BATCH) if file.exists() else iter(())


def texts_of(batch: pa.RecordBatch) -> list[str]:
    """The assistant texts of a batch of responses."""
    columns = (batch.column(name).to_pylist() for name in ("text", "reasoning", "thinking"))
    return [assistant_text(text, reasoning, mode) for text, reasoning, mode in zip(*columns, strict=True)]


def _finish_reasons(index: Index, population: Population, pairs: pa.Table) -> None:
    """How the replies of the run's pairs ended; a shared store holds those of other runs too, which do not count."""
    identities = raw_keys(sorted(set(pairs["identity"].to_pylist()) - {None}))
    mine = index.rows()
    mine = mine[np.isin(index.identity[mine], identities) & np.isin(index.query[mine], population.queries)]
    for name, side in population.sides.items():
        if name in index.teachers:
            rows = mine[index.teacher[mine] == index.teachers.index(name)]
            category = population.category[np.searchsorted(population.queries, index.query[rows])]
            side.finish = {
                name: _counts(index, rows[category == code]) for code, name in enumerate(population.categories)
            }


def _counts(index: Index, rows: Places) -> dict[str, int]:
    counts = np.bincount(index.label[rows], minlength=len(index.labels))
    return {label: int(n) for label, n in zip(index.labels, counts, strict=True) if n}


def _first_attempts(
    index: Index, population: Population, keys: NDArray[Any], tokens: TokenCounter, counted: Bools
) -> None:
    """Count first attempts by the one tokenizer.

    Figures of different tokenizers never stand side by side: where a text cannot be read, the counts of all teachers
    stay those of their endpoints, and the report says so.
    """
    found = {name: np.full(population.size, np.nan) for name in population.sides}
    for number, (name, side) in enumerate(population.sides.items()):
        asked = (keys[number] != b"") & counted
        # What passed at once is the kept reply, whose tokens are known.
        known = asked & (side.passed_at == 1) & ~np.isnan(side.tokens)
        found[name][known] = side.tokens[known]
        wanted = np.flatnonzero(asked & ~known)
        rows = index.find(keys[number][wanted])
        if (rows < 0).any():
            return
        order = np.argsort(rows, kind="stable")
        for place, size in _counted(index, rows[order], wanted[order], tokens):
            found[name][place] = size
        if np.isnan(found[name][asked]).any():
            return
    population.first_tokens_by = "tokenizer"
    for name, side in population.sides.items():
        side.first_tokens = found[name]


def _counted(index: Index, rows: Places, places: Places, tokens: TokenCounter) -> Iterator[tuple[int, float]]:
    for start in range(0, len(rows), BATCH):
        part = slice(start, start + BATCH)
        by_key = {index.key_text(int(row)): int(place) for row, place in zip(rows[part], places[part], strict=True)}
        replies = [reply for reply in read_responses(index, rows[part]) if reply.key in by_key]
        sizes = tokens.count([response_text(reply) for reply in replies])
        yield from ((by_key[reply.key], float(size)) for reply, size in zip(replies, sizes, strict=True))
