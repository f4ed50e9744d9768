"""The whole experiment at toy size with the embedded parts: distil, train, evaluate, decide."""

import json
import subprocess
import sys

import pytest

for package in ("torch", "transformers", "gguf", "xllamacpp"):
    pytest.importorskip(package)

RECIPE = """
name: toy
queries: [{path: q.jsonl, category: math, terms: "yes"}]
teachers:
  - {name: thinks, profile: embedded, examples: demo, system_prompt: "", suffixes: {}, max_tokens: 48}
  - {name: direct, profile: embedded, examples: demo-direct, system_prompt: "", suffixes: {}, temperature: 0.4,
     max_tokens: 48}
curate: {near_duplicates: false}
distill: {attempts: 3, workers: 1}
train: {base: embedded, max_tokens: 400, epochs: 2, lora_rank: 8, learning_rate: 1.0e-3}
evaluate:
  examples: demo
  benchmarks: [{queries: [{path: held.jsonl, category: math}], samples: 1, max_tokens: 40}]
"""


def sums(pairs):
    rows = [{"query": f"What is {a} + {b}?", "ground_truth": str(a + b)} for a, b in pairs]
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.slow
@pytest.mark.embedded
def test_a_toy_run_goes_from_queries_to_a_decision_by_students(tmp_path):
    (tmp_path / "q.jsonl").write_text(sums([(1, n) for n in range(3, 9)]))
    (tmp_path / "held.jsonl").write_text(sums([(2, n) for n in range(3, 7)]))
    (tmp_path / "r.yaml").write_text(RECIPE)
    command = [sys.executable, "-m", "stillhouse", "run", "r.yaml", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode in (0, 4), done.stderr
    run = tmp_path / "runs/toy"
    report = json.loads((run / "report.json").read_text())
    assert report["decision"]["basis"] == "students"
    assert {row["teacher"] for row in report["joined"]} == {"thinks", "direct"}
    assert [caveat for caveat in report["caveats"] if "of one base family" in caveat], "teachers and students are kin"
    for name in ("base", "base-shown", "thinks", "direct"):
        scores = json.loads((run / "7-evaluations" / f"{name}.json").read_text())["benchmarks"]["held-out"]
        assert (scores["items"], scores["asked"], scores["max_tokens"]) == (4, 4, 40)
    for name in ("thinks", "direct"):
        plan = json.loads((run / "6-students" / name / "seed-42/plan.json").read_text())
        assert plan["done"]
        assert plan["samples"] == report["parallel"] - _left_out(run, name)
        assert plan["last_loss"] < plan["first_loss"], "six steps on its own teacher's words lower the loss"
        assert "<think>" in (run / "6-students" / name / "rendered.txt").read_text() or name == "direct"


def _left_out(run, name):
    return len((run / "6-students" / name / "excluded.jsonl").read_text().splitlines())
