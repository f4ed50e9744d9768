"""`stillhouse run --dry-run`: what a run would do, stage by stage, without asking anybody or writing a run folder.

In: a recipe. Out: lines and JSON: the queries that would be kept (where the sources are files), one request
of each teacher as it would be sent, what is open, and the most that it could come to in requests, tokens and dollars.
"""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.engines.engine import make_engine
from stillhouse.pipeline import Outcome
from stillhouse.pipeline_students import refuse
from stillhouse.recipe import Parts, load_recipe, parts, refuse_unverifiable, store_folder
from stillhouse.recipe_students import evaluate_line, train_line
from stillhouse.records import Message, Query, Request, TeacherSpec
from stillhouse.settings import Recipe
from stillhouse.sitting.standing import fill
from stillhouse.stages.curate import curate
from stillhouse.store.index import load_index
from stillhouse.store.known import verdicts_by_reply
from stillhouse.store.pairs import WAITING, Pairs
from stillhouse.store.queries import QueryTable
from stillhouse.store.replies import Replies
from stillhouse.store.run import Run
from stillhouse.store.tables import VERDICTS, table_files
from stillhouse.store.verdicts import load_verdicts

SAMPLE = Query((Message("user", "What is 17 + 25?"),), "math", ground_truth="42")


def dry_run(recipe: Path, out: Path | None = None, *, until: str | None = None) -> Outcome:
    """Nothing is asked and nothing is written. Raises UserMistake as the run itself would.

    out: the run folder; what stands in its journal is not counted, as it would not be asked again.
    """
    made = load_recipe(recipe)
    if until != "curate":
        refuse_unverifiable(made)
    found = parts(made, recipe.parent)
    if until in (None, "train", "evaluate", "report"):
        refuse(made, found, recipe.parent)
    folder = out or Path("runs") / made.name
    value: dict[str, Any] = {"run": str(folder), "teachers": {}}
    lines = [f"dry run of {recipe}: nothing is asked, nothing is written"]
    with tempfile.TemporaryDirectory(prefix="stillhouse-") as place:
        table, value["queries"] = _queries(made, found, Path(place))
        lines.append(_curate_line(made, value["queries"]))
        if until != "curate":
            standing = _Standing(made, found, folder, table)
            for spec in found.teachers:
                told, said = _teacher(spec, made, table, standing)
                value["teachers"][spec.name] = told
                lines += said
            value["total"], said = _sum(made, found, value["teachers"])
            lines += said
    lines += _rest(made, found, until)
    return Outcome(str(folder), 0, {"dry_run": value}, [], None, None, lines)


def _queries(made: Recipe, found: Parts, place: Path) -> tuple[QueryTable | None, dict[str, Any] | None]:
    """The queries that curate would keep, where all sources are at hand; hubs are not asked in a dry run."""
    if any(entry.hub or entry.mapping for entry in made.queries):
        return None, None
    with Run(place) as run, closing(make_engine("local", workers=1)) as engine:
        counts = curate(
            run, sources=found.sources, filters=found.query_filters,
            avoid=[(n, p) for n, p in found.avoid if not p.path.startswith("stillhouse.benchmarks.")],
            near_duplicates=made.curate.near_duplicates, verifiers=found.verifiers, engine=engine,
        )  # fmt: skip
        return QueryTable(table_files(run.queries, "kept")), counts


def _curate_line(made: Recipe, counts: dict[str, Any] | None) -> str:
    if counts is None:
        named = ", ".join(str(e.hub or e.mapping or e.path) for e in made.queries)
        return f"  curate   would read {named} (not read in a dry run: they come from a hub)"
    return f"  curate   would keep {counts['kept']} of {counts['in']} queries"


class _Standing:
    """What an earlier sitting left: pairs at rest are asked no more, and replies in the journal are read."""

    def __init__(self, made: Recipe, found: Parts, folder: Path, table: QueryTable | None) -> None:
        self._distill, self._table = made.distill, table
        run = Run(folder, read_only=True) if (folder / "recipe.yaml").is_file() else None
        store = store_folder(made, Path())
        journals = run.journals if run else (store,) if store and store.is_dir() else ()
        self.index = load_index(journals)
        self.memory = Replies(self.index)
        verdicts = load_verdicts(run.verdicts / "log") if run else VERDICTS.empty_table()
        today = {name: str(part.build().version) for name, part in found.verifiers.items()}
        self._known = verdicts_by_reply(verdicts, {**today, **made.verify.versions}, today)

    def pairs(self, spec: TeacherSpec, teacher: Any) -> Pairs:
        """Where this teacher's pairs stand."""
        table = self._table
        pairs = Pairs(len(table or ()), self._distill.attempts, self._distill.truncated_attempts)
        if table is not None and len(table):
            identities = {category: teacher.identity(category) for category in set(table.categories)}
            fill(pairs, table, self.index, self._known, identities, spec.max_tokens)
        return pairs


