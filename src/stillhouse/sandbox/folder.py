"""Empties a folder that hostile code has filled, however deep or odd.

In: a folder; out: it is empty, or the number of entries that could not be removed. Why: recursion and long paths
fail on what an answer can build; here a subfolder's entries are moved up before it is removed, through folder
descriptors, so no symlink is ever followed.
"""

# The forkserver stays small, so that forks are cheap: it does without pathlib.
# ruff: noqa: PTH208

from __future__ import annotations

import os

_BLOCK = 4096
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def empty(path: str) -> int:
    """Remove everything in the folder; returns how many entries are left."""
    with os.scandir(path) as entries:
        if next(entries, None) is None:
            return 0
    top = os.open(path, _FOLDER)
    try:
        return _empty(top)
    finally:
        os.close(top)


def _empty(top: int) -> int:
    stuck = set[str]()
    while True:
        names = [name for name in os.listdir(top) if name not in stuck]
        if not names:
            return len(stuck)
        for name in names:
            try:
                os.unlink(name, dir_fd=top)
                continue
            except IsADirectoryError:
                pass
            except OSError:
                stuck.add(name)
                continue
            try:
                _lift(top, name)
            except OSError:
                stuck.add(name)


def _lift(top: int, name: str) -> None:
    """Move a subfolder's entries up to the top under new names, and remove it."""
    try:
        below = os.open(name, _FOLDER, dir_fd=top)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=top)
        below = os.open(name, _FOLDER, dir_fd=top)
    try:
        if os.fstat(below).st_mode & 0o700 != 0o700:
            os.fchmod(below, 0o700)
        for inner in os.listdir(below):
            try:
                os.unlink(inner, dir_fd=below)
            except IsADirectoryError:
                lifted = os.urandom(12).hex()
                try:
                    os.rename(inner, lifted, src_dir_fd=below, dst_dir_fd=top)
                except PermissionError:  # moving a folder writes its `..`
                    os.chmod(inner, 0o700, dir_fd=below)
                    os.rename(inner, lifted, src_dir_fd=below, dst_dir_fd=top)
    finally:
        os.close(below)
    os.rmdir(name, dir_fd=top)


def size(path: str, *, most: int) -> int:
    """Bytes of what is below a folder, a block at least for each entry; stops counting once over `most`."""
    total = 0
    pending = [path]
    while pending and total <= most:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    total += max(status.st_blocks * 512, _BLOCK)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except OSError:  # removed while we look, or made unreadable: its bytes are counted when it is found again
            continue
    return total
