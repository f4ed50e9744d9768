"""One row of any known shape as a Query: our query rows, the three published record shapes, ShareGPT, IFEval.

In: a dictionary and where it stood. Out: a Query; a row without text becomes one without messages, which curate
rejects with a reason, and a cell that cannot be read leaves its reason in `extra["problem"]`. A mistake of the user
(a column that is not there, an unknown category) is a ValueError, which `files` tells with file and line.
"""

from __future__ import annotations

import ast
import difflib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stillhouse.records import CATEGORIES, Message, Query, normal_form
from stillhouse.sources.lines import decode_json

ROLES = {
    "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "model": "assistant",
    "bot": "assistant", "chatgpt": "assistant", "system": "system", "developer": "system",
}  # fmt: skip
CATEGORY_NAMES = {
    "instruction_follow": "if", "instruction_following": "if", "instruction follow": "if", "ifeval": "if",
    "instruction following": "if", "multi-turn": "multiturn", "multi_turn": "multiturn", "multi turn": "multiturn",
    "others": "other", "coding": "code", "mathematics": "math",
}  # fmt: skip
TEXTS = ("query", "messages", "conversations", "question")
FIELDS = (*TEXTS, "id", "category", "source", "system", "ground_truth", "test_case", "instruction_constrain")
# What a query is known by in records that hold replies too; the reply itself is no part of a query.
REPLY = frozenset({
    "response", "answer", "think_content", "answer_content", "verify_score", "ppl", "model_name", "answer_source",
    "finish_reason", "thinking", "reasoning", "reasoning_content",
})  # fmt: skip
FLAT_40M = frozenset({"question_source", "answer_source", "pass_rate_r1"})
USED = frozenset({*FIELDS, "question_source", "reference_answer", "instruction_id_list", "kwargs"})


@dataclass(frozen=True)
class Shape:
    """What the recipe says of the rows of a source.

    columns: our field -> the column it stands in (a dot goes into an object: `info.answer`). category and source hold
    for every row; without them the row's own are taken, and stem where it names no source. found: fills up with the
    columns that were met, so that one which no row of a file has can be told.
    """

    category: str | None = None
    source: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    stem: str = ""
    found: set[str] = field(default_factory=set)


def to_query(row: Mapping[str, Any], shape: Shape, origin: str) -> Query:
    """Raises ValueError for what the user must mend: no category, or an unknown one."""
    problems: list[str] = []
    cells = _mapped_cells(row, shape, problems) if shape.columns else {}
    messages, system, info = _conversation(row, cells, problems)

    def cell(name: str, *others: str) -> Any:
        if name in cells:
            return cells[name]
        for key in (name, *others):
            if (value := row.get(key)) is not None:
                return value
            if (value := info.get(key)) is not None:
                return value
        return None

    own_system = text_of(cell("system"))
    constrain = cell("instruction_constrain")
    if constrain is None and isinstance(row.get("instruction_id_list"), str | list):
        constrain = {"instruction_id_list": row["instruction_id_list"], "kwargs": row.get("kwargs")}
    source = shape.source or text_of(cell("source", "question_source")) or shape.stem
    mapped = {column.partition(".")[0] for column in shape.columns.values()}
    extra = {
        name: value
        for name, value in row.items()
        if name not in USED and name not in REPLY and name not in mapped and value is not None
    }
    test_case = object_of(cell("test_case"), "test_case", problems)
    constraints = constraints_of(constrain, problems)
    if problems:
        extra["problem"] = "; ".join(problems)
    category = shape.category or text_of(cell("category"))
    return Query(
        messages=messages,
        # A row without text is rejected for that; it needs no category to be rejected.
        category=category_of(category) if messages or category else "other",
        id=text_of(cell("id")),
        source=source,
        system=query_system(own_system or system),
        ground_truth=nothing_as_none(text_of(cell("ground_truth", "reference_answer"))),
        test_case=test_case,
        instruction_constrain=constraints,
        origin=origin,
        extra=extra or None,
    )


