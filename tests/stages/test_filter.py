"""Filter: first failing filter wins, corpus rules count what is left, kept = accepted - dropped."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

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
