"""Compare: every figure of report.json against the definition, computed again from what the run folder holds."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_run import Made, MadeTeacher, make_run, word_tokens

from stillhouse.comparing.population import STATES, Population, Side
from stillhouse.records import Part, TeacherSpec, UserMistake
from stillhouse.stages.compare import compare, describe
from stillhouse.store.rendering import assistant_text

TEACHERS = (
    MadeTeacher("am", 0.75, 80, waiting=0.05),
    MadeTeacher("qwen", 0.55, 50, price=2e-6),
    MadeTeacher("r1", 0.4, 60, terms="no"),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_run(tmp_path_factory.mktemp("run"), TEACHERS, queries=150)


@pytest.fixture(scope="module")
def report(made: Made) -> dict[str, Any]:
    compare(made.folder, teachers=made.specs, tokenizer=word_tokens)
    found: dict[str, Any] = json.loads((made.folder / "report.json").read_text())
    return found


def kept_replies(made: Made, teacher: str) -> list[dict[str, Any]]:
    accepted = sorted((r for r in made.replies[teacher] if r["passed"]), key=lambda r: r["query"])
    return [reply for place, reply in enumerate(accepted) if place % 17]


@pytest.mark.parametrize("teacher", ["am", "qwen", "r1"])
@pytest.mark.parametrize("category", [None, "math", "code", "science"])
def test_every_figure_follows_its_definition(
    made: Made, report: dict[str, Any], teacher: str, category: str | None
) -> None:
    pairs = [p for p in made.pairs if p["teacher"] == teacher and category in (None, p["category"])]
    queries = {p["query"] for p in pairs}
    kept = [r for r in kept_replies(made, teacher) if r["query"] in queries]
    states = Counter(p["state"] for p in pairs)
    found = report["teachers"][teacher]
    found = found if category is None else found["categories"][category]
    judged = [p["first_outcome"] for p in pairs if p["first_outcome"] in ("pass", "fail")]
    lengths = np.array(word_tokens([assistant_text(r["text"], None) for r in kept]))
    cost = sum(p["cost_usd"] for p in pairs)
    assert found["queries"] == len(pairs)
    assert found["responses"] == sum(p["responses"] for p in pairs)
    assert {name: found[name] for name in STATES} == {name: states.get(name, 0) for name in STATES}
    assert found["queries"] == sum(found[name] for name in STATES)
    assert found["kept"] == len(kept)
    assert found["unknown"] == sum(p["unknown"] for p in pairs)
    assert found["verified_yield"] == pytest.approx(
        states["verified"] / (len(pairs) - states["waiting"] - states["unverified"])
    )
    assert found["pass_at_1"] == pytest.approx(judged.count("pass") / len(judged))
    assert found["tokens"]["total"] == lengths.sum()
    assert found["tokens"]["mean"] == pytest.approx(lengths.mean())
    assert found["tokens"]["median"] == pytest.approx(np.median(lengths))
    assert found["cost_usd"] == pytest.approx(cost)
    assert found["cost_per_verified_usd"] == pytest.approx(cost / states["verified"])
    replies = [r for r in made.replies[teacher] if r["query"] in queries]
    assert found["finish_reasons"] == dict(Counter(r["finish_reason"] for r in replies))
    assert found["pass_at_k"][-1] == pytest.approx(found["verified_yield"])


def test_the_parallel_set_is_what_every_teacher_kept(made: Made, report: dict[str, Any]) -> None:
    sets = [{r["query"] for r in kept_replies(made, t.name)} for t in TEACHERS]
    assert report["parallel"] == len(set.intersection(*sets))


def test_intervals_hold_their_figures(report: dict[str, Any]) -> None:
    for part in report["teachers"].values():
        for name, interval in (
            ("pass_at_1", "pass_at_1_interval"), ("verified_yield", "verified_yield_interval"),
            ("cost_per_verified_usd", "cost_per_verified_interval"),
        ):  # fmt: skip
            assert part[interval][0] <= part[name] <= part[interval][1]
        assert part["tokens_mean_interval"][0] <= part["tokens"]["mean"] <= part["tokens_mean_interval"][1]
        assert part["verified_yield_bounds"][0] <= part["verified_yield_bounds"][1]


def test_the_primary_family_is_all_pairs_of_teachers_by_four_measures(report: dict[str, Any]) -> None:
    keys = {(p["a"], p["b"], p["measure"]) for p in report["pairs"]}
    measures = ("pass_at_1", "verified_yield", "length", "cost_per_verified")
    assert keys == {(a, b, m) for a, b in (("am", "qwen"), ("am", "r1"), ("qwen", "r1")) for m in measures}
    needed = {"a", "b", "measure", "difference", "low", "high", "p", "holm_p", "outcome"}
    for pair in report["pairs"]:
        assert needed <= set(pair)
        assert pair["low"] <= pair["difference"] <= pair["high"]
        assert pair["holm_p"] >= pair["p"]
        assert pair["outcome"] in ("a", "b", "equal", "cannot_tell")


def test_paired_rates_use_only_queries_judged_for_both(made: Made, report: dict[str, Any]) -> None:
    first = {(p["teacher"], p["query"]): p["first_outcome"] for p in made.pairs}
    both = [q.key for q in made.queries if {first["am", q.key], first["qwen", q.key]} <= {"pass", "fail"}]
    row = next(p for p in report["pairs"] if (p["a"], p["b"], p["measure"]) == ("am", "qwen", "pass_at_1"))
    assert row["n"] == len(both)
    wins = sum(first["am", k] == "pass" and first["qwen", k] == "fail" for k in both)
    losses = sum(first["am", k] == "fail" and first["qwen", k] == "pass" for k in both)
    assert (row["only_a"], row["only_b"]) == (wins, losses)
    assert row["difference"] == pytest.approx((wins - losses) / len(both))


def test_lengths_are_those_of_first_attempts_whatever_became_of_them(made: Made, report: dict[str, Any]) -> None:
    first = [r for r in made.replies["am"] if r["attempt"] == 1]
    lengths = word_tokens([assistant_text(r["text"], None) for r in first])
    assert report["made"]["first_tokens_by"] == "tokenizer"
    assert report["teachers"]["am"]["first_tokens"]["mean"] == pytest.approx(np.mean(lengths))


def test_difficulty_is_what_the_other_teachers_failed(made: Made, report: dict[str, Any]) -> None:
    first = {(p["teacher"], p["query"]): p["first_outcome"] for p in made.pairs}
    sizes = {r["query"]: len(assistant_text(r["text"], None).split()) for r in made.replies["am"] if r["attempt"] == 1}
    hard = [
        sizes[q.key] for q in made.queries
        if first["qwen", q.key] == "fail" and first["r1", q.key] == "fail"
    ]  # fmt: skip
    row = next(r for r in report["difficulty"] if r["teacher"] == "am" and r["others_failed"] == 2)
    assert row["n"] == len(hard)
    assert row["mean"] == pytest.approx(np.mean(hard))


def test_overlap_and_wins_add_up(report: dict[str, Any]) -> None:
    assert sum(row["queries"] for row in report["overlap"]) == report["queries"]
    for row in report["wins"]:
        assert row["both"] + row["only_a"] + row["only_b"] + row["neither"] == row["n"]


def test_the_funnel_loses_nothing_unsaid(report: dict[str, Any]) -> None:
    for name in report["teachers"]:
        asked, accepted, kept = (step for step in report["funnel"] if step["teacher"] == name)
        assert asked["count"] - sum(accepted["lost"].values()) == accepted["count"]
        assert accepted["count"] - sum(kept["lost"].values()) == kept["count"]
    read, curated = report["funnel"][:2]
    assert read["count"] - sum(curated["lost"].values()) == curated["count"]


def test_the_decision_speaks_of_data_only(report: dict[str, Any]) -> None:
    decision = report["decision"]
    assert decision["basis"] == "data"
    assert decision["measure"] == "cost_per_verified"
    assert "not known until students are trained" in decision["sentence"]
    assert "istil from" not in decision["sentence"]
    assert "r1 is not allowed by their terms" in decision["sentence"]


def test_tokens_are_counted_once_for_each_text(made: Made) -> None:
    counted: list[int] = []

    def tokenizer(texts: Any) -> list[int]:
        counted.append(len(texts))
        return word_tokens(texts)

    compare(made.folder, teachers=made.specs, tokenizer=tokenizer)
    first = sum(counted)
    compare(made.folder, teachers=made.specs, tokenizer=tokenizer)
    assert first > 0 and sum(counted) == first


def test_sampled_tokens_say_so_and_scale_the_total(made: Made) -> None:
    compare(made.folder, teachers=made.specs, tokenizer=word_tokens, token_sample=60)
    found = json.loads((made.folder / "report.json").read_text())
    tokens, kept = found["teachers"]["am"]["tokens"], found["teachers"]["am"]["kept"]
    assert found["made"]["token_sample"] == 60
    assert tokens["total"] == pytest.approx(tokens["mean"] * kept, abs=1)


def test_without_a_tokenizer_lengths_are_null_and_first_attempts_are_the_endpoints(tmp_path: Path) -> None:
    made = make_run(tmp_path / "run", queries=40)
    compare(made.folder, teachers=made.specs)
    found = json.loads((made.folder / "report.json").read_text())
    assert found["teachers"]["am"]["tokens"] is None
    assert found["made"]["first_tokens_by"] == "endpoints"
    assert any("tokenizers may differ" in words for words in found["caveats"])


def test_unpriced_teachers_are_decided_by_yield(tmp_path: Path) -> None:
    teachers = (MadeTeacher("am", 0.9, price=None), MadeTeacher("qwen", 0.3, price=None))
    made = make_run(tmp_path / "run", teachers, queries=150, attempts=2)
    compare(made.folder, teachers=made.specs, tokenizer=word_tokens)
    found = json.loads((made.folder / "report.json").read_text())
    assert found["teachers"]["am"]["cost_usd"] is None
    assert {p["measure"] for p in found["pairs"]} == {"pass_at_1", "verified_yield", "length"}
    assert found["decision"]["measure"] == "verified_yield"
    assert found["decision"]["teacher"] == "am"
    assert found["decision"]["sentence"].startswith("am verifies ")


def test_a_dead_even_comparison_cannot_tell_and_says_how_many_queries_would(tmp_path: Path) -> None:
    teachers = (MadeTeacher("one", 0.5), MadeTeacher("two", 0.5))
    made = make_run(tmp_path / "run", teachers, queries=40, seed=3)
    compare(made.folder, teachers=made.specs, decide_by="pass_at_1", tokenizer=word_tokens)
    decision = json.loads((made.folder / "report.json").read_text())["decision"]
    assert decision["teacher"] is None
    assert decision["sentence"].startswith("Cannot tell yet which of")
    assert decision["queries_needed"] > 40


def test_a_structure_only_category_never_enters_yields(tmp_path: Path) -> None:
    made = make_run(tmp_path / "run", (MadeTeacher("am", unverified=True), MadeTeacher("qwen")), queries=60)
    compare(made.folder, teachers=made.specs, tokenizer=word_tokens)
    found = json.loads((made.folder / "report.json").read_text())["teachers"]["am"]
    assert found["verified"] == 0 and found["unverified"] > 0
    assert found["verified_yield"] == 0 / (60 - found["unverified"])
    assert found["kept"] > 0
    assert found["cost_per_verified_usd"] is None


def test_a_teacher_that_was_asked_nothing_is_all_null(tmp_path: Path) -> None:
    made = make_run(tmp_path / "run", queries=30)
    spec = TeacherSpec("idle", Part("made:teacher"))
    compare(made.folder, teachers=[*made.specs, spec], tokenizer=word_tokens)
    found = json.loads((made.folder / "report.json").read_text())
    idle = found["teachers"]["idle"]
    assert (idle["queries"], idle["responses"], idle["verified"], idle["kept"]) == (0, 0, 0, 0)
    for name in ("verified_yield", "pass_at_1", "tokens", "perplexity", "cost_usd", "cost_per_verified_usd"):
        assert idle[name] is None
    assert found["parallel"] == 0


def test_an_empty_population_raises_nothing() -> None:
    empty = Population(np.empty(0, "S16"), np.empty(0, np.int16), (), {"am": Side.blank(0), "qwen": Side.blank(0)})
    specs = [TeacherSpec(name, Part("made:teacher")) for name in ("am", "qwen")]
    found = describe(empty, specs, decide_by=None, margin=None, seed=1, sampled=False)
    assert found["parallel"] == 0 and found["pairs"] == []
    assert found["decision"]["teacher"] is None


def test_a_run_before_distill_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match="run distill first"):
        compare(tmp_path, teachers=[TeacherSpec("am", Part("made:teacher"))])


def test_an_unknown_measure_is_told(made: Made) -> None:
    with pytest.raises(UserMistake, match="decide_by: lenght"):
        compare(made.folder, teachers=made.specs, decide_by="lenght")
