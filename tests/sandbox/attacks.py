"""`python -m tests.sandbox.attacks [RUNG ...]`: every attack and cheat, for real, and what stopped it, per rung.

In: the rungs to try (all that this machine has); out: a table, exit code 1 when something escaped. It enters mount,
PID, network and IPC namespaces of its own, with a private /tmp and /proc, before anything runs, and refuses to run
without them: nothing here can mount, kill or fork outside.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from tests.sandbox.attack_programs import PRELUDE, Attack, attacks, cheats

from stillhouse.records import Message, Query, Response
from stillhouse.sandbox import Case, Limits, Ran, Sandbox, SandboxDown, syscalls
from stillhouse.sandbox.jail import Breaks
from stillhouse.verifiers.code import Code

LIMITS, PATIENT = Limits(seconds=2.0), Limits(seconds=30.0)  # of attacks, and of what must run well after them
_SECRET = secrets.token_hex(16)
_HELD = {"EPERM": "seccomp", "ENOSYS": "seccomp", "gaierror": "seccomp", "EACCES": "Landlock",
         "EBADF": "nothing inherited", "EROFS": "read-only mount"}  # fmt: skip
_SPACES = {"ENOENT": "not in its root", "ESRCH": "PID namespace", "ECHILD": "PID namespace", "EAGAIN": "process limit"}
_ALONE = {"ENOENT": "not there", "ESRCH": "not its process", "ECHILD": "seccomp, no processes",
          "EAGAIN": "seccomp, no processes"}  # fmt: skip
_CHEATED = {"got": "compared outside", "NotPlain": "not a plain value", "cannot be read": "not a plain value",
            "collide": "not a plain value", "left before": "no result at its end", "limit": "its limits"}  # fmt: skip
_BY = {1: _HELD | _SPACES, 2: _HELD | _SPACES, 3: _HELD | _ALONE}


def enter_private_namespace() -> None:
    """Go on as process 1 of namespaces with nothing of the machine to harm. Exits with 2 where that is refused."""
    flags = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNET | syscalls.CLONE_NEWIPC
    try:
        if os.geteuid() != 0:
            uid, gid = os.geteuid(), os.getegid()
            syscalls.unshare(syscalls.CLONE_NEWUSER)
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        syscalls.unshare(flags)
    except OSError as error:
        print(f"attacks run only in a private namespace, and this machine refuses one: {error}")
        sys.exit(2)
    pid = os.fork()
    if pid:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: os.kill(pid, signal.SIGKILL))
        os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getpid() != 1:
        print("not process 1 of a PID namespace of its own: nothing is run")
        sys.exit(2)
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    _private_tmp()
    syscalls.mount("proc", "/proc", "proc", 0)
    _raise_loopback()


def _private_tmp() -> None:
    """An empty /tmp, but for this checkout and its environment where they stand below it."""
    own = {os.path.realpath(folder) for folder in (Path(__file__).parents[2], sys.prefix, sys.base_prefix)}
    kept = {folder: os.open(folder, os.O_PATH) for folder in sorted(own) if folder.startswith("/tmp/")}
    syscalls.mount("private", "/tmp", "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "size=1g")
    for folder, descriptor in kept.items():
        if not Path(folder).is_dir():  # an environment within the checkout is there with it
            Path(folder).mkdir(parents=True)
            syscalls.mount(f"/proc/self/fd/{descriptor}", folder, None, syscalls.MS_BIND | syscalls.MS_REC)
        os.close(descriptor)


def _raise_loopback() -> None:
    import fcntl
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP


class World:
    """What an attack must not touch: a secret file, listeners, a victim, the folders, the list of processes."""

    def __init__(self) -> None:
        folder = Path("/tmp/private")
        folder.mkdir(mode=0o755)
        self.file = folder / "secret"
        self.file.write_text(_SECRET)
        os.environ["SECRET_KEY"] = _SECRET
        self.reached: list[str] = []
        self.port = self._listen(socket.socket(socket.AF_INET), ("127.0.0.1", 0), "loopback")
        self._listen(socket.socket(socket.AF_UNIX), "/tmp/private/socket", "a socket in a file")
        self._listen(socket.socket(socket.AF_UNIX), "\0stillhouse-attack", "an abstract socket")
        (folder / "socket").chmod(0o777)
        self.victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1e6)"])
        self.files = self._listing()

    def _listen(self, listener: socket.socket, address: object, name: str) -> int:
        listener.bind(address)
        listener.listen()

        def accept() -> None:
            while True:
                listener.accept()
                self.reached.append(name)

        threading.Thread(target=accept, daemon=True).start()
        bound = listener.getsockname()
        return bound[1] if isinstance(bound, tuple) else 0

    @staticmethod
    def _listing() -> list[str]:
        places = ("/", "/etc", "/usr/lib", "/var/tmp", "/tmp/private", "/dev", "/home", "/root")
        return sorted(f"{p}/{n}" for p in places if os.access(p, os.R_OK) for n in _names(p))

    def processes(self) -> set[int]:
        return {int(name) for name in _names("/proc") if name.isdigit()}

    def harmed(self, before: set[int]) -> str:
        """What has changed, or nothing. A killed process may take a moment to go."""
        if self.file.read_text() != _SECRET:
            return "the secret was changed"
        if self.victim.poll() is not None:
            return "the victim was killed"
        if self.reached:
            return f"{self.reached.pop()} was reached"
        if self._listing() != self.files:
            return f"files appeared: {set(self._listing()) ^ set(self.files)}"
        deadline = time.monotonic() + 3
        while self.processes() - before:
            if time.monotonic() > deadline:
                return f"processes are left: {self.processes() - before}"
            time.sleep(0.02)
        return ""


def _names(folder: str) -> list[str]:
    return [path.name for path in Path(folder).iterdir()]


def outcome(attack: Attack, ran: Ran, rung: int) -> tuple[bool, str]:
    """Was it stopped, and by what."""
    said = (ran.stdout + ran.stderr).decode("utf-8", "replace")
    if "ESCAPED" in said:
        return False, next(line for line in said.splitlines() if "ESCAPED" in line)
    if _SECRET in said:
        return False, "the secret was printed"
    if ran.outcome == "limit":
        allowed = ran.limit in (*attack.limits, "time") or not attack.limits  # on a busy machine the clock may be first
        return allowed, f"{ran.limit} limit"
    if "does not compile" in ran.reason:
        return True, "compiler, in its own jail"
    if "Too many open files" in ran.reason:
        return True, "descriptor limit"
    words = [word for line in said.splitlines() if line.startswith("held") for word in line.split()]
    words += [errno.errorcode.get(int(number), "") for number in re.findall(r"\[Errno (\d+)\]", ran.reason)]
    by = list(dict.fromkeys(_BY[rung][word] for word in words if word in _BY[rung]))
    if by:
        return True, ", ".join(by)
    if ran.outcome == "error":
        signals = {"SIGSYS": "seccomp", "SIGSEGV": "its own crash", "SIGABRT": "its own abort"}
        return True, next((how for name, how in signals.items() if name in ran.reason), ran.reason[:60])
    return False, f"unclear: {ran.outcome} {ran.reason} {said[-200:]!r}"


def run_attacks(sandbox: Sandbox, world: World, rung: int) -> Iterator[tuple[str, bool, str]]:
    for attack in attacks():
        before = world.processes()
        program = attack.program.replace("PORT", str(world.port)).replace("VICTIM", str(world.victim.pid))
        try:
            if attack.language == "python":
                (ran,) = sandbox.python(PRELUDE + program, [Case(b"input\n")])
            else:
                (ran,) = sandbox.cpp(program, [Case(b"input\n")])
            stopped, how = outcome(attack, ran, rung)
        except Breaks as broken:
            stopped, how = True, f"its jail ended: {str(broken)[:40]}"
        harm = world.harmed(before)
        if harm:
            stopped, how = False, harm
        (after,) = sandbox.python("print(6 * 7)", [Case()], limits=PATIENT)
        if after.stdout != b"42\n":
            stopped, how = False, f"the next answer does not run: {after}"
        yield attack.name, stopped, how


def run_pairs(sandbox: Sandbox, rung: int) -> Iterator[tuple[str, bool, str]]:
    """What one answer or case leaves for the next one."""
    leave = """
