"""Claims about recipes: every mistake is told at once on its line; names become parts; the frozen text says all."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from stillhouse.recipe import Parts, frozen, load_recipe, parse_recipe, parts, refuse_unverifiable
from stillhouse.records import UserMistake
from stillhouse.settings import (
    EndpointSettings,
    JudgeSettings,
    PriceSettings,
    QueriesSettings,
    Recipe,
    Settings,
    TeacherSettings,
)

# ruff: noqa: E501  a recipe as people write it
GOOD = """\
name: pilot
queries:
  - {path: queries.jsonl, category: math}
teachers:
  - {name: am, profile: am-thinking-v1, base_url: "http://127.0.0.1:8000/v1", model: A, price: {input: 0.3, output: 1.2}}
  - {name: qwen, profile: qwen3-235b-a22b, base_url: "http://127.0.0.1:8001/v1", model: Q, price: {per_hour: 18.0}}
distill: {attempts: 8, budget_usd: 50}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "queries.jsonl").write_text('{"query": "1 + 1?", "ground_truth": "2"}\n', encoding="utf-8")
    return tmp_path


def told(text: str, folder: Path) -> list[str]:
    with pytest.raises(UserMistake) as caught:
        parse_recipe(text, "r.yaml", folder)
    return list(caught.value.problems)


def test_the_smallest_recipe_gets_every_default(folder: Path) -> None:
    made = parse_recipe(GOOD, "r.yaml", folder)
    assert made.distill.attempts == 8
    assert made.distill.truncated_attempts == 2
    found = parts(made, folder)
    am, qwen = found.teachers
    assert am.max_tokens == 32_768, "the smaller of the profile's and the student's limit"
    assert am.thinking == "required"
    assert (am.perplexity, qwen.perplexity) == (5.0, 20.0)
    assert qwen.price is not None
    assert qwen.price.per_hour == 18.0


