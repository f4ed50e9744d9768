"""Filter: first failing filter wins, corpus rules count what is left, kept = accepted - dropped."""

from __future__ import annotations

import json
import math
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stillhouse.asking.scoring import Unanswered
from stillhouse.engines.engine import ShardFailed
from stillhouse.engines.local import Local
from stillhouse.filtering.scoring import Scoring
from stillhouse.records import Message, Part, Price, Query, Response, TeacherSpec, UserMistake
from stillhouse.stages.filter import filter as filter_responses
from stillhouse.store.index import load_index
from stillhouse.store.ledger import audit
from stillhouse.store.run import Run
from stillhouse.store.tables import QUERIES, RESPONSES, query_to_row, read_rows, response_to_row, write_rows
from stillhouse.testing import FakeServer
from stillhouse.transport.fake_server import fake_logprob, fake_tokens

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


def scoring(url: str, **settings: Any) -> Scoring:
    part = Part(
        "stillhouse.teachers.perplexity:PromptLogprobs",
        {"name": "perplexity-model", "model": "fake-model", "base_url": url, "price": {"input": 1.0, "output": 1.0}},
    )
    spec = TeacherSpec(
        "perplexity-model", part, "fake-model", (url,), max_in_flight=4, price=Price(1.0, 1.0), **settings
    )
    return Scoring(spec, Part("stillhouse.filters.perplexity:PerplexityFilter"))


def perplexity_of(text: str) -> float:
    """What the fake server's log-probabilities come to."""
    scores = [fake_logprob(token) for token in fake_tokens(text)]
    return math.exp(-sum(scores) / len(scores))


def test_perplexity_goes_by_the_teachers_threshold_and_is_paid_once(tmp_path: Path) -> None:
    texts = {str(n): reply(prose(40)) for n in range(30)} | {"unformed": "no blocks"}
    values = {name: perplexity_of(text) for name, text in texts.items()}
    threshold = sorted(values.values())[20] * (1 + 1e-9)  # as it stands: its last digit may be another
    with FakeServer(faults={"500": 0.1, "429": 0.1}, retry_after="0") as server:
        given = {"filters": FILTERS, "scoring": scoring(server.url), "threshold": threshold}
        counts, rows = filtered(tmp_path, texts, **given)
        answered = server.counts.answered
        again, _ = filtered(tmp_path, texts, **given)
        assert server.counts.answered == answered == 30, "what is dropped before is not asked, nothing is asked twice"
    assert counts == again and counts["accepted"] == 31
    above = {name for name, value in values.items() if value > threshold and name != "unformed"}
    assert counts["rules"] == {"perplexity": len(above), "structure": 1} and counts["kept"] == 30 - len(above)
    assert {name for name, row in rows.items() if row["outcome"] == "fail"} == above | {"unformed"}
    for name, row in rows.items():
        if name != "unformed":
            assert row["score"] == pytest.approx(values[name]) and json.loads(row["detail"])["full"] != row["score"]
    with Run(tmp_path, read_only=True) as run:
        index = load_index(run.journals)
        assert audit(index).total.paid_twice == 0
        assert len(index.rows(purpose="perplexity")) == 30 and np.nansum(index.cost_usd[index.rows()]) > 0


def test_corpus_rules_count_what_perplexity_left(tmp_path: Path) -> None:
    boiler = prose(30)
    texts = {str(n): reply(prose(5) + " " + boiler) for n in range(21)}
    values = {name: perplexity_of(text) for name, text in texts.items()}
    with FakeServer() as server:
        given = {"corpus": [NGRAMS], "scoring": scoring(server.url)}
        all_of_them, _ = filtered(tmp_path / "a", texts, threshold=1e9, **given)
        one_less, _ = filtered(tmp_path / "b", texts, threshold=sorted(values.values())[-2], **given)
    assert all_of_them["rules"] == {"repeated_ngrams": 21}
    assert one_less["rules"] == {"perplexity": 1}, "of 20 occurrences none is too many"


def test_a_scoring_endpoint_that_refuses_stops_the_stage_and_what_was_paid_stays(tmp_path: Path) -> None:
    texts = {str(n): reply(prose(10)) for n in range(12)}
    with FakeServer(models=["another"]) as server, pytest.raises(UserMistake, match="fake-model"):
        filtered(tmp_path, texts, scoring=scoring(server.url))
    with FakeServer() as server, pytest.raises(Unanswered, match="budget"):
        filtered(tmp_path, texts, scoring=scoring(server.url, budget_usd=0.0005))
    counts, _ = filtered(tmp_path / "off", texts)
    assert counts["off"].startswith("perplexity") and counts["kept"] == 12


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
