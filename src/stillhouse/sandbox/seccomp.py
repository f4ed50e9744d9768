"""A small assembler for system-call filters, and their installation.

In: a set of plain call names, conditions on the arguments of others; out: a classic BPF program as bytes (the form
that bubblewrap's --seccomp reads too). Why: no dependency, x86_64 and aarch64, and a search tree instead of a
chain, because the kernel runs the program once for every call number when it is attached.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from stillhouse.sandbox import syscalls
from stillhouse.sandbox.syscalls import MACHINE, NUMBERS

KILL, ALLOW, ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
EPERM, EAGAIN, ENOSYS, ENOTTY = 1, 11, 38, 25
_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_LOAD, _JUMP, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x05, 0x15, 0x35, 0x45, 0x06
_HIGHEST_KNOWN = 450  # calls above it are newer than this list: ENOSYS lets a C library fall back on older ones


class When(NamedTuple):
    """Allow a call when the low 32 bits of an argument are one of `values`, have no bit of `without`, or a bit of
    `having`; else the errno `otherwise`."""

    argument: int
    values: Sequence[int] = ()
    without: int = 0
    having: int = 0
    otherwise: int = EPERM


def _instruction(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("<HBBI", code, yes, no, value & 0xFFFFFFFF)


def _condition(number: int, when: When) -> bytes:
    """Instructions for one conditional call: a verdict when the number matches, else fall through."""
    body = _instruction(_LOAD, 16 + 8 * when.argument)
    if when.without:
        body += _instruction(_ANY_BIT, when.without, 1, 0) + _instruction(_RETURN, ALLOW)
    if when.having:
        body += _instruction(_ANY_BIT, when.having, 0, 1) + _instruction(_RETURN, ALLOW)
    for value in when.values:
        body += _instruction(_EQUAL, value, 0, 1) + _instruction(_RETURN, ALLOW)
    body += _instruction(_RETURN, ERRNO | when.otherwise)
    return _instruction(_EQUAL, number, 0, len(body) // 8) + body


def _tree(bounds: Sequence[tuple[int, int]]) -> bytes:
    """A search tree over (first number of a range, verdict), sorted; the accumulator holds the call number."""
    if len(bounds) == 1:
        return _instruction(_RETURN, bounds[0][1])
    middle = len(bounds) // 2
    low, high = _tree(bounds[:middle]), _tree(bounds[middle:])
    if len(low) // 8 <= 255:
        return _instruction(_AT_LEAST, bounds[middle][0], len(low) // 8, 0) + low + high
    skip = _instruction(_AT_LEAST, bounds[middle][0], 0, 1) + _instruction(_JUMP, len(low) // 8)
    return skip + low + high


def assemble(
    allowed: Sequence[str] | None, conditions: Mapping[str, When], denied: Mapping[str, int] | None = None
) -> bytes:
    """The program. allowed: names that pass (None: everything else passes). denied: name -> errno.

    A call of another architecture, or of the x32 interface, kills the process. Names that this machine lacks are
    left out. Raises OSError on a machine that is neither x86_64 nor aarch64.
    """
    if MACHINE not in _ARCHITECTURE:
        raise OSError(ENOSYS, f"no system-call filter for {MACHINE}")
    program = _instruction(_LOAD, 4) + _instruction(_EQUAL, _ARCHITECTURE[MACHINE], 1, 0) + _instruction(_RETURN, KILL)
    program += _instruction(_LOAD, 0)
    if MACHINE == "x86_64":
        program += _instruction(_AT_LEAST, 0x40000000, 0, 1) + _instruction(_RETURN, KILL)
    for name, when in conditions.items():
        if name in NUMBERS:
            program += _condition(NUMBERS[name], when)
    special = {NUMBERS[name]: ERRNO | code for name, code in (denied or {}).items() if name in NUMBERS}
    if allowed is None:
        for number, verdict in special.items():
            program += _instruction(_EQUAL, number, 0, 1) + _instruction(_RETURN, verdict)
        return program + _instruction(_RETURN, ALLOW)
    verdicts = {NUMBERS[name]: ALLOW for name in allowed if name in NUMBERS} | special
    bounds: list[tuple[int, int]] = []
    for number in range(max(_HIGHEST_KNOWN, *verdicts) + 2):
        default = ERRNO | EPERM if number <= _HIGHEST_KNOWN else ERRNO | ENOSYS
        verdict = verdicts.get(number, default)
        if not bounds or bounds[-1][1] != verdict:
            bounds.append((number, verdict))
    return program + _tree(bounds)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install(program: bytes) -> None:
    """Attach for good to this process and all that it starts. Needs no_new_privs or CAP_SYS_ADMIN. Raises OSError."""
    buffer = ctypes.create_string_buffer(program, len(program))
    described = _Program(len(program) // 8, ctypes.addressof(buffer))
    syscalls.prctl(22, 2, ctypes.addressof(described))  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
