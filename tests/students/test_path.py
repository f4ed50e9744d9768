"""Students as a user meets them: `train` and `evaluate` from the command line, in a run, and against an endpoint."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stillhouse.testing import FakeServer

for package in ("torch", "transformers", "gguf", "xllamacpp"):
    pytest.importorskip(package)

TEACHERS = """\
name: small
queries: [{path: q.jsonl, category: math, terms: "yes"}]
teachers:
  - {name: a, base_url: "URL", model: fake-model, terms: "yes", max_tokens: 400, price: {input: 1, output: 2}}
  - {name: b, base_url: "URL", model: fake-model, terms: "yes", max_tokens: 400, temperature: 0.3, price: {input: 1, output: 4}}
curate: {near_duplicates: false}
distill: {attempts: 2, workers: 2}
tokenizer: "word_counts:WordCounts"
"""  # noqa: E501  a recipe as people write it
STUDENTS = """
train: {base: "BASE", max_tokens: 800, sequence_tokens: 1600, epochs: 1, threads: 1, lora_rank: 2, batch: 4}
evaluate:
  benchmarks: [{name: held, queries: [{path: held.jsonl, category: math}], samples: 2, max_tokens: 8}]
"""
TOKENIZER = """
class WordCounts:
    name = "words"
    def __call__(self, texts): return [len(t.split()) for t in texts]
    def encode(self, texts): return [[hash(w) % 10**6 for w in t.split()] for t in texts]
