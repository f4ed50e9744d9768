"""Queries and traces for the page's browser: an index of the queries, and the texts of a sample of them.

In: a run folder. Out: columns of the index, and chunks of traces; a chunk is what the page unpacks at a time. The
texts are data: nothing here makes markup of them.
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

from stillhouse.records import Response, normal_form
from stillhouse.store.index import load_index
from stillhouse.store.reading import read_responses
from stillhouse.store.run import Run
from stillhouse.store.tables import read_batches, read_rows, table_files
from stillhouse.store.verdicts import load_verdicts

MOST_INDEXED = 100_000
SNIPPET = 90
LONGEST_TEXT = 60_000
STATE_LETTERS = {
    "verified": "v", "unverified": "u", "waiting": "w", "exhausted": "x", "undecided": "?", "too_long": "l",
}  # fmt: skip


@dataclass
class Samples:
    """index: columns over the indexed queries. chosen: keys of the queries whose traces are shown, in index order."""

    index: dict[str, Any]
    chosen: list[str]
    total: int
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    traces: dict[str, dict[str, Any]] | None = None


def collect(run: Run, teachers: Sequence[str], wanted: int) -> Samples:
    """The index of a run's queries and which of them are sampled; an even choice over hashed keys is random."""
    file = run.verdicts / "pairs.parquet"
    if not file.exists():
        return from_datasets(run.folder / "samples.parquet", teachers)
    names = ["query", "teacher", "state", "attempts", "first_outcome", "first_tokens", "first_response", "response"]
    pairs = pq.read_table(file, columns=names)
    keys = sorted(pc.unique(pairs["query"]).to_pylist())
    shown = _even(keys, MOST_INDEXED)
    chosen = _even(shown, wanted)
    place = {key: n for n, key in enumerate(shown)}
    index = _queries(run, place)
    index["teachers"] = {name: _blank(len(shown)) for name in teachers}
    samples = Samples(index, chosen, len(keys))
    picked = set(chosen)
    for batch in pairs.to_batches(8192):
        for row in batch.to_pylist():
            if row["query"] in place and row["teacher"] in index["teachers"]:
                _enter(index["teachers"][row["teacher"]], place[row["query"]], row)
                if row["query"] in picked:
                    samples.rows.setdefault(row["query"], {})[row["teacher"]] = row
    for columns in index["teachers"].values():
        columns["state"], columns["first"] = "".join(columns["state"]), "".join(columns["first"])
    index["sampled"] = [place[key] for key in chosen]
    return samples


def from_datasets(file: Path, teachers: Sequence[str]) -> Samples:
    """The same of datasets that exist already, whose samples compare has set aside."""
    if not file.exists():
        return Samples({}, [], 0)
    rows = list(read_rows(file))
    first = {row["key"]: row for row in reversed(rows)}
    keys = sorted(first)
    place = {key: at for at, key in enumerate(keys)}
    categories, sources = (sorted({row[name] or "" for row in rows}) for name in ("category", "source"))
    index: dict[str, Any] = {
        "key": [key[:12] for key in keys],
        "id": [(first[key]["id"] or "")[:40] or None for key in keys],
        "category": [categories.index(first[key]["category"] or "") for key in keys],
        "source": [sources.index(first[key]["source"] or "") for key in keys],
        "text": [" ".join(first[key]["messages"][-1]["content"][: 4 * SNIPPET].split())[:SNIPPET] for key in keys],
        "categories": categories,
        "sources": sources,
        "teachers": {name: _blank(len(keys)) for name in teachers},
        "sampled": list(range(len(keys))),
    }
    traces: dict[str, dict[str, Any]] = {}
    for row in rows:
        columns, at = index["teachers"][row["dataset"]], place[row["key"]]
        columns["state"][at] = "v" if row["verified"] else "x"
        columns["attempts"][at], columns["tokens"][at] = 1, row["tokens"]
        item = traces.setdefault(row["key"], {
            "key": row["key"], "id": row["id"], "messages": row["messages"], "reference": row["reference"],
            "has_tests": False, "traces": {},
        })  # fmt: skip
        parts = normal_form(row["text"])
        item["traces"][row["dataset"]] = [{
            "key": row["key"], "attempt": None, "thinking": parts.thinking, "answer": parts.answer or row["text"],
            "malformed": parts.malformed, "finish": "stop", "tokens": row["tokens"], "cost": None,
            "accepted": row["verified"],
            "score": row["score"], "reason": None if row["score"] is None else f"verify_score {row['score']:g}",
        }]  # fmt: skip
    for columns in index["teachers"].values():
        columns["state"], columns["first"] = "".join(columns["state"]), "".join(columns["first"])
    return Samples(index, keys, len(keys), traces=traces)


def _even(keys: list[str], most: int) -> list[str]:
    if len(keys) <= most:
        return keys
    step = len(keys) / most
    return [keys[int(n * step)] for n in range(most)]


