"""Evaluation through the run's own loop: journaled, never asked twice, format told apart from being right."""

import json

import pytest

from stillhouse.benchmarks.held_out import held_out
from stillhouse.evaluating.asking import asking
from stillhouse.evaluating.told import told
from stillhouse.records import Message, Part, Query, TeacherSpec, UserMistake
from stillhouse.stages.evaluate import Candidate, evaluate
from stillhouse.store.index import load_index
from stillhouse.store.run import Run
from stillhouse.store.tables import QUERIES, query_to_row, write_rows

SUMS = [f"What is {i} + {i}?" for i in range(6)]


class Sums:
    """A source of sums; built by import path."""

    def __init__(self, first: int = 0, last: int = 6) -> None:
        self.numbers = range(first, last)

    def __call__(self):
        for i in self.numbers:
            text = SUMS[i] if i < len(SUMS) else f"What is {i} + {i}?"
            yield Query((Message("user", text),), "math", id=str(i), ground_truth=str(2 * i))


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "sums_source", sys.modules[__name__])


def sums(**settings) -> Part:
    return Part("sums_source:Sums", settings)


def fake(name, script, **settings) -> TeacherSpec:
    part = Part("stillhouse.testing:FakeTeacher", {"name": name, "script": script, "model": name, **settings})
    return TeacherSpec(name, part, name, ("fake://in-process",), max_in_flight=4, max_tokens=1024)


def candidate(run, name, script, **more) -> Candidate:
    ask = asking(
        run, lambda _: fake(name, script), lambda _: {"math": Part("stillhouse.verifiers.math:Math")}, workers=1
    )
    return Candidate(name, ask, **more)


def test_right_and_in_form_are_two_things_and_nothing_is_asked_twice(tmp_path):
    formed = {text: f"<think>t</think><answer>\\boxed{{{2 * i}}}</answer>" for i, text in enumerate(SUMS)}
    loose = {text: f"It is \\boxed{{{2 * i if i else 7}}}." for i, text in enumerate(SUMS)}
    benchmark = Part("stillhouse.benchmarks.held_out:held_out", {"sources": [sums()], "samples": 2})

    def go():
        with Run(tmp_path) as run:
            candidates = [candidate(run, "base", loose, control="base"), candidate(run, "am", formed, teacher="am")]
            return evaluate(run, candidates=candidates, benchmarks=[(benchmark, None)])

    done = go()
    assert done.outcome == "done"
    base, am = (json.loads((tmp_path / "7-evaluations" / f"{n}.json").read_text()) for n in ("base", "am"))
    base, am = base["benchmarks"]["held-out"], am["benchmarks"]["held-out"]
    assert (am["pass_at_1"], am["format_rate"], am["asked"]) == (1.0, 1.0, 12)
    assert base["pass_at_1"] == pytest.approx(5 / 6)
    assert base["format_rate"] == 0.0
    replies = len(load_index(tmp_path / "2-responses").rows())
    assert replies == 24
    assert go().counts == done.counts
    assert len(load_index(tmp_path / "2-responses").rows()) == replies
    lines = told(tmp_path)
    assert any(line.startswith("  base ") and "0.0%" in line for line in lines)
    assert any(line.startswith("held-out: the student of am against base: +16.7 points") for line in lines)


def test_held_out_queries_are_none_that_the_run_has_seen(tmp_path):
    folder = tmp_path / "1-queries"
    folder.mkdir()
    write_rows(folder / "kept.parquet", map(query_to_row, sorted(Sums(0, 4)(), key=lambda q: q.key)), QUERIES)
    made = held_out([sums(), sums(first=3, last=9)], apart_from=str(folder), items=4).queries()
    assert [query.id for query in made] == ["4", "5", "6", "7"]
    with pytest.raises(UserMistake, match="no queries in"):
        held_out([sums()], apart_from=str(tmp_path / "none")).queries()


def test_without_evaluations_there_is_nothing_to_tell(tmp_path):
    assert told(tmp_path) == []
