"""recipes/paper.yaml is the experiment of the paper, docs/paper.md says of it what the files say, and the README in
Chinese is kept in step with the README."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from stillhouse.cli import app
from stillhouse.recipe import BENCHMARKS, load_recipe, parts, refuse_unverifiable
from stillhouse.sources.mappings import catalogue
from stillhouse.verbs.dry_run import dry_run

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "paper.yaml"
PAGE = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
PAPER: dict[str, Any] = json.loads((ROOT / "tests" / "stages" / "paper_figures.json").read_text(encoding="utf-8"))


def test_it_is_the_experiment_with_the_numbers_of_the_paper() -> None:
    made = load_recipe(RECIPE)
    refuse_unverifiable(made)
    found = parts(made, RECIPE.parent)
    assert [t.model for t in found.teachers] == ["AM-Thinking-v1", "Qwen3-235B-A22B", "DeepSeek-R1"]
    assert [t.max_tokens for t in found.teachers] == [32_768] * 3  # over 32k is not trained on
    assert [t.perplexity for t in found.teachers] == [5.0, 20.0, 20.0]
    assert set(found.judges) == {"math", "science", "constraints", "reward"}
    assert set(found.verifiers) == {"math", "code", "science", "if", "multiturn", "other"}
    assert set(made.curate.avoid) == set(BENCHMARKS) == {"aime2024", "aime2025", "math500", "livecodebench"}
    assert made.evaluate.benchmarks == ["aime2024:64", "aime2025:64", "math500:4", "livecodebench:16"]
    train = made.train
    assert (train.base, train.learning_rate, train.epochs, train.warmup) == ("Qwen/Qwen2.5-32B", 8e-5, 2, 0.05)
    assert (train.max_tokens, train.batch, train.method) == (32_768, 64, "full")
    assert (made.distill.attempts, made.decide_by, made.tokenizer) == (8, "student_mean", "Qwen/Qwen2.5-32B")


def test_it_names_every_source_that_has_a_confirmed_mapping() -> None:
    confirmed = {row["name"] for row in catalogue() if row["read_in"] != "unconfirmed"}
    assert {entry.mapping for entry in load_recipe(RECIPE).queries} == confirmed


def test_its_dry_run_asks_nothing_and_says_what_would_be_asked() -> None:
    told = dry_run(RECIPE)
    assert told.exit_code == 0
    text = "\n".join(told.told)
    models = ("am-thinking-v1", "qwen3-235b-a22b", "deepseek-r1", "Qwen/Qwen2.5-32B")
    for name in (*models, *load_recipe(RECIPE).evaluate.benchmarks):
        assert name.partition(":")[0] in text


@pytest.mark.parametrize("row", ["AIME2024", "AIME2025", "MATH500", "LiveCodeBench"])
def test_the_page_prints_the_published_scores(row: str) -> None:
    scores = [str(PAPER["student_accuracy_percent"][row][name]) for name in PAPER["teachers"]]
    assert f"| student, {row} | {' | '.join(scores)} |" in PAGE


def test_the_page_prints_the_published_lengths_and_shares() -> None:
    means = [f"{PAPER['math_mean_tokens'][name]:,}" for name in PAPER["teachers"]]
    assert f"| mean length, math | {' | '.join(means)} |" in PAGE
    shares = ", ".join(str(share) for share in PAPER["instance_share_percent"].values())
    assert f"| instances: general chat, math, code, science, IF | {shares} % |" in PAGE


def commands(text: str) -> list[list[str]]:
    """Every `stillhouse ...` in the fences and tables of a page, as words."""
    found = re.findall(r"stillhouse [a-z][^`#\n|]*", text)
    return [line.split() for line in found]


def in_code(text: str) -> list[str]:
    """The commands of a page in order: lines of fences that begin with one, and those between single backquotes."""
    found: list[str] = []
    for place, part in enumerate(text.split("```")):
        if place % 2:
            lines = (line.split("#")[0].strip() for line in part.splitlines())
            found += [line for line in lines if line.startswith(("stillhouse ", "make ", "pip "))]
        else:
            found += re.findall(r"`((?:stillhouse|make|pip) [^`]*)`", part)
    return found


def test_the_readme_in_chinese_has_the_commands_of_the_readme() -> None:
    told = in_code((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(told) > 10
    assert in_code((ROOT / "README.zh.md").read_text(encoding="utf-8")) == told


def test_the_readme_in_chinese_has_the_recipe_of_the_readme_and_links_that_lead_somewhere() -> None:
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md")]
    recipes = [re.sub(r"#.*", "", page.split("```yaml")[1].split("```")[0]) for page in pages]
    assert recipes[0] == recipes[1]
    for page in pages:
        for link in re.findall(r"\]\(([^)h][^)]*)\)", page):
            assert (ROOT / link).exists(), link


@pytest.mark.parametrize("page", ["README.md", "README.zh.md", "docs/paper.md", "docs/compare.md", "docs/export.md"])
def test_commands_of_the_pages_are_commands_of_the_program(page: str) -> None:
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    told = commands((ROOT / page).read_text(encoding="utf-8"))
    assert told
    for words in told:
        verb = words[1].rstrip(".,;)")
        assert verb in verbs, " ".join(words)
        known = {option for param in verbs[verb].params for option in param.opts}
        assert {word for word in words if word.startswith("--")} <= known, " ".join(words)
