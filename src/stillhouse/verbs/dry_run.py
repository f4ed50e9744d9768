"""`stillhouse run --dry-run`: what a run would do, stage by stage, without asking anybody or writing a run folder.

In: a recipe. Out: lines and JSON: the queries that would be kept (where the sources are files), one request
of each teacher as it would be sent, how many pairs are open, and the most that they could cost.
"""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from stillhouse.engines.engine import make_engine
from stillhouse.pipeline import Outcome
from stillhouse.pipeline_students import refuse
from stillhouse.recipe import Parts, load_recipe, parts, refuse_unverifiable
from stillhouse.recipe_students import evaluate_line, train_line
from stillhouse.records import Message, Query, TeacherSpec
from stillhouse.settings import Recipe
from stillhouse.stages.curate import curate
from stillhouse.store.queries import QueryTable
from stillhouse.store.run import Run
from stillhouse.store.tables import table_files

SAMPLE = Query((Message("user", "What is 17 + 25?"),), "math", ground_truth="42")


def dry_run(recipe: Path, *, until: str | None = None) -> Outcome:
    """Nothing is asked and nothing is written. Raises UserMistake as the run itself would."""
    made = load_recipe(recipe)
    if until != "curate":
        refuse_unverifiable(made)
    found = parts(made, recipe.parent)
    if until in (None, "train", "evaluate", "report"):
        refuse(made, found, recipe.parent)
    queries, counts = _queries(made, found)
    value: dict[str, Any] = {"queries": counts, "teachers": {}}
    lines = [f"dry run of {recipe}: nothing is asked, nothing is written", _curate_line(made, counts)]
    pool = queries or [SAMPLE]
    for spec in found.teachers:
        told, said = _teacher(spec, pool, made.distill.attempts, sampled=not queries)
        value["teachers"][spec.name] = told
        lines += said
    lines += _rest(made, found, until)
    return Outcome(str(recipe), 0, {"dry_run": value}, [], None, None, lines)


def _queries(made: Recipe, found: Parts) -> tuple[list[Query], dict[str, Any] | None]:
    """The queries that curate would keep, where all sources are at hand; hubs are not asked in a dry run."""
    if any(entry.hub or entry.mapping for entry in made.queries):
        return [], None
    with tempfile.TemporaryDirectory(prefix="stillhouse-") as place, Run(Path(place)) as run:
        with closing(make_engine("local", workers=1)) as engine:
            counts = curate(
                run, sources=found.sources, filters=found.query_filters,
                avoid=[(n, p) for n, p in found.avoid if not p.path.startswith("stillhouse.benchmarks.")],
                near_duplicates=made.curate.near_duplicates, verifiers=found.verifiers, engine=engine,
            )  # fmt: skip
        return list(QueryTable(table_files(run.queries, "kept")).read()), counts


def _curate_line(made: Recipe, counts: dict[str, Any] | None) -> str:
    if counts is None:
        named = ", ".join(str(e.hub or e.mapping or e.path) for e in made.queries)
        return f"  curate   would read {named} (not read in a dry run: they come from a hub)"
    return f"  curate   would keep {counts['kept']} of {counts['in']} queries"


def _teacher(
    spec: TeacherSpec, queries: list[Query], attempts: int, *, sampled: bool
) -> tuple[dict[str, Any], list[str]]:
    """One teacher's first request as it would be sent, and the bounds over all queries."""
    teacher = spec.part.build()
    first = teacher.request(queries[0], 1)
    bounds = [teacher.request(query, 1).bound_usd for query in queries]
    most = None if any(b is None for b in bounds) else sum(b or 0.0 for b in bounds) * attempts
    value = {
        "pairs": None if sampled else len(queries), "most_usd": None if sampled else most, "model": first.model,
        "max_tokens": first.max_tokens, "sampling": dict(first.sampling),
        "messages": [{"role": m.role, "content": m.content} for m in first.messages],
    }  # fmt: skip
    money = "without a price" if most is None else f"at most ${most:,.2f} if every reply were as long as it may be"
    scope = "queries as above" if sampled else f"{len(queries)} queries, {money}"
    lines = [
        f"  distill  {spec.name}: {scope}, up to {attempts} attempts; model {first.model}, "
        f"at most {first.max_tokens} tokens, {', '.join(f'{k} {v}' for k, v in first.sampling.items())}"
    ]
    lines += [f"             {m.role}: {m.content!r}" for m in first.messages]
    return value, lines


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
