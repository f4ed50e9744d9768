"""The verdicts that count for a run, one a reply, as numpy columns.

In: the table of all verdicts, the versions that the recipe froze, those of today. Out: for each reply the verdict of
the frozen version, else today's; verdicts of other versions stand beside and decide nothing until they are adopted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stillhouse.store.queries import QueryTable

Array = NDArray[Any]
COLUMNS = ("response", "prompt", "identity", "reference", "attempt", "verifier", "version", "outcome", "rule", "score",
           "transient")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Known:
    """Columns over n verdicts. key: of the reply; reference, identity, prompt, key: S16; score: nan without one."""

    key: Array
    prompt: Array
    identity: Array
    reference: Array
    attempt: Array
    verifier: Array
    outcome: Array
    rule: Array
    score: Array

    def __len__(self) -> int:
        return len(self.key)

    def only(self, keep: Array) -> Known:
        """The rows that a mask or row numbers choose."""
        return Known(**{f.name: getattr(self, f.name)[keep] for f in fields(self)})


def verdicts_by_reply(table: pa.Table, frozen: Mapping[str, str], today: Mapping[str, str]) -> Known:
    """One row a reply. table: verdicts with COLUMNS at least, perhaps with those that were replaced.

    Transient unknowns are left out: they will be judged again.
    """
    verifier, version = _words(table["verifier"]), _words(table["version"])
    rank = np.full(len(table), 2, np.int8)
    for name in pc.unique(table["verifier"]).to_pylist():
        mine = verifier == name
        rank[mine & (version == today.get(str(name), ""))] = 1
        rank[mine & (version == frozen.get(str(name), today.get(str(name), "")))] = 0
        if name == "structure":
            rank[mine] = 1  # by form alone: what it says holds until a verifier has judged a finished reply
    rank[table["transient"].to_numpy()] = 2
    key = _raw(table["response"])
    rows = np.flatnonzero(rank < 2)
    order = np.lexsort((-rows, rank[rows], key[rows]))  # frozen before today's, of each the latest
    rows = rows[order]
    held = key[rows]
    rows = rows[np.concatenate([[True], held[1:] != held[:-1]])] if len(rows) else rows
    return Known(
        key=key[rows], prompt=_raw(table["prompt"])[rows], identity=_raw(table["identity"])[rows],
        reference=_raw(table["reference"])[rows], attempt=table["attempt"].to_numpy()[rows].astype(np.int64),
        verifier=verifier[rows], outcome=_words(table["outcome"])[rows], rule=_words(table["rule"])[rows],
        score=table["score"].to_numpy()[rows].astype(np.float64),
    )  # fmt: skip


def on_todays_references(known: Known, table: QueryTable) -> Known:
    """Those verdicts that are on a query of the table with the reference that it has today."""
    positions = table.positions(known.prompt)
    there = positions >= 0
    there[there] &= (known.verifier[there] == "structure") | (
        known.reference[there] == table.references[positions[there]]
    )
    return known.only(there)


def _words(column: pa.ChunkedArray) -> Array:
    """Few different words, each held once."""
    words = column.combine_chunks().dictionary_encode()
    if not len(words):
        return np.empty(0, object)
    found: Array = np.array(words.dictionary.to_pylist(), dtype=object)[words.indices.to_numpy()]
    return found


def _raw(column: pa.ChunkedArray) -> Array:
    """Hex keys as S16, chunk by chunk: a million texts of their own would take 80 MB."""
    held = b"".join(bytes.fromhex("".join(part.to_pylist())) for part in _parts(column))
    return np.frombuffer(held, dtype="S16")


def _parts(column: pa.ChunkedArray) -> Iterator[pa.Array]:
    for chunk in column.chunks:
        for start in range(0, len(chunk), 65_536):
            yield chunk.slice(start, 65_536)
