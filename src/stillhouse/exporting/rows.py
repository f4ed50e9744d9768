"""Rows of a dataset: accepted responses joined with their queries, in the strict schema of store.tables.

In: rows of accepted responses and of kept queries. Out: rows of DATASET, and which responses and queries are kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from stillhouse.records import TeacherSpec, normal_form
from stillhouse.store.references import load_references, synthesised_constraints
from stillhouse.store.rendering import rendered
from stillhouse.store.run import Run
from stillhouse.store.tables import read_batches, write_rows

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


SUPPLIED = pa.schema([(name, pa.string()) for name in ("query", "ground_truth", "instruction_constrain", "by")])


def write_supplied(run: Run, file: Path) -> None:
    """What queries are verified by where they did not bring it, sorted by key: references of the vote (by `vote`),
    constraints of the judge (by `judge`). SUPPLIED rows; the vote goes before the judge."""
    rows = {key: {"instruction_constrain": text, "by": "judge"} for key, text in synthesised_constraints(run).items()}
    rows |= {key: {"ground_truth": one.ground_truth, "by": "vote"} for key, one in load_references(run).items()}
    write_rows(
        file, ({"query": key, **dict.fromkeys(SUPPLIED.names[1:]), **rows[key]} for key in sorted(rows)), SUPPLIED
    )


def with_supplied(query: dict[str, Any], supplied: Mapping[str, Any] | None) -> dict[str, Any]:
    """The row of a query with what holds for it, and who supplied that."""
    if supplied is None or (supplied["by"] == "judge" and query["instruction_constrain"] is not None):
        return query
    field = "ground_truth" if supplied["by"] == "vote" else "instruction_constrain"
    return query | {field: supplied[field], "reference_by": supplied["by"]}


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


def scores_of(row: Mapping[str, Any]) -> Scores:
    """Of a filter's row of rule perplexity."""
    return row["score"], json.loads(row["detail"]).get("full") if row["detail"] else None


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
                perplexity[row["response"]] = scores_of(row)
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
