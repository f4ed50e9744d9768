"""Rows read column by column are the rows that are read one by one, whatever the rows, the chunks and the spans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.records import Part, Query, UserMistake, query_key
from stillhouse.sources import files as files_module
from stillhouse.sources import lines as lines_module
from stillhouse.sources.files import Files
from stillhouse.sources.lines import Problems
from stillhouse.sources.reading import read_rows
from stillhouse.sources.rows import Shape, to_query

CELLS = st.none() | st.text(max_size=8) | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.booleans()
NESTED = st.lists(CELLS, max_size=2) | st.dictionaries(st.text(max_size=3), CELLS, max_size=2)
TURNS = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": CELLS}), max_size=3
)
ROWS = st.fixed_dictionaries({}, optional={
    "query": CELLS | NESTED, "question": CELLS, "messages": st.none() | TURNS, "id": CELLS, "source": CELLS,
    "system": CELLS, "ground_truth": CELLS | NESTED, "reference_answer": CELLS, "question_source": CELLS,
    "test_case": NESTED | st.sampled_from([None, "", "{", '{"a": 1}']), "instruction_constrain": NESTED,
    "instruction_id_list": st.none() | st.lists(st.text(max_size=4), max_size=2), "response": CELLS,
    "note": CELLS | NESTED, "a.b": CELLS,
})  # fmt: skip
COLUMNS = st.sampled_from([{}, {"query": "question"}, {"query": "note", "ground_truth": "id"}, {"id": "note.a"}])


def one_by_one(file: Path, columns: dict[str, str]) -> list[Query]:
    shape = Shape("math", None, columns, "rows")
    return [to_query(row, shape, f"{file}:{line}") for line, row in read_rows(str(file), Problems())]


@settings(max_examples=300, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=6), st.booleans(), COLUMNS)
def test_columns_say_what_rows_say(tmp_path_factory: Any, rows: list[dict], alike: bool, columns: dict) -> None:
    rows = [rows[0] | row for row in rows] if alike else rows
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    file.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    told = Files(str(file), category="math", columns=columns)
    try:
        read = list(told())
    except UserMistake as mistake:
        assert "no row has" in str(mistake) or "there is no column" in str(mistake)
        return
    assert read == one_by_one(file, columns)
    assert all(query.key == query_key(query.messages) for query in read)


def test_keys_made_in_bulk_are_the_keys_of_records(tmp_path: Path) -> None:
    texts = ["plain", "  outer \n", "e\u0301", "中文", "", " \u3000", "\x1cx\x85", "a\ud800b"]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"query": text}) + "\n" for text in texts))
    (block,) = Files(str(tmp_path), category="math").blocks()
    made = block.make_keys()
    queries = list(Files(str(tmp_path), category="math")())
    assert block.keys == [query.key for query in queries] == [f"{high:016x}{low:016x}" for high, low in made.tolist()]


def test_a_large_file_in_spans_is_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rows.jsonl"
    lines = [json.dumps({"query": f"What is {n} plus {'x' * (n % 50)}?"}) for n in range(500)]
    lines[100:100] = ["", "  "]
    file.write_text("\ufeff" + "\n".join(lines))
    whole = list(Files(str(file), category="math")())
    monkeypatch.setattr(files_module, "SPLIT_BYTES", 1000)
    monkeypatch.setattr(lines_module, "CHUNK_BYTES", 300)
    part = Part("stillhouse.sources.files:Files", {"path": str(file), "category": "math"})
    pieces = part.build().pieces(part)
    assert len(pieces) > 10
    read = [query for piece in pieces for query in piece.build()()]
    assert read == whole and [query.origin for query in read] == [query.origin for query in whole]


def test_spans_tell_a_broken_line_with_its_number_and_a_column_only_where_no_row_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "SPLIT_BYTES", 400)
    file = tmp_path / "rows.jsonl"
    rows: list[dict[str, str]] = [{"query": f"What is {n} plus 1?"} for n in range(60)]
    rows[50]["answer"] = "51"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    part = Part("stillhouse.sources.files:Files", {"path": str(file), "category": "math",
                                                   "columns": {"ground_truth": "answer"}})  # fmt: skip
    read = [query for piece in part.build().pieces(part) for query in piece.build()()]
    assert [query.ground_truth for query in read if query.ground_truth] == ["51"] and len(read) == 60
    wrong = Part(part.path, dict(part.settings) | {"columns": {"ground_truth": "answr"}})
    with pytest.raises(UserMistake, match="no column 'answr', did you mean 'answer'"):
        list(wrong.build().pieces(wrong)[-1].build()())
    file.write_text(file.read_text() + "{broken\n")
    with pytest.raises(UserMistake, match=r"rows.jsonl:61:2: broken JSON line"):
        list(part.build().pieces(part)[-1].build()())


def test_a_limit_reads_no_further(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"query": "What is 1?"}\n\n{"query": "What is 2?"}\n{broken\n')
    assert [q.text for q in Files(str(tmp_path), category="math", limit=2)()] == ["What is 1?", "What is 2?"]


def test_parquet_columns_say_what_rows_say(tmp_path: Path) -> None:
    rows = [
        {"query": "What is 1?", "ground_truth": 1.0, "test_case": None, "meta": {"a": [1, 2]}, "id": 7},
        {"query": None, "ground_truth": None, "test_case": '{"inputs": ["1"]}', "meta": None, "id": None},
        {"query": "What is 3?", "ground_truth": 2.5, "test_case": "no json", "meta": {"a": []}, "id": 9},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    read = list(Files(str(tmp_path), category="math")())
    assert read == one_by_one(tmp_path / "rows.parquet", {})
    assert [query.ground_truth for query in read] == ["1", None, "2.5"]
