"""Claims about whole runs from the command line, over a real HTTP server: as its user would try it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from stillhouse.testing import FakeServer

ROWS: list[dict[str, Any]] = [
    {"id": f"q{n}", "query": f"What is {n} + {n}?", "ground_truth": str(2 * n)} for n in range(20)
]
BAD: list[dict[str, Any]] = [
    {"id": "copy", "query": "  What is 3 + 3? ", "ground_truth": "6"},
    {"id": "empty", "query": "", "ground_truth": "1"},
    {"id": "url", "query": "What does https://example.org say of 3 + 3?", "ground_truth": "6"},
    {"id": "bare", "query": "What is the sum of nothing at all?"},
]
RECIPE = """\
name: small
queries: [{path: q.jsonl, category: math}]
teachers:
  - {name: a, base_url: "URL", model: fake-model, thinking: required, max_tokens: 400, timeout: 20, price: {input: 1, output: 2}}
  - {name: b, base_url: "URL", model: fake-model, thinking: required, max_tokens: 400, timeout: 20, temperature: 0.3, price: {input: 1, output: 4}}
curate: {near_duplicates: false}
distill: {attempts: 3}
tokenizer: "word_counts:WordCounts"
"""  # noqa: E501  a recipe as people write it
TOKENIZER = """
class WordCounts:
    name = "words"
    def __call__(self, texts): return [len(t.split()) for t in texts]
    def encode(self, texts): return [[hash(w) % 10**6 for w in t.split()] for t in texts]
