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
from typing import Any

from stillhouse.sandbox import outcome, wire
from stillhouse.sandbox.canary import CANARY, CANARY_CASE, escapes
from stillhouse.sandbox.launch import NoRung, Server
from stillhouse.sandbox.limits import COMPILING, Limits
from stillhouse.sandbox.outcome import Case, Ran

_CONFINE_SECONDS = 30.0
_GRACE = 20.0  # seconds beyond a case's own limit before the sandbox itself is taken for stuck
_KEPT_PROGRAMS = 64 << 20  # bytes of compiled answers kept


class SandboxDown(Exception):  # noqa: N818  a state of the machine, not a bug
    """The sandbox cannot run anything now: the reason, and what would help. The answer is not to blame."""


class Breaks(Exception):  # noqa: N818  a finding about an answer
    """This answer ended its own jail twice while others run well: nothing can be said of it."""


class _Fault(Exception):  # noqa: N818  leads to another try
    pass


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
        job = {"code": code, "steps": [case.steps for case in cases]}
        return self._run("python", job, b"", cases, limits or self.limits, go_on)

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
                return _all(program, cases, go_on)
            job = {"program": len(program), "arguments": ["solution"]}
            return self._run("program", job, program, cases, limits or self.limits, go_on)

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
            case = Case(source.encode("utf-8", "replace"))
            (ran,) = self._run("compile", {"arguments": arguments}, b"", [case], self.compiling, None)
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

    def _run(
        self,
        kind: str,
        job: dict[str, Any],
        program: bytes,
        cases: Sequence[Case],
        limits: Limits,
        go_on: Callable[[Ran], bool] | None,
    ) -> list[Ran]:
        """Run a job, once more after a fault of the sandbox. A second fault is the machine's or the answer's: a
        canary tells which."""
        message = {**job, "kind": kind, "limits": limits, "inputs": [len(case.stdin) for case in cases]}
        blob = program + b"".join(case.stdin for case in cases)
        with self._lock:
            fault = ""
            for _ in range(2):
                server = self._started()
                try:
                    return self._once(server, message, blob, cases, limits, go_on)
                except (_Fault, wire.Broken, OSError) as error:
                    fault = f"{error} {server.errors()}".strip()
                    self.close()
            try:
                self._started()  # proves itself with the canary
            except SandboxDown as down:
                raise SandboxDown(f"{fault}; then: {down}") from down
            raise Breaks(fault)

    def _once(
        self,
        server: Server,
        message: dict[str, Any],
        blob: bytes,
        cases: Sequence[Case],
        limits: Limits,
        go_on: Callable[[Ran], bool] | None,
    ) -> list[Ran]:
        self._serial += 1
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                told = {"memory": limits.memory, "files": limits.files, "serial": self._serial}
                server.send(told, theirs.fileno())
            try:
                wire.write(ours, message, blob, deadline=time.monotonic() + _CONFINE_SECONDS)
                results = self._hear_cases(ours, message["kind"], cases, limits, go_on)
            except BaseException:
                with contextlib.suppress(OSError):  # the server may be the one that is gone
                    server.end_job()
                raise
        self._hear_end(server)
        return results

    def _hear_cases(
        self,
        channel: socket.socket,
        kind: str,
        cases: Sequence[Case],
        limits: Limits,
        go_on: Callable[[Ran], bool] | None,
    ) -> list[Ran]:
        self._hear(channel, "confined", _CONFINE_SECONDS)
        if kind == "python":
            try:
                word = self._hear(channel, "loaded", limits.seconds)
            except wire.Late:
                word = {"phase": "broken", "reason": "its source takes too long to parse"}
            if word["phase"] == "broken":
                return _all(Ran("error", str(word["reason"])), cases, go_on)
        results: list[Ran] = []
        for case in cases:
            word, blob = wire.read(channel, deadline=time.monotonic() + limits.seconds + _GRACE)
            if word.get("case") != len(results):
                raise _Fault(str(word.get("reason", word)))
            try:
                results.append(outcome.read(word, blob, case, limits))
            except (ValueError, KeyError, TypeError) as error:
                raise _Fault(f"an unreadable result: {error}") from error
            if go_on is not None and not go_on(results[-1]):
                break
        return results

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
        message = {"code": CANARY, "steps": [CANARY_CASE.steps], "kind": "python", "limits": self.limits, "inputs": [0]}
        try:
            (ran,) = self._once(server, message, b"", [CANARY_CASE], self.limits, None)
        except (_Fault, wire.Broken, OSError) as error:
            reason = f"{error} {server.errors()}".strip()
            server.close()
            raise NoRung(reason, server.better) from error
        problem = escapes(ran, rung)
        if problem:
            server.close()
            raise NoRung(problem, server.better)
        return server


def _all(ran: Ran, cases: Sequence[Case], go_on: Callable[[Ran], bool] | None) -> list[Ran]:
    """The same end for every case, as far as the caller goes on."""
    results: list[Ran] = []
    for _ in cases:
        results.append(ran)
        if go_on is not None and not go_on(ran):
            break
    return results
