"""Curate: order of the steps, counts that add up, and what a rejected row tells."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from stillhouse.engines.engine import ShardFailed, make_engine
from stillhouse.engines.local import Local
from stillhouse.records import Message, Part, UserMistake, query_key
from stillhouse.stages.curate import curate
from stillhouse.store.run import Run
from stillhouse.store.tables import read_rows, table_files

sys.path.insert(0, str(Path(__file__).parent))  # workers get this path too

FILTERS = [
    Part(f"stillhouse.filters.query_text:{name}")
    for name in ("oversized", "odd_characters", "incomplete", "url", "table", "image")
]
LONG = (
    "A farmer has 17 sheep and sells 9 of them at the market before noon, then buys 4 more from his neighbour on the "
    "way home; how many sheep does the farmer have when he arrives at home in the evening?"
)


WHOLE = {"math": Part("curate_parts:Whole")}
NAMES = ["farmer", "baker", "weaver", "painter", "smith", "sailor", "teacher"]


def rows(*given: dict[str, Any], source: str = "rows", category: str = "math") -> Part:
    return Part("curate_parts:Rows", {"rows": list(given), "source": source, "category": category})


def counted(folder: Path, number: int, fail: str | None) -> Part:
    """A source of one row that notes in `logN` when it is read, and fails while the file `fail` is missing."""
    notes = {"log": str(folder / f"log{number}"), "fail": str(folder / fail) if fail else None}
    return Part("curate_parts:Counted", {"notes": notes, "rows": [{"id": str(number), "query": f"Add {number} to 1"}]})


def curated(
    folder: Path, sources: list[Part], *, workers: int = 1, **settings: Any
) -> tuple[dict[str, Any], dict, dict]:
    settings = {"filters": FILTERS} | settings
    with Run(folder) as run, Local(workers) as engine:
        counts = curate(run, sources=sources, engine=engine, **settings)
        kept = {row["id"] or row["query"]: row for row in read_rows(table_files(run.queries, "kept"))}
        rejected = {row["id"] or row["query"]: row for row in read_rows(table_files(run.queries, "rejected"))}
    assert counts["in"] == counts["kept"] + counts["rejected"]
    assert counts["rejected"] == sum(counts["rules"].values())
    return counts, kept, rejected


def test_every_rule_says_why_and_counts_add_up(tmp_path: Path) -> None:
    first = rows(
        {"id": "good", "query": "What is 1 + 1?", "ground_truth": "2"},
        {"id": "no text", "query": "  ", "ground_truth": "2"},
        {"id": "no reference", "query": "What is 1 + 2?"},
        {"id": "bad reference", "query": "What is 1 + 3?", "ground_truth": "four"},
        {"id": "link", "query": "See https://example.com/a and answer 3", "ground_truth": "2"},
        {"id": "cut", "query": "Compute $3 + x", "ground_truth": "2", "messages": [("user", "Compute \\[3 + x")]},
        {"id": "long", "query": LONG, "ground_truth": "12"},
        {"id": "exam", "query": "what is 6 times 7 ?", "ground_truth": "42"},
        source="first",
    )
    second = rows(
        {"id": "copy", "query": " What is 1 + 1?\n", "ground_truth": "2"},
        {"id": "near", "query": LONG.replace("in the evening", "in the night"), "ground_truth": "12"},
        {"id": "other number", "query": LONG.replace("17", "18"), "ground_truth": "12"},
        {"id": "other reference", "query": LONG.replace("the evening", "the night"), "ground_truth": "13"},
        {"id": "one", "query": "What is 2 + 2?", "ground_truth": "4"},
        {"id": "two", "query": "What is 2 + 2?", "ground_truth": "5"},
        source="second",
    )
    exam = rows({"id": "e1", "query": "What is 6 times 7?"}, source="exam")
    _, kept, rejected = curated(tmp_path, [first, second], avoid=[("exam", exam)], verifiers=WHOLE)
    assert set(kept) == {"good", "long", "other number"}
    told = {name: (row["rule"], row["match_source"]) for name, row in rejected.items()}
    assert told == {
        "no text": ("no_text", None),
        "no reference": ("no_reference", None),
        "bad reference": ("self_check", None),
        "link": ("url", None),
        "cut": ("incomplete", None),
        "exam": ("benchmark_equal", "exam"),
        "copy": ("duplicate", "first"),
        "near": ("conflicting_reference", "second"),
        "other reference": ("conflicting_reference", "second"),
        "one": ("conflicting_reference", "second"),
        "two": ("conflicting_reference", "second"),
    }


def test_near_duplicates_name_the_row_that_stays(tmp_path: Path) -> None:
    near = LONG.replace("in the evening", "at night")
    source = rows(
        {"id": "a", "query": LONG, "ground_truth": "12"},
        {"id": "b", "query": near, "ground_truth": "12"},
        {"id": "c", "query": near.replace("farmer", "shepherd", 1), "ground_truth": "13"},
    )
    counts, kept, rejected = curated(tmp_path / "on", [source])
    assert set(kept) == {"a", "c"}
    assert (rejected["b"]["rule"], rejected["b"]["match"], rejected["b"]["match_source"]) == (
        "near_duplicate", LONG, "rows",
    )  # fmt: skip
    assert "rows:1" in rejected["b"]["reason"] and counts["near_duplicates"]["similar"] == 1
    assert curated(tmp_path / "off", [source], near_duplicates=False)[0]["kept"] == 3


def test_the_first_source_wins_and_references_that_agree_are_no_conflict(tmp_path: Path) -> None:
    sources = [
        rows(*({"id": f"{name}-{n}", "query": f"What are {n} halves of it?"} | ({"ground_truth": gt} if gt else {})
               for n, gt in enumerate(answers)), source=name)
        for name, answers in {"x": ["0.5", "\\boxed{7}", "$3$", None, "A"], "y": ["1/2", "7", "3.0", "4", "b"]}.items()
    ]  # fmt: skip
    _, kept, rejected = curated(tmp_path, sources, near_duplicates=False)
    assert set(kept) == {"x-0", "x-1", "x-2", "x-3"}
    assert {name: row["rule"] for name, row in rejected.items()} == {
        "y-0": "duplicate", "y-1": "duplicate", "y-2": "duplicate", "y-3": "duplicate",
        "x-4": "conflicting_reference", "y-4": "conflicting_reference",
    }  # fmt: skip
    assert "'A'" in rejected["y-4"]["reason"] and "'b'" in rejected["y-4"]["reason"]


def test_a_copy_with_a_reference_wins_over_one_without_where_it_is_needed(tmp_path: Path) -> None:
    source = rows(
        {"id": "bare", "query": "What is 8 + 8?"},
        {"id": "full", "query": "What is 8 + 8?", "ground_truth": "16"},
    )
    _, kept, rejected = curated(tmp_path / "needed", [source], verifiers=WHOLE)
    assert set(kept) == {"full"} and rejected["bare"]["rule"] == "no_reference"
    _, kept, rejected = curated(tmp_path / "supplied", [source], verifiers=WHOLE, supplied=["math"])
    assert set(kept) == {"bare"} and rejected["full"]["rule"] == "duplicate"


def test_benchmarks_are_told_with_the_matching_text(tmp_path: Path) -> None:
    exam = rows({"id": "exam-1", "query": LONG}, {"id": "exam-2", "query": "Name the capital of Peru."}, source="e")
    turns = [("user", "Hello to you all"), ("assistant", "Hello"), ("user", "name the capital of peru")]
    source = rows(
        {"id": "part", "query": "Tell me: " + LONG[:70] + "?", "ground_truth": "1"},
        {"id": "turns", "messages": turns, "ground_truth": "1"},
        {"id": "clean", "query": "How many legs have 3 dogs?", "ground_truth": "12"},
    )
    counts, kept, rejected = curated(tmp_path, [source], avoid=[("exam", exam)])
    assert set(kept) == {"clean"} and counts["benchmarks"] == ["exam"]
    assert rejected["part"]["rule"] == "benchmark_ngram" and rejected["turns"]["rule"] == "benchmark_equal"
    assert rejected["part"]["match"].startswith("A farmer has 17 sheep and sells 9 of them")
    told = json.loads((tmp_path / "1-queries" / "contamination.json").read_text())["benchmarks"]["exam"]
    assert (told["items"], told["items_found"], told["rejected"]) == (2, 2, 2)
    assert {hit["item"] for hit in told["hits"]} == {"exam-1", "exam-2"}
    assert {hit["id"] for hit in told["hits"]} == {"part", "turns"}


def test_kept_is_sorted_by_key_and_whole(tmp_path: Path) -> None:
    source = rows(*({"id": str(n), "query": f"What is {n} plus {n}?", "ground_truth": str(2 * n)} for n in range(3000)))
    with Run(tmp_path) as run, Local(2) as engine:
        counts = curate(run, sources=[source], filters=FILTERS, engine=engine)
        found = list(read_rows(table_files(run.queries, "kept")))
        assert not list(run.queries.glob(".work*"))
    keys = [row["key"] for row in found]
    assert keys == sorted(keys) and len(set(keys)) == 3000 == counts["kept"]
    assert {row["id"] for row in found} == {str(n) for n in range(3000)}
    row = next(row for row in found if row["id"] == "7")
    assert (row["query"], row["ground_truth"], row["origin"]) == ("What is 7 plus 7?", "14", "rows:8")
    assert row["key"] == query_key([Message("user", "What is 7 plus 7?")])


@pytest.mark.parametrize("workers", [1, 2])
def test_hostile_rows_are_rejected_with_a_reason_and_counted(tmp_path: Path, workers: int) -> None:
    source = rows(
        {"id": "huge", "query": "word " * 1_000_000, "ground_truth": "1"},
        {"id": "surrogate", "query": "What is \ud800 plus 1 for us?", "ground_truth": "2"},
        {"id": "nul", "query": "What is \x00 plus 1 for us?", "ground_truth": "2"},
        {"id": "empty", "messages": [], "extra": {"problem": "no column 'question'"}},
        {"id": "none"},
        {"id": "good", "query": "What is 1 plus 1 for us?", "ground_truth": "2"},
        {"id": "test", "query": "What is 1 plus 2 for us?", "test_case": {"inputs": ["\ud800"]}},
    )
    _, kept, rejected = curated(tmp_path, [source, rows(source="nothing")], workers=workers, verifiers=WHOLE)
    assert set(kept) == {"good"}
    assert {name: row["rule"] for name, row in rejected.items()} == {
        "huge": "oversized", "surrogate": "odd_characters", "nul": "odd_characters", "empty": "no_text",
        "none": "no_text", "test": "no_reference",
    }  # fmt: skip
    assert rejected["empty"]["reason"] == "no column 'question'"


def test_sources_without_any_row_are_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").touch()
    source = Part("stillhouse.sources.files:Files", {"path": str(tmp_path / "q.jsonl"), "category": "math"})
    with pytest.raises(UserMistake, match=r"the sources hold no row at all: .*q.jsonl"):
        curated(tmp_path / "run", [source])


def test_one_source_without_rows_beside_others_is_none(tmp_path: Path) -> None:
    counts, kept, _ = curated(tmp_path, [rows(source="nothing"), rows({"id": "x", "query": "What is 3 + 1?"})])
    assert (counts["in"], set(kept)) == (1, {"x"})


def test_a_benchmark_without_text_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match="benchmark blank has no text in any row"):
        curated(tmp_path, [rows({"query": "What is 1 + 1?"})], avoid=[("blank", rows({"query": " "}, {"id": "x"}))])


def test_a_verifier_that_hangs_dies_or_raises_costs_one_row(tmp_path: Path) -> None:
    source = rows(*({"id": name, "query": f"What is {name} plus 1 for us?", "ground_truth": name}
                    for name in ("1", "hang", "die", "raise", "2")))  # fmt: skip
    _, kept, rejected = curated(tmp_path, [source], verifiers={"math": Part("curate_parts:Hostile")})
    assert set(kept) == {"1", "2"}
    assert {row["rule"] for row in rejected.values()} == {"self_check"}
    assert "ZeroDivisionError" in rejected["raise"]["reason"]


def test_a_verifier_that_is_down_stops_the_stage_and_loses_nothing(tmp_path: Path) -> None:
    source = rows({"id": "1", "query": "What is 1 plus 1 for us?", "ground_truth": "down"})
    with pytest.raises(UserMistake, match="cannot check references now: no sandbox"):
        curated(tmp_path, [source], verifiers={"math": Part("curate_parts:Hostile")})
    assert curated(tmp_path, [source])[0]["in"] == 1


def test_a_users_own_filter_is_a_plain_function(tmp_path: Path) -> None:
    source = rows({"id": "cat", "query": "What is 1 cat plus 1?"}, {"id": "dog", "query": "What is 1 dog plus 1?"})
    _, kept, rejected = curated(tmp_path, [source], filters=[Part("curate_parts:no_cats")])
    assert set(kept) == {"dog"} and rejected["cat"]["rule"] == "no_cats"


def test_a_worker_killed_in_the_middle_of_a_piece_is_made_good(tmp_path: Path) -> None:
    given = [{"id": str(n), "query": f"What is {n} plus {n}?", "ground_truth": str(2 * n)} for n in range(100)]
    source = Part("curate_parts:DiesOnce", {"rows": given, "mark": str(tmp_path / "mark")})
    counts, kept, _ = curated(tmp_path / "run", [source, rows({"id": "x", "query": "What is 3?"})], workers=2)
    assert (tmp_path / "mark").exists()
    assert counts["in"] == len(kept) == 101


def test_a_stage_killed_half_way_goes_on_from_its_finished_pieces(tmp_path: Path) -> None:
    sources = [
        counted(tmp_path, n, "mended" if n == 2 else None)
        for n in range(4)
    ]  # fmt: skip
    with pytest.raises(ShardFailed, match="not yet"):
        curated(tmp_path / "run", sources)
    (tmp_path / "mended").touch()
    counts, _, _ = curated(tmp_path / "run", sources, workers=2)
    assert counts["in"] == 4
    assert [(tmp_path / f"log{n}").read_text() for n in range(4)] == ["read\n", "read\n", "read\nread\n", "read\n"]


def test_the_result_is_the_same_for_one_worker_and_several(tmp_path: Path) -> None:
    texts = [LONG.replace("evening", name).replace("17", str(n % 5)) for n, name in enumerate(NAMES * 20)]
    sources = [
        rows(
            *({"id": f"{s}-{n}", "query": text, "ground_truth": "1"} for n, text in enumerate(texts[s::3])),
            source=f"s{s}",
        )
        for s in range(3)
    ]
    exam = ("exam", rows({"query": "Tell us now: " + LONG.replace("17", "1")}))
    one = curated(tmp_path / "one", sources, avoid=[exam])
    two = curated(tmp_path / "two", sources, avoid=[exam], workers=2)
    assert one == two
    assert one[0]["rules"].keys() >= {"duplicate", "near_duplicate", "benchmark_ngram"}


def test_embeddings_find_what_words_do_not(tmp_path: Path) -> None:
    pytest.importorskip("wordllama")
    halves = LONG.split("; ")
    moved = f"{halves[1].rstrip('?').capitalize()}, when a farmer with 17 sheep sells 9 of them at the market before "
    moved += "noon and buys 4 more from a neighbour on the way home?"
    clean = "Which of the seven seas is the one that is named for a colour, and why is it so?"
    source = rows(*({"id": i, "query": text, "ground_truth": "1"} for i, text in (("moved", moved), ("clean", clean))))
    exam = ("exam", rows({"query": LONG}))
    embeddings = Part("stillhouse.filters.embeddings:Embeddings", {"model": "wordllama"})
    counts, kept, rejected = curated(tmp_path, [source], avoid=[exam], embeddings=embeddings)
    assert set(kept) == {"clean"}
    assert rejected["moved"]["rule"] in ("benchmark_embedding", "benchmark_ngram")
    assert counts["embeddings"]["model"] == "wordllama" and "light" in counts["embeddings"]["warning"]


@pytest.mark.slow
def test_a_run_killed_under_local_goes_on_under_ray_and_back(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    sources = [counted(tmp_path, n, f"mended{n}" if n in (2, 4) else None) for n in range(6)]

    def reads() -> list[int]:
        return [
            len((tmp_path / f"log{n}").read_text().split()) if (tmp_path / f"log{n}").exists() else 0 for n in range(6)
        ]

    for name, mended in (("local", 2), ("ray", 4), ("local", None)):
        finished = {int(path.name[-6:]) for path in (tmp_path / "run").glob("1-queries/.work-*/piece-*")}
        before = reads()
        with Run(tmp_path / "run") as run, make_engine(name, workers=2) as engine:
            if mended is None:
                assert curate(run, sources=sources, filters=FILTERS, engine=engine)["kept"] == 6
            else:
                with pytest.raises(ShardFailed, match="not yet"):
                    curate(run, sources=sources, filters=FILTERS, engine=engine)
                (tmp_path / f"mended{mended}").touch()
        assert all(reads()[n] == before[n] for n in finished)
    assert finished >= {0, 1, 2, 3}


def test_a_group_that_was_checked_and_written_is_not_checked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [{"id": str(n), "query": f"What is {n} plus {n}?", "ground_truth": "2"} for n in range(40)]
    source, broken = rows(*given), tmp_path / "broken"
    broken.touch()
    monkeypatch.setattr("stillhouse.stages.curate.SMALL_GROUP_ROWS", 10)
    verifiers = {"math": Part("curate_parts:Noted", {"notes": {"log": str(tmp_path / "log"), "broken": str(broken)}})}
    with pytest.raises(UserMistake, match="cannot check references now"):
        curated(tmp_path / "run", [source], verifiers=verifiers)
    before = (tmp_path / "log").read_text().split()
    broken.unlink()
    counts, kept, _ = curated(tmp_path / "run", [source], verifiers=verifiers)
    assert counts["kept"] == len(kept) == 40
    after = (tmp_path / "log").read_text().split()[len(before) :]
    assert (
        len(before) > 24
        and len(set(after) & set(before)) < 20  # those of the group that failed
        and set(before) | set(after) == set(map(str, range(40)))
    )


def test_shards_blocks_and_spans_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [LONG.replace("evening", name).replace("17", str(n % 5)) for n, name in enumerate(NAMES * 30)]
    lines = [{"id": str(n), "query": text, "category": "math"} for n, text in enumerate(texts)]
    lines[50:50] = [{"id": "x", "messages": [{"role": "user", "content": "Hello"}] * 2, "category": "math", "note": 1}]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = Part("stillhouse.sources.files:Files", {"path": str(tmp_path / "q.jsonl")})
    exam = ("exam", rows({"query": "Tell us now: " + LONG.replace("17", "1")}))
    found = []
    for number, (block, span, groups) in enumerate([(50_000, 1 << 26, 2500), (7, 1 << 26, 10), (30, 2000, 50)]):
        monkeypatch.setattr("stillhouse.curating.reading.BLOCK_ROWS", block)
        monkeypatch.setattr("stillhouse.sources.files.SPLIT_BYTES", span)
        monkeypatch.setattr("stillhouse.stages.curate.SMALL_GROUP_ROWS", groups)
        found.append(curated(tmp_path / str(number), [source], avoid=[exam]))
    assert found[0] == found[1] == found[2]
    assert found[0][0]["rules"].keys() >= {"duplicate", "near_duplicate", "benchmark_ngram"}


def test_a_pool_of_one_template_stays_bounded_and_is_decided_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [{"id": str(n), "query": LONG.replace("evening", f"e{'x' * n}")} for n in range(120)]
    whole = curated(tmp_path / "whole", [rows(*given)])
    monkeypatch.setattr("stillhouse.curating.deciding.PAIRS_AT_ONCE", 100)
    monkeypatch.setattr("stillhouse.curating.deciding.BAND_ROWS", 50)
    parts = curated(tmp_path / "parts", [rows(*given)])
    assert whole == parts
    assert set(whole[1]) == {"0"} and whole[0]["near_duplicates"]["large_buckets"] > 0
    assert {row["reason"] for row in whole[2].values()} == {"nearly the same as rows:1"}