def test_a_limit_that_is_set_is_taken(folder: Path) -> None:
    text = GOOD.replace("model: A,", "model: A, max_tokens: 40000,")
    assert parts(parse_recipe(text, "r.yaml", folder), folder).teachers[0].max_tokens == 40_000


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("attempts: 8", "atempts: 8"), 7, "did you mean attempts?"),
        (("category: math", "category: maths"), 3, "did you mean math?"),
        (("attempts: 8", "attempts: eight"), 7, "should be a valid integer, not 'eight'"),
        (("attempts: 8", "attempts: 0"), 7, "greater than or equal to 1"),
        (("queries.jsonl", "querys.jsonl"), 3, "there is no such file or folder: querys.jsonl"),
        (("name: am,", 'name: "../am",'), 5, "a name becomes a folder"),
        (("name: qwen", "name: am"), 6, "has this name too"),
        (("am-thinking-v1", "am-thinking-v2"), 5, "did you mean am-thinking-v1?"),
        (("base_url: \"http://127.0.0.1:8000/v1\", ", ""), 5, "base_url is missing"),
        (("http://127.0.0.1:8000/v1", "127.0.0.1:8000"), 5, "not an http:// or https:// address"),
        (("http://127.0.0.1:8000/v1", "http://me:secret@h/v1"), 5, "api_key_env"),
        ((", price: {input: 0.3, output: 1.2}", ""), 7, "a budget needs prices, and am has none"),
        (("{per_hour: 18.0}", "{per_hour: 18.0, input: 1}"), 6, "either input and output"),
        (("{per_hour: 18.0}", "{input: 1}"), 6, "either input and output"),
        (("distill:", "distil:"), 7, "did you mean distill?"),
        (("name: pilot", "name: pilot\nname: again"), 2, "stands twice"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_on_its_line(change: tuple[str, str], line: int, words: str, folder: Path) -> None:
    problems = told(GOOD.replace(*change), folder)
    assert any(p.startswith(f"r.yaml:{line}:") and words in p for p in problems), problems


@pytest.mark.parametrize("written", ["api_key: sk-12", 'api_key: "sk-12"', "'api_key' : sk-12"])
def test_a_key_in_a_recipe_is_refused_and_does_not_travel_on_in_the_message(written: str, folder: Path) -> None:
    (problem,) = told(GOOD.replace("name: am,", f"name: am, {written},"), folder)
    assert "a key never stands in a recipe" in problem and "api_key_env" in problem
    assert "sk-12" not in problem and "*****" in problem


def test_a_folder_is_no_recipe_and_that_of_a_run_says_how_to_go_on(folder: Path) -> None:
    with pytest.raises(UserMistake, match="is a folder, and a recipe is a file; `stillhouse init` writes one"):
        load_recipe(folder)
    (folder / "recipe.yaml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(UserMistake, match=re.escape(f"`stillhouse run {folder / 'recipe.yaml'} --out {folder}`")):
        load_recipe(folder)


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    text = GOOD.replace("attempts: 8", "atempts: 8").replace("category: math", "category: maths")
    text = text.replace("am-thinking-v1", "am-thinking-v2").replace("queries.jsonl", "querys.jsonl")
    problems = told(text, folder)
    for words in ("atempts", "maths", "am-thinking-v2"):
        assert any(words in p for p in problems), (words, problems)


def test_mistakes_within_one_entry_and_across_entries_are_told_together_from_top_to_bottom(folder: Path) -> None:
    text = GOOD.replace("am-thinking-v1", "am-thinking-v2").replace("input: 0.3", "input: cheap")
    text = text.replace("name: qwen", "name: am, mdel: x").replace("attempts: 8", "attempts: eight")
    problems = told(text, folder)
    found = ("am-thinking-v2", "cheap", "has this name too", "mdel", "eight")
    assert [next(w for w in found if w in p.splitlines()[-1]) for p in problems] == list(found)


def test_a_value_that_is_wrong_is_not_told_as_missing_too(folder: Path) -> None:
    problems = told(
        GOOD.replace("http://127.0.0.1:8000/v1", "127.0.0.1:8000").replace("input: 0.3", "input: x"), folder
    )
    assert len(problems) == 2, problems


def test_the_caret_stands_under_the_mistake(folder: Path) -> None:
    where, shown, caret = told(GOOD.replace("attempts: 8", "atempts: 8"), folder)[0].splitlines()[:3]
    column = int(where.split(":")[2])
    assert caret.index("^") == 4 + column - 1
    assert shown[caret.index("^") :].startswith("atempts")


@pytest.mark.parametrize("text", ["", "just words", "- a\n- list", "name: [", "a: &x [*x]", "\t- tab", "{" * 400])
def test_what_is_no_recipe_is_a_mistake_and_no_traceback(text: str, folder: Path) -> None:
    assert told(text, folder)


def test_numbers_are_those_of_yaml_1_2(folder: Path) -> None:
    made = parse_recipe(GOOD + "train: {learning_rate: 8e-5}\n", "r.yaml", folder)
    assert made.train.learning_rate == pytest.approx(8e-5)


def test_the_frozen_recipe_reads_back_as_the_same_run(folder: Path, tmp_path: Path) -> None:
    made = parse_recipe(GOOD, "r.yaml", folder)
    text = frozen(made, folder)
    again = parse_recipe(text, "recipe.yaml", tmp_path / "elsewhere")
    assert frozen(again, tmp_path / "elsewhere") == text
    assert str(folder / "queries.jsonl") in text


def test_a_frozen_recipe_asks_for_the_same_replies(folder: Path, tmp_path: Path) -> None:
    made = parse_recipe(GOOD, "r.yaml", folder)
    again = parse_recipe(frozen(made, folder), "recipe.yaml", tmp_path / "elsewhere")
    for first, second in zip(parts(made, folder).teachers, parts(again, tmp_path).teachers, strict=True):
        assert first == second
        assert first.part.build().identity("math") == second.part.build().identity("math")


def test_a_category_that_cannot_be_verified_is_refused_with_the_ways_out(folder: Path) -> None:
    (folder / "chat.jsonl").write_text('{"query": "Hello there, friend"}\n', encoding="utf-8")
    text = GOOD.replace("teachers:", "  - {path: chat.jsonl, category: other}\nteachers:")
    with pytest.raises(UserMistake, match="structure"):
        refuse_unverifiable(parse_recipe(text, "r.yaml", folder))
    refuse_unverifiable(parse_recipe(text + "verify: {other: structure}\n", "r.yaml", folder))


@pytest.mark.parametrize("name", ["quickstart", "champ"])
def test_the_recipes_that_ship_are_valid(name: str) -> None:
    path = Path(__file__).resolve().parents[1] / "recipes" / f"{name}.yaml"
    assert parts(parse_recipe(path.read_text(encoding="utf-8"), str(path), path.parent), path.parent).teachers


def test_perplexity_comes_from_whom_the_recipe_names_and_from_nobody_without(folder: Path) -> None:
    def read(more: str, recipe: str = GOOD) -> Parts:
        return parts(parse_recipe(recipe + more, "r.yaml", folder), folder)

    assert read("").perplexity is None
    found = read(
        'filter: {perplexity: {base_url: "http://h:8010/v1", model: Q, api: sglang, budget_usd: 2.0, price: {input: 1, output: 1}}}\n'
    )
    assert found.perplexity is not None
    scorer, judge = found.perplexity
    assert (scorer.endpoints, scorer.model, scorer.budget_usd) == (("http://h:8010/v1",), "Q", 2.0)
    assert scorer.part.build().name == "perplexity-model" and judge.build().rule == "perplexity"
    assert [t.perplexity for t in found.teachers] == [t.perplexity for t in read("").teachers]
    embedded = read("filter: {perplexity: embedded}\n")
    assert {t.perplexity for t in embedded.teachers} == {math.inf}, "the paper's thresholds are of another model"
    with pytest.raises(UserMistake, match="a budget needs prices"):
        read('filter: {perplexity: {base_url: "http://h:8010/v1", model: Q}}\n')
    with pytest.raises(UserMistake, match="base_url and model are needed"):
        read("filter: {perplexity: {model: Q}}\n")


def test_benchmarks_that_are_evaluated_are_avoided_and_may_be_files(tmp_path: Path) -> None:
    (tmp_path / "aime.jsonl").write_text('{"problem": "What is 1 + 1?", "answer": 2}\n')
    (tmp_path / "q.jsonl").write_text('{"query": "What is 1 + 2?", "ground_truth": 3}\n')
    text = """
name: r
queries: [{path: q.jsonl, category: math}]
teachers: [{name: t, base_url: "http://127.0.0.1:1/v1", model: m}]
curate: {avoid: [aime2024=aime.jsonl, {path: q.jsonl, name: own}, {path: aime.jsonl, name: own, column: problem}]}
evaluate: {teachers: true, benchmarks: [math500:4, "aime2024:64"]}
"""
    found = parts(parse_recipe(text, folder=tmp_path), tmp_path)
    assert [name for name, _ in found.avoid] == ["aime2024", "own", "own", "math500"]
    assert [query.text for query in found.avoid[0][1].build()()] == ["What is 1 + 1?"]
    assert tmp_path / "aime.jsonl" in found.files
    with pytest.raises(UserMistake, match=r"curate.avoid\[0\]: there is no such file or folder: aim.jsonl"):
        parse_recipe(text.replace("aime2024=aime", "aime2024=aim"), folder=tmp_path)


def test_every_query_filter_is_in_every_run(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"query": "What is 1 + 2?", "ground_truth": 3}\n')
    text = "name: r\nqueries: [{path: q.jsonl, category: math}]\n"
    text += 'teachers: [{name: t, base_url: "http://127.0.0.1:1/v1", model: m}]\n'
    found = parts(parse_recipe(text, folder=tmp_path), tmp_path)
    named = [part.path.partition(":")[2] for part in found.query_filters]
    assert named == ["oversized", "odd_characters", "incomplete", "url", "table", "image"]


def keys_of(model: type[Settings], before: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of the recipe as docs/recipe.md writes it, with its default; endpoints' keys stand with the teachers."""
    for name, field in model.model_fields.items():
        key = before + (field.alias or name)
        inner = [m for m in model_args(field.annotation) if isinstance(m, type) and issubclass(m, Settings)]
        ours = [m for m in inner if m not in (PriceSettings, JudgeSettings)]
        if before == "" and len(ours) == 1 and key not in ("queries", "teachers"):
            yield from keys_of(ours[0], f"{key}.")
            continue
        yield key, field
        for nested in ours:
            endpoint = issubclass(nested, EndpointSettings) and nested is not TeacherSettings
            shared = set(EndpointSettings.model_fields) if endpoint else set()
            own = [k for k in keys_of(nested, f"{key}.") if k[0].rsplit(".", 1)[1] not in shared]
            yield from (own if nested is not QueriesSettings or before == "" else [])


def model_args(annotation: Any) -> list[Any]:
    """The types that an annotation is made of."""
    inner = get_args(annotation)
    return [annotation] if not inner else [part for each in inner for part in model_args(each)]


def test_the_page_of_the_recipe_lists_every_key_with_its_default() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "recipe.md").read_text(encoding="utf-8")
    told = {m[1]: m[2] for m in re.finditer(r"^\| `([\w.*]+)` \| (.*?) \| ", page, re.M)}
    keys = dict(keys_of(Recipe))
    absent = [key for key in keys if key not in told and not any(t.startswith(f"{key}.") for t in told)]
    assert not absent, absent
    gone = [key for key in told if key not in keys and "*" not in key and not key.startswith("filter.perplexity.")]
    assert not gone, gone
    for key, field in keys.items():
        if (
            key in told
            and isinstance(field.default, str | int | float)
            and not isinstance(field.default, bool)
            and field.default != ""
        ):
            assert str(field.default) in told[key] or f"{field.default:g}" in told[key] or key in SPELT, (
                key,
                told[key],
            )


SPELT = {"train.learning_rate"}  # 8.0e-5, which YAML reads as a number
