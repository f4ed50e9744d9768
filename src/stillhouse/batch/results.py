"""Result files of batches -> replies and faults of the journal, with what is no result of ours told apart.

In: `2-responses/batch/results/*.jsonl`, as OpenAI and `vllm run-batch` write them. Out: each line journaled once. A
request file that the user removed is given up, and its lines are asked anew; a result that comes late counts all the
same.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from stillhouse.batch.rounds import LATE, BatchTeacher, folder_of
from stillhouse.records import Fault, Query, Request, Response, Teacher, TeacherSpec
from stillhouse.store.batches import ReadNotes, ResultLine, latest_intents, outstanding, read_results
from stillhouse.store.entries import to_json
from stillhouse.store.index import Index, find_sorted, hex_key, load_index, raw_keys
from stillhouse.store.journal import Journal
from stillhouse.store.queries import QueryTable
from stillhouse.store.rows import FAULT
from stillhouse.store.run import Run
from stillhouse.transport.faults import status_fault

T = TypeVar("T")
_LINES_AT_ONCE = 256
_SHOWN = 3  # examples of what is wrong
# a batch that ran out of time or was called off: its line may be sent again
_AGAIN = frozenset({"batch_expired", "batch_cancelled", "batch_canceled"})


@dataclass(slots=True)
class Read:
    """What the result files held. replies and faults: journaled now. known: results that stand in the journal already,
    as the same file is read again; duplicate: a second line for one request; foreign: ids that were never asked;
    unreadable: lines that are no result. lost: given up with their file. missing: request file -> lines still out."""

    replies: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    known: int = 0
    duplicate: int = 0
    foreign: int = 0
    unreadable: int = 0
    lost: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)

    def example(self, line: ResultLine, words: str) -> None:
        if len(self.examples) < _SHOWN:
            self.examples.append(f"{line.where} {words}")

    def told(self) -> list[str]:
        """In lines, for people; nothing where nothing was read."""
        failed = ", ".join(f"{kind} {count}" for kind, count in sorted(self.faults.items()))
        parts = [f"{self.replies} replies", f"{sum(self.faults.values())} failed" + (f" ({failed})" if failed else "")]
        parts += [f"{n} {name}" for name in ("duplicate", "foreign", "unreadable") if (n := getattr(self, name))]
        lines = []
        if self.replies or self.faults or self.duplicate or self.foreign or self.unreadable:
            lines.append(f"batch: results read: {', '.join(parts)}")
        if self.lost:
            lines.append(f"batch: {self.lost} requests of removed files are given up and asked anew")
        return lines + [f"  {example}" for example in self.examples]


async def read_back(run: Run, table: QueryTable, teachers: Sequence[TeacherSpec], built: Mapping[str, Teacher]) -> Read:
    """Journal all results that lie in `batch/results`, and give up what stood in files that are gone."""
    place, read = folder_of(run), Read()
    place.remove_unfinished()
    with Journal(run.journal) as journal:
        desk = _Desk(load_index(run.journals), table, teachers, built)
        reader = _Reader(journal, desk, ReadNotes(place), read)
        for path in place.result_files():
            await reader.file(path)
    with Journal(run.journal) as journal:
        index = load_index(run.journals)
        for name, rows in outstanding(index).items():
            if (place.folder / name).is_file():
                read.missing[name] = len(rows)
            elif run.store is None or place.ours(name):
                await _give_up(journal, index, rows, read, shown=name in place.written())
    return read


class _Desk:
    """Finds what a custom id stands for: its latest batch intent, and today's request of its query."""

    def __init__(
        self, index: Index, table: QueryTable, teachers: Sequence[TeacherSpec], built: Mapping[str, Teacher]
    ) -> None:
        self.index, self.table = index, table
        fit = [spec.name for spec in teachers if isinstance(built[spec.name], BatchTeacher)]
        self._teachers = {name: built[name] for name in fit}
        self.keys, self.rows, settled = latest_intents(index)
        late = [code for code, label in enumerate(index.labels) if label in LATE]
        # its outcome is not there yet, or it was given up and came all the same
        self.open = (settled < self.rows) | ((index.kind[settled] == FAULT) & np.isin(index.label[settled], late))

    def places(self, keys: Sequence[str]) -> list[int]:
        """Where each id stands among ours, -1 for one that no batch of this run asked."""
        return [int(place) for place in find_sorted(self.keys, raw_keys(keys))]

    def requests(self, places: Sequence[int]) -> dict[int, tuple[Any, Request]]:
        """Place -> its teacher and its request: what was asked then, with the messages of today's recipe."""
        rows = self.rows[np.array(places, np.int64)]
        positions = self.table.positions(self.index.prompt[rows])
        held = {p: q for q, p in self.table.read_at(np.unique(positions[positions >= 0]))}
        out = {}
        for place, row, position in zip(places, rows.tolist(), positions.tolist(), strict=True):
            query = held.get(position) or Query((), "other")
            teacher = self._teacher(row, query)
            if teacher is not None:
                today = teacher.request(query, int(self.index.attempt[row]))
                out[place] = (teacher, _asked(self.index, row, today.messages))
        return out

    def _teacher(self, row: int, query: Query) -> Any:
        """Of the name that asked; else the one that is the same under another name; else any: they read alike."""
        name, identity = self.index.teachers[int(self.index.teacher[row])], hex_key(self.index.identity[row])
        if name in self._teachers:
            return self._teachers[name]
        others: list[Any] = list(self._teachers.values())
        same = [teacher for teacher in others if teacher.identity(query.category) == identity]
        return next(iter(same or others), None)


