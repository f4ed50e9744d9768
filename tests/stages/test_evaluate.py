"""Evaluation: fixed samples an item, unbiased pass@k, intervals by item, paired differences."""

import json
import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.benchmarks.benchmark import Benchmark
from stillhouse.evaluating import scores as scores
from stillhouse.evaluating.scores import Answers
from stillhouse.records import Message, Part, Query, UserMistake
from stillhouse.stages.evaluate import Candidate, evaluate


def query(number: int) -> Query:
    return Query((Message("user", f"question {number}"),), "math", id=f"q{number}", ground_truth=str(number))


def make_benchmark(name="toy", items=6, samples=4):
    """A benchmark part of tests; built by import path like any other."""
    return Benchmark(name, "math", samples, lambda: (query(i) for i in range(items)), lambda q: q.text + "!")


def toy(name="toy", **settings_) -> Part:
    return Part(f"{__name__}:make_benchmark", {"name": name, **settings_})


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or __import__(__name__))


def row(q, attempt, outcome="pass", finish="stop", tokens=10, malformed=None, **more):
    return {"query": q.key, "attempt": attempt, "outcome": outcome, "finish_reason": finish,
            "completion_tokens": tokens, "malformed": malformed, **more}  # fmt: skip


def student(name, chance, *, seed=0, **more) -> Candidate:
    """Passes item i with chance(i); longer on the items it fails."""

    def ask_for(benchmark):
        def ask(queries, samples):
            random, rows = np.random.default_rng([seed, len(name), *name.encode()]), []
            for i, q in enumerate(queries):
                for attempt in range(1, samples + 1):
                    good = random.random() < chance(i)
                    rows.append(row(q, attempt, "pass" if good else "fail", tokens=10 if good else 30))
            return Answers(rows)

        return ask

    return Candidate(name, ask_for, **more)


def test_every_sample_is_counted_once_in_its_item(tmp_path):
    def ask_for(_):
        def ask(queries, samples):
            a, b, *_ = queries
            return Answers([
                row(a, 1, cost_usd=0.5), row(a, 2, "fail", cost_usd=0.25), row(a, 2, "pass", cost_usd=9.0),
                row(a, 3, "unknown", cost_usd=0.0), row(a, 4, "fail", "length", 100, "never closed", cost_usd=0.0),
                row(b, 1, "fail", "stop", 20, "no think block", cost_usd=0.0),
            ])  # fmt: skip

        return ask

    done = evaluate(tmp_path, candidates=[Candidate("x", ask_for)], benchmarks=[(toy(items=3), None)])
    made = json.loads((tmp_path / "7-evaluations" / "x.json").read_text())["benchmarks"]["toy"]
    first, second, third = made["per_item"]
    assert (first["passed"], first["judged"], first["unknown"], first["asked"]) == (1, 3, 1, 4)
    assert (second["passed"], second["judged"], second["formatted"]) == (0, 1, 0)
    assert third["asked"] == 0
    assert made["asked"] == 5
    assert made["waiting"] == 12 - 5
    assert made["unjudged_items"] == 1
    assert made["pass_at_1"] == pytest.approx((1 / 3 + 0) / 2)
    assert made["mean_length"] == pytest.approx(150 / 5)
    assert made["truncated"] == pytest.approx(0.2)
    assert made["stop_ratio"] == pytest.approx(0.8)
    assert made["format_rate"] == pytest.approx(0.6)
    assert made["cost_usd"] == pytest.approx(0.75)
    assert done.counts["x"]["toy"]["waiting"] == 7


def test_a_sample_of_a_foreign_query_is_an_error():
    with pytest.raises(ValueError, match="not of this benchmark"):
        scores.items_of([query(1)], 1, [row(query(2), 1)])


