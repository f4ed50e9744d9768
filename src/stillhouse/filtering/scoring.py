"""The part of filter that asks a model: perplexity of what the filters before it let through, shard by shard.

In: shard folders of filter, a scoring model, the filter that reads its replies. Out: shard folders with its verdicts,
what is left of the responses and of their token numbers. Runs in the run's own process: its calls are journaled, and
paid once.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from stillhouse.asking.scoring import ask_each
from stillhouse.engines.shards import whole_folder
from stillhouse.filtering.rows import filtered_row, queries_of
from stillhouse.records import Part, Query, Response, TeacherSpec, Verdict
from stillhouse.store.run import Run
from stillhouse.store.tables import FILTERED, RESPONSES, TableWriter, row_to_response, to_table

BATCH = 256  # responses whose texts are in memory, and asked about, at once


@dataclass(frozen=True, slots=True)
class Scoring:
    """model: who is asked; judge: the part with `conversation(query, response)` and `settle(reply)`; name: the rule's.

    budget_usd: of the whole run.
    """

    model: TeacherSpec
    judge: Part
    name: str = "perplexity"
    budget_usd: float | None = None


def score_shards(
    run: Run, scoring: Scoring, threshold: float, accepted: Path, queries: Sequence[Path], shards: Sequence[Path]
) -> list[Path]:
    """A folder `scored-N` for each `shard-N`; those that stand already are not made again."""
    judge: Any = Part(scoring.judge.path, {**scoring.judge.settings, "threshold": threshold}).build()
    made = [shard.with_name(shard.name.replace("shard-", "scored-")) for shard in shards]
    todo = [(old, new) for old, new in zip(shards, made, strict=True) if not new.exists()]
    pending: list[tuple[Path, Path, list[tuple[int, Response]]]] = []

    def batches() -> Iterator[list[tuple[str, Query]]]:
        for old, new in todo:
            left = np.load(old / "left.npy")
            for start in range(0, max(1, len(left)), BATCH):
                places = left[start : start + BATCH].tolist()
                responses = _read(accepted, old, places)
                asked = queries_of(responses, queries)
                pending.append((old, new, list(zip(places, responses, strict=True))))
                yield [(r.query, judge.conversation(asked[r.query], r)) for r in responses]

    rows: list[dict[str, Any]] = []
    fate: dict[int, bool] = {}
    for replies in ask_each(run, scoring.model, batches(), purpose=scoring.name, budget_usd=scoring.budget_usd):
        old, new, given = pending.pop(0)
        for (place, response), reply in zip(given, replies, strict=True):
            verdict: Verdict = judge.settle(reply)
            rows.append(filtered_row(response, scoring.name, verdict))
            fate[place] = verdict.outcome != "fail"
        if len(fate) == len(np.load(old / "left.npy")):
            _write(old, new, rows, fate)
            rows, fate = [], {}
    return made


def _read(accepted: Path, shard: Path, places: Sequence[int]) -> list[Response]:
    """Responses of a shard by their places in it."""
    if not places:
        return []
    first, last = np.load(shard / "groups.npy").tolist()
    with pq.ParquetFile(accepted) as file:
        table = file.read_row_groups(list(range(first, last)), columns=RESPONSES.names)
    return [row_to_response(row) for row in table.take(places).to_pylist()]


def _write(old: Path, new: Path, rows: Sequence[dict[str, Any]], fate: dict[int, bool]) -> None:
    left = np.load(old / "left.npy")
    stays = np.array([fate[place] for place in left.tolist()], bool)
    with whole_folder(new) as folder:
        for file in old.glob("verdicts*.parquet"):
            shutil.copy(file, folder / file.name)
        with TableWriter(folder / "verdicts-scored.parquet", FILTERED) as out:
            out.write(to_table(rows, FILTERED))
        np.save(folder / "groups.npy", np.load(old / "groups.npy"))
        np.save(folder / "left.npy", left[stays])
        if (old / "offsets.npy").exists():
            tokens, offsets = np.load(old / "tokens.npy", mmap_mode="r"), np.load(old / "offsets.npy")
            spans = [(a, b) for a, b, keep in zip(offsets[:-1], offsets[1:], stays, strict=True) if keep]
            kept = [np.asarray(tokens[a:b]) for a, b in spans]
            np.save(folder / "tokens.npy", np.concatenate([np.zeros(0, np.uint32), *kept]))
            np.save(folder / "offsets.npy", np.cumsum([0, *(b - a for a, b in spans)], dtype=np.int64))
