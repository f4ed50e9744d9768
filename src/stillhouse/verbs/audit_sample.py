"""Which verdicts a second opinion is asked on: a seeded sample, stratified by teacher, outcome, rule and attempt.

In: the verdicts that decided, where every pair stands. Out: Looked rows, each with how many verdicts it stands for.
Verdicts by form alone (truncated, malformed) and `unverified` are left out: no verifier gave them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow.parquet as pq

from stillhouse.records import UserMistake
from stillhouse.stats.second_opinions import allocate, draw
from stillhouse.store.index import hex_key
from stillhouse.store.known import Known
from stillhouse.store.queries import QueryTable
from stillhouse.store.run import Run

UNKNOWN_SHARE = 10  # one of so many opinions goes to unknown verdicts
OPEN, RESTED = ("waiting", "unverified"), ("exhausted", "undecided", "too_long")
COLUMNS = ["query", "teacher", "identity", "state", "first_outcome"]

Stratum = tuple[str, str, str, str, bool]  # teacher, outcome, rule, attempts, whether it decided its pair


@dataclass(frozen=True, slots=True)
class Looked:
    """One verdict of the sample. position: of its query; decides: it is why its pair rests as it does. size: verdicts
    in its stratum; drawn: of these in the sample."""

    response: str
    position: int
    teacher: str
    attempt: int
    outcome: str
    rule: str
    decides: bool
    stratum: Stratum
    size: int
    drawn: int


@dataclass(slots=True)
class Standing:
    """What a teacher's pairs and verdicts come to. yes, no, unknown: verdicts of verifiers. decided_no: pairs that
    rest on a verifier's no. judged_first, passed_first: first attempts that a verifier judged; first: all first
    attempts that were judged, those by form too."""

    verified: int = 0
    counted: int = 0
    yes: int = 0
    no: int = 0
    unknown: int = 0
    decided_no: int = 0
    judged_first: int = 0
    passed_first: int = 0
    first: int = 0


@dataclass(slots=True)
class Sample:
    rows: list[Looked] = field(default_factory=list)
    standings: dict[str, Standing] = field(default_factory=dict)
    strata: dict[Stratum, int] = field(default_factory=dict)


def take_sample(run: Run, table: QueryTable, known: Known, size: int, seed: int) -> Sample:
    """Raises UserMistake where the run has no verdict of a verifier yet."""
    pairs = _pairs(run)
    population = _population(table, known, pairs)
    if not population:
        raise UserMistake(f"{run.folder}: no verifier has given a verdict yet: `stillhouse run` first")
    strata = [row[0] for row in population]
    sizes = Counter(strata)
    counts = _counts(sizes, size)
    chosen = draw(strata, [row[1] for row in population], counts, seed)
    sample = Sample(standings=_standings(pairs, population), strata=dict(sizes))
    for place in chosen:
        stratum, response, position, attempt = population[place]
        teacher, outcome, rule, _, decides = stratum
        sample.rows.append(Looked(
            response, position, teacher, attempt, outcome, rule, decides, stratum, sizes[stratum], counts[stratum]
        ))  # fmt: skip
    return sample


def _pairs(run: Run) -> dict[str, list[Any]]:
    file = run.verdicts / "pairs.parquet"
    if not file.exists():
        raise UserMistake(f"{run.folder}: has not been distilled yet: `stillhouse run` first")
    found: dict[str, list[Any]] = pq.read_table(file, columns=COLUMNS).to_pydict()
    return found


def _population(table: QueryTable, known: Known, pairs: Mapping[str, list[Any]]) -> list[tuple[Stratum, str, int, int]]:
    """(stratum, response key, position, attempt) of every verdict that a verifier gave."""
    teacher_of = {bytes.fromhex(i): t for i, t in zip(pairs["identity"], pairs["teacher"], strict=True)}
    state = {(t, q): s for t, q, s in zip(pairs["teacher"], pairs["query"], pairs["state"], strict=True)}
    keys = [hex_key(key) for key in table.keys]
    names = [teacher_of.get(bytes(i).ljust(16, b"\0")) for i in known.identity]
    positions = table.positions(known.prompt)
    rows = [
        n for n, name in enumerate(names)
        if name is not None and positions[n] >= 0 and known.verifier[n] != "structure" and known.rule[n] != "unverified"
    ]  # fmt: skip
    last: dict[tuple[str, int], int] = defaultdict(int)
    for n in rows:
        if known.outcome[n] == "fail":
            at = (str(names[n]), int(positions[n]))
            last[at] = max(last[at], int(known.attempt[n]))
    found = []
    for n in rows:
        name, position, attempt = str(names[n]), int(positions[n]), int(known.attempt[n])
        outcome = str(known.outcome[n])
        rests = state.get((name, keys[position])) in RESTED
        decides = outcome == "pass" or (outcome == "fail" and rests and last[name, position] == attempt)
        stratum = (name, outcome, str(known.rule[n]), _attempts(attempt), decides)
        found.append((stratum, hex_key(known.key[n]), position, attempt))
    return found


def _attempts(attempt: int) -> str:
    return str(attempt) if attempt <= 2 else "3-4" if attempt <= 4 else "5+"


def _counts(sizes: Mapping[Stratum, int], wanted: int) -> dict[Stratum, int]:
    """Every teacher's yes and no get the same number of opinions, its unknowns fewer; inside, strata by their share."""
    cells: dict[tuple[str, str], dict[Stratum, int]] = defaultdict(dict)
    for stratum, size in sizes.items():
        cells[stratum[:2]][stratum] = size
    totals = {cell: sum(inside.values()) for cell, inside in cells.items()}
    doubtful = {cell: n for cell, n in totals.items() if cell[1] == "unknown"}
    shares = _evenly(doubtful, wanted // UNKNOWN_SHARE if len(doubtful) < len(totals) else wanted)
    plain = {cell: n for cell, n in totals.items() if cell[1] != "unknown"}
    shares |= _evenly(plain, wanted - sum(shares.values()))
    counts: dict[Stratum, int] = {}
    for cell, inside in cells.items():
        counts |= allocate(inside, shares[cell])
    return counts


def _evenly(sizes: Mapping[tuple[str, str], int], wanted: int) -> dict[tuple[str, str], int]:
    """The same for each; what a small one does not need goes to the others."""
    given = dict.fromkeys(sizes, 0)
    left = sorted(sizes)
    while left and wanted >= len(left):
        share = min(wanted // len(left), min(sizes[c] - given[c] for c in left))
        for cell in left:
            given[cell] += share
        wanted -= share * len(left)
        left = [c for c in left if given[c] < sizes[c]]
    for cell in left[:wanted]:
        given[cell] += 1
    return given


def _standings(pairs: Mapping[str, list[Any]], population: list[tuple[Stratum, str, int, int]]) -> dict[str, Standing]:
    out: dict[str, Standing] = {}
    columns = (pairs["teacher"], pairs["state"], pairs["first_outcome"])
    for teacher, state, first in zip(*columns, strict=True):
        mine = out.setdefault(teacher, Standing())
        if state not in OPEN:
            mine.counted += 1
            mine.verified += state == "verified"
        mine.first += first in ("pass", "fail") and state != "unverified"
    for (teacher, outcome, _, _, decides), _, _, attempt in population:
        mine = out[teacher]
        mine.yes += outcome == "pass"
        mine.no += outcome == "fail"
        mine.unknown += outcome == "unknown"
        mine.decided_no += outcome == "fail" and decides
        mine.judged_first += attempt == 1 and outcome != "unknown"
        mine.passed_first += attempt == 1 and outcome == "pass"
    return out
