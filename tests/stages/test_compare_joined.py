"""Data, students and money in one place, and sentences that say what the data would have chosen."""

import pytest

from stillhouse.comparing.joined import joined, notes, student_pairs


def section(yield_, tokens, cost):
    return {"verified_yield": yield_, "pass_at_1": yield_, "kept": 10, "tokens": {"mean": tokens}, "perplexity": None,
            "cost_usd": cost, "cost_per_verified_usd": None if cost is None else cost / 10}  # fmt: skip


def made(name, score, seed=1, probe=""):
    part = {"pass_at_1": score, "pass_at_1_interval": [0.1, 0.9], "mean_length": 100.0, "truncated": 0.0,
            "stop_ratio": 1.0, "format_rate": 1.0, "items": 30}  # fmt: skip
    return {"student": f"{name}-{seed}", "teacher": name, "control": "", "seed": seed, "probe": probe,
            "student_mean_interval": [0.2, 0.8], "benchmarks": {"aime": part}}  # fmt: skip


def pair(a, b, difference, p=0.01, measure="pass_at_1", benchmark=None):
    wide = {"low": difference - 0.01, "high": difference + 0.01, "low_90": difference - 0.008,
            "high_90": difference + 0.008}  # fmt: skip
    return {"a": a, "b": b, "benchmark": benchmark, "measure": measure, "difference": difference, "p": p, "items": 30,
            **wide}  # fmt: skip


def groups(**means):
    return {"groups": [{"name": n, "kind": "teacher", "student_mean": m, "seed_sd": None} for n, m in means.items()]}


SECTIONS = {"am": section(0.8, 300, 20.0), "r1": section(0.9, 200, 10.0)}


def test_a_row_a_teacher_holds_data_money_and_students():
    rows = joined(SECTIONS, [made("am", 0.6), made("r1", 0.4), made("r1", 0.5, seed=2)], groups(am=0.6, r1=0.45))
    am, r1 = rows
    assert (am["data"]["verified_yield"], am["money"]["cost_usd"], am["student"]["mean"]) == (0.8, 20.0, 0.6)
    assert am["student"]["interval"] == [0.2, 0.8]
    assert (r1["student"]["seeds"], r1["student"]["interval"]) == (2, None)
    assert r1["student"]["benchmarks"]["aime"]["pass_at_1"] == pytest.approx(0.45)
    assert joined(SECTIONS, [], {}) == []


def test_the_sentences_say_where_the_data_pointed_elsewhere_what_it_cost_and_that_it_is_a_probe():
    rows = joined(SECTIONS, [made("am", 0.6, probe="tiny"), made("r1", 0.4)], groups(am=0.6, r1=0.4))
    told = notes(rows, "am")
    assert told[0].startswith("This is a probe by small students (tiny)")
    assert "by the verified yield (r1), by the first attempts (r1), by the price of a verified row (r1)" in told[1]
    assert "longer replies" not in told[1], "these pointed to am"
    assert told[2] == "The datasets cost am $20.00, r1 $10.00."
    assert notes(rows, None) == told[:1], "where no teacher is chosen nothing was predicted wrongly"


def test_unpriced_teachers_are_not_said_to_have_cost_anything():
    rows = joined({"am": section(0.8, 300, None), "r1": section(0.8, 300, None)}, [made("am", 0.6), made("r1", 0.4)],
                  groups(am=0.6, r1=0.4))  # fmt: skip
    assert notes(rows, "am") == [], "all figures are level or unknown"


def test_pairs_stand_per_benchmark_with_their_own_correction_and_controls_are_no_teachers():
    rows = [pair("am", "r1", 0.2, benchmark="aime"), pair("am", "q3", 0.001, 0.9, benchmark="aime"),
            pair("r1", "q3", -0.2, 0.04, benchmark="aime"), pair("am", "base", 0.3, benchmark="aime"),
            pair("am", "r1", 0.2)]  # fmt: skip
    told = student_pairs({**groups(am=0.6, r1=0.4, q3=0.6), "pairs": rows}, ["am", "r1", "q3"], 0.02)
    outcomes = {(row["a"], row["b"], row["benchmark"]): row["outcome"] for row in told}
    assert outcomes == {
        ("am", "r1", "aime"): "a", ("am", "q3", "aime"): "equal", ("r1", "q3", "aime"): "cannot_tell",
        ("am", "r1", None): "a",
    }  # fmt: skip
    assert next(row["holm_p"] for row in told if row["b"] == "q3" and row["a"] == "r1") == pytest.approx(0.08)
