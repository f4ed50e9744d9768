"""Starts the nursery process and speaks with it: our end of its control socket.

In: the parts, limits. Out: orders to start and kill workers, and the deaths it tells of. The child is a fresh
interpreter with our module path, so it inherits no thread, no event loop and no lock.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from stillhouse.records import Part

CLOSE_SECONDS = 5.0
# one thread a worker, and the same order of sets in each: a verdict must not depend on who gave it
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
}


class Nursery:
    """Our end. `closed` after close(), `gone` when it ended by itself."""

    def __init__(self, parts: Mapping[str, Part], *, memory_mb: int, canary: bool) -> None:
        path = [str(Path(entry or ".").absolute()) for entry in sys.path]
        boot = f"import sys; sys.path[:] = {path!r}; from stillhouse.workers.nursery import main; main()"
        settings = {"parts": dict(parts), "memory_mb": memory_mb, "canary": canary, "boot": boot}
        packet = pickle.dumps(settings, protocol=5)
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.gone = self.closed = False
        with theirs:
            try:
                self.control.send(packet)
                self.process = subprocess.Popen(  # noqa: S603  our own interpreter, our own text
                    [sys.executable, "-c", boot, str(theirs.fileno()), str(os.getpid())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, **ENVIRONMENT},
                    start_new_session=True,
                )
            except BaseException:
                self.control.close()
                raise
        self.control.setblocking(False)

    def start(self, worker: str, sock: int, mark: int) -> None:
        self._order(f"start {worker}", [sock, mark])

    def kill(self, worker: str) -> None:
        self._order(f"kill {worker}", [])

    def _order(self, text: str, fds: list[int]) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # deaths() will find out
            self.control.setblocking(True)
            try:
                socket.send_fds(self.control, [text.encode()], fds)
            finally:
                self.control.setblocking(False)

    def deaths(self) -> Iterator[tuple[str, str]]:
        """Workers that ended since the last call, each with its exit status (negative: the signal)."""
        while True:
            try:
                data = self.control.recv(4096)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.gone = True
                return
            _, worker, status = data.decode().split(" ", 2)
            yield worker, status

    def close(self) -> None:
        """End it and its workers, and wait until all are reaped."""
        if self.closed:
            return
        self.closed = True
        self.control.close()
        try:
            self.process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()  # its workers die with it (PR_SET_PDEATHSIG)
            self.process.wait()
