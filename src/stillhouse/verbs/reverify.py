"""`stillhouse verify RUN`: judge the run's journal with today's verifiers, beside the verdicts that decided.

In: a run folder. Out: a verdict a reply under today's versions, in the same log; nothing is asked or paid: a judge is
heard as far as the journal has its replies. `--diff` shows what flipped; only `--adopt` lets today's versions decide.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from stillhouse.loop import JUDGE_ASKS, VerifierAt, plea, structure
from stillhouse.pipeline import Outcome
from stillhouse.recipe import Parts, load_recipe, parts
from stillhouse.records import Ask, Part, Query, Response, Teacher, UserMistake, Verdict
from stillhouse.store.index import Index, load_index
from stillhouse.store.known import on_todays_references, verdicts_by_reply
from stillhouse.store.queries import QueryTable
from stillhouse.store.reading import read_responses
from stillhouse.store.references import open_queries
from stillhouse.store.replies import Replies
from stillhouse.store.run import Run
from stillhouse.store.tables import read_table, table_files
from stillhouse.store.verdicts import VerdictLog, VerdictRow, load_verdicts
from stillhouse.verbs.judging import in_order, verdict_of, work
from stillhouse.verbs.verify_flips import Flip, flips_of, summed
from stillhouse.verbs.verify_progress import Progress
from stillhouse.workers import WorkerPool

Rows = NDArray[Any]
BLOCK = 512  # replies whose texts are read together
SHOWN = 50  # flips that are printed


def reverify(folder: Path, *, diff: bool, adopt: bool, workers: int | None = None, quiet: bool = False) -> Outcome:
    """Judge what today's versions have not judged yet, then tell what flipped against the frozen ones.

    Exit code 4 when a verdict of today is unknown. Ctrl-C keeps what was judged; the same command goes on.
    """
    made = load_recipe(folder / "recipe.yaml")
    found = parts(made, folder)
    with Run(folder) as run:
        if not table_files(run.queries, "kept"):
            raise UserMistake(f"{folder}: has no queries yet: `stillhouse run` begins with curate")
        desk = _desk(run, open_queries(run), found)
        frozen = {**desk.today, **{k: v for k, v in made.verify.versions.items() if k in desk.today}}
        rows, judged_before = desk.rows_to_judge()
        outcomes = judged_before + desk.judge(rows, workers or max(1, os.cpu_count() or 2), quiet)
        flips = flips_of(load_verdicts(desk.log), frozen, desk.today, desk.table, desk.index)
        adopted = adopt and desk.today != frozen
        if adopted:
            _adopt(run, folder, desk.today)
    return _told(folder, outcomes, len(rows), flips, diff=diff, adopt=adopt, adopted=adopted)


@dataclass(slots=True)
class _Desk:
    """What judging again needs: the queries, the journal, today's verifiers, and the judges as far as they spoke."""

    table: QueryTable
    index: Index
    log: Path
    identities: Rows
    parts: Mapping[str, Part]
    at: Mapping[str, VerifierAt]
    judges: Mapping[str, Teacher]

    @property
    def today(self) -> dict[str, str]:
        return {name: verifier.version for name, verifier in self.at.items()}

    def rows_to_judge(self) -> tuple[Rows, Counter[str]]:
        """Index rows of this run's replies without a verdict of today's versions on today's references, and how the
        verdicts of the others are spread."""
        index, table = self.index, self.table
        mine = np.unique(index.key[np.isin(index.identity, self.identities) & (index.kind == 1)])
        rows = index.find(mine)
        positions = table.positions(index.prompt[rows])
        verified = np.array([c in self.at for c in table.categories], bool)
        there = positions >= 0
        there[there] = verified[positions[there]]
        rows = rows[there]
        known = on_todays_references(verdicts_by_reply(load_verdicts(self.log), self.today, self.today), table)
        done = np.isin(index.key[rows], known.key)
        outcomes = known.outcome[np.isin(known.key, index.key[rows])]
        return np.sort(rows[~done]), Counter(map(str, outcomes))

    def judge(self, rows: Rows, workers: int, quiet: bool) -> Counter[str]:
        """Verdicts of today for these rows, appended as they come. Returns their outcomes."""
        if not len(rows):
            return Counter()
        with Progress(len(rows), quiet=quiet) as progress:
            try:
                return asyncio.run(self._judge(rows, workers, progress))
            except (KeyboardInterrupt, asyncio.CancelledError):
                progress.say("interrupted: what was judged is kept; the same command goes on from there")
                raise KeyboardInterrupt from None

    async def _judge(self, rows: Rows, workers: int, progress: Progress) -> Counter[str]:
        outcomes: Counter[str] = Counter()
        memory = Replies(self.index)
        needed = {category: self.parts[category] for category in self.at}
        with VerdictLog(self.log, name="today") as log, WorkerPool(needed, workers=workers) as pool:
            heard: dict[str, str] = {}

            async def judge(item: tuple[Query, Response]) -> Verdict:
                async def settle(query: Query, response: Response, ask: Ask) -> Verdict:
                    return await self._settle(pool, memory, heard, query, response, ask)

                return await verdict_of(pool, self.at, *item, settle=settle)

            async with contextlib.aclosing(in_order(self._items(rows), judge, _characters)) as judged:
                async for (query, response), verdict in judged:
                    verifier = self.at[query.category]
                    formal = structure(response) is not None
                    name, version = ("structure", "1") if formal else (verifier.part, verifier.version)
                    log.append(VerdictRow.of(
                        query, response, verdict, verifier=name, version=version, judge=heard.pop(response.key, None)
                    ))  # fmt: skip
                    outcomes[verdict.outcome] += 1
                    progress.advance(outcomes.total(), outcomes)
        return outcomes

    async def _settle(
        self, pool: WorkerPool, memory: Replies, heard: dict[str, str], query: Query, response: Response, ask: Ask
    ) -> Verdict:
        """What the judge said, from the journal; what it was not asked waits for the next run."""
        verifier = self.at[query.category]
        for _ in range(JUDGE_ASKS):
            judge = self.judges.get(ask.judge)
            if judge is None:
                return ask.so_far
            request = plea(judge, query, ask)
            reply = memory.response(request.key, request.max_tokens)
            if reply is None:
                return Verdict.unknown("judge", f"judge {judge.name} has not been asked: `run` asks it", transient=True)
            heard[response.key] = reply.key
            settled = await work(pool, verifier, "settle", query, response, reply)
            if isinstance(settled, Verdict):
                return settled
            ask = settled
        return Verdict.unknown("judge", "the judge gave no readable verdict twice")

    def _items(self, rows: Rows) -> Iterator[tuple[Query, Response]]:
        """Queries and replies in the order of the journal, some hundred at a time."""
        for start in range(0, len(rows), BLOCK):
            responses = list(read_responses(self.index, rows[start : start + BLOCK]))
            if not responses:
                continue
            prompts = np.frombuffer(bytes.fromhex("".join(r.prompt for r in responses)), dtype="S16")
            positions = self.table.positions(prompts)
            queries = {place: query for query, place in self.table.read_at(np.unique(positions))}
            for response, place in zip(responses, positions.tolist(), strict=True):
                yield queries[place], response