def _blank(size: int) -> dict[str, Any]:
    return {"state": ["-"] * size, "first": ["-"] * size, "attempts": [0] * size, "tokens": [None] * size}


def _enter(columns: dict[str, Any], at: int, row: Mapping[str, Any]) -> None:
    columns["state"][at] = STATE_LETTERS.get(row["state"], "-")
    columns["first"][at] = {"pass": "p", "fail": "f"}.get(row["first_outcome"], "-")
    columns["attempts"][at] = row["attempts"] or 0
    columns["tokens"][at] = row["first_tokens"]


def _queries(run: Run, place: Mapping[str, int]) -> dict[str, Any]:
    size = len(place)
    index: dict[str, Any] = {
        "key": [key[:12] for key in place],
        "id": [None] * size,
        "category": [0] * size,
        "source": [0] * size,
        "text": [""] * size,
    }
    codes: dict[str, dict[str, int]] = {"category": {}, "source": {}}
    for row in query_rows(run, place):
        at = place[row["key"]]
        index["id"][at] = None if row["id"] is None else row["id"][:40]
        for name in ("category", "source"):
            index[name][at] = codes[name].setdefault(row[name], len(codes[name]))
        index["text"][at] = " ".join(row["query"][: 4 * SNIPPET].split())[:SNIPPET]
    return index | {"categories": list(codes["category"]) or [""], "sources": list(codes["source"]) or [""]}


def query_rows(run: Run, keys: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The kept queries among the keys."""
    wanted = pa.array(list(keys), pa.string())
    for batch in read_batches(table_files(run.queries, "kept"), batch_rows=4096):
        yield from batch.filter(pc.is_in(batch.column("key"), value_set=wanted)).to_pylist()


def traces(run: Run, samples: Samples) -> dict[str, dict[str, Any]]:
    """For each sampled query its turns, its reference, and of each teacher the first attempt and what was accepted."""
    if samples.traces is not None:
        return samples.traces
    out: dict[str, dict[str, Any]] = {}
    for row in query_rows(run, dict.fromkeys(samples.chosen)):
        out[row["key"]] = {
            "key": row["key"],
            "id": row["id"],
            "messages": [{"role": m["role"], "content": _cut(m["content"])} for m in row["messages"]],
            "reference": _cut(row["ground_truth"]),
            "has_tests": bool(row["test_case"]),
            "traces": {},
        }
    shown: dict[str, dict[str, Any]] = {}
    accepted = {row["response"] for mine in samples.rows.values() for row in mine.values() if row["response"]}
    owners = {
        key: (query, name)
        for query, mine in samples.rows.items()
        for name, row in mine.items()
        for key in (row["first_response"], row["response"])
        if key
    }
    index = load_index(run.journals)
    rows = index.find(sorted(owners)) if owners else np.empty(0, np.int64)
    for reply in read_responses(index, np.sort(rows[rows >= 0])):
        query, name = owners[reply.key]
        if query in out:
            trace = _trace(reply) | {"accepted": reply.key in accepted}
            shown[reply.key] = trace
            out[query]["traces"].setdefault(name, []).append(trace)
    _judge(run, samples.index["teachers"], shown)
    return out


def _trace(reply: Response) -> dict[str, Any]:
    parts = reply.parts
    return {
        "key": reply.key,
        "attempt": reply.attempt,
        "thinking": _cut(parts.thinking),
        "answer": _cut(parts.answer if parts.malformed is None or parts.answer else reply.text),
        "malformed": parts.malformed,
        "finish": reply.finish_reason,
        "tokens": reply.completion_tokens,
        "cost": reply.cost_usd,
    }


def _cut(text: str | None) -> str | None:
    if text is None or len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]}\n[... {len(text) - LONGEST_TEXT:,} more characters]"


def _judge(run: Run, teachers: Iterable[str], shown: Mapping[str, dict[str, Any]]) -> None:
    """Put the verdicts of verifiers and filters onto the traces."""
    keys = pa.array(sorted(shown), pa.string())
    verdicts = load_verdicts(run.verdicts / "log", damage=[])
    for row in verdicts.filter(pc.is_in(verdicts["response"], value_set=keys)).to_pylist():
        shown[row["response"]] |= {
            "outcome": row["outcome"], "score": row["score"], "rule": row["rule"], "reason": _cut(row["reason"]),
        }  # fmt: skip
    columns = ["response", "outcome", "rule", "reason"]
    for name in teachers:
        file = run.filters / f"{name}.parquet"
        for batch in read_batches(file, columns, batch_rows=65536) if file.exists() else ():
            failed = pc.and_(pc.equal(batch["outcome"], "fail"), pc.is_in(batch["response"], value_set=keys))
            for row in batch.filter(failed).to_pylist():
                told = f"{row['rule']}: {row['reason']}" if row["reason"] else row["rule"]
                shown[row["response"]]["dropped"] = _cut(told)
