"""Runs untrusted programs case by case behind the best isolation that this machine has: class Sandbox.

In: Python or C++ source and cases (inputs or steps, never expected values); out: how each case went. Why: the one
door to the sandbox; it keeps the server alive, every wait has a deadline, and what is the sandbox's own failure is
an exception, never a result.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from stillhouse.sandbox import outcome, wire
from stillhouse.sandbox.canary import CANARY, CANARY_CASE, escapes
from stillhouse.sandbox.launch import NoRung, Server
from stillhouse.sandbox.limits import COMPILING, Limits
from stillhouse.sandbox.outcome import Case, Ran

_CONFINE_SECONDS = 30.0
_GRACE = 20.0  # seconds beyond a case's own limit before the sandbox itself is taken for stuck
_CASES_OF_A_JAIL, _INPUTS_OF_A_JAIL = 64, 64 << 20
# Behind every C++ source: threads get the stack of an ordinary machine. Their default is the limit of the first one's
# stack, which contests set so high that four threads would take all the memory. The names of assembly clash
# with none, and `#define int long long` ends before it.
_SMALL_STACKS = """

#line 1 "threads"
#undef int
#undef long
#undef unsigned
#undef void
#undef const
#undef static
#undef extern
#undef __attribute__
#undef __asm__
extern "C" { int __stillhouse_init(void*) __asm__("pthread_attr_init");
int __stillhouse_size(void*, __SIZE_TYPE__) __asm__("pthread_attr_setstacksize");
int __stillhouse_set(const void*) __asm__("pthread_setattr_default_np"); }
__attribute__((constructor)) static void __stillhouse_threads() {
  __SIZE_TYPE__ __attributes[32];
  __stillhouse_init(__attributes); __stillhouse_size(__attributes, 8u << 20); __stillhouse_set(__attributes); }
"""
_KEPT_PROGRAMS = 64 << 20  # bytes of compiled answers kept


class SandboxDown(Exception):  # noqa: N818  a state of the machine, not a bug
    """The sandbox cannot run anything now: the reason, and what would help. The answer is not to blame."""


class Breaks(Exception):  # noqa: N818  a finding about an answer
    """This answer ended its own jail twice while others run well: nothing can be said of it."""


class _Job(NamedTuple):
    """What a warden is to do: python, program or compile; the program's bytes go before the inputs."""

    kind: str
    fields: dict[str, Any]
    program: bytes
    limits: Limits


class _Fault(Exception):  # noqa: N818  leads to another try
    pass


class _SourceFault(_Fault):
    """The warden ended while it read the source."""


