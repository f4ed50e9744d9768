"""Starts the forkserver on a rung of the ladder: its interpreter, its user, its settings, its control socket.

In: a rung and what answers may see; out: a running server process, or NoRung with the reason and what would help.
Why: everything that differs between root and an ordinary user, and between the rungs, is decided in one place.
"""

from __future__ import annotations

import itertools
import json
import marshal
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from stillhouse.sandbox import landlock, limits, namespaces, policy, syscalls, view, warden
from stillhouse.sandbox.view import View

_HERE = Path(__file__).parent
_START_SECONDS = 30.0
_BOOT = """
import json, socket, sys, types
setting = json.loads(sys.argv[1])
for name, path in (("stillhouse", setting["code"] + "/.."), ("stillhouse.sandbox", setting["code"])):
    module = types.ModuleType(name)
    module.__path__ = [path]
    sys.modules[name] = module
from stillhouse.sandbox import server
server.main(setting, socket.socket(fileno=setting["control"]))
"""
_BOOT_IN_BUBBLEWRAP = """
import marshal, os, sys, types
size = os.fstat(21).st_size
setting, codes = marshal.loads(os.pread(21, size, 0))
for name in ("stillhouse", "stillhouse.sandbox"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
for name, code in codes:
    module = types.ModuleType("stillhouse.sandbox." + name)
    sys.modules[module.__name__] = module
    setattr(sys.modules["stillhouse.sandbox"], name, module)
    exec(code, module.__dict__)
import gc
sys.modules["stillhouse.sandbox.case"].prepare()
gc.disable()
gc.freeze()
sys.modules["stillhouse.sandbox.warden"].main(20, setting, "/box")
"""
_servers = itertools.count()
_ENOUGH_USERS = 1000
_INSIDE = (
    "syscalls",
    "seccomp",
    "policy",
    "landlock",
    "limits",
    "wire",
    "plain",
    "folder",
    "procs",
    "case",
    "pipes",
    "warden",
)


class NoRung(Exception):  # noqa: N818  a finding about the machine
    """This rung cannot be had here: the reason, and how to get it."""

    def __init__(self, reason: str, better: str) -> None:
        super().__init__(reason)
        self.reason, self.better = reason, better


