"""What the teachers agree on where a reference is missing, or where they agree against it.

In: the run's queries, journal and verdicts, and the verifiers that read and compare answers (`stated`, `alike`). Out: a
Ballot a query. Each teacher has one vote, whatever it was asked. Nothing is changed here.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.loop import structure
from stillhouse.records import Part, Query, Response
from stillhouse.stats.votes import choices_of, vote
from stillhouse.store.index import Index
from stillhouse.store.known import Known
from stillhouse.store.queries import QueryTable
from stillhouse.store.reading import read_responses
from stillhouse.store.rows import REPLY
from stillhouse.workers import WorkerPool

MOST_QUERIES = 200_000  # that one vote looks at: their short answers are in memory
MOST_REPLIES = 4  # of one teacher to one query
BLOCK = 512
LONGEST = 2000  # characters of an answer that can be compared
COMPARE_SECONDS = 20.0

Rows = NDArray[Any]
Stated = tuple[str, bool]  # a final answer, and whether the reply marks it as that


@dataclass(frozen=True, slots=True)
class Ballot:
    """answer: what more than half of the voting teachers say. for_reference: teachers whose vote is the reference's.
    answers: teacher -> its vote, None without one. firm: each of those teachers marks it as its final answer; what is
    only read off their prose may be misread, and never becomes a reference."""

    query: Query
    answer: str
    votes: int
    voters: int
    for_reference: int
    firm: bool
    answers: Mapping[str, str | None]

    def as_dict(self) -> dict[str, Any]:
        """As a row of suspects.jsonl."""
        query = self.query
        return {
            "key": query.key, "id": query.id, "category": query.category, "source": query.source, "query": query.text,
            "ground_truth": query.ground_truth, "voted": self.answer, "votes": self.votes, "voters": self.voters,
            "for_reference": self.for_reference, "firm": self.firm, "answers": dict(self.answers),
        }  # fmt: skip

    @property
    def answers_json(self) -> str:
        return json.dumps(dict(self.answers), ensure_ascii=False, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Polling:
    """Where a vote is held. identities: teacher -> its identities (S16). parts: the verifiers of categories whose
    answers can be compared. least: teachers that must agree."""

    table: QueryTable
    index: Index
    known: Known
    identities: Mapping[str, Rows]
    parts: Mapping[str, Part]
    least: int = 2
    workers: int = 1

    def suspects(self) -> list[Ballot]:
        """Queries on which teachers agree with each other and not with the reference, the clearest first."""
        table, known = self.table, self.known
        against = np.zeros(len(table), np.int32)
        agree: dict[str, Rows] = {}
        for name, mine in self.identities.items():
            rows = np.flatnonzero(np.isin(known.identity, mine) & (known.verifier != "structure"))
            positions = table.positions(known.prompt[rows])
            rows, positions = rows[positions >= 0], positions[positions >= 0]
            failed, passed = np.zeros(len(table), bool), np.zeros(len(table), bool)
            failed[positions[known.outcome[rows] != "pass"]] = True
            passed[positions[known.outcome[rows] == "pass"]] = True
            against += failed & ~passed
            agree[name] = passed
        held = self._votable() & (against >= self.least)
        places = np.flatnonzero(held)[:MOST_QUERIES]
        found = [b for b in self._poll(places, agree) if b.query.ground_truth]
        return sorted(found, key=lambda b: (not b.firm, b.for_reference - b.votes, -b.votes, b.query.key))

    def missing(self) -> list[Ballot]:
        """Queries without a reference on whose answer teachers agree."""
        empty = [
            p for q, p in self.table.read_at(np.flatnonzero(self._votable())) if not (q.ground_truth or "").strip()
        ]
        return list(self._poll(np.array(empty[:MOST_QUERIES], np.int64), {}))

    def _votable(self) -> Rows:
        return np.array([category in self.parts for category in self.table.categories], bool)

    def _poll(self, places: Rows, agree: Mapping[str, Rows]) -> Iterator[Ballot]:
        """agree: teacher -> where its vote is the reference's already; such replies are not read."""
        if not len(places):
            return
        with WorkerPool({c: self.parts[c] for c in self._categories(places)}, workers=self.workers) as pool:
            stated: dict[int, dict[str, list[Stated]]] = defaultdict(lambda: defaultdict(list))
            for place, teacher, answer in self._answers(pool, places, agree):
                stated[place][teacher].append(answer)
            for query, place in self.table.read_at(places):
                ballot = self._ballot(pool, query, place, stated.pop(place, {}), agree)
                if ballot is not None:
                    yield ballot

    def _categories(self, places: Rows) -> set[str]:
        return {self.table.categories[p] for p in places.tolist()}

    def _answers(self, pool: WorkerPool, places: Rows, agree: Mapping[str, Rows]) -> Iterator[tuple[int, str, Stated]]:
        """(position, teacher, answer) of replies in form, in the order of the journal."""
        wanted = np.zeros(len(self.table), bool)
        wanted[places] = True
        rows_of, teacher_of = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        names = list(self.identities)
        for number, name in enumerate(names):
            mine = np.flatnonzero(
                np.isin(self.index.identity, self.identities[name])
                & (self.index.kind == REPLY) & (self.index.attempt <= MOST_REPLIES)
            )  # fmt: skip
            at = self.table.positions(self.index.prompt[mine])
            keep = (at >= 0) & wanted[np.maximum(at, 0)]
            if name in agree:
                keep &= ~agree[name][np.maximum(at, 0)]
            rows_of.append(mine[keep])
            teacher_of.append(np.full(int(keep.sum()), number))
        rows, teachers = np.concatenate(rows_of), np.concatenate(teacher_of)
        order = np.argsort(rows, kind="stable")
        rows, teachers = rows[order], teachers[order]
        for start in range(0, len(rows), BLOCK):
            yield from self._block(
                pool, rows[start : start + BLOCK], [names[t] for t in teachers[start : start + BLOCK]]
            )

    def _block(self, pool: WorkerPool, rows: Rows, teachers: list[str]) -> Iterator[tuple[int, str, Stated]]:
        said = {r.key: r for r in read_responses(self.index, rows)}
        places = self.table.positions(self.index.prompt[rows])
        queries = {place: query for query, place in self.table.read_at(np.unique(places))}
        given: dict[str, list[tuple[int, str, Query, Response]]] = defaultdict(list)
        for row, place, teacher in zip(rows.tolist(), places.tolist(), teachers, strict=True):
            response = said.get(self.index.key_text(row))
            if response is not None and structure(response) is None:
                given[self.table.categories[place]].append((place, teacher, queries[place], response))
        for category, items in given.items():
            results = pool.imap(category, "stated", ((q, r) for _, _, q, r in items), deadline=3.0)
            for (place, teacher, _, _), answer in zip(items, results, strict=True):
                if isinstance(answer, tuple) and len(answer[0]) <= LONGEST:
                    yield place, teacher, answer

    def _ballot(
        self, pool: WorkerPool, query: Query, place: int, stated: Mapping[str, list[Stated]], agree: Mapping[str, Rows]
    ) -> Ballot | None:
        """The vote on one query, None where there is no majority against (or without) its reference."""
        texts = [text for answers in stated.values() for text, _ in answers]
        if not texts:
            return None
        (numbers,) = pool.imap(query.category, "alike", [(texts,)], deadline=COMPARE_SECONDS)
        if not isinstance(numbers, list):
            return None  # its answers could not be compared in time: no vote
        ends = iter(numbers)
        given = {teacher: [next(ends) for _ in answers] for teacher, answers in stated.items()}
        reference = -1
        for teacher, places in agree.items():
            if places[place]:
                given[teacher] = [reference]
        won = vote(given, self.least)
        if won is None or won.group == reference:
            return None
        shown: dict[int, str] = dict(zip(reversed(numbers), reversed(texts), strict=True))
        shown[reference] = query.ground_truth or ""
        choices = {teacher: choices_of(groups) for teacher, groups in given.items()}
        told = {t: won.group if won.group in mine else min(mine) for t, mine in choices.items() if mine}
        answers = {t: shown[told[t]] if t in told else None for t in self.identities}
        firm = {t: {g for g, (_, f) in zip(given[t], stated.get(t, ()), strict=False) if f} for t in stated}
        sure = all(won.group in firm.get(t, ()) for t, choice in told.items() if choice == won.group)
        mine = sum(reference in chosen for chosen in choices.values())
        return Ballot(query, shown[won.group], won.votes, won.voters, mine, sure, answers)
