"""Claims about datasets of a hub: folders need no extra, streams come from `datasets`, and nothing else is run."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stillhouse.records import Part, Query, UserMistake
from stillhouse.sources import hub
from stillhouse.sources.hub import Hub

ROWS = [{"question": f"What is {n} + 1?", "answer": n + 1} for n in range(4)]
COLUMNS = {"query": "question", "ground_truth": "answer"}


def queries(name: object, **settings: Any) -> list[Query]:
    settings = {"name": str(name), "category": "math", "columns": COLUMNS, **settings}
    return list(Part("stillhouse.sources.hub:Hub", settings).build()())


def test_a_folder_of_parquet_files_is_read_without_the_extra(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "data" / "train-00000.parquet")
    assert [q.ground_truth for q in queries(tmp_path, limit=3)] == ["1", "2", "3"]


def test_a_folder_that_datasets_saved_is_read_split_by_split(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    made = datasets.DatasetDict({s: datasets.Dataset.from_list(ROWS[:n]) for s, n in (("train", 3), ("test", 1))})
    made.save_to_disk(tmp_path / "saved")
    assert len(queries(tmp_path / "saved")) == 3
    assert len(queries(tmp_path / "saved", split="test")) == 1


def test_rows_are_streamed_through_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "train.parquet")
    monkeypatch.setattr(hub, "local_folder", lambda name, split: None)  # so that the folder goes the way of a hub name
    read = queries(tmp_path, limit=2)
    assert [(q.text, q.ground_truth) for q in read] == [("What is 0 + 1?", "1"), ("What is 1 + 1?", "2")]
    assert read[0].origin == f"{tmp_path}:train:1" and read[0].source == tmp_path.name
    with pytest.raises(UserMistake, match="cannot be read"):
        queries(tmp_path, split="validation")
    with pytest.raises(UserMistake, match="no column 'answr', did you mean 'answer'"):
        queries(tmp_path, columns={"query": "question", "ground_truth": "answr"})


def test_without_the_extra_a_hub_name_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(UserMistake, match=r"pip install 'stillhouse\[hub\]'"):
        list(Hub("owner/name", category="math")())


def test_settings_are_checked_before_anything_is_asked_of_a_hub() -> None:
    with pytest.raises(UserMistake, match="did you mean 'query'"):
        Hub("owner/name", category="math", columns={"qury": "q"})