import os, time
open('left', 'w').write('x')
os.mkdir('d')
try:
    pid = os.fork()
except OSError:
    pid = 1
if pid == 0:
    time.sleep(99)
"""
    look = "import os\nprint(sorted(os.listdir('.')))\n"
    first, second = sandbox.python(leave + look, [Case(), Case()], limits=PATIENT)
    fresh = sandbox.python(look, [Case()], limits=PATIENT)[0]
    yield "leave files for the next case", second.stdout == first.stdout, "folder emptied"
    how = "folder of its own" if rung < 3 else "folder emptied"
    yield "leave files for the next answer", fresh.stdout == b"[]\n", how
    kill = "import os\ntry:\n    os.kill(-1, 9)\nexcept OSError:\n    pass\nprint(1)"
    ran = sandbox.python(kill, [Case(), Case()])
    yield "kill the other cases of the answer", len(ran) == 2 and ran[1].limit in (None, "memory"), "one case at a time"


def run_cheats(rung: int) -> Iterator[tuple[str, bool, str]]:
    verifier = Code(rung=rung, python_timeout=2.0)
    test_case = {"call_type": "assert", "fn_name": "secret", "assert_case": ["assert secret() == 'the-expected-value'"]}
    query = Query((Message("user", "q"),), "code", test_case=test_case)
    try:
        for cheat in cheats():
            verdict = verifier(query, Response("k", "q", "t", f"```python\n{cheat.program}\n```"))
            how = next((told for mark, told in _CHEATED.items() if mark in verdict.reason), verdict.reason[8:60])
            yield f"cheat: {cheat.name}", verdict.outcome == "fail", how
    finally:
        verifier.close()


@contextmanager
def _sandbox(rung: int) -> Iterator[Sandbox | None]:
    sandbox = Sandbox(rung=rung, limits=LIMITS, compiling=Limits(seconds=10.0, memory=2 << 30))
    try:
        sandbox.rung  # noqa: B018  starts it
        yield sandbox
    except SandboxDown as down:
        print(f"rung {rung} is not to be had here: {down}")
        yield None
    finally:
        sandbox.close()


def main(rungs: list[int]) -> NoReturn:
    enter_private_namespace()
    world = World()
    table: dict[str, dict[int, tuple[bool, str]]] = {}
    for rung in rungs:
        with _sandbox(rung) as sandbox:
            if sandbox is None:
                continue
            for rows in (run_attacks(sandbox, world, rung), run_pairs(sandbox, rung), run_cheats(rung)):
                for name, stopped, how in rows:
                    table.setdefault(name, {})[rung] = (stopped, how)
    shown = [rung for rung in rungs if any(rung in row for row in table.values())]
    print("| attack | " + " | ".join(f"rung {rung}: stopped by" for rung in shown) + " |")
    print("|---|" + "---|" * len(shown))
    escaped = 0
    for name, row in table.items():
        cells = [("" if row[r][0] else "ESCAPED: ") + row[r][1].replace("|", "/") if r in row else "" for r in shown]
        escaped += sum(not row[r][0] for r in row)
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(f"{len(table)} attacks on {len(shown)} rungs, {escaped} escaped")
    sys.stdout.flush()
    os._exit(1 if escaped or not shown else 0)


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]] or [1, 2, 3])
