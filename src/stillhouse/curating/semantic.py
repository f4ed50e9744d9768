"""Decontamination by meaning, the last and dearest look at the corpus: only rows that still stand are embedded.

In: the shards, the benchmarks' texts, an embedding part. Out: `HASH-semantic.arrow` in each shard, and states marked. A
shard that was embedded before a kill is not embedded again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stillhouse.curating.deciding import Corpus, drop_benchmark_hits
from stillhouse.curating.reading import ALIVE, MATCH_CHARACTERS, write_told
from stillhouse.engines.engine import Engine
from stillhouse.engines.shards import whole_file
from stillhouse.records import Part, canonical_json, content_hash

NAME = "semantic.arrow"


def drop_semantic_hits(corpus: Corpus, engine: Engine, part: Part, items: Path) -> dict[str, Any]:
    """Mark rows that stand so far and mean what a benchmark item means. Returns what is to be told of the model."""
    state = corpus.spill_state("semantic")
    made_from = content_hash(canonical_json([part.path, dict(part.settings)]))[:12]
    for _ in engine.imap(_Embed(state, part, items, made_from), corpus.spans()):
        pass
    drop_benchmark_hits(corpus, f"{made_from}-{NAME}")
    model = part.build()
    return {"embeddings": {"model": model.model, "threshold": model.threshold, "warning": model.warning}}


@dataclass(frozen=True, slots=True)
class _Embed:
    state: Path
    part: Part
    items: Path
    made_from: str

    def __call__(self, span: tuple[Path, int, int]) -> None:
        folder, start, end = span
        path = folder / f"{self.made_from}-{NAME}"
        if path.exists():
            return
        order = np.load(folder / "order.npy")
        stands = np.load(self.state, mmap_mode="r")[start:end][order] == ALIVE
        index = self.part.build().index(pq.read_table(self.items, columns=["text"])["text"].to_pylist())
        with pa.memory_map(str(folder / "rows.arrow")) as source, pa.ipc.open_file(source) as file:
            texts = file.read_all().select(["query"]).filter(pa.array(stands))["query"]
        hits = index.judge(pc.fill_null(texts, "").to_pylist())
        places = order[np.flatnonzero(stands)]
        told = [(int(places[h.row]), h.item, h.rule, "", h.match[:MATCH_CHARACTERS]) for h in hits]
        with whole_file(path) as place:
            write_told(place, told, np.load(folder / "position.npy"))
