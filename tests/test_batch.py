"""Claims about batch teachers: rounds, results of every shape, kills between, money, and what the user is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stillhouse.batch import rounds
from stillhouse.records import Message, Part, Price, Query, TeacherSpec, UserMistake
from stillhouse.stages.distill import Distilled, distill
from stillhouse.store.index import load_index
from stillhouse.store.ledger import Ledger, audit
from stillhouse.store.run import Run
from stillhouse.store.tables import QUERIES, query_to_row, write_rows
from stillhouse.testing import FakeServer

PRICE = {"input": 1.0, "output": 10.0}
Line = dict[str, Any]
Spoil = Callable[[int, Line], Line | None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = [Query((Message("user", f"What is {n} + {n}?"),), "math", ground_truth=str(2 * n)) for n in range(30)]
    (tmp_path / "run" / "1-queries").mkdir(parents=True)
    rows = map(query_to_row, sorted(made, key=lambda q: q.key))
    write_rows(tmp_path / "run" / "1-queries" / "kept.parquet", rows, QUERIES)
    return tmp_path / "run"


def spec(url: str = "http://127.0.0.1:9/v1", *, batch: bool = True, name: str = "am", **more: Any) -> TeacherSpec:
    settings = {"name": name, "model": "fake-model", "base_url": url, "max_tokens": 500, "price": PRICE, "timeout": 5.0}
    part = Part("stillhouse.teachers.openai:OpenAI", settings | {"temperature": more.pop("temperature", 0.6)})
    return TeacherSpec(name, part, "fake-model", (url,), price=Price(**PRICE), max_tokens=500, batch=batch, **more)


def go(folder: Path, *teachers: TeacherSpec, attempts: int = 2, **settings: Any) -> Distilled:
    with Run(folder) as run:
        return distill(
            run, teachers=teachers or [spec()], judges={}, verifiers={"math": Part("stillhouse.verifiers.math:Math")},
            versions={}, workers=1, attempts=attempts, **settings,
        )  # fmt: skip


def batch(folder: Path) -> Path:
    return folder / "2-responses" / "batch"


def requests(folder: Path) -> list[Path]:
    return sorted(batch(folder).glob("*.jsonl"))


def ledger(folder: Path) -> Ledger:
    with Run(folder, read_only=True) as run:
        return audit(load_index(run.journals))


def answer(file: Path, spoil: Spoil = lambda at, line: line, *, right: int = 1, name: str | None = None) -> Path:
    """Result lines of a request file, as `vllm run-batch` writes them; every `right`-th is right."""
    lines = []
    for at, text in enumerate(file.read_text(encoding="utf-8").splitlines()):
        asked = json.loads(text)
        n = int(asked["body"]["messages"][-1]["content"].split("What is ")[1].split()[0])
        said = f"<think>We add.</think><answer>\\boxed{{{2 * n if at % right == 0 else -1}}}</answer>"
        body = {
            "object": "chat.completion", "model": "fake-model",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 40, "completion_tokens": 10},
        }  # fmt: skip
        line: Line = {
            "id": f"vllm-{file.name}-{at}", "custom_id": asked["custom_id"],
            "response": {"status_code": 200, "request_id": "r", "body": body}, "error": None,
        }  # fmt: skip
        made = spoil(at, line)
        if made is not None:
            lines.append(json.dumps(made))
    out = file.parent / "results" / (name or file.name)
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return out


def test_a_round_is_a_file_of_requests_and_nothing_is_sent(folder: Path) -> None:
    with FakeServer() as server:
        done = go(folder, spec(server.url))
        assert server.counts.requests == 0
    (file,) = requests(folder)
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert len({line["custom_id"] for line in lines}) == 30
    assert {(line["method"], line["url"]) for line in lines} == {("POST", "/v1/chat/completions")}
    assert lines[0]["body"]["model"] == "fake-model" and lines[0]["body"]["max_tokens"] == 500
    assert len({line["body"]["seed"] for line in lines}) == 30
    (reason,) = done.waits["am"]
    assert "upload" in reason and str(file) in reason and "results" in reason
    assert done.waits["am"][reason] == 30
    account = ledger(folder).total
    assert (account.asked, account.submitted, account.in_doubt, account.paid) == (30, 30, 0, 0)
    assert account.submitted_usd == pytest.approx(sum(0.005 + (300 + 100) * 1e-6 for _ in range(30)), rel=0.2)


def test_to_run_again_without_results_writes_no_second_file(folder: Path) -> None:
    first = go(folder)
    again = go(folder)
    assert first.waits == again.waits
    assert len(requests(folder)) == 1
    assert ledger(folder).total.asked == 30


def test_rounds_go_on_until_every_pair_rests(folder: Path) -> None:
    go(folder)
    answer(requests(folder)[0], right=3)
    second = go(folder)
    assert second.counts["am"]["verified"] == 10
    assert "results read: 30 replies, 0 failed" in second.notes[0]
    assert len(requests(folder)) == 2
    answer(requests(folder)[1], right=2)
    last = go(folder)
    assert last.counts["am"] | {"verified": 20, "exhausted": 10, "waiting": 0} == last.counts["am"]
    assert not last.waits
    book = ledger(folder)
    assert book.clean
    assert (book.total.asked, book.total.paid, book.total.submitted) == (50, 50, 0)
    assert book.total.paid_usd == pytest.approx(50 * (40 * 1.0 + 10 * 10.0) / 1e6)
    assert go(folder).notes == [], "what was read is not read again"


def test_missing_duplicate_foreign_failed_and_unreadable_lines_are_told_apart(folder: Path) -> None:
    def spoil(at: int, line: Line) -> Line | None:
        if at == 0:
            return None
        if at == 1:
            return line | {"custom_id": "somebody-else"}
        if at == 2:  # vLLM's own shape of a failure
            error = {"error": {"message": "engine died", "type": "InternalServerError", "code": 500}}
            return line | {"response": {"status_code": 500, "request_id": "x", "body": None}, "error": error}
        if at == 3:  # OpenAI's, of a batch that ran out of time
            return line | {"response": None, "error": {"code": "batch_expired", "message": "not in time"}}
        if at == 4:  # OpenAI's error file
            body = {"error": {"message": "prompt too long", "type": "invalid_request_error", "code": None}}
            return line | {"response": {"status_code": 400, "request_id": "x", "body": body}}
        if at == 5:
            return line | {"response": {"status_code": 200, "request_id": "x", "body": {"choices": []}}}
        return line

    go(folder)
    out = answer(requests(folder)[0], spoil)
    text = out.read_text(encoding="utf-8")
    out.write_text(text + text.splitlines()[-1] + '\n{"custom_id": "cut', encoding="utf-8")
    done = go(folder)
    assert done.notes[0] == (
        "batch: results read: 24 replies, 4 failed (bad_envelope 1, bad_request 1, server_error 1, timeout 1), "
        "1 duplicate, 1 foreign, 1 unreadable"
    )
    waits = {reason.split(":")[0].split("(")[0].strip(): n for reason, n in done.waits["am"].items()}
    assert waits.pop("bad_request in an earlier batch") == 1
    assert sum(n for reason, n in waits.items() if "2 of the 30 results" in reason) == 2
    assert sum(n for reason, n in waits.items() if reason.startswith("upload")) == 3
    assert len(requests(folder)[1].read_text(encoding="utf-8").splitlines()) == 3, "what may be sent again"
    assert ledger(folder).clean


def test_a_removed_file_is_given_up_and_a_result_that_comes_late_counts(folder: Path) -> None:
    go(folder)
    kept = requests(folder)[0].read_text(encoding="utf-8")
    requests(folder)[0].unlink()
    done = go(folder)
    assert "30 requests of removed files are given up" in done.notes[0]
    assert [path.name for path in requests(folder)] == ["run-am-0002.jsonl"]
    old = batch(folder) / "run-am-0001.jsonl"
    old.write_text(kept, encoding="utf-8")
    answer(old)
    old.unlink()
    late = go(folder)
    assert late.counts["am"]["verified"] == 30
    assert ledger(folder).total.paid == 30


def test_a_file_that_grows_is_read_on_and_no_failure_counts_for_the_next_round(folder: Path) -> None:
    def fails(at: int, line: Line) -> Line:
        error = {"error": {"message": "busy", "code": 503}}
        return line | {"response": {"status_code": 503, "request_id": "x"}, "error": error} if at < 5 else line

    go(folder)
    first = answer(requests(folder)[0], fails, name="all.jsonl")
    go(folder)
    second = answer(requests(folder)[1], name="second.jsonl")
    first.write_text(first.read_text(encoding="utf-8") + second.read_text(encoding="utf-8"), encoding="utf-8")
    second.unlink()
    done = go(folder)
    assert done.counts["am"]["verified"] == 30
    assert done.notes[0] == "batch: results read: 5 replies, 0 failed"


def test_a_failed_line_and_then_its_reply_are_a_reply(folder: Path) -> None:
    go(folder)
    fails: Spoil = lambda at, line: line | {"response": None, "error": {"code": "500", "message": "x"}}  # noqa: E731
    answer(requests(folder)[0], fails, name="a-errors.jsonl")
    answer(requests(folder)[0], name="b-output.jsonl")
    assert go(folder).counts["am"]["verified"] == 30


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    with monkeypatch.context() as patch:
        yield patch


@pytest.mark.parametrize("at", ["while it is written", "before it is shown"])
def test_a_kill_while_a_round_is_written_asks_nothing_twice(folder: Path, killed: pytest.MonkeyPatch, at: str) -> None:
    class Killed(BaseException):
        pass

    lines = 0

    def die(*_: Any, **__: Any) -> None:
        nonlocal lines
        lines += 1
        if at == "before it is shown" or lines > 12:
            raise Killed

    target = rounds.Round if at == "before it is shown" else rounds.RequestFile
    killed.setattr(target, "publish" if at == "before it is shown" else "add", die)
    with pytest.raises(BaseException) as caught:
        go(folder)
    assert caught.group_contains(Killed) if isinstance(caught.value, BaseExceptionGroup) else caught.type is Killed
    killed.undo()
    assert not requests(folder), "nobody has seen it"
    go(folder)
    assert len(requests(folder)) == 1
    answer(requests(folder)[0])
    done = go(folder)
    assert done.counts["am"]["verified"] == 30
    book = ledger(folder).total
    assert (book.paid, book.in_doubt, book.submitted, book.maybe_paid) == (30, 0, 0, 0)


def test_the_money_of_a_round_is_reserved_until_its_results_come(folder: Path) -> None:
    bound = 0.0057
    done = go(folder, budget_usd=10.4 * bound)
    (file,) = requests(folder)
    held = len(file.read_text(encoding="utf-8").splitlines())
    assert 8 <= held <= 11
    assert done.outcome == "done" and any("budget cannot carry it" in reason for reason in done.waits["am"])
    answer(file)
    more = go(folder, budget_usd=10.4 * bound)
    assert more.counts["am"]["verified"] == held
    assert len(requests(folder)) == 2, "what was not needed is free for the next round"
    short = go(folder, spec(budget_usd=0.0001))
    assert short.outcome == "done", "something is still out"


def test_a_budget_without_room_for_one_request_stops_the_run(folder: Path) -> None:
    done = go(folder, budget_usd=0.0001)
    assert done.outcome == "budget" and not requests(folder)


def test_a_teacher_that_turns_live_asks_nothing_that_is_out_in_a_file(folder: Path) -> None:
    go(folder)
    with FakeServer() as server:
        done = go(folder, spec(server.url, batch=False))
        assert server.counts.requests == 0
    assert sum(done.waits["am"].values()) == 30


def test_a_batch_teacher_and_a_live_one_share_a_run(folder: Path) -> None:
    with FakeServer() as server:
        done = go(folder, spec(), spec(server.url, name="live", batch=False, temperature=0.1))
        assert server.counts.answered == 60
    assert done.counts["am"]["waiting"] == 30 and done.counts["live"]["waiting"] == 0


def test_a_round_is_cut_into_files_that_may_be_uploaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stillhouse.store.batches.MOST_LINES", 12)
    go(folder)
    sizes = [len(file.read_text(encoding="utf-8").splitlines()) for file in requests(folder)]
    assert sizes == [12, 12, 6]
    for file in requests(folder):
        answer(file)
    assert go(folder).counts["am"]["verified"] == 30


def test_a_teacher_that_has_no_chat_endpoint_cannot_be_asked_by_batch(folder: Path) -> None:
    part = Part("stillhouse.testing:FakeTeacher", {"name": "am"})
    with pytest.raises(UserMistake, match="batch: true needs an OpenAI-compatible chat endpoint"):
        go(folder, TeacherSpec("am", part, batch=True))
