"""Rows of a dataset: accepted responses joined with their queries, in the strict schema of store.tables.

In: a run. Out: batches of rows sorted by query key; a batch at a time is in memory, whatever the run's size.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq
import yaml

from stillhouse.records import TeacherSpec, normal_form
from stillhouse.store.references import load_references, synthesised_constraints
from stillhouse.store.rendering import rendered
from stillhouse.store.run import Run
from stillhouse.store.tables import read_batches, table_files

BATCH = 1024


class Queries:
    """The kept queries, looked up by ascending keys: each row group is read once and let go."""

    def __init__(self, run: Run) -> None:
        self._files = [pq.ParquetFile(file) for file in table_files(run.queries, "kept")]
        self._groups = sorted(
            (file.metadata.row_group(group).column(_column(file, "key")).statistics.min, place, group)
            for place, file in enumerate(self._files)
            for group in range(file.num_row_groups)
            if file.metadata.row_group(group).num_rows
        )
        self._next = 0
        self._open: list[tuple[str, dict[str, dict[str, Any]]]] = []

    def find(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The query rows of a batch of sorted keys, which must not lie before those of the last call."""
        if not keys:
            return {}
        low, high = keys[0], keys[-1]
        self._open = [(last, rows) for last, rows in self._open if last >= low]
        while self._next < len(self._groups) and self._groups[self._next][0] <= high:
            _, place, group = self._groups[self._next]
            self._next += 1
            rows = {row["key"]: row for row in self._files[place].read_row_group(group).to_pylist()}
            if rows and (last := max(rows)) >= low:
                self._open.append((last, rows))
        return {key: rows[key] for key in keys for _, rows in self._open if key in rows}


def _column(file: pq.ParquetFile, name: str) -> int:
    paths = [file.metadata.schema.column(i).path for i in range(file.metadata.num_columns)]
    return paths.index(name)


Scores = tuple[float | None, float | None]  # perplexity of the response given the query, and over both
UNSCORED: Scores = (None, None)


class SourceTerms:
    """May rows of a source be trained on: by the names of the recipe's sources.

    A row that names a source of its own, which the recipe does not know, has the worst terms of all the recipe's.
    """

    def __init__(self, sources: Sequence[Mapping[str, str]]) -> None:
        self._terms = {source["name"]: source.get("terms") or "unknown" for source in sources}
        given = set(self._terms.values())
        self._worst = "no" if "no" in given else "yes" if given == {"yes"} else "unknown"

    def of(self, source: str) -> str:
        return self._terms.get(source, self._worst)


class Supplied:
    """What queries are verified by where they did not bring it: references of the vote, constraints of the judge."""

    def __init__(self, run: Run) -> None:
        self._voted = load_references(run)
        self._constraints = synthesised_constraints(run)

    def of(self, query: dict[str, Any]) -> dict[str, Any]:
        """The row of a query with what holds for it, and who supplied that."""
        voted = self._voted.get(query["key"])
        if voted is not None:
            return query | {"ground_truth": voted.ground_truth, "reference_by": "vote"}
        constraints = self._constraints.get(query["key"])
        if constraints is not None and query["instruction_constrain"] is None:
            return query | {"instruction_constrain": constraints, "reference_by": "judge"}
        return query


def dataset_rows(
    run: Run,
    spec: TeacherSpec,
    dropped: set[str],
    perplexity: Mapping[str, Scores],
    source_terms: SourceTerms,
) -> Iterator[list[dict[str, Any]]]:
    """Batches of dataset rows of a teacher: what was accepted and no filter dropped.

    Raises ValueError for a response whose query is not among the kept ones.
    """
    file = run.responses / f"accepted-{spec.name}.parquet"
    if not file.exists():
        return
    queries, supplied = Queries(run), Supplied(run)
    for batch in read_batches(file, batch_rows=BATCH):
        responses = [row for row in batch.to_pylist() if row["key"] not in dropped]
        found = queries.find([row["query"] for row in responses])
        for row in responses:
            if row["query"] not in found:
                raise ValueError(f"{file}: the query {row['query']} is not in {run.queries}")
        yield [
            dataset_row(row, supplied.of(found[row["query"]]), spec, perplexity.get(row["key"], UNSCORED), source_terms)
            for row in responses
        ]


