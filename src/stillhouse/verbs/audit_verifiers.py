"""`stillhouse audit RUN --verifiers`: how often are the verdicts wrong, and what would the yields be without that?

In: a run folder; opinions of a person (a sheet that is written here and read back) or of a judge of the recipe. Out:
3-verdicts/audit.json, 3-verdicts/audit/sheet.csv and suspects.jsonl. No verdict and no reference is changed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.distilling.votes import Ballot, Polling
from stillhouse.pipeline import Outcome
from stillhouse.recipe import VOTED, Parts, load_recipe, parts, second_opinion
from stillhouse.records import Query, Response, TeacherSpec, UserMistake
from stillhouse.settings import Recipe
from stillhouse.store.index import Index, load_index
from stillhouse.store.known import Known, on_todays_references, verdicts_by_reply
from stillhouse.store.queries import QueryTable
from stillhouse.store.reading import read_responses
from stillhouse.store.references import open_queries
from stillhouse.store.run import Run
from stillhouse.store.segments import replaced
from stillhouse.store.tables import read_table, table_files
from stillhouse.store.verdicts import load_verdicts
from stillhouse.verbs.audit_asking import Asked, Asking
from stillhouse.verbs.audit_results import results
from stillhouse.verbs.audit_sample import Sample, take_sample
from stillhouse.verbs.audit_sheet import Filled, Line, read_sheet, write_sheet
from stillhouse.verbs.audit_told import told_lines

SAMPLE, SEED = 200, 1
NAMED = 100  # suspect references that audit.json names; suspects.jsonl has all


def audit_verifiers(
    folder: Path, *, sample: int | None = None, seed: int | None = None, judge: str | None = None, quiet: bool = False
) -> Outcome:
    """Sample verdicts, gather opinions, and tell what they say.

    sample, seed: as in the audit before, else 200 and 1. judge: which judge of the recipe is asked (`audit`, `math`,
    ...); without one the opinions are a person's. Exit code 4 while opinions are missing, 3 where the budget ends.
    """
    former = _former(folder)
    size = sample if sample is not None else former.get("wanted", SAMPLE)
    seeded = seed if seed is not None else former.get("seed", SEED)
    if size < 1:
        raise UserMistake(f"--sample {size}: one verdict at least")
    if not (folder / "recipe.yaml").is_file():
        raise UserMistake(f"{folder}: no run stands here; `stillhouse run RECIPE --out {folder}` begins one")
    made = load_recipe(folder / "recipe.yaml")
    found = parts(made, folder)
    asked_of = _judge(made, found, judge)
    with Run(folder) as run:
        if not table_files(run.queries, "kept"):
            raise UserMistake(f"{folder}: has no queries yet: `stillhouse run` begins with curate")
        bench = _Bench.of(run, made, found)
        filled = read_sheet(bench.sheet)
        taken = take_sample(run, bench.table, bench.known, size, seeded)
        texts = bench.texts(taken)
        asked = bench.ask(texts, taken, filled, asked_of) if asked_of is not None else Asked("done", "", 0)
        opinions, by = bench.opinions(taken, filled)
        waiting = bench.write_sheet(taken, texts, filled, asked_of is not None)
        suspects = bench.suspects()
        value = {
            "made": time.time(), "seed": seeded, "wanted": size, "sample": len(taken.rows),
            "opinions": len(opinions), "by": by, "waiting": waiting,
            **results(taken, opinions, seeded), "suspects": len(suspects),
            "suspect_references": [ballot.as_dict() for ballot in suspects[:NAMED]],
        }  # fmt: skip
        bench.save(value, suspects)
    code = {"interrupted": 130, "budget": 3, "disk_full": 2}.get(asked.outcome, 4 if waiting else 0)
    outcome = Outcome(str(folder), code, {"audit": value}, told=told_lines(folder, value, bench.sheet, asked))
    if asked.outcome != "done":
        outcome.waits.append(asked.problem or asked.outcome)
    return outcome


def _former(folder: Path) -> dict[str, Any]:
    """The audit before this one, {} without one."""
    try:
        value = json.loads(Run(folder, read_only=True).audit_json.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _judge(made: Recipe, found: Parts, wanted: str | None) -> TeacherSpec | None:
    """The recipe's judge of that name. Raises UserMistake with those that it has."""
    if wanted is None:
        return None
    able = {**found.judges, **({"audit": found.auditor} if found.auditor is not None else {})}
    able.pop("reward", None)  # a scorer gives numbers, no opinion
    spec = able.get(wanted)
    if spec is None:
        has = f"it has {', '.join(able)}" if able else "it has none that gives opinions"
        raise UserMistake(
            f"--judge {wanted}: the run's recipe names no such judge; {has}. Add `judges: {{audit: {{base_url, "
            "model}}` to the recipe and run it again, or leave --judge away and fill in the sheet"
        )
    return spec


