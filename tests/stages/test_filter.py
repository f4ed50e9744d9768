"""Filter: first failing filter wins, corpus rules count what is left, kept = accepted - dropped."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from stillhouse.engines.engine import ShardFailed
from stillhouse.engines.local import Local
from stillhouse.records import Message, Part, Query, Response, TeacherSpec
from stillhouse.stages.filter import filter as filter_responses
from stillhouse.store.run import Run
from stillhouse.store.tables import QUERIES, RESPONSES, query_to_row, read_rows, response_to_row, write_rows

sys.path.insert(0, str(Path(__file__).parent))  # workers get this path too

ACCEPTED = pa.schema([*RESPONSES, pa.field("verify_score", pa.float64()), pa.field("verify_rule", pa.string())])
RANDOM = random.Random(5)
WORDS = ["".join(RANDOM.choice("abcdefghij") for _ in range(6)) for _ in range(4000)]
FILTERS = [
    Part("stillhouse.filters.structure:structure"),
    Part("stillhouse.filters.length:Length", {"limit": 3000}),
    Part("stillhouse.filters.repetition:back_to_back"),
]
NGRAMS = Part("stillhouse.filters.ngrams:RepeatedNgrams")


def prose(words: int) -> str:
    return " ".join(RANDOM.choice(WORDS) for _ in range(words))


def write_run(run: Run, texts: dict[str, str], teacher: str = "t", **fields: Any) -> dict[str, str]:
    """A run with one accepted response a text; returns response key -> name."""
    queries = {name: Query((Message("user", f"Question {name}, please?"),), "math", id=name) for name in texts}
    write_rows(
        run.queries / "kept.parquet", sorted(map(query_to_row, queries.values()), key=lambda r: r["key"]), QUERIES
    )
    names, rows = {}, []
    for name, text in texts.items():
        response = Response(f"{name:0>32}", queries[name].key, teacher, text, thinking="required", **fields)
        rows.append(response_to_row(response) | {"verify_score": 1.0, "verify_rule": "math"})
        names[response.key] = name
    run.responses.mkdir(exist_ok=True)
    write_rows(run.responses / f"accepted-{teacher}.parquet", sorted(rows, key=lambda r: r["query"]), ACCEPTED)
    return names


def reply(thinking: str, answer: str = "It is 4.") -> str:
    return f"<think>{thinking}</think><answer>{answer}</answer>"


@pytest.mark.parametrize("workers", [1, 2])
def test_each_filter_drops_what_it_is_for_and_counts_add_up(tmp_path: Path, workers: int) -> None:
    phrase, boiler = prose(25), prose(30)
    texts = {f"plain{n}": reply(prose(300)) for n in range(10)}
    texts |= {f"boiler{n}": reply(prose(30) + " " + boiler) for n in range(21)}
    texts |= {
        "unformed": "no blocks at all",
        "thoughtless": reply(" "),
        "long": reply(" ".join(["word"] + [prose(1) for _ in range(2500)])),
        "again": reply(f"{prose(20)} {phrase} {phrase} {phrase} {prose(20)}"),
        "twice": reply(f"{prose(200)} {phrase} {phrase} {prose(20)}"),
    }
    with Run(tmp_path) as run, Local(workers) as engine:
        names = write_run(run, texts, prompt_tokens=5, completion_tokens=3500)
        spec = TeacherSpec("t", Part("x:y"))
        counts = filter_responses(run, teachers=[spec], filters=FILTERS, corpus=[NGRAMS], engine=engine)["t"]
        rows = {names[row["response"]]: row for row in read_rows(run.filters / "t.parquet")}
    assert {name: row["rule"] for name, row in rows.items() if "boiler" not in name} == {
        "unformed": "structure", "thoughtless": "structure", "long": "too_long", "again": "back_to_back",
    }  # fmt: skip
    assert all(rows[f"boiler{n}"]["rule"] == "repeated_ngrams" for n in range(21))
    assert " ".join(boiler.split()[:5]) in json.loads(rows["boiler3"]["detail"])["match"]
    assert json.loads(rows["again"]["detail"])["match"].split()[0] in phrase
    assert counts["accepted"] == len(texts) == counts["kept"] + counts["dropped"]
    assert counts["dropped"] == len(rows) == sum(counts["rules"].values())
    assert not list(run.filters.glob(".work*"))


def filtered(folder: Path, texts: dict[str, str], *, threshold: float = 20.0, **settings: Any) -> tuple[dict, dict]:
    """Counts, and per name of a dropped (or unknown) response its row."""
    with Run(folder) as run, Local(1) as engine:
        names = write_run(run, texts)
        spec = TeacherSpec("t", Part("x:y"), perplexity=threshold)
        counts = filter_responses(run, teachers=[spec], engine=engine, **settings)["t"]
        return counts, {names[row["response"]]: row for row in read_rows(run.filters / "t.parquet")}


def test_windows_are_of_the_recipes_tokenizer(tmp_path: Path) -> None:
    texts = {str(n): reply("a b c d e f g h", prose(40)) for n in range(21)}
    counts, rows = filtered(tmp_path, texts, corpus=[NGRAMS], tokenizer=Part("curate_parts:Letters"))
    assert counts["unit"] == "tokens" and counts["dropped"] == 0
    texts = {str(n): reply("a b c d e f g h i j", "x") for n in range(21)}
    counts, rows = filtered(tmp_path / "b", texts, corpus=[NGRAMS], tokenizer=Part("curate_parts:Letters"))
    assert counts["dropped"] == 21
    assert "a b c d" in json.loads(rows["3"]["detail"])["match"]
    counts, _ = filtered(tmp_path / "c", texts, corpus=[NGRAMS])
    assert counts["unit"] == "words" and counts["dropped"] == 0


def test_length_is_counted_by_a_tokenizer_that_only_counts(tmp_path: Path) -> None:
    length = Part("stillhouse.filters.length:Length", {"limit": 200})
    texts = {"short": reply("x" * 100), "long": reply("y" * 400)}
    counts, rows = filtered(tmp_path, texts, filters=[length], tokenizer=Part("curate_parts:Halves"))
    assert set(rows) == {"long"} and counts["rules"] == {"too_long": 1}


def test_perplexity_goes_by_the_teachers_threshold_and_every_score_is_kept(tmp_path: Path) -> None:
    judge = Part("stillhouse.filters.perplexity:PerplexityFilter", {"scorer": Part("curate_parts:LengthScorer")})
    texts = {"low": reply("x" * 40), "high": reply("x" * 80), "fault": reply("fault")}
    counts, rows = filtered(tmp_path, texts, filters=[judge], threshold=100.0)
    assert {name: row["outcome"] for name, row in rows.items()} == {"low": "pass", "high": "fail", "fault": "unknown"}
    assert rows["low"]["filter"] == "perplexity" and rows["low"]["score"] < 100 < rows["high"]["score"]
    assert (counts["dropped"], counts["kept"], counts["unknown"]) == (1, 2, {"perplexity": 1})


def test_a_filter_of_ones_own_is_a_plain_function(tmp_path: Path) -> None:
    own = Part("curate_parts:no_cat_replies")
    counts, rows = filtered(tmp_path, {"a": reply("cat"), "b": reply("dog")}, filters=[own])
    assert set(rows) == {"a"} and counts["filters"] == ["no_cat_replies"]


def test_a_stage_killed_half_way_goes_on_from_its_finished_shards(tmp_path: Path) -> None:
    given = {"notes": {"log": str(tmp_path / "log"), "fail": str(tmp_path / "mended")}}
    with Run(tmp_path / "run") as run, Local(1) as engine:
        write_run(run, {str(n): reply(prose(20)) for n in range(20_000)})
        spec = TeacherSpec("t", Part("x:y"))
        settings = {"teachers": [spec], "filters": [Part("curate_parts:FailsLate", given)], "engine": engine}
        with pytest.raises(ShardFailed, match="not yet"):
            filter_responses(run, **settings)
        first = int((tmp_path / "log").read_text())
        (tmp_path / "mended").touch()
        counts = filter_responses(run, **settings)["t"]
        second = int((tmp_path / "log").read_text())
    assert counts["accepted"] == counts["kept"] == 20_000
    assert 20_000 <= second < first + 20_000  # what was judged before is not judged again


def test_files_of_teachers_that_are_gone_are_removed_and_nothing_accepted_is_fine(tmp_path: Path) -> None:
    with Run(tmp_path) as run, Local(1) as engine:
        write_run(run, {"a": reply("x")})
        run.filters.mkdir()
        (run.filters / "gone.parquet").touch()
        teachers = [TeacherSpec("t", Part("x:y")), TeacherSpec("silent", Part("x:y"))]
        counts = filter_responses(run, teachers=teachers, filters=FILTERS, corpus=[NGRAMS], engine=engine)
        assert set(counts) == {"t"} and not (run.filters / "gone.parquet").exists()
        write_rows(run.responses / "accepted-silent.parquet", [], ACCEPTED)
        counts = filter_responses(run, teachers=teachers, filters=FILTERS, corpus=[NGRAMS], engine=engine)
        assert counts["silent"]["accepted"] == counts["silent"]["kept"] == 0
