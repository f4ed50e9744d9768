"""What `stillhouse serve` asks of a run folder: one query with every attempt of every teacher, and a search.

In: a run folder, finished or going on. Out: what the page's browser shows, as JSON values. It only reads; what was
loaded is loaded again when the journal has grown.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stillhouse.records import UserMistake
from stillhouse.reporting.samples import (
    LONGEST_ID,
    STATE_LETTERS,
    filtered,
    from_datasets,
    judge,
    snippet,
    told,
    trace_of,
)
from stillhouse.store.index import Index, load_index, raw_keys
from stillhouse.store.reading import read_responses
from stillhouse.store.run import Run
from stillhouse.store.tables import read_batches, row_to_query, table_files
from stillhouse.store.verdicts import load_verdicts

KEY = 12  # hex digits of a key in the page
MOST_FOUND = 200
MOST_ATTEMPTS = 64
WHOLE = 4_000_000  # characters of a text: more than any reply, less than what would stop a browser
COLUMNS = ("query", "teacher", "identity", "state", "attempts", "first_outcome", "response")


class Served:
    """A run folder as the server reads it. Not safe for threads: one call at a time."""

    def __init__(self, folder: Path) -> None:
        self.run = Run(folder, read_only=True)
        try:
            self.report = orjson.loads(self.run.report_json.read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            raise UserMistake(f"{folder}: there is no report here; run `stillhouse report {folder}` first") from None
        self.teachers = list(self.report["teachers"])
        self._made: tuple[Any, ...] = ()
        self._index: Index | None = None
        self._samples: dict[str, Any] | None = None
        self._pairs = self._verdicts = pa.table({})

    def query(self, key: str) -> dict[str, Any] | None:
        """The query of a key, or of its first 12 digits, with all its replies; None where there is none."""
        if not (self.run.verdicts / "pairs.parquet").exists():
            if self._samples is None:
                found = from_datasets(self.run.folder / "samples.parquet", self.teachers).traces or {}
                self._samples = {full[:KEY]: item for full, item in found.items()}
            return self._samples.get(key[:KEY])
        self._load()
        row = self._row(key)
        if row is None:
            return None
        item = told(row, self.teachers, WHOLE)
        shown: dict[str, dict[str, Any]] = {}
        prompt = raw_keys([row_to_query(row).prompt_key])
        assert self._index is not None  # noqa: S101  _load has made it
        for pair in self._pairs.filter(pc.equal(self._pairs["query"], row["key"])).to_pylist():
            if pair["teacher"] not in self.teachers:
                continue
            rows = self._index.lookup(pair["identity"], prompt, attempts=MOST_ATTEMPTS)[0]
            for reply in read_responses(self._index, np.sort(rows[rows >= 0])):
                shown[reply.key] = trace_of(reply, WHOLE) | {"accepted": reply.key == pair["response"]}
                item["traces"][self.teachers.index(pair["teacher"])].append(shown[reply.key])
        judge(self._verdicts, shown)
        filtered(self.run, self.teachers, shown)
        return item

    def search(self, words: str = "", key: str = "") -> list[dict[str, Any]]:
        """At most 200 queries whose text or id holds every word, or the query of a key, as rows of the page's list."""
        if not (self.run.verdicts / "pairs.parquet").exists():
            return []
        self._load()
        wanted = [word for word in words.split() if word]
        if not wanted and not key:
            return []
        found: list[dict[str, Any]] = []
        columns = ["key", "id", "category", "source", "query"]
        for batch in read_batches(table_files(self.run.queries, "kept"), columns, batch_rows=16384):
            keep = pc.starts_with(batch["key"], key[:KEY]) if key else pa.array([True] * batch.num_rows)
            text = pc.binary_join_element_wise(batch["query"], pc.fill_null(batch["id"], ""), " ")
            for word in wanted:
                keep = pc.and_(keep, pc.match_substring(text, word, ignore_case=True))
            found += batch.filter(keep).to_pylist()
            if len(found) >= MOST_FOUND:
                break
        return self._stubs(found[:MOST_FOUND])

    def _stubs(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        keys = pa.array([row["key"] for row in rows], pa.string())
        stands: dict[tuple[str, str], list[Any]] = {}
        for pair in self._pairs.filter(pc.is_in(self._pairs["query"], value_set=keys)).to_pylist():
            first = {"pass": "p", "fail": "f"}.get(pair["first_outcome"], "-")
            state = STATE_LETTERS.get(pair["state"], "-")
            stands[pair["query"], pair["teacher"]] = [state, first, pair["attempts"] or 0]
        return [
            {
                "key": row["key"][:KEY], "id": None if row["id"] is None else row["id"][:LONGEST_ID],
                "category": row["category"], "source": row["source"], "text": snippet(row["query"]),
                "sides": [stands.get((row["key"], name), ["-", "-", 0]) for name in self.teachers],
            }
            for row in rows
        ]  # fmt: skip

    def _row(self, key: str) -> dict[str, Any] | None:
        """The kept query of a key; files are sorted by key, so that only the row groups around it are read."""
        around = [("key", ">=", key[:KEY]), ("key", "<", key[:KEY] + "g")]  # g follows every hex digit
        for file in table_files(self.run.queries, "kept"):
            rows = pq.read_table(file, filters=around).to_pylist()
            if rows:
                return dict(rows[0])
        return None

    def _load(self) -> None:
        """The journal's index, the pairs and the verdicts, once for each state of their files."""
        pairs, log = self.run.verdicts / "pairs.parquet", self.run.verdicts / "log"
        files = [f for folder in (*self.run.journals, log) for f in sorted(folder.glob("*")) if f.is_file()]
        state = tuple((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in [pairs, *files] if f.exists())
        if state != self._made:
            self._index = load_index(self.run.journals)
            self._pairs = pq.read_table(pairs, columns=list(COLUMNS))
            self._verdicts = load_verdicts(log, damage=[])
            self._made = state
