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
LONGEST_ID = 40
LONGEST_TEXT = 60_000
STATE_LETTERS = {
    "verified": "v", "unverified": "u", "waiting": "w", "exhausted": "x", "undecided": "?", "too_long": "l",
}  # fmt: skip


@dataclass
class Samples:
    """index: columns over the indexed queries. chosen: keys of the queries whose traces are shown, in index order.

    teachers: their names; what the index and the traces hold of teachers stands in this order.
    """

    index: dict[str, Any]
    chosen: list[str]
    total: int
    teachers: list[str] = field(default_factory=list)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    traces: dict[str, dict[str, Any]] | None = None


def collect(run: Run, teachers: Sequence[str], wanted: int) -> Samples:
    """The index of a run's queries and which of them are sampled; an even choice over hashed keys is random."""
    file = run.verdicts / "pairs.parquet"
    if not file.exists():
        return from_datasets(run.folder / "samples.parquet", teachers)
    names = ["query", "teacher", "state", "attempts", "first_outcome", "first_response", "response"]
    pairs = pq.read_table(file, columns=names)
    keys = sorted(pc.unique(pairs["query"]).to_pylist())
    shown = _even(keys, MOST_INDEXED)
    chosen = _even(shown, wanted)
    place = {key: n for n, key in enumerate(shown)}
    index = _queries(run, place)
    sides = {name: _blank(len(shown)) for name in teachers}
    samples = Samples(index, chosen, len(keys), list(teachers))
    picked = set(chosen)
    for batch in pairs.to_batches(8192):
        for row in batch.to_pylist():
            if row["query"] in place and row["teacher"] in sides:
                _enter(sides[row["teacher"]], place[row["query"]], row)
                if row["query"] in picked:
                    samples.rows.setdefault(row["query"], {})[row["teacher"]] = row
    index["teachers"] = _joined(sides)
    index["sampled"] = [place[key] for key in chosen]
    return samples


def from_datasets(file: Path, teachers: Sequence[str]) -> Samples:
    """The same of datasets that exist already, whose samples compare has set aside."""
    if not file.exists():
        return Samples({}, [], 0, list(teachers))
    rows = list(read_rows(file))
    first = {row["key"]: row for row in reversed(rows)}
    keys = sorted(first)
    place = {key: at for at, key in enumerate(keys)}
    categories, sources = (sorted({row[name] or "" for row in rows}) for name in ("category", "source"))
    index: dict[str, Any] = {
        "key": [key[:12] for key in keys],
        "id": [(first[key]["id"] or "")[:LONGEST_ID] or None for key in keys],
        "category": [categories.index(first[key]["category"] or "") for key in keys],
        "source": [sources.index(first[key]["source"] or "") for key in keys],
        "text": [snippet(first[key]["messages"][-1]["content"]) for key in keys],
        "categories": categories,
        "sources": sources,
        "sampled": list(range(len(keys))),
    }
    sides, at_side = {name: _blank(len(keys)) for name in teachers}, {name: n for n, name in enumerate(teachers)}
    traces: dict[str, dict[str, Any]] = {}
    for row in rows:
        columns, at = sides[row["dataset"]], place[row["key"]]
        columns["state"][at] = "v" if row["verified"] else "x"
        columns["attempts"][at] = 1
        item = traces.setdefault(row["key"], {
            "key": row["key"], "id": row["id"], "messages": row["messages"], "reference": row["reference"],
            "has_tests": False, "traces": [[] for _ in teachers],
        })  # fmt: skip
        parts = normal_form(row["text"])
        item["traces"][at_side[row["dataset"]]] = [{
            "key": row["key"], "attempt": None, "thinking": parts.thinking, "answer": parts.answer or row["text"],
            "malformed": parts.malformed, "finish": "stop", "tokens": row["tokens"], "cost": None,
            "accepted": row["verified"],
            "score": row["score"], "reason": None if row["score"] is None else f"verify_score {row['score']:g}",
        }]  # fmt: skip
    index["teachers"] = _joined(sides)
    return Samples(index, keys, len(keys), list(teachers), traces=traces)


def snippet(text: str) -> str:
    """The beginning of a text, as one line of the list."""
    return " ".join(text[: 4 * SNIPPET].split())[:SNIPPET]


def _even(keys: list[str], most: int) -> list[str]:
    if len(keys) <= most:
        return keys
    step = len(keys) / most
    return [keys[int(n * step)] for n in range(most)]