class Server:
    """The forkserver's process and its control socket. `setting` is what it was told."""

    def __init__(self, rung: int, *, packages: bool) -> None:
        self.rung, self.better = rung, _BETTER[rung]
        self._kept: list[int] = []
        self._folder = ""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control = ours
        self._errors = os.memfd_create("stillhouse-sandbox-stderr", os.MFD_CLOEXEC)
        try:
            self.setting = self._settings(packages) | {"control": theirs.fileno(), "parent": os.getpid()}
            self._process = subprocess.Popen(  # noqa: S603  our own interpreter and code
                [self.executable, "-S", "-s", "-P", "-B", "-X", "utf8", "-c", _BOOT, json.dumps(self.setting)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._errors, cwd="/",
                pass_fds=[theirs.fileno(), *self._kept], env=dict(limits.ENVIRONMENT),
            )  # fmt: skip
        except BaseException:
            self._release()
            raise
        finally:
            theirs.close()
        try:
            word = self.hear(time.monotonic() + _START_SECONDS)
        except OSError as error:
            word = {"fault": str(error)}
        if "ready" not in word:
            reason = f"{word.get('fault', 'no word')} {self.errors()}".strip()
            self.close()
            raise NoRung(reason, self.better)

    def _settings(self, packages: bool) -> dict[str, Any]:
        rung, root = self.rung, _can_drop()
        if syscalls.MACHINE not in ("x86_64", "aarch64") and rung != warden.UNSAFE:
            raise NoRung(f"no system-call filter for {syscalls.MACHINE}", "an x86_64 or aarch64 machine")
        if rung in (warden.NAMESPACES, warden.ALONE) and not landlock.abi():
            raise NoRung("the kernel has no Landlock, or it is switched off", _LANDLOCK)
        seen = _seen(rung, root, packages)
        self.executable = seen.executable
        setting: dict[str, Any] = {
            "rung": rung, "code": str(_HERE), "trees": seen.trees, "links": seen.links, "read": seen.read,
            "tools": [*seen.tools, *seen.read], "loader": seen.loader, "site": seen.site,
            "nested": not root, "uid": _spare_uid() if root else None, "others": 1,
        }  # fmt: skip
        if rung == warden.BUBBLEWRAP:
            setting |= {"others": 2}
            setting |= self._bubblewrap(seen, setting)
        elif rung >= warden.ALONE:
            self._folder = tempfile.mkdtemp(prefix="stillhouse-")
            Path(self._folder).chmod(0o711)
            setting["folder"] = self._folder
        return setting

    def _bubblewrap(self, seen: View, setting: dict[str, Any]) -> dict[str, Any]:
        program = shutil.which("bwrap")
        if not program:
            raise NoRung("bubblewrap is not installed", "apt-get install bubblewrap")
        codes = [(name, compile((_HERE / f"{name}.py").read_text(), f"{name}.py", "exec")) for name in _INSIDE]
        bundle = syscalls.memory_file("bundle", marshal.dumps((_plain(setting | {"uid": None}), codes)))
        outer = syscalls.memory_file("filter", policy.outer_filter())
        self._kept += [bundle, outer]
        binds = [part for tree in _tops(seen.trees) for part in ("--ro-bind", tree, tree)]
        binds += ["--ro-bind", seen.executable, seen.executable]
        for name in ("null", "zero", "full", "random", "urandom"):
            binds += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
        for path, target in (*seen.links.items(), ("/dev/shm", namespaces.BOX), ("/tmp", namespaces.BOX)):  # noqa: S108  links inside
            if not any(f"{tree}/".startswith(f"{path}/") for tree in seen.trees):  # as of packages installed below /tmp
                binds += ["--symlink", target, path]
        command = [
            program, "--unshare-user", "--unshare-all", "--disable-userns", "--die-with-parent", "--new-session",
            "--as-pid-1", "--cap-drop", "ALL", *binds, "--size", "{files}", "--tmpfs", namespaces.BOX,
            "--remount-ro", "/", "--chdir", namespaces.BOX, "--seccomp", "22",
            "--", seen.executable, "-S", "-s", "-P", "-B", "-X", "utf8", "-c", _BOOT_IN_BUBBLEWRAP,
        ]  # fmt: skip
        return {"bubblewrap": command, "bundle": self._kept}

    def send(self, message: dict[str, Any], descriptor: int) -> None:
        """Hand over a job's socket. Raises OSError when the server is gone."""
        self.control.settimeout(10)
        socket.send_fds(self.control, [json.dumps(message).encode()], [descriptor])

    def end_job(self) -> None:
        """Have the running answer killed."""
        self.control.settimeout(10)
        self.control.send(b'{"end": true}')

    def hear(self, deadline: float) -> dict[str, Any]:
        """The server's next word. Raises OSError when it is gone, TimeoutError after the deadline."""
        self.control.settimeout(max(0.001, deadline - time.monotonic()))
        text = self.control.recv(8192)
        if not text:
            raise ConnectionError("the sandbox's server has ended")
        word: dict[str, Any] = json.loads(text)
        return word

    def errors(self) -> str:
        """What the server wrote to its stderr."""
        size = os.fstat(self._errors).st_size
        return os.pread(self._errors, min(size, 4000), max(0, size - 4000)).decode("utf-8", "replace").strip()

    def close(self) -> None:
        """End the server and with it every answer."""
        self.control.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._release()

    def forget(self) -> None:
        """In a forked child: let go of descriptors without ending the parent's server."""
        self.control.close()
        self._process.returncode = 0  # not our child: nothing to wait for
        os.close(self._errors)

    def _release(self) -> None:
        self.control.close()
        for descriptor in (*self._kept, self._errors):
            os.close(descriptor)
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


_LANDLOCK = "a kernel of 5.13 or newer with `landlock` in its lsm= list"
_BETTER = {
    warden.NAMESPACES: "run as root with CAP_SYS_ADMIN, or allow user namespaces "
    "(sysctl user.max_user_namespaces > 0, kernel.unprivileged_userns_clone=1, "
    "kernel.apparmor_restrict_unprivileged_userns=0; in a container: an unmasked seccomp profile)",
    warden.BUBBLEWRAP: "install bubblewrap 0.8 or newer, and allow it user namespaces",
    warden.ALONE: _LANDLOCK,
    warden.UNSAFE: "",
}


def _seen(rung: int, root: bool, packages: bool) -> View:
    """The view of a rung; a dropped user must be able to reach the interpreter unless a mount brings it."""
    seen = view.running(packages=packages)
    if not root or rung == warden.NAMESPACES:
        return seen
    if all(view.reachable(path) for path in (seen.executable, *seen.read)):
        return seen._replace(site=tuple(path for path in seen.site if view.reachable(path)))
    other = view.fallback(packages=packages)
    if other is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise NoRung(
            f"{seen.executable} lies under a folder that only its owner may enter, and rung {rung} runs answers as"
            " another user",
            f"an interpreter in a place that everyone may enter, as /usr/bin/python{version}",
        )
    return other


def _mapped() -> list[tuple[int, int]]:
    """The ranges of user ids that exist here: first and count."""
    lines = Path("/proc/self/uid_map").read_text().splitlines()
    return [(int(line.split()[0]), int(line.split()[2])) for line in lines]


def _can_drop() -> bool:
    """Root with other users to become; root of a namespace that maps nobody else is an ordinary user here."""
    return os.geteuid() == 0 and max(count for _, count in _mapped()) >= _ENOUGH_USERS


def _spare_uid() -> int:
    """A user id that is nobody's and this server's alone on this machine, inside what the namespace maps.

    The process id and a count make it unique among living servers: limits on processes count per user.
    """
    start, count = max(_mapped(), key=lambda extent: extent[1])
    serial = os.getpid() % (1 << 22) * 16 + next(_servers) % 16
    if start + count > 1_900_000_000 + (1 << 26):
        return 1_900_000_000 + serial
    room = max(1, min(4096, count // 4))
    return start + count - 2 - serial % room


def _tops(trees: list[str]) -> list[str]:
    """Trees that are not inside another."""
    kept: list[str] = []
    for tree in sorted(set(trees)):
        if not any(tree.startswith(f"{other}/") for other in kept):
            kept.append(tree)
    return kept


def _plain(setting: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in setting.items()}
