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


COMPILING = Limits(seconds=40.0, memory=2048 * MIB, output=8 * MIB, files=64 * MIB, processes=64)
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

    RLIMIT_CPU is only the last resort behind the watched wall clock.
    """
    _lower(resource.RLIMIT_AS, limits.memory)
    _lower(resource.RLIMIT_FSIZE, limits.files)
    _lower(resource.RLIMIT_NPROC, limits.processes + others)
    _lower(resource.RLIMIT_STACK, stack)
    _lower(resource.RLIMIT_NOFILE, 1024)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_MEMLOCK, 0)
    _lower(resource.RLIMIT_MSGQUEUE, 0)
    _lower(resource.RLIMIT_RTPRIO, 0)


def limit_cpu(limits: Limits) -> None:
    """Of a case's own process: twice its wall clock on every core it may use is more than it can ever need."""
    seconds = int(limits.seconds * 2) + 2
    _lower(resource.RLIMIT_CPU, seconds, seconds + 1)
