"""Datasets of a hub as a source, through the `datasets` extra; a local folder needs no extra.

In: a hub name (`owner/name`) or a folder that was downloaded or saved. Out: a stream of rows or of queries. Code of a
dataset is never run, and a stream of a hub's files needs no disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from stillhouse.records import Query, Terms, UserMistake
from stillhouse.sources.files import Files
from stillhouse.sources.lines import Problems
from stillhouse.sources.rows import Shape, did_you_mean, has_text_column, named, to_query
from stillhouse.transport.reach import offline_unless_reached


class Hub:
    """A source of queries. name: `owner/name` of the hub, or a folder. config, split, revision: as the hub has them.

    The other settings are those of `Files`. Raises UserMistake for a name, config or split that is not there.
    """

    def __init__(
        self,
        name: str,
        split: str = "train",
        config: str | None = None,
        revision: str | None = None,
        category: str | None = None,
        source: str | None = None,
        columns: Mapping[str, str] | None = None,
        terms: Terms = "unknown",
        limit: int | None = None,
    ) -> None:
        # the settings are checked as those of files are; rows come from the hub
        self.files = Files(str(local_folder(name, split) or name), category, source, columns, terms, limit=limit)
        self.name, self.split, self.config, self.revision = name, split, config, revision
        self.terms = terms

    def __call__(self) -> Iterator[Query]:
        if local_folder(self.name, self.split) is not None:
            yield from self.files()
            return
        files, problems, texts, header = self.files, Problems(), bool(self.files.columns), None
        shape = Shape(files.category, files.source, files.columns, self.name.rpartition("/")[2])
        rows = stream_rows(self.name, self.split, self.config, self.revision)
        for number, row in enumerate(islice(rows, files.limit), 1):
            header = header if header is not None else list(row)
            texts = texts or has_text_column(row)
            try:
                query = to_query(row, shape, f"{self.name}:{self.split}:{number}")
            except ValueError as error:
                problems.add(f"{self.name}:{self.split}:{number}: {error}")
                continue
            if not problems.count:
                yield query
        for column in [column for column in files.columns.values() if header and column not in shape.found]:
            known = header or []
            problems.add(
                f"{self.name}: there is no column {column!r}{did_you_mean(column, known)}; it has {named(known)}"
            )
        if header and not texts:
            problems.add(f"{self.name}: no row has `query` or `messages`; map a column of {named(header)}")
        problems.raise_if_any()


def local_folder(name: str, split: str) -> Path | None:
    """The folder of a split on this machine: `name/split` where that exists, else `name`; None for a hub name."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return None
    inside = folder / split
    return inside if inside.is_dir() else folder


def stream_rows(
    name: str, split: str, config: str | None = None, revision: str | None = None
) -> Iterator[dict[str, Any]]:
    """Rows of a hub's dataset, one by one. Raises UserMistake where the extra, the dataset or its split is missing."""
    offline_unless_reached()
    try:
        import datasets
    except ImportError as error:
        raise UserMistake(
            f"{name}: datasets of a hub need `pip install 'stillhouse[hub]'`, or a local folder"
        ) from error
    try:
        stream = datasets.load_dataset(name, config, split=split, revision=revision, streaming=True)
        yield from stream
    except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        place = f"{name} (config {config}, split {split})" if config else f"{name} (split {split})"
        raise UserMistake(
            f"{place} cannot be read: {said[:300]}. Check the name, or download it and give its folder as `path:`"
        ) from error
