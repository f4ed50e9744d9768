"""The stage `compare`: what the teachers made of the same queries, with its uncertainty, as report.json.

In: a run folder after distill and filter, facts of the teachers, the measure fixed beforehand. Out: report.json
(the keys that scripts may rely on). `compare_datasets` does the same for datasets that exist already.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from stillhouse import __version__
from stillhouse.comparing import decision as compare_decision
from stillhouse.comparing import views as compare_views
from stillhouse.comparing.datasets import (
    Columns,
    Reader,
    Shard,
    dataset_names,
    matching,
    read_datasets,
    size_of,
    write_samples,
)
from stillhouse.comparing.figures import figures
from stillhouse.comparing.joined import joined, notes, read_evaluations, student_pairs
from stillhouse.comparing.pairs import Effort, exploratory, margins, primary
from stillhouse.comparing.population import Population
from stillhouse.comparing.reading import open_run, read_run
from stillhouse.comparing.sections import add_shares, section
from stillhouse.comparing.students import Students, predicted, read_students
from stillhouse.engines.engine import Engine, make_engine
from stillhouse.records import Filter, Part, TeacherSpec, UserMistake
from stillhouse.store.run import Run
from stillhouse.store.tokens import TokenCounter, Tokenizer

WORTH_PROCESSES = 32 << 20  # bytes of datasets below which one process reads them sooner than several
MEASURES_TO_DECIDE_BY = ("student_mean", "cost_per_verified", "verified_yield", "pass_at_1")


def compare(
    run: Run | Path,
    *,
    teachers: Sequence[TeacherSpec],
    decide_by: str | None = None,
    margin: float | Mapping[str, float] | None = None,
    tokenizer: Part | Tokenizer | None = None,
    token_sample: int | None = None,
    perplexity_family: str = "",
    seed: int = 1,
) -> dict[str, int]:
    """Write report.json of a run folder. Returns its counts.

    run: the Run or its folder. teachers: in the order of the recipe. margin: `rate` in points, `relative` in percent.
    token_sample: count tokens of at most so many queries. perplexity_family: lineage of the model that gave the
    perplexities, "" without one. Raises UserMistake.
    """
    run = open_run(run)
    _check(teachers, decide_by)
    names = [teacher.name for teacher in teachers]
    tokens = TokenCounter(tokenizer, run.folder / ".cache")
    population = read_run(run, names, tokens, token_sample)
    tokens.save()
    sampled = token_sample is not None and population.size > token_sample
    students = read_students(run, names, margins(margin))
    report = describe(
        population, teachers, decide_by=decide_by, margin=margin, seed=seed, sampled=sampled, students=students,
        perplexity_family=perplexity_family,
    )  # fmt: skip
    report |= {
        "funnel": compare_views.funnel(run, population),
        "rejected": compare_views.rejected_rules(run),
        "contamination": compare_views.contamination(run),
    }
    report |= join(run, report, names, margins(margin))
    for name, rules in compare_views.verdict_rules(run).items():
        if name in report["teachers"]:
            report["teachers"][name]["verdict_rules"] = rules
    if run.audit_json.exists():
        report["audit"] = orjson.loads(run.audit_json.read_bytes())["teachers"]
    report["made"] = made(tokens, population, token_sample if sampled else None, seed)
    # what distill proved of money, and whether the forecast held: null where there is none
    report["account"] = read_json(run.responses / "account.json")
    report["forecast_check"] = read_json(run.folder / "forecast_check.json")
    write_json(run.report_json, report)
    return {"teachers": len(names), "queries": population.size, "parallel": int(report["parallel"])}


def join(run: Run, report: Mapping[str, Any], names: Sequence[str], allowed: Mapping[str, float]) -> dict[str, Any]:
    """What report.json says of data, students and money together; nothing without students."""
    made, pairs = read_evaluations(run.evaluations)
    rows = joined(report["teachers"], made, pairs)
    decision = report["decision"]
    if decision["basis"] == "students" and (told := notes(rows, decision["teacher"])):
        decision = decision | {"sentence": " ".join([decision["sentence"], *told])}
    return {"joined": rows, "student_pairs": student_pairs(pairs, names, allowed["rate"]), "decision": decision}


def compare_datasets(
    paths: Sequence[Path],
    out: Path,
    *,
    reader: Part | Reader,
    tokenizer: Part | Tokenizer | None = None,
    token_sample: int | None = None,
    margin: float | Mapping[str, float] | None = None,
    filters: Sequence[Part | Filter] = (),
    engine: Engine | None = None,
    seed: int = 1,
) -> dict[str, Any]:
    """Write report.json about datasets that exist already, and samples of them for the report. Returns its counts,
    and those of each dataset.

    reader: `path -> replies` with query, response, score, perplexity, model_name, problem (or its Part, which is
    given `path`). What passed is all such datasets hold, so first attempts, yields and money are null. token_sample:
    count tokens of at most so many queries of each, the same ones. filters: what they would drop of a sample is told.
    engine: reads the datasets side by side; the local one without. Raises UserMistake.
    """
    names = dataset_names(paths)
    out.mkdir(parents=True, exist_ok=True)
    cache = out / ".cache"
    shards = [
        Shard(name, path, reader, tokenizer, cache / name, token_sample, tuple(filters))
        for name, path in zip(names, paths, strict=True)
    ]
    workers = 1 if size_of(paths) < WORTH_PROCESSES else None
    with contextlib.nullcontext(engine) if engine is not None else make_engine("local", workers=workers) as local:
        population, every = read_datasets(shards, local)
    sampled = token_sample is not None and any(columns.keys.size > token_sample for columns in every)
    specs = [TeacherSpec(columns.name, Part(""), model=_model(columns)) for columns in every]
    report = describe(population, specs, decide_by=None, margin=margin, seed=seed, sampled=sampled)
    report["matching"] = matching(population, every)
    report["would_drop"] = {c.name: {"checked": c.checked, "rules": c.drops} for c in every}
    tokens = TokenCounter(tokenizer, None)
    tokens.counted = sum(columns.counted for columns in every)
    report["made"] = made(tokens, population, token_sample if sampled else None, seed)
    write_samples(out / "samples.parquet", every)
    write_json(out / "report.json", report)
    return {
        "datasets": len(names), "queries": population.size, "parallel": int(report["parallel"]),
        **({"tokens_of_queries_each": token_sample} if sampled else {}), **report["matching"],
    }  # fmt: skip


def _model(columns: Columns) -> str:
    """The model that the rows name, where they agree."""
    named = {name for name in columns.models if name}
    return named.pop() if len(named) == 1 else ""


def _check(teachers: Sequence[TeacherSpec], decide_by: str | None) -> None:
    if decide_by is not None and decide_by not in MEASURES_TO_DECIDE_BY:
        raise UserMistake(f"decide_by: {decide_by} is not one of {', '.join(MEASURES_TO_DECIDE_BY)}")
    names = [teacher.name for teacher in teachers]
    if len(set(names)) != len(names):
        raise UserMistake(f"two teachers have one name: {', '.join(sorted(names))}")


def describe(
    population: Population,
    teachers: Sequence[TeacherSpec],
    *,
    decide_by: str | None,
    margin: float | Mapping[str, float] | None,
    seed: int,
    sampled: bool,
    students: Students | None = None,
    perplexity_family: str = "",
) -> dict[str, Any]:
    """The figures of report.json that come from the population alone."""
    allowed = margins(margin)
    everything = np.ones(population.size, np.bool_)
    sections: dict[str, dict[str, Any]] = {}
    for spec in teachers:
        side = population.sides[spec.name]
        whole = section(population, side, everything, seed=seed, sampled=sampled)
        whole["categories"] = {
            name: section(population, side, population.category == code, seed=seed, sampled=sampled)
            for code, name in enumerate(population.categories)
        }
        add_shares(whole["categories"])
        whole |= {"accepted_rules": side.rules, "dropped_rules": side.dropped}
        whole["finish_reasons"] = dict(sum((Counter(part) for part in side.finish.values()), Counter[str]()))
        for name, part in whole["categories"].items():
            part["finish_reasons"] = side.finish.get(name, {})
        whole["facts"] = facts_of(spec)
        sections[spec.name] = whole
    pairs = primary(population, allowed, Effort(seed))
    students = students or Students()
    pairs += students.pairs
    measure = compare_decision.choose_measure(sections, decide_by, students=len(students.means) > 1)
    notes = [*(unpriced_notes(population) if measure == "cost_per_verified" else ()), *terms_notes(teachers)]
    decision = compare_decision.decide(sections, pairs, measure, students=students.means, notes=notes)
    if decision["basis"] == "students" and (note := students.against_controls(decision["teacher"])):
        decision["sentence"] += f" {note}"
    return {
        "teachers": sections,
        "parallel": int(population.parallel.sum()),
        "pairs": pairs,
        "decision": decision,
        "exploratory": exploratory(population, allowed, Effort(seed, resamples=1000, permutations=1999)),
        "queries": population.size,
        "categories": {
            name: int((population.category == code).sum()) for code, name in enumerate(population.categories)
        },
        "wins": [] if population.selected else compare_views.wins(population),
        "overlap": compare_views.overlap(population),
        "difficulty": [] if population.selected else compare_views.difficulty(population, seed),
        "figures": figures(population, sampled=sampled),
        "by_category": compare_views.by_category(population, seed),
        "token_bins": compare_views.log_bins({n: side.tokens[side.kept] for n, side in population.sides.items()}),
        "first_token_bins": compare_views.log_bins({n: side.first_tokens for n, side in population.sides.items()}),
        "margin": allowed,
        "decide_by": decide_by,
        "students": students.rows,
        "controls": students.controls,
        "adaptive": students.adaptive,
        "predicted": predicted(students, sections),
        "caveats": caveats(population, teachers, students, perplexity_family),
    }


def caveats(
    population: Population, teachers: Sequence[TeacherSpec], students: Students, perplexity_family: str = ""
) -> list[str]:
    """What a reader must know before believing a figure."""
    out = []
    models = {teacher.model for teacher in teachers}
    if not population.selected and population.first_tokens_by == "endpoints" and len(models) > 1:
        out.append("Lengths of first attempts are as each endpoint counted them: their tokenizers may differ.")
    silent = [teacher.name for teacher in teachers if teacher.thinking == "none"]
    if silent and len(silent) < len(teachers):
        out.append(f"{', '.join(silent)} do not think before they answer; their lengths are of answers alone.")
    kin = [teacher.name for teacher in teachers if teacher.family and teacher.family in students.families]
    if kin:
        out.append(
            f"{', '.join(kin)} and the students are of one base family: a lower loss, a lower perplexity and some of "
            "the gain may be that match, not better teaching."
        )
    near = [teacher.name for teacher in teachers if teacher.family and teacher.family == perplexity_family]
    if near:
        out.append(f"The perplexity model is of the family of {', '.join(near)}: it finds its kin's replies likelier.")
    out += unpriced_notes(population)
    for terms, words in (("no", "do not allow training on"), ("unknown", "do not say whether one may train on")):
        named = [teacher.name for teacher in teachers if teacher.terms == terms]
        if named:
            out.append(f"The terms of {', '.join(named)} {words} their replies.")
    return out


def unpriced_notes(population: Population) -> list[str]:
    """What costs must not be read without: judges without a price were asked about teachers that have one."""
    free = {name: side.unpriced_judges for name, side in population.sides.items() if not np.isnan(side.cost).all()}
    told = " and ".join(f"{n:,} about {name}" for name, n in free.items() if n)
    return [f"Judges without a price gave replies ({told}): the costs are without them."] if told else []


def terms_notes(teachers: Sequence[TeacherSpec]) -> list[str]:
    """What the decision must not be read without."""
    named = [teacher.name for teacher in teachers if teacher.terms == "no"]
    return [f"Training on the replies of {', '.join(named)} is not allowed by their terms."] if named else []


def facts_of(spec: TeacherSpec) -> dict[str, Any]:
    """What a reader wants to know of a teacher; never its endpoints or keys."""
    price = spec.price
    return {
        "model": spec.model,
        "family": spec.family,
        "thinking": spec.thinking,
        "terms": spec.terms,
        "licence": spec.licence,
        "max_tokens": spec.max_tokens,
        "price": None if price is None else {k: v for k, v in asdict(price).items() if v is not None},
    }


def made(tokens: TokenCounter, population: Population, sample: int | None, seed: int) -> dict[str, Any]:
    """How the figures were made."""
    return {
        "stillhouse": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "tokenizer": tokens.name,
        "tokens_counted": tokens.counted,
        "tokens_remembered": tokens.remembered,
        "token_sample": sample,
        "first_tokens_by": None if population.selected else population.first_tokens_by,
        "seed": seed,
    }


def read_json(file: Path) -> Any:
    """The value of a file that another stage wrote; None without one."""
    try:
        return orjson.loads(file.read_bytes())
    except FileNotFoundError:
        return None


def write_json(file: Path, value: Any) -> None:
    """Write atomically; what is not finite becomes null."""
    partial = file.with_name(file.name + ".partial")
    with partial.open("wb") as out:
        out.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY))
        out.flush()
        os.fsync(out.fileno())
    partial.replace(file)