"""


def sums(first: int, last: int) -> str:
    rows = [{"query": f"What is {n} + {n}?", "ground_truth": str(2 * n), "id": f"q{n}"} for n in range(first, last)]
    return "".join(json.dumps(row) + "\n" for row in rows)


def answer(body: dict[str, Any]) -> str:
    n = int(re.search(r"What is (\d+) \+", body["messages"][-1]["content"])[1])
    return f"<think>{n} and {n}</think><answer>\\boxed{{{2 * n if n % 5 else 1}}}</answer>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "q.jsonl").write_text(sums(1, 13), encoding="utf-8")
    (tmp_path / "held.jsonl").write_text(sums(100, 106), encoding="utf-8")
    rows = [{"problem": f"What is {n} + {n}?", "answer": 2 * n, "id": n} for n in range(200, 230)]
    (tmp_path / "aime.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "word_counts.py").write_text(TOKENIZER, encoding="utf-8")
    return tmp_path


def write(folder: Path, text: str, **words: str) -> None:
    for name, value in words.items():
        text = text.replace(name, value)
    (folder / "r.yaml").write_text(text, encoding="utf-8")


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *(p for p in sys.path if p)])}


def stillhouse(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stillhouse", *words], cwd=folder, capture_output=True, text=True, timeout=1800,
        check=False, env=environment(folder),
    )  # fmt: skip


@pytest.mark.slow
def test_a_run_trains_and_evaluates_compares_again_and_stands_when_it_is_run_again(folder, tiny_gguf):
    with FakeServer(answer) as server:
        write(folder, TEACHERS + STUDENTS, URL=server.url, BASE=str(tiny_gguf))
        ended = stillhouse(folder, "run", "r.yaml")
        assert ended.returncode == 0, ended
        run, asked = folder / "runs/small", server.counts.requests
        order = [line.split()[0] for line in ended.stdout.splitlines() if re.match(r"^[a-z]+ +[\d.]+ s", line)]
        assert order == ["curate", "distill", "filter", "export", "compare", "train", "evaluate", "compare", "report"]
        report = json.loads((run / "report.json").read_text())
        assert report["decision"]["basis"] == "students"
        assert "This is a probe by small students (tiny.gguf, lora" in report["decision"]["sentence"]
        assert [row["teacher"] for row in report["joined"]] == ["a", "b"]
        assert report["joined"][0]["student"]["benchmarks"]["held"]["items"] == 6
        assert {row["benchmark"] for row in report["student_pairs"]} == {"held"}
        curves = [json.loads(line) for line in (run / "6-students/losses.jsonl").read_text().splitlines()]
        assert {(row["student"], row["trained_by"]) for row in curves} == {("a", "here"), ("b", "here")}
        base = json.loads((run / "7-evaluations/base.json").read_text())
        assert (base["control"], base["benchmarks"]["held"]["asked"]) == ("base", 12)

        again = stillhouse(folder, "run", "r.yaml")
        assert again.returncode == 0, again
        assert again.stdout.count("unchanged") == 9
        assert server.counts.requests == asked
        teachers = stillhouse(folder, "evaluate", str(run), "--of", "teacher-a", "--teachers", "--limit", "4")
        assert teachers.returncode == 0, teachers
        assert server.counts.requests == asked + 8
        scores = json.loads((run / "7-evaluations/teacher-a.json").read_text())["benchmarks"]["held"]
        assert (scores["items"], scores["pass_at_1"]) == (4, pytest.approx(0.75, abs=0.26))
        assert (run / "7-evaluations/base.json").exists(), "what was not asked now stands"
        assert stillhouse(folder, "run", "r.yaml", "--until", "distill").stdout.count("unchanged") == 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_ends_a_training_in_a_checkpoint_and_exits_with_130(folder, tiny_gguf, number):
    with FakeServer(answer) as server:
        endless = (TEACHERS + STUDENTS).replace("epochs: 1", "epochs: 5000")
        write(folder, endless, URL=server.url, BASE=str(tiny_gguf))
        command = [sys.executable, "-m", "stillhouse", "run", "r.yaml"]
        child = subprocess.Popen(
            command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        student, began = folder / "runs/small/6-students/a/seed-42", time.monotonic()
        while not (student / "losses.jsonl").exists() or len((student / "losses.jsonl").read_text().splitlines()) < 3:
            assert child.poll() is None and time.monotonic() - began < 300, child.communicate()
            time.sleep(0.05)
        child.send_signal(number)
        told, _ = child.communicate(timeout=120)
    assert child.returncode == 130, told
    assert "goes on from the last checkpoint" in told
    assert (student / "checkpoint.pt").exists()
    assert json.loads((folder / "runs/small/status.json").read_text())["state"] == "interrupted"


def test_a_recipe_without_students_never_loads_torch(folder):
    with FakeServer(answer) as server:
        write(folder, TEACHERS, URL=server.url)
        code = (
            "import sys; from pathlib import Path; from stillhouse.pipeline import run_recipe; "
            "o = run_recipe(Path('r.yaml'), None, quiet=True); "
            "print(o.exit_code, list(o.stages), 'torch' in sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=environment(folder)
        )
    assert done.stdout.strip() == "0 ['curate', 'distill', 'filter', 'export', 'compare', 'report'] False", done


@pytest.mark.slow
def test_a_hand_off_leaves_data_and_config_and_says_what_evaluation_waits_for(folder, student_folder):
    handed = """