def _asked(index: Index, row: int, messages: Any = ()) -> Request:
    """The request of an intent's row."""
    bound = float(index.cost_usd[row])
    return Request(
        key=hex_key(index.key[row]), query=hex_key(index.query[row]), prompt=hex_key(index.prompt[row]),
        teacher=index.teachers[int(index.teacher[row])], identity=hex_key(index.identity[row]),
        attempt=int(index.attempt[row]), messages=messages, sampling={}, max_tokens=int(index.max_tokens[row]),
        prompt_tokens=int(index.prompt_tokens[row]), bound_usd=None if np.isnan(bound) else bound,
        endpoint=index.labels[int(index.label[row])],
    )  # fmt: skip


class _Reader:
    """Reads result files, some lines at a time; tells apart what is no result of ours."""

    def __init__(self, journal: Journal, desk: _Desk, notes: ReadNotes, read: Read) -> None:
        self._journal, self._desk, self._notes, self._read = journal, desk, notes, read
        self._seen: dict[str, str] = {}  # key -> reply or fault, in this reading

    async def file(self, path: Path) -> None:
        """One result file, unless it was read before and has not changed."""
        if self._notes.has(path):
            return
        ownerless = 0
        for lines in _blocks(read_results(path)):
            ownerless += await self._lines(lines)
        if not ownerless:
            self._notes.add(path)

    async def _lines(self, lines: Sequence[ResultLine]) -> int:
        """Returns how many lines have no teacher that could read them."""
        good = [line for line in lines if not line.problem]
        for line in lines:
            if line.problem:
                self._read.unreadable += 1
                self._read.example(line, line.problem)
        places = self._desk.places([line.key for line in good])
        wanted = [(line, place) for line, place in zip(good, places, strict=True) if self._wanted(line, place)]
        requests = self._desk.requests([place for _, place in wanted])
        ours = [(line, *requests[place], place) for line, place in wanted if place in requests]
        await asyncio.gather(*(self._keep(line, teacher, request, place) for line, teacher, request, place in ours))
        if len(ours) < len(wanted):
            self._read.example(wanted[0][0], "answers a teacher that the recipe no longer has")
        return len(wanted) - len(ours)

    def _wanted(self, line: ResultLine, place: int) -> bool:
        read, before = self._read, self._seen.get(line.key)
        if place < 0:
            read.foreign += 1
            read.example(line, f"answers {line.key[:60]!r}, which no batch of this run asked")
            return False
        if before == "reply" or (before == "fault" and not _good(line)):
            read.duplicate += 1
            read.example(line, f"is a second result of {line.key}")
            return False
        if not self._desk.open[place] or self._notes.has_line(line):
            read.known += 1
            return False
        self._seen[line.key] = "reply" if _good(line) else "fault"
        return True

    async def _keep(self, line: ResultLine, teacher: Any, request: Request, place: int) -> None:
        """A reply or a fault of the journal."""
        index = self._desk.index
        retry = int(index.retry[self._desk.rows[place]])
        purpose = index.purposes[int(index.purpose[self._desk.rows[place]])]
        try:
            response = read_line(line, teacher, request)
            await self._journal.reply(response, retry=retry, purpose=purpose)
            self._read.replies += 1
        except Fault as fault:
            self._read.faults[fault.kind] += 1
            self._read.example(line, f"failed: {fault}")
            await self._journal.fault(request, fault, retry=retry, purpose=purpose)
            self._notes.add_line(line)


def _blocks(items: Iterable[T]) -> Iterator[list[T]]:
    source = iter(items)
    while block := list(islice(source, _LINES_AT_ONCE)):
        yield block


def _good(line: ResultLine) -> bool:
    response = (line.value or {}).get("response")
    return isinstance(response, dict) and response.get("status_code", 200) == 200 and bool(response.get("body"))


def read_line(line: ResultLine, teacher: BatchTeacher, request: Request) -> Response:
    """The response in a result line of OpenAI's or vLLM's. Raises Fault for a line that failed."""
    value: Mapping[str, Any] = line.value or {}
    if _good(line):
        return teacher.read(request, value["response"]["body"], where=line.where)
    response, error = value.get("response"), value.get("error")
    held = response if isinstance(response, dict) else {}
    told = error or held.get("body") or {"message": "neither a response nor an error"}
    inner = told.get("error", told) if isinstance(told, dict) else {}
    code = str(inner.get("code", "")) if isinstance(inner, dict) else ""
    status = held.get("status_code") or (int(code) if code.isdigit() else 0)
    if code in _AGAIN:
        raise Fault("timeout", f"{line.where}: {code}: the batch ended before this request was answered")
    if not isinstance(status, int) or not 300 <= status < 600:
        status = 500
    fault = status_fault(status, {}, to_json(told).strip(), where=line.where)
    raise Fault(fault.kind, fault.reason, status=fault.status, raw=fault.raw)


async def _give_up(journal: Journal, index: Index, rows: NDArray[Any], read: Read, *, shown: bool) -> None:
    """Lines of a file that is gone: removed by the user (they may have been answered), or never shown to anybody."""
    kind = "lost" if shown else "not_submitted"
    reason = "its batch file was removed before a result came" if shown else "its batch file was never finished"
    for block in _blocks(rows.tolist()):
        await asyncio.gather(*(
            journal.fault(
                _asked(index, row), Fault(kind, reason, maybe_paid=shown), retry=int(index.retry[row]),
                purpose=index.purposes[int(index.purpose[row])],
            )
            for row in block
        ))  # fmt: skip
    read.lost += len(rows) if shown else 0
