"""What a case is and how it went: the types that callers see, and the reading of a raw end into one of them.

In: a case; the warden's word of how its process ended; out: Ran. Why: which limit or error ended a program is told
here once, outside the jail.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stillhouse.sandbox.limits import MIB, Limits
from stillhouse.sandbox.plain import NotPlain, decode

StepKind = Literal["do", "value"]


@dataclass(frozen=True, slots=True)
class Case:
    """One run of a program. steps None: as a script or program with `stdin`. Else the code is loaded as a module and
    each step done in it: ("do", statements) or ("value", expression); the values come back as plain builtins."""

    stdin: bytes = b""
    steps: tuple[tuple[StepKind, str], ...] | None = None


@dataclass(frozen=True, slots=True)
class Ran:
    """How a case went. done: it ended by itself with exit code 0 (and all values, where it has steps); error: an
    exception, a signal, an exit code; limit: over a limit, named in `limit` (time, memory, output, files,
    processes). stderr: its end. values: of the `value` steps. seconds: wall clock."""

    outcome: Literal["done", "error", "limit"]
    reason: str = ""
    limit: str | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    values: tuple[Any, ...] = ()
    seconds: float = 0.0


_OF_STDERR = (
    (
        "memory",
        (b"MemoryError", b"std::bad_alloc", b"out of memory", b"cannot allocate memory", b"bad_array_new_length"),
    ),
    ("files", (b"[Errno 28]", b"[Errno 27]", b"No space left on device", b"File too large")),
    ("processes", (b"can't start new thread", b"[Errno 11]", b"Resource temporarily unavailable")),
)
_SIGNAL_LIMITS = {signal.SIGKILL: "memory", signal.SIGXFSZ: "files", signal.SIGXCPU: "time"}


def limit_reason(limit: str, limits: Limits) -> str:
    """A limit in words."""
    return {
        "time": f"over the time limit of {limits.seconds:g} s",
        "memory": f"over the memory limit of {limits.memory // MIB} MiB",
        "output": f"over the output limit of {limits.output // MIB} MiB",
        "files": f"over the file limit of {limits.files // MIB} MiB",
        "processes": f"over the limit of {limits.processes} processes and threads",
    }[limit]


def read(told: Mapping[str, Any], blob: bytes, case: Case, limits: Limits) -> Ran:
    """The outcome of one case from the warden's message. Raises ValueError for a message that is none."""
    out_size, err_size, result_size = (int(size) for size in told["sizes"])
    if out_size + err_size + result_size != len(blob):
        raise ValueError("the sizes do not add up")
    stdout, stderr, result = blob[:out_size], blob[out_size : out_size + err_size], blob[out_size + err_size :]
    seconds = float(told["seconds"])

    def over(limit: str) -> Ran:
        return Ran("limit", limit_reason(limit, limits), limit, stdout, stderr, (), seconds)

    def error(reason: str) -> Ran:
        return Ran("error", reason, None, stdout, stderr, (), seconds)

    if told["ended"]:
        return over(str(told["ended"]))
    status = int(told["status"])
    if status:
        limit = _limit_of(status, stderr)
        return over(limit) if limit else error(_error_of(status, stderr))
    if case.steps is None:
        return Ran("done", "", None, stdout, stderr, (result,) if result else (), seconds)
    if not result:
        return error("it left before the test was done")
    try:
        values = decode(result)
    except NotPlain as problem:
        return error(str(problem))
    if not isinstance(values, list) or len(values) != sum(kind == "value" for kind, _ in case.steps):
        return error("it left before the test was done")
    return Ran("done", "", None, stdout, stderr, tuple(values), seconds)


def _limit_of(status: int, stderr: bytes) -> str | None:
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in _SIGNAL_LIMITS:
        return _SIGNAL_LIMITS[signal.Signals(os.WTERMSIG(status))]
    last = stderr.rstrip()[-1000:]
    for limit, marks in _OF_STDERR:
        if any(mark in last for mark in marks):
            return limit
    return None


def _error_of(status: int, stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").rstrip().splitlines()
    last = lines[-1].strip()[:300] if lines else ""
    if os.WIFSIGNALED(status):
        try:
            name = signal.Signals(os.WTERMSIG(status)).name
        except ValueError:
            name = str(os.WTERMSIG(status))
        return f"ended by signal {name}" + (f": {last}" if last else "")
    return f"exit code {os.waitstatus_to_exitcode(status)}" + (f": {last}" if last else "")
