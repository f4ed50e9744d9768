"""The 270 competition problems of CHAMP as queries with their answers, from the package `champ-dataset` 1.0.0 (MIT).

In: the package's file. Out: Query rows of category math. References lose the words around their value ("0 is the only
possible value", "100 (i.e., all values)"); as published they stand in `extra`. What the math verifier cannot read then
(words such as "The sequence does not exist") its self-check sets aside.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

from stillhouse.records import Message, Query, UserMistake

SOURCE = "champ"
_FIELD = re.compile(r'^      "(identifier|_text|category|_answer)": (".*?"),?$')
_AROUND = (
    re.compile(r"^(?P<value>.+?) \((?:i\.e\.|no |none ).*\)$"),
    re.compile(r"^(?P<value>\S+) is the only possible value$"),
    re.compile(r"^The limit exists and is equal to (?P<value>.+)$"),
    re.compile(r"^The only possible value for the limit is (?P<value>.+)$"),
    re.compile(r"^(?:At (?:least|most) )?(?P<value>\d+|n) (?:integer-valued )?"
               r"(?:values?|inequalities|pairs|roots|zeros|numbers?|times)$"),
)  # fmt: skip


class Champ:
    """The source. limit: read so many problems; terms: may what is made of the problems be trained on (MIT: yes)."""

    terms = "yes"

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit

    def __call__(self) -> Iterator[Query]:
        """Raises UserMistake where the package is missing."""
        for number, problem in enumerate(_problems()):
            if self.limit is not None and number >= self.limit:
                return
            yield Query(
                messages=(Message("user", problem["_text"]),),
                category="math",
                id=problem["identifier"],
                source=SOURCE,
                ground_truth=value_of(problem["_answer"]),
                origin=f"champ-dataset:{problem['identifier']}",
                extra={"topic": problem["category"], "answer": problem["_answer"]},
            )


def value_of(answer: str) -> str:
    """The value in a published answer, without the words around it."""
    for pattern in _AROUND:
        found = pattern.match(answer)
        if found:
            answer = found["value"]
    return answer


def _problems() -> Iterator[dict[str, str]]:
    """The four fields that are needed, line by line: the transcripts beside them are 72 MB."""
    import orjson

    try:
        files = importlib.metadata.distribution("champ-dataset").files or []
    except importlib.metadata.PackageNotFoundError:
        raise UserMistake(
            "queries: the package champ-dataset is not installed: pip install 'stillhouse[champ]'"
        ) from None
    path = next(Path(str(file.locate())) for file in files if file.name == "v0.json")
    problem: dict[str, str] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            field = _FIELD.match(line.rstrip("\n")) if line.startswith('      "') else None
            if field:
                problem[field[1]] = orjson.loads(field[2])
            elif line.startswith("    }") and "_answer" in problem:
                yield problem
                problem = {}