def dataset_row(
    response: Mapping[str, Any],
    query: Mapping[str, Any],
    spec: TeacherSpec,
    perplexity: Scores,
    source_terms: SourceTerms,
) -> dict[str, Any]:
    """One row of DATASET; `tokens` is left to the writer, which counts a batch at a time."""
    parts = normal_form(response["text"], response["reasoning"], spec.thinking)
    text = rendered(parts.thinking, parts.answer)
    turns = [{"role": m["role"], "content": m["content"]} for m in query["messages"]]
    return {
        **{name: query[name] for name in ("key", "id", "category", "source", "system", "query", "ground_truth")},
        **{name: query[name] for name in ("test_case", "instruction_constrain")},
        "reference_by": query.get("reference_by"),
        **{name: response[name] for name in ("attempt", "verify_rule", "verify_score", "finish_reason")},
        **{name: response[name] for name in ("prompt_tokens", "completion_tokens", "cost_usd")},
        "messages": [*turns, {"role": "assistant", "content": text}],
        "thinking": parts.thinking,
        "answer": parts.answer,
        "response": text,
        "response_key": response["key"],
        "teacher": spec.name,
        "model": response["model"] or spec.model,
        "ppl": perplexity[0],
        "ppl_full": perplexity[1],
        "teacher_terms": spec.terms,
        "source_terms": source_terms.of(query["source"]),
    }


def read_filters(run: Run, teacher: str) -> tuple[set[str], dict[str, Scores]]:
    """Keys of the responses that a filter dropped, and perplexities by response key."""
    file = run.filters / f"{teacher}.parquet"
    dropped: set[str] = set()
    perplexity: dict[str, Scores] = {}
    columns = ["response", "filter", "outcome", "score", "detail"]
    for batch in read_batches(file, columns, batch_rows=65536) if file.exists() else ():
        for row in batch.to_pylist():
            if row["outcome"] == "fail":
                dropped.add(row["response"])
            if row["filter"] == "perplexity" and row["score"] is not None:
                full = json.loads(row["detail"]).get("full") if row["detail"] else None
                perplexity[row["response"]] = (row["score"], full)
    return dropped, perplexity


def dropped_rules(run: Run, teacher: str) -> dict[str, int]:
    """How many accepted responses each filter's rule dropped; a response goes by the first that fails it."""
    file = run.filters / f"{teacher}.parquet"
    rules: Counter[str] = Counter()
    for batch in read_batches(file, ["outcome", "rule"], batch_rows=65536) if file.exists() else ():
        pairs = zip(batch["outcome"].to_pylist(), batch["rule"].to_pylist(), strict=True)
        rules.update(rule for outcome, rule in pairs if outcome == "fail")
    return dict(rules)


def verifier_versions(run: Run) -> dict[str, str]:
    """Category -> version of the verifier, as the run's recipe has them frozen; of nothing else of the recipe, whose
    addresses and paths are the user's own."""
    if not run.recipe.exists():
        return {}
    recipe = yaml.safe_load(run.recipe.read_text(encoding="utf-8")) or {}
    return {str(name): str(version) for name, version in ((recipe.get("verify") or {}).get("versions") or {}).items()}


def kept_keys(run: Run, teacher: str, dropped: set[str]) -> set[str]:
    """Keys of the queries that the teacher has a kept response for."""
    file = run.responses / f"accepted-{teacher}.parquet"
    kept: set[str] = set()
    for batch in read_batches(file, ["key", "query"], batch_rows=65536) if file.exists() else ():
        pairs = zip(batch["key"].to_pylist(), batch["query"].to_pylist(), strict=True)
        kept |= {query for key, query in pairs if key not in dropped}
    return kept
