"""Judges' replies of this session that memory does not keep: the same question may come again, hours later.

In: replies by key. Out: the same replies. A private temporary database of SQLite, which ends with the process; the
journal has them for the next one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import asdict

from stillhouse.records import Response
from stillhouse.store.entries import from_json, to_json


class Spilled:
    """Opened with the first reply."""

    def __init__(self) -> None:
        self._db: sqlite3.Connection | None = None

    def put(self, replies: Iterable[tuple[str, Response]]) -> None:
        if self._db is None:
            self._db = sqlite3.connect("")  # on disk, without a name
            self._db.execute("CREATE TABLE replies (key TEXT PRIMARY KEY, reply BLOB) WITHOUT ROWID")
        rows = ((key, to_json(asdict(response))) for key, response in replies)
        self._db.executemany("INSERT OR REPLACE INTO replies VALUES (?, ?)", rows)

    def get(self, key: str) -> Response | None:
        if self._db is None:
            return None
        row = self._db.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        return None if row is None else Response(**from_json(row[0]))

    def close(self) -> None:
        """Let go of the disk. May be called twice."""
        if self._db is not None:
            self._db.close()
            self._db = None
