"""The trusted first process of an answer's jail: confines itself, then runs and watches one case after another.

In: a job from the parent over a socket (code, inputs, limits; never an expected value); out: for each case how it
ended and what it wrote. Why: it is process 1 of the answer's PID namespace, so with it everything of the answer
ends, and between cases it kills all that is left and empties the folder.
"""

# The forkserver stays small, so that forks are cheap: it does without pathlib.
# ruff: noqa: PTH110, PTH118, PTH123

from __future__ import annotations

import importlib
import os
import re
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from types import CodeType
from typing import Any, NoReturn

from stillhouse.sandbox import case, folder, landlock, limits, policy, procs, seccomp, syscalls, wire
from stillhouse.sandbox.limits import Limits
from stillhouse.sandbox.pipes import Pipe, clear_descriptors
from stillhouse.sandbox.plain import encoder

NAMESPACES, BUBBLEWRAP, ALONE, UNSAFE = 1, 2, 3, 4
_TAIL = 16384  # bytes of stderr that are told
_LOOK = 0.1  # seconds between looks at a folder whose size or entries no mount limits
_MOST_ENTRIES = 20_000
_WARM = frozenset(
    """array ast base64 bisect calendar cmath collections contextlib copy csv dataclasses datetime decimal enum
    fractions functools hashlib heapq io itertools json math numbers numpy operator os queue random re secrets
    statistics string struct sys textwrap threading time traceback types typing unicodedata uuid zlib""".split()  # noqa: SIM905  words read better than a list
)
_IMPORT = re.compile(r"^[ \t]*(?:import|from)[ \t]+([\w, \t]+)", re.MULTILINE)