class Sandbox:
    """Thread-safe; one answer at a time. Starts at the first use, ends with `close` or with this process.

    rung: 1 namespaces, 2 bubblewrap, 3 Landlock and seccomp alone; None takes the best that proves to hold. unsafe:
    allow rung 4, resource limits alone, where nothing better works. packages: may answers import what is installed
    for the running interpreter? standards: C++ standards tried in turn. Raises SandboxDown when nothing works.
    """

    def __init__(
        self,
        *,
        rung: int | None = None,
        unsafe: bool = False,
        limits: Limits | None = None,
        compiling: Limits = COMPILING,
        packages: bool = True,
        standards: Sequence[str] = ("gnu++17", "gnu++20"),
    ) -> None:
        self.limits = limits or Limits()
        self.unsafe, self.compiling, self.packages, self.standards = unsafe, compiling, packages, tuple(standards)
        self._wanted = rung
        self._lock = threading.RLock()
        self._server: Server | None = None
        self._pid = os.getpid()
        self._serial = 0
        self._programs: OrderedDict[bytes, bytes | Ran] = OrderedDict()

    @property
    def rung(self) -> int:
        """The rung that answers run on. Starts the sandbox; raises SandboxDown."""
        with self._lock:
            return self._started().rung

    def python(
        self,
        code: str,
        cases: Sequence[Case],
        *,
        limits: Limits | None = None,
        go_on: Callable[[Ran], bool] | None = None,
    ) -> list[Ran]:
        """Run Python source. limits: other than the sandbox's; go_on: called after each case, False leaves the rest
        out. A source that cannot be parsed gives one error per case. Raises SandboxDown, Breaks."""
        return self._run(_Job("python", {"code": code}, b"", limits or self.limits), cases, go_on)

    def cpp(
        self,
        source: str,
        cases: Sequence[Case],
        *,
        limits: Limits | None = None,
        go_on: Callable[[Ran], bool] | None = None,
    ) -> list[Ran]:
        """Compile C++ source, once as long as it is remembered, and run it. Raises SandboxDown, Breaks."""
        with self._lock:
            program = self._compiled(source)
            if isinstance(program, Ran):
                results: list[Ran] = []
                _fill(results, program, cases, go_on)
                return results
            job = _Job("program", {"program": len(program), "arguments": ["solution"]}, program, limits or self.limits)
            return self._run(job, cases, go_on)

    def close(self) -> None:
        with self._lock:
            if self._server is not None and self._pid == os.getpid():
                self._server.close()
            self._server = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_server", None) is not None:
            self.close()

    def _compiled(self, source: str) -> bytes | Ran:
        compiler = shutil.which("g++")
        if compiler is None:
            raise SandboxDown("g++ is not installed; apt-get install g++")
        key = hashlib.blake2b("\0".join((compiler, *self.standards, source)).encode("utf-8", "replace")).digest()
        made = self._programs.get(key)
        if made is None:
            made = self._compile(os.path.realpath(compiler), source)
            self._programs[key] = made
            while sum(len(p) for p in self._programs.values() if isinstance(p, bytes)) > _KEPT_PROGRAMS:
                self._programs.popitem(last=False)
        self._programs.move_to_end(key)
        return made

    def _compile(self, compiler: str, source: str) -> bytes | Ran:
        """The program, or how the first standard's compilation failed."""
        first: Ran | None = None
        for standard in self.standards:
            arguments = [compiler, f"-std={standard}", "-O2", "-w", "-pthread", "-fmax-errors=3", "-x", "c++", "-",
                         "-o", "program"]  # fmt: skip
            case = Case((source + _SMALL_STACKS).encode("utf-8", "replace"))
            (ran,) = self._run(_Job("compile", {"arguments": arguments}, b"", self.compiling), [case], None)
            if ran.outcome == "done" and ran.values:
                program: bytes = ran.values[0]
                return program
            first = first or ran
            if ran.outcome == "limit":
                break
        if first is None:
            raise ValueError("no C++ standard to compile with")
        message = first.stderr.decode("utf-8", "replace")
        told = next((line for line in message.splitlines() if "error" in line), first.reason)
        reason = f"it does not compile: {first.reason if first.outcome == 'limit' else told[:300]}"
        return Ran(first.outcome, reason, first.limit, b"", first.stderr, (), first.seconds)

    def _run(self, job: _Job, cases: Sequence[Case], go_on: Callable[[Ran], bool] | None) -> list[Ran]:
        """Run a job, in several jails where it has many cases. A fault of the sandbox is tried again from the case it
        came at; a second one is the machine's or the answer's: a canary tells which."""
        results: list[Ran] = []
        faults: list[str] = []
        going = True
        with self._lock:
            while going and len(results) < len(cases):
                server = self._started()
                try:
                    going = self._once(server, job, cases, results, go_on)
                except (_Fault, wire.Broken, OSError) as error:
                    faults.append(f"{error} {server.errors()}".strip())
                    self.close()
                    if len(faults) > 1:
                        self._blame(error, faults[-1])
                        _fill(results, Ran("error", "its source ends the interpreter that reads it"), cases, go_on)
        return results

    def _blame(self, error: Exception, fault: str) -> None:
        """Raise what two faults mean; where the source was being read and others run well, it is the source's."""
        try:
            self._started()  # proves itself with the canary
        except SandboxDown as down:
            raise SandboxDown(f"{fault}; then: {down}") from down
        if not isinstance(error, _SourceFault):
            raise Breaks(fault) from error

    def _once(
        self,
        server: Server,
        job: _Job,
        cases: Sequence[Case],
        results: list[Ran],
        go_on: Callable[[Ran], bool] | None,
    ) -> bool:
        """One jail: run the next cases that have no result yet. Says whether to go on with the rest."""
        batch = _batch(cases[len(results) :])
        message = {**job.fields, "kind": job.kind, "limits": job.limits, "inputs": [len(case.stdin) for case in batch]}
        if job.kind == "python":
            message["steps"] = [case.steps for case in batch]
        blob = job.program + b"".join(case.stdin for case in batch)
        self._serial += 1
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                told = {"memory": job.limits.memory, "files": job.limits.files, "serial": self._serial}
                server.send(told, theirs.fileno())
            try:
                wire.write(ours, message, blob, deadline=time.monotonic() + _CONFINE_SECONDS)
                going = self._hear_cases(server, ours, job, cases, len(batch), results, go_on)
            except BaseException:
                with contextlib.suppress(OSError):  # the server may be the one that is gone
                    server.end_job()
                raise
        self._hear_end(server)
        return going

    def _hear_cases(
        self,
        server: Server,
        channel: socket.socket,
        job: _Job,
        cases: Sequence[Case],
        count: int,
        results: list[Ran],
        go_on: Callable[[Ran], bool] | None,
    ) -> bool:
        self._hear(channel, "confined", _CONFINE_SECONDS)
        if job.kind == "python":
            try:
                word = self._hear(channel, "loaded", job.limits.seconds)
            except wire.Late:
                server.end_job()
                word = {"phase": "broken", "reason": "its source takes too long to parse"}
            except wire.Broken as error:
                raise _SourceFault(str(error)) from error
            if word["phase"] == "broken":
                _fill(results, Ran("error", str(word["reason"])), cases, go_on)
                return False
        for number in range(count):
            word, blob = wire.read(channel, deadline=time.monotonic() + job.limits.seconds + _GRACE)
            if word.get("case") != number:
                raise _Fault(str(word.get("reason", word)))
            try:
                ran = outcome.read(word, blob, cases[len(results)], job.limits)
            except (ValueError, KeyError, TypeError) as error:
                raise _Fault(f"an unreadable result: {error}") from error
            results.append(ran)
            if go_on is not None and not go_on(ran):
                return False
        return True

    def _hear(self, channel: socket.socket, phase: str, seconds: float) -> dict[str, Any]:
        word, _ = wire.read(channel, deadline=time.monotonic() + seconds)
        if word.get("phase") not in (phase, "broken"):
            raise _Fault(str(word.get("reason", word)))
        return word

    def _hear_end(self, server: Server) -> None:
        deadline = time.monotonic() + _GRACE
        while server.hear(deadline).get("serial") != self._serial:
            continue

    def _started(self) -> Server:
        """The running server; starts one on the best rung that proves itself. Raises SandboxDown."""
        if self._pid != os.getpid():  # this process was forked from the one that started it
            if self._server is not None:
                self._server.forget()
            self._server, self._pid = None, os.getpid()
        if self._server is not None:
            return self._server
        rungs = (1, 2, 3, *((4,) if self.unsafe else ())) if self._wanted is None else (self._wanted,)
        if self._wanted == 4 and not self.unsafe:
            raise SandboxDown("rung 4 isolates nothing: it needs unsafe=True")
        reasons = []
        for rung in rungs:
            try:
                self._server = self._proven(rung)
                return self._server
            except NoRung as problem:
                reasons.append(f"rung {rung}: {problem.reason} (to get it: {problem.better})")
        raise SandboxDown("; ".join(reasons))

    def _proven(self, rung: int) -> Server:
        """A server on this rung that has run a canary, which tried to escape in vain. Raises NoRung."""
        server = Server(rung, packages=self.packages)
        results: list[Ran] = []
        try:
            self._once(server, _Job("python", {"code": CANARY}, b"", self.limits), [CANARY_CASE], results, None)
        except (_Fault, wire.Broken, OSError) as error:
            reason = f"{error} {server.errors()}".strip()
            server.close()
            raise NoRung(reason, server.better) from error
        problem = escapes(results[0], rung)
        if problem:
            server.close()
            raise NoRung(problem, server.better)
        return server


def _batch(cases: Sequence[Case]) -> Sequence[Case]:
    """The first cases, as many as one jail takes: their inputs are open files in memory."""
    size = count = 0
    for case in cases[:_CASES_OF_A_JAIL]:
        size += len(case.stdin)
        if count and size > _INPUTS_OF_A_JAIL:
            break
        count += 1
    return cases[:count]


def _fill(results: list[Ran], ran: Ran, cases: Sequence[Case], go_on: Callable[[Ran], bool] | None) -> None:
    """The same end for every case that has none yet, as far as the caller goes on."""
    while len(results) < len(cases):
        results.append(ran)
        if go_on is not None and not go_on(ran):
            break
