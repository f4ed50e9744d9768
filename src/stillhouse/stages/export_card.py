"""Dataset cards: what a dataset holds, where it comes from, and what one may do with it.

In: counts and facts of teachers and sources. Out: README.md texts with the YAML head that the hub and `datasets`
read. Names of the user's are quoted, so that no value can change the meaning of the head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from stillhouse import __version__
from stillhouse.records import TeacherSpec

if TYPE_CHECKING:
    from stillhouse.stages.export_shards import Counts

SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)


def teacher_card(
    spec: TeacherSpec,
    whole: Counts | None,
    shared: Counts | None,
    sources: Sequence[Mapping[str, str]],
    *,
    run: str = "",
    tokens: str | None = None,
    kept: int = 0,
    parallel: int = 0,
) -> str:
    """The card of one teacher's dataset; without counts: of a dataset that its terms hold back."""
    if whole is None or shared is None:
        return _withheld_card(spec, sources, kept, parallel)
    head = {
        "license": "other",
        "license_name": spec.licence or "see-below",
        "task_categories": ["text-generation"],
        "tags": ["reasoning", "distillation", "verified"],
        "size_categories": [_size(whole.rows)],
        "configs": [{
            "config_name": "default",
            "data_files": [
                {"split": "superset", "path": "superset.parquet"}, {"split": "parallel", "path": "parallel.parquet"},
            ],
        }],
    }  # fmt: skip
    lines = [
        f"# Verified responses of {_plain(spec.name)}",
        "",
        f"Responses of `{_plain(spec.model or spec.name)}` to queries whose answers were verified, made by Stillhouse "
        f"{__version__}" + (f" in the run `{_plain(run)}`." if run else "."),
        "`superset` holds every query that this teacher answered; `parallel` those that every teacher of the run did.",
        "",
        "| | superset | parallel |",
        "|---|---:|---:|",
        f"| rows | {whole.rows:,} | {shared.rows:,} |",
        f"| with a think block | {whole.thinking:,} | {shared.thinking:,} |",
        *([f"| tokens by {_plain(tokens)} | {whole.tokens or 0:,} | {shared.tokens or 0:,} |"] if tokens else []),
        f"| completion tokens (as the endpoint counted) | {whole.completion_tokens:,} | {shared.completion_tokens:,} |",
        f"| dollars for these rows alone | {_money(whole.cost_usd)} | {_money(shared.cost_usd)} |",
        "",
        *(
            [f"{whole.withheld:,} rows are held back: the terms of their query source do not allow training.", ""]
            if whole.withheld
            else []
        ),
        *_table("category", whole.categories, shared.categories),
        *_table("verified by rule", whole.rules, shared.rules),
        *_table("query source", whole.sources, shared.sources),
        *_terms(spec, sources),
        "## Columns",
        "",
        "`messages` ends with the assistant's turn, thinking inline; `thinking` and `answer` hold its parts. `key` "
        "names the query by its content and is the same in every teacher's dataset; `response` is the last turn, and "
        "`response_key` names the reply in the journal. "
        "`verify_score` and `verify_rule` say how it was verified, `ppl` its perplexity where a filter measured it. "
        "`test_case` and `instruction_constrain` are JSON texts.",
        "",
    ]
    return _head(head) + "\n".join(lines)


def _withheld_card(spec: TeacherSpec, sources: Sequence[Mapping[str, str]], kept: int, parallel: int) -> str:
    lines = [
        f"# No training rows of {_plain(spec.name)}",
        "",
        f"The terms of this teacher do not allow training on its replies, so none were written. {kept:,} responses "
        f"were kept and compared, {parallel:,} of them in the parallel set; the figures are in the run's report.",
        "",
        *_terms(spec, sources),
    ]
    return _head({"license": "other", "tags": ["no-training-rows"]}) + "\n".join(lines)


def repository_card(
    teachers: Sequence[TeacherSpec],
    counts: Mapping[str, int],
    sources: Sequence[Mapping[str, str]],
    out: Path,
    run: str,
) -> str:
    """The card above the teachers: one config each, and the queries that were kept and rejected."""
    configs: list[dict[str, Any]] = [
        {
            "config_name": spec.name,
            "data_files": [{"split": s, "path": f"{spec.name}/{s}.parquet"} for s in ("superset", "parallel")],
        }
        for spec in teachers
        if spec.terms != "no"
    ]
    for name in ("queries", "rejected"):
        if (out / f"{name}.parquet").exists():
            taken = any(spec.name == name for spec in teachers)
            configs.append({"config_name": f"{name}-of-the-run" if taken else name,
                            "data_files": [{"split": "train", "path": f"{name}.parquet"}]})  # fmt: skip
    rows = [
        f"| {_plain(spec.name)} | {_plain(spec.model)} | {spec.terms} | "
        + ("none written" if spec.terms == "no" else f"{counts.get(spec.name, 0):,}") + " |"
        for spec in teachers
    ]  # fmt: skip
    lines = [
        f"# Parallel datasets of the run {_plain(run)}",
        "",
        f"The same queries answered by {len(teachers)} teachers, each answer verified. {counts['parallel']:,} queries "
        "are answered by all of them (split `parallel`); each teacher's `superset` is written too.",
        "",
        "| teacher | model | may be trained on | rows |",
        "|---|---|---|---:|",
        *rows,
        "",
        *_sources(sources),
    ]
    return _head(
        {"license": "other", "tags": ["reasoning", "distillation", "verified"], "configs": configs}
    ) + "\n".join(lines)


def _terms(spec: TeacherSpec, sources: Sequence[Mapping[str, str]]) -> list[str]:
    may = {"yes": "may be trained on", "no": "may not be trained on", "unknown": "are of UNKNOWN terms: find out first"}
    return [
        "## Terms",
        "",
        f"The replies of this teacher {may[spec.terms]}"
        + (f" (licence as stated in the recipe: {_plain(spec.licence)})." if spec.licence else "."),
        *_sources(sources),
    ]


def _sources(sources: Sequence[Mapping[str, str]]) -> list[str]:
    if not sources:
        return ["The licences of the query sources were not stated in the recipe.", ""]
    rows = [
        f"| {_plain(s.get('name', ''))} | {_plain(s.get('licence') or 'not stated')} | {s.get('terms', 'unknown')} |"
        for s in sources
    ]
    return ["", "| query source | licence | may be trained on |", "|---|---|---|", *rows, ""]


def _table(title: str, whole: Mapping[str, int], shared: Mapping[str, int]) -> list[str]:
    rows = [f"| {_plain(name)} | {count:,} | {shared.get(name, 0):,} |" for name, count in sorted(whole.items())]
    return [f"| {title} | superset | parallel |", "|---|---:|---:|", *rows, ""]


def _head(values: Mapping[str, Any]) -> str:
    return "---\n" + yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True) + "---\n"


def _plain(text: str) -> str:
    """A user's text inside a table: one line, no markup of its own."""
    return "".join("\\" + c if c in "|`*_[]<>\\" else c for c in " ".join(str(text).split()))


def _money(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _size(rows: int) -> str:
    return next((label for most, label in SIZES if rows < most), "n>10M")
