"""Rows that hold a reply already: for `verify` of a file, and for comparing datasets that exist.

In: files of `{query | messages, response, ...}`, of the three published record shapes, of chats (`messages`,
`conversations`, `prompt` with `completion`), or of our own exports. Out: a stream in the order of the files: the
query, the reply as a Response, and what the row says of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stillhouse.records import CATEGORIES, Query, Response, Terms, Thinking, content_hash, response_key
from stillhouse.sources.files import Files, source_name
from stillhouse.sources.lines import Problems
from stillhouse.sources.reading import read_rows
from stillhouse.sources.rows import (
    Shape,
    category_of,
    did_you_mean,
    is_flat_40m,
    merged_info,
    named,
    text_of,
    to_query,
    turns_of,
)

SEPARATE = ("reasoning_content", "reasoning", "thinking", "think_content")


class Reply(NamedTuple):
    """One row that was read, as `query, response, row, ...`.

    row: all of it, as it stood. score and perplexity: None where the row does not say. problem: why there is no
    text to judge, else "". foreign: the category that the row names, where that is none of ours and the fallback
    stands for it. The thinking and the answer are `response.parts`.
    """

    query: Query
    response: Response
    row: Mapping[str, Any]
    score: float | None = None
    perplexity: float | None = None
    model_name: str | None = None
    problem: str = ""
    foreign: str | None = None


class Responses:
    """A stream of replies over files; settings as those of `Files`, and these of its own:

    response: the column of the reply, where it is none of those that are known (`response`, the last turn of the
    assistant, `completion` beside `prompt`, `answer` of a flat published record, `answer_content`). reasoning: the
    column of a separate thinking field. thinking: whether these replies must hold a think block. fallback: the
    category of rows that name none or a foreign one, where the file's own name is none (`math.jsonl`); without it
    such rows are a mistake. Of a folder that holds one of our own datasets each row is read once: its superset.
    """

    def __init__(
        self,
        path: str | Sequence[str],
        category: str | None = None,
        source: str | None = None,
        columns: Mapping[str, str] | None = None,
        terms: Terms = "unknown",
        format: str | None = None,
        encoding: str = "utf-8",
        folder: str | None = None,
        limit: int | None = None,
        response: str | None = None,
        reasoning: str | None = None,
        thinking: Thinking = "optional",
        fallback: str | None = None,
    ) -> None:
        self.rows = Files(path, category, source, columns, terms, format, encoding, folder, limit)
        self.response, self.reasoning, self.thinking, self.fallback = response, reasoning, thinking, fallback

    def files(self) -> list[str]:
        """Every file, in order. Raises UserMistake for what is missing."""
        return without_copies(self.rows.files())

    def __call__(self) -> Iterator[Reply]:
        """Raises UserMistake at the end, with all places; after the first broken line no more rows are given."""
        problems, given = Problems(), 0
        for file in self.files():
            for reply in self._of_file(file, problems):
                if given == self.rows.limit:
                    return
                given += 1
                yield reply
        problems.raise_if_any()

    def _of_file(self, file: str, problems: Problems) -> Iterator[Reply]:
        rows, stem = self.rows, source_name(file)
        shape = Shape(rows.category, rows.source, rows.columns, stem)
        unmet = {column for column in (self.response, self.reasoning) if column is not None}
        header: list[str] | None = None
        for line, row in read_rows(file, problems, rows.format, rows.encoding):
            header = header if header is not None else list(row)
            unmet.difference_update(row)
            try:
                reply = self._reply(row, shape, f"{file}:{line}", stem)
            except ValueError as error:
                problems.add(f"{file}:{line}: {error}")
                continue
            if not problems.count:
                yield reply
        if header is None:
            return
        missing = [*(column for column in rows.columns.values() if column not in shape.found), *sorted(unmet)]
        for column in missing:
            problems.add(f"{file}: there is no column {column!r}{did_you_mean(column, header)}; it has {named(header)}")

    def _reply(self, row: Mapping[str, Any], shape: Shape, origin: str, stem: str) -> Reply:
        text, reasoning, info = self._texts(row)
        if "completion" in row and "messages" not in row and "query" not in row:
            prompt = row.get("prompt")
            row_of_query = {**row, ("messages" if isinstance(prompt, list) else "query"): prompt}
        else:
            row_of_query = dict(row)
        foreign = None
        if shape.category is None and "category" not in shape.columns:
            row_of_query["category"], foreign = self._category(row, info, stem)
        query = to_query(row_of_query, shape, origin)
        model = text_of(_first(row, info, "model_name", "answer_source"))
        identity = content_hash("row", text or "", reasoning or "")
        response = Response(
            key=response_key(identity, query.prompt_key, 0),
            query=query.key,
            teacher=model or stem,
            text=text or "",
            prompt=query.prompt_key,
            identity=identity,
            reasoning=reasoning,
            finish_reason=text_of(_first(row, info, "finish_reason")) or "stop",
            model=model or "",
            thinking=self.thinking,
        )
        problem = "" if text is not None else "the row holds no reply"
        score, perplexity = number_of(_first(row, info, "verify_score")), number_of(_first(row, info, "ppl"))
        return Reply(query, response, row, score, perplexity, model, problem, foreign)

    def _category(self, row: Mapping[str, Any], info: Mapping[str, Any], stem: str) -> tuple[str, str | None]:
        """Of the row or its turns, else what the file is named for (`math.jsonl`), else the fallback; and what the
        row names where that is none of ours. It stands as it is, and is a mistake, without a fallback of ours."""
        told = (text_of(place.get("category")) for place in (row, info))
        foreign = next((name for name in told if name is not None and name.strip()), None)
        if foreign is not None:
            try:
                return category_of(foreign), None
            except ValueError:
                if self.fallback not in CATEGORIES:
                    return foreign, None
        if stem in CATEGORIES:
            return stem, foreign
        if self.fallback is None:
            raise ValueError(f"no category in the row: one of {', '.join(CATEGORIES)}")
        return self.fallback, foreign

    def _texts(self, row: Mapping[str, Any]) -> tuple[str | None, str | None, Mapping[str, Any]]:
        """The reply, its separate thinking, and the info of its turns."""
        turns = turns_of(row.get("messages") or row.get("conversations") or [], [])
        info = merged_info([turn_info for _, _, turn_info in turns])
        reasoning = text_of(row.get(self.reasoning)) if self.reasoning is not None else None
        if self.response is not None:
            return text_of(row.get(self.response)), reasoning, info
        text = text_of(row.get("response"))
        if text is None and turns and turns[-1][0] == "assistant":
            text = turns[-1][1]
        if text is None and "completion" in row:
            after = row["completion"]
            replies = turns_of(after, []) if isinstance(after, list) else []
            text = replies[-1][1] if replies else text_of(after)
        if text is None and is_flat_40m(row):
            text = text_of(row.get("answer"))
        if text is None or not text.strip():
            answer = text_of(_first(row, info, "answer_content"))
            if answer is not None:
                return answer, text_of(_first(row, info, "think_content")), info
        if reasoning is None and text is not None and "</think>" not in text:
            last = row.get("messages") or row.get("conversations")
            turn = last[-1] if isinstance(last, list) and last and isinstance(last[-1], Mapping) else {}
            reasoning = text_of(_first(row, {**info, **turn}, *SEPARATE))
        return text, reasoning, info


def without_copies(files: Sequence[str]) -> list[str]:
    """The files less those that hold rows of another once more: `parallel` beside the `superset` that it is a part
    of, and the other shapes below a folder with a superset in parquet."""
    whole = {str(Path(file).parent): file for file in files if source_name(file) == "superset"}
    out = []
    for file in files:
        place = Path(file)
        beside = whole.get(str(place.parent))
        above = (whole.get(str(folder)) for folder in place.parent.parents)
        copied = beside is not None and beside != file and source_name(file) == "parallel"
        if not copied and not any(other is not None and other.endswith(".parquet") for other in above):
            out.append(file)
    return out


def _first(row: Mapping[str, Any], info: Mapping[str, Any], *names: str) -> Any:
    for name in names:
        for place in (row, info):
            if (value := place.get(name)) is not None:
                return value
    return None


def number_of(value: Any) -> float | None:
    """A number from a cell that may be a text, a null, NaN or nonsense; None for all but finite numbers."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if number - number == 0 else None
