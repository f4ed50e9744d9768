"""Dataset cards: what a dataset holds, where it comes from, and what one may do with it.

In: counts and facts of teachers and sources. Out: README.md texts with the YAML head that the hub and `datasets`
read. Names of the user's are quoted, so that no value can change the meaning of the head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import yaml

from stillhouse import __version__
from stillhouse.records import TeacherSpec
from stillhouse.stats.boxes import summary

if TYPE_CHECKING:
    from stillhouse.exporting.shards import Counts

SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)


@dataclass(frozen=True)
class Made:
    """How a dataset was made. run: its name; tokens: the tokenizer's; verifiers: category -> version; dropped: what
    each filter's rule took away."""

    run: str = ""
    tokens: str | None = None
    verifiers: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)


def teacher_card(
    spec: TeacherSpec, whole: Counts, shared: Counts, sources: Sequence[Mapping[str, str]], made: Made
) -> str:
    """The card of one teacher's dataset. A split without rows is not named: `datasets` would load none of them."""
    splits = [name for name, counts in (("superset", whole), ("parallel", shared)) if counts.rows]
    head: dict[str, Any] = {
        "license": "other",
        "license_name": spec.licence or "see-below",
        "task_categories": ["text-generation"],
        "tags": ["reasoning", "distillation", "verified"],
        "size_categories": [_size(whole.rows)],
    }
    if splits:
        files = [{"split": name, "path": f"{name}.parquet"} for name in splits]
        head["configs"] = [{"config_name": "default", "data_files": files}]
    models = spec.model or ", ".join(sorted(name for name in whole.models if name)) or spec.name
    withheld = f"{whole.withheld:,} rows are held back: the terms of their query source do not allow training."
    lines = [
        f"# Verified responses of {_plain(spec.name)}",
        "",
        f"Responses of {_plain(models)} to queries whose answers were verified, made by Stillhouse "
        f"{__version__}" + (f" in the run {_plain(made.run)}." if made.run else "."),
        "`superset` holds every query that this teacher answered; `parallel` those that every teacher of the run did.",
        *([] if whole.rows else ["", "There are no rows: no reply of this teacher was kept."]),
        "",
        "| | superset | parallel |",
        "|---|---:|---:|",
        *(f"| {title} | {left} | {right} |" for title, left, right in _statistics(whole, shared, made)),
        "",
        *([withheld, ""] if whole.withheld else []),
        *_table("category", whole.categories, shared.categories),
        *_table("verified by rule", whole.rules, shared.rules),
        *_table("query source", whole.sources, shared.sources),
        *_provenance(spec, made),
        *_terms(spec, sources),
        "## Columns",
        "",
        "`messages` ends with the assistant's turn, thinking inline; `thinking` and `answer` hold its parts. `key` "
        "names the query by its content and is the same in every teacher's dataset; `response` is the last turn, and "
        "`response_key` names the reply in the journal. "
        "`verify_score` and `verify_rule` say how it was verified, `ppl` its perplexity given the query and "
        "`ppl_full` that of both, where a filter measured them. `test_case` and `instruction_constrain` are JSON "
        "texts.",
        "",
    ]
    return _head(head) + "\n".join(lines)


def _statistics(whole: Counts, shared: Counts, made: Made) -> Iterator[tuple[str, str, str]]:
    """The lines of the first table: what, of the superset, of the parallel set."""

    def line(title: str, told: Callable[[Counts], str]) -> tuple[str, str, str]:
        return title, told(whole), told(shared)

    yield line("rows", lambda c: f"{c.rows:,}")
    yield line("with a think block", lambda c: f"{c.thinking:,}")
    yield line("accepted at the first attempt", lambda c: f"{c.attempts[1]:,}")
    if made.tokens:
        yield line(f"tokens by {_plain(made.tokens)}", lambda c: f"{sum(c.lengths):,}")
        yield line("tokens of a row: mean, median (quartiles)", lambda c: _spread(c.lengths, ",.0f"))
    if whole.perplexity:
        yield line("perplexity: mean, median (quartiles)", lambda c: _spread(c.perplexity, ".2f"))
    yield line("completion tokens (as the endpoint counted)", lambda c: f"{c.completion_tokens:,}")
    yield line("dollars for these rows alone", lambda c: _money(c.cost_usd))


def _spread(values: Sequence[float], form: str) -> str:
    found = summary(np.array(values, np.float64))
    if found is None:
        return "-"
    mean, median, low, high = (format(found[name], form) for name in ("mean", "median", "q1", "q3"))
    return f"{mean}, {median} ({low} to {high})"


def _provenance(spec: TeacherSpec, made: Made) -> list[str]:
    dropped = ", ".join(f"{_plain(rule)} {count:,}" for rule, count in sorted(made.dropped.items())) or "none"
    versions = ", ".join(f"{_plain(name)} {_plain(version)}" for name, version in sorted(made.verifiers.items()))
    thinks = {"required": "must think", "optional": "may think", "none": "does not think"}[spec.thinking]
    return [
        "## How it was made",
        "",
        "Each query was asked again until a reply passed its category's verifier; what the verifier accepted went "
        "through the filters. The queries that were kept and rejected, with the rule and the matching text, stand "
        "beside this dataset.",
        "",
        f"- teacher: {thinks} before it answers; at most {spec.max_tokens:,} tokens a reply",
        *([f"- verifiers: {versions}"] if versions else []),
        f"- accepted replies that a filter dropped: {dropped}",
        "",
    ]


def withheld_card(spec: TeacherSpec, sources: Sequence[Mapping[str, str]], kept: int, parallel: int) -> str:
    """The card of a dataset whose teacher's terms hold it back."""
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
    configs: list[dict[str, Any]] = []
    for spec in teachers:
        files = {split: f"{spec.name}/{split}.parquet" for split in ("superset", "parallel")}
        configs += _config(spec.name, out, {} if spec.terms == "no" else files)
    for name in ("queries", "rejected"):
        taken = any(spec.name == name for spec in teachers)
        configs += _config(f"{name}-of-the-run" if taken else name, out, {"train": f"{name}.parquet"})
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
    head = {"license": "other", "tags": ["reasoning", "distillation", "verified"]}
    return _head(head | ({"configs": configs} if configs else {})) + "\n".join(lines)


def _config(name: str, out: Path, files: Mapping[str, str]) -> list[dict[str, Any]]:
    """A config of the splits that have rows, or none: `datasets` loads nothing of a config with an empty split."""
    full = [
        {"split": split, "path": path}
        for split, path in files.items()
        if (out / path).exists() and pq.read_metadata(out / path).num_rows
    ]
    return [{"config_name": name, "data_files": full}] if full else []


def _terms(spec: TeacherSpec, sources: Sequence[Mapping[str, str]]) -> list[str]:
    may = {"yes": "may be trained on", "no": "may not be trained on", "unknown": "are of UNKNOWN terms: find out first"}
    return [
        "## Terms",
        "",
        f"The replies of this teacher {may[spec.terms]}"
        + (f" (licence as stated in the recipe: {_plain(spec.licence)})." if spec.licence else "."),
        "",
        *_sources(sources),
    ]


def _sources(sources: Sequence[Mapping[str, str]]) -> list[str]:
    if not sources:
        return ["The licences of the query sources were not stated in the recipe.", ""]
    rows = [
        f"| {_plain(s.get('name', ''))} | {_plain(s.get('licence') or 'not stated')} | {s.get('terms', 'unknown')} |"
        for s in sources
    ]
    return ["| query source | licence | may be trained on |", "|---|---|---|", *rows, ""]


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
