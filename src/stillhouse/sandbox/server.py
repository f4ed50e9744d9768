"""The forkserver: a small trusted process that forks a warden for each answer and watches its memory.

In: over a control socket, a job's own socket (SCM_RIGHTS) and its limits; out: word of the warden's end. Why: a
fork of a small process costs a millisecond, a new interpreter ten; it holds the rights that make namespaces, and
never reads what answers write. It ends when its parent does, and every warden ends with it.
"""

# The forkserver stays small, so that forks are cheap: it does without pathlib.
# ruff: noqa: PTH102, PTH106, PTH110

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
import warnings
from collections.abc import Mapping
from typing import Any, NoReturn

from stillhouse.sandbox import case, folder, limits, namespaces, policy, procs, syscalls, warden

_LOOK = 0.05  # seconds between looks at the memory of a running answer
# what nearly every answer imports; not threading or random, whose hooks after each fork cost as much as the fork
_PRELOADED = (
    "array", "bisect", "collections", "copy", "functools", "heapq", "io", "itertools", "math", "operator", "re",
    "string", "typing",
)  # fmt: skip


class Server:
    """setting: rung, parent (pid), trees, links, read, tools, loader, site, nested, uid, others, folder, bubblewrap."""

    def __init__(self, setting: Mapping[str, Any], control: socket.socket) -> None:
        self.setting, self.control, self.rung = setting, control, int(setting["rung"])
        self.proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.parent = os.pidfd_open(setting["parent"])
        self.own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self.serial = 0

    def run(self) -> NoReturn:
        if self.rung == warden.NAMESPACES:
            if self.setting["nested"]:
                namespaces.enter_user_namespace()
            namespaces.enter_house(self.setting["trees"], self.setting["links"])
        sys.path[:] = [os.path.realpath(path) for path in sys.path if os.path.exists(path)]
        importlib.invalidate_caches()
        if self.rung != warden.BUBBLEWRAP:
            case.prepare()
            for name in _PRELOADED:
                importlib.import_module(name)
        alone = self.rung >= warden.ALONE
        policy.answer_filter(execute=False, alone=alone, foreign=alone and self.setting["uid"] is None)  # remembered
        gc.collect()
        gc.disable()
        gc.freeze()
        self._say({"ready": os.getpid()})
        while True:
            self._serve()

    def _say(self, message: Mapping[str, Any]) -> None:
        self.control.send(json.dumps(message).encode())

    def _serve(self) -> None:
        """One job: wait for it, fork, watch, tell its end."""
        events = self._wait({self.control.fileno(), self.parent}, None)
        if self.parent in events:
            os._exit(0)
        text, descriptors, _, _ = socket.recv_fds(self.control, 4096, 1)
        if not text:
            os._exit(0)
        message = json.loads(text)
        if not descriptors:  # a late word to end a job that has ended
            return
        self.serial += 1
        box = self._make_box()
        pid = self._fork(descriptors[0], box, int(message["files"]))
        os.close(descriptors[0])
        over, status = self._watch(pid, int(message["memory"]))
        if self.rung >= warden.ALONE:
            folder.empty(box)
            os.rmdir(box)
        self._say({"gone": status, "over_memory": over, "serial": message["serial"]})

    def _wait(self, descriptors: set[int], seconds: float | None) -> set[int]:
        poller = select.poll()
        for descriptor in descriptors:
            poller.register(descriptor, select.POLLIN)
        return {descriptor for descriptor, _ in poller.poll(None if seconds is None else seconds * 1000)}

    def _make_box(self) -> str:
        if self.rung < warden.ALONE:
            return namespaces.BOX
        box = f"{self.setting['folder']}/box-{self.serial}"
        os.mkdir(box, 0o700)
        if self.setting["uid"] is not None:
            os.chown(box, self.setting["uid"], self.setting["uid"])
        return box

    def _fork(self, descriptor: int, box: str, files: int) -> int:
        namespaced, nested = self.rung == warden.NAMESPACES, self.setting["nested"]
        if namespaced and not nested:
            syscalls.unshare(syscalls.CLONE_NEWPID)
        pid = os.fork()
        if pid:
            if namespaced and not nested:
                syscalls.setns(self.own_pids, syscalls.CLONE_NEWPID)
            return pid
        try:
            if self.rung == warden.BUBBLEWRAP:
                self._become_bubblewrap(descriptor, files)
            if namespaced:
                if nested:
                    self._stand_between(descriptor)
                namespaces.enter_room(self.setting["uid"] or 0, files, nested=nested)
            warden.main(descriptor, self.setting, box)
        except BaseException as error:  # noqa: BLE001  a child must never return into the server's loop
            os.write(2, f"stillhouse sandbox: cannot make a room: {error}\n".encode())
            os._exit(1)

    def _stand_between(self, descriptor: int) -> None:
        """An ordinary user cannot come back from a new PID namespace, so a process between enters it; the child
        goes on as its first process, the one between waits and ends with it or with the server."""
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        syscalls.unshare(syscalls.CLONE_NEWPID)
        pid = os.fork()
        if pid:
            os.close(descriptor)
            os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF)
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)

    def _become_bubblewrap(self, descriptor: int, files: int) -> NoReturn:
        uid = self.setting["uid"]
        # opened anew: bubblewrap reads the filter to its end, and an offset would be shared with the next job
        kept = [os.dup(descriptor), *(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY) for fd in self.setting["bundle"])]
        if uid is not None:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        names = {"{channel}": 20, "{bundle}": 21, "{filter}": 22}
        for target, source in zip(names.values(), kept, strict=True):
            os.dup2(source, target)
        for source in [self.control.fileno(), self.proc, self.parent, self.own_pids, descriptor, *kept]:
            if source not in names.values():
                os.close(source)
        command = [each.replace("{files}", str(files)) for each in self.setting["bubblewrap"]]
        os.execve(command[0], command, dict(limits.ENVIRONMENT))  # noqa: S606  bubblewrap by its absolute path, without a shell

    def _watch(self, pid: int, memory: int) -> tuple[bool, int]:
        """Until the warden ends: kills cases over the memory of all their processes; ends it when told to."""
        child = os.pidfd_open(pid)
        over, first = False, time.monotonic() + _LOOK
        try:
            while True:
                events = self._wait({child, self.control.fileno(), self.parent}, _LOOK)
                if child in events:
                    return over, os.waitpid(pid, 0)[1]
                if self.parent in events:
                    self._end(pid)
                    os._exit(0)
                if self.control.fileno() in events:
                    text = self.control.recv(4096)
                    self._end(pid)
                    if not text:
                        os._exit(0)
                elif time.monotonic() > first:
                    over = procs.kill_over(self.proc, self._warden_of(pid), memory) or over
        finally:
            os.close(child)

    def _warden_of(self, pid: int) -> int:
        """Where a process stands between, its only child is the warden."""
        if self.rung != warden.BUBBLEWRAP and not (self.rung == warden.NAMESPACES and self.setting["nested"]):
            return pid
        below = procs.children(self.proc, pid)
        return below[0] if below else pid

    def _end(self, pid: int) -> None:
        for each in (self._warden_of(pid), pid):
            try:
                os.kill(each, signal.SIGKILL)
            except ProcessLookupError:
                continue


def main(setting: Mapping[str, Any], control: socket.socket) -> NoReturn:
    """Never returns; a failure to start is told on the control socket."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN if number in (signal.SIGINT, signal.SIGHUP) else signal.SIG_DFL)
    warnings.simplefilter("ignore")
    limits.lift()
    try:
        Server(setting, control).run()
    except BaseException as error:  # noqa: BLE001  whatever it is, the parent is told
        try:
            control.send(json.dumps({"fault": f"{type(error).__name__}: {error}"[:2000]}).encode())
        except OSError:
            os._exit(1)
        os._exit(1)