def _teacher(
    spec: TeacherSpec, made: Recipe, table: QueryTable | None, standing: _Standing
) -> tuple[dict[str, Any], list[str]]:
    """One teacher's first request as it would be sent, and the bounds over all open pairs."""
    teacher = spec.part.build()
    pairs = standing.pairs(spec, teacher)
    first: Request | None = None
    bound = {"pairs": 0, "requests_at_least": 0, "requests_at_most": 0, "prompt_tokens_at_most": 0,
             "completion_tokens_at_most": 0}  # fmt: skip
    dollars: float | None = 0.0
    for query, position in table.read_at(np.flatnonzero(pairs.states() == WAITING)) if table is not None else ():
        left = [a for a in range(1, pairs.limit + 1) if not pairs.is_judged(position, a)]
        requests = [teacher.request(query, attempt) for attempt in left]
        new = [r for r in requests if standing.memory.row(r.key, r.max_tokens) is None]
        first = first or next(iter(new), None)
        bound["pairs"] += 1
        bound["requests_at_least"] += bool(requests) and requests[0] in new
        bound["requests_at_most"] += len(new)
        bound["prompt_tokens_at_most"] += sum(r.prompt_tokens for r in new)
        bound["completion_tokens_at_most"] += sum(r.max_tokens for r in new)
        known = [r.bound_usd for r in new if r.bound_usd is not None]
        dollars = dollars + sum(known) if dollars is not None and len(known) == len(new) else None
    shown = first or teacher.request(SAMPLE, 1)
    value = {
        **(bound if table is not None else dict.fromkeys(bound)), "queries": None if table is None else len(table),
        "most_usd": None if table is None else dollars, "model": shown.model, "max_tokens": shown.max_tokens,
        "sampling": dict(shown.sampling), "messages": [{"role": m.role, "content": m.content} for m in shown.messages],
    }  # fmt: skip
    return value, _told(spec, value, made.distill.attempts)


def _told(spec: TeacherSpec, value: dict[str, Any], attempts: int) -> list[str]:
    if value["queries"] is None:
        scope = f"queries as above, up to {attempts} attempts each"
    elif not value["pairs"]:
        scope = f"all {value['queries']:,} pairs are at rest: nothing would be asked"
    else:
        money = "no price per token" if value["most_usd"] is None else f"at most ${value['most_usd']:,.2f}"
        scope = (
            f"{value['pairs']:,} of {value['queries']:,} pairs are open: {value['requests_at_least']:,} requests at "
            f"least, {value['requests_at_most']:,} at most (up to {attempts} attempts each), at most "
            f"{value['prompt_tokens_at_most']:,} prompt and {value['completion_tokens_at_most']:,} completion tokens, "
            f"{money}"
        )
    how = f"into batch files{'' if spec.endpoints == ('',) else ' for ' + spec.endpoints[0]}" if spec.batch else (
        f"{', '.join(spec.endpoints) if any(spec.endpoints) else 'in this process'}, {spec.max_in_flight} in flight"
        f"{' at each' if len(spec.endpoints) > 1 else ''}"
    )  # fmt: skip
    sampling = ", ".join(f"{name} {given}" for name, given in value["sampling"].items())
    return [
        f"  distill  {spec.name}: {scope}",
        f"             model {value['model']}, {how}, at most {value['max_tokens']:,} tokens a reply, {sampling}",
        *(f"             {m['role']}: {m['content']!r}" for m in value["messages"]),
    ]


def _sum(made: Recipe, found: Parts, teachers: dict[str, dict[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """All teachers together, their judges, and the budget that ends it before."""
    most = [told["most_usd"] for told in teachers.values()]
    dollars = None if any(one is None for one in most) else sum(most)
    replies = [told["requests_at_most"] for told in teachers.values()]
    asks = None if any(one is None for one in replies) else sum(replies)
    lines = []
    for kind, judge in found.judges.items():
        often = "" if asks is None else f", at most {2 * asks:,} times"
        lines.append(
            f"  judge    {kind}: model {judge.model}, asked where its category's verifier wants to hear it{often}"
        )
    bound = "not known beforehand" if dollars is None else f"at most ${dollars:,.2f}, and the judges' dollars"
    if made.distill.budget_usd is not None:
        bound += f"; the budget of ${made.distill.budget_usd:,.2f} ends it before, judges included"
    lines.append(f"  dollars  {bound} (retries after faults are not counted)")
    return {"most_usd": dollars, "requests_at_most": asks, "budget_usd": made.distill.budget_usd}, lines


def _rest(made: Recipe, found: Parts, until: str | None) -> list[str]:
    verified = ", ".join(f"{category} by {part.path}" for category, part in sorted(found.verifiers.items()))
    filters = ", ".join(p.path.rpartition(":")[2] for p in (*found.response_filters, *found.corpus_filters))
    who = found.perplexity
    filters += (
        f", perplexity by {who[0].model or 'the embedded model'}" if who else "; perplexity off (no model is named)"
    )
    told = {
        "curate": "", "distill": f"  verify   {verified}", "filter": f"  filter   {filters}",
        "export": "  export   " + ", ".join(f"{t.name} (terms: {t.terms})" for t in found.teachers),
        "train": train_line(made, found) if made.train.wanted else "",
        "evaluate": evaluate_line(made, found) if made.evaluate.benchmarks else "",
        "compare": f"  compare  decide by {made.decide_by or 'the default measure'}", 
        "report": "  report   report.html",
    }  # fmt: skip
    lines = []
    for stage in ("curate", "distill", "filter", "export", "compare", "train", "evaluate", "report"):
        if told[stage]:
            lines.append(told[stage])
        if stage == until:
            break
    return lines
