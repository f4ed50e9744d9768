"""Results files of the two harnesses, hand-made in the shapes that they write."""

import json

import pytest

from stillhouse.benchmarks.harnesses import cross_check, read_results, to_lighteval, to_lm_eval
from stillhouse.records import UserMistake

LIGHTEVAL = {
    "config_general": {"lighteval_sha": "?", "model_name": "am-32b", "max_samples": None},
    "results": {
        "lighteval|aime24|0": {"pass@k:k=1&n=64": 0.84, "pass@k:k=1&n=64_stderr": 0.05, "avg@n:n=64": 0.84},
        "custom|math_500|0": {"extractive_match": 0.97, "extractive_match_stderr": 0.008},
        "extended|lcb:codegeneration|0": {"codegen_pass@1:16": 0.66, "codegen_pass@1:16_stderr": 0.03},
        "lighteval|gpqa:diamond|0": {"extractive_match": 0.5},
        "all": {"extractive_match": 0.7},
    },
}
LM_EVAL = {
    "results": {
        "aime24": {"alias": "aime24", "exact_match,none": 0.8, "exact_match_stderr,none": 0.07},
        "minerva_math500": {"exact_match,none": 0.5, "exact_match_stderr,none": "N/A", "math_verify,none": 0.96},
    },
    "model_name": "am-32b",
}  # fmt: skip


def evaluation(rate, name="aime2024", items=30):
    right = round(rate * items)
    per_item = [{"query": str(i), "passed": 64 * (i < right), "judged": 64} for i in range(items)]
    part = {"items": items, "samples": 64, "pass_at_1": right / items, "per_item": per_item, "temperature": 0.6,
            "top_p": 0.95, "max_tokens": 49152}  # fmt: skip
    return {"student": "am", "made": 1.0, "benchmarks": {name: part}}


@pytest.fixture
def write(tmp_path):
    def go(value, name="results_2026-01-01T00-00-00.json"):
        path = tmp_path / "results" / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return path

    return go


def test_lighteval_is_read_with_its_tasks_named_as_ours(write):
    scores = read_results(write(LIGHTEVAL))
    told = {(s.benchmark, s.metric): (s.value, s.stderr) for s in scores}
    assert told["aime2024", "pass@k:k=1&n=64"] == (0.84, 0.05)
    assert told["math500", "extractive_match"] == (0.97, 0.008)
    assert told["livecodebench", "codegen_pass@1:16"] == (0.66, 0.03)
    assert {s.model for s in scores} == {"am-32b"}
    assert not [s for s in scores if s.task == "all"]


def test_lm_eval_is_read_with_what_it_could_not_estimate_left_out(write):
    told = {(s.benchmark, s.metric): (s.value, s.stderr) for s in read_results(write(LM_EVAL))}
    assert told["aime2024", "exact_match,none"] == (0.8, 0.07)
    assert told["math500", "exact_match,none"] == (0.5, None)


def test_of_a_folder_the_newest_file_is_read(write, tmp_path):
    write(LM_EVAL)
    write(LIGHTEVAL, "results_2026-02-01T00-00-00.json")
    assert {s.harness for s in read_results(tmp_path)} == {"lighteval"}


@pytest.mark.parametrize("bad", ["[]", "{}", "not json", '{"results": 3}'])
def test_what_is_no_results_file_is_told(write, bad):
    with pytest.raises(UserMistake, match="results"):
        read_results(write(bad))


def test_a_folder_without_results_is_told(tmp_path):
    with pytest.raises(UserMistake, match=r"no results_\*\.json"):
        read_results(tmp_path)


@pytest.mark.parametrize("shape", [to_lm_eval, to_lighteval])
def test_what_is_written_reads_back(write, shape):
    (score,) = [s for s in read_results(write(shape(evaluation(0.8)))) if s.benchmark]
    assert score.value == pytest.approx(0.8)
    assert score.stderr == pytest.approx((0.8 * 0.2 / 29) ** 0.5)
    assert score.model == "am"


def test_a_cross_check_sets_figures_beside_each_other_and_says_what_errors_explain(write):
    rows = {r["metric"]: r for r in cross_check(evaluation(0.8), read_results(write(LIGHTEVAL)))}
    assert rows["pass@k:k=1&n=64"]["explained"] is True
    assert rows["pass@k:k=1&n=64"]["difference"] == pytest.approx(-0.04)
    (row,) = cross_check(evaluation(0.2), read_results(write(LM_EVAL)))
    assert row["explained"] is False
    assert "greedily" in row["note"]


def test_metrics_of_several_tries_are_not_set_beside_pass_at_1(write):
    value = {"config_general": {}, "results": {"x|aime24|0": {"pass@k:k=8&n=64": 0.95, "maj@64": 0.9, "pass@10": 0.9}}}
    assert cross_check(evaluation(0.8), read_results(write(value))) == []
