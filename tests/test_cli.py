"""Claims about the front door: it is light, mistakes exit with 2 and no traceback, and one verb is one story."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from stillhouse.cli import app
from stillhouse.progress import Teller

ROOT = Path(__file__).parents[1]
VERBS = ("demo", "init", "plan", "run", "curate", "distill", "filter", "export", "compare", "train", "evaluate",
         "report", "verify", "status", "audit", "serve", "sources", "doctor")  # fmt: skip


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
        (["run", "."], "is a folder, and a recipe is a file"),
        (["status", "nowhere"], "there is no run folder here"),
        (["status", "."], "no run stands here"),
        (["audit", "."], "no run stands here"),
        (["report", "nowhere"], "no run stands here"),
        (["verify", "nowhere.jsonl", "--out", "x.jsonl"], "there is no such file"),
        (["compare", "only-one"], "two datasets"),
        (["distil", "x"], "No such command"),
        (["run", "nowhere.yaml", "--metrics", "70000"], "less than or equal to 65535"),
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


def test_what_stands_commented_in_the_template_is_valid_once_it_is_uncommented(tmp_path: Path) -> None:
    from stillhouse.recipe import parse_recipe

    (tmp_path / "queries.jsonl").write_text('{"query": "What is 1 + 1?", "ground_truth": "2"}\n', encoding="utf-8")
    (tmp_path / "benchmark.jsonl").write_text('{"query": "What is 2 + 2?"}\n', encoding="utf-8")
    lines = (ROOT / "src/stillhouse/verbs/recipe.template.yaml").read_text(encoding="utf-8").splitlines()
    tried = []
    for place, line in enumerate(lines):
        found = re.match(r"\s*# (train|evaluate|verify|judges|avoid|decide_by|api_key_env): ?", line)
        if found:
            fresh = list(lines)
            fresh[place] = line.replace("# ", "", 1)
            for below in range(place + 1, len(lines)) if found[1] == "judges" else ():
                if not re.match(r"#   \w+:", lines[below]):
                    break
                fresh[below] = lines[below].replace("#", "", 1).replace("...", "m")
            if found[1] == "evaluate":
                fresh.append("train: {base: embedded}")
            parse_recipe("\n".join(fresh), "recipe.yaml", tmp_path)
            tried.append(found[1])
    assert sorted(tried) == ["api_key_env", "avoid", "decide_by", "evaluate", "judges", "train", "verify", "verify"]


def test_what_the_pages_say_to_type_can_be_typed() -> None:
    """Every `stillhouse VERB --option` of the README, the pages and the template is one that the verb has."""
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    pages = [page for pattern in ("*.md", "docs/*.md", "src/stillhouse/verbs/*.yaml", "recipes/*.yaml")
             for page in ROOT.glob(pattern)]  # fmt: skip
    typed = 0
    for page in pages:
        for verb, rest in re.findall(r"\bstillhouse ([a-z]+)\b([^`\n#|]*)", page.read_text(encoding="utf-8")):
            if verb in verbs:
                known = {name for option in verbs[verb].params for name in option.opts}
                given = set(re.findall(r"(?<![\w-])--[a-z-]+", rest))
                assert given <= known, f"{page.name}: stillhouse {verb}{rest}"
                typed += len(given)
    assert typed > 40


def test_a_stage_tells_which_rules_dropped_what(capsys: pytest.CaptureFixture[str]) -> None:
    counts = {"am": {"accepted": 9, "kept": 7, "dropped": 2, "rules": {"too_long": 2, "words": 0}}}
    Teller().stage("filter", counts, 1.0)
    assert "am: accepted 9, kept 7, dropped 2 (by too long 2)" in capsys.readouterr().out


def test_the_table_says_what_waits_and_small_prices_keep_their_digits(tmp_path: Path) -> None:
    teachers: dict[str, Any] = {"am": {"queries": 9, "verified": 1, "waiting": 8, "verified_yield": 1.0}}
    teachers["am"]["cost_per_verified_usd"] = 4.1e-5
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"teachers": teachers, "decision": {"sentence": "s"}}), encoding="utf-8")
    head, row = Teller().decision(report)[1][1:3]
    assert head.split()[:4] == ["teacher", "queries", "verified", "waiting"]
    assert row.split()[:6] == ["am", "9", "1", "8", "100.0", "%"] and row.split()[-1] == "$0.000041"
    teachers["am"]["waiting"] = 0
    report.write_text(json.dumps({"teachers": teachers, "decision": {"sentence": "s"}}), encoding="utf-8")
    assert "waiting" not in Teller().decision(report)[1][1]
