"""Segment files of a journal folder: their names, their order, who is writing one, and safe changes of files.

In: a folder. Out: its segments, and whether a living process writes one (it holds a lock on the file, which the
kernel drops when the process dies). A segment NAME.journal has NAME.idx beside it once it is sealed, and
NAME.replies.parquet once it is compacted.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

SEGMENT, INDEX, PARQUET = ".journal", ".idx", ".replies.parquet"


def new_segment_name(writer: str) -> str:
    """Names sort by the time they were made: `20260131T235959.123456-WRITER-1a2b3c4d`."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{writer}-{secrets.token_hex(4)}"


def writer_of(name: str) -> str:
    """The writer that a segment's name carries."""
    return name.partition("-")[2].rpartition("-")[0]


def segment_names(folder: Path) -> list[str]:
    """Names of all segments of a folder, oldest first: of those too of which only the parquet or index is left."""
    if not folder.is_dir():
        return []
    suffixes = (SEGMENT, PARQUET, INDEX)
    return sorted({f.name.removesuffix(s) for f in folder.iterdir() for s in suffixes if f.name.endswith(s)})


def as_folders(folders: Path | Sequence[Path]) -> list[Path]:
    """One folder or several, each once."""
    given = [folders] if isinstance(folders, Path) else [Path(f) for f in folders]
    seen: dict[Path, Path] = {}
    for folder in given:
        seen.setdefault(folder.resolve(), folder)
    return list(seen.values())


def create_locked(path: Path) -> int:
    """Make a new file that is locked from the moment it has its name; returns its descriptor.

    It is made under a hidden name first: whoever mends the folder in between must not take it for an abandoned one.
    """
    while True:
        hidden = path.with_name(f".{path.name}.new")
        fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            hidden.rename(path)
            return fd
        except FileNotFoundError:  # taken for abandoned before it was locked
            os.close(fd)
        except BaseException:
            os.close(fd)
            hidden.unlink(missing_ok=True)
            raise


def remove_abandoned(folder: Path) -> None:
    """Remove hidden files of writers that died while they made a new file."""
    for hidden in folder.glob(".*.new"):
        try:
            with claimed(hidden) as ours:
                if ours:
                    hidden.unlink()
        except FileNotFoundError:  # it has its name by now
            continue


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of `replaced` anywhere in a folder whose makers died before they were done."""
    for path in folder.rglob(".*.tmp"):
        maker = path.name.split(".")[-3:-2]
        if maker and maker[0].isdigit() and not _lives(int(maker[0])):
            path.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether nobody writes the segment: True holds its lock for the block, False says that its writer lives."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # network file systems give this lock to writers only
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)


def is_live(path: Path) -> bool:
    """Whether a living process writes this segment. Looks with a shared lock, so that readers do not meet."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(fd)


def fsync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place, durably, when the block ends well; else it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        fd = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.replace(path)
        fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