"""


def answer(body: dict[str, Any]) -> str:
    found = re.search(r"What is (\d+) \+", body["messages"][-1]["content"])
    n = int(found.group(1)) if found else 0
    right = n % 3 < 2 if body["temperature"] > 0.5 else n % 4 == 0
    return f"<think>We add {n} and {n}.</think><answer>It is \\boxed{{{2 * n if right else -1}}}.</answer>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(r) + "\n" for r in [*ROWS, *BAD]), encoding="utf-8")
    (tmp_path / "word_counts.py").write_text(TOKENIZER, encoding="utf-8")
    return tmp_path


def stillhouse(folder: Path, *words: str, url: str = "") -> subprocess.CompletedProcess[str]:
    if url:
        (folder / "r.yaml").write_text(RECIPE.replace("URL", url), encoding="utf-8")
    paths = [str(folder), *(p for p in sys.path if p)]
    return subprocess.run(
        [sys.executable, "-m", "stillhouse", *words], cwd=folder, capture_output=True, text=True, timeout=180,
        check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip


def test_a_run_from_queries_to_report_and_again_and_changed(folder: Path) -> None:
    with FakeServer(answer) as server:
        ended = stillhouse(folder, "run", "r.yaml", url=server.url)
        assert ended.returncode == 0, ended
        asked = server.counts.requests
        run = folder / "runs" / "small"
        report = json.loads((run / "report.json").read_text(encoding="utf-8"))
        a, b = report["teachers"]["a"], report["teachers"]["b"]
        assert (a["queries"], a["verified"], b["verified"]) == (20, 14, 5)
        for facts in (a, b):
            resting = sum(facts[k] for k in ("verified", "unverified", "waiting", "exhausted", "undecided", "too_long"))
            assert facts["queries"] == resting
        assert a["verified_yield"] == pytest.approx(0.7)
        assert report["decision"]["basis"] == "data"
        assert "distil from" not in report["decision"]["sentence"]
        assert report["decision"]["sentence"] in ended.stdout
        kept = pq.read_table(run / "1-queries" / "kept.parquet")
        rejected = pq.read_table(run / "1-queries" / "rejected.parquet").to_pylist()
        assert kept.num_rows + len(rejected) == len(ROWS) + len(BAD)
        assert {r["id"]: r["rule"] for r in rejected} == {
            "copy": "duplicate", "empty": "no_text", "url": "url", "bare": "no_reference",
        }  # fmt: skip
        rows = pq.read_table(run / "5-datasets" / "a" / "superset.parquet").to_pylist()
        assert len(rows) == a["kept"] == 14
        assert {r["id"] for r in rows} == {f"q{n}" for n in range(20) if n % 3 < 2}
        assert (run / "report.html").stat().st_size > 10_000

        assert stillhouse(folder, "run", "r.yaml").stdout.count("unchanged") == 6
        again = stillhouse(folder, "run", "r.yaml", "--json")
        assert again.returncode == 0
        assert json.loads(again.stdout)["decision"] == report["decision"]
        assert server.counts.requests == asked, "to run again asks nothing"
        for stage in ("curate", "distill", "filter", "export", "compare", "report"):
            alone = stillhouse(folder, stage, str(run))
            assert alone.returncode == 0, alone
            assert "unchanged" in alone.stdout

        more = (folder / "r.yaml").read_text(encoding="utf-8").replace("attempts: 3", "attempts: 4")
        (folder / "r.yaml").write_text(more, encoding="utf-8")
        changed = stillhouse(folder, "run", "r.yaml")
        assert changed.returncode == 0
        assert "attempts: 4" in changed.stdout, "a changed recipe is told as a diff"
        assert (run / "recipe.1.yaml").is_file()
        assert server.counts.answered > asked - 40, "the failed pairs got one attempt more"


def test_a_run_until_curate_needs_no_endpoint_and_a_dead_one_is_told(folder: Path) -> None:
    dead = "http://127.0.0.1:9/v1"
    assert stillhouse(folder, "run", "r.yaml", "--until", "curate", url=dead).returncode == 0
    ended = stillhouse(folder, "run", "r.yaml")
    assert ended.returncode == 2
    assert "127.0.0.1:9" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list((folder / "runs/small/2-responses").glob("*.journal"))


def test_a_broken_line_is_told_with_file_and_line(folder: Path) -> None:
    with (folder / "q.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"query": "cut in the mid\n')
    ended = stillhouse(folder, "run", "r.yaml", "--until", "curate", url="http://127.0.0.1:9/v1")
    assert ended.returncode == 2
    assert f"q.jsonl:{len(ROWS) + len(BAD) + 1}" in ended.stderr


def test_a_budget_stops_with_3_and_its_report_stands(folder: Path) -> None:
    with FakeServer(answer) as server:
        (folder / "r.yaml").write_text(
            RECIPE.replace("URL", server.url).replace("attempts: 3", "attempts: 3, budget_usd: 0.004"), encoding="utf-8"
        )
        ended = stillhouse(folder, "run", "r.yaml")
    assert ended.returncode == 3, ended
    assert "budget" in ended.stdout
    assert (folder / "runs/small/report.html").is_file()


def test_a_second_run_on_the_folder_is_told_who_holds_it(folder: Path) -> None:
    with FakeServer(answer, seconds=6.0) as server:  # still in flight however slow this machine is
        stillhouse(folder, "init", "unused.yaml", url=server.url)
        paths = os.pathsep.join([str(folder), *(p for p in sys.path if p)])
        first = subprocess.Popen(
            [sys.executable, "-m", "stillhouse", "run", "r.yaml"], cwd=folder, stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
        waited = time.monotonic()
        while server.counts.requests < 3 and time.monotonic() - waited < 60:
            time.sleep(0.02)
        second = stillhouse(folder, "run", "r.yaml")
        assert second.returncode == 2
        assert str(first.pid) in second.stderr
        told = stillhouse(folder, "status", "runs/small", "--json")
        assert json.loads(told.stdout)["state"] == "running"
        first.send_signal(signal.SIGINT)
        assert first.wait(60) == 130, "the first Ctrl-C drains"
        server.seconds = 0.0
        go_on = stillhouse(folder, "run", "r.yaml")
        assert go_on.returncode == 0, go_on
    audited = json.loads(stillhouse(folder, "audit", "runs/small", "--json").stdout)
    assert audited["total"]["paid_twice"] == audited["total"]["in_doubt"] == 0


def test_verify_of_a_file_keeps_the_order_and_exits_with_4_on_an_unknown(folder: Path) -> None:
    rows = [
        {"id": str(n), "category": "math", "query": f"What is {n} + 1?", "response": f"\\boxed{{{n + n % 2}}}",
         "ground_truth": str(n + 1)} for n in range(300)
    ]  # fmt: skip
    (folder / "r.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    ended = stillhouse(folder, "verify", "r.jsonl", "--out", "v.jsonl")
    assert ended.returncode == 0, ended
    told = [json.loads(line) for line in (folder / "v.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [t["id"] for t in told] == [r["id"] for r in rows]
    assert [t["outcome"] for t in told] == ["pass" if n % 2 else "fail" for n in range(300)]
    assert set(told[0]) == {"id", "outcome", "score", "rule", "reason"}
    rows.append({"id": "x", "category": "poetry", "query": "A poem?", "response": "Roses"})
    (folder / "r.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows[-2:]), encoding="utf-8")
    assert stillhouse(folder, "verify", "r.jsonl", "--out", "v.parquet").returncode in (2, 4)
