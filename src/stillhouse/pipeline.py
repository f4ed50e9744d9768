"""The whole path on one screen: curate, distill, filter, export, train, evaluate, compare, report.

In: a recipe and a run folder. Out: the folder, and an Outcome. Each stage is skipped when neither its inputs nor its
settings have changed since it was made; to run again is to go on.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stillhouse import __version__, pipeline_students
from stillhouse import recipe as recipes
from stillhouse.asking.scoring import Unanswered
from stillhouse.distilling.forecast import told as told_check
from stillhouse.engines.engine import Engine, make_engine
from stillhouse.filtering.scoring import Scoring
from stillhouse.progress import Teller
from stillhouse.records import UserMistake
from stillhouse.settings import Recipe
from stillhouse.stages.compare import compare, compare_datasets
from stillhouse.stages.curate import curate
from stillhouse.stages.distill import distill
from stillhouse.stages.export import export
from stillhouse.stages.filter import filter as filter_responses
from stillhouse.stages.report import report
from stillhouse.store.memory import without_pandas
from stillhouse.store.run import Run
from stillhouse.store.tables import table_files

TOKEN_SAMPLE = 20_000  # queries of a dataset whose tokens `compare A B` counts, unless all are wanted
STAGES = ("curate", "distill", "filter", "export", "compare", "train", "evaluate", "report")


@dataclass(slots=True)
class Outcome:
    """What a verb ends with. exit_code as the command line returns it; waits: what remains, and why."""

    run: str
    exit_code: int = 0
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    waits: list[str] = field(default_factory=list)
    decision: dict[str, Any] | None = None
    report: str | None = None
    told: list[str] = field(default_factory=list)
    halted: bool = False  # a stage could not be made to its end, and those after it need it
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {
            "run": self.run, "exit_code": self.exit_code, "stages": self.stages, "waits": self.waits,
            "notes": self.notes, "decision": self.decision, "report": self.report,
        }  # fmt: skip

    def lines(self) -> list[str]:
        return [*self.told, *self.notes, *(f"waits: {reason}" for reason in self.waits)]


@dataclass(slots=True)
class Sitting:
    """One run of the pipeline over one folder: the recipe, the folder, the engine, and whom to tell."""

    recipe: Recipe
    parts: recipes.Parts
    run: Run
    folder: Path
    engine: Engine
    teller: Teller
    outcome: Outcome
    metrics: int | None = None

    def path(self, until: str | None) -> None:
        """The stages in order, up to and including `until`; compare once more where students were evaluated.

        A recipe without `train` trains nobody, one without benchmarks evaluates nobody. Students wait until distill is
        done: those of half the data would be trained again.
        """
        for stage in STAGES:
            wanted = {"train": self.recipe.train.wanted, "evaluate": bool(self.recipe.evaluate.benchmarks)}
            if wanted.get(stage, True) and not self._early(stage):
                self.stage(stage)
                if stage == "evaluate" and self.outcome.exit_code not in (2, 130):
                    self.stage("compare")
            if stage == until or self.outcome.halted or self.outcome.exit_code in (2, 130):
                break

    def _early(self, stage: str) -> bool:
        early = stage in ("train", "evaluate") and self.outcome.exit_code != 0
        if early and stage == "train":
            self.outcome.waits.append(
                f"train: distill is not done; `stillhouse train {self.run.folder}` trains on what is there"
            )
        return early

    def stage(self, name: str, **options: Any) -> None:
        """One stage, unless it stands already as it would be made now."""
        fingerprint = self._fingerprint(name, options)
        counts = self.run.fresh(name, fingerprint) if not options else None
        if counts is None:
            distilled = (
                self.run.fresh("distill", self._fingerprint("distill")) if name in ("filter", "evaluate") else None
            )
            started = time.monotonic()
            self.run.status.update(stage=name, state="running")
            try:
                counts, outputs = self._plan(name, options)[2]()
            except KeyboardInterrupt:
                self.teller.say(f"interrupted in {name}: what is finished is kept; the same command goes on from there")
                raise
            self.teller.stage(name, counts, time.monotonic() - started)
            if outputs is not None:  # of the inputs as they are now: distill has added to the journal that it reads
                self.run.stamp(name, self._fingerprint(name, options), outputs, counts)
            if distilled is not None:  # and so have these two, with replies that are not distill's
                self.run.stamp("distill", self._fingerprint("distill"), self._distilled(), distilled)
        else:
            self.teller.stage(name, counts, None)
        self.outcome.stages[name] = counts

    def _fingerprint(self, name: str, options: Mapping[str, Any] | None = None) -> str:
        inputs, settings, _ = self._plan(name, options or {})
        return self.run.fingerprint(inputs, [__version__, settings])

    def _students(self, name: str, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[Path] | None]:
        make = pipeline_students.run_train if name == "train" else pipeline_students.run_evaluate
        ended = make(self.run, self.recipe, self.parts, self.folder, self.teller, options)
        self.outcome.waits += ended.waits
        self.outcome.told += ended.told
        self.outcome.exit_code = ended.exit_code or self.outcome.exit_code
        return ended.counts, ended.outputs

    def _plan(self, name: str, options: Mapping[str, Any]) -> tuple[list[Path], Any, Callable[[], Any]]:
        """A stage's input files, its settings as JSON, and how it is made: returns (counts, output files)."""
        run, parts, made = self.run, self.parts, self.recipe
        queries, verdicts = table_files(run.queries, "kept"), run.verdicts / "pairs.parquet"
        accepted = sorted(run.responses.glob("accepted-*.parquet"))
        teachers = [recipes.told(t) for t in parts.teachers]
        if name == "curate":
            settings = [recipes.told(p) for p in (*parts.sources, *parts.query_filters, *parts.verifiers.values())]
            settings += [recipes.told(p) for _, p in parts.avoid] + [made.curate.model_dump(mode="json")]
            settings += [sorted(recipes.supplied(made))]
            return parts.files, settings, self._curate
        if name == "distill":
            journal = [f for folder in run.journals for f in sorted(folder.glob("*.journal"))]
            log = [run.verdicts / "log", *sorted((run.responses / "batch").rglob("*.jsonl"))]
            settings = [teachers, made.distill.model_dump(mode="json"), made.verify.model_dump(mode="json")]
            return [*queries, *journal, *log], settings, self._distill
        if name == "filter":
            return accepted, [teachers, made.filter.model_dump(mode="json"), made.tokenizer], self._filter
        if name == "export":
            inputs = [*queries, verdicts, *accepted, run.filters]
            return inputs, [teachers, made.tokenizer, options], lambda: self._export(options)
        if name == "compare":
            checked = [f for f in (run.responses / "account.json", run.folder / "forecast_check.json") if f.exists()]
            inputs = [*queries, verdicts, *accepted, run.filters, run.evaluations, run.audit_json, *checked]
            return inputs, [teachers, made.decide_by, made.margin.model_dump(), made.tokenizer], self._compare
        if name == "train":
            settings = pipeline_students.train_facts(made, parts)
            return [run.datasets], [*settings, options], lambda: self._students(name, options)
        if name == "evaluate":
            inputs, settings = pipeline_students.evaluate_facts(made, parts, run, self.folder)
            return inputs, [*settings, options], lambda: self._students(name, options)
        if name == "report":
            beside = [run.recipe, run.students / "losses.jsonl", run.verdicts / "audit.json", run.evaluations]
            inputs = [run.report_json, *queries, verdicts, *accepted, run.filters, *beside]
            return inputs, recipes.source_facts(made), self._report
        raise UserMistake(f"there is no stage {name}; the stages are {', '.join(STAGES)}")

    def _curate(self) -> tuple[dict[str, Any], list[Path]]:
        parts, settings = self.parts, self.recipe.curate
        counts = curate(
            self.run, sources=parts.sources, filters=parts.query_filters, avoid=parts.avoid,
            near_duplicates=settings.near_duplicates, embeddings=parts.embeddings, verifiers=parts.verifiers,
            supplied=recipes.supplied(self.recipe), engine=self.engine,
        )  # fmt: skip
        return counts, [self.run.queries]

    def pilot(self, wanted: Sequence[int]) -> None:
        """Distill the queries at these positions only; the run goes on from their replies."""
        counts, _ = self._distill(wanted)
        self.outcome.stages["pilot"] = counts

    def _distilled(self) -> list[Path]:
        voted = sorted(self.run.verdicts.glob("references.parquet"))
        return [self.run.verdicts / "pairs.parquet", *voted, *sorted(self.run.responses.glob("accepted-*.parquet"))]

    def _distill(self, wanted: Sequence[int] | None = None) -> tuple[dict[str, Any], list[Path] | None]:
        parts, settings = self.parts, self.recipe.distill
        with self.teller.live() as watch:
            done = distill(
                self.run, teachers=parts.teachers, judges=parts.judges, verifiers=parts.verifiers,
                versions=self.recipe.verify.versions, attempts=settings.attempts,
                truncated_attempts=settings.truncated_attempts, retries=settings.retries,
                budget_usd=settings.budget_usd, workers=settings.workers, watch=watch, wanted=wanted,
                tell=self.teller.say, metrics=self.metrics, votes=recipes.votes(self.recipe),
            )  # fmt: skip
        self.outcome.notes += done.notes + (told_check(done.forecast_check) if done.forecast_check else [])
        self.outcome.waits += [f"{name}: {n} pairs: {why}" for name, w in done.waits.items() for why, n in w.items()]
        if done.outcome != "done":
            on = {"interrupted": "the same command goes on", "budget": "raise it in the recipe and run again to go on"}
            told = [done.problem or done.outcome, *([on[done.outcome]] if done.outcome in on else [])]
            self.outcome.waits.insert(0, "; ".join(told))
        waiting = any(counts["waiting"] for counts in done.counts.values())
        code = {"interrupted": 130, "budget": 3, "disk_full": 2}.get(done.outcome)
        self.outcome.exit_code = code if code is not None else 4 if waiting else 0
        voted = {"references": done.references} if done.references else {}
        return {**done.counts, **voted}, self._distilled() if self.outcome.exit_code == 0 else None

    def _filter(self) -> tuple[dict[str, Any], list[Path] | None]:
        parts = self.parts
        scoring = Scoring(*parts.perplexity, budget_usd=self.recipe.distill.budget_usd) if parts.perplexity else None
        try:
            counts = filter_responses(
                self.run, teachers=parts.teachers, filters=parts.response_filters, corpus=parts.corpus_filters,
                tokenizer=parts.tokenizer, scoring=scoring, engine=self.engine,
            )  # fmt: skip
        except Unanswered as reason:
            code = {"interrupted": 130, "budget": 3, "disk_full": 2, "refused": 2}.get(reason.outcome, 4)
            self.outcome.exit_code, self.outcome.halted = code, True
            self.outcome.waits.append(f"filter: perplexity: {reason}; what was scored is kept, run again to go on")
            return {}, None
        return counts, [self.run.filters]

    def _export(self, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[Path]]:
        sources = recipes.source_facts(self.recipe)
        unknown = [f"teacher {t.name}" for t in self.parts.teachers if t.terms == "unknown"]
        unknown += [f"source {s['name']}" for s in sources if s["terms"] == "unknown"]
        if unknown:
            self.teller.say(
                f"warning: whether one may train on them is not known of {', '.join(dict.fromkeys(unknown))}: find "
                "out, and say `terms: yes` or `terms: no` in the recipe"
            )
        counts = export(
            self.run, teachers=self.parts.teachers, tokenizer=self.parts.tokenizer, sources=sources,
            engine=self.engine, **options,
        )  # fmt: skip
        return counts, [self.run.datasets]

    def _compare(self) -> tuple[dict[str, Any], list[Path]]:
        counts = compare(
            self.run, teachers=self.parts.teachers, decide_by=self.recipe.decide_by,
            margin=self.recipe.margin.model_dump(), tokenizer=self.parts.tokenizer,
            perplexity_family=recipes.perplexity_family(self.recipe),
        )  # fmt: skip
        return counts, [self.run.report_json]

    def _report(self) -> tuple[dict[str, Any], list[Path]]:
        return report(self.run, sources=recipes.source_facts(self.recipe)), [self.run.report_html]


