"""A round of a batch teacher: its open requests as files for the user to upload.

In: requests of the loop, one by one. Out: request files with an intent in the journal for each line (submitted =
intent); the files appear when the journal is closed. A line is out from its intent until an outcome of its key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from stillhouse.asking.asker import GaveUp
from stillhouse.records import Fault, Request, Response, Teacher, TeacherSpec, UserMistake
from stillhouse.store.batches import BatchFolder, RequestFile
from stillhouse.store.index import Index, find_sorted, hex_key, raw_keys
from stillhouse.store.journal import Journal
from stillhouse.store.rows import BATCH, FAULT
from stillhouse.store.run import Run

LATE = frozenset({"lost", "not_submitted"})  # faults of ours: a result may still come


@runtime_checkable
class BatchTeacher(Protocol):
    """What a teacher needs beyond records.Teacher to be asked by batch files (teachers.openai.OpenAI has it)."""

    def body(self, request: Request) -> dict[str, Any]: ...
    def read(self, request: Request, data: Any, *, seconds: float = 0.0, where: str = "") -> Response: ...


def folder_of(run: Run) -> BatchFolder:
    return BatchFolder(run.responses / "batch", run.name)


def refuse_unfit(teachers: Sequence[TeacherSpec], built: Mapping[str, Teacher]) -> None:
    """Raises UserMistake for teachers that cannot be asked by batch files."""
    unfit = [spec.name for spec in teachers if spec.batch and not isinstance(built[spec.name], BatchTeacher)]
    if unfit:
        raise UserMistake(*(f"teacher {name}: batch: true needs an OpenAI-compatible chat endpoint" for name in unfit))


def present(run: Run, teachers: Sequence[TeacherSpec]) -> bool:
    """Whether batch files matter to this run."""
    return any(spec.batch for spec in teachers) or folder_of(run).folder.is_dir()


class Round:
    """The request files of one teacher's round, written while the loop walks over the open pairs.

    An intent is journaled for each line as it is added; the files appear at `publish`, when the journal is closed.
    """

    def __init__(
        self,
        run: Run,
        spec: TeacherSpec,
        teacher: BatchTeacher,
        journal: Journal,
        index: Index,
        retries: int,
        purpose: str = "distill",
    ) -> None:
        self._place, self._teacher, self._journal = folder_of(run), teacher, journal
        self._names = self._place.names(spec.name)
        self._keys, self._faults, self._final = _faults_by_key(index, spec.name)
        self._retries, self._purpose = retries, purpose
        self._files: list[RequestFile] = []
        self.lines = 0

    def enrol(self, request: Request, bound: float) -> None:
        """Add one request. Raises GaveUp where it failed for good before; JournalFull or OSError."""
        place = int(find_sorted(self._keys, raw_keys([request.key]))[0])
        retry = 0
        if place >= 0:
            retry = int(self._faults[place])
            final = self._final.get(request.key)
            if final is not None and final[1] >= request.max_tokens:
                raise GaveUp(f"{final[0]} in an earlier batch")
            if retry > self._retries:
                raise GaveUp(f"{retry} faults in earlier batches")
        if not self._files or self._files[-1].full:
            self._files.append(RequestFile(self._place, next(self._names)))
        file = self._files[-1]
        most = None if request.bound_usd is None else bound
        submitted = replace(request, endpoint=f"{BATCH}{file.name}", bound_usd=most)
        self._journal.intent(submitted, retry=retry, purpose=self._purpose, here=False)
        file.add(request.key, self._teacher.body(request))
        self.lines += 1

    def publish(self) -> list[Path]:
        """Let the files appear: what they hold is asked from now on."""
        return [file.publish() for file in self._files]

    def discard(self) -> None:
        for file in self._files:
            file.discard()


def _faults_by_key(index: Index, teacher: str) -> tuple[NDArray[Any], NDArray[Any], dict[str, tuple[str, int]]]:
    """Keys (S16, ascending), how many faults each has had in earlier rounds, and of those that no retry mends the kind
    and the limit it was asked with."""
    rows = index.rows(kind=FAULT, teacher=teacher)
    labels = index.labels
    names = np.array([labels[code] for code in index.label[rows]], object) if len(rows) else np.empty(0, object)
    counted = ~np.isin(names, sorted(LATE)) if len(rows) else np.empty(0, bool)
    rows, names = rows[counted], names[counted]
    keys, counts = np.unique(index.key[rows], return_counts=True)
    final = {
        hex_key(index.key[row]): (str(name), int(index.max_tokens[row]))
        for row, name in zip(rows.tolist(), names.tolist(), strict=True)
        if name not in Fault.RETRYABLE
    }
    return keys, counts, final
