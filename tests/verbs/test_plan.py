"""Claims about plan, its run, dry-run, status and audit: from the command line, over a real HTTP server."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stillhouse.testing import FakeServer

RECIPE = """\
name: planned
queries: [{path: q.jsonl, category: math}]
teachers:
  - {name: a, base_url: "URL", model: fake-model, max_tokens: 300, timeout: 20, api_key_env: PLAN_KEY, price: {input: 1, output: 200}}
  - {name: b, base_url: "URL", model: fake-model, max_tokens: 300, timeout: 20, api_key_env: PLAN_KEY, temperature: 0.2, stream: true, price: {input: 1, output: 400}}
curate: {near_duplicates: false}
distill: {attempts: 3, budget_usd: 50}
tokenizer: "word_counts:WordCounts"
"""  # noqa: E501  a recipe as people write it
TOKENIZER = """
class WordCounts:
    name = "words"
    def __call__(self, texts): return [len(t.split()) for t in texts]
    def encode(self, texts): return [[hash(w) % 10**6 for w in t.split()] for t in texts]
"""
KEY = "sk-plan-5f3c2e1d0b"
LOOP = "and so we add the two numbers again, which gives what it gave before, and we check it once more to be sure; "


def answer(body: dict[str, Any]) -> Any:
    n = int(re.findall(r"What is (\d+)", body["messages"][-1]["content"])[0])
    draw = random.Random(f"{n} {body['seed']}")
    if body.get("stream") and draw.random() < 0.1:
        return {"content": "<think>" + LOOP * 10, "finish_reason": "length"}
    words = "word " * int(draw.lognormvariate(3, 0.5))
    if draw.random() < 0.05:
        return {"content": f"<think>{words} {KEY}</think><answer>{KEY}</answer>"}  # it was shown the key
    return f"<think>{words}</think><answer>\\boxed{{{2 * n if draw.random() < 0.7 else -1}}}</answer>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = ({"id": f"q{n}", "query": f"What is {n} + {n}?", "ground_truth": str(2 * n)} for n in range(160))
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "word_counts.py").write_text(TOKENIZER, encoding="utf-8")
    return tmp_path


def stillhouse(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(folder), *(p for p in sys.path if p)])
    return subprocess.run(
        [sys.executable, "-m", "stillhouse", *words], cwd=folder, capture_output=True, text=True, timeout=240,
        check=False, env={**os.environ, "PYTHONPATH": paths, "PLAN_KEY": KEY},
    )  # fmt: skip


@pytest.mark.slow
def test_a_plan_its_run_and_whether_the_forecast_held(folder: Path) -> None:
    with FakeServer(answer, key=KEY, faults={"500": 0.05, "cut_body": 0.03, "html": 0.02, "bad_utf8": 0.02}) as server:
        (folder / "r.yaml").write_text(RECIPE.replace("URL", server.url), encoding="utf-8")
        run = folder / "runs" / "planned"

        dry = stillhouse(folder, "run", "r.yaml", "--dry-run")
        assert dry.returncode == 0, dry
        assert "160 of 160 pairs are open: 160 requests at least, 480 at most" in dry.stdout
        assert "144,000 completion tokens" in dry.stdout
        assert server.counts.requests == 0 and not run.exists()

        planned = stillhouse(folder, "plan", "r.yaml", "--pilot", "40", "--json")
        assert planned.returncode == 0, planned
        forecast = json.loads(planned.stdout)["stages"]["plan"]
        for name in ("a", "b"):
            made = forecast["teachers"][name]
            assert made["pilot_queries"] == 40 and made["pilot_waiting"] == 0
            for measure in ("cost_usd", "tokens", "verified", "replies", "hours", "verified_yield"):
                assert 0 < made[measure]["low"] <= made[measure]["expected"] <= made[measure]["high"], measure
            assert made["verified"]["high"] <= 160
            assert made["throughput"]["tokens_per_second"] > 0
        both = sum(forecast["teachers"][name]["cost_usd"]["expected"] for name in "ab")
        assert forecast["total"]["cost_usd"]["expected"] == pytest.approx(both)
        pilot = server.counts.answered

        again = stillhouse(folder, "plan", "r.yaml", "--pilot", "40")
        assert server.counts.answered == pilot, "the pilot is kept"
        assert "forecast for 160 queries from a pilot of 40; in brackets 90 % intervals" in again.stdout
        assert "the budget of $50.00 carries it" in again.stdout

        rest = stillhouse(folder, "run", "r.yaml", "--dry-run")
        assert "120 of 160 pairs are open" in rest.stdout, "what stands in the journal is not asked again"

        ended = stillhouse(folder, "run", "r.yaml")
        assert ended.returncode == 0, ended
        assert "the forecast held in" in ended.stdout
        report = json.loads((run / "report.json").read_text(encoding="utf-8"))
        check = report["forecast_check"]
        assert check["comparable"] and check["of"] == 15
        for name in ("a", "b"):
            assert check["teachers"][name]["verified"]["actual"] == report["teachers"][name]["verified"]
            assert check["teachers"][name]["cost_usd"]["actual"] == pytest.approx(report["teachers"][name]["cost_usd"])
        assert check["held"] >= 9, check

        ledger = json.loads(stillhouse(folder, "audit", str(run), "--json").stdout)
        assert ledger["total"] == report["account"]["total"], "the report tells what the audit tells"
        total = ledger["total"]
        assert total["asked"] == server.counts.requests
        assert total["paid_twice"] == total["in_doubt"] == total["in_flight"] == 0 and ledger["clean"]
        stopped = ledger["teachers"]["b"]["distill"]
        assert stopped["stopped"] > 0
        assert stopped["saved_usd"] == pytest.approx(stopped["saved_tokens"] * 400 / 1e6)
        told = stillhouse(folder, "audit", str(run)).stdout
        assert f"b: {stopped['stopped']:,} replies were stopped early" in told
        assert "nothing was paid twice" in told

        status = stillhouse(folder, "status", str(run)).stdout
        assert "160/160 pairs at rest" in status and "per verified" in status and "done" in status
        assert "stopped early, which saved at most" in status

        done = stillhouse(folder, "run", "r.yaml", "--dry-run")
        assert "all 160 pairs are at rest: nothing would be asked" in done.stdout

        more = (folder / "r.yaml").read_text(encoding="utf-8").replace("attempts: 3", "attempts: 4")
        (folder / "r.yaml").write_text(more, encoding="utf-8")
        changed = stillhouse(folder, "run", "r.yaml", "--until", "distill")
        assert "the forecast cannot be checked: a is asked otherwise than it was then" in changed.stdout

    for file in run.rglob("*"):
        if file.is_file():
            assert KEY.encode() not in file.read_bytes(), file


def test_mistakes_are_told_before_the_first_paid_call(folder: Path) -> None:
    with FakeServer(answer, key=KEY) as server:
        text, price = RECIPE.replace("URL", server.url), "input: 1, output: 200"
        for wrong, told in {
            text.replace("fake-model", "fake-modle"): "serves no model 'fake-modle'; did you mean 'fake-model'?",
            text.replace(price, "input: 0.0000003, output: 0.0000012"): "looks like dollars per token",
            text.replace("PLAN_KEY", "NO_SUCH_KEY"): "NO_SUCH_KEY is not set",
        }.items():
            (folder / "r.yaml").write_text(wrong, encoding="utf-8")
            ended = stillhouse(folder, "run", "r.yaml")
            assert ended.returncode == 2, (told, ended)
            assert told in ended.stderr, ended.stderr
        assert server.counts.paid.total() == 0
