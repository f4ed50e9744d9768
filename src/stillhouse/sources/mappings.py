"""The papers' corpora ready to use: `queries: [{mapping: deepmath-103k}]`, from the hub or from a local copy.

In: the name of a corpus (corpora.py), and a path where it was downloaded. Out: a stream of queries; `catalogue` is
what `stillhouse sources` lists. Rows that a corpus' rule leaves out (AIME 2024) are counted in `left_out`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stillhouse.records import CATEGORIES, Query, Terms, UserMistake
from stillhouse.sources.corpora import CORPORA, UNCONFIRMED, Corpus
from stillhouse.sources.files import find_files
from stillhouse.sources.hub import stream_rows
from stillhouse.sources.lines import Problems
from stillhouse.sources.reading import read_rows
from stillhouse.sources.rows import Shape, did_you_mean, named, to_query


class Mapped:
    """A source of queries of one of CORPORA. path: a file, folder or glob of a local copy; without it the hub is read.

    category, source, split, config: other than the corpus says. Raises UserMistake for an unknown name, or a column
    that is not where it was read.
    """

    def __init__(
        self,
        mapping: str,
        path: str | None = None,
        category: str | None = None,
        source: str | None = None,
        split: str | None = None,
        config: str | None = None,
        revision: str | None = None,
        limit: int | None = None,
        terms: Terms = "unknown",
        folder: str | None = None,
    ) -> None:
        if mapping not in CORPORA:
            why = f" ({UNCONFIRMED[mapping]}; map its columns yourself)" if mapping in UNCONFIRMED else ""
            raise UserMistake(
                f"mapping: there is none called {mapping!r}{why}{did_you_mean(mapping, CORPORA)}; "
                "`stillhouse sources` lists them"
            )
        if category is not None and category not in CATEGORIES:
            raise UserMistake(f"category: unknown {category!r}{did_you_mean(category, CATEGORIES)}")
        self.corpus: Corpus = CORPORA[mapping]
        self.mapping, self.path, self.folder = mapping, path, folder
        self.category, self.source = category or self.corpus.category, source or mapping
        self.split, self.config = split or self.corpus.split, config or self.corpus.config
        self.revision, self.limit, self.terms = revision, limit, terms
        self.left_out = 0

    def __call__(self) -> Iterator[Query]:
        corpus, problems, given = self.corpus, Problems(), 0
        self.left_out = 0
        shape, found = Shape(self.category, self.source), set[str]()
        header: list[str] | None = None
        for origin, row in self._rows(problems):
            header = header if header is not None else list(row)
            if corpus.select is not None and not corpus.select(row):
                self.left_out += 1
                continue
            if given == self.limit:
                return
            try:
                query = to_query(fields_of(corpus, row, found), shape, origin)
            except ValueError as error:
                problems.add(f"{origin}: {error}")
                continue
            if not problems.count:
                given += 1
                yield query
        for field, column in corpus.columns.items():
            if header is not None and given and field != "id" and column not in found:
                problems.add(f"{self.mapping}: there is no column {column!r} any more; its rows have {named(header)}")
        problems.raise_if_any()

    def files(self) -> list[str]:
        """The files of a local copy, which may be read apart; none of a hub's."""
        return find_files([self.path], self.folder) if self.path is not None else []

    def _rows(self, problems: Problems) -> Iterator[tuple[str, Mapping[str, Any]]]:
        if self.path is not None:
            for file in self.files():
                for line, row in read_rows(file, problems):
                    yield f"{file}:{line}", row
            return
        rows = stream_rows(self.corpus.hub, self.split, self.config, self.revision)
        for number, row in enumerate(rows, 1):
            yield f"{self.corpus.hub}:{self.split}:{number}", row


def fields_of(corpus: Corpus, row: Mapping[str, Any], found: set[str]) -> dict[str, Any]:
    """A row of the corpus in the fields of a query row; short cells that are none of them are carried along.

    found: fills up with the columns that were there, so that one that no row has can be told.
    """
    used = {*corpus.columns.values(), *CARRIED_APART}
    fields: dict[str, Any] = {
        name: value
        for name, value in row.items()
        if name not in used and (isinstance(value, int | float) or (isinstance(value, str) and len(value) <= 100))
    }
    fields.update({name: row[name] for name in ("instruction_id_list", "kwargs") if name in row})
    for name, column in corpus.columns.items():
        if column in row:
            found.add(column)
            fields[name] = row[column]
    if corpus.convert is not None:
        fields.update({name: value for name, value in corpus.convert(row).items() if value is not None})
    if not any(name in corpus.columns for name in ("query", "messages")) and "messages" not in fields:
        fields.setdefault("query", None)
    return fields


# Columns of corpora whose names are fields of ours and mean something else there, or hold replies.
CARRIED_APART = frozenset({
    "query", "messages", "conversations", "question", "answer", "response", "category", "source", "system", "id",
    "ground_truth", "test_case", "instruction_constrain", "solution", "completion", "output", "targets", "problem",
})  # fmt: skip


def catalogue() -> list[dict[str, str]]:
    """A row for every corpus, confirmed or not: name, hub, config, split, category, licence, columns, card, note."""
    listed = [
        {
            "name": name,
            "hub": corpus.hub,
            "config": corpus.config or "",
            "split": corpus.split,
            "category": corpus.category,
            "licence": corpus.licence or "see its card",
            "columns": ", ".join(f"{ours} from {theirs}" for ours, theirs in corpus.columns.items()) or "converted",
            "read_in": corpus.read_in,
            "card": corpus.card,
            "note": "; ".join(text for text in (corpus.note, corpus.needs and f"needs {corpus.needs}") if text),
        }
        for name, corpus in CORPORA.items()
    ]
    blank = dict.fromkeys(("hub", "config", "split", "category", "licence", "columns", "card"), "")
    return listed + [
        {"name": name, **blank, "read_in": "unconfirmed", "note": why} for name, why in UNCONFIRMED.items()
    ]
