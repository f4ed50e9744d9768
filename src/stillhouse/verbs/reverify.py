"""`stillhouse verify RUN`: judge the run's journal with today's verifiers, beside the verdicts that decided.

In: a run folder. Out: a verdict a reply under today's versions, in the same log. `--diff` shows what flipped; only
`--adopt` makes today's versions those that decide what is asked.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from stillhouse.loop import VerifierAt, structure
from stillhouse.pipeline import Outcome
from stillhouse.recipe import load_recipe, parts
from stillhouse.records import Ask, Query, Response, Verdict
from stillhouse.store.index import load_index
from stillhouse.store.known import verdicts_by_reply
from stillhouse.store.queries import QueryTable
from stillhouse.store.reading import read_responses
from stillhouse.store.run import Run
from stillhouse.store.tables import table_files
from stillhouse.store.verdicts import VerdictLog, VerdictRow, load_verdicts
from stillhouse.workers import WorkerDied, WorkerError, WorkerPool, WorkerTimeout, rule_of

WINDOW = 512
SHOWN = 50  # flips that are printed; all of them stand in the verdict log


def reverify(folder: Path, *, diff: bool, adopt: bool, quiet: bool) -> Outcome:
    """Judge what today's versions have not judged yet, then tell what flipped against the frozen ones."""
    made = load_recipe(folder / "recipe.yaml")
    found = parts(made, folder)
    with Run(folder) as run:
        table = QueryTable(table_files(run.queries, "kept"))
        at = {c: VerifierAt.of(c, found.verifiers[c].build()) for c in set(table.categories) if c in found.verifiers}
        today = {name: verifier.version for name, verifier in at.items()}
        frozen = {**today, **{k: v for k, v in made.verify.versions.items() if k in today}}
        log = run.verdicts / "log"
        index = load_index(run.journals)
        by_today = verdicts_by_reply(load_verdicts(log), today, today)
        rows = np.setdiff1d(index.find(np.unique(index.key[index.rows()])), index.find(by_today.key))
        rows = rows[(rows >= 0) & (table.positions(index.prompt[np.maximum(rows, 0)]) >= 0)]
        judged = asyncio.run(_judge_all(table, index, np.sort(rows), found.verifiers, at, log))
        flips = list(_flips(load_verdicts(log), frozen, today))
        if adopt and today != frozen:
            _adopt(run, folder, today)
    counts = {"judged": judged, "flipped": len(flips), "adopted": int(adopt and today != frozen)}
    outcome = Outcome(str(folder), 0, {"verify": counts})
    outcome.told = [f"{folder}: {judged} replies judged anew, {len(flips)} verdicts differ from the frozen versions"]
    if diff:
        outcome.told += flips[:SHOWN] + ([f"... and {len(flips) - SHOWN} more"] if len(flips) > SHOWN else [])
    if adopt:
        told = "today's versions decide from now on" if today != frozen else "today's versions are the frozen ones"
        outcome.told.append(told)
    elif flips:
        outcome.told.append("nothing is changed; `--adopt` lets today's verdicts decide what is asked")
    return outcome


async def _judge_all(
    table: QueryTable, index: Any, rows: Any, verifiers: Any, at: dict[str, VerifierAt], log: Path
) -> int:
    """Verdicts of today for these reply rows, appended as they come; a window of them at a time."""
    if not len(rows):
        return 0
    done = 0
    needed = {c: verifiers[c] for c in at}
    with VerdictLog(log, name="today") as out, WorkerPool(needed, workers=max(1, os.cpu_count() or 2)) as pool:
        waiting: deque[tuple[Query, Response, asyncio.Task[Verdict]]] = deque()
        for pair in itertools.chain(_pairs(table, index, rows), [None]):
            while waiting and (pair is None or len(waiting) >= WINDOW):
                query, response, task = waiting.popleft()
                verifier = at[query.category]
                formal = structure(response) is not None
                name, version = ("structure", "1") if formal else (verifier.part, verifier.version)
                out.append(VerdictRow.of(query, response, await task, verifier=name, version=version))
                done += 1
            if pair is not None and pair[0].category in at:
                waiting.append((*pair, asyncio.ensure_future(_judge(pool, at[pair[0].category], *pair))))
    return done


def _pairs(table: QueryTable, index: Any, rows: Any) -> Iterator[tuple[Query, Response]]:
    """Queries and replies, a thousand at a time."""
    for start in range(0, len(rows), 1000):
        block = rows[start : start + 1000]
        responses = list(read_responses(index, block))
        places = {r.key: int(p) for r, p in zip(responses, _positions(table, responses), strict=True)}
        queries = {p: q for q, p in table.read_at(np.unique(np.array(list(places.values()), np.int64)))}
        for response in responses:
            yield queries[places[response.key]], response


def _positions(table: QueryTable, responses: list[Response]) -> Any:
    prompts = np.frombuffer(bytes.fromhex("".join(r.prompt for r in responses)), dtype="S16")
    return table.positions(prompts)


async def _judge(pool: WorkerPool, at: VerifierAt, query: Query, response: Response) -> Verdict:
    formal = structure(response)
    if formal is not None:
        return formal
    try:
        verdict = await pool.call(at.part, "__call__", (query, response), deadline=at.deadline, tries=2)
    except (WorkerTimeout, WorkerDied, WorkerError) as error:
        return Verdict.unknown(*rule_of(error))
    return verdict.so_far if isinstance(verdict, Ask) else verdict


def _flips(table: Any, frozen: dict[str, str], today: dict[str, str]) -> Iterator[str]:
    """A line for each reply whose outcome differs."""
    before, after = verdicts_by_reply(table, frozen, frozen), verdicts_by_reply(table, today, today)
    _, i, j = np.intersect1d(before.key, after.key, return_indices=True)
    for a, b in zip(i, j, strict=True):
        if before.outcome[a] != after.outcome[b]:
            yield (
                f"  {bytes(before.key[a]).ljust(16, bytes(1)).hex()}: {before.outcome[a]} ({before.rule[a]}) -> "
                f"{after.outcome[b]} ({after.rule[b]})"
            )


def _adopt(run: Run, folder: Path, today: dict[str, str]) -> None:
    """Freeze today's versions in recipe.yaml; the former recipe is kept."""
    value = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    value["verify"]["versions"] = today
    run.freeze(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110))
