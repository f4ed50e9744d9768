"""Claims about distill over a real HTTP server, the real journal and the real math verifier.

Every row is delivered whatever the transport does, nothing is asked twice, budgets hold, and keys stay out of files.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from stillhouse.records import Message, Part, Price, Query, TeacherSpec, UserMistake
from stillhouse.stages.distill import Distilled, distill
from stillhouse.store.index import load_index
from stillhouse.store.journal import Damage, read_entries
from stillhouse.store.ledger import audit
from stillhouse.store.run import Run
from stillhouse.store.tables import QUERIES, query_to_row, write_rows
from stillhouse.testing import FakeServer

VERIFIERS = {"math": Part("stillhouse.verifiers.math:Math")}
PRICE = {"input": 1.0, "output": 10.0}


def queries(count: int) -> list[Query]:
    made = [Query((Message("user", f"What is {n} + {n}?"),), "math", id=str(n), ground_truth=str(2 * n))
            for n in range(count)]  # fmt: skip
    return sorted(made, key=lambda q: q.key)


def lay(folder: Path, count: int) -> None:
    (folder / "1-queries").mkdir(parents=True, exist_ok=True)
    write_rows(folder / "1-queries" / "kept.parquet", map(query_to_row, queries(count)), QUERIES)


def answering(right: Callable[[int, int], bool]) -> Callable[[dict[str, Any]], str]:
    """Answers `n + n` by right(n, which time it is asked)."""
    asked: dict[int, int] = {}

    def answer(body: dict[str, Any]) -> str:
        found = re.search(r"What is (\d+) \+", body["messages"][-1]["content"])
        assert found is not None
        n = int(found.group(1))
        asked[n] = asked.get(n, 0) + 1
        said = 2 * n if right(n, asked[n]) else -7
        return f"<think>We add.</think><answer>It is \\boxed{{{said}}}.</answer>"

    return answer


def teacher(url: str, name: str = "am", **settings: Any) -> TeacherSpec:
    limit = settings.pop("max_tokens", 500)
    part = Part(
        "stillhouse.teachers.openai:OpenAI",
        {"name": name, "model": "fake-model", "base_url": url, "max_tokens": limit, "timeout": 5.0, "price": PRICE,
         **settings},
    )  # fmt: skip
    return TeacherSpec(
        name, part, "fake-model", (url,), max_in_flight=16, price=Price(**PRICE), max_tokens=limit, timeout=5.0
    )


def go(folder: Path, *teachers: TeacherSpec, **settings: Any) -> Distilled:
    with Run(folder) as run:
        return distill(
            run, teachers=teachers, judges=settings.pop("judges", {}), verifiers=VERIFIERS, versions={}, workers=1,
            **{"attempts": 3, **settings},
        )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lay(tmp_path / "run", 12)
    return tmp_path / "run"


@pytest.fixture
def fast_back_off(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("stillhouse.asking.asker.FIRST_BACKOFF", 0.01)
    monkeypatch.setattr("stillhouse.asking.asker.LONGEST_BACKOFF", 0.05)
    yield


def pairs_of(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "3-verdicts" / "pairs.parquet").to_pylist()


def test_a_pair_is_asked_until_it_passes_and_no_longer(folder: Path) -> None:
    with FakeServer(answering(lambda n, time_asked: n % 4 < 3 and time_asked > n % 3)) as server:
        done = go(folder, teacher(server.url))
    assert done.counts["am"] == {
        "waiting": 0, "verified": 9, "unverified": 0, "exhausted": 3, "undecided": 0, "too_long": 0,
    }  # fmt: skip
    for row in pairs_of(folder):
        query = next(q for q in queries(12) if q.key == row["query"])
        n = int(query.id or 0)
        assert row["passed_at"] == (n % 3 + 1 if n % 4 < 3 else None)
        assert row["responses"] == row["attempts"] == (row["passed_at"] or 3)
    accepted = pq.read_table(folder / "2-responses" / "accepted-am.parquet").to_pylist()
    assert [r["query"] for r in accepted] == sorted(r["query"] for r in pairs_of(folder) if r["state"] == "verified")
    assert all(r["verify_score"] == 1.0 and r["verify_rule"] == "math_exact" for r in accepted)


def test_to_run_again_asks_nothing(folder: Path) -> None:
    with FakeServer(answering(lambda n, _: n % 2 == 0)) as server:
        first = go(folder, teacher(server.url))
        asked = server.counts.requests
        again = go(folder, teacher(server.url))
        assert server.counts.requests == asked
    assert again.replies == 0
    assert again.counts == first.counts


def test_more_queries_more_attempts_and_another_name_ask_only_what_is_new(folder: Path) -> None:
    with FakeServer(answering(lambda n, _: n % 2 == 0)) as server:
        go(folder, teacher(server.url))
        before = server.counts.answered
        lay(folder, 14)
        go(folder, teacher(server.url))
        assert server.counts.answered == before + 1 + 3, "12 passes at once, 13 fails three times"
        before = server.counts.answered
        go(folder, teacher(server.url, name="renamed"), attempts=4)
        assert server.counts.answered == before + 7, "one attempt more for each of the seven that failed"
        with Run(folder, read_only=True) as run:
            assert audit(load_index(run.journals)).clean


def test_one_teacher_more_asks_nothing_of_the_others(folder: Path) -> None:
    with FakeServer(answering(lambda n, _: n % 2 == 0)) as server:
        go(folder, teacher(server.url), teacher(server.url, name="cool", temperature=0.1))
        before = server.counts.answered
        third = teacher(server.url, name="third", temperature=0.9)
        go(folder, third, teacher(server.url, name="cool", temperature=0.1), teacher(server.url))
        asked = [body["temperature"] for body in server.counts.bodies][before:]
    assert asked and set(asked) == {0.9}
    with Run(folder, read_only=True) as run:
        assert audit(load_index(run.journals)).clean


@pytest.mark.usefixtures("fast_back_off")
@pytest.mark.parametrize(
    ("fault", "kind", "retried"),
    [("huge", "too_large", False), ("bad_utf8", "bad_json", True), ("redirect", "redirect", True),
     ("html", "bad_envelope", True), ("not_http", "bad_envelope", True)],
)  # fmt: skip
def test_an_unreadable_reply_is_a_fault_with_its_reason(folder: Path, fault: str, kind: str, retried: bool) -> None:
    with FakeServer(answering(lambda *_: True), script=["", fault], huge_bytes=50_000_000) as server:
        done = go(folder, teacher(server.url))
    with Run(folder, read_only=True) as run:
        faults = [entry for entry in read_entries(run.journals) if entry.kind == "fault"]
    assert [entry.fault.kind for entry in faults] == [kind]
    assert server.url in faults[0].fault.reason and len(faults[0].fault.raw) <= 4096
    assert done.counts["am"]["verified"] == (12 if retried else 11)
    assert [kind in reason for reason in done.waits.get("am", {})] == ([] if retried else [True])


def test_a_higher_limit_asks_again_only_what_was_cut(folder: Path) -> None:
    def answer(body: dict[str, Any]) -> Any:
        n = int(re.findall(r"\d+", body["messages"][-1]["content"])[0])
        if n < 3 and body["max_tokens"] < 1000:
            return {"content": "<think>we begin", "finish_reason": "length"}
        return f"<think>ok</think><answer>\\boxed{{{2 * n}}}</answer>"

    with FakeServer(answer) as server:
        first = go(folder, teacher(server.url))
        assert (first.counts["am"]["too_long"], first.counts["am"]["verified"]) == (3, 9)
        asked = server.counts.answered
        again = go(folder, teacher(server.url, max_tokens=2000))
        assert again.counts["am"]["verified"] == 12
        assert server.counts.answered == asked + 3
        with Run(folder, read_only=True) as run:
            ledger = audit(load_index(run.journals))
    assert ledger.clean
    assert ledger.total.reasked == 3


@pytest.mark.usefixtures("fast_back_off")
@pytest.mark.parametrize("fault", ["429", "503", "500", "reset", "cut_body", "cut_json", "html", "no_choices"])
def test_every_row_is_delivered_whatever_the_transport_does(folder: Path, fault: str) -> None:
    with FakeServer(answering(lambda n, _: True), faults={fault: 0.3}, seed=4) as server:
        done = go(folder, teacher(server.url))
        assert server.counts.faults[fault] > 0
    assert done.counts["am"]["verified"] == 12
    rows = pairs_of(folder)
    assert all(r["attempts"] == 1 for r in rows), "a retry is not an attempt"


def test_a_dead_endpoint_is_told_before_anything_is_asked(folder: Path) -> None:
    with pytest.raises(UserMistake) as caught:
        go(folder, teacher("http://127.0.0.1:9/v1"))
    assert "am" in str(caught.value)
    assert not list((folder / "2-responses").glob("*.journal"))


def test_a_wrong_key_and_a_wrong_model_are_told_before_the_first_paid_call(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_KEY", "sk-wrong-0123456789")
    with FakeServer(key="sk-right") as server:
        with pytest.raises(UserMistake, match=r"(?i)key|401|auth"):
            go(folder, teacher(server.url, api_key_env="THE_KEY"))
        assert server.counts.answered == 0
    with FakeServer(models=("another",)) as server:
        with pytest.raises(UserMistake, match="another"):
            go(folder, teacher(server.url))
        assert server.counts.answered == 0


def test_a_key_never_reaches_the_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-secret-9f8e7d6c5b4a"
    monkeypatch.setenv("THE_KEY", key)
    with FakeServer(answering(lambda n, _: n % 2 == 0), key=key, faults={"500": 0.2}, seed=1) as server:
        go(folder, teacher(server.url, api_key_env="THE_KEY"))
    for file in folder.rglob("*"):
        if file.is_file():
            assert key.encode() not in file.read_bytes(), file


@pytest.mark.parametrize("limit", [0.0, 0.006, 0.01])
def test_a_budget_is_never_overrun(folder: Path, limit: float) -> None:
    with FakeServer(answering(lambda n, _: False), seconds=0.01) as server:
        done = go(folder, teacher(server.url), budget_usd=limit, attempts=8)
    assert done.outcome == "budget"
    assert "cannot carry" in done.problem
    with Run(folder, read_only=True) as run:
        assert audit(load_index(run.journals)).total.paid_usd <= limit
    assert done.counts["am"]["waiting"] > 0


def test_two_teachers_that_would_say_the_same_are_refused(folder: Path) -> None:
    with FakeServer() as server, pytest.raises(UserMistake, match="same model, prompt and sampling"):
        go(folder, teacher(server.url), teacher(server.url, name="twin"))


def test_a_judge_is_asked_only_after_a_no_and_is_paid_once(folder: Path) -> None:
    def answer(body: dict[str, Any]) -> str:
        n = int(re.findall(r"\d+", body["messages"][-1]["content"])[0])
        return f"<think>ok</think><answer>\\boxed{{\\text{{twice }} {n}}}</answer>" if 0 < n < 4 else answering(
            lambda *_: True
        )(body)  # fmt: skip

    with FakeServer(answer) as server, FakeServer(lambda body: '{"equivalent": true}') as bench:
        judge = teacher(bench.url, name="judge-math", profile="judge")
        with Run(folder) as run:
            done = distill(
                run, teachers=[teacher(server.url)], judges={"math": judge}, versions={}, attempts=2, workers=1,
                verifiers={"math": Part("stillhouse.verifiers.math:Math", {"judge": True})},
            )  # fmt: skip
            ledger = audit(load_index(run.journals))
        assert done.counts["am"]["verified"] == 12
        assert bench.counts.answered == 3
    accounts = ledger.as_json()["teachers"]
    assert accounts["judge-math"]["judge:am"]["paid"] == 3
    assert ledger.clean


WORKER = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from tests_distill import go, teacher
print("begin", flush=True)
go(Path(sys.argv[1]), teacher(sys.argv[2]), attempts=2)
"""


