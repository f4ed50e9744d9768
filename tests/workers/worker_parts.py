"""Parts that the tests of the pool run in workers: good, slow, greedy, dying and broken ones."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from stillhouse.records import UserMistake


class Good:
    def __init__(self, add: int = 0) -> None:
        self.add = add

    def __call__(self, value: int) -> int:
        return value + self.add

    def canary(self) -> None:
        assert self(1) == 1 + self.add

    def pid(self) -> int:
        return os.getpid()

    def sleep(self, seconds: float) -> int:
        time.sleep(seconds)
        return os.getpid()

    def spin_in_c(self) -> int:
        return len(str(7 ** (7**9)))

    def maybe_sleep(self, value: int, slow: int) -> int:
        if value == slow:
            time.sleep(60)
        return value

    def fail(self, text: str) -> None:
        raise ValueError(text)

    def quit(self) -> None:
        sys.exit(3)

    def die(self, number: int) -> None:
        os.kill(os.getpid(), number)

    def leave(self, status: int) -> None:
        os._exit(status)

    def crash(self) -> None:
        ctypes.string_at(0)

    def eat(self, megabytes: int) -> int:
        return len(bytearray(megabytes << 20))

    def keep(self, megabytes: int) -> int:
        self.kept = [*getattr(self, "kept", []), bytearray(megabytes << 20)]
        return os.getpid()

    def unpicklable(self) -> Any:
        return lambda: None

    def echo(self, data: bytes) -> bytes:
        return data

    def helper(self, note: str, seconds: float) -> int:
        """Leave a child behind that would run for a minute, and go on for some seconds."""
        pid = subprocess.Popen(["sleep", "60"]).pid
        Path(note).write_text(str(pid))
        time.sleep(seconds)
        return pid

    def hash_of(self, text: str) -> int:
        return hash(text)

    def interrupts(self) -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return True

    def once(self, path: str) -> str:
        """Too slow the first time only."""
        if not Path(path).exists():
            Path(path).touch()
            time.sleep(60)
        return "second"


class DeadCanary(Good):
    def canary(self) -> None:
        raise AssertionError("1 + 1 is not 2 here")


class Refuses:
    def __init__(self) -> None:
        raise UserMistake("line 3: no such thing", "line 4: nor this")


class DiesAtStart:
    def __init__(self) -> None:
        os._exit(7)
