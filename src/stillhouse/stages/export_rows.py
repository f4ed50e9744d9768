"""Rows of a dataset: accepted responses joined with their queries, in one strict schema.

In: a run folder. Out: record batches sorted by query key; a batch at a time is in memory, whatever the run's size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stillhouse.records import TeacherSpec, normal_form

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
DATASET = pa.schema([
    pa.field("key", pa.string(), nullable=False),
    pa.field("id", pa.string()),
    pa.field("category", pa.string(), nullable=False),
    pa.field("source", pa.string(), nullable=False),
    pa.field("system", pa.string()),
    pa.field("messages", MESSAGES, nullable=False),
    pa.field("thinking", pa.string()),
    pa.field("answer", pa.string(), nullable=False),
    pa.field("verify_score", pa.float64()),
    pa.field("verify_rule", pa.string()),
    pa.field("ppl", pa.float64()),
    pa.field("attempt", pa.int32()),
    pa.field("finish_reason", pa.string()),
    pa.field("prompt_tokens", pa.int32()),
    pa.field("completion_tokens", pa.int32()),
    pa.field("cost_usd", pa.float64()),
    pa.field("ground_truth", pa.string()),
    pa.field("test_case", pa.string()),
    pa.field("instruction_constrain", pa.string()),
    pa.field("extra", pa.string()),
    pa.field("teacher", pa.string(), nullable=False),
    pa.field("model_name", pa.string()),
    pa.field("terms", pa.string(), nullable=False),
    pa.field("response", pa.string(), nullable=False),
])  # fmt: skip
BATCH = 4096


class Queries:
    """The kept queries, looked up by ascending keys: each row group is read once and let go."""

    def __init__(self, folder: Path) -> None:
        files = sorted((folder / "1-queries").glob("kept*.parquet"))
        self._files = [pq.ParquetFile(file) for file in files]
        self._groups = sorted(
            (file.metadata.row_group(group).column(_index(file, "key")).statistics.min, place, group)
            for place, file in enumerate(self._files)
            for group in range(file.num_row_groups)
            if file.metadata.row_group(group).num_rows
        )
        self._next = 0
        self._open: list[tuple[str, dict[str, dict[str, Any]]]] = []

    def find(self, keys: list[str]) -> dict[str, dict[str, Any]]:
        """The query rows of a batch of sorted keys, which must not lie before those of the last call."""
        if not keys:
            return {}
        low, high = keys[0], keys[-1]
        self._open = [(last, rows) for last, rows in self._open if last >= low]
        while self._next < len(self._groups) and self._groups[self._next][0] <= high:
            _, place, group = self._groups[self._next]
            self._next += 1
            rows = {str(row["key"]): row for row in self._files[place].read_row_group(group).to_pylist()}
            if rows and (last := max(rows)) >= low:
                self._open.append((last, rows))
        return {key: rows[key] for key in keys for _, rows in self._open if key in rows}


def _index(file: pq.ParquetFile, name: str) -> int:
    return [file.metadata.schema.column(i).path for i in range(file.metadata.num_columns)].index(name)


def dataset_rows(
    folder: Path, spec: TeacherSpec, dropped: set[str], perplexity: Mapping[str, float]
) -> Iterator[list[dict[str, Any]]]:
    """Batches of dataset rows of a teacher: what was accepted and no filter dropped. Raises ValueError on a response
    whose query is missing."""
    file = folder / "2-responses" / f"accepted-{spec.name}.parquet"
    if not file.exists():
        return
    queries = Queries(folder)
    for batch in pq.ParquetFile(file).iter_batches(BATCH):
        responses = [row for row in batch.to_pylist() if row["key"] not in dropped]
        found = queries.find([row["query"] for row in responses])
        missing = [row["query"] for row in responses if row["query"] not in found]
        if missing:
            raise ValueError(f"{file}: query {missing[0]} is not in {folder / '1-queries'}")
        yield [_row(row, found[row["query"]], spec, perplexity.get(row["key"])) for row in responses]


def _row(
    response: Mapping[str, Any], query: Mapping[str, Any], spec: TeacherSpec, perplexity: float | None
) -> dict[str, Any]:
    parts = normal_form(response["text"] or "", response.get("reasoning"), spec.thinking)
    turns = [{"role": m["role"], "content": m["content"]} for m in query["messages"]]
    return {
        "key": query["key"],
        "id": query.get("id"),
        "category": query["category"],
        "source": query.get("source") or "",
        "system": query.get("system"),
        "messages": [*turns, {"role": "assistant", "content": rendered(parts.thinking, parts.answer)}],
        "thinking": parts.thinking,
        "answer": parts.answer,
        "verify_score": response.get("verify_score"),
        "verify_rule": response.get("verify_rule"),
        "ppl": perplexity,
        **{n: response.get(n) for n in ("attempt", "finish_reason", "prompt_tokens", "completion_tokens", "cost_usd")},
        **{n: query.get(n) for n in ("ground_truth", "test_case", "instruction_constrain", "extra")},
        "teacher": spec.name,
        "model_name": response.get("model") or spec.model or None,
        "terms": spec.terms,
        "response": response["key"],
    }


def rendered(thinking: str | None, answer: str) -> str:
    """The final turn in the one form that every teacher's rows get."""
    thought = "" if thinking is None else f"<think>\n{thinking}\n</think>\n"
    return f"{thought}<answer>\n{answer}\n</answer>"


def read_filters(folder: Path, teacher: str) -> tuple[set[str], dict[str, float]]:
    """Keys of the responses that a filter dropped, and perplexities by response key."""
    file = folder / "4-filters" / f"{teacher}.parquet"
    dropped: set[str] = set()
    perplexity: dict[str, float] = {}
    if not file.exists():
        return dropped, perplexity
    columns = ["response", "filter", "outcome", "score"]
    for batch in pq.ParquetFile(file).iter_batches(65536, columns=columns):
        for row in batch.to_pylist():
            if row["outcome"] == "fail":
                dropped.add(row["response"])
            if row["filter"] == "perplexity" and row["score"] is not None:
                perplexity[row["response"]] = row["score"]
    return dropped, perplexity


def kept_keys(folder: Path, teacher: str, dropped: set[str]) -> set[str]:
    """Keys of the queries that the teacher has a kept response for."""
    file = folder / "2-responses" / f"accepted-{teacher}.parquet"
    if not file.exists():
        return set()
    table = pq.read_table(file, columns=["key", "query"])
    pairs = zip(table["key"].to_pylist(), table["query"].to_pylist(), strict=True)
    return {str(query) for key, query in pairs if key not in dropped}
