"""The process that forks workers: imports the parts' modules once, never runs a thread, reaps every child.

In: packets `start ID` (with the worker's socket and mark), `kill ID`. Out: packets `exited ID STATUS`.
Why: a fork from here costs a millisecond, and inherits neither threads nor an event loop. When its pool ends it ends,
and its workers end with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import pickle
import resource
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stillhouse.records import Part
from stillhouse.workers.worker import live

PR_SET_PDEATHSIG = 1
GRACE_SECONDS = 1.0
PLAIN = "plain"  # argument: do not import the parts here, because one of them starts threads when imported


def main() -> None:
    """Entry of the process: argv holds the control socket's number, the pool's process id and perhaps PLAIN."""
    control = socket.socket(fileno=int(sys.argv[1]))
    parent = int(sys.argv[2])
    os.dup2(2, 1)
    control.set_inheritable(False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, _ignore)
    settings = pickle.loads(_first_packet(control))  # noqa: S301  from our own parent over a private socket pair
    parts: Mapping[str, Part] = settings["parts"]
    if PLAIN not in sys.argv[3:]:
        _import_parts(parts)
        if _threads() > 1:  # a fork of a process with threads may hang: begin again, and import in each worker
            os.set_inheritable(control.fileno(), True)
            os.execv(sys.executable, [sys.executable, "-c", settings["boot"], *sys.argv[1:3], PLAIN])  # noqa: S606
    gc.collect()
    gc.freeze()
    Nursery(control, parent, settings).run()


def _ignore(*_: object) -> None:
    """A handler instead of SIG_IGN, which programs that a part starts would inherit."""


def _first_packet(control: socket.socket) -> bytes:
    """The settings, left in the socket (MSG_PEEK) so that they can be read again after an exec."""
    data = control.recv(1 << 20, socket.MSG_PEEK)
    if not data:
        os._exit(0)
    return data


def _import_parts(parts: Mapping[str, Part]) -> None:
    for part in parts.values():
        # a part that cannot be imported is told by the worker that builds it, with its reason
        with contextlib.suppress(Exception, SystemExit):
            module = importlib.import_module(part.path.partition(":")[0])
            warm = getattr(module, "warm", None)  # what it loads late, and every worker would load for itself
            if callable(warm):
                warm()


def _threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


class Nursery:
    """Waits for packets and for the deaths of children."""

    def __init__(self, control: socket.socket, parent: int, settings: Mapping[str, Any]) -> None:
        self.control, self.parent, self.settings = control, parent, settings
        self.children: dict[int, str] = {}  # process id -> worker id
        control.recv(1 << 20)  # the settings that were peeked at
        self.wake, wake = os.pipe()
        for end in (self.wake, wake):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, _ignore)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self.waker = wake

    def run(self) -> None:
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(self.wake, select.POLLIN)
        while os.getppid() == self.parent:
            ready = poll.poll(1000)
            if any(fd == self.wake for fd, _ in ready):
                with contextlib.suppress(BlockingIOError):
                    os.read(self.wake, 4096)
            self._reap()
            if any(fd == self.control.fileno() for fd, _ in ready) and not self._obey():
                break
        self._end()

    def _obey(self) -> bool:
        """Read one packet; False when the pool is gone."""
        try:
            data, fds, _, _ = socket.recv_fds(self.control, 4096, 2)
        except OSError:
            return False
        if not data:
            return False
        order, _, worker = data.decode().partition(" ")
        if order == "start":
            self._fork(worker, fds)
        for fd in fds:
            os.close(fd)
        if order == "kill":
            for pid, name in self.children.items():
                if name == worker:
                    _kill_group(pid)
        return True

    def _fork(self, worker: str, fds: list[int]) -> None:
        nursery = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._tell(f"exited {worker} fork: {error.strerror}")
            return
        if pid == 0:
            self._become_worker(nursery, fds)
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        self.children[pid] = worker

    def _become_worker(self, nursery: int, fds: list[int]) -> None:
        status = 1
        try:
            os.setpgid(0, 0)
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != nursery:  # the nursery ended before the death signal was set
                os._exit(1)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for end in (self.wake, self.waker):
                os.close(end)
            self.control.close()
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            with contextlib.suppress(OSError):
                Path("/proc/self/oom_score_adj").write_text("500")  # when memory ends, a worker goes before the run
            for fd in fds:
                os.set_inheritable(fd, False)
            with socket.socket(fileno=fds[0]) as sock:
                live(sock, fds[1], self.settings["parts"], self.settings["memory_mb"], self.settings["canary"])
            status = 0
        except (BrokenPipeError, ConnectionResetError):
            status = 0  # the pool closed its end while we were writing
        except BaseException:  # noqa: BLE001  nothing may return into the nursery's frames
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        for pid in list(self.children):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            _kill_group(pid)  # what the worker started and left; the zombie still holds its number
            _, status = os.waitpid(pid, 0)
            self._tell(f"exited {self.children.pop(pid)} {os.waitstatus_to_exitcode(status)}")

    def _tell(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the pool is gone; the loop will see it
            self.control.send(text.encode())

    def _end(self) -> None:
        """The workers see the end of their sockets too: give them a moment to close their parts."""
        deadline = time.monotonic() + GRACE_SECONDS
        while self.children and time.monotonic() < deadline:
            select.select([self.wake], [], [], 0.05)
            with contextlib.suppress(BlockingIOError):
                os.read(self.wake, 4096)
            self._reap()
        for pid in list(self.children):
            _kill_group(pid)
        for pid in list(self.children):
            os.waitpid(pid, 0)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
