"""Claims about tables: records survive the round trip, schemas are strict, a file stands whole or not at all."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stillhouse.records import Message, Query, Response
from stillhouse.store import tables
from stillhouse.store.tables import (
    DATASET,
    FILTERED,
    QUERIES,
    REJECTED,
    RESPONSES,
    VERDICTS,
    TableWriter,
    conform,
    query_to_row,
    read_queries,
    read_rows,
    read_table,
    response_to_row,
    row_to_query,
    row_to_response,
    table_files,
    to_table,
    write_rows,
    write_table,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
JSON = st.dictionaries(
    TEXT, st.none() | st.booleans() | st.integers(-(2**80), 2**80) | TEXT | st.lists(TEXT), max_size=3
)
QUERY = st.builds(
    Query,
    messages=st.lists(st.builds(Message, st.sampled_from(["user", "assistant"]), TEXT), max_size=3).map(tuple),
    category=st.sampled_from(["math", "if"]), id=st.none() | TEXT, source=TEXT, system=st.none() | TEXT,
    ground_truth=st.none() | TEXT, test_case=st.none() | JSON, instruction_constrain=st.none() | JSON, origin=TEXT,
    extra=st.none() | JSON,
)  # fmt: skip
COUNT = st.integers(0, 2**62)
RESPONSE = st.builds(
    Response, key=TEXT, query=TEXT, teacher=TEXT, text=TEXT, prompt=TEXT, identity=TEXT, attempt=COUNT,
    reasoning=st.none() | TEXT, finish_reason=TEXT, prompt_tokens=COUNT, completion_tokens=COUNT,
    thinking_tokens=st.none() | COUNT, cached_tokens=st.none() | COUNT, counted=st.booleans(),
    cost_usd=st.none() | st.floats(0, 1e9), model=TEXT, max_tokens=COUNT, seconds=st.floats(0, 1e9),
    created=st.floats(0, 1e12), thinking=st.sampled_from(["required", "optional", "none"]),
)  # fmt: skip
quick = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(queries=st.lists(QUERY, max_size=4))
def test_queries_survive_the_round_trip_with_their_keys(tmp_path: Path, queries: list[Query]) -> None:
    path = tmp_path / "kept.parquet"
    assert write_rows(path, map(query_to_row, queries), QUERIES) == len(queries)
    held = [row_to_query(row) for row in read_rows(path)]
    assert held == queries
    assert [(q.key, q.prompt_key, q.reference) for q in held] == [(q.key, q.prompt_key, q.reference) for q in queries]


@quick
@given(responses=st.lists(RESPONSE, max_size=4))
def test_responses_survive_the_round_trip(responses: list[Response]) -> None:
    table = to_table(map(response_to_row, responses), RESPONSES)
    assert [row_to_response(row) for row in table.to_pylist()] == responses


@pytest.mark.parametrize("schema", [QUERIES, REJECTED, RESPONSES, VERDICTS, FILTERED, DATASET])
def test_an_empty_table_keeps_its_whole_schema(tmp_path: Path, schema: pa.Schema) -> None:
    assert write_rows(tmp_path / "empty.parquet", [], schema) == 0
    assert pq.read_schema(tmp_path / "empty.parquet").equals(schema)
    assert read_table(tmp_path / "empty.parquet").num_rows == 0


def test_lone_surrogates_become_replacement_characters(tmp_path: Path) -> None:
    query = Query((Message("user", "a\ud800b \U0001f438"),), "math", extra={"x": "\udfff"})
    write_rows(tmp_path / "kept.parquet", [query_to_row(query)], QUERIES)
    (held,) = read_queries(tmp_path)
    assert held.text == "a\ufffdb \U0001f438"
    assert held.key == query.key


GOOD = {"query": "q", "response": "r", "filter": "f", "outcome": "pass", "rule": "x", "reason": ""}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (GOOD | {"colour": 1}, "no column colour"),
        (GOOD | {"rule": None}, "rule may not be null"),
        ({k: v for k, v in GOOD.items() if k != "outcome"}, "outcome may not be null"),
    ],
)
def test_a_row_that_does_not_fit_its_schema_is_refused_and_leaves_no_file(
    tmp_path: Path, row: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        write_rows(tmp_path / "t.parquet", [GOOD, row], FILTERED)
    assert list(tmp_path.iterdir()) == []


def test_a_table_is_put_in_order_and_missing_columns_are_explicit_nulls(tmp_path: Path) -> None:
    given = pa.table({name: [value] for name, value in reversed(GOOD.items())})
    write_table(tmp_path / "t.parquet", given, FILTERED)
    (row,) = read_rows(tmp_path / "t.parquet")
    assert row == GOOD | {"score": None, "detail": None}
    with pytest.raises(ValueError, match="no column extra"):
        conform(given.append_column("extra", pa.array([1])), FILTERED)
    with pytest.raises(ValueError, match="rule may not be null"):
        conform(given.drop_columns(["rule"]), FILTERED)


def test_a_file_that_stood_before_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_rows(path, [GOOD], FILTERED)
    with pytest.raises(RuntimeError, match="half-way"), TableWriter(path, FILTERED) as out:
        out.add(GOOD)
        out.add(GOOD)
        raise RuntimeError("half-way")
    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]
    assert read_table(path).num_rows == 1


def test_row_groups_stay_small_by_rows_and_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROWS_IN_GROUP", 10)
    with TableWriter(tmp_path / "t.parquet", FILTERED, group_bytes=1000) as out:
        for _ in range(25):
            out.add(GOOD)
        for _ in range(4):
            out.add(GOOD | {"reason": "x" * 600})
    metadata = pq.read_metadata(tmp_path / "t.parquet")
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [10, 10, 7, 2]
    assert out.count == 29


def test_shards_are_read_in_order(tmp_path: Path) -> None:
    for name in ("kept-00001", "kept-00000", "kept-00010", "rejected"):
        write_rows(tmp_path / f"{name}.parquet", [GOOD | {"query": name}], FILTERED)
    files = table_files(tmp_path, "kept")
    assert [r["query"] for r in read_rows(files, ["query"])] == ["kept-00000", "kept-00001", "kept-00010"]
    assert read_table(files, ["query"]).num_rows == 3
    with pytest.raises(ValueError, match="no file"):
        read_table([])
