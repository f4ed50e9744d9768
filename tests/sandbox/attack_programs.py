"""The attacks and cheats of attacks.txt: sections `### name | language | limits` followed by a program.

In: the file; out: attacks() and cheats(). A program says `ESCAPED` when it gets what it wants, and `held` with the
error when not; a limit ends the others. They are run only by attacks.py, inside a private namespace.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

PRELUDE = """
import ctypes, errno, os, signal, socket, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

def held(what, error):
    print("held", what, errno.errorcode.get(getattr(error, "errno", None) or 0, type(error).__name__), flush=True)

def attempt(what, action, *arguments):
    try:
        result = action(*arguments)
    except BaseException as error:
        held(what, error)
        return None
    print("ESCAPED", what, repr(result)[:80], flush=True)
    return result

def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if result < 0:
        raise OSError(ctypes.get_errno(), "call")
    return result
"""


class Attack(NamedTuple):
    """language: python (run after PRELUDE), cpp, or cheat (an answer to `assert secret() == "..."` that must not
    pass). limits: which of them may end it; none: it must say `held`, or end with an error."""

    name: str
    language: str
    limits: tuple[str, ...]
    program: str


def read() -> list[Attack]:
    found = []
    for section in (Path(__file__).parent / "attacks.txt").read_text().split("### ")[1:]:
        head, _, program = section.partition("\n")
        name, language, limits = (part.strip() for part in head.split("|"))
        found.append(Attack(name, language, tuple(limits.split()), program))
    return found


def attacks() -> list[Attack]:
    return [attack for attack in read() if attack.language != "cheat"]


def cheats() -> list[Attack]:
    return [attack for attack in read() if attack.language == "cheat"]
