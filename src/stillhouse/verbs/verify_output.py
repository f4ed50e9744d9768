"""Where the verdicts of a file go: a growing file beside the output, which a run that was killed goes on with.

In: rows in order, each with the hash of what was judged. Out: JSONL or parquet, whole or not at all. OUT.partial holds
a line a row; to begin again is to go on after the last row that is the same as in the input.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import orjson
import pyarrow as pa

from stillhouse.records import UserMistake, Verdict
from stillhouse.store.segments import replaced
from stillhouse.store.tables import TableWriter

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()), pa.field("outcome", pa.string()), pa.field("score", pa.float64()),
        pa.field("rule", pa.string()), pa.field("reason", pa.string()),
    ]
)  # fmt: skip
FORMATS = (".jsonl", ".ndjson", ".parquet")
FLUSH_SECONDS, FLUSH_ROWS = 1.0, 2000


class Output(AbstractContextManager["Output"]):
    """The verdicts of one file on their way. `with Output(out, versions) as output:` then `known(row)`, `add(...)`.

    versions: verifier -> version; what other versions judged is not gone on with. The block's good end puts the output
    in its place; else the partial file stays. Raises UserMistake where it cannot be written or another process does.
    """

    def __init__(self, path: Path, versions: Mapping[str, str]) -> None:
        self.path = path
        self.partial = path.with_name(path.name + ".partial")
        self._head = orjson.dumps({"verdicts_of": dict(sorted(versions.items()))}) + b"\n"
        self.rows = 0
        self.reused = 0
        self._lines: list[bytes] = []
        self._flushed = time.monotonic()

    def __enter__(self) -> Output:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UserMistake(f"{self.partial}: cannot be written: {error.strerror}") from error
        self._file: BinaryIO = os.fdopen(fd, "r+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise UserMistake(f"{self.partial}: another process is writing these verdicts") from None
        self._former = self._open_former()
        return self

    def _open_former(self) -> Iterator[tuple[bytes, Mapping[str, Any]]] | None:
        """Rows that a former process left, each with its bytes; None where there are none of these versions."""
        if self._file.readline() != self._head:
            self._begin()
            return None
        return self._read_former()

    def _begin(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._file.write(self._head)

    def _read_former(self) -> Iterator[tuple[bytes, Mapping[str, Any]]]:
        while line := self._file.readline():
            row = None
            if line.endswith(b"\n"):
                with contextlib.suppress(orjson.JSONDecodeError):
                    row = orjson.loads(line)
            if not isinstance(row, dict):  # a torn tail, or what somebody wrote into it
                self._file.seek(-len(line), os.SEEK_CUR)
                return
            yield line, row

    def known(self, judged: str) -> str | None:
        """The outcome of the next row, if the former process has judged this very row; `judged`: its hash."""
        if self._former is None:
            return None
        line, row = next(self._former, (b"", {}))
        if row.get("of") != judged:
            self._former = None
            if line:
                self._file.seek(-len(line), os.SEEK_CUR)
            self._file.truncate()
            return None
        self.rows += 1
        self.reused += 1
        return str(row["outcome"])

    def add(self, judged: str, own_id: str | None, verdict: Verdict) -> None:
        """Append the next row."""
        row = {
            "id": own_id, "outcome": verdict.outcome, "score": verdict.score, "rule": verdict.rule,
            "reason": verdict.reason, "of": judged,
        }  # fmt: skip
        self._lines.append(_line(row))
        self.rows += 1
        if len(self._lines) >= FLUSH_ROWS or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Hand what was added to the kernel: a kill does not take it any more."""
        self._flushed = time.monotonic()
        if self._lines:
            self._file.write(b"".join(self._lines))
            self._lines.clear()
        self._file.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._cut_surplus()
            self.flush()
            if kind is None:
                self._publish()
                self.partial.unlink(missing_ok=True)
        finally:
            self._file.close()

    def _cut_surplus(self) -> None:
        """The input has become shorter than it was: rows of before are no part of the output."""
        if self._former is not None:
            self._file.truncate()

    def _publish(self) -> None:
        self._file.seek(len(self._head))
        rows = (orjson.loads(line) for line in self._file)
        if self.path.suffix == ".parquet":
            with TableWriter(self.path, SCHEMA) as table:
                for row in rows:
                    del row["of"]
                    table.add(row)
            return
        with replaced(self.path) as temporary, temporary.open("wb") as out:
            for row in rows:
                del row["of"]
                out.write(_line(row))


def _line(row: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a lone surrogate, which UTF-8 cannot hold, becomes U+FFFD
        plain = {k: v.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(v, str) else v
                 for k, v in row.items()}  # fmt: skip
        return orjson.dumps(plain, option=orjson.OPT_APPEND_NEWLINE)


def check_output(source: Path, out: Path) -> None:
    """Raises UserMistake for an output that cannot be, before anything is judged."""
    if out.is_dir():
        raise UserMistake(f"--out {out}: is a folder; name a file, such as {out / 'verdicts.jsonl'}")
    if out.suffix not in FORMATS:
        raise UserMistake(f"--out {out}: its name must end in one of {', '.join(FORMATS)}, which says what is written")
    here = out.resolve()
    if source.is_dir() and here.is_relative_to(source.resolve()):
        raise UserMistake(f"--out {out}: lies inside the folder that is read, {source}: name another place")
    if here == source.resolve():
        raise UserMistake(f"--out {out}: is the file that is read: name another one")
