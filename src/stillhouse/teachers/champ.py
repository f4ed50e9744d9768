"""Recorded teachers over the 270 competition problems of CHAMP: GPT-4 Turbo, GPT-4, GPT-3.5 and PaLM 2 Medium.

In: a model and a prompt setting, from the package `champ-dataset` 1.0.0 (MIT; arXiv 2401.06961). Out: a Recorded
teacher. The reply to the problem is the thinking, the reply to "summarize the answer above" is the answer. One attempt
a setting; terms: no, as the providers' terms may forbid training on them.
"""

from __future__ import annotations

import difflib
import functools
import importlib.metadata
from pathlib import Path
from typing import Any

import orjson

from stillhouse.records import UserMistake
from stillhouse.teachers.recorded import Recorded

PACKAGE = "champ-dataset"
INSTALL = "pip install 'stillhouse[champ]'"
MODELS = ("GPT-4 Turbo", "GPT-4", "GPT-3.5", "PaLM 2 Medium")
SETTINGS = (
    "0-Shot", "5-Shot", "1/3 Soln", "2/3 Soln", "No C w/o H", "No C w/ H", "Direct C w/o H", "Direct C w/ H",
    "Root C w/o H", "Root C w/ H", "Name C w/o H", "Name C w/ H", "Example C w/o H", "Example C w/ H",
    "Problem C w/o H", "Problem C w/ H", "Misleading C w/o H", "Misleading C w/ H",
)  # fmt: skip
_TOO_LONG = "LENGTH_CURRENT"  # the model ran into its limit; the turn after it was not asked


def champ(name: str, model: str, setting: str = "0-Shot", **settings: Any) -> Recorded:
    """A teacher that gave one reply to each problem. settings: as of Recorded. Raises UserMistake."""
    model = next((one for one in MODELS if one.lower() == str(model).lower()), model)
    setting = next((one for one in SETTINGS if one.lower() == str(setting).lower()), setting)
    problems = _mistakes(name, model, setting)
    if problems:
        raise UserMistake(*problems)
    family = "palm2" if model.startswith("PaLM") else "gpt"
    known: dict[str, Any] = {"model": f"{model}, {setting}", "terms": "no", "family": family}
    return Recorded(name, rows=_rows(setting)[model], **{**known, **settings})


def _mistakes(name: str, model: str, setting: str) -> list[str]:
    problems: list[str] = []
    for what, given, allowed in (("model", model, MODELS), ("setting", setting, SETTINGS)):
        if given not in allowed:
            near = difflib.get_close_matches(str(given), allowed, n=1, cutoff=0.3)
            meant = f"did you mean {near[0]!r}? " if near else ""
            problems.append(f"teacher {name}: CHAMP has no {what} {given!r}; {meant}it has {', '.join(allowed)}")
    return problems


@functools.lru_cache(maxsize=2)
def _rows(setting: str) -> dict[str, list[dict[str, Any]]]:
    """By model, the 270 replies in the shape of recorded rows."""
    rows: dict[str, list[dict[str, Any]]] = {model: [] for model in MODELS}
    for problem in _problems():
        for model in MODELS:
            turns = problem["conversations"][f"{model}|{setting}"]["messages"]
            replies = [turn for turn in turns if turn["role"] == f"Model.{model}"]
            thought, answer = replies[-2:]  # a setting may have asked for a concept before
            rows[model].append({
                "query": problem["_text"],
                "id": problem["identifier"],
                "reasoning": thought["text"] or "",
                "response": answer["text"] or "",
                "finish_reason": "length" if _TOO_LONG in (thought["error"], answer["error"]) else "stop",
            })  # fmt: skip
    return rows


def _problems() -> Any:
    """Each problem by itself, read out of one file of 72 MB, whose objects begin at four blanks."""
    try:
        files = importlib.metadata.distribution(PACKAGE).files or []
    except importlib.metadata.PackageNotFoundError:
        raise UserMistake(f"teacher champ: the package {PACKAGE} is not installed: {INSTALL}") from None
    path = next(Path(str(file.locate())) for file in files if file.name == "v0.json")
    lines: list[bytes] = []
    with path.open("rb") as file:
        for line in file:
            if line.startswith(b'    "P_'):
                lines = [b"{"]
            elif lines:
                lines.append(line)
                if line.rstrip(b",\r\n") == b"    }":
                    yield orjson.loads(b"".join(lines).rstrip().rstrip(b","))
                    lines = []
