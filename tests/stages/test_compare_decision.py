"""The decision: what is said of whom, and that no outcome changes the measure that was fixed beforehand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_run import MadeTeacher, make_run, word_tokens
from made_students import make_students

from stillhouse.comparing.pairs import Effort, margins, primary
from stillhouse.comparing.population import STATES, Population, Side
from stillhouse.records import Part, Price, TeacherSpec
from stillhouse.stages.compare import compare, describe

UNTIL = "which teaches better is not known until students are trained"


def side(
    won: list[bool], cost: float | None = 1.0, tokens: list[float] | None = None, state: list[str] | None = None
) -> Side:
    """A teacher that had one attempt at each query: what it won, what a query cost, how long the attempts were."""
    made = Side.blank(len(won))
    states = state or ["verified" if one else "exhausted" for one in won]
    made.state[:] = [STATES.index(one) for one in states]
    made.first[:] = [
        -1 if s in ("waiting", "undecided", "unverified") else int(w) for s, w in zip(states, won, strict=True)
    ]
    made.first_tokens[:] = tokens if tokens is not None else 100.0
    made.kept[:] = won
    made.tokens[:] = np.where(won, made.first_tokens, np.nan)
    made.attempts[:] = made.responses[:] = 1
    made.passed_at[:] = np.array(won, int)
    if cost is not None:
        made.cost[:] = cost
    return made


def report(sides: dict[str, Side], **settings: Any) -> dict[str, Any]:
    size = next(iter(sides.values())).state.size
    made = Population(np.arange(size).astype("S16"), np.zeros(size, np.int16), ("math",), sides)
    specs = [TeacherSpec(name, Part("made:teacher"), price=Price(1, 1), terms="yes") for name in sides]
    return describe(made, specs, **{"decide_by": None, "margin": None, "seed": 1, "sampled": False, **settings})


def rate(share: float, size: int = 400) -> list[bool]:
    return [place < share * size for place in range(size)]


def test_the_cheaper_teacher_verifies_more_per_dollar() -> None:
    made = report({"dear": side(rate(0.8), 2.0), "cheap": side(rate(0.8), 1.0)})["decision"]
    assert (made["basis"], made["teacher"], made["measure"]) == ("data", "cheap", "cost_per_verified")
    assert made["sentence"].startswith("cheap verifies 100 % more rows per dollar than dear (95 % interval")
    assert made["sentence"].endswith(f"; {UNTIL}.")


def test_equal_is_within_the_margin_that_the_recipe_fixed() -> None:
    random = np.random.default_rng(1)
    lengths = random.lognormal(5, 0.1, 2000)
    sides = {
        "a": side([True] * 2000, cost=None, tokens=list(lengths)),
        "b": side([True] * 2000, cost=None, tokens=list(1.02 * lengths)),
    }
    by = {row["measure"]: row for row in report(sides)["pairs"]}
    assert by["verified_yield"]["outcome"] == by["length"]["outcome"] == "equal"
    assert by["length"]["ratio"] == pytest.approx(1 / 1.02)
    tight = {row["measure"]: row for row in report(sides, margin={"relative": 1.0})["pairs"]}
    assert tight["length"]["outcome"] == "b"
    assert "equal within the margin" in report(sides)["decision"]["sentence"]


def test_a_teacher_that_verified_nothing_is_behind_by_the_measure_that_was_fixed() -> None:
    made = report({"none": side([False] * 100), "some": side(rate(0.3, 100))})
    row = next(row for row in made["pairs"] if row["measure"] == "cost_per_verified")
    assert (row["difference"], row["ratio"], row["outcome"]) == (None, None, "b")
    assert row["p"] == pytest.approx(2 * 0.5**30)
    assert made["decision"]["measure"] == "cost_per_verified" and made["decision"]["teacher"] == "some"
    assert "some verifies 1,000 rows for $3,333.33, none none for its money" in made["decision"]["sentence"]
    assert made["teachers"]["none"]["cost_per_verified_usd"] is None
    json.dumps(made, allow_nan=False)


def test_a_teacher_that_only_waits_is_behind_in_nothing() -> None:
    idle = side([False] * 100, cost=0.0, state=["waiting"] * 100)
    made = report({"some": side(rate(0.6, 100)), "idle": idle})
    assert [
        row for row in made["pairs"] if row["measure"] in ("cost_per_verified", "verified_yield", "pass_at_1")
    ] == []
    assert made["decision"]["teacher"] is None and "cheaper" not in made["decision"]["sentence"]
    assert "Nothing is known yet of idle." in made["decision"]["sentence"]


def test_what_waits_is_no_failure_in_the_test_of_costs_either() -> None:
    """Two of a hundred have ended for the one that has verified nothing: nothing can be told from two."""
    late = side([False] * 100, state=["exhausted"] * 2 + ["waiting"] * 98)
    (row,) = [
        r for r in report({"some": side(rate(1.0, 100)), "late": late})["pairs"] if r["measure"].startswith("cost")
    ]
    assert (row["n"], row["outcome"]) == (2, "cannot_tell") and row["p"] == pytest.approx(0.5)


def test_how_many_pairs_wait_is_said_beside_a_yield_that_they_are_not_in() -> None:
    state = ["verified"] * 10 + ["waiting"] * 90
    sides = {"half": side([n < 10 for n in range(100)], None, state=state), "all": side(rate(0.5, 100), None)}
    made = report(sides)
    assert made["teachers"]["half"]["verified_yield"] == 1.0
    assert "90 of the 100 pairs of half wait and count neither way." in made["decision"]["sentence"]
    assert "neither way" not in report({"a": side(rate(0.5, 100)), "b": side(rate(0.5, 100))})["decision"]["sentence"]


def test_where_all_of_a_run_waits_nobody_is_said_to_share_no_queries() -> None:
    sides = {name: side([False] * 9, cost=0.0, state=["waiting"] * 9) for name in ("a", "b")}
    told = report(sides)["decision"]["sentence"]
    assert told.startswith("Cannot tell yet: no pair of any teacher has a verdict;")
    assert "9 of the 9 pairs of a and 9 of the 9 pairs of b wait" in told


def test_filters_that_leave_nothing_are_told_beside_the_decision() -> None:
    emptied = side(rate(0.9, 100))
    emptied.kept[:] = False
    told = report({"full": side(rate(0.5, 100)), "emptied": emptied})["decision"]["sentence"]
    assert "The filters dropped everything that emptied verified" in told


def test_judges_without_a_price_are_told_where_costs_are() -> None:
    judged = side(rate(0.5, 100))
    judged.unpriced_judges = 7
    sides = {"plain": side(rate(0.5, 100)), "judged": judged}
    told = "Judges without a price gave replies (7 about judged): the costs are without them."
    assert told in report(sides)["caveats"] and told in report(sides)["decision"]["sentence"]
    assert told not in report(sides, decide_by="verified_yield")["decision"]["sentence"]


def test_where_no_query_came_through_nobody_is_said_to_have_been_asked() -> None:
    blank = Population(np.empty(0, "S16"), np.empty(0, np.int16), (), {"am": Side.blank(0)})
    specs = [TeacherSpec("am", Part("made:teacher"))]
    told = describe(blank, specs, decide_by=None, margin=None, seed=1, sampled=False)["decision"]["sentence"]
    assert told.startswith("Nobody was asked anything")


def test_a_teacher_of_whom_nothing_is_known_does_not_stop_the_others_from_being_compared() -> None:
    dead = side([False] * 300, cost=None, state=["waiting"] * 300)
    sides = {"a": side(rate(0.9, 300), None), "b": side(rate(0.4, 300), None), "dead": dead}
    made = report(sides)["decision"]
    assert (made["teacher"], made["measure"]) == ("a", "verified_yield")
    assert "Nothing is known yet of dead." in made["sentence"]
    alone = report({"a": sides["a"], "dead": dead})["decision"]
    assert alone["teacher"] is None and alone["sentence"].startswith("Cannot tell yet who is ahead")


@pytest.mark.parametrize("decide_by", ["verified_yield", "cost_per_verified", "pass_at_1"])
def test_the_recipe_fixes_the_measure(decide_by: str) -> None:
    made = report({"a": side(rate(0.9)), "b": side(rate(0.4))}, decide_by=decide_by)["decision"]
    assert (made["measure"], made["teacher"]) == (decide_by, "a")


def test_cannot_tell_says_how_many_queries_would() -> None:
    random = np.random.default_rng(3)
    sides = {name: side(list(random.random(60) < share), None) for name, share in (("a", 0.5), ("b", 0.6))}
    made = report(sides)["decision"]
    assert made["teacher"] is None and made["queries_needed"] > 60
    assert made["sentence"].startswith("Cannot tell yet which of b and a is ahead") or "a and b" in made["sentence"]


def test_nobody_to_compare_with() -> None:
    made = report({"only": side(rate(0.5))})["decision"]
    assert made["sentence"] == "Only only was asked: there is nothing to compare."


# -- pairs ------------------------------------------------------------------------------------------------------------


def test_bounds_are_all_pass_and_all_fail_of_what_is_not_known() -> None:
    a = side([True] * 60 + [False] * 40, state=["verified"] * 60 + ["exhausted"] * 30 + ["waiting"] * 10)
    b = side([True] * 50 + [False] * 50, state=["verified"] * 50 + ["exhausted"] * 45 + ["undecided"] * 5)
    made = Population(np.arange(100).astype("S16"), np.zeros(100, np.int16), ("math",), {"a": a, "b": b})
    row = next(row for row in primary(made, margins(None), Effort(1)) if row["measure"] == "verified_yield")
    assert row["bounds"] == (pytest.approx(0.05), pytest.approx(0.20))
    assert row["n"] == 90  # waiting pairs count neither way; undecided ones were asked for and not verified
    assert row["difference"] == pytest.approx(10 / 90)


def test_effect_sizes_are_those_of_their_definitions() -> None:
    a, b = side(rate(0.8), 3.0, list(np.linspace(10, 20, 400))), side(rate(0.5), 1.0, list(np.linspace(9, 17, 400)))
    by = {row["measure"]: row for row in report({"a": a, "b": b})["pairs"]}
    assert by["pass_at_1"]["effect"] == pytest.approx(2 * math.asin(0.8**0.5) - 2 * math.asin(0.5**0.5))
    gaps = np.linspace(1, 3, 400)
    assert by["length"]["effect"] == pytest.approx(gaps.mean() / gaps.std(ddof=1))
    assert by["cost_per_verified"]["effect"] == pytest.approx(math.log((1200 / 320) / (400 / 200)))
    assert {row["effect_kind"] for row in by.values()} == {"cohens_h", "cohens_dz", "log_ratio"}


def test_ratios_of_sums_hold_the_money_of_queries_that_were_never_solved() -> None:
    made = report({"a": side(rate(0.5), 2.0), "b": side(rate(0.25), 2.0)})
    row = next(row for row in made["pairs"] if row["measure"] == "cost_per_verified")
    assert (row["a_value"], row["b_value"]) == (pytest.approx(4.0), pytest.approx(8.0))
    assert row["ratio"] == pytest.approx(0.5) and row["ratio_low"] < 0.5 < row["ratio_high"]


def test_what_is_accepted_by_its_form_alone_is_in_no_rate(tmp_path: Path) -> None:
    made = make_run(tmp_path, (MadeTeacher("am", unverified=True), MadeTeacher("qwen")), queries=60)
    compare(made.folder, teachers=made.specs, tokenizer=word_tokens)
    found = json.loads((made.folder / "report.json").read_text())
    part = found["teachers"]["am"]
    assert part["unverified"] > 0 and part["verified"] == 0
    assert part["pass_at_1"] is None and part["pass_at_1_interval"] is None
    assert not any(pair["measure"] == "pass_at_1" for pair in found["pairs"])


# -- views per category -----------------------------------------------------------------------------------------------


def test_views_of_categories_add_up_to_those_of_everything(tmp_path: Path) -> None:
    made = make_run(tmp_path, queries=90)
    compare(made.folder, teachers=made.specs, tokenizer=word_tokens)
    found = json.loads((made.folder / "report.json").read_text())
    parts = found["by_category"].values()
    assert sum(part["queries"] for part in parts) == found["queries"]
    assert sum(part["parallel"] for part in parts) == found["parallel"]
    for field in ("n", "both", "only_a", "only_b", "neither"):
        assert sum(part["wins"][0][field] for part in parts) == found["wins"][0][field]
    for place, row in enumerate(found["difficulty"]):
        assert sum(part["difficulty"][place]["n"] for part in parts) == row["n"]
    for row in found["overlap"]:
        mine = [r["queries"] for part in parts for r in part["overlap"] if r["teachers"] == row["teachers"]]
        assert sum(mine) == row["queries"]
    for section in found["teachers"].values():
        assert sum(c["share"] for c in section["categories"].values()) == pytest.approx(1)
        assert sum(c["token_share"] for c in section["categories"].values()) == pytest.approx(1)
        assert section["parallel_tokens"]["mean"] == pytest.approx(
            sum(c["parallel_tokens"]["total"] for c in section["categories"].values()) / found["parallel"]
        )


# -- students ---------------------------------------------------------------------------------------------------------


def students(folder: Path, skills: dict[str, float], **settings: Any) -> dict[str, Any]:
    made = make_run(folder, (MadeTeacher("am", 0.75, 80), MadeTeacher("qwen", 0.55, 50)), queries=60)
    make_students(folder, skills, **{"items": 150, "samples": 8} | settings)
    compare(made.folder, teachers=made.specs, tokenizer=word_tokens)
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def test_with_students_the_decision_says_whom_to_distil_from(tmp_path: Path) -> None:
    made = students(tmp_path, {"am": 0.35, "qwen": 0.6})["decision"]
    assert (made["basis"], made["measure"], made["teacher"]) == ("students", "student_mean", "qwen")
    assert made["sentence"].startswith("Distil from qwen: its student scores")
    assert UNTIL not in made["sentence"] and "not certainly ahead" not in made["sentence"]


def test_a_student_that_is_not_ahead_of_its_base_is_told(tmp_path: Path) -> None:
    found = students(tmp_path, {"am": 0.05, "qwen": 0.2})
    assert found["decision"]["teacher"] == "qwen"
    assert "Its student is not certainly ahead of base (" in found["decision"]["sentence"]
    assert {row["teacher"] for row in found["controls"]} == {"am", "qwen"}


def test_students_that_are_too_near_say_how_many_items_would_decide(tmp_path: Path) -> None:
    found = students(tmp_path, {"am": 0.5, "qwen": 0.53}, items=30, samples=1)["decision"]
    assert found["teacher"] is None and found["basis"] == "students"
    assert found["queries_needed"] > 60 and "60 items compared" in found["sentence"]
    assert "items would decide" in found["sentence"] and "queries would decide" not in found["sentence"]


def test_a_recipe_that_decides_by_data_does_not_say_that_no_students_were_trained(tmp_path: Path) -> None:
    make_run(tmp_path, queries=60)
    make_students(tmp_path, {"am": 0.3, "qwen": 0.6})
    specs = [TeacherSpec(name, Part("made:teacher")) for name in ("am", "qwen")]
    compare(tmp_path, teachers=specs, decide_by="verified_yield", tokenizer=word_tokens)
    made = json.loads((tmp_path / "report.json").read_text())["decision"]
    assert (made["basis"], made["measure"]) == ("data", "verified_yield")
    assert UNTIL not in made["sentence"] and "the students' scores stand beside it" in made["sentence"]
    assert "istil from" not in made["sentence"]
