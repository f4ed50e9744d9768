"""Distill: every teacher answers every kept query, each answer is verified, and asked for again until it passes.

In: `1-queries/kept*.parquet`, teachers, judges, a verifier per category. Out: the journal (2-responses), verdicts
(3-verdicts), and where every pair stands (`3-verdicts/pairs.parquet`, `2-responses/accepted-TEACHER.parquet`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stillhouse.distilling.forecast import check_forecast
from stillhouse.distilling.outputs import write_account, write_outputs
from stillhouse.distilling.references import References
from stillhouse.loop import state_counts
from stillhouse.records import Part, TeacherSpec, Votes
from stillhouse.sitting.gauges import Progress
from stillhouse.sitting.session import Sat, seldom_collected, sit
from stillhouse.store.compaction import compact
from stillhouse.store.run import Run


@dataclass(slots=True)
class Distilled:
    """What distill ends with. outcome: done, interrupted, budget or disk_full. waits: teacher -> reason -> how many
    pairs. notes: what the user should know. progress: the last row of each teacher that was at work. forecast_check:
    whether the forecast held, where there is one and every pair is at rest. references: how many the
    vote supplied, by why, and how many queries it left without one."""

    outcome: str
    problem: str
    counts: dict[str, dict[str, int]]
    waits: dict[str, dict[str, int]] = field(default_factory=dict)
    replies: int = 0
    notes: list[str] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)
    forecast_check: dict[str, Any] | None = None
    references: dict[str, int] = field(default_factory=dict)


def distill(
    run: Run,
    *,
    teachers: Sequence[TeacherSpec],
    judges: Mapping[str, TeacherSpec],
    verifiers: Mapping[str, Part],
    versions: Mapping[str, str],
    attempts: int = 8,
    truncated_attempts: int = 2,
    retries: int = 12,
    budget_usd: float | None = None,
    workers: int | None = None,
    wanted: Sequence[int] | None = None,
    watch: Callable[[list[Progress]], None] | None = None,
    tell: Callable[[str], None] | None = None,
    metrics: int | None = None,
    votes: Votes | None = None,
) -> Distilled:
    """Run the loop over the run's kept queries until every pair rests. To call it again is to go on.

    verifiers: category -> part. versions: verifier -> version frozen in the recipe. wanted: positions of the queries
    to ask (a pilot). votes: what the teachers' vote may do to references.
    """
    found = References(run, votes, verifiers, workers)
    table = found.table()

    def once(vote_round: int) -> Sat:
        return sit(
            run, table, teachers=teachers, judges=judges, verifiers=verifiers, versions=versions, attempts=attempts,
            truncated_attempts=truncated_attempts, retries=retries, budget_usd=budget_usd, workers=workers,
            wanted=wanted, watch=watch, tell=tell, metrics=metrics, awaiting_vote=(found.awaiting, vote_round),
        )  # fmt: skip

    sat = once(1)
    while (vote_round := found.next_round(table, sat)) is not None:
        table = found.table()
        sat = once(vote_round)
    with seldom_collected():
        write_outputs(run, table, sat.index, sat.known, teachers, sat.identities, sat.pairs)
    counts = {name: state_counts(pairs) for name, pairs in sat.pairs.items()}
    write_account(run, sat.index, (*teachers, *judges.values()))
    check = None
    if sat.outcome == "done" and not any(states["waiting"] for states in counts.values()):
        check = check_forecast(run, table, sat.index, teachers, attempts)
    if sat.outcome == "done" and run.store is None and not any(states["waiting"] for states in counts.values()):
        with seldom_collected():
            compact(run.journal)  # every reply as parquet too, read back and compared; the segments stay
    return Distilled(
        sat.outcome, sat.problem, counts, sat.waits, sat.replies, sat.notes, sat.progress, check, found.counts
    )
