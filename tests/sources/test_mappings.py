"""Claims about the ready mappings: every corpus gives verifiable queries from hand-made rows of its shape."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from stillhouse.records import CATEGORIES, Part, Query, UserMistake
from stillhouse.sources.corpora import CORPORA, UNCONFIRMED
from stillhouse.sources.mappings import Mapped, catalogue

STD = {"call_type": "std", "inputs": ["1\n"], "outputs": ["2\n"]}
CALL = {"call_type": "assert", "fn_name": "f", "assert_case": ["assert f(1, 'a') == 3"]}
NO_COMMA = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
PYTEST = '''from solution import f

def test_small():
    """Doc."""
    assert f(1, 'a') == 3

def test_with_work():
    x = 1
    assert f(x) == 2

def helper():
    assert False
'''

# corpus -> a row of its shape, and what must come of it: text of the last turn, and a field with its value
ROWS: dict[str, tuple[dict[str, Any], str, str, object]] = {
    "openr1-math-220k": ({"problem": "Q", "answer": "4", "uuid": "u", "solution": "s", "source": "olympiads"},
                         "Q", "ground_truth", "4"),
    "big-math-rl-verified": ({"problem": "Q", "answer": "4", "llama8b_solve_rate": 0.5}, "Q", "ground_truth", "4"),
    "numinamath-1.5": ({"problem": "Q", "answer": "4", "question_type": "math-word-problem"}, "Q", "ground_truth", "4"),
    "metamathqa": ({"query": "Q", "response": "So.\n#### 4\nThe answer is: 4", "type": "GSM"},
                          "Q", "ground_truth", "4"),
    "s1-full59k": ({"question": "Q", "solution": r"So \boxed{4}.", "cot_type": "math"},
                   "Q", "ground_truth", r"So \boxed{4}."),
    "deepmath-103k": ({"question": "Q", "final_answer": "4", "difficulty": 6.0, "topic": "t"},
                          "Q", "ground_truth", "4"),
    "aime-1983-2023": ({"ID": "1983-1", "Year": 1983, "Question": "Q", "Answer": "60"}, "Q", "ground_truth", "60"),
    "prime-code": ({"ability": "code", "data_source": "apps", "reward_model": {"ground_truth": json.dumps(
        {"inputs": ["1\n"], "outputs": ["2\n"]})}, "prompt": [{"role": "system", "content": "S"},
                                                              {"role": "user", "content": "Q"}]}, "Q", "test_case",
                    STD),
    "deepcoder-primeintellect": ({"problem": "Q", "metadata": "{}", "tests": json.dumps(
        [{"type": "stdin_stdout", "input": "1\n", "output": "2\n"}])}, "Q", "test_case", STD),
    "deepcoder-taco": ({"problem": "Q", "tests": json.dumps(
        {"fn_name": "f", "inputs": [[1, "a"]], "outputs": [[3]]})}, "Q", "test_case", CALL),
    "kodcode": ({"question": "Q", "test": PYTEST, "test_info": [{"function_name": "f"}]}, "Q", "test_case", CALL),
    "verifiable-coding": ({"prompt": "Q", "problem_id": "p", "verification_info": str(
        {"language": "python", "test_cases": [{"type": "function_call", "fn_name": "f", "input": [1, "a"],
                                               "output": [3]}]})}, "Q", "test_case", CALL),
    "codeforces-cots": ({"prompt": "Q", "id": "1/A", "public_tests": {"input": ["1\n"], "output": ["2\n"]},
                         "private_tests": None}, "Q", "test_case", STD),
    "opencoder-educational": ({"instruction": "Q", "seq_id": 7, "entry_point": "f", "testcase":
                               ["assert f(1, 'a') == 3"]}, "Q", "test_case", CALL),
    "openthoughts-code": ({"problem": "Q", "test_cases": json.dumps({"inputs": ["1\n"], "outputs": ["2\n"]})},
                          "Q", "test_case", STD),
    "acecode-87k": ({"question": "Q", "id": "1", "test_cases": ["assert f(1, 'a') == 3"]},
                    "Q", "test_case", {**CALL, "fn_name": ""}),
    "chemistryqa": ({"question": "Q", "answer": "2 mol", "target_var_json": "[]"}, "Q", "ground_truth", "2 mol"),
    "logic-701": ({"problem_statement": "Q?", "correct_option_number": 2, "topic": "t",
                   **{f"answer_option_{n}": f"o{n}" for n in range(1, 6)}},
                  "Q?\nA. o1\nB. o2\nC. o3\nD. o4\nE. o5", "ground_truth", "B"),
    "llama-nemotron-if": ({"input": [{"role": "user", "content": "Q"}], "args": {
        "instruction_id_list": ["punctuation:no_comma"], "instruction_kwargs": [{"num_words": None}]}},
        "Q", "instruction_constrain", NO_COMMA),
    "ifeval-like": ({"prompt": "Q", "instruction_id_list": ["punctuation:no_comma"], "kwargs": "[{'num_words': None}]"},
                    "Q", "instruction_constrain", NO_COMMA),
    "autoif": ({"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "a"}]},
               "Q", "category", "if"),
    "tulu-3-sft-mixture": ({"id": "1", "source": "x", "messages": [{"role": "user", "content": "Q"}]}, "Q", "id", "1"),
    "infinity-instruct": ({"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "a"}]},
                          "Q", "category", "multiturn"),
    "openhermes-2.5": ({"conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "Q"}]},
                       "Q", "system", "S"),
    "ultrachat": ({"id": "0", "data": ["one", "two", "Q", "four"]}, "Q", "category", "multiturn"),
    "wizardlm-evol-instruct-70k": ({"instruction": "Q", "output": "a"}, "Q", "category", "other"),
    "open-orca": ({"id": "niv.1", "system_prompt": "S", "question": "Q", "response": "a"}, "Q", "system", "S"),
    "flan": ({"inputs": "Q", "targets": "a", "_task_name": "t"}, "Q", "category", "other"),
    "natural-reasoning": ({"question": "Q", "reference_answer": "4", "responses": []}, "Q", "ground_truth", "4"),
}  # fmt: skip


def read(tmp_path: Path, mapping: str, *rows: dict[str, Any], **settings: Any) -> list[Query]:
    path = tmp_path / "part.jsonl"
    path.write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    settings = {"mapping": mapping, "path": str(path), **settings}
    return list(Part("stillhouse.sources.mappings:Mapped", settings).build()())


@pytest.mark.parametrize("mapping", CORPORA)
def test_every_corpus_gives_queries_of_its_category_with_their_reference(tmp_path: Path, mapping: str) -> None:
    row, text, field, value = ROWS[mapping]
    (query,) = read(tmp_path, mapping, row)
    assert (query.text, query.category, query.source) == (text, CORPORA[mapping].category, mapping)
    assert getattr(query, field) == value, query.extra
    assert "problem" not in (query.extra or {})


def test_no_reply_of_a_corpus_becomes_part_of_a_query(tmp_path: Path) -> None:
    for mapping, (row, _, _, _) in ROWS.items():
        (query,) = read(tmp_path, mapping, row)
        assert not {"response", "output", "targets", "solution", "answer"} & set(query.extra or {}), mapping


@pytest.mark.parametrize(
    ("mapping", "row"),
    [
        ("aime-1983-2023", {"ID": "2024-1", "Year": 2024, "Question": "Q", "Answer": "1"}),
        ("numinamath-1.5", {"problem": "Q", "answer": "proof", "question_type": "proof"}),
        ("s1-full59k", {"question": "Q", "solution": "s", "cot_type": "crossword"}),
        ("prime-code", {"ability": "math", "prompt": [], "reward_model": {}}),
    ],
)
def test_rows_that_do_not_belong_are_left_out_and_counted(tmp_path: Path, mapping: str, row: dict[str, Any]) -> None:
    path = tmp_path / "part.jsonl"
    path.write_bytes(orjson.dumps(row))
    source = Mapped(mapping, str(path))
    assert list(source()) == [] and source.left_out == 1


@pytest.mark.parametrize(
    ("mapping", "row", "says"),
    [
        ("metamathqa", {"query": "Q", "response": "I do not know."}, "names no answer"),
        ("logic-701", {"problem_statement": "Q", "correct_option_number": 9}, "'9'"),
        ("kodcode", {"question": "Q", "test": "def (", "test_info": []}, "no Python"),
        ("kodcode", {"question": "Q", "test": "x = 1", "test_info": None}, "no assert"),
        ("deepcoder-taco", {"problem": "Q", "tests": "not json"}, "no tests"),
        ("deepcoder-taco", {"problem": "Q", "tests": '{"inputs": ["1"], "outputs": []}'}, "no tests"),
        ("deepcoder-taco", {"problem": "Q", "tests": '{"inputs": ["1"], "outputs": ["1", "2"]}'}, "1 inputs and 2"),
        (
            "deepcoder-taco",
            {"problem": "Q", "tests": '{"fn_name": "f(); x", "inputs": [[1]], "outputs": [1]}'},
            "no name",
        ),
        ("llama-nemotron-if", {"input": [{"role": "user", "content": "Q"}], "args": None}, "args"),
        ("verifiable-coding", {"prompt": "Q", "verification_info": "[" * 5000}, "verification_info"),
    ],
)
def test_a_reference_that_cannot_be_read_leaves_its_reason(
    tmp_path: Path, mapping: str, row: dict[str, Any], says: str
) -> None:
    (query,) = read(tmp_path, mapping, row)
    assert query.ground_truth is None and query.test_case is None and query.instruction_constrain is None
    assert says in (query.extra or {})["problem"]


def test_the_category_source_and_limit_can_be_said_otherwise(tmp_path: Path) -> None:
    rows = [{"question": f"Q{n}", "final_answer": n} for n in range(5)]
    queries = read(tmp_path, "deepmath-103k", *rows, category="science", source="mine", limit=2)
    assert [(q.text, q.category, q.source, q.ground_truth) for q in queries] == [
        ("Q0", "science", "mine", "0"), ("Q1", "science", "mine", "1"),
    ]  # fmt: skip


def test_a_column_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match="no column 'final_answer' any more; its rows have 'question', 'answer'"):
        read(tmp_path, "deepmath-103k", {"question": "Q", "answer": "4"})


@pytest.mark.parametrize(("name", "says"), [("deepmath", "did you mean 'deepmath-103k'"), ("logicLM", "two names")])
def test_an_unknown_corpus_is_told_with_the_nearest_or_why_it_is_not_there(name: str, says: str) -> None:
    with pytest.raises(UserMistake, match=says):
        Mapped(name)


def test_the_catalogue_lists_every_corpus_with_its_card_and_what_was_not_confirmed() -> None:
    listed = {row["name"]: row for row in catalogue()}
    assert set(listed) == set(CORPORA) | set(UNCONFIRMED) and set(ROWS) == set(CORPORA)
    for name, corpus in CORPORA.items():
        assert listed[name]["card"] == f"https://huggingface.co/datasets/{corpus.hub}"
        assert corpus.read_in in ("card", "loaders") and corpus.category in CATEGORIES
    assert all(listed[name]["read_in"] == "unconfirmed" and listed[name]["note"] for name in UNCONFIRMED)


def test_the_page_about_sources_lists_every_corpus() -> None:
    page = (Path(__file__).parents[2] / "docs" / "sources.md").read_text("utf-8")
    for name, corpus in CORPORA.items():
        assert f"| {name} | [{corpus.hub}]({corpus.card})" in page
    assert all(f"| {name} | {why} |" in page for name, why in UNCONFIRMED.items())


def test_a_local_copy_is_read_a_file_at_a_time(tmp_path: Path) -> None:
    from stillhouse.stages.curate import _pieces

    for n in range(3):
        (tmp_path / f"{n}.jsonl").write_text(json.dumps({"problem": f"Q{n}", "answer": "4"}) + "\n")
    part = Part("stillhouse.sources.mappings:Mapped", {"mapping": "openr1-math-220k", "path": str(tmp_path)})
    pieces = list(_pieces([part]))
    assert len(pieces) == 3
    assert [query for piece in pieces for query in piece.build()()] == list(part.build()())
