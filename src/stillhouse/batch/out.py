"""Which batch files are out, and what the user is to do about each. In: the run's journal and its batch folder.

Out: a reason to wait for each file, with the number of its requests that have no outcome.
"""

from __future__ import annotations

from pathlib import Path

from stillhouse.batch.rounds import folder_of
from stillhouse.store.batches import outstanding
from stillhouse.store.index import load_index
from stillhouse.store.run import Run


def files_out(run: Run, waits: dict[str, dict[str, int]]) -> bool:
    """Add a reason to `waits` (teacher -> reason -> pairs) for each file that is out; whether one of ours is."""
    place, ours = folder_of(run), False
    index = load_index(run.journals)
    for name, rows in outstanding(index).items():
        path, teacher = place.folder / name, index.teachers[int(index.teacher[rows[0]])]
        had = _lines(path)
        ours = ours or had is not None
        mine = waits.setdefault(teacher, {})
        told = _told(path, place.results, len(rows), had)
        mine[told] = mine.get(told, 0) + len(rows)
    return ours


def _told(path: Path, results: Path, out: int, had: int | None) -> str:
    if had is None:
        return f"{path.name} is a batch file of another run that shares this store"
    if out == had:
        return f"upload {path} as a batch (or `vllm run-batch -i`), and put its results into {results}"
    return (
        f"{out} of the {had} results of {path} are missing: put the rest (of OpenAI the error file too) into "
        f"{results}, or remove {path.name} to ask them anew"
    )


def _lines(path: Path) -> int | None:
    try:
        with path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    except FileNotFoundError:
        return None
