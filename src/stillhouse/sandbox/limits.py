"""What a program in the sandbox may use, and its enforcement by resource limits.

In: the figures; out: setrlimit on the calling process. Why: over a limit a case fails with the limit as its reason;
what rlimits cannot see (the wall clock, output, memory of all processes together) the warden and the server watch.
"""

from __future__ import annotations

import resource
from typing import NamedTuple

MIB = 1 << 20


class Limits(NamedTuple):
    """Of one case: seconds of wall clock (sleeping included), bytes of memory, of stdout + stderr and of files;
    processes and threads of the whole answer."""

    seconds: float = 10.0
    memory: int = 1024 * MIB
    output: int = 8 * MIB
    files: int = 64 * MIB
    processes: int = 64


COMPILING = Limits(seconds=40.0, memory=2000 * MIB, output=8 * MIB, files=64 * MIB, processes=64)
# one heap for all threads: glibc reserves 64 MiB for each further one, which would count as memory of the answer
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1"}
STACK = 64 * MIB
STACK_OF_BINARY = 256 * MIB  # contests give the stack all the memory


def _lower(kind: int, soft: int, hard: int | None = None) -> None:
    """Set a limit, as far as the present hard limit allows."""
    ceiling = resource.getrlimit(kind)[1]
    hard = soft if hard is None else hard
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(kind, (soft, hard))


def apply(limits: Limits, *, stack: int, others: int = 1) -> None:
    """Lower this process's limits for good. others: processes of the same user that are not the answer's.

    Raises OSError where this process itself was given less memory than that: its answers would fail for it.
    """
    ceiling = resource.getrlimit(resource.RLIMIT_AS)[1]
    if ceiling != resource.RLIM_INFINITY and ceiling < limits.memory:
        raise OSError(f"RLIMIT_AS of the process that started the sandbox is {ceiling // MIB} MiB, and a program may"
                      f" use {limits.memory // MIB}")  # fmt: skip
    _lower(resource.RLIMIT_AS, limits.memory)
    _lower(resource.RLIMIT_FSIZE, limits.files)
    _lower(resource.RLIMIT_NPROC, limits.processes + others)
    _lower(resource.RLIMIT_STACK, stack)
    _lower(resource.RLIMIT_NOFILE, 1024)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_MEMLOCK, 0)
    _lower(resource.RLIMIT_MSGQUEUE, 0)
    _lower(resource.RLIMIT_RTPRIO, 0)


def lift() -> None:
    """Take back what the starting process was limited to, as far as this one may: root may, others up to hard."""
    names = ("RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_STACK")
    for kind in (getattr(resource, name) for name in names):
        try:
            resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        except (ValueError, OSError):
            hard = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (hard, hard))


def limit_cpu(limits: Limits) -> None:
    """Of a case's own process, as the last resort behind the watched wall clock: twice as many seconds."""
    seconds = int(limits.seconds * 2) + 2
    _lower(resource.RLIMIT_CPU, seconds, seconds + 1)