class Warden:
    """setting: the server's, see server.py; box: the answer's folder."""

    def __init__(self, channel: socket.socket, setting: Mapping[str, Any], box: str) -> None:
        self.channel, self.setting, self.box, self.rung = channel, setting, box, int(setting["rung"])
        self.job, self.blob = wire.read(channel)
        self.kind: str = self.job["kind"]
        self.limits = Limits(*self.job["limits"])
        self.inputs: list[int] = []
        self.program = -1
        self.prepared = os.pipe2(os.O_NONBLOCK)  # a byte from each case's process, before it runs the answer

    def run(self) -> NoReturn:
        self._open_inputs()
        self._confine()
        wire.write(self.channel, {"phase": "confined"})
        work = self._load()
        for index in range(len(self.inputs)):
            if not self._run_case(index, work):
                break
        wire.write(self.channel, {"phase": "end"})
        os._exit(0)

    def _open_inputs(self) -> None:
        """Sealed files in memory, made before the filter forbids them: the answer could fill them past its limits."""
        start = 0
        if self.kind == "program":
            size = int(self.job["program"])
            self.program = syscalls.memory_file("solution", self.blob[:size], executable=True)
            start = size
        for size in self.job["inputs"]:
            self.inputs.append(syscalls.memory_file("input", self.blob[start : start + size]))
            start += size
        self.blob = b""

    def _confine(self) -> None:
        """Give up all rights: user, capabilities, resources, files, system calls. After it comes hostile code."""
        uid = self.setting.get("uid")
        others = int(self.setting["others"])
        if self.rung >= ALONE and uid is None:
            others = procs.tasks_of(os.getuid())
        syscalls.forbid_capabilities()
        if uid is not None:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        if self.rung != UNSAFE:
            syscalls.drop_capabilities()
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user would clear it
        if self.rung >= ALONE:
            syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        os.chdir(self.box)
        os.umask(0o077)
        os.environ.clear()
        os.environ.update(limits.ENVIRONMENT, HOME=self.box, TMPDIR=self.box)
        os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
        stack = limits.STACK if self.kind == "python" else limits.STACK_OF_BINARY
        limits.apply(self.limits, stack=stack, others=others)
        try:
            self._confine_by_kernel()
        except OSError:
            if self.rung != UNSAFE:
                raise

    def _confine_by_kernel(self) -> None:
        setting, compiling = self.setting, self.kind == "compile"
        read = [*setting["read"], *setting["site"]]
        tools = setting["tools"] if compiling else setting["loader"] if self.kind == "program" else []
        if self.rung == BUBBLEWRAP and not landlock.abi():
            pass  # bubblewrap's own root is the file limit of this rung; Landlock is a second lock where it exists
        else:
            devices = [f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom")]
            landlock.restrict(read=[*read, *devices], execute=tools, write=[self.box, "/dev/null"])
        alone = self.rung >= ALONE and not compiling
        foreign = alone and setting["uid"] is None
        seccomp.install(policy.answer_filter(execute=self.kind != "python", alone=alone, foreign=foreign))

    def _load(self) -> Any:
        """What a case needs: compiled code and steps. A failure is told to the parent and ends the job."""
        if self.kind != "python":
            return None
        try:
            for name in self.setting["site"]:
                sys.path.append(name)
            self._warm()
            code = compile(self.job["code"], "<solution>", "exec", dont_inherit=True)
            steps = [listed and [self._compile_step(*step) for step in listed] for listed in self.job["steps"]]
        except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError) as error:
            wire.write(self.channel, {"phase": "broken", "reason": f"{type(error).__name__}: {error}"[:2000]})
            os._exit(0)
        wire.write(self.channel, {"phase": "loaded"})
        return code, steps

    @staticmethod
    def _compile_step(kind: str, source: str) -> tuple[str, CodeType]:
        return kind, compile(source, "<test>", "exec" if kind == "do" else "eval", dont_inherit=True)

    def _warm(self) -> None:
        """Import harmless modules that the code names once, instead of in every case."""
        for names in _IMPORT.findall(self.job["code"]):
            for name in re.split(r"[, \t]+", names):
                if name in _WARM and name not in sys.modules:
                    try:
                        importlib.import_module(name)
                    except Exception:  # noqa: BLE001  the case itself will meet it, and tell it as its own error
                        return

    def _run_case(self, index: int, work: Any) -> bool:
        """Fork, watch, kill, tell. False when the parent is gone."""
        pipes = [Pipe(), Pipe()]
        steps = work[1][index] if work else None
        if steps is not None:
            pipes.append(Pipe())
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            self._become_case(index, pipes, work, steps)
        for pipe in pipes:
            os.close(pipe.write)
            pipe.write = -1
        ended, connected = self._watch(pid, pipes, started)
        seconds = time.monotonic() - started
        status = self._kill_all(pid)
        for pipe in pipes:
            pipe.drain(self.limits.output)
        product = self._product(status) if self.kind == "compile" else b""
        if not ended and self._folder_full():
            ended = "files"
        left = folder.empty(self.box)
        out, err = pipes[0].data, pipes[1].data
        if not ended and len(out) + len(err) > self.limits.output:
            ended = "output"
        result = pipes[2].data if steps is not None else product
        if not self._was_prepared():
            raise OSError(f"a case could not be prepared: {err[-500:].decode(errors='replace')}")
        told = {"case": index, "ended": ended, "status": status, "seconds": seconds, "left": left}
        blobs = [out[: self.limits.output], err[-_TAIL:], result]
        for pipe in pipes:
            pipe.close()
        os.close(self.inputs[index])
        wire.write(self.channel, {**told, "sizes": [len(blob) for blob in blobs]}, b"".join(blobs))
        return connected

    def _was_prepared(self) -> bool:
        try:
            return len(os.read(self.prepared[0], 1)) == 1
        except BlockingIOError:
            return False

    def _become_case(self, index: int, pipes: Sequence[Pipe], work: Any, steps: Any) -> NoReturn:
        """In the child: its descriptors and nothing else, then the answer."""
        try:
            os.setsid()
            alone = self.rung >= ALONE and self.kind != "compile"  # a compiler starts programs of its own
            if alone:
                syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
            program = self.program
            os.dup2(self.inputs[index], 0)
            os.dup2(pipes[0].write, 1)
            os.dup2(pipes[1].write, 2)
            if steps is not None:
                os.dup2(pipes[2].write, case.RESULT)
            elif program >= 0:
                program = os.dup2(program, case.RESULT, inheritable=False)
            limits.limit_cpu(self.limits)
            if alone:
                self._alone()
            os.write(self.prepared[1], b"p")
            os.closerange(case.RESULT + (steps is not None or program >= 0), 1024)
        except BaseException as error:  # noqa: BLE001  the child must never return into the warden's loop
            os.write(2, f"the sandbox could not prepare a case: {error}\n".encode())
            os._exit(125)
        if work is None:
            case.run_program(program, self.job["arguments"])
        if steps is None:
            case.run_script(work[0])
        case.run_steps(work[0], steps, encoder(), case.giver())

    def _alone(self) -> None:
        try:
            landlock.keep_files()
            seccomp.install(policy.alone_filter(os.getpid()))
        except OSError:
            if self.rung != UNSAFE:
                raise

    def _watch(self, pid: int, pipes: Sequence[Pipe], started: float) -> tuple[str, bool]:
        """Until the case's process ends or goes over a limit: which one, and whether the parent is still there."""
        watched = {pipe.read: pipe for pipe in pipes}
        poller = select.poll()
        for descriptor in watched:
            poller.register(descriptor, select.POLLIN)
        child = os.pidfd_open(pid)
        poller.register(child, select.POLLIN)
        poller.register(self.channel, select.POLLHUP)
        watch_folder = self.rung != NAMESPACES  # there its mount limits both bytes and entries
        try:
            while True:
                left = started + self.limits.seconds - time.monotonic()
                if left <= 0:
                    return "time", True
                if watch_folder and self._folder_full():
                    return "files", True
                events = poller.poll((min(left, _LOOK) if watch_folder else left) * 1000)
                gone = False
                for descriptor, event in events:
                    pipe = watched.get(descriptor)
                    if pipe is None:
                        if descriptor != child:
                            return "parent", False
                        gone = True
                    elif not (event & select.POLLIN and pipe.take()):
                        poller.unregister(descriptor)
                if pipes[0].size + pipes[1].size > self.limits.output:
                    return "output", True
                if len(pipes) > 2 and pipes[2].size > self.limits.output:
                    return "output", True
                if gone:
                    return "", True
        finally:
            os.close(child)

    def _folder_full(self) -> bool:
        if self.rung == NAMESPACES:
            return False
        if self.rung == BUBBLEWRAP:  # its mount limits the bytes, not the entries
            told = os.statvfs(self.box)
            return told.f_files - told.f_ffree > _MOST_ENTRIES
        return folder.size(self.box, most=self.limits.files) > self.limits.files

    def _kill_all(self, pid: int) -> int:
        """End every process of the case and reap it; returns the status of its first one."""
        status, patience = -1, time.monotonic() + 1
        while True:
            try:
                if self.rung < ALONE:
                    os.kill(-1, signal.SIGKILL)  # all of this PID namespace but this process
                else:
                    os.killpg(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
            waiting = os.WNOHANG if self.rung >= ALONE and status != -1 else 0
            try:
                reaped, reaped_status = os.waitpid(pid if status == -1 else -1, waiting)
            except ChildProcessError:
                return status
            if reaped == pid:
                status = reaped_status
            elif not reaped and time.monotonic() > patience:
                return status  # only where nothing holds processes, rung 4: one got away
            elif not reaped:
                time.sleep(0.001)

    def _product(self, status: int) -> bytes:
        """The file that a compiler made, if it did."""
        path = os.path.join(self.box, "program")
        if status != 0 or not os.path.exists(path):
            return b""
        with open(path, "rb") as file:
            return file.read(self.limits.files + 1)


def main(descriptor: int, setting: Mapping[str, Any], box: str) -> NoReturn:
    """Never returns. What fails before `confined` is told to the parent as a fault of the sandbox."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    channel = clear_descriptors(descriptor)
    try:
        Warden(channel, setting, box).run()
    except wire.Broken:
        os._exit(0)  # nobody listens any more
    except BaseException as error:  # noqa: BLE001  whatever it is, it is told, and this process ends
        try:
            wire.write(channel, {"phase": "fault", "reason": f"{type(error).__name__}: {error}"[:2000]})
        except wire.Broken:
            os._exit(0)
        os._exit(1)