def _characters(item: tuple[Query, Response]) -> int:
    return len(item[1].text) + len(item[1].reasoning or "") + sum(len(m.content) for m in item[0].messages)


def _desk(run: Run, table: QueryTable, found: Parts) -> _Desk:
    verifiers = {c: found.verifiers[c] for c in sorted(set(table.categories)) if c in found.verifiers}
    return _Desk(
        table, load_index(run.journals), run.verdicts / "log", _identities(run, found, set(table.categories)),
        verifiers, {c: VerifierAt.of(c, part.build()) for c, part in verifiers.items()},
        {kind: spec.part.build() for kind, spec in found.judges.items()},
    )  # fmt: skip


def _identities(run: Run, found: Parts, categories: set[str]) -> Rows:
    """Of this run's teachers, as distill noted them: a shared store holds replies of other runs too."""
    noted = run.verdicts / "pairs.parquet"
    if noted.exists():
        names = set(read_table(noted, ["identity"])["identity"].to_pylist())
    else:
        built = [spec.part.build() for spec in found.teachers]
        names = {teacher.identity(category) for teacher in built for category in categories}
    return np.array([bytes.fromhex(name) for name in sorted(names)], "S16")


def _told(
    folder: Path, outcomes: Counter[str], judged: int, flips: Sequence[Flip], *, diff: bool, adopt: bool, adopted: bool
) -> Outcome:
    counts = {name: outcomes[name] for name in ("pass", "fail", "unknown")}
    value: dict[str, Any] = {
        "judged": judged, **counts, "flipped": len(flips), "by_teacher": summed(flips), "adopted": adopted,
    }  # fmt: skip
    if diff:
        value["flips"] = [flip.as_dict() for flip in flips]
    outcome = Outcome(str(folder), 4 if counts["unknown"] else 0, {"verify": value})
    spread = ", ".join(f"{name} {n}" for name, n in counts.items())
    outcome.told = [f"{folder}: {judged} replies judged anew; by today's versions {spread}"]
    outcome.told.append(f"{len(flips)} verdicts differ from those of the frozen versions")
    for teacher, directions in summed(flips).items():
        outcome.told.append(f"  {teacher}: " + ", ".join(f"{way} {n}" for way, n in directions.items()))
    if diff:
        outcome.told += [flip.line() for flip in flips[:SHOWN]]
        outcome.told += [f"  ... and {len(flips) - SHOWN} more: --json has all"] if len(flips) > SHOWN else []
    if adopted:
        outcome.told.append(f"today's versions decide from now on; `stillhouse distill {folder}` goes on with them")
    elif adopt:
        outcome.told.append("today's versions are the frozen ones: nothing to adopt")
    elif flips:
        outcome.told.append("nothing is changed; `--adopt` lets today's verdicts decide what is asked")
    return outcome


def _adopt(run: Run, folder: Path, today: dict[str, str]) -> None:
    """Freeze today's versions in recipe.yaml; the former recipe is kept."""
    value = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    value["verify"]["versions"] = value["verify"].get("versions", {}) | today
    run.freeze(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110))