@contextlib.contextmanager
def _sit(made: Recipe, folder: Path, out: Path, *, engine: str | None, quiet: bool) -> Iterator[Sitting]:
    """Open the run folder under its lock, freeze the recipe, and close what was opened."""
    without_pandas()
    parts = recipes.parts(made, folder)
    with Run(out) as run:
        teller = Teller(quiet=quiet)
        made = recipes.with_versions(made, parts, run.recipe)
        diff = run.freeze(recipes.frozen(made, folder))
        if diff:
            teller.say(f"the recipe changed since this folder was last run:\n{diff}")
        run.use_store(recipes.store_folder(made, folder))
        with contextlib.closing(make_engine(engine or made.engine)) as worker:
            outcome = Outcome(str(out))
            try:
                yield Sitting(made, parts, run, folder, worker, teller, outcome)
            except BaseException as error:
                state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
                why = None if state == "interrupted" else str(error) or type(error).__name__
                run.status.update(stage=None, state=state, problem=why)
                raise
            _tell_end(run, outcome, teller)


def _tell_end(run: Run, outcome: Outcome, teller: Teller) -> None:
    run.status.update(
        stage=None,
        problem="; ".join(outcome.waits[:5]),
        state={0: "done", 3: "budget", 4: "waiting", 130: "interrupted"}.get(outcome.exit_code, "failed"),
    )
    if run.report_json.exists() and "compare" in outcome.stages:
        outcome.decision, lines = teller.decision(run.report_json)
        outcome.told += lines
    if run.report_html.exists() and "report" in outcome.stages:
        outcome.report = str(run.report_html)
        outcome.told.append(f"report: {run.report_html}")


