"""The sheet on which a person gives second opinions: a CSV that any spreadsheet opens, written here and read back.

In: questions, references and answers, without verdicts and teachers' names, so that nobody is led. Out: opinions by
response key. What a person filled in is kept whenever the sheet is written again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stillhouse.records import UserMistake
from stillhouse.store.segments import replaced

COLUMNS = ("opinion", "note", "row", "category", "question", "reference", "answer")
RIGHT = frozenset({"right", "yes", "y", "true", "1", "pass", "correct", "ja", "对"})
WRONG = frozenset({"wrong", "no", "n", "false", "0", "fail", "incorrect", "nein", "错"})
UNSURE = frozenset({"unsure", "?", "unknown", "skip"})
MOST_CELL = 30_000  # characters: spreadsheets cut a cell at 32,767
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the sheet; row: the key of the response."""

    row: str
    category: str
    question: str
    reference: str
    answer: str


@dataclass(frozen=True, slots=True)
class Filled:
    """opinion: True right, False wrong, None unsure; cells: the line as it stands, to be kept."""

    opinion: bool | None
    cells: Mapping[str, str]


def read_sheet(path: Path) -> dict[str, Filled]:
    """What was filled in, by response key; {} where there is no sheet. Raises UserMistake with every bad line."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise UserMistake(f"{path}: is not UTF-8 ({error.reason}): save it as `CSV UTF-8`") from None
    first = text.partition("\n")[0]
    mark = next((m for m in ",;\t" if f"opinion{m}" in first.replace('"', "")), ",")
    csv.field_size_limit(1 << 30)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=mark)
    missing = [name for name in ("opinion", "row") if name not in (reader.fieldnames or ())]
    if missing:
        raise UserMistake(f"{path}:1: has no column {' and '.join(missing)}: keep the first line as it was written")
    found: dict[str, Filled] = {}
    problems: list[str] = []
    for cells in reader:
        said = (cells["opinion"] or "").strip().casefold()
        row = (cells["row"] or "").strip()
        if not said:
            continue
        if said not in RIGHT | WRONG | UNSURE:
            told = cells["opinion"].strip()[:40]
            problems.append(f"{path}:{reader.line_num}: opinion {told!r} is none of right, wrong, unsure")
        elif len(row) != 32 or not set(row) <= set("0123456789abcdef"):
            problems.append(f"{path}:{reader.line_num}: row {row[:40]!r} is no row that was written here")
        else:
            opinion = None if said in UNSURE else said in RIGHT
            found[row] = Filled(opinion, {name: cells.get(name) or "" for name in COLUMNS})
    if problems:
        raise UserMistake(*problems[:20], *([f"... and {len(problems) - 20} more"] if len(problems) > 20 else []))
    return found


def write_sheet(path: Path, lines: Iterable[Line], filled: Mapping[str, Filled]) -> int:
    """Write the lines, with what was filled in before; returns how many wait for an opinion. Filled lines that are no
    longer asked for stand at the end."""
    asked, waiting = set(), 0
    with replaced(path) as temporary, temporary.open("w", encoding="utf-8-sig", newline="", errors="replace") as out:
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        for line in lines:
            asked.add(line.row)
            done = filled.get(line.row)
            waiting += done is None
            kept = (done.cells["opinion"], done.cells["note"]) if done else ("", "")
            texts = (line.category, line.question, line.reference, line.answer)
            writer.writerow([*map(_cell, kept), line.row, *map(_cell, texts)])
        for row, done in filled.items():
            if row not in asked:
                writer.writerow([done.cells[name] for name in COLUMNS])
    return waiting


def _cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula, and none cuts."""
    text = text.replace("\0", "�")
    if len(text) > MOST_CELL:
        tail = MOST_CELL // 3
        text = f"{text[: MOST_CELL - tail]}\n[... {len(text) - MOST_CELL} characters left out ...]\n{text[-tail:]}"
    return f"'{text}" if text.startswith(_FORMULA) else text