KILLS = 10  # bench/generation.py --only kills does a hundred


@pytest.mark.slow
def test_killed_at_random_moments_nothing_is_lost_and_at_most_what_was_in_flight_is_paid_again(tmp_path: Path) -> None:
    folder, rng = tmp_path / "run", random.Random(3)
    lay(folder, 360)
    (tmp_path / "tests_distill.py").write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    script = WORKER.format(path=[str(tmp_path), *sys.path])
    held: set[str] = set()
    with FakeServer(answering(lambda n, _: n % 3 > 0), seconds=0.03) as server:
        for _ in range(KILLS):
            child = subprocess.Popen([sys.executable, "-c", script, str(folder), server.url], stdout=subprocess.PIPE)
            assert child.stdout is not None
            child.stdout.readline()
            wanted, waited = server.counts.answered + rng.randrange(48), time.monotonic()
            while server.counts.answered < wanted and time.monotonic() - waited < 30:
                time.sleep(0.002)
            time.sleep(rng.random() * 0.03)
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            child.stdout.close()
            damage: list[Damage] = []
            found = {e.key for e in read_entries(folder / "2-responses", damage=damage) if e.kind == "reply"}
            assert held <= found, "a reply that was on disk is gone"
            assert all(one.reason == "torn tail" for one in damage), damage
            held = found
        done = go(folder, teacher(server.url), attempts=2)
        answered = server.counts.answered
    assert done.counts["am"] == {
        "waiting": 0, "verified": 240, "unverified": 0, "exhausted": 120, "undecided": 0, "too_long": 0,
    }  # fmt: skip
    with Run(folder, read_only=True) as run:
        ledger = audit(load_index(run.journals))
    assert (ledger.total.paid_twice, ledger.total.paid) == (0, 480)
    assert ledger.total.in_doubt <= KILLS * 16, "at most what was in flight at each kill"
    assert answered <= 480 + KILLS * 16


def test_the_first_interrupt_drains(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    lay(folder, 80)
    (tmp_path / "tests_distill.py").write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    script = WORKER.format(path=[str(tmp_path), *sys.path]) + "\nprint('ended well', flush=True)"
    with FakeServer(answering(lambda n, _: True), seconds=0.2) as server:
        child = subprocess.Popen([sys.executable, "-c", script, str(folder), server.url], stdout=subprocess.PIPE)
        assert child.stdout is not None
        while server.counts.in_flight < 16:
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        told = child.stdout.read().decode()
        child.wait()
        child.stdout.close()
        asked = server.counts.requests
    assert "ended well" in told
    with Run(folder, read_only=True) as run:
        ledger = audit(load_index(run.journals))
    assert ledger.total.in_doubt == 0
    assert ledger.total.paid == ledger.total.asked < asked + 1
    assert ledger.total.paid < 80


def test_status_tells_every_pair(folder: Path) -> None:
    with FakeServer(answering(lambda n, _: True)) as server:
        go(folder, teacher(server.url))
    told = json.loads((folder / "status.json").read_text(encoding="utf-8"))
    row = told["teachers"][0]
    assert row["queries"] == 12 == row["verified"]