@contextlib.contextmanager
def open_recipe(path: Path, out: Path | None, *, quiet: bool = False) -> Iterator[Sitting]:
    """A recipe's run folder, opened for stages one by one; out: the folder, default runs/NAME."""
    made = recipes.load_recipe(path)
    recipes.refuse_unverifiable(made)
    with _sit(made, path.parent, out or Path("runs") / made.name, engine=None, quiet=quiet) as sitting:
        yield sitting


def run_recipe(
    path: Path,
    out: Path | None,
    *,
    until: str | None = None,
    engine: str | None = None,
    quiet: bool = False,
    metrics: int | None = None,
) -> Outcome:
    """`stillhouse run RECIPE`. out: the run folder, default runs/NAME. metrics: a port of loopback to serve them on."""
    made = recipes.load_recipe(path)
    if until is not None and until not in STAGES:
        raise UserMistake(f"--until {until}: there is no such stage; the stages are {', '.join(STAGES)}")
    if until == "train" and not made.train.wanted:
        raise UserMistake("--until train: the recipe trains no student; `train: {base: embedded}` would, here")
    if until == "evaluate" and not made.evaluate.benchmarks:
        raise UserMistake("--until evaluate: the recipe names no benchmark in `evaluate: {benchmarks: [...]}`")
    if engine is not None and engine not in ("local", "ray"):
        raise UserMistake(f"--engine {engine}: the engines are local and ray")
    folder = out or Path("runs") / made.name
    return run_made(made, path.parent, folder, until=until, engine=engine, quiet=quiet, metrics=metrics)


