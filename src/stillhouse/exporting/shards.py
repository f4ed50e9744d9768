"""The engine's part of export: some row groups of accepted responses become dataset rows, counted and tokenised.

In: accepted responses, kept queries, verdicts of filters, the keys of the parallel set. Out: one arrow file a span, in
the strict schema, with what its rows came to; the stage writes them one behind the other.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stillhouse.engines.shards import whole_file
from stillhouse.exporting.rows import UNSCORED, Scores, SourceTerms, dataset_row, scores_of, with_supplied
from stillhouse.records import Part, TeacherSpec
from stillhouse.store.queries import raw_keys
from stillhouse.store.tables import DATASET, to_table
from stillhouse.store.tokens import Counted, TokenCounter, Tokenizer

SPAN_GROUPS = 4  # row groups of accepted responses that one task takes: some 64 MB of text


@dataclass
class Counts:
    """What a dataset came to, for its card."""

    rows: int = 0
    withheld: int = 0
    categories: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    completion_tokens: int = 0
    lengths: array[int] = field(default_factory=lambda: array("q"))
    perplexity: array[float] = field(default_factory=lambda: array("d"))
    thinking: int = 0
    cost_usd: float | None = 0.0

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            self.rows += 1
            self.categories[row["category"]] += 1
            self.sources[row["source"]] += 1
            self.rules[row["verify_rule"] or "none"] += 1
            self.models[row["model"] or ""] += 1
            self.attempts[row["attempt"]] += 1
            self.completion_tokens += row["completion_tokens"] or 0
            if row.get("tokens") is not None:
                self.lengths.append(row["tokens"])
            if row["ppl"] is not None:
                self.perplexity.append(row["ppl"])
            self.thinking += row["thinking"] is not None
            price = row["cost_usd"]
            self.cost_usd = None if self.cost_usd is None or price is None else self.cost_usd + price

    def join(self, other: Counts) -> None:
        """Add what another span came to."""
        for name in ("rows", "withheld", "completion_tokens", "thinking"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("categories", "sources", "rules", "models", "attempts"):
            getattr(self, name).update(getattr(other, name))
        self.lengths.extend(other.lengths)
        self.perplexity.extend(other.perplexity)
        price = other.cost_usd
        self.cost_usd = None if self.cost_usd is None or price is None else self.cost_usd + price


@dataclass(frozen=True, slots=True)
class Made:
    """One span's rows. shared: which of them are of the parallel set; counted: tokens that were counted for it."""

    file: Path
    shared: NDArray[np.bool_]
    superset: Counts
    parallel: Counts
    counted: Counted


@dataclass(frozen=True, slots=True)
class MakeRows:
    """Callable of the engine. parallel: file of sorted raw keys; supplied: rows of SUPPLIED; cache: folder of the
    tokens known so far."""

    accepted: Path
    queries: tuple[Path, ...]
    filtered: Path
    spec: TeacherSpec
    terms: SourceTerms
    tokenizer: Part | Tokenizer | None
    cache: Path
    parallel: Path
    supplied: Path
    work: Path

    def __call__(self, span: tuple[int, int]) -> Made:
        with pq.ParquetFile(self.accepted) as file:
            responses = file.read_row_groups(list(range(*span))).to_pylist()
        queries, dropped, perplexity = self._beside([row["query"] for row in responses])
        responses = [row for row in responses if row["key"] not in dropped]
        missing = next((row["query"] for row in responses if row["query"] not in queries), None)
        if missing is not None:
            raise ValueError(f"{self.accepted}: the query {missing} is not among the kept ones")
        rows = [
            dataset_row(row, queries[row["query"]], self.spec, perplexity.get(row["key"], UNSCORED), self.terms)
            for row in responses
        ]
        tokens = TokenCounter(self.tokenizer, self.cache)
        if tokens.works:
            for row, size in zip(rows, tokens.count([row["response"] for row in rows]), strict=True):
                row["tokens"] = int(size)
        allowed = [row for row in rows if row["source_terms"] != "no"]
        shared = np.isin(raw_keys([row["key"] for row in allowed]), np.load(self.parallel))
        whole, both = Counts(withheld=len(rows) - len(allowed)), Counts()
        whole.add(allowed)
        both.add(row for row, mine in zip(allowed, shared, strict=True) if mine)
        path = self.work / f"{self.spec.name}-{span[0]:06d}.arrow"
        with whole_file(path) as place, pa.OSFile(str(place), "wb") as sink, pa.ipc.new_file(sink, DATASET) as out:
            out.write_table(to_table(allowed, DATASET))
        return Made(path, shared, whole, both, tokens.fresh())

    def _beside(self, keys: Sequence[str]) -> tuple[dict[str, Any], set[str], dict[str, Scores]]:
        """The kept queries of these keys, which responses filters dropped, and perplexities; only row groups in the
        range of the keys are read."""
        queries: dict[str, Any] = {}
        dropped: set[str] = set()
        perplexity: dict[str, Scores] = {}
        if not keys:
            return queries, dropped, perplexity
        low, high, wanted = min(keys), max(keys), set(keys)
        for path in self.queries:
            table = pq.read_table(path, filters=[("key", ">=", low), ("key", "<=", high)])
            queries |= {row["key"]: row for row in table.to_pylist() if row["key"] in wanted}
        inside = [("query", ">=", low), ("query", "<=", high)]
        supplied = {row["query"]: row for row in pq.read_table(self.supplied, filters=inside).to_pylist()}
        queries = {key: with_supplied(row, supplied.get(key)) for key, row in queries.items()}
        if self.filtered.exists():
            columns = ["response", "filter", "outcome", "score", "detail"]
            for row in pq.read_table(self.filtered, columns=columns, filters=inside).to_pylist():
                if row["outcome"] == "fail":
                    dropped.add(row["response"])
                if row["filter"] == "perplexity" and row["score"] is not None:
                    perplexity[row["response"]] = scores_of(row)
        return queries, dropped, perplexity
