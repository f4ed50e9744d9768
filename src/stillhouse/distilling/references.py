"""References by the teachers' vote, where the recipe asks for it: distill sits, the teachers vote, distill sits again.

In: what a sitting ended with. Out: `3-verdicts/references.parquet`, and whether to sit again. What stood in the query
stays there and beside the vote; replies that were paid for are judged by the new reference, not asked again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import numpy as np

from stillhouse.distilling.votes import Ballot, Polling
from stillhouse.records import Part, Query, Votes
from stillhouse.sitting.session import Sat
from stillhouse.store.known import on_todays_references
from stillhouse.store.queries import QueryTable
from stillhouse.store.references import MISSING, SUSPECT, VotedReference, load_references, save_references
from stillhouse.store.run import Run
from stillhouse.store.tables import table_files


class References:
    """The references that hold in a run. awaiting: categories in which a missing one waits for the vote."""

    def __init__(self, run: Run, votes: Votes | None, verifiers: Mapping[str, Part], workers: int | None) -> None:
        self.run, self.votes, self.workers = run, votes, workers or max(1, os.cpu_count() or 2)
        self._parts = {c: verifiers[c] for c in (votes.categories if votes else ()) if c in verifiers}
        self._parts = {c: part for c, part in self._parts.items() if hasattr(part.build(), "stated")}
        self.awaiting = tuple(self._parts) if votes is not None and votes.missing else ()
        reasons = [why for why, on in self._reasons() if on]
        self._voted = load_references(run, only=reasons)
        if len(self._voted) != len(load_references(run)):
            save_references(run, self._voted)  # the recipe no longer asks for the others
        self._open, self._round = 0, 1
        self._missing_done = self._suspects_done = False

    def _reasons(self) -> list[tuple[str, bool]]:
        votes = self.votes
        return [(MISSING, bool(votes and votes.missing)), (SUSPECT, bool(votes and votes.suspect))]

    @property
    def counts(self) -> dict[str, int]:
        """How many references are the vote's, and how many queries are left without one; {} where it is not asked."""
        if self.votes is None:
            return {}
        why = [one.why for one in self._voted.values()]
        return {MISSING: why.count(MISSING), SUSPECT: why.count(SUSPECT), "open": self._open}

    def table(self) -> QueryTable:
        """The kept queries with the references that hold now."""
        files = table_files(self.run.queries, "kept")
        return QueryTable(files, {key: one.ground_truth for key, one in self._voted.items()})

    def next_round(self, table: QueryTable, sat: Sat) -> int | None:
        """After a sitting: vote. The number of replies that a missing reference waits for in the next sitting, None
        where there is no reason for one."""
        if self.votes is None or sat.outcome != "done":
            return None
        if self.awaiting and not self._missing_done:
            fresh = self._take(self._polling(table, sat).missing(), MISSING)
            self._open = sum(not (query.ground_truth or "").strip() for query, _ in self._votable(table)) - fresh
            if fresh:
                return self._round
            if self._open and self._round < self.votes.rounds:
                self._round += 1
                return self._round
            self._missing_done = True
        if self.votes.suspect and not self._suspects_done:
            self._suspects_done = True
            suspects = [b for b in self._polling(table, sat).suspects() if b.query.key not in self._voted]
            return self._round if self._take(suspects, SUSPECT) else None
        return None

    def _votable(self, table: QueryTable) -> Iterator[tuple[Query, int]]:
        wanted = np.array([category in self._parts for category in table.categories], bool)
        return table.read_at(np.flatnonzero(wanted))

    def _polling(self, table: QueryTable, sat: Sat) -> Polling:
        if sat.known is None or self.votes is None:
            raise RuntimeError("a vote before the first sitting")
        identities = {
            name: np.array([bytes.fromhex(i) for i in mine.values()], "S16") for name, mine in sat.identities.items()
        }
        known = on_todays_references(sat.known, table)
        return Polling(table, sat.index, known, identities, self._parts, self.votes.teachers, self.workers)

    def _take(self, ballots: list[Ballot], why: str) -> int:
        """Make references of the firm ones; returns how many."""
        fresh = {
            b.query.key: VotedReference(
                b.query.key, why, b.answer, b.query.ground_truth, b.votes, b.voters, b.answers_json
            )
            for b in ballots
            if b.firm
        }
        if fresh:
            self._voted |= fresh
            save_references(self.run, self._voted)
        return len(fresh)
