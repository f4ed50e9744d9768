"""Claims about the front door: it is light, mistakes exit with 2 and no traceback, and one verb is one story."""

import subprocess
import sys
from pathlib import Path

import pytest

VERBS = ("demo", "init", "plan", "run", "curate", "distill", "filter", "export", "compare", "train", "evaluate",
         "report", "verify", "status", "audit", "doctor")  # fmt: skip


def stillhouse(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stillhouse", *words], capture_output=True, text=True, cwd=cwd, timeout=120, check=False
    )


def test_help_names_every_verb() -> None:
    shown = stillhouse("--help")
    assert shown.returncode == 0
    for verb in VERBS:
        assert f"\n  {verb} " in shown.stdout


@pytest.mark.parametrize("words", [[], ["import stillhouse"], ["import stillhouse.cli"]])
def test_the_front_door_loads_the_standard_library_and_typer_only(words: list[str]) -> None:
    code = "; ".join([*words, "import sys", "print(' '.join(sorted({m.split('.')[0] for m in sys.modules})))"])
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"numpy", "pyarrow", "aiohttp", "pydantic", "rich", "orjson", "sympy", "yaml", "zstandard"}
    assert not heavy & set(loaded)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "nowhere.yaml"], "there is no such recipe"),
        (["status", "nowhere"], "there is no run folder here"),
        (["report", "nowhere"], "no run stands here"),
        (["verify", "nowhere.jsonl", "--out", "x.jsonl"], "there is no such file"),
        (["compare", "only-one"], "two datasets"),
        (["distil", "x"], "No such command"),
    ],
)
def test_a_mistake_is_told_and_exits_with_2(words: list[str], told: str, tmp_path: Path) -> None:
    ended = stillhouse(*words, cwd=tmp_path)
    assert ended.returncode == 2, ended
    assert told in ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr


def test_init_writes_a_recipe_that_is_valid_once_its_files_are_there(tmp_path: Path) -> None:
    assert stillhouse("init", cwd=tmp_path).returncode == 0
    (tmp_path / "queries.jsonl").write_text('{"query": "What is 1 + 1?", "ground_truth": "2"}\n', encoding="utf-8")
    from stillhouse.recipe import load_recipe

    assert load_recipe(tmp_path / "recipe.yaml").name == "pilot"
    again = stillhouse("init", cwd=tmp_path)
    assert again.returncode == 2
    assert "stands already" in again.stderr
