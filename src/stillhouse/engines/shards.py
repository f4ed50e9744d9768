"""Files and folders that appear whole or not at all, so that any shard may be killed and done again.

In: a path. Out: a place beside it to write to, fsynced and renamed into place on success, removed on failure. A full
disk becomes a UserMistake that says so. Names are unique per process: two engines may do one shard at a time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from stillhouse.records import UserMistake

_TEMPORARY = ".partial-"
_FULL = ("Not enough free space", "No space left", "Disk quota exceeded", "requested and")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path` when the block ends without an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    place = _beside(path)
    with told_when_full(path):
        try:
            yield place
            _sync(place)
            place.replace(path)
            _sync(path.parent)
        except BaseException:
            place.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path`. Where `path` stands already (a twin was faster), the twin's stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    place = _beside(path)
    with told_when_full(path):
        try:
            place.mkdir()
            yield place
            for file in place.iterdir():
                _sync(file)
            _sync(place)
            try:
                place.rename(path)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
            _sync(path.parent)
        finally:
            shutil.rmtree(place, ignore_errors=True)


def sweep(folder: Path) -> int:
    """Remove what killed writers left directly in `folder`; to be called while no other writer is there."""
    left = [path for path in folder.iterdir() if path.name.startswith(_TEMPORARY)] if folder.is_dir() else []
    for path in left:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return len(left)


def _beside(path: Path) -> Path:
    return path.parent / f"{_TEMPORARY}{os.getpid()}-{uuid.uuid4().hex[:8]}-{path.name}"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def told_when_full(path: Path) -> Iterator[None]:
    """Turns a full disk into a UserMistake that names the path; everything else passes."""
    try:
        yield
    except OSError as error:
        # numpy and arrow raise it with a text and no number
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) and not any(words in str(error) for words in _FULL):
            raise
        raise UserMistake(
            f"{path}: the disk is full; free some space there and run again: finished shards are kept"
        ) from error
