"""A benchmark out of any source of queries: what the teachers were never asked, to see what a student learnt.

In: a source (as a part) and the folder of the queries that were trained on. Out: Benchmark without those queries. Its
score speaks of queries of the source's own kinds, and of nothing else: a probe, not a benchmark that others know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from stillhouse.benchmarks.benchmark import Benchmark
from stillhouse.records import Part, Query, UserMistake


def held_out(
    sources: Sequence[Part],
    apart_from: str | None = None,
    name: str = "held-out",
    samples: int = 4,
    items: int | None = None,
    max_tokens: int = 1024,
    temperature: float = 0.6,
    top_p: float = 0.95,
    suffix: str = "",
) -> Benchmark:
    """sources: parts that build sources; no query is taken twice. apart_from: a run's 1-queries; items: at most."""

    def made() -> Iterator[Query]:
        taken = _keys(apart_from)
        count = 0
        for source in sources:
            for query in source.build()():
                if query.key in taken or not query.messages or count == items:
                    continue
                taken.add(query.key)
                count += 1
                yield query

    return Benchmark(
        name, "mixed", samples, made, lambda query: query.text + suffix, max_tokens=max_tokens,
        temperature=temperature, top_p=top_p,
    )  # fmt: skip


def _keys(folder: str | None) -> set[str]:
    """Keys of all queries of a run, kept or rejected: also what was only looked at is no surprise."""
    if folder is None:
        return set()
    import pyarrow.parquet as pq

    files = [*Path(folder).glob("kept*.parquet"), *Path(folder).glob("rejected*.parquet")]
    if not files:
        raise UserMistake(f"held-out queries: there are no queries in {folder} to keep apart from")
    return {key for file in files for key in pq.read_table(file, columns=["key"])["key"].to_pylist()}
