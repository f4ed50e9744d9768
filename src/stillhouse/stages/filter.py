"""Filter: which verified responses are good enough to train on, and why the others are not.

In: `2-responses/accepted-TEACHER.parquet`, kept queries, filters, corpus-wide rules. Out: `4-filters/TEACHER.parquet`,
a row for each response and filter that failed or could not tell, and each perplexity: kept = accepted - dropped.
"""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from stillhouse.engines.engine import Engine
from stillhouse.engines.parts import callable_of, part_name
from stillhouse.engines.shards import sweep, told_when_full, whole_file, whole_folder
from stillhouse.filtering.rows import filtered_row, queries_of
from stillhouse.filtering.scoring import Scoring, score_shards
from stillhouse.records import Part, Response, TeacherSpec, canonical_json, content_hash
from stillhouse.store.run import Run
from stillhouse.store.tables import (
    FILTERED,
    RESPONSES,
    TableWriter,
    row_to_response,
    table_files,
    to_table,
)

TOKENS = Part("stillhouse.filters.tokens:Tokens")
SHARD_GROUPS = 2  # row groups of accepted responses that one task filters
MATCH_CHARACTERS = 400


def filter(
    run: Run,
    *,
    teachers: Sequence[TeacherSpec],
    filters: Sequence[Part] = (),
    corpus: Sequence[Part] = (),
    tokenizer: Part | None = None,
    scoring: Scoring | None = None,
    engine: Engine,
) -> dict[str, dict[str, Any]]:
    """Judge every accepted response. A response goes by its first failing filter; corpus rules count what is left.

    filters: parts of (query, response), or with `judge(pairs)` where they judge a batch. A filter that takes a
    `tokenizer` gets the recipe's, one that takes `threshold` the teacher's perplexity threshold. scoring: a model that
    is asked about what the filters let through, before the corpus rules; without one that filter is off, and the counts
    say so. Raises scoring.Unanswered where it could not be asked to the end. Returns per teacher: accepted, dropped,
    kept, rules, unknown. Called again after a kill it goes on from the finished shards.
    """
    run.filters.mkdir(parents=True, exist_ok=True)
    queries = table_files(run.queries, "kept")
    counts = {}
    for spec in teachers:
        accepted = run.responses / f"accepted-{spec.name}.parquet"
        if accepted.exists():
            counts[spec.name] = _filter_teacher(
                run, spec, accepted, queries, filters, corpus, tokenizer, scoring, engine
            )
    for stray in run.filters.glob("*.parquet"):
        if stray.stem not in counts:
            stray.unlink()  # of a teacher that the recipe no longer has
    with whole_file(run.filters / "filters.json") as place:
        place.write_text(json.dumps(counts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return counts


def _filter_teacher(
    run: Run, spec: TeacherSpec, accepted: Path, queries: Sequence[Path], filters: Sequence[Part],
    corpus: Sequence[Part], tokenizer: Part | None, scoring: Scoring | None, engine: Engine,
) -> dict[str, Any]:  # fmt: skip
    stats = [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in (accepted, *queries)]
    described = [[p.path, json.loads(json.dumps(p.settings, default=str))] for p in (*filters, *corpus)]
    made_from = [
        stats,
        described,
        tokenizer and tokenizer.path,
        tokenizer and dict(tokenizer.settings),
        spec.perplexity,
        scoring and [scoring.model.part.path, json.loads(json.dumps(dict(scoring.model.part.settings), default=str))],
    ]
    work = run.filters / f".work-{spec.name}-{content_hash(canonical_json(made_from))[:16]}"
    for other in run.filters.glob(f".work-{spec.name}-*"):
        if other != work:
            shutil.rmtree(other)
    work.mkdir(exist_ok=True)
    sweep(work)
    with pq.ParquetFile(accepted) as file:
        groups, total = file.num_row_groups, file.metadata.num_rows
    task = _JudgeShard(accepted, tuple(queries), tuple(filters), tokenizer, bool(corpus), spec.perplexity, work)
    shards = list(engine.imap(task, [(g, min(g + SHARD_GROUPS, groups)) for g in range(0, groups, SHARD_GROUPS)]))
    if scoring is not None:
        shards = score_shards(run, scoring, spec.perplexity, accepted, queries, shards)
    for part in corpus:
        _judge_corpus(part, accepted, shards, tokenizer, work, engine)
    rules: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    with told_when_full(run.filters), TableWriter(run.filters / f"{spec.name}.parquet", FILTERED) as out:
        for shard in shards:
            for file in sorted(shard.glob("verdicts*.parquet")):
                table = pq.read_table(file)
                out.write(table)
                for outcome, rule in zip(table["outcome"].to_pylist(), table["rule"].to_pylist(), strict=True):
                    if outcome != "pass":
                        (rules if outcome == "fail" else unknown)[rule] += 1
    shutil.rmtree(work)
    dropped = rules.total()
    names = [part_name(p) for p in filters] + ([scoring.name] if scoring else []) + [part_name(p) for p in corpus]
    return {
        "accepted": total, "dropped": dropped, "kept": total - dropped, "rules": dict(sorted(rules.items())),
        "unknown": dict(sorted(unknown.items())), "filters": names,
        "unit": _tokens(tokenizer).unit,
        **_told_of(scoring, spec.perplexity),
    }  # fmt: skip


def _told_of(scoring: Scoring | None, threshold: float) -> dict[str, str]:
    """What a user has to know of the filter that needs a model."""
    if scoring is None:
        return {"off": "perplexity (no model is configured)"}
    if math.isinf(threshold):
        return {"off": "perplexity as a filter (measured, but the paper's thresholds are not for the embedded model: "
                "name the teacher's own with `perplexity: N`)"}  # fmt: skip
    return {}


@dataclass(frozen=True, slots=True)
class _JudgeShard:
    """Callable of the engine: filters some row groups, and spills the token numbers of what is left."""

    accepted: Path
    queries: tuple[Path, ...]
    filters: tuple[Part, ...]
    tokenizer: Part | None
    spill: bool
    threshold: float
    work: Path

    def __call__(self, span: tuple[int, int]) -> Path:
        folder = self.work / f"shard-{span[0]:06d}"
        if folder.exists():
            return folder
        tokens = _tokens(self.tokenizer)
        judges = [(part_name(p), callable_of(p, tokenizer=tokens, threshold=self.threshold)) for p in self.filters]
        with pq.ParquetFile(self.accepted) as file:
            rows = file.read_row_groups(list(range(*span)), columns=RESPONSES.names).to_pylist()
        responses = [row_to_response(row) for row in rows]
        queries = queries_of(responses, self.queries)
        texts = [_text(response) for response in responses]
        if judges or self.spill:
            tokens.learn(texts)
        rows, stands = [], [True] * len(responses)
        for name, judge in judges:
            pairs = [(queries[r.query], r) for r, stand in zip(responses, stands, strict=True) if stand]
            verdicts = judge.judge(pairs) if hasattr(judge, "judge") else [judge(q, r) for q, r in pairs]
            places = [i for i, stand in enumerate(stands) if stand]
            for place, verdict in zip(places, verdicts, strict=True):
                if verdict.outcome != "pass":
                    rows.append(filtered_row(responses[place], name, verdict))
                stands[place] = verdict.outcome != "fail"
        with whole_folder(folder) as place_:
            with TableWriter(place_ / "verdicts.parquet", FILTERED) as out:
                out.write(to_table(rows, FILTERED))
            left = [i for i, stand in enumerate(stands) if stand]
            np.save(place_ / "left.npy", np.array(left, np.int64))
            np.save(place_ / "groups.npy", np.array(span, np.int64))
            if self.spill:
                numbers = [tokens.of(texts[i]) for i in left]
                np.save(place_ / "tokens.npy", np.concatenate([np.zeros(0, np.uint32), *numbers]))
                np.save(place_ / "offsets.npy", np.cumsum([0, *(len(n) for n in numbers)], dtype=np.int64))
        return folder


def _judge_corpus(
    part: Part, accepted: Path, shards: Sequence[Path], tokenizer: Part | None, work: Path, engine: Engine
) -> None:
    """A corpus-wide rule: count over all shards, split by hash, then judge each shard by the counts."""
    files = [(shard / "tokens.npy", shard / "offsets.npy") for shard in shards]
    windows = sum(int(np.load(offsets, mmap_mode="r")[-1]) for _, offsets in files)
    splits = part.build().splits(windows, engine.workers)
    counted = list(engine.imap(_CountSplit(part, files, splits, windows), range(splits)))
    frequent = part.build().merge(counted)
    list(engine.imap(_JudgeCounted(part, accepted, tokenizer, frequent), shards))


@dataclass(frozen=True, slots=True)
class _CountSplit:
    part: Part
    files: list[tuple[Path, Path]]
    splits: int
    windows: int

    def __call__(self, split: int) -> Any:
        return self.part.build().count(self.files, split, self.splits, self.windows)


@dataclass(frozen=True, slots=True)
class _JudgeCounted:
    part: Part
    accepted: Path
    tokenizer: Part | None
    frequent: Any

    def __call__(self, shard: Path) -> None:
        rule, name = self.part.build(), part_name(self.part)
        tokens, offsets = np.load(shard / "tokens.npy"), np.load(shard / "offsets.npy")
        left = np.load(shard / "left.npy")
        failed = [
            (int(left[i]), verdict, at)
            for i, (verdict, at) in enumerate(rule.judge(tokens, offsets, self.frequent))
            if verdict.outcome != "pass"
        ]
        first, last = np.load(shard / "groups.npy").tolist()
        rows = []
        if failed:
            spell = _tokens(self.tokenizer)
            with pq.ParquetFile(self.accepted) as file:
                table = file.read_row_groups(list(range(first, last)), columns=RESPONSES.names)
            held = table.take([place for place, _, _ in failed]).to_pylist()
            for row, (_, verdict, at) in zip(held, failed, strict=True):
                response = row_to_response(row)
                match = spell.passage(_text(response), at, at + rule.width - 1) if at >= 0 else ""
                rows.append(filtered_row(response, name, verdict, match[:MATCH_CHARACTERS]))
        with told_when_full(shard), TableWriter(shard / f"verdicts-{name}.parquet", FILTERED) as out:
            out.write(to_table(rows, FILTERED))


def _tokens(tokenizer: Part | None) -> Any:
    return Part(TOKENS.path, {"tokenizer": tokenizer.build() if tokenizer is not None else None}).build()


def _text(response: Response) -> str:
    return f"{response.reasoning}\n{response.text}" if response.reasoning else response.text