def run_made(
    made: Recipe,
    folder: Path,
    out: Path,
    *,
    until: str | None = None,
    engine: str | None = None,
    quiet: bool = False,
    metrics: int | None = None,
) -> Outcome:
    """The same for a recipe that is loaded already; folder: where its paths start."""
    if until != "curate":
        recipes.refuse_unverifiable(made)
    with _sit(made, folder, out, engine=engine, quiet=quiet) as sitting:
        if until is None or STAGES.index(until) >= STAGES.index("train"):
            pipeline_students.refuse(made, sitting.parts, folder)
        sitting.metrics = metrics
        sitting.path(until)
    return sitting.outcome


def run_stage(folder: Path, stage: str, *, quiet: bool = False, **options: Any) -> Outcome:
    """One stage of a run that has begun: `stillhouse STAGE RUN`."""
    if stage == "report" and (folder / "report.json").is_file() and not (folder / "recipe.yaml").is_file():
        report(folder)  # of datasets that were compared: no run stands here, and the page is made again all the same
        return Outcome(str(folder), report=str(folder / "report.html"), told=[f"report: {folder / 'report.html'}"])
    if not (folder / "recipe.yaml").is_file():
        raise UserMistake(f"{folder}: no run stands here; `stillhouse run RECIPE --out {folder}` begins one")
    made = recipes.load_recipe(folder / "recipe.yaml")
    given = {name: value for name, value in options.items() if value}
    with _sit(made, folder, folder, engine=None, quiet=quiet) as sitting:
        sitting.stage(stage, **given)
    return sitting.outcome


def compare_existing(
    datasets: list[Path],
    out: Path | None,
    *,
    tokenizer: str = "embedded",
    exact: bool = False,
    quiet: bool = False,
) -> Outcome:
    """`stillhouse compare A B ... --out DIR`: report.json and report.html of datasets that exist already.

    tokenizer: as in a recipe. exact: count the tokens of every reply, not of TOKEN_SAMPLE queries a dataset.
    """
    if len(datasets) < 2:
        raise UserMistake("compare takes a run folder, or two datasets and more")
    folder = out or Path("runs") / "-".join(d.resolve().stem for d in datasets)
    teller, started = Teller(quiet=quiet), time.monotonic()
    counts = compare_datasets(
        datasets, folder, reader=recipes.dataset_reader(), tokenizer=recipes.tokenizer(tokenizer),
        token_sample=None if exact else TOKEN_SAMPLE, filters=recipes.dataset_filters(),
    )  # fmt: skip
    teller.stage("compare", counts, time.monotonic() - started)
    report(folder)
    outcome = Outcome(str(folder), stages={"compare": counts}, report=str(folder / "report.html"))
    outcome.decision, outcome.told = teller.decision(folder / "report.json")
    outcome.told.append(f"report: {folder / 'report.html'}")
    return outcome
