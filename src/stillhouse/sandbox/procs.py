"""Processes as /proc shows them: the tree below one, and its memory.

In: a descriptor of a /proc folder and a process id; out: ids, bytes, and kills. Why: RLIMIT_AS binds one process,
an answer may have 64; so their sum is looked at from outside.
"""

# The forkserver stays small, so that forks are cheap: it does without pathlib.
# ruff: noqa: PTH116, PTH208

from __future__ import annotations

import os
import signal

_PAGE = os.sysconf("SC_PAGE_SIZE")


def _text(proc: int, path: str) -> str:
    """A file of /proc, empty when its process is gone or hides it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    except OSError:
        return ""
    try:
        return os.read(descriptor, 1 << 16).decode("ascii", "replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def children(proc: int, pid: int) -> list[int]:
    """Ids of the processes that the threads of a process have started."""
    found: list[int] = []
    try:
        folder = os.open(f"{pid}/task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
    except OSError:
        return found
    try:
        for thread in os.listdir(folder):
            found += map(int, _text(proc, f"{pid}/task/{thread}/children").split())
    except OSError:
        return found
    finally:
        os.close(folder)
    return found


def below(proc: int, pid: int) -> list[int]:
    """Every process below one, itself left out."""
    found: list[int] = []
    pending = [pid]
    while pending and len(found) < 4096:
        inner = children(proc, pending.pop())
        found += inner
        pending += inner
    return found


def _private(proc: int, pid: int) -> int:
    fields = _text(proc, f"{pid}/statm").split()
    return (int(fields[1]) - int(fields[2])) * _PAGE if len(fields) > 2 else 0


def _proportional(proc: int, pid: int) -> int:
    """Memory with pages that processes share counted once; what statm says where that may not be read."""
    for line in _text(proc, f"{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return _private(proc, pid)


def kill_over(proc: int, warden: int, memory: int) -> bool:
    """Kill everything below a warden when it holds more than `memory` bytes together; says whether it did."""
    family = below(proc, warden)
    if len(family) < 2 or sum(_private(proc, pid) for pid in family) <= memory:
        return False  # RLIMIT_AS sees to one process alone
    if sum(_proportional(proc, pid) for pid in family) <= memory:
        return False
    for pid in family:
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    return True


def tasks_of(uid: int) -> int:
    """Processes and threads of a user: where nothing counts an answer's apart, its limit lies above them."""
    total = 0
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == uid:
                total += len(os.listdir(f"/proc/{name}/task"))
        except OSError:  # ended meanwhile
            continue
    return total
