"""`stillhouse init`: a commented recipe to start from. In: a file name that is free. Out: that file."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from stillhouse.records import UserMistake


def init(file: Path) -> None:
    """Write the commented recipe. Raises UserMistake where a file stands already."""
    if file.exists():
        raise UserMistake(f"{file} stands already; name another file: stillhouse init FILE")
    if not file.parent.is_dir():
        raise UserMistake(f"{file.parent}: there is no such folder")
    file.write_text(template(), encoding="utf-8")


def template() -> str:
    """The text of the commented recipe."""
    return (files("stillhouse.verbs") / "recipe.template.yaml").read_text(encoding="utf-8")