def test_nothing_asked_gives_null_and_never_an_exception(tmp_path):
    evaluate(tmp_path, candidates=[Candidate("x", lambda _: lambda q, s: Answers([]))], benchmarks=[(toy(), 2)])
    made = json.loads((tmp_path / "7-evaluations" / "x.json").read_text())
    part = made["benchmarks"]["toy"]
    assert part["pass_at_1"] is part["pass_at_1_interval"] is part["mean_length"] is part["format_rate"] is None
    assert part["pass_at_k"] == {}
    assert made["student_mean"] is None


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 9), st.data())
def test_pass_at_k_is_the_share_of_k_subsets_with_a_pass(judged, data):
    passed = data.draw(st.integers(0, judged))
    k = data.draw(st.integers(1, judged))
    outcomes = [True] * passed + [False] * (judged - passed)
    subsets = list(combinations(outcomes, k))
    assert scores.pass_at(judged, passed, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_pass_at_k_is_exact_at_the_papers_sizes_and_none_beyond():
    assert scores.pass_at(64, 3, 32) == pytest.approx(1 - math.comb(61, 32) / math.comb(64, 32))
    assert scores.pass_at(4, 4, 8) is None


def test_pass_at_k_is_left_out_where_an_item_has_fewer_judged_samples():
    rows = [row(query(0), a) for a in (1, 2, 3, 4)] + [row(query(1), 1), row(query(1), 2, "unknown")]
    assert set(scores.pass_at_powers(scores.items_of([query(0), query(1)], 4, rows), 4)) == {"1"}


def test_samples_of_one_item_are_no_independent_evidence():
    """64 equal samples of 10 items are 10 facts: the interval is as wide as that of one sample each."""
    items = [query(i) for i in range(10)]

    def interval(samples):
        rows = [row(q, a, "pass" if i < 5 else "fail") for i, q in enumerate(items) for a in range(1, samples + 1)]
        return scores.summary(scores.items_of(items, samples, rows), samples)["pass_at_1_interval"]

    assert interval(64) == interval(1)
    assert interval(64)[1] - interval(64)[0] > 0.4


def test_the_interval_covers_about_as_often_as_it_says():
    random = np.random.default_rng(5)
    hits = 0
    for _ in range(100):
        truth = random.beta(2, 2, 30)
        low, high = scores.rate_interval(random.binomial(8, truth) / 8)
        hits += low <= 0.5 <= high
    assert hits >= 88


def test_items_that_all_agree_still_have_an_interval():
    low, high = scores.rate_interval(np.ones(30))
    assert (round(low, 2), high) == (0.89, 1.0)


def test_the_limit_takes_the_same_items_every_time(tmp_path):
    seen = []

    def ask_for(_):
        return lambda queries, samples: seen.append([q.key for q in queries]) or Answers([])

    for _ in range(2):
        evaluate(tmp_path, candidates=[Candidate("x", ask_for)], benchmarks=[(toy(items=50), 1)], limit=5)
    assert len(seen[0]) == 5
    assert seen[0] == seen[1]


def test_prompts_are_the_benchmarks(tmp_path):
    seen = []
    asks = Candidate(
        "x", lambda b: lambda queries, samples: seen.append((b.name, queries[0].text, samples)) or Answers([])
    )
    evaluate(tmp_path, candidates=[asks], benchmarks=[(toy(), None), (toy("other"), 7)])
    assert seen == [("toy", "question 0!", 4), ("other", "question 0!", 7)]


def test_a_better_student_is_ahead_and_equal_ones_are_not(tmp_path):
    candidates = [
        student("good", lambda i: 0.8 if i % 2 else 0.5, teacher="am"),
        student("poor", lambda i: 0.5 if i % 2 else 0.2, teacher="r1"),
        student("same", lambda i: 0.5 if i % 2 else 0.2, teacher="qwen"),
    ]
    evaluate(tmp_path, candidates=candidates, benchmarks=[(toy(items=60), 8)])
    pairs = json.loads((tmp_path / "7-evaluations" / "pairs.json").read_text())["pairs"]
    told = {(p["a"], p["b"]): p for p in pairs if p["measure"] == "pass_at_1" and p["benchmark"] == "toy"}
    ahead, equal = told["am", "r1"], told["r1", "qwen"]
    assert ahead["low"] > 0
    assert ahead["p"] < 0.01
    assert ahead["holm_p"] >= ahead["p"]
    assert equal["low"] < 0 < equal["high"]
    longer = next(p for p in pairs if p["measure"] == "length" and {p["a"], p["b"]} == {"am", "r1"})
    assert longer["difference"] < 0


def test_two_benchmarks_weigh_the_same_whatever_their_size(tmp_path):
    one = student("x", lambda i: 1.0, teacher="a")
    two = Candidate("y", lambda b: student("y", lambda i: float(b.name == "toy")).ask_all(b), teacher="b")
    evaluate(tmp_path, candidates=[one, two], benchmarks=[(toy(items=100), 2), (toy("small", items=10), 2)])
    folder = tmp_path / "7-evaluations"
    assert json.loads((folder / "y.json").read_text())["student_mean"] == pytest.approx(0.5)
    pairs = json.loads((folder / "pairs.json").read_text())["pairs"]
    whole = next(p for p in pairs if p["benchmark"] is None and p["measure"] == "pass_at_1")
    assert whole["difference"] == pytest.approx(0.5)
    assert whole["items"] == 110


def test_seeds_of_one_teacher_are_averaged_and_their_spread_widens_the_interval(tmp_path):
    def width(spread, folder):
        candidates = [
            student(f"am-{s}", lambda i, s=s: 0.5 + spread * (s - 1), teacher="am", seed=s) for s in range(3)
        ] + [student(f"r1-{s}", lambda i: 0.5, teacher="r1", seed=s) for s in range(3)]
        evaluate(folder, candidates=candidates, benchmarks=[(toy(items=40), 8)])
        told = json.loads((folder / "7-evaluations" / "pairs.json").read_text())
        assert [(g["name"], g["seeds"]) for g in told["groups"]] == [("am", 3), ("r1", 3)]
        pair = next(p for p in told["pairs"] if p["measure"] == "pass_at_1")
        return pair["high"] - pair["low"]

    assert width(0.3, tmp_path / "wide") > 1.5 * width(0.0, tmp_path / "narrow")


def test_a_control_is_not_a_student_of_its_teacher(tmp_path):
    candidates = [
        student("am", lambda i: 0.9, teacher="am"),
        student("base", lambda i: 0.1, control="base"),
        student("base-shown", lambda i: 0.4, control="base with worked examples"),
    ]
    evaluate(tmp_path, candidates=candidates, benchmarks=[(toy(items=40), 4)])
    told = json.loads((tmp_path / "7-evaluations" / "pairs.json").read_text())
    assert [g["kind"] for g in told["groups"]] == ["teacher", "candidate", "candidate"]
    assert {(p["a"], p["b"]) for p in told["pairs"]} == {("am", "base"), ("am", "base-shown"), ("base", "base-shown")}


def test_length_follows_difficulty_as_the_others_see_it(tmp_path):
    candidates = [student(n, lambda i: 0.95 if i < 20 else 0.05, teacher=n) for n in ("a", "b")]
    evaluate(tmp_path, candidates=candidates, benchmarks=[(toy(items=40), 8)])
    rows = json.loads((tmp_path / "7-evaluations" / "pairs.json").read_text())["adaptive"]
    mine = {r["difficulty"]: r for r in rows if r["student"] == "a"}
    assert mine["easy"]["mean_length"] < mine["hard"]["mean_length"]
    assert sum(r["items"] for r in mine.values()) == 40


def test_one_sample_an_item_gets_a_score_interval(tmp_path):
    evaluate(
        tmp_path,
        candidates=[student("a", lambda i: 1.0, teacher="a"), student("b", lambda i: 1.0, teacher="b")],
        benchmarks=[(toy(items=20), 1)],
    )
    pair = json.loads((tmp_path / "7-evaluations" / "pairs.json").read_text())["pairs"][0]
    assert pair["difference"] == 0
    assert pair["low"] < -0.1 < 0.1 < pair["high"]


def test_a_budget_that_ends_stops_the_asking_and_what_was_asked_is_kept(tmp_path):
    asked = []

    def ask_for(benchmark):
        def ask(queries, samples):
            asked.append(benchmark.name)
            return Answers([row(queries[0], 1)], "budget", "no money", {"no money": 5})

        return ask

    candidates = [Candidate("x", ask_for), Candidate("y", ask_for)]
    done = evaluate(tmp_path, candidates=candidates, benchmarks=[(toy(), 1), (toy("second"), 1)])
    assert (done.outcome, done.problem) == ("budget", "no money")
    assert asked == ["toy"]
    assert done.waits == {"x": {"no money": 5}}
    assert done.counts["x"]["second"]["waiting"] == 6
    assert not (tmp_path / "7-evaluations" / "y.json").exists()


def test_mistakes_are_told_all_at_once(tmp_path):
    twice = [student("x", lambda i: 1.0), student("x", lambda i: 1.0)]
    with pytest.raises(UserMistake) as told:
        evaluate(tmp_path, candidates=twice, benchmarks=[])
    assert len(told.value.problems) == 2
    with pytest.raises(UserMistake, match="nobody to evaluate"):
        evaluate(tmp_path, candidates=[], benchmarks=[(toy(), 1)])


def test_a_part_of_the_candidates_is_added_to_what_stands_and_a_whole_takes_away_students_that_went(tmp_path):
    am, r1 = student("am", lambda i: 0.9, teacher="am"), student("r1", lambda i: 0.5, teacher="r1")
    base, teacher = student("base", lambda i: 0.2, control="base"), student("teacher-am", lambda i: 1.0)
    evaluate(tmp_path, candidates=[am, r1, base], benchmarks=[(toy(), None)])
    evaluate(tmp_path, candidates=[teacher], benchmarks=[(toy("other"), None)], alone=False)
    evaluate(tmp_path, candidates=[am], benchmarks=[(toy("other"), None)], alone=False)
    held = json.loads((tmp_path / "7-evaluations/am.json").read_text())
    assert list(held["benchmarks"]) == ["toy", "other"]
    pairs = json.loads((tmp_path / "7-evaluations/pairs.json").read_text())["pairs"]
    told = {(row["a"], row["b"], row["benchmark"]) for row in pairs if row["measure"] == "pass_at_1"}
    assert told == {("am", "r1", "toy"), ("am", "base", "toy"), ("base", "r1", "toy"), ("am", "teacher-am", "other")}
    evaluate(tmp_path, candidates=[am, base], benchmarks=[(toy(), None)])
    assert sorted(f.stem for f in (tmp_path / "7-evaluations").glob("*.json")) == ["am", "base", "pairs", "teacher-am"]
    assert list(json.loads((tmp_path / "7-evaluations/am.json").read_text())["benchmarks"]) == ["toy"]


def test_a_probe_is_called_so_and_its_limit_is_the_one_that_it_was_asked_with(tmp_path):
    one = student("am", lambda i: 0.5, teacher="am", probe="tiny, lora", most_tokens=64)
    evaluate(tmp_path, candidates=[one], benchmarks=[(toy(), None)])
    made = json.loads((tmp_path / "7-evaluations/am.json").read_text())
    assert (made["probe"], made["benchmarks"]["toy"]["max_tokens"]) == ("tiny, lora", 64)


def test_the_90_percent_limits_lie_inside_the_95_percent_ones(tmp_path):
    candidates = [student("am", lambda i: 0.8, teacher="am"), student("r1", lambda i: 0.4, teacher="r1")]
    evaluate(tmp_path, candidates=candidates, benchmarks=[(toy(items=40, samples=1), None)])
    for row in json.loads((tmp_path / "7-evaluations/pairs.json").read_text())["pairs"]:
        assert row["low"] <= row["low_90"] <= row["difference"] <= row["high_90"] <= row["high"]
        assert row["a_value"] - row["b_value"] == pytest.approx(row["difference"])