def _mapped_cells(row: Mapping[str, Any], shape: Shape, problems: list[str]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for name, column in shape.columns.items():
        try:
            cells[name] = pick(row, column)
            shape.found.add(column)
        except KeyError:
            cells[name] = None
            if name in TEXTS:
                problems.append(f"no column {column!r}")
    return cells


def pick(row: Mapping[str, Any], column: str) -> Any:
    """The value of a column, or of a field within an object column: `info.answer`, `choices.0`. Raises KeyError."""
    if column in row:
        return row[column]
    value: Any = row
    for step in column.split("."):
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            raise KeyError(column)
    return value


def is_flat_40m(row: Mapping[str, Any]) -> bool:
    """Whether a row is of the flat published shape, whose `question` and `answer` are query and reply."""
    return "question" in row and not FLAT_40M.isdisjoint(row)


def has_text_column(row: Mapping[str, Any]) -> bool:
    """Whether a row has a column that can hold its question, be it empty."""
    return any(name in row for name in TEXTS[:3]) or is_flat_40m(row)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`, did you mean "answer"?`, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f", did you mean {near[0]!r}?" if near else ""


def named(names: Iterable[str]) -> str:
    """A short list of names for a message."""
    every = list(names)
    return ", ".join(map(repr, every[:12])) + (f" and {len(every) - 12} more" if len(every) > 12 else "")


def category_of(name: str | None) -> str:
    """One of our categories from its name here or in published data. Raises ValueError."""
    if name is None or not name.strip():
        raise ValueError(
            f"no category: say it of the source, for instance `category: math` (one of {', '.join(CATEGORIES)})"
        )
    plain = name.strip().casefold()
    plain = CATEGORY_NAMES.get(plain, plain)
    if plain not in CATEGORIES:
        raise ValueError(f"unknown category {name!r}{did_you_mean(plain, CATEGORIES)}; known: {', '.join(CATEGORIES)}")
    return plain


def text_of(value: Any) -> str | None:
    """A cell as text: numbers as a person writes them, objects as JSON, NaN and null as None."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple) and len(value) == 1:
        return text_of(value[0])
    if isinstance(value, list | tuple | Mapping):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def turn_text(content: Any) -> str:
    """The text of a turn; of a list of parts the texts, with `![image]()` for what is no text (curate rejects it)."""
    if not isinstance(content, list):
        return text_of(content) or ""
    texts = []
    for part in content:
        if isinstance(part, Mapping):
            text = part.get("text")
            texts.append(text if isinstance(text, str) else "![image]()")
        else:
            texts.append(text_of(part) or "")
    return "\n".join(texts)


def turns_of(value: Any, problems: list[str]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """(role, text, info) of every turn of `messages` or `conversations`; a foreign role empties the list."""
    if isinstance(value, str):
        try:
            value = decode_json(value)
        except ValueError:
            problems.append("its turns are neither a list nor JSON")
            return []
    turns = []
    for number, turn in enumerate(value if isinstance(value, list) else [], 1):
        if not isinstance(turn, Mapping):
            problems.append(f"turn {number} is no object")
            return []
        name = turn.get("role") or turn.get("from")
        role = ROLES.get(str(name).strip().casefold())
        if role is None:
            problems.append(f"turn {number} has the role {name!r}, which is none of user, assistant, system")
            return []
        content = turn["content"] if "content" in turn else turn.get("value")
        info = turn.get("info")
        turns.append((role, turn_text(content), info if isinstance(info, Mapping) else {}))
    return turns


def _conversation(
    row: Mapping[str, Any], cells: Mapping[str, Any], problems: list[str]
) -> tuple[tuple[Message, ...], str | None, Mapping[str, Any]]:
    """The turns up to the last of the user, the system text at their head, and all info; replies are dropped."""
    mapped = [name for name in TEXTS if name in cells]
    for name in mapped or TEXTS:
        value = cells[name] if mapped else row.get(name)
        if value is None or (name == "question" and not mapped and not is_flat_40m(row)):
            continue
        if name in ("query", "question"):
            text = turn_text(value)
            return ((Message("user", text),) if text.strip() else ()), None, {}
        turns = turns_of(value, problems)
        info = merged_info([turn_info for _, _, turn_info in turns])
        system = None
        while turns and turns[0][0] == "system":
            system = turns[0][1] if system is None else f"{system}\n{turns[0][1]}"
            turns = turns[1:]
        last = max((at for at, turn in enumerate(turns) if turn[0] == "user"), default=-1)
        if last < 0 or not turns[last][1].strip():
            return (), system, info
        messages = tuple(Message(role, _without_thinking(role, text)) for role, text, _ in turns[: last + 1])
        return messages, system, info
    return (), None, {}


def merged_info(infos: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """One info of all turns, the last that says something wins; what is published may stand on either turn."""
    merged: dict[str, Any] = {}
    for info in infos:
        merged.update({name: value for name, value in info.items() if value is not None})
    return merged


def _without_thinking(role: str, text: str) -> str:
    """An earlier reply of the history goes into a prompt without its thinking."""
    if role != "assistant" or "</think>" not in text:
        return text
    return normal_form(text).answer


def query_system(text: str | None) -> str | None:
    """The query's own system text; that of a think/answer template belongs to the teacher that was asked."""
    if text is None or not text.strip() or ("<think>" in text and "<answer>" in text):
        return None
    return text


def nothing_as_none(text: str | None) -> str | None:
    return text if text is not None and text.strip() else None


def object_of(value: Any, name: str, problems: list[str]) -> Mapping[str, Any] | None:
    """An object given as such or as JSON text; None with a problem where it is neither."""
    if isinstance(value, str):
        if not value.strip():
            return None
        try:
            value = decode_json(value)
        except (ValueError, RecursionError) as error:
            problems.append(f"{name} is not JSON: {error}")
            return None
    if value is None or isinstance(value, Mapping):
        return value or None
    problems.append(f"{name} must be an object, not {type(value).__name__}")
    return None


def _listed(text: str) -> Any:
    """A list from JSON, or from a Python literal (with None and single quotes), as some corpora have it."""
    try:
        return decode_json(text)
    except ValueError:
        return ast.literal_eval(text)


def constraints_of(value: Any, problems: list[str]) -> Mapping[str, Any] | None:
    """`{"instruction_id_list": [...], "kwargs": [{...}, ...]}` from the forms that are published.

    kwargs come as a list of objects full of nulls, as a list of JSON texts, or as one JSON text; nulls are left out.
    """
    given = object_of(value, "instruction_constrain", problems)
    if given is None:
        return None
    ids, kwargs = given.get("instruction_id_list"), given.get("kwargs")
    try:
        ids = decode_json(ids) if isinstance(ids, str) and ids.lstrip().startswith("[") else ids
        kwargs = _listed(kwargs) if isinstance(kwargs, str) and kwargs.strip() else kwargs
        each = [decode_json(item) if isinstance(item, str) and item.strip() else item for item in kwargs or []]
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        problems.append(f"kwargs of instruction_constrain are not JSON: {error}")
        return None
    ids = [ids] if isinstance(ids, str) else list(ids or [])
    if not ids:
        return None
    each += [None] * (len(ids) - len(each))
    plain = [{k: v for k, v in item.items() if v is not None} if isinstance(item, Mapping) else {} for item in each]
    return {**given, "instruction_id_list": ids, "kwargs": plain}