@dataclass(slots=True)
class _Bench:
    """The run as the audit sees it. identities: teacher -> its identities."""

    run: Run
    made: Recipe
    found: Parts
    table: QueryTable
    index: Index
    known: Known
    identities: Mapping[str, Any]
    place: Path

    @staticmethod
    def of(run: Run, made: Recipe, found: Parts) -> _Bench:
        table = open_queries(run)
        today = {c: str(p.build().version) for c, p in found.verifiers.items()}
        frozen = {**today, **made.verify.versions}
        verdicts = load_verdicts(run.verdicts / "log")
        known = on_todays_references(verdicts_by_reply(verdicts, frozen, today), table)
        place = run.verdicts / "audit"
        place.mkdir(parents=True, exist_ok=True)
        return _Bench(run, made, found, table, load_index(run.journals), known, teacher_identities(run), place)

    @property
    def sheet(self) -> Path:
        return self.place / "sheet.csv"

    @property
    def log(self) -> Path:
        return self.place / "opinions"

    def texts(self, sample: Sample) -> dict[str, tuple[Query, Response]]:
        """Query and response of every sampled verdict, by response key. A damaged reply is told by the reader."""
        rows = np.sort(self.index.find([row.response for row in sample.rows]))
        responses = {r.key: r for r in read_responses(self.index, rows[rows >= 0])}
        places = np.unique(np.array([row.position for row in sample.rows], np.int64))
        queries = {place: query for query, place in self.table.read_at(places)}
        return {
            row.response: (queries[row.position], responses[row.response])
            for row in sample.rows if row.response in responses
        }  # fmt: skip

    def ask(
        self, texts: Mapping[str, tuple[Query, Response]], sample: Sample, filled: Mapping[str, Filled],
        judge: TeacherSpec,
    ) -> Asked:  # fmt: skip
        """Ask the judge for what neither it nor a person has said yet."""
        said = self._judged()
        wanted = [
            texts[row.response] for row in sample.rows
            if row.response in texts and row.response not in said and row.response not in filled
        ]  # fmt: skip
        if not wanted:
            return Asked("done", "", 0)
        budget = self.made.distill.budget_usd
        specs = [*self.found.teachers, *self.found.judges.values(), judge]
        asking = Asking(
            self.run, self.table, self.index, judge, second_opinion(),
            {"": budget, **{spec.name: spec.budget_usd for spec in specs}}, {spec.name for spec in specs}, self.log,
        )  # fmt: skip
        return asking.ask(wanted)

    def _judged(self) -> dict[str, tuple[bool | None, str]]:
        """Opinions of judges by response key, None for one that could not be read, and whose they are."""
        version = str(second_opinion().build().version)
        out: dict[str, tuple[bool | None, str]] = {}
        for row in load_verdicts(self.log).to_pylist() if self.log.exists() else ():
            if row["version"] == version and not row["transient"]:
                right = None if row["outcome"] == "unknown" else row["outcome"] == "pass"
                out[row["response"]] = (right, row["verifier"])
        return out

    def opinions(self, sample: Sample, filled: Mapping[str, Filled]) -> tuple[dict[str, bool], dict[str, int]]:
        """Of the sample: right or wrong by response key, and how many are whose. A person's goes before a judge's."""
        judged = self._judged()
        out: dict[str, bool] = {}
        by: dict[str, int] = {}
        for row in sample.rows:
            person = filled.get(row.response)
            if person is not None:
                opinion, name = person.opinion, "of a person" if person.opinion is not None else "unsure"
            elif row.response in judged:
                opinion, judge = judged[row.response]
                name = f"of {judge}" if opinion is not None else f"unreadable of {judge}"
            else:
                continue
            if opinion is not None:
                out[row.response] = opinion
            by[name] = by.get(name, 0) + 1
        return out, by

    def write_sheet(
        self, sample: Sample, texts: Mapping[str, tuple[Query, Response]], filled: Mapping[str, Filled], asked: bool
    ) -> int:
        """The sheet for what no judge has said, unless a judge is asked and no person has begun. Returns how many
        opinions are missing."""
        judged = self._judged()
        wanted = [row.response for row in sample.rows if row.response in texts]
        wanted = [key for key in wanted if key in filled or judged.get(key, (None,))[0] is None]
        missing = [key for key in wanted if key not in filled and key not in judged]
        if asked and not filled:
            return len(missing)
        opinion: Any = second_opinion().build()

        def lines() -> Iterator[Line]:
            for key in sorted(wanted):  # by hash: teachers and outcomes are mixed, and no order leads the reader
                query, response = texts[key]
                fields = json.loads(opinion(query, response).messages[-1].content)
                yield Line(key, query.category, fields["question"], fields.get("reference", ""), fields["answer"])

        write_sheet(self.sheet, lines(), filled)
        return len(missing)

    def suspects(self) -> list[Ballot]:
        """Queries on which the teachers agree with each other and not with the reference."""
        comparable = {c: self.found.verifiers[c] for c in VOTED if c in self.found.verifiers}
        able = {c: part for c, part in comparable.items() if hasattr(part.build(), "stated")}
        polling = Polling(
            self.table, self.index, self.known, self.identities, able,
            least=self.made.verify.references.teachers, workers=max(1, os.cpu_count() or 2),
        )  # fmt: skip
        return polling.suspects()

    def save(self, value: Mapping[str, Any], suspects: list[Ballot]) -> None:
        with replaced(self.place / "suspects.jsonl") as temporary, temporary.open("w", encoding="utf-8") as out:
            for ballot in suspects:
                out.write(json.dumps(ballot.as_dict()) + "\n")
        with replaced(self.run.audit_json) as temporary:
            temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def teacher_identities(run: Run) -> dict[str, Any]:
    """Teacher -> its identities as S16, as distill noted them."""
    noted = run.verdicts / "pairs.parquet"
    if not noted.exists():
        raise UserMistake(f"{run.folder}: has not been distilled yet: `stillhouse run` first")
    table = read_table(noted, ["teacher", "identity"]).group_by(["teacher", "identity"]).aggregate([])
    out: dict[str, set[str]] = {}
    for row in table.to_pylist():
        out.setdefault(row["teacher"], set()).add(row["identity"])
    return {name: np.array([bytes.fromhex(i) for i in sorted(found)], "S16") for name, found in sorted(out.items())}
