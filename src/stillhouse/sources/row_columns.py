"""Many rows of one layout as QueryColumns at once, where each is one question; says nothing that `rows` does not say.

In: the columns of a piece of a file. Out: the columns of queries, or None where a row needs a look of its own (turns,
dotted columns, a published shape, a mistake): then `rows.to_query` reads row by row, and both give the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillhouse.sources.lines import Row, rounded
from stillhouse.sources.rows import (
    FLAT_40M,
    REPLY,
    TEXTS,
    USED,
    Shape,
    category_of,
    constraints_of,
    nothing_as_none,
    object_of,
    query_system,
    text_of,
    turn_text,
)
from stillhouse.store.columns import QueryColumns, nones

Columns = Mapping[str, Sequence[Any]]
_PLAIN = frozenset({str, type(None)})


def columns_of_rows(rows: Sequence[Row], shape: Shape) -> Columns | None:
    """Rows as columns, a missing cell as None; None where a mapped column is missing in one of them, or where a number
    was read with fewer digits than it has."""
    names = rows[0].keys()
    if all(row.keys() == names for row in rows):
        columns = {name: [row[name] for row in rows] for name in names}
    else:
        if not all(column in row for row in rows for column in shape.columns.values()):
            return None
        columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(n for row in rows for n in row)}
    for values in columns.values():
        if not _PLAIN.issuperset(map(type, values)) and any(map(rounded, values)):
            return None
    return columns


def to_columns(columns: Columns, count: int, shape: Shape, origins: list[str]) -> QueryColumns | None:
    """Queries of `count` rows, or None where `to_query` must look at each."""
    if "instruction_id_list" in columns or ("question" in columns and not FLAT_40M.isdisjoint(columns)):
        return None
    if not all(column in columns for column in shape.columns.values()):
        return None
    questions = _questions(columns, shape)
    if questions is None:
        return None

    def cell(name: str, *others: str) -> Sequence[Any]:
        if name in shape.columns:
            return columns[shape.columns[name]]
        found: Sequence[Any] = nones(count)
        for other in reversed((name, *others)):
            if other in columns:
                own = columns[other]
                found = own if None not in own else [a if a is not None else b for a, b in zip(own, found, strict=True)]
        return found

    text = list(questions) if set(map(type, questions)) == {str} else [turn_text(value) for value in questions]
    turns: list[Any] = nones(count)
    for row, one in enumerate(text):
        if not one or one.isspace():
            text[row], turns[row] = "", ()
    problems: dict[int, list[str]] = {}
    try:
        categories = [shape.category] * count if shape.category else _texts(cell("category"))
        known = {name: category_of(name) for name in set(categories)}
    except ValueError:
        return None  # told with its line by to_query
    made = QueryColumns(
        text=text, turns=turns, category=[known[name] for name in categories], id=_texts(cell("id")),
        source=[shape.source or shape.stem] * count, system=_texts(cell("system")),
        ground_truth=[nothing_as_none(value) for value in _texts(cell("ground_truth", "reference_answer"))],
        test_case=_objects(cell("test_case"), problems, _test_case),
        instruction_constrain=_objects(cell("instruction_constrain"), problems, constraints_of),
        origin=origins, extra=_extras(columns, shape, count), keys=[""] * count,
    )  # fmt: skip
    if not shape.source:
        made.source = [value or shape.stem for value in _texts(cell("source", "question_source"))]
    if made.system.count(None) < count:
        made.system = [query_system(value) for value in made.system]
    for row, told in problems.items():
        made.extra[row] = {**(made.extra[row] or {}), "problem": "; ".join(told)}
    shape.found.update(shape.columns.values())
    return made


def _questions(columns: Columns, shape: Shape) -> Sequence[Any] | None:
    """The column that holds one question a row; None where rows hold turns, or differ in where they hold them."""
    mapped = [name for name in TEXTS if name in shape.columns]
    if mapped:
        return columns[shape.columns[mapped[0]]] if mapped in (["query"], ["question"]) else None
    if "query" not in columns:
        return None
    others = any(name in columns for name in TEXTS[1:])
    return None if others and None in columns["query"] else columns["query"]


def _texts(values: Sequence[Any]) -> list[Any]:
    return list(values) if _PLAIN.issuperset(map(type, values)) else [text_of(value) for value in values]


def _test_case(value: Any, problems: list[str]) -> Mapping[str, Any] | None:
    return object_of(value, "test_case", problems)


def _objects(values: Sequence[Any], problems: dict[int, list[str]], read: Any) -> list[Any]:
    """Each value read; what is wrong with it goes to the problems of its row."""
    out: list[Any] = nones(len(values))
    if values.count(None) == len(values):
        return out
    for row, value in enumerate(values):
        if value is not None:
            told: list[str] = []
            out[row] = read(value, told)
            if told:
                problems.setdefault(row, []).extend(told)
    return out


def _extras(columns: Columns, shape: Shape, count: int) -> list[Any]:
    mapped = {column.partition(".")[0] for column in shape.columns.values()}
    names = [name for name in columns if name not in USED and name not in REPLY and name not in mapped]
    if not names:
        return nones(count)
    cells = zip(*(columns[name] for name in names), strict=True)
    return [{n: v for n, v in zip(names, row, strict=True) if v is not None} or None for row in cells]
