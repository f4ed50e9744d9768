"""Claims about recorded teachers: rows are found, attempts keep their order, mistakes have their lines."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from stillhouse.records import Fault, Message, Query, Response, Teacher, UserMistake
from stillhouse.teachers.recorded import Recorded


def ask(text: str = "1 + 1?", **more: Any) -> Query:
    return Query((Message("user", text),), "math", **more)


def reply(teacher: Recorded, query: Query, attempt: int = 1) -> Response:
    return asyncio.run(teacher.send(teacher.request(query, attempt)))


def recorded(*rows: dict[str, Any], **settings: Any) -> Recorded:
    return Recorded("r", rows=rows, **settings)


def test_it_is_a_teacher() -> None:
    assert isinstance(recorded({"query": "a", "response": "b"}), Teacher)


@pytest.mark.parametrize(
    "row",
    [
        {"query": " 1 + 1? ", "response": "2"},
        {"messages": [{"role": "user", "content": "1 + 1?"}], "response": "2"},
        {"messages": [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "3"}], "response": "2"},
        {"key": ask().key, "text": "2"},
        {"id": "q7", "content": "2"},
        {"id": 7, "answer": "2"},
        {"query": "1 + 1?", "message": {"role": "assistant", "content": "2"}},
        {"messages": [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]},
        {"conversations": [{"from": "human", "value": "1 + 1?"}, {"from": "gpt", "value": "2"}]},
    ],
)
def test_a_row_is_found_by_text_key_or_id(row: dict[str, Any]) -> None:
    query = ask(id=str(row.get("id", "other")))
    assert reply(recorded(row), query).text == "2"


def test_the_thinking_of_a_last_assistant_turn_is_its_reply_s() -> None:
    turns = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2", "reasoning": "we add"}]
    assert reply(recorded({"messages": turns}), ask()).parts.thinking == "we add"


def test_rows_that_lack_the_same_are_told_in_one_line() -> None:
    with pytest.raises(UserMistake) as caught:
        recorded(*({"query": f"{number} + 1?"} for number in range(100))).identity("math")
    assert len(caught.value.problems) == 1
    assert "row 1:" in caught.value.problems[0] and "99 rows more, the last at teacher r: row 100" in str(caught.value)


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content", "thinking", "think_content"])
def test_thinking_may_stand_in_a_field_of_its_own(name: str) -> None:
    parts = reply(recorded({"query": "1 + 1?", "response": "2", name: "we add"}), ask()).parts
    assert (parts.thinking, parts.answer) == ("we add", "2")


def test_the_attempts_are_the_rows_in_their_order_and_then_it_is_over() -> None:
    teacher = recorded(*({"query": "1 + 1?", "response": str(number)} for number in range(3)))
    assert [reply(teacher, ask(), attempt).text for attempt in (1, 2, 3)] == ["0", "1", "2"]
    with pytest.raises(Fault) as caught:
        reply(teacher, ask(), 4)
    assert caught.value.kind == "not_recorded" and not caught.value.retryable and not caught.value.maybe_paid
    with pytest.raises(Fault, match="does not know this query"):
        reply(teacher, ask("another"))


def test_a_row_may_say_which_attempt_it_is() -> None:
    rows = [{"query": "q", "response": "b", "attempt": 2}, {"query": "q", "response": "a", "attempt": 1}]
    assert [reply(recorded(*rows), ask("q"), attempt).text for attempt in (1, 2)] == ["a", "b"]


def test_usage_cost_and_finish_reason_are_taken_from_the_row() -> None:
    row = {
        "query": "1 + 1?", "response": "2", "finish_reason": "max_tokens", "model": "m-2",
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 3}},
    }  # fmt: skip
    response = reply(recorded(row, price={"input": 1, "output": 2}), ask())
    assert (response.prompt_tokens, response.completion_tokens, response.thinking_tokens) == (10, 5, 3)
    assert (response.finish_reason, response.model, response.counted) == ("length", "m-2", False)
    assert response.cost_usd == pytest.approx(20e-6)
    assert reply(recorded({**row, "cost_usd": 0.5}), ask()).cost_usd == 0.5


def test_without_usage_tokens_are_counted_and_marked_and_nothing_costs() -> None:
    response = reply(recorded({"query": "1 + 1?", "response": "x" * 400}), ask())
    assert response.counted and response.completion_tokens == 100 and response.cost_usd is None


def test_the_identity_follows_what_was_recorded() -> None:
    first, second = recorded({"query": "a", "response": "b"}), recorded({"query": "a", "response": "c"})
    assert first.identity("math") == recorded({"query": "a", "response": "b"}).identity("code")
    assert first.identity("math") != second.identity("math")
    assert first.identity("math") != recorded({"query": "a", "response": "b"}, model="m").identity("math")


def test_a_file_is_read_by_line_and_its_texts_stay_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    rows = [{"query": f"q{number}", "response": f"réponse {number}\u2028"} for number in range(50)]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n", encoding="utf-8")
    teacher = Recorded("r", str(path))
    assert reply(teacher, ask("q31")).text == "réponse 31\u2028"
    assert "réponse" not in repr(teacher._rows())


def test_every_unusable_line_is_told_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    path.write_text('{"query": "a", "response": "b"}\n{"query": \n[1]\n{"response": "b"}\n{"query": "a"}\n')
    with pytest.raises(UserMistake) as caught:
        asyncio.run(Recorded("r", str(path)).probe())
    told = str(caught.value)
    assert [f"{path}:{number}" in told for number in range(1, 6)] == [False, True, True, True, True]


@pytest.mark.parametrize("settings", [{}, {"path": "/nowhere.jsonl"}, {"path": "x", "rows": []}, {"rows": []}])
def test_a_teacher_without_replies_is_a_mistake(settings: dict[str, Any]) -> None:
    with pytest.raises(UserMistake):
        asyncio.run(Recorded("r", **settings).probe())
