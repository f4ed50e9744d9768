"""The paper's figures and tables: arithmetic on constructed datasets with known counts, and on the published counts.

Nothing here reproduces the paper: where its counts are used, they are the input, and what is checked is that the
figures which it derives from them (shares, means, totals) follow.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_run import word_tokens

from stillhouse.comparing.figures import GENERAL_CHAT, figures
from stillhouse.comparing.population import STATES, Population, Side
from stillhouse.records import Part
from stillhouse.stages.compare import compare_datasets
from stillhouse.stats import boxes

PAPER: dict[str, Any] = json.loads((Path(__file__).parent / "paper_figures.json").read_text(encoding="utf-8"))
READER = Part("stillhouse.sources.responses:Responses")
FRAME = 5  # words beside the thought: four tags and the answer


def population(category: list[str], tokens: list[float], perplexity: list[float] | None = None) -> Population:
    """One teacher that kept a reply to every query."""
    size, names = len(category), sorted(set(category))
    side = Side.blank(size)
    side.state[:], side.kept[:] = STATES.index("verified"), True
    side.tokens[:] = tokens
    side.perplexity[:] = np.nan if perplexity is None else perplexity
    codes = np.array([names.index(name) for name in category], np.int16)
    return Population(np.arange(size).astype("S16"), codes, tuple(names), {"am": side}, selected=True)


# -- the published counts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("teacher", PAPER["teachers"])
def test_shares_totals_and_means_follow_from_the_published_counts(teacher: str) -> None:
    """A row stands for 100 instances; each is as long as its category's published mean."""
    counts = {name: round(10 * count) for name, count in PAPER["instances_thousand"].items()}
    tokens = {name: 1e3 * PAPER["tokens_million"][teacher][name] / count for name, count in
              PAPER["instances_thousand"].items()}  # fmt: skip
    category, lengths = [], []
    for name, count in counts.items():
        ours = (
            ["multiturn"] * (count // 3) + ["other"] * (count - count // 3) if name == GENERAL_CHAT else [name] * count
        )
        category += ours
        lengths += [tokens[name]] * count
    found = figures(population(category, lengths), sampled=False)
    parts, whole = found["teachers"]["am"]["categories"], found["teachers"]["am"]["all"]
    assert found["categories"] == list(PAPER["instances_thousand"])  # the largest first, as the paper has them
    for name, percent in PAPER["instance_share_percent"].items():
        assert round(100 * parts[name]["instance_share"], 1) == percent
        assert parts[name]["tokens"] / 1e4 == pytest.approx(PAPER["tokens_million"][teacher][name], abs=0.01)
    assert whole["instances"] == 10 * PAPER["total_instances_thousand"]
    assert whole["tokens"] / 1e7 == pytest.approx(PAPER["total_tokens_billion"][teacher], abs=0.005)
    assert sum(part["token_share"] for part in parts.values()) == pytest.approx(1)
    assert parts["math"]["mean_tokens"] == pytest.approx(PAPER["math_mean_tokens"][teacher], abs=1)


def test_the_means_under_the_paper_s_figure_of_all_data_are_those_of_its_math_subset() -> None:
    """Over all data AM-Thinking-v1 is the longest, in the math subset the shortest (docs/paper.md)."""
    total = sum(PAPER["instances_thousand"].values())
    everything = {name: 1e3 * sum(PAPER["tokens_million"][name].values()) / total for name in PAPER["teachers"]}
    assert {name: round(mean) for name, mean in everything.items()} == {
        "AM-Thinking-v1": 3325, "Qwen3-235B-A22B": 3257, "DeepSeek-R1": 2725,
    }  # fmt: skip
    math = PAPER["math_mean_tokens"]
    assert max(everything, key=everything.__getitem__) == "AM-Thinking-v1" == min(math, key=math.__getitem__)


@pytest.mark.parametrize("teacher", PAPER["teachers"])
def test_the_histogram_of_lengths_in_the_published_bins_is_the_published_histogram(teacher: str) -> None:
    published = PAPER["math_token_histogram"]
    counts = [round(count / 100) for count in published[teacher]]
    edges = [1024.0 * (place + 1) for place in range(10)] + [20_000.0]
    lengths = [edge for edge, count in zip(edges, counts, strict=True) for _ in range(count)]
    found = figures(population(["math"] * len(lengths), lengths), sampled=False)
    assert found["bins"] == published["bins"]
    assert found["teachers"]["am"]["all"]["token_histogram"] == counts


# -- constructed datasets in the published shape ------------------------------------------------------------------

LENGTHS = {"math": [6, 1024, 1025, 2048, 10240, 10241, 60000], "code": [100, 200, 300, 400, 5000], "multiturn": [50],
           "other": [70, 80]}  # fmt: skip
PERPLEXITY = {"math": [2, 2, 3, 3, 4, 4, 50], "code": [1.5] * 5, "multiturn": [2.5], "other": [None, 3.5]}


def record(
    category: str, number: int, words: int, perplexity: float | None, *, info_on: str = "both"
) -> dict[str, Any]:
    thought = " ".join(["so"] * (words - FRAME))
    human = {"source": "made", "category": category, "ground_truth": None, "test_case": None,
             "instruction_constrain": None}  # fmt: skip
    reply = {"think_content": thought, "answer_content": "7", "verify_score": 1.0, "ppl": perplexity,
             "model_name": "made"}  # fmt: skip
    first = None if info_on == "assistant" else human | (reply if info_on == "human" else {})
    last = None if info_on == "human" else reply | (human if info_on == "assistant" else {})
    return {"system": f"system of {info_on}", "conversations": [
        {"from": "human", "value": f"{category} question {number}", "info": first},
        {"from": "assistant", "value": f"<think>{thought}</think><answer>7</answer>", "info": last},
    ]}  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("published")
    for name, extra, info_on in (("first", 0, "both"), ("second", 100, "human"), ("third", 200, "assistant")):
        (folder / name).mkdir()
        for category, lengths in LENGTHS.items():
            rows = [
                record(category, n, length + extra, ppl, info_on=info_on)
                for n, (length, ppl) in enumerate(zip(lengths, PERPLEXITY[category], strict=True))
            ]
            (folder / name / f"{category}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    paths = [folder / name for name in ("first", "second", "third")]
    compare_datasets(paths, folder / "out", reader=READER, tokenizer=word_tokens)
    found: dict[str, Any] = json.loads((folder / "out" / "report.json").read_text())
    return found


def test_instances_and_tokens_of_known_datasets(report: dict[str, Any]) -> None:
    parts = report["figures"]["teachers"]["first"]["categories"]
    assert report["figures"]["categories"] == ["math", "code", GENERAL_CHAT]
    assert {name: part["instances"] for name, part in parts.items()} == {"math": 7, "code": 5, GENERAL_CHAT: 3}
    assert parts[GENERAL_CHAT]["tokens"] == 200
    assert parts["code"]["tokens"] == 6000 and parts["code"]["instance_share"] == pytest.approx(5 / 15)
    total = sum(sum(lengths) for lengths in LENGTHS.values())
    assert parts["math"]["token_share"] == pytest.approx(sum(LENGTHS["math"]) / total)
    assert report["parallel"] == 15  # the system texts differ, and are no part of what is matched


def test_the_histogram_of_known_lengths(report: dict[str, Any]) -> None:
    math = report["figures"]["teachers"]["first"]["categories"]["math"]
    assert math["token_histogram"] == [2, 2, 0, 0, 0, 0, 0, 0, 0, 1, 2]
    assert sum(math["token_histogram"]) == math["instances"]


def test_the_box_of_known_lengths(report: dict[str, Any]) -> None:
    box = report["figures"]["teachers"]["first"]["categories"]["code"]["token_box"]
    assert (box["q1"], box["median"], box["q3"]) == (200, 300, 400)
    assert (box["low_whisker"], box["high_whisker"], box["high_outliers"]) == (100, 400, 1)


def test_the_perplexity_of_known_datasets(report: dict[str, Any]) -> None:
    math = report["figures"]["teachers"]["first"]["categories"]["math"]
    assert math["mean_perplexity"] == pytest.approx(68 / 7)
    assert (math["perplexity_box"]["median"], math["perplexity_box"]["high_outliers"]) == (3, 1)
    chat = report["figures"]["teachers"]["first"]["categories"][GENERAL_CHAT]
    assert chat["perplexity_box"]["n"] == 2  # what has no perplexity is no zero


@pytest.mark.parametrize(("teacher", "extra"), [("second", 100), ("third", 200)])
def test_it_does_not_matter_on_which_turn_the_info_stands(report: dict[str, Any], teacher: str, extra: int) -> None:
    found = report["figures"]["teachers"][teacher]
    assert found["all"]["tokens"] == report["figures"]["teachers"]["first"]["all"]["tokens"] + 15 * extra
    assert found["all"]["mean_perplexity"] == report["figures"]["teachers"]["first"]["all"]["mean_perplexity"]


def test_sections_say_the_same_as_the_figures(report: dict[str, Any]) -> None:
    section, figure = report["teachers"]["first"], report["figures"]["teachers"]["first"]
    assert section["tokens"]["total"] == figure["all"]["tokens"]
    assert section["categories"]["math"]["token_histogram"] == figure["categories"]["math"]["token_histogram"]
    assert section["categories"]["math"]["share"] == pytest.approx(7 / 15)


def test_nothing_kept_has_null_figures() -> None:
    made = population(["math"], [5.0])
    made.sides["am"].kept[:] = False
    found = figures(made, sampled=False)["teachers"]["am"]["categories"]["math"]
    assert found["instances"] == 0
    assert {name for name, value in found.items() if value is not None} == {"instances"}


def test_labels_and_bins_agree() -> None:
    assert len(boxes.bin_labels()) == len(boxes.token_histogram(np.array([1.0])))
