"""Curate: which queries of the sources are asked, and why the others are not (the order of the paper's stages).

In: sources, query filters, benchmarks to avoid, a verifier per category. Out: `1-queries/kept*.parquet` sorted by key,
`rejected*.parquet` with rule and matching text, `contamination.json`, `curation.json`. Every row is in one of the two.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stillhouse.curating.deciding import Corpus, drop_benchmark_hits, drop_duplicates, drop_near_duplicates
from stillhouse.curating.reading import Judging, Piece, ReadPiece
from stillhouse.curating.semantic import drop_semantic_hits
from stillhouse.curating.tables import text_array
from stillhouse.curating.writing import Group, WriteGroup, Written
from stillhouse.engines.engine import Engine
from stillhouse.engines.shards import sweep, told_when_full, whole_file
from stillhouse.records import Part, UserMistake, canonical_json, content_hash
from stillhouse.store.run import Run
from stillhouse.store.tables import QUERIES, REJECTED, TableWriter

NEAR_DUPLICATES = Part("stillhouse.filters.near_duplicates:NearDuplicates")
CONTAMINATION = Part("stillhouse.filters.contamination:Contamination")
GROUP_ROWS = 25_000  # rows that are checked and written by one task
SMALL_GROUP_ROWS = 2_500  # the same where all rows come to no more than eight tasks
MOST_GROUPS = 512  # each opens every shard: more of them would make large pools quadratic
ONE_FILE_ROWS = 20_000  # up to here the parts become one file
HITS_TOLD = 1000  # hits of a benchmark that contamination.json spells out; rejected.parquet has all
_VERSION = 2  # of the shards' layout and of the rules, a part of the work folder's name


def curate(
    run: Run,
    *,
    sources: Sequence[Part],
    filters: Sequence[Part] = (),
    avoid: Sequence[tuple[str, Part]] = (),
    near_duplicates: Part | bool | None = True,
    embeddings: Part | None = None,
    verifiers: Mapping[str, Part] | None = None,
    supplied: Collection[str] = (),
    contamination: Part = CONTAMINATION,
    engine: Engine,
) -> dict[str, Any]:
    """Curate the rows of `sources`; of two that are alike the one of the earlier source stays.

    avoid: (benchmark's name, its source). supplied: categories whose missing references the recipe supplies otherwise.
    Killed and called again it goes on from the shards that were finished, under any engine. Returns the counts that
    stand in curation.json: in, kept, rejected, rules, sources, categories, benchmarks. Raises UserMistake.
    """
    near = NEAR_DUPLICATES if near_duplicates is True else near_duplicates or None
    verifiers = dict(verifiers or {})
    run.queries.mkdir(parents=True, exist_ok=True)
    pieces = list(_pieces(sources))
    benchmarks = list(_benchmark_items(avoid))
    work = _work_folder(run.queries, [
        [_described(p) for p in (*pieces, *filters, *verifiers.values(), contamination, *([near] if near else []))],
        sorted(verifiers), sorted(supplied), content_hash(*(text for _, _, text in benchmarks)), _VERSION,
    ])  # fmt: skip
    items = _write_benchmarks(benchmarks, work) if avoid else None
    judging = Judging(tuple(filters), verifiers, frozenset(supplied), near, contamination if items else None, items)
    shards: list[tuple[str, int]] = []
    for made in engine.imap(ReadPiece(judging), [Piece(n, part, work) for n, part in enumerate(pieces)]):
        shards += made
        run.status.update(curate={"read": sum(rows for _, rows in shards)})
    if not any(rows for _, rows in shards):
        raise UserMistake("the sources hold no row at all: " + ", ".join(str(_where(part)) for part in sources))
    corpus = Corpus.of(shards, work)
    drop_duplicates(corpus, engine)
    found: dict[str, Any] = {"near_duplicates": drop_near_duplicates(corpus, engine, near) if near else None}
    drop_benchmark_hits(corpus)
    if embeddings is not None and items is not None:
        found |= drop_semantic_hits(corpus, engine, embeddings, items)
    written = _write(corpus, engine, work, items, verifiers, supplied)
    counts = _counts(len(corpus.state), written, found, [name for name, _ in avoid])
    with told_when_full(run.queries):
        _publish(run.queries, written, counts, benchmarks)
    shutil.rmtree(work)
    run.status.update(curate=None)
    return counts


def _pieces(sources: Sequence[Part]) -> Iterator[Part]:
    """Each source, or the pieces it falls into, in the order of the recipe: what its `pieces(part)` says, else one a
    file where it tells its `files()` and takes a `path`."""
    for part in sources:
        source = part.build()
        split = getattr(source, "pieces", None)
        if split is not None:
            yield from split(part)
        elif hasattr(source, "files") and "path" in part.settings and part.settings.get("limit") is None:
            settings = {name: value for name, value in part.settings.items() if name != "folder"}
            yield from (Part(part.path, settings | {"path": file}) for file in source.files())
        else:
            yield part


def _where(part: Part) -> Any:
    return next((part.settings[name] for name in ("path", "hub", "mapping", "gym") if name in part.settings), part.path)


def _described(part: Part) -> list[Any]:
    """A spec with what its files look like now, so that a changed file is read again."""
    stats = []
    for value in part.settings.values():
        paths = [v for v in (value if isinstance(value, list | tuple) else [value]) if isinstance(v, str)]
        found = [Path(path) for path in paths if len(path) < 4096 and "\0" not in path]
        stats += [[f.stat().st_size, f.stat().st_mtime_ns] for f in found if f.is_file()]
    return [part.path, json.loads(json.dumps(part.settings, default=str)), stats]


def _work_folder(queries: Path, made_from: Any) -> Path:
    """Where shards are kept until the stage is done; shards of other settings are removed."""
    work = queries / f".work-{content_hash(canonical_json(made_from))[:16]}"
    for other in queries.glob(".work-*"):
        if other != work:
            shutil.rmtree(other)
    work.mkdir(exist_ok=True)
    sweep(work)
    return work


def _benchmark_items(avoid: Sequence[tuple[str, Part]]) -> Iterator[tuple[str, str, str]]:
    """(benchmark, item, text) of everything to avoid. Raises UserMistake for benchmarks without text."""
    mistakes = []
    for name, part in avoid:
        filled = 0
        try:
            for query in part.build()():
                text = query.text.strip()
                if text:
                    filled += 1
                    yield name, query.id or query.origin or query.key, text
        except UserMistake as mistake:
            mistakes += [
                f"avoid: {name}: {problem}"
                + ("; in `avoid` that is `column: COLUMN`" if "`columns:" in problem else "")
                for problem in mistake.problems
            ]
            continue
        if not filled:
            mistakes.append(
                f"avoid: benchmark {name} has no text in any row: it is empty, or its questions stand in another "
                f"column: {{path: FILE, name: {name}, column: COLUMN}}"
            )
    if mistakes:
        raise UserMistake(*mistakes)


def _write_benchmarks(benchmarks: Sequence[tuple[str, str, str]], work: Path) -> Path:
    path = work / "avoid.parquet"
    names, items, texts = zip(*benchmarks, strict=True)
    columns = {"name": text_array(names), "item": text_array(items), "text": text_array(texts)}
    with whole_file(path) as place:
        pq.write_table(pa.table(columns), place)
    return path


def _write(
    corpus: Corpus, engine: Engine, work: Path, items: Path | None, verifiers: Mapping[str, Part],
    supplied: Collection[str],
) -> list[Written]:  # fmt: skip
    state, match = corpus.spill_state("decided"), work / "match.npy"
    with whole_file(match) as place, place.open("wb") as out:
        np.save(out, corpus.match)
    rows = len(corpus.state)
    # the same whatever the engine, so that the parts are the same files, and those that were finished serve again
    groups = max(min(-(-rows // GROUP_ROWS), MOST_GROUPS), min(-(-rows // SMALL_GROUP_ROWS), 8), 1)
    decided = hashlib.blake2b(corpus.state.tobytes() + corpus.match.tobytes(), digest_size=8).hexdigest()
    task = WriteGroup(
        corpus.spans(), state, match, items, tuple(corpus.hit_files), verifiers, frozenset(supplied), work, decided
    )
    ranges = [Group(n, (n << 64) // groups, ((n + 1) << 64) // groups - 1) for n in range(groups)]
    return list(engine.imap(task, ranges))


def _counts(
    rows: int, written: Sequence[Written], found: Mapping[str, Any], benchmarks: Sequence[str]
) -> dict[str, Any]:
    every: Counter[tuple[str, str, str]] = sum((w.counts for w in written), Counter())
    rules: Counter[str] = Counter()
    tallies: dict[str, dict[str, Counter[str]]] = {"sources": {}, "categories": {}}
    for (source, category, rule), count in every.items():
        rules[rule] += count
        for kind, name in (("sources", source), ("categories", category)):
            tally = tallies[kind].setdefault(name, Counter())
            tally["in"] += count
            tally[rule] += count
    kept, rejected = rules.pop("kept", 0), rules.total()
    if kept + rejected != rows:
        raise RuntimeError(f"curate read {rows} rows but kept {kept} and rejected {rejected}")
    return {
        "in": rows, "kept": kept, "rejected": rejected, "rules": dict(sorted(rules.items())),
        "sources": _plain(tallies["sources"]), "categories": _plain(tallies["categories"]),
        "benchmarks": list(benchmarks), **found,
    }  # fmt: skip


def _plain(tallies: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    return {name: dict(sorted(tally.items())) for name, tally in sorted(tallies.items())}


def _publish(
    queries: Path, written: Sequence[Written], counts: Mapping[str, Any], benchmarks: Sequence[tuple[str, str, str]]
) -> None:
    """Put the parts in place of what an earlier curate left. A kill here is made good: the stamp comes after."""
    for stem in ("kept", "rejected"):
        for old in [*queries.glob(f"{stem}.parquet"), *queries.glob(f"{stem}-*.parquet")]:
            old.unlink()
        parts = [Path(getattr(w, stem)) for w in written]
        if counts[stem] <= ONE_FILE_ROWS or len(parts) == 1:
            with TableWriter(queries / f"{stem}.parquet", QUERIES if stem == "kept" else REJECTED) as out:
                for part in parts:
                    out.write(pq.read_table(part))
        else:
            for number, part in enumerate(parts):
                part.replace(queries / f"{stem}-{number:05d}.parquet")
    for name, value in (("contamination", _contamination(written, benchmarks)), ("curation", counts)):
        with whole_file(queries / f"{name}.json") as place:
            place.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _contamination(written: Sequence[Written], benchmarks: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    """What was found of each benchmark: its items, the queries rejected by rule, and the hits with both texts."""
    out: dict[str, Any] = {}
    for name, _, _ in benchmarks:
        entry = out.setdefault(name, {"items": 0, "rejected": 0, "items_found": 0, "rules": {}, "hits": []})
        entry["items"] += 1
    seen = set()
    for item, rule, key, own_id, source, match in (hit for w in written for hit in w.hits):
        name, item_name, text = benchmarks[item]
        entry = out[name]
        entry["rejected"] += 1
        entry["rules"][rule] = entry["rules"].get(rule, 0) + 1
        if item not in seen:
            seen.add(item)
            entry["items_found"] += 1
        if len(entry["hits"]) < HITS_TOLD:
            entry["hits"].append({
                "key": key, "id": own_id, "source": source, "rule": rule, "match": match, "item": item_name,
                "item_text": text[:500],
            })  # fmt: skip
    return {"benchmarks": out, "hits_told_each": HITS_TOLD}
