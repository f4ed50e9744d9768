"""Datasets in the shapes that other tools read: the published AM record, ShareGPT, chat messages.

In: rows of a teacher's superset.parquet. Out: 5-datasets/TEACHER/SHAPE/*.jsonl with a card whose YAML states every
column's type, so that a column that is null throughout a file loads like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import yaml

from stillhouse.records import UserMistake
from stillhouse.store.segments import replaced
from stillhouse.store.tables import read_batches

Row = Mapping[str, Any]
AM_FILES = ("code", "if", "math", "multiturn", "other", "science")


def text(name: str) -> dict[str, Any]:
    return {"name": name, "dtype": "string"}


def real(name: str) -> dict[str, Any]:
    return {"name": name, "dtype": "float64"}


CARRIED = ("key", "id", "category", "source", "system", "ground_truth", "test_case", "instruction_constrain")
CARRIED_FEATURES = [*map(text, CARRIED), real("verify_score"), real("ppl"), text("model_name")]


def am_record(row: Row) -> dict[str, Any]:
    """The published record: facts of the query on its turn, of the reply on the last; explicit nulls everywhere."""
    blank = dict.fromkeys(("source", "category", "ground_truth", "test_case", "instruction_constrain",
                           "think_content", "answer_content", "verify_score", "ppl", "model_name"))  # fmt: skip
    about = {name: row[name] for name in ("source", "category", "ground_truth", "test_case", "instruction_constrain")}
    reply = {
        "think_content": row["thinking"], "answer_content": row["answer"], "verify_score": row["verify_score"],
        "ppl": row["ppl"], "model_name": row["model"],
    }  # fmt: skip
    turns = row["messages"]
    out = []
    for place, turn in enumerate(turns):
        who = "assistant" if turn["role"] == "assistant" else "human"
        info = blank | (reply if place == len(turns) - 1 else about if place == len(turns) - 2 else {})
        out.append({"from": who, "value": turn["content"], "info": info})
    return {"system": row["system"], "conversations": out}


def carried(row: Row) -> dict[str, Any]:
    """What the plain shapes keep beside the turns, so that nothing is lost on the way back."""
    return {name: row[name] for name in (*CARRIED, "verify_score", "ppl")} | {"model_name": row["model"]}


def sharegpt_record(row: Row) -> dict[str, Any]:
    """`conversations` of from/value with human and gpt, as LLaMA-Factory, axolotl and FastChat read it."""
    who = {"user": "human", "assistant": "gpt"}
    turns = [{"from": who.get(t["role"], t["role"]), "value": t["content"]} for t in row["messages"]]
    return {"conversations": turns} | carried(row)


def messages_record(row: Row) -> dict[str, Any]:
    """`messages` of role/content, as chat templates read it."""
    turns = [{"role": t["role"], "content": t["content"]} for t in row["messages"]]
    return {"messages": turns} | carried(row)


SHAPES: dict[str, tuple[Callable[[Row], dict[str, Any]], list[dict[str, Any]]]] = {
    "am": (
        am_record,
        [
            text("system"),
            {"name": "conversations", "list": [
                text("from"), text("value"),
                {"name": "info", "struct": [
                    *map(text, ("source", "category", "ground_truth", "test_case", "instruction_constrain",
                                "think_content", "answer_content")),
                    real("verify_score"), real("ppl"), text("model_name"),
                ]},
            ]},
        ],
    ),
    "sharegpt": (
        sharegpt_record,
        [{"name": "conversations", "list": [text("from"), text("value")]}, *CARRIED_FEATURES],
    ),
    "messages": (
        messages_record,
        [{"name": "messages", "list": [text("role"), text("content")]}, *CARRIED_FEATURES],
    ),
}  # fmt: skip


def check_shape(shape: str) -> None:
    """Raises UserMistake for a shape that is not known."""
    if shape not in SHAPES:
        raise UserMistake(f"--as {shape}: there is no such shape; the shapes are {', '.join(SHAPES)}")


def write_shape(place: Path, shape: str, parallel: set[str]) -> int:
    """Write the teacher's dataset at `place` in one more shape; returns its rows.

    am: a file a category, as published. The others: superset.jsonl and parallel.jsonl.
    """
    make, features = SHAPES[shape]
    folder = place / shape
    written: dict[str, int] = {}
    with _Files(folder) as files:
        for batch in read_batches(place / "superset.parquet", batch_rows=1024):
            for row in batch.to_pylist():
                line = orjson.dumps(make(row)) + b"\n"
                for name in _files_of(shape, row, parallel):
                    files.write(name, line)
                    written[name] = written.get(name, 0) + 1
    for file in folder.glob("*.jsonl"):
        if file.stem not in written:
            file.unlink()  # of an earlier export, whose rows are gone
    with replaced(folder / "README.md") as temporary:
        temporary.write_text(_card(place.name, shape, features, written), encoding="utf-8")
    return sum(written.values()) if shape == "am" else written.get("superset", 0)


def _files_of(shape: str, row: Row, parallel: set[str]) -> Iterable[str]:
    if shape == "am":
        return (row["category"] if row["category"] in AM_FILES else "other",)
    return ("superset", "parallel") if row["key"] in parallel else ("superset",)


class _Files:
    """JSONL files by name, opened when first written to; all take their place when the block ends well."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, BinaryIO] = {}
        self._stack = ExitStack()

    def __enter__(self) -> _Files:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def write(self, name: str, line: bytes) -> None:
        if name not in self._open:
            temporary = self._stack.enter_context(replaced(self._folder / f"{name}.jsonl"))
            self._open[name] = self._stack.enter_context(temporary.open("wb"))
        self._open[name].write(line)

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


def _card(teacher: str, shape: str, features: list[dict[str, Any]], written: Mapping[str, int]) -> str:
    if shape == "am":
        splits = [{"split": "train", "path": [f"{name}.jsonl" for name in sorted(written)]}]
    else:
        splits = [{"split": name, "path": f"{name}.jsonl"} for name in ("superset", "parallel") if name in written]
    head: dict[str, Any] = {"license": "other", "dataset_info": {"config_name": "default", "features": features}}
    if written:  # a config without files is none that can be loaded
        head["configs"] = [{"config_name": "default", "data_files": splits}]
    rows = "\n".join(f"- `{name}.jsonl`: {count:,} rows" for name, count in sorted(written.items()))
    return (
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n# {teacher} in the shape `{shape}`\n\n{rows}\n\n"
        "The same rows as `superset.parquet` beside this folder, whose card states provenance and terms; they hold "
        "here too. Every column is present in every row, with explicit nulls; `test_case` and `instruction_constrain` "
        "are JSON texts.\n"
    )
