"""Claims about files as a source: every format, every published shape, and mistakes told with file and line."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from stillhouse.records import Message, Part, Query, UserMistake
from stillhouse.sources.files import Files

ROWS = [{"id": str(n), "query": f"What is {n} + {n}?", "ground_truth": str(2 * n)} for n in range(5)]


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


def arrow(path: Path, rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def as_csv(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], object]] = {
    "q.jsonl": lambda path, rows: path.write_bytes(jsonl(rows)),
    "q.ndjson": lambda path, rows: path.write_bytes(b"\xef\xbb\xbf" + jsonl(rows) + b"\n  \n"),
    "q.jsonl.gz": lambda path, rows: path.write_bytes(gzip.compress(jsonl(rows))),
    "q.jsonl.zst": lambda path, rows: path.write_bytes(b"".join(zstandard.compress(jsonl([row])) for row in rows)),
    "q.json": lambda path, rows: path.write_text(json.dumps(rows, indent=1)),
    "lines.json": lambda path, rows: path.write_bytes(jsonl(rows)),
    "wrapped.json": lambda path, rows: path.write_text(json.dumps({"version": 1, "data": rows}, indent=2)),
    "q.csv": as_csv,
    "q.tsv": lambda path, rows: as_csv(path, rows, "\t"),
    "semicolons.csv": lambda path, rows: as_csv(path, rows, ";"),
    "q.parquet": parquet,
    "q.arrow": arrow,
}


def queries(path: object, **settings: Any) -> list[Query]:
    return list(Part("stillhouse.sources.files:Files", {"path": str(path), "category": "math", **settings}).build()())


def mistake(path: object, **settings: Any) -> tuple[str, ...]:
    with pytest.raises(UserMistake) as caught:
        queries(path, **settings)
    return caught.value.problems


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_queries(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, ROWS)
    read = queries(tmp_path / name)
    assert [(q.id, q.text, q.ground_truth, q.category) for q in read] == [
        (row["id"], row["query"], row["ground_truth"], "math") for row in ROWS
    ]
    assert all(q.origin.startswith(f"{tmp_path / name}:") for q in read)
    assert read[0].source in ("q", "lines", "wrapped", "semicolons")


def test_folders_and_globs_are_read_in_order_of_name_and_each_file_once(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.jsonl", "a.parquet", "deep/c.csv", ".hidden.jsonl"):
        WRITERS[f"q{Path(name).suffix}"](tmp_path / name, ROWS)
    (tmp_path / "README.md").write_text("not rows")
    (tmp_path / "dataset_info.json").write_text("{}")
    assert [q.source for q in queries(tmp_path)] == ["a"] * 5 + ["b"] * 5 + ["c"] * 5
    assert len(queries(tmp_path / "**" / "*.csv")) == 5
    both = Files([str(tmp_path / "b.jsonl"), str(tmp_path / "*.jsonl")], category="math")
    assert len(list(both())) == 5


def test_a_relative_path_starts_from_the_folder_of_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_bytes(jsonl(ROWS))
    assert len(queries("q.jsonl", folder=str(tmp_path))) == 5
    assert len(queries("q.jsonl", folder=str(tmp_path), limit=2)) == 2


CONSTRAIN = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
TESTS = {"call_type": "std", "inputs": ["1\n"], "outputs": ["2\n"]}
TURNS = [
    {"from": "human", "value": "Q", "info": {"source": "s", "category": "code", "ground_truth": None,
                                             "test_case": json.dumps(TESTS), "instruction_constrain": None}},
    {"from": "assistant", "value": "<think>t</think><answer>a</answer>",
     "info": {"think_content": "t", "answer_content": "a", "verify_score": 1.0, "ppl": 2.0, "model_name": "m"}},
]  # fmt: skip
MOVED = [{**TURNS[0], "info": None}, {**TURNS[1], "info": {**TURNS[1]["info"], **TURNS[0]["info"]}}]  # type: ignore[dict-item]
FLAT = {
    "question": "Q", "answer": "<think>t</think>a", "question_source": "s", "answer_source": "r1", "category": "code",
    "ground_truth": None, "test_case": json.dumps(TESTS), "instruction_constrain": None, "pass_rate_r1": 0.5,
    "verify_score": 1.0, "ppl": 2.0, "model_name": "m",
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "AM-Thinking-v1-Distilled": {"system": None, "conversations": TURNS},
    "AM-Thinking-v1-Distilled, info on the other turn": {"system": None, "conversations": MOVED},
    "AM-Thinking-v1-Distilled, conversations as JSON text": {"conversations": json.dumps(TURNS)},
    "AM-DeepSeek-R1-Distilled-1.4M": {"category": "code", "messages": [
        {"role": "user", "content": "Q", "info": {"source": "s", "reference_answer": None,
                                                  "test_case": json.dumps(TESTS), "think_content": None}},
        {"role": "assistant", "content": "<think>t</think><answer>a</answer>", "info": {"think_content": "t"}}]},
    "AM-DeepSeek-Distilled-40M": FLAT,
    "a query row": {"query": "Q", "source": "s", "category": "code", "test_case": TESTS},
    "a query row, test_case as text": {"query": "Q", "source": "s", "category": "Code", "test_case": json.dumps(TESTS)},
    "messages of parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Q"}]}], "source": "s",
                          "category": "coding", "test_case": TESTS, "query": None},
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_published_shapes_are_recognised_and_their_replies_dropped(tmp_path: Path, shape: str) -> None:
    (tmp_path / "q.jsonl").write_bytes(jsonl([SHAPES[shape]]))
    (query,) = queries(tmp_path / "q.jsonl", category=None)
    assert query.messages == (Message("user", "Q"),)
    assert (query.category, query.source, query.test_case, query.system) == ("code", "s", TESTS, None)
    assert not {"answer", "verify_score", "think_content"} & set(query.extra or {})


def test_files_whose_schemas_differ_are_read_side_by_side(tmp_path: Path) -> None:
    for number, row in enumerate(SHAPES.values()):
        (tmp_path / f"{number}.jsonl").write_bytes(jsonl([row]))
    assert {q.key for q in queries(tmp_path, category=None)} == {Query((Message("user", "Q"),), "code").key}


def test_the_history_is_kept_without_earlier_thinking_and_later_replies(tmp_path: Path) -> None:
    turns = [("system", "Be brief."), ("user", "1"), ("assistant", "<think>no</think><answer>one</answer>"),
             ("user", "2"), ("assistant", "two")]  # fmt: skip
    rows = [{"messages": [{"role": role, "content": text} for role, text in turns]}]
    (tmp_path / "q.jsonl").write_bytes(jsonl(rows))
    (query,) = queries(tmp_path / "q.jsonl", category="multiturn")
    assert query.messages == (Message("user", "1"), Message("assistant", "one"), Message("user", "2"))
    assert query.system == "Be brief."


@pytest.mark.parametrize(
    ("row", "field", "value"),
    [
        (b'{"query": "a b c", "ground_truth": 5}', "ground_truth", "5"),
        (b'{"query": "a b c", "ground_truth": 5.0}', "ground_truth", "5"),
        (b'{"query": "a b c", "ground_truth": 0.1}', "ground_truth", "0.1"),
        (b'{"query": "a b c", "ground_truth": 123456789012345678901234567890}', "ground_truth",
         "123456789012345678901234567890"),
        (b'{"query": "a b c", "ground_truth": NaN}', "ground_truth", None),
        (b'{"query": "a b c", "ground_truth": "  "}', "ground_truth", None),
        (b'{"query": "a b c", "ground_truth": true}', "ground_truth", "true"),
        (b'{"query": "a b c", "ground_truth": ["x"]}', "ground_truth", "x"),
        (b'{"query": 12}', "messages", (Message("user", "12"),)),
        (b'{"query": null}', "messages", ()),
        (b'{"query": " \\n"}', "messages", ()),
        (b'{"query": "lone \\ud83d"}', "messages", (Message("user", "lone \ufffd"),)),
        (b'{"query": "pair \\ud83d\\ude00"}', "messages", (Message("user", "pair \U0001f600"),)),
        (b'{"query": "q", "id": 7}', "id", "7"),
        (b'{"messages": []}', "messages", ()),
        (b'{"messages": [{"role": "assistant", "content": "hi"}]}', "messages", ()),
        (b'{"query": "q", "test_case": ""}', "test_case", None),
        (b'{"query": "q", "level": 3, "ppl": 1.5}', "extra", {"level": 3}),
        (b'{"query": "q", "test_case": "{oops"}', "test_case", None),
        (b'{"query": "q", "system": "s"}', "system", "s"),
        (b'{"query": "q", "instruction_id_list": ["punctuation:no_comma"], "kwargs": ["{\\"a\\": null}"]}',
         "instruction_constrain", CONSTRAIN),
        (b'{"query": "q", "instruction_constrain": {"instruction_id_list": ["punctuation:no_comma"],'
         b'"kwargs": "[{\\"num_words\\": null}]"}}', "instruction_constrain", CONSTRAIN),
    ],
)  # fmt: skip
def test_odd_cells_become_what_a_person_would_read(tmp_path: Path, row: bytes, field: str, value: object) -> None:
    (tmp_path / "q.jsonl").write_bytes(row + b'\n{"query": "so that the file has a text column"}')
    assert getattr(queries(tmp_path / "q.jsonl")[0], field) == value


def test_a_cell_that_cannot_be_read_leaves_its_reason(tmp_path: Path) -> None:
    rows = [{"query": "q", "test_case": "{oops"}, {"messages": [{"role": "tool", "content": "x"}]}]
    (tmp_path / "q.jsonl").write_bytes(jsonl(rows))
    first, second = queries(tmp_path / "q.jsonl")
    assert first.extra is not None and first.extra["problem"].startswith("test_case is not JSON")
    assert second.extra is not None and "'tool'" in second.extra["problem"] and second.messages == ()


def test_a_row_of_5_mb_is_one_query(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_bytes(jsonl([{"query": "x" * 5_000_000}, {"query": "y"}]))
    (tmp_path / "q.json").write_text(json.dumps([{"query": "é" * 5_000_000}, {"query": "y"}], ensure_ascii=False))
    assert [len(q.text) for q in queries(tmp_path)] == [5_000_000, 1, 5_000_000, 1]


def test_columns_are_mapped_and_reach_into_objects(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_bytes(jsonl([{"problem": "P", "meta": {"answers": [{"text": 4}]}, "level": 1}]))
    (query,) = queries(
        tmp_path / "q.jsonl", columns={"query": "problem", "ground_truth": "meta.answers.0.text"}, source="mine"
    )
    assert (query.text, query.ground_truth, query.source, query.extra) == ("P", "4", "mine", {"level": 1})


def test_all_broken_lines_are_told_at_once_with_file_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(b'{"query": "a"}\n{"query": "b",}\n\n[1]\n{"query": "\xff"}\n' + b"{\n" * 9)
    told = mistake(path)
    assert told[0].startswith(f"{path}:2:") and "broken JSON line" in told[0]
    assert told[1] == f"{path}:4:1: a line must hold a JSON object, not a list"
    assert told[2].startswith(f"{path}:5:12: is not UTF-8 (byte 0xff)")
    assert told[-1] == "... and 7 more like these"


def test_what_has_another_encoding_says_so_and_is_read_once_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_bytes("query\ncafé au lait\n".encode("cp1252"))
    assert "encoding" in mistake(tmp_path / "q.csv")[0]
    assert queries(tmp_path / "q.csv", encoding="cp1252")[0].text == "café au lait"
    (tmp_path / "q.jsonl").write_bytes('{"query": "é"}\n'.encode("utf-16"))
    assert "encoding: utf-16" in mistake(tmp_path / "q.jsonl")[0]
    assert queries(tmp_path / "q.jsonl", encoding="utf-16")[0].text == "é"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("q.json", b'[{"query": "a"}, {"query": "b"', ":1: broken JSON"),
        ("q.json", b'{"data": [{"query": "a"}', "broken JSON"),
        ("q.json", b'[\n1]', ":2: an item of the list must be an object"),
        ("q.csv", b"query,ground_truth\na,1\nb\n", ":3: has 1 columns where the header has 2"),
        ("q.parquet", b"nothing like it", "is no readable parquet file"),
        ("q.arrow", b"nothing like it", "is no readable arrow file"),
        ("q.jsonl.gz", gzip.compress(b'{"query": "a"}\n' * 99)[:-12], "cannot be unpacked"),
        ("q.jsonl.zst", b"nothing like it", "cannot be unpacked"),
        ("q.jsonl", b'{"question": "a", "answer": "b"}\n', "`columns: {query: question}`"),
        ("q.jsonl", b'{"query": "a", "category": "maths"}\n', "did you mean 'math'"),
        ("q.jsonl", b"[" * 100_000, "broken JSON line"),
        ("q.txt", b"hello", "add `format: jsonl`"),
    ],
)  # fmt: skip
def test_a_broken_file_is_told_by_name_and_place(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    told = mistake(tmp_path / name, category=None if b"maths" in content else "math")
    assert str(tmp_path / name) in told[0] and says in told[0], told


def test_a_column_that_a_file_lacks_is_told_with_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl([{"problem": "a", "answer": "1"}]))
    (tmp_path / "b.jsonl").write_bytes(jsonl([{"problem": "a", "answers": "1"}, {"problem": "b"}]))
    (told,) = mistake(tmp_path, columns={"query": "problem", "ground_truth": "answer"})
    assert (
        told == f"{tmp_path}/b.jsonl: there is no column 'answer', did you mean 'answers'?; it has 'problem', 'answers'"
    )


def test_a_single_row_may_leave_out_a_column_that_others_have(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl([{"problem": "a", "answer": "1"}, {"problem": "b"}, {"answer": "2"}]))
    read = queries(tmp_path, columns={"query": "problem", "ground_truth": "answer"})
    assert [(q.text, q.ground_truth) for q in read] == [("a", "1"), ("b", None), ("", "2")]


def test_what_is_missing_is_told_all_at_once_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "queries.jsonl").write_bytes(jsonl(ROWS))
    (tmp_path / "empty").mkdir()
    source = Files([str(tmp_path / name) for name in ("querys.jsonl", "empty", "*.csv", "no/such/place")], "math")
    with pytest.raises(UserMistake) as caught:
        source.files()
    told = caught.value.problems
    assert len(told) == 4
    assert "did you mean" in told[0] and "queries.jsonl" in told[0]
    assert "holds no file of rows" in told[1] and "nothing matches" in told[2] and "nothing further" in told[3]


def test_wrong_settings_are_told_all_at_once() -> None:
    with pytest.raises(UserMistake) as caught:
        Files("x", category="meth", columns={"qery": "a"}, format="xlsx")
    assert len(caught.value.problems) == 3 and "did you mean 'query'" in caught.value.problems[0]


def test_an_empty_file_gives_no_queries_and_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_bytes(b"")
    (tmp_path / "q.csv").write_bytes(b"")
    assert queries(tmp_path) == []


def test_an_object_store_is_read_through_fsspec(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    for name, rows in (("a.jsonl", 2), ("deep/b.jsonl.gz", 1), ("dataset_info.json", 1), ("c.parquet", 1)):
        lines = "".join(json.dumps({"query": f"What is {n} in {name}?"}) + "\n" for n in range(rows)).encode()
        if name.endswith("parquet"):
            buffer = io.BytesIO()
            pq.write_table(pa.table({"query": ["What is 5 in c.parquet?"]}), buffer)
            lines = buffer.getvalue()
        store.pipe(f"/bucket/{name}", gzip.compress(lines) if name.endswith("gz") else lines)
    read = [query.text for query in Files("memory://bucket", category="math")()]
    assert sorted(read) == [
        "What is 0 in a.jsonl?", "What is 0 in deep/b.jsonl.gz?", "What is 1 in a.jsonl?", "What is 5 in c.parquet?",
    ]  # fmt: skip
    assert len(list(Files("memory://bucket/*.jsonl", category="math")())) == 2
    with pytest.raises(UserMistake, match=r"memory://bucket/gone\.jsonl: cannot be read"):
        list(Files("memory://bucket/gone.jsonl", category="math")())
    with pytest.raises(UserMistake, match=r"nosuch://x/a\.jsonl"):
        list(Files("nosuch://x/a.jsonl", category="math")())


@pytest.mark.parametrize("empty", [{"id": "nothing"}, {"query": None}, {"query": "  "}, {"messages": []}])
def test_a_row_without_text_needs_no_category_to_be_rejected(tmp_path: Path, empty: dict[str, Any]) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(jsonl([{"query": "Q", "category": "math"}, empty]))
    assert [(q.messages != (), q.category) for q in queries(path, category=None)] == [(True, "math"), (False, "other")]
    path.write_bytes(jsonl([{"query": "Q", "category": "math"}, {**empty, "category": "maths"}]))
    assert mistake(path, category=None)[0].startswith(f"{path}:2: unknown category 'maths'")
