"""Claims about `stillhouse verify` of a file: order, every row accounted for, nothing judged twice, bounded memory."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stillhouse.engines.local import Local
from stillhouse.records import UserMistake, Verdict
from stillhouse.verbs import judging
from stillhouse.verbs.judging import in_order
from stillhouse.verbs.verify import verify
from stillhouse.verbs.verify_output import Output


def math(number: int, said: int | str, **more: Any) -> dict[str, Any]:
    return {"id": f"m{number}", "category": "math", "query": f"What is {number} + {number}?",
            "response": f"\\boxed{{{said}}}", "ground_truth": str(2 * number), **more}  # fmt: skip


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


MIXED: list[tuple[dict[str, Any], str, str]] = [
    (math(1, 2), "pass", "math_exact"),
    (math(1, 3), "fail", "math_exact"),
    (math(1, 2, finish_reason="length"), "fail", "truncated"),
    ({**math(1, 2), "response": "<think>a</think>"}, "fail", "malformed"),
    ({**math(1, 2), "response": None}, "unknown", "no_response"),
    ({**math(1, 2), "ground_truth": None}, "unknown", "no_reference"),
    ({"id": "i", "category": "if", "query": "q", "response": "fine",
      "instruction_constrain": {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}}, "pass", "ifeval"),
    ({"id": "i", "category": "if", "query": "q", "response": "fine",
      "instruction_constrain": {"instruction_id_list": ["form:haiku"], "kwargs": [{}]}}, "unknown",
     "unknown_constraint"),
    ({"id": "s", "category": "science", "query": "q", "response": "\\boxed{B}", "ground_truth": "B"}, "pass", "choice"),
    ({"id": "o", "category": "other", "query": "q", "response": "Hello"}, "unknown", "no_verifier"),
    ({"id": "p", "conversations": [
        {"from": "human", "value": "2+2?", "info": {"category": "math", "ground_truth": "4"}},
        {"from": "assistant", "value": "<think>t</think><answer>\\boxed{4}</answer>", "info": None}]}, "pass",
     "math_exact"),
    ({"id": "q", "category": "math", "messages": [
        {"role": "user", "content": "2+3?", "info": {"reference_answer": "5"}},
        {"role": "assistant", "content": "\\boxed{5}", "info": None}]}, "pass", "math_exact"),
    ({"id": "r", "question": "2+4?", "answer": "\\boxed{6}", "question_source": "q", "category": "math",
      "ground_truth": "6"}, "pass", "math_exact"),
]  # fmt: skip


def test_every_row_of_every_shape_has_its_verdict_in_order(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", [row for row, _, _ in MIXED])
    outcome = verify(source, tmp_path / "out" / "v.jsonl", workers=1, quiet=True)
    told = read(tmp_path / "out" / "v.jsonl")
    assert [(t["id"], t["outcome"], t["rule"]) for t in told] == [(r["id"], o, u) for r, o, u in MIXED]
    assert outcome.exit_code == 4, "an unknown is told by the exit code"
    assert outcome.stages["verify"]["unknown_rules"]["no_verifier"] == 1
    assert not list(tmp_path.glob("out/*.partial"))

    table = pa.Table.from_pylist([math(n, 2 * n) for n in range(50)])
    pq.write_table(table, tmp_path / "math.parquet", row_group_size=7)
    outcome = verify(tmp_path / "math.parquet", tmp_path / "v.parquet", workers=1, quiet=True)
    rows = pq.read_table(tmp_path / "v.parquet").to_pylist()
    assert [r["id"] for r in rows] == [f"m{n}" for n in range(50)]
    assert {r["outcome"] for r in rows} == {"pass"} and outcome.exit_code == 0


BROKEN = '{"id": "cut'
WRONG: list[tuple[list[str], dict[str, Any], str]] = [
    ([json.dumps(math(1, 2)), BROKEN], {}, r"rows.jsonl:2:\d+: broken JSON"),
    (["[1]"], {}, "rows.jsonl:1:1: a line must hold a JSON object"),
    (['{"query": "q", "response": "a"}'], {}, "rows.jsonl:1: no category in the row"),
    (['{"query": "q", "response": "a", "category": "maths"}'], {}, "unknown category 'maths', did you mean 'math'"),
    (['{"query": "q", "output": "a", "category": "math"}'], {}, "no row holds a reply.*output"),
    ([json.dumps(math(1, 2))], {"category": "poetry"}, "--category poetry: the categories are"),
    ([json.dumps(math(1, 2))], {"diff": True}, "of a run, not of a file"),
    ([json.dumps(math(1, 2))], {"workers": 0}, "--workers 0"),
    ([json.dumps(math(1, 2))], {"out": "v.csv"}, "its name must end in"),
    ([json.dumps(math(1, 2))], {"out": "rows.jsonl"}, "is the file that is read"),
    ([json.dumps(math(1, 2))], {"out": "."}, "is a folder"),
    ([json.dumps(math(1, 2))], {"out": None}, "where to?"),
]


@pytest.mark.parametrize(("lines", "given", "says"), WRONG)
def test_what_the_user_can_mend_is_told_before_anything_is_judged(
    tmp_path: Path, lines: list[str], given: dict[str, Any], says: str
) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    named = {"out": "v.jsonl", **given}
    out = None if named["out"] is None else tmp_path / str(named["out"])
    with pytest.raises(UserMistake, match=says):
        verify(source, out, quiet=True, **{k: v for k, v in named.items() if k != "out"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows.jsonl"], "nothing is left behind"


def test_rows_without_a_category_take_that_of_the_file_or_of_the_option(tmp_path: Path) -> None:
    row = {k: v for k, v in math(1, 2).items() if k != "category"}
    for name, category in (("math.jsonl", None), ("x.jsonl", "math")):
        verify(write(tmp_path / name, [row]), tmp_path / "v.jsonl", category=category, workers=1, quiet=True)
        assert read(tmp_path / "v.jsonl")[0]["outcome"] == "pass"


def begin(folder: Path, source: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "stillhouse", "verify", str(source), "--out", "v.jsonl", "--workers", "1"], cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def wait_for_lines(partial: Path, count: int) -> None:
    until = time.monotonic() + 90
    while time.monotonic() < until:
        if partial.exists() and partial.read_bytes().count(b"\n") > count:
            return
        time.sleep(0.02)
    raise AssertionError(f"{partial} did not grow to {count} lines")


@pytest.mark.slow
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_what_was_judged_before_a_kill_or_ctrl_c_is_not_judged_again(tmp_path: Path, blow: signal.Signals) -> None:
    rows = [math(n, f"\\sqrt{{{4 * n * n}}}" if n % 3 else "\\sqrt{-1}") for n in range(4_000)]  # a worker's work
    source, partial = write(tmp_path / "rows.jsonl", rows), tmp_path / "v.jsonl.partial"
    going = begin(tmp_path, source)
    wait_for_lines(partial, 100)
    with pytest.raises(UserMistake, match="another process is writing"):
        verify(source, tmp_path / "v.jsonl", workers=1, quiet=True)
    os.kill(going.pid, blow)
    _, told = going.communicate(timeout=30)
    assert going.returncode == (130 if blow == signal.SIGINT else -signal.SIGKILL)
    if blow == signal.SIGINT:
        assert b"judged and kept in" in told and b"Traceback" not in told
    assert not (tmp_path / "v.jsonl").exists(), "the output appears whole or not at all"
    done = partial.read_bytes().count(b"\n") - 1
    if blow == signal.SIGKILL:
        with partial.open("ab") as file:
            file.write(b'{"id": "torn')

    mended = [*rows[: done - 10], math(7, 14, id="new"), *rows[done - 10 : done + 50]]
    write(source, mended)
    outcome = verify(source, tmp_path / "v.jsonl", workers=1, quiet=True)
    assert outcome.stages["verify"]["reused"] == done - 10, "up to the first row that is another one"
    assert [t["id"] for t in read(tmp_path / "v.jsonl")] == [r["id"] for r in mended]
    assert not partial.exists()


def test_an_input_that_became_shorter_and_other_verifier_versions_leave_nothing_behind(tmp_path: Path) -> None:
    def partial(versions: dict[str, str], rows: list[str]) -> Output:
        output = Output(tmp_path / "v.jsonl", versions)
        with pytest.raises(KeyError), output:
            for row in rows:
                if output.known(row) is None:
                    output.add(row, row, Verdict("pass", 1.0, "r"))
            raise KeyError
        return output

    assert partial({"math": "1"}, ["a", "b", "c"]).reused == 0
    assert partial({"math": "1"}, ["a", "b", "x", "d"]).reused == 2
    with Output(tmp_path / "v.jsonl", {"math": "1"}) as output:
        assert [output.known(row) for row in ("a", "b")] == ["pass", "pass"]
    assert [row["id"] for row in read(tmp_path / "v.jsonl")] == ["a", "b"]
    partial({"math": "1"}, ["a"])
    assert partial({"math": "2"}, ["a"]).reused == 0


def test_what_is_read_ahead_is_bounded_by_rows_and_by_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0

    def source(count: int) -> Iterator[int]:
        nonlocal taken
        for number in range(count):
            taken += 1
            yield number

    async def judge(number: int) -> Verdict:
        await asyncio.sleep(0.05 if number == 0 else 0)
        return Verdict("pass", 1.0, str(number))

    async def most(count: int, size: int) -> int:
        ahead, given = 0, 0
        async for number, verdict in in_order(source(count), judge, lambda _: size):
            assert verdict.rule == str(number) == str(given)
            given += 1
            ahead = max(ahead, taken - given)
        assert given == count
        return ahead

    monkeypatch.setattr(judging, "AHEAD_ROWS", 100)
    monkeypatch.setattr(judging, "AHEAD_CHARACTERS", 1000)
    assert asyncio.run(most(1000, 1)) <= 100
    taken = 0
    assert asyncio.run(most(1000, 100)) <= 12
    taken = 0
    assert asyncio.run(most(20, 5000)) <= 2, "one row alone may be larger than the window"


def test_shards_of_an_engine_give_the_verdicts_of_the_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "in.jsonl", [row for row, _, _ in MIXED] + [math(n, 2 * n) for n in range(20)])
    verify(source, tmp_path / "pool.jsonl", quiet=True)
    monkeypatch.setattr("stillhouse.verbs.verify_engine.SHARD_ROWS", 7)
    monkeypatch.setattr("stillhouse.verbs.verify.make_engine", lambda name, workers: Local(1))
    verify(source, tmp_path / "shards.jsonl", engine="ray", quiet=True)
    assert read(tmp_path / "shards.jsonl") == read(tmp_path / "pool.jsonl")


@pytest.mark.slow
def test_verify_runs_on_ray(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    source = write(tmp_path / "in.jsonl", [math(n, 2 * n + n % 2) for n in range(20)])
    outcome = verify(source, tmp_path / "out.jsonl", engine="ray", workers=1, quiet=True)
    assert (outcome.stages["verify"]["pass"], outcome.stages["verify"]["fail"]) == (10, 10)
    assert [row["id"] for row in read(tmp_path / "out.jsonl")] == [f"m{n}" for n in range(20)]