def _blank(size: int) -> dict[str, Any]:
    return {"state": ["-"] * size, "first": ["-"] * size, "attempts": [0] * size}


def _joined(sides: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The columns in the order of the teachers, letters as one text."""
    return [side | {"state": "".join(side["state"]), "first": "".join(side["first"])} for side in sides.values()]


def _enter(columns: dict[str, Any], at: int, row: Mapping[str, Any]) -> None:
    columns["state"][at] = STATE_LETTERS.get(row["state"], "-")
    columns["first"][at] = {"pass": "p", "fail": "f"}.get(row["first_outcome"], "-")
    columns["attempts"][at] = row["attempts"] or 0


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
        index["id"][at] = None if row["id"] is None else row["id"][:LONGEST_ID]
        for name in ("category", "source"):
            index[name][at] = codes[name].setdefault(row[name], len(codes[name]))
        index["text"][at] = snippet(row["query"])
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
    place = {name: at for at, name in enumerate(samples.teachers)}
    for row in query_rows(run, dict.fromkeys(samples.chosen)):
        out[row["key"]] = told(row, samples.teachers)
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
            shown[reply.key] = trace_of(reply) | {"accepted": reply.key in accepted}
            out[query]["traces"][place[name]].append(shown[reply.key])
    judge(load_verdicts(run.verdicts / "log", damage=[]), shown)
    filtered(run, samples.teachers, shown)
    return out


def thinking_seen(traces: Iterable[Mapping[str, Any]], teachers: Sequence[str]) -> dict[str, dict[str, int]]:
    """Of each teacher the replies among the traces, and those that think before they answer."""
    seen = {name: {"shown": 0, "thinking": 0} for name in teachers}
    for item in traces:
        for name, mine in zip(teachers, item["traces"], strict=True):
            seen[name]["shown"] += len(mine)
            seen[name]["thinking"] += sum(bool(trace["thinking"]) for trace in mine)
    return seen


def told(row: Mapping[str, Any], teachers: Sequence[str], most: int = LONGEST_TEXT) -> dict[str, Any]:
    """What the page shows of a query: its turns and its reference; and room for the traces of each teacher.

    most: characters of each text; what is cut off is counted in its place.
    """
    return {
        "key": row["key"], "id": row["id"],
        "messages": [{"role": m["role"], "content": _cut(m["content"], most)} for m in row["messages"]],
        "reference": _cut(row["ground_truth"], most), "has_tests": bool(row["test_case"]),
        "traces": [[] for _ in teachers],
    }  # fmt: skip


def trace_of(reply: Response, most: int = LONGEST_TEXT) -> dict[str, Any]:
    """What the page shows of a reply."""
    parts = reply.parts
    return {
        "key": reply.key,
        "attempt": reply.attempt,
        "thinking": _cut(parts.thinking, most),
        "answer": _cut(parts.answer if parts.malformed is None or parts.answer else reply.text, most),
        "malformed": parts.malformed,
        "finish": reply.finish_reason,
        "tokens": reply.completion_tokens,
        "cost": reply.cost_usd,
    }


def _cut(text: str | None, most: int = LONGEST_TEXT) -> str | None:
    if text is None or len(text) <= most:
        return text
    return f"{text[:most]}\n[... {len(text) - most:,} more characters]"


def judge(verdicts: pa.Table, shown: Mapping[str, dict[str, Any]]) -> None:
    """Put the verdicts of verifiers onto the traces."""
    keys = pa.array(sorted(shown), pa.string())
    for row in verdicts.filter(pc.is_in(verdicts["response"], value_set=keys)).to_pylist():
        shown[row["response"]] |= {
            "outcome": row["outcome"], "score": row["score"], "rule": row["rule"], "reason": _cut(row["reason"]),
        }  # fmt: skip


def filtered(run: Run, teachers: Iterable[str], shown: Mapping[str, dict[str, Any]]) -> None:
    """Put what the filters dropped onto the traces."""
    keys = pa.array(sorted(shown), pa.string())
    columns = ["response", "outcome", "rule", "reason"]
    for name in teachers:
        file = run.filters / f"{name}.parquet"
        for batch in read_batches(file, columns, batch_rows=65536) if file.exists() else ():
            failed = pc.and_(pc.equal(batch["outcome"], "fail"), pc.is_in(batch["response"], value_set=keys))
            for row in batch.filter(failed).to_pylist():
                why = f"{row['rule']}: {row['reason']}" if row["reason"] else row["rule"]
                shown[row["response"]]["dropped"] = _cut(why)
