"""Queries and traces for the page's browser: an index of the queries, and the texts of a sample of them.

In: a run folder. Out: columns of the index, and chunks of traces; a chunk is what the page unpacks at a time. The
texts are data: nothing here makes markup of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stillhouse.records import normal_form

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


def collect(folder: Path, teachers: Sequence[str], wanted: int) -> Samples:
    """The index of a run's queries and which of them are sampled; an even choice over hashed keys is random."""
    file = folder / "3-verdicts" / "pairs.parquet"
    if not file.exists():
        return Samples({}, [], 0)
    names = ["query", "teacher", "state", "attempts", "first_outcome", "first_tokens", "first_response", "passed_at"]
    pairs = pq.read_table(file, columns=names)
    keys = sorted(pc.unique(pairs["query"]).to_pylist())
    shown = _even(keys, MOST_INDEXED)
    chosen = _even(shown, wanted)
    place = {key: n for n, key in enumerate(shown)}
    index = _queries(folder, place)
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


def _queries(folder: Path, place: Mapping[str, int]) -> dict[str, Any]:
    size = len(place)
    index: dict[str, Any] = {
        "key": [key[:12] for key in place],
        "id": [None] * size,
        "category": [0] * size,
        "source": [0] * size,
        "text": [""] * size,
    }
    codes: dict[str, dict[str, int]] = {"category": {}, "source": {}}
    for row in query_rows(folder, place):
        at = place[row["key"]]
        index["id"][at] = None if row.get("id") is None else str(row["id"])[:40]
        for name in ("category", "source"):
            index[name][at] = codes[name].setdefault(str(row.get(name) or ""), len(codes[name]))
        index["text"][at] = " ".join(last_turn(row)[: 4 * SNIPPET].split())[:SNIPPET]
    return index | {"categories": list(codes["category"]) or [""], "sources": list(codes["source"]) or [""]}


def query_rows(folder: Path, keys: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The kept queries among the keys."""
    wanted = pa.array(list(keys), pa.string())
    for file in sorted((folder / "1-queries").glob("kept*.parquet")):
        for batch in pq.ParquetFile(file).iter_batches(8192):
            yield from batch.filter(pc.is_in(batch.column("key"), value_set=wanted)).to_pylist()


def last_turn(row: Mapping[str, Any]) -> str:
    messages = row.get("messages") or []
    return str(messages[-1]["content"]) if messages else str(row.get("query") or "")


def traces(folder: Path, samples: Samples) -> dict[str, dict[str, Any]]:
    """For each sampled query its turns, reference, and of each teacher the first attempt and what was accepted."""
    out: dict[str, dict[str, Any]] = {}
    for row in query_rows(folder, dict.fromkeys(samples.chosen)):
        out[row["key"]] = {
            "key": row["key"],
            "id": row.get("id"),
            "messages": [{"role": m["role"], "content": _cut(m["content"])} for m in row.get("messages") or []],
            "reference": _cut(row.get("ground_truth")) or None,
            "has_tests": bool(row.get("test_case")),
            "traces": {},
        }
    wanted: dict[str, tuple[str, str]] = {}
    for key, teachers in samples.rows.items():
        for name, row in teachers.items():
            if row["first_response"]:
                wanted[row["first_response"]] = (key, name)
    dropped: dict[str, str] = {}
    for name in samples.index.get("teachers", {}):
        dropped |= _dropped(folder, name)
        _read(folder / "2-responses" / f"accepted-{name}.parquet", "query", set(samples.chosen), out, name)
    for file in sorted((folder / "2-responses").rglob("*.parquet")):
        if not file.name.startswith("accepted-"):
            _read(file, "key", set(wanted), out, None)
    _judge(folder, out, dropped)
    return out


def _read(file: Path, column: str, keys: set[str], out: dict[str, dict[str, Any]], teacher: str | None) -> None:
    if not file.exists() or not keys:
        return
    value_set = pa.array(sorted(keys), pa.string())
    for batch in pq.ParquetFile(file).iter_batches(2048):
        for row in batch.filter(pc.is_in(batch.column(column), value_set=value_set)).to_pylist():
            if row["query"] in out:
                mine = out[row["query"]]["traces"].setdefault(teacher or row["teacher"], {})
                mine.setdefault(row["key"], _trace(row)).update(accepted=True) if teacher else mine.setdefault(
                    row["key"], _trace(row)
                )


def _trace(row: Mapping[str, Any]) -> dict[str, Any]:
    parts = normal_form(row["text"] or "", row.get("reasoning"), row.get("thinking") or "optional")
    whole = row["text"] or ""
    return {
        "key": row["key"],
        "attempt": row["attempt"],
        "thinking": _cut(parts.thinking),
        "answer": _cut(parts.answer if parts.malformed is None or parts.answer else whole),
        "malformed": parts.malformed,
        "finish": row["finish_reason"],
        "tokens": row["completion_tokens"],
        "cost": row["cost_usd"],
        "accepted": False,
    }


def _cut(text: str | None) -> str | None:
    if text is None or len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]}\n[... {len(text) - LONGEST_TEXT:,} more characters]"


def _dropped(folder: Path, teacher: str) -> dict[str, str]:
    file = folder / "4-filters" / f"{teacher}.parquet"
    if not file.exists():
        return {}
    table = pq.read_table(file, columns=["response", "outcome", "rule", "reason"])
    return {
        row["response"]: f"{row['rule']}: {row['reason']}" if row["reason"] else str(row["rule"])
        for row in table.filter(pc.field("outcome") == "fail").to_pylist()
    }


def _judge(folder: Path, out: Mapping[str, dict[str, Any]], dropped: Mapping[str, str]) -> None:
    """Put the verdicts of verifiers and filters onto the traces."""
    shown = {t["key"]: t for item in out.values() for mine in item["traces"].values() for t in mine.values()}
    for key, trace in shown.items():
        trace["dropped"] = dropped.get(key)
    value_set = pa.array(sorted(shown), pa.string())
    columns = ["response", "outcome", "score", "rule", "reason"]
    for file in sorted((folder / "3-verdicts").rglob("*.parquet")):
        if not set(columns) <= set(pq.read_schema(file).names):
            continue
        for batch in pq.ParquetFile(file).iter_batches(8192, columns=columns):
            for row in batch.filter(pc.is_in(batch.column("response"), value_set=value_set)).to_pylist():
                shown[row["response"]] |= {
                    "outcome": row["outcome"], "score": row["score"], "rule": row["rule"],
                    "reason": _cut(row["reason"]),
                }  # fmt: skip
