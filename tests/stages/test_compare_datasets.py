"""Datasets that exist already: every published shape is matched with every other, and what cannot be is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_run import MadeTeacher, make_run, word_tokens

from stillhouse.records import Part, UserMistake, Verdict
from stillhouse.stages.compare import compare_datasets
from stillhouse.stages.export import export
from stillhouse.stages.report import report as write_report

READER = Part("stillhouse.sources.responses:Responses")
NULL = ("verified_yield", "pass_at_1", "exhausted", "waiting", "undecided", "too_long", "unverified", "unknown",
        "cost_usd", "cost_per_verified_usd")  # fmt: skip
THOUGHT, ANSWER = "we add one and one", "2"
TEXT = f"<think>{THOUGHT}</think><answer>{ANSWER}</answer>"
HISTORY = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello to you"}]


def question(n: int) -> str:
    return f"What is {n} and one?"


def am(n: int) -> dict[str, Any]:
    info = {"think_content": THOUGHT, "answer_content": ANSWER, "verify_score": 1.0, "ppl": 2.0, "model_name": "m"}
    turns = [{"from": "human", "value": question(n), "info": {"category": "math", "source": "s"}},
             {"from": "assistant", "value": TEXT, "info": info}]  # fmt: skip
    return {"system": "think first", "conversations": turns}


def million(n: int) -> dict[str, Any]:
    info = {"source": "s", "reference_answer": "2", "test_case": None}
    reply = {"think_content": THOUGHT, "answer_content": ANSWER}
    return {"messages": [{"role": "user", "content": question(n), "info": info},
                         {"role": "assistant", "content": TEXT, "info": reply}]}  # fmt: skip


def forty(n: int) -> dict[str, Any]:
    return {"question": question(n), "answer": TEXT, "question_source": "q", "answer_source": "r1", "category": "math",
            "ground_truth": "2", "pass_rate_r1": 1.0, "verify_score": 5.0, "ppl": 2.0, "model_name": "m"}  # fmt: skip


def sharegpt(n: int) -> dict[str, Any]:
    turns = [{"from": "system", "value": "be brief"}, {"from": "human", "value": f" {question(n)}\n"},
             {"from": "gpt", "value": TEXT}]  # fmt: skip
    return {"id": n, "conversations": turns}


def chat(n: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question(n)}, {"role": "assistant", "content": TEXT}]}


SHAPES = {"am": am, "million": million, "forty": forty, "sharegpt": sharegpt, "chat": chat}


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        file.write_text("\n".join(json.dumps(row) for row in rows))
    return file


def compared(paths: list[Path], out: Path, **settings: Any) -> dict[str, Any]:
    compare_datasets(paths, out, **{"reader": READER, "tokenizer": word_tokens, **settings})
    found: dict[str, Any] = json.loads((out / "report.json").read_text())
    return found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("shapes")
    paths = [
        write(folder / f"{name}.{'parquet' if name == 'chat' else 'jsonl'}", [make(n) for n in range(5 + place)])
        for place, (name, make) in enumerate(SHAPES.items())
    ]
    found = compared(paths, folder / "out")
    write_report(folder / "out")
    found["page"] = (folder / "out" / "report.html").read_text()
    return found


def test_every_shape_is_matched_by_its_messages_whatever_its_system_text(report: dict[str, Any]) -> None:
    assert list(report["teachers"]) == list(SHAPES)
    assert report["parallel"] == 5 and report["queries"] == 9
    for place, name in enumerate(SHAPES):
        matching = report["matching"][name]
        assert (matching["rows"], matching["queries"], matching["in_every_dataset"]) == (5 + place, 5 + place, 5)
    assert [report["matching"][name]["in_no_other"] for name in SHAPES] == [0, 0, 0, 0, 1]


@pytest.mark.parametrize("name", SHAPES)
def test_what_a_selected_dataset_cannot_say_is_null(report: dict[str, Any], name: str) -> None:
    part = report["teachers"][name]
    assert all(part[field] is None for field in NULL)
    assert all(part["categories"]["math"][field] is None for field in NULL) or name not in ("am", "forty")
    assert part["verified"] == part["kept"] == part["queries"] == part["responses"]
    assert part["tokens"]["mean"] == len(THOUGHT.split()) + 5
    assert {pair["measure"] for pair in report["pairs"]} == {"length_parallel"}
    assert report["wins"] == [] and report["difficulty"] == []


def test_the_decision_about_datasets_names_no_teacher_to_distil_from(report: dict[str, Any]) -> None:
    decision = report["decision"]
    assert (decision["basis"], decision["teacher"], decision["measure"]) == ("data", None, None)
    assert "not known until students are trained" in decision["sentence"] and "istil from" not in decision["sentence"]
    assert decision["sentence"] in report["page"] or decision["sentence"].split(";")[0] in report["page"]


def test_history_counts_and_its_thinking_does_not(tmp_path: Path) -> None:
    last = {"role": "user", "content": "And one more?"}
    reply = {"role": "assistant", "content": TEXT}
    told = [HISTORY[0], {"role": "assistant", "content": f"<think>greet</think>{HISTORY[1]['content']}"}]
    one = write(tmp_path / "one.jsonl", [{"messages": [*HISTORY, last, reply]}])
    two = write(tmp_path / "two.jsonl", [{"messages": [*told, last, reply]}])
    three = write(tmp_path / "three.jsonl", [{"messages": [last, reply]}])
    assert compared([one, two], tmp_path / "a")["parallel"] == 1
    assert compared([one, three], tmp_path / "b")["parallel"] == 0


def test_a_score_below_the_threshold_is_not_verified_and_not_kept(tmp_path: Path) -> None:
    rows = [forty(n) | {"verify_score": score} for n, score in enumerate((0.9, 0.89, None, 1.0))]
    found = compared([write(tmp_path / "a.jsonl", rows), write(tmp_path / "b.jsonl", rows)], tmp_path / "out")
    part = found["teachers"]["a"]
    assert (part["queries"], part["verified"], part["kept"], found["parallel"]) == (4, 3, 3, 3)
    assert found["matching"]["a"]["below_score"] == 1


def test_of_several_replies_to_a_query_the_first_verified_one_stands(tmp_path: Path) -> None:
    rows = [forty(0) | {"verify_score": 0.1}, forty(0) | {"answer": "<think>a b c d e f g h</think>2"}, forty(0)]
    found = compared([write(tmp_path / "a.jsonl", rows), write(tmp_path / "b.jsonl", [forty(0)])], tmp_path / "out")
    part = found["teachers"]["a"]
    assert (part["queries"], part["responses"], part["verified"]) == (1, 3, 1)
    assert part["tokens"]["mean"] == 8 + 5
    assert found["matching"]["a"]["duplicates"] == 2


def test_rows_without_a_query_or_a_reply_are_counted_and_never_matched(tmp_path: Path) -> None:
    empty = [{"messages": [{"role": "assistant", "content": TEXT}]}, {"query": "", "response": TEXT}]
    silent = [{"query": question(1)}, {"query": question(2), "response": None}]
    paths = [write(tmp_path / f"{name}.jsonl", [chat(9), *empty, *silent]) for name in "ab"]
    found = compared(paths, tmp_path / "out")
    assert found["matching"]["a"]["rows"] == 5 and found["teachers"]["a"]["queries"] == 1
    assert (found["matching"]["a"]["without_query"], found["matching"]["a"]["without_text"]) == (2, 2)


def test_categories_come_from_the_row_else_the_file_else_other(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "code.jsonl", [chat(1), chat(2) | {"category": "math"}])
        write(tmp_path / name / "rest.jsonl", [chat(3), chat(4) | {"category": "Poetry"}])
    found = compared([tmp_path / "one", tmp_path / "two"], tmp_path / "out")
    assert found["categories"] == {"code": 1, "math": 1, "other": 2}
    assert found["matching"]["one"]["foreign_category"] == 1


def test_broken_rows_are_told_with_file_and_line(tmp_path: Path) -> None:
    good, bad = write(tmp_path / "good.jsonl", [chat(1)]), tmp_path / "bad.jsonl"
    bad.write_text(json.dumps(chat(1)) + '\n{"messages": [\n[1]\n')
    with pytest.raises(UserMistake) as told:
        compared([good, bad], tmp_path / "out")
    assert any(f"{bad}:2" in problem for problem in told.value.problems)
    assert any(f"{bad}:3" in problem for problem in told.value.problems)
    assert not (tmp_path / "out" / "report.json").exists()


def test_hostile_texts_and_names_stay_text(tmp_path: Path) -> None:
    row = chat(1)
    row["messages"][1]["content"] = "<think></think></think>\u2028<script>alert(1)</script>\ud83d\ude00" + "\x00"
    odd = write(tmp_path / "<b>odd & name.jsonl", [row, {"messages": "no list"}, {"messages": [{"role": "tool"}]}])
    found = compared([odd, write(tmp_path / "plain.jsonl", [chat(1)])], tmp_path / "out")
    write_report(tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<b>odd" not in page and "<script>alert(1)" not in page
    assert found["parallel"] == 1


@pytest.mark.parametrize("names", [("a/x.jsonl", "b/x.jsonl"), ("a/x.jsonl", "b/x")])
def test_names_that_clash_are_a_mistake(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        place = tmp_path / name
        place.parent.mkdir(exist_ok=True)
        if place.suffix:
            write(place, [chat(1)])
        else:
            place.mkdir()
    with pytest.raises(UserMistake, match="two datasets are named x"):
        compared([tmp_path / name for name in names], tmp_path / "out")


def test_all_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserMistake) as told:
        compared([tmp_path / "none", tmp_path / "neither.jsonl"], tmp_path / "out")
    assert len(told.value.problems) == 2


def test_our_own_exports_are_read_once_in_whatever_shapes_they_lie_there(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (MadeTeacher("am", 0.75, 60), MadeTeacher("qwen", 0.5, 40)), queries=80)
    export(run.folder, teachers=run.specs, tokenizer=word_tokens, shape="am")
    folders = [run.folder / "5-datasets" / name for name in ("am", "qwen")]
    found = compared(folders, tmp_path / "out")
    for name, folder in zip(("am", "qwen"), folders, strict=True):
        rows = pq.read_table(folder / "superset.parquet")
        assert found["teachers"][name]["queries"] == found["teachers"][name]["responses"] == rows.num_rows
        assert found["teachers"][name]["tokens"]["total"] == sum(rows["tokens"].to_pylist())
    assert found["parallel"] == pq.read_table(folders[0] / "parallel.parquet").num_rows
    shapes = [folder / "am" for folder in folders]
    with pytest.raises(UserMistake, match="two datasets are named am"):
        compared(shapes, tmp_path / "out")


def test_a_whole_run_is_not_a_dataset_and_its_datasets_are_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", queries=20)
    export(run.folder, teachers=run.specs)
    for whole in (run.folder, run.folder / "5-datasets"):
        with pytest.raises(UserMistake, match=r"one dataset for each teacher: name those, .*/am .*/qwen"):
            compared([whole, tmp_path / "run"], tmp_path / "out")


def test_sampled_token_counts_are_of_the_same_queries_and_said_so(tmp_path: Path) -> None:
    long = [chat(n) for n in range(200)]
    for n, row in enumerate(long):
        row["messages"][1]["content"] = "word " * (n + 1)
    paths = [write(tmp_path / f"{name}.jsonl", long) for name in "ab"]
    found = compared(paths, tmp_path / "out", token_sample=50)
    tokens = found["teachers"]["a"]["tokens"]
    assert found["made"]["token_sample"] == 50 and found["made"]["tokens_counted"] == 100
    assert tokens["total"] == pytest.approx(200 * tokens["mean"], abs=1)
    (pair,) = found["pairs"]
    assert (pair["n"], pair["difference"]) == (50, 0)
    exact = compared(paths, tmp_path / "all")
    assert exact["made"]["token_sample"] is None and exact["made"]["tokens_counted"] == 400


def test_each_pair_of_datasets_is_compared_over_the_queries_that_these_two_share(tmp_path: Path) -> None:
    made = {"a": range(20), "b": range(5, 20), "c": range(100, 120)}
    paths = [write(tmp_path / f"{name}.jsonl", [chat(n) for n in rows]) for name, rows in made.items()]
    found = compared(paths, tmp_path / "out")
    assert found["parallel"] == 0
    assert [(pair["a"], pair["b"], pair["n"]) for pair in found["pairs"]] == [("a", "b", 15)]
    assert "15 shared queries" in found["decision"]["sentence"]


def test_tokens_are_counted_once_for_each_text_across_comparisons(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.jsonl", [chat(n) for n in range(30)]) for name in "ab"]
    compared(paths, tmp_path / "out")
    assert compared(paths, tmp_path / "out")["made"]["tokens_counted"] == 0


def too_short(query: Any, response: Any) -> Verdict:
    return Verdict.of(int(len(response.answer) > 3), 1, "too_short")


def test_what_a_filter_would_drop_is_told_and_not_dropped(tmp_path: Path) -> None:
    rows = [forty(n) | {"answer": "<think>t</think>" + "x" * n, "ppl": 21.0 if n == 9 else 20.0} for n in range(1, 10)]
    paths = [write(tmp_path / f"{name}.jsonl", rows) for name in "ab"]
    found = compared(paths, tmp_path / "out", filters=[too_short])
    assert found["would_drop"]["a"] == {"checked": 9, "rules": {"too_short": 3, "perplexity": 1}}
    assert found["teachers"]["a"]["kept"] == 9
