"""Claims about rows that hold a reply: every published shape gives the same thinking, answer, score and model."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from stillhouse.records import UserMistake
from stillhouse.sources.responses import Reply, Responses, number_of

TEXT = "<think>t</think><answer>a</answer>"
INFO = {"think_content": "t", "answer_content": "a", "verify_score": 1.0, "ppl": 2.5, "model_name": "m"}
HUMAN = {"from": "human", "value": "Q", "info": {"category": "math", "ground_truth": "a", "source": "s"}}
USER = {"role": "user", "content": "Q"}
PLAIN = {"category": "math", "ground_truth": "a", "verify_score": 1.0, "ppl": 2.5, "model_name": "m"}


def read(path: Path, rows: list[dict[str, Any]], **settings: Any) -> list[Reply]:
    path.write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    return list(Responses(str(path), **settings)())


SHAPES: dict[str, dict[str, Any]] = {
    "AM-Thinking-v1-Distilled": {"system": None, "conversations": [
        HUMAN, {"from": "assistant", "value": TEXT, "info": INFO}]},
    "all info on the human turn": {"conversations": [
        {**HUMAN, "info": {**HUMAN["info"], **INFO}}, {"from": "assistant", "value": TEXT, "info": None}]},  # type: ignore[dict-item]
    "no value, only its parts": {"conversations": [HUMAN, {"from": "assistant", "value": None, "info": INFO}]},
    "AM-DeepSeek-R1-Distilled-1.4M": {**PLAIN, "messages": [
        USER, {"role": "assistant", "content": TEXT, "info": INFO}]},
    "AM-DeepSeek-Distilled-40M": {**PLAIN, "question": "Q", "answer": TEXT, "answer_source": "r1"},
    "verify rows": {**PLAIN, "query": "Q", "response": TEXT},
    "verify rows with messages": {**PLAIN, "messages": [USER], "response": TEXT},
    "ShareGPT": {**PLAIN, "conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": TEXT}]},
    "separate thinking on the turn": {**PLAIN, "messages": [
        USER, {"role": "assistant", "content": "a", "reasoning_content": "t"}]},
    "separate thinking on the row": {**PLAIN, "query": "Q", "response": "a", "reasoning": "t"},
    "prompt and completion": {**PLAIN, "prompt": [USER], "completion": [{"role": "assistant", "content": TEXT}]},
    "prompt and completion as texts": {**PLAIN, "prompt": "Q", "completion": TEXT},
    "messages as JSON text": {**PLAIN, "messages": json.dumps([USER, {"role": "assistant", "content": TEXT}])},
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_query_thinking_answer_score_and_model(tmp_path: Path, shape: str) -> None:
    (reply,) = read(tmp_path / "d.jsonl", [SHAPES[shape]])
    parts = reply.response.parts
    assert (reply.query.text, reply.query.category, reply.query.ground_truth) == ("Q", "math", "a")
    assert (parts.thinking, parts.answer, parts.malformed) == ("t", "a", None)
    assert (reply.score, reply.perplexity, reply.model_name) == (1.0, 2.5, "m")
    assert reply.response.query == reply.query.key and reply.problem == ""


def test_a_response_without_tags_is_all_answer(tmp_path: Path) -> None:
    (reply,) = read(tmp_path / "d.jsonl", [{"query": "Q", "category": "math", "response": "It is \\boxed{3}."}])
    assert reply.response.parts.answer == "It is \\boxed{3}."


def test_the_teacher_of_rows_without_a_model_is_the_file(tmp_path: Path) -> None:
    (reply,) = read(tmp_path / "d.jsonl", [{"query": "Q", "category": "math", "response": "3"}])
    assert reply.response.teacher == "d" and reply.model_name is None


def test_order_is_kept_and_a_row_without_a_reply_keeps_its_place(tmp_path: Path) -> None:
    rows = [{"id": n, "query": "Q", "response": None if n == 2 else "a"} for n in range(4)]
    replies = read(tmp_path / "d.jsonl", rows, fallback="other")
    assert [(r.query.id, r.problem) for r in replies] == [
        ("0", ""), ("1", ""), ("2", "the row holds no reply"), ("3", ""),
    ]  # fmt: skip
    assert replies[0].query.category == "other"


def test_two_replies_to_one_query_have_two_keys_and_equal_rows_one(tmp_path: Path) -> None:
    rows = [{"query": "Q", "response": text} for text in ("a", "b", "a")]
    keys = [reply.response.key for reply in read(tmp_path / "d.jsonl", rows, category="math")]
    assert keys[0] == keys[2] != keys[1]


def test_columns_of_any_name_can_be_read(tmp_path: Path) -> None:
    row = {"ask": "Q", "say": "a", "muse": "t"}
    settings = {"category": "if", "columns": {"query": "ask"}, "response": "say", "reasoning": "muse"}
    (reply,) = read(tmp_path / "d.jsonl", [row], **settings)
    assert (reply.query.text, reply.response.parts.answer, reply.response.parts.thinking) == ("Q", "a", "t")
    with pytest.raises(UserMistake, match="no column 'sayy', did you mean 'say'"):
        read(tmp_path / "d.jsonl", [row], **{**settings, "response": "sayy"})


def test_a_row_that_names_no_category_is_a_mistake_unless_there_is_a_fallback(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match=r"d.jsonl:1: no category"):
        read(tmp_path / "d.jsonl", [{"query": "Q", "response": "a"}])


@pytest.mark.parametrize(
    ("cell", "number"),
    [(1, 1.0), ("0.9", 0.9), (None, None), ("", None), ("n/a", None), (True, None), (float("nan"), None),
     (float("inf"), None), ([1], None)],
)  # fmt: skip
def test_a_score_that_is_no_number_is_no_score(cell: object, number: float | None) -> None:
    assert number_of(cell) == number