train: {base: "org/large", tokenizer: "PLACE", to: axolotl, max_tokens: 1000}
evaluate: {benchmarks: ["aime2024:2=aime.jsonl"]}
"""
    with FakeServer(answer) as server:
        write(folder, TEACHERS + handed, URL=server.url, PLACE=str(student_folder))
        ended = stillhouse(folder, "run", "r.yaml")
        assert ended.returncode == 4, ended
        assert "waits: evaluate: the students are trained by axolotl" in ended.stdout
        run = folder / "runs/small"
        for name in ("a", "b"):
            assert (run / "6-students" / name / "axolotl/sft.yaml").is_file()
        assert json.loads((run / "report.json").read_text())["decision"]["basis"] == "data"
        served = """jsonl"], students: [
    {name: sa, teacher: a, base_url: "URL", model: fake-model},
    {name: sb, teacher: b, base_url: "URL", model: fake-model, temperature: 0.2}]}"""
        served = handed.replace('jsonl"]}', served)
        write(folder, TEACHERS + served, URL=server.url, PLACE=str(student_folder))
        ended = stillhouse(folder, "run", "r.yaml")
        assert ended.returncode == 0, ended
        report = json.loads((run / "report.json").read_text())
    assert report["decision"]["basis"] == "students"
    assert [row["score"] for row in report["students"]] == [pytest.approx(0.8)] * 2
    assert "probe" not in report["decision"]["sentence"]


@pytest.mark.slow
def test_check_shows_the_mask_and_another_trainer_is_one_option(folder, student_folder, tiny_gguf):
    with FakeServer(answer) as server:
        write(folder, TEACHERS, URL=server.url)
        assert stillhouse(folder, "run", "r.yaml", "--until", "export").returncode == 0
    run = folder / "runs/small"
    bare = stillhouse(folder, "train", str(run))
    assert bare.returncode == 2
    assert "--base embedded" in bare.stderr
    shown = stillhouse(folder, "train", str(run), "--base", str(tiny_gguf), "--check")
    assert shown.returncode == 0, shown
    assert "a: thinking and answer stand in the text and inside the loss mask" in shown.stdout
    assert re.search(r"^> <think>$", shown.stdout, re.M)
    assert not list(run.glob("6-students/*/seed-*"))
    written = stillhouse(folder, "train", str(run), "--base", str(student_folder), "--to", "trl", "--json")
    assert written.returncode == 0, written
    assert json.loads(written.stdout)["stages"]["train"]["a"]["students"] == [str(run / "6-students/a/trl")]
    assert (run / "6-students/a/trl/train.jsonl").is_file()
    drops = (Path(__file__).parent / "templates/drops_every_thought.jinja").read_text()
    settings = json.loads((student_folder / "tokenizer_config.json").read_text()) | {"chat_template": drops}
    (student_folder / "tokenizer_config.json").write_text(json.dumps(settings))
    refused = stillhouse(folder, "train", str(run), "--base", str(student_folder), "--to", "trl")
    assert refused.returncode == 2
    assert "thinking would not be trained on" in refused.stderr


@pytest.mark.parametrize(
    ("added", "told"),
    [
        ("train: {base: Qwen/Qwen2.5-32B}", "hand it off"),
        ("train: {base: embedded, to: axolotl}", "a trainer needs a base of transformers"),
        ("train: {to: axolotl, gpus: 48}", "64 sequences a step cannot be shared by 48 GPUs"),
        ("train: {base: embedded, teachers: [aa]}", "there is no teacher 'aa'; did you mean a?"),
        ("evaluate: {benchmarks: [math50], teachers: true}", "there is no benchmark 'math50'; did you mean math500?"),
        ("evaluate: {benchmarks: ['math500:4=nowhere.jsonl'], teachers: true}", "there is no such file: nowhere.jsonl"),
        ("evaluate: {benchmarks: [math500]}", "nobody is evaluated"),
        ("train: {base: embedded, seeds: [1, 1]}", "a seed stands twice"),
    ],
)
def test_mistakes_about_students_are_told_before_anything_is_asked(folder, added, told):
    from stillhouse.recipe import load_recipe
    from stillhouse.records import UserMistake

    write(folder, TEACHERS + added, URL="http://127.0.0.1:9/v1")
    with pytest.raises(UserMistake, match=re.escape(told)):
        load_recipe(folder / "r.yaml")


def test_a_trainer_that_there_is_not_is_told_with_those_that_there_are(folder):
    from stillhouse.recipe import load_recipe
    from stillhouse.recipe_students import train_settings
    from stillhouse.records import UserMistake

    write(folder, TEACHERS, URL="http://127.0.0.1:9/v1")
    with pytest.raises(UserMistake, match="--to axolotel: there is no such trainer; the trainers are llamafactory, ax"):
        train_settings(load_recipe(folder / "r.yaml"), folder, to="axolotel")


def test_terms_and_missing_packages_stop_a_run_before_it_pays(folder, monkeypatch):
    from stillhouse.pipeline import run_recipe
    from stillhouse.records import UserMistake

    monkeypatch.syspath_prepend(str(folder))
    text = TEACHERS.replace('model: fake-model, terms: "yes"', 'model: fake-model, terms: "no"', 1)
    write(folder, text + "train: {base: embedded}", URL="http://127.0.0.1:9/v1")
    find = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "torch" else find(name, *rest))
    with pytest.raises(UserMistake) as caught:
        run_recipe(folder / "r.yaml", folder / "out", quiet=True)
    assert any("a: its terms forbid training" in problem for problem in caught.value.problems)
    assert any("torch is not installed: `pip install 'stillhouse[train]'`" in p for p in caught.value.problems)
    assert not (folder / "out/1-queries").exists()


def test_an_endpoint_is_evaluated_by_itself_and_never_asked_twice(folder):
    named = ("--model", "fake-model", "--benchmarks", "aime2024:2=aime.jsonl", "--out", "e")
    with FakeServer(answer) as server:
        some = stillhouse(folder, "evaluate", server.url, *named, "--limit", "10", "--json")
        assert some.returncode == 0, some
        assert server.counts.requests == 20
        poor = stillhouse(folder, "evaluate", server.url, *named, "--price", "1:2", "--budget-usd", "0.00001")
        assert poor.returncode == 3, poor
        every = stillhouse(folder, "evaluate", server.url, *named, "--as", "lm-eval")
        assert every.returncode == 0, every
        assert server.counts.requests == 60
        scores = json.loads((folder / "e/7-evaluations/fake-model.json").read_text())["benchmarks"]["aime2024"]
        assert (scores["items"], scores["asked"], scores["pass_at_1"]) == (30, 60, pytest.approx(0.8))
        assert scores["pass_at_k"] == {"1": pytest.approx(0.8), "2": pytest.approx(0.8)}
        theirs = folder / "e/7-evaluations/lm-eval/fake-model/results_stillhouse.json"
        again = stillhouse(folder, "evaluate", server.url, *named, "--against", str(theirs))
        assert "lm-eval (exact_match,none) 80.0 %: within both errors" in again.stdout, again
        assert server.counts.requests == 60
        body = stillhouse(folder, "audit", "e", "--json")
        assert json.loads(body.stdout)["total"]["paid_twice"] == 0


def test_kill_9_in_an_evaluation_loses_nothing_that_was_paid(folder):
    words = ["--model", "fake-model", "--benchmarks", "aime2024:8=aime.jsonl", "--out", "e"]
    with FakeServer(answer, seconds=0.05) as server:
        first = subprocess.Popen(
            [sys.executable, "-m", "stillhouse", "evaluate", server.url, *words], cwd=folder,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(folder),
        )  # fmt: skip
        waited = time.monotonic()
        while server.counts.requests < 90 and time.monotonic() - waited < 120:
            time.sleep(0.01)
        first.send_signal(signal.SIGKILL)
        first.wait()
        before = server.counts.requests
        assert before < 240
        ended = stillhouse(folder, "evaluate", server.url, *words)
        assert ended.returncode == 0, ended
        assert server.counts.requests - 240 <= 64, "at most what was in flight is asked again"
    scores = json.loads((folder / "e/7-evaluations/fake-model.json").read_text())["benchmarks"]["aime2024"]
    assert scores["asked"] == 240


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["http://127.0.0.1:9/v1", "--benchmarks", "math500"], "`--model NAME` is missing"),
        (["http://127.0.0.1:9/v1", "--model", "m"], "no benchmark is named"),
        (["http://127.0.0.1:9/v1", "--model", "m", "--benchmarks", "math50:4"], "did you mean math500?"),
        (["http://127.0.0.1:9/v1", "--model", "m", "--benchmarks", "aime2024:1=aime.jsonl"], "127.0.0.1:9"),
        (["http://127.0.0.1:9/v1", "--model", "m", "--benchmarks", "math500:1=aime.jsonl"], "30 items, but it has 500"),
        (["runs/none", "--benchmarks", "math500"], "no run stands here"),
        (["runs/none", "--model", "m"], "--model goes with an endpoint"),
    ],
)
def test_mistakes_of_evaluate_are_told_with_what_to_do(folder, words, told, monkeypatch):
    from typer.testing import CliRunner

    from stillhouse.cli import app
    from stillhouse.records import UserMistake

    monkeypatch.chdir(folder)
    ended = CliRunner().invoke(app, ["evaluate", *words])
    assert isinstance(ended.exception, UserMistake), ended
    assert told in str(ended.exception)
    for file in folder.glob("runs/*/status.json"):
        assert json.loads(file.read_text())["state"] == "failed", "nobody is told that it still runs"
