"""Blocks of queries as arrow tables: how shards spill their rows, and how spilled rows become rows of QUERIES.

In: QueryColumns; tables of spilled rows. Out: SPILLED, which keeps the text of a single turn once and the turns of
the others as JSON; QUERIES. A lone surrogate, which arrow cannot hold, becomes U+FFFD.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stillhouse.records import canonical_json, content_hash
from stillhouse.store.columns import QueryColumns, QueryTexts, same
from stillhouse.store.tables import QUERIES

_LARGE = pa.large_string()
_NARROW = [field for field in QUERIES if field.name not in ("messages", "query")]
SPILLED = pa.schema([pa.field("query", _LARGE), pa.field("turns", _LARGE), *(f.with_nullable(True) for f in _NARROW)])
"""Rows as a shard keeps them. turns: JSON of (role, content) pairs, null where `query` is all."""


def text_array(texts: Sequence[str | None], kind: pa.DataType = _LARGE) -> pa.Array:
    """Texts as arrow; what is one value throughout costs nothing."""
    if len(texts) > 1 and same(texts):
        return text_array(texts[:1], kind).take(pa.array(np.zeros(len(texts), np.int32)))
    try:
        return pa.array(texts, kind)
    except UnicodeEncodeError:
        return pa.array([_mended(text) for text in texts], kind)


def _mended(text: str | None) -> str | None:
    return text if text is None else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def query_table(block: QueryColumns) -> tuple[pa.Table, pa.Array, QueryTexts]:
    """The rows as SPILLED, all turns of each as one text, and the texts that filters look at. The block has keys."""
    query = text_array(block.text)
    whole = user = query
    turns: pa.Array = pa.nulls(len(block), _LARGE)
    if block.turns.count(None) < len(block):
        told = [None if t is None else json.dumps([(m.role, m.content) for m in t]) for t in block.turns]
        turns = text_array(told)
        every = [block.messages(row) for row in range(len(block))]
        whole = text_array(["\n\n".join(m.content for m in turn) for turn in every])
        user = text_array(["\n\n".join(m.content for m in turn if m.role == "user") for turn in every])
    columns: dict[str, Any] = {"query": query, "turns": turns}
    keys = "".join(block.keys).encode()
    offsets = np.arange(0, len(keys) + 1, 32, dtype=np.int32)
    columns["key"] = pa.StringArray.from_buffers(len(block), pa.py_buffer(offsets), pa.py_buffer(keys))
    columns["prompt"] = columns["key"]
    if block.system.count(None) < len(block):
        pairs = zip(block.keys, block.system, strict=True)
        prompts = [key if system is None else content_hash("system", system, key) for key, system in pairs]
        columns["prompt"] = pa.array(prompts, pa.string())
    for name in ("category", "source", "id", "system", "ground_truth", "origin"):
        columns[name] = text_array(getattr(block, name), pa.string())
    for name in ("test_case", "instruction_constrain", "extra"):
        values = getattr(block, name)
        if values.count(None) < len(values):
            values = [None if value is None else canonical_json(value) for value in values]
        columns[name] = text_array(values, pa.string())
    table = pa.Table.from_arrays([columns[name] for name in SPILLED.names], schema=SPILLED)
    sizes = pc.binary_length(whole).to_numpy(zero_copy_only=False)
    code = np.array([name == "code" for name in block.category], np.bool_)
    return table, whole, QueryTexts(user, query, sizes, code)


def to_queries(spilled: pa.Table) -> pa.Table:
    """Spilled rows as rows of QUERIES."""
    query = spilled["query"].combine_chunks().cast(pa.string())
    columns = {name: spilled[name] for name in QUERIES.names if name not in ("messages", "query")}
    if spilled["turns"].null_count == len(spilled):
        roles, contents = text_array(["user"] * len(query), pa.string()), query
        ends = np.arange(len(query) + 1, dtype=np.int32)
    else:
        turns = [
            [("user", text)] if told is None else json.loads(told)
            for told, text in zip(spilled["turns"].to_pylist(), query.to_pylist(), strict=True)
        ]
        roles = text_array([role for turn in turns for role, _ in turn], pa.string())
        contents = text_array([content for turn in turns for _, content in turn], pa.string())
        ends = np.cumsum([0, *map(len, turns)], dtype=np.int32)
    pairs = pa.StructArray.from_arrays([roles, contents], names=["role", "content"])
    columns |= {"query": query, "messages": pa.ListArray.from_arrays(pa.array(ends), pairs)}
    return pa.Table.from_arrays([columns[name] for name in QUERIES.names], schema=QUERIES)
