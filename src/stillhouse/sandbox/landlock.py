"""Landlock rules by raw system calls: which files a process may read, write and execute, and no TCP.

In: folders and files by right; out: a restriction of this process and its children for good. Why: it needs no
privilege, and holds where namespaces are missing. The kernel's ABI decides which rights can be handled.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

from stillhouse.sandbox import syscalls

_EXECUTE, _WRITE, _READ, _READ_FOLDER = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_FILE, _TRUNCATE, _IOCTL_DEVICE = 1 << 5, 1 << 14, 1 << 15
_RIGHTS_OF_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_DEVICES = 1 << 6 | 1 << 11  # making character and block devices is never granted
_ON_FILES = _EXECUTE | _WRITE | _READ | _TRUNCATE | _IOCTL_DEVICE


def abi() -> int:
    """Version of the kernel's Landlock, 0 where it is missing or switched off."""
    try:
        return syscalls.call("landlock_create_ruleset", None, 0, 1)
    except OSError:
        return 0


def keep_files() -> None:
    """Deny the removal of files from now on: what is deleted while it is open could not be counted any more."""
    rights = ctypes.create_string_buffer(struct.pack("<Q", _REMOVE_FILE), 8)
    ruleset = syscalls.call("landlock_create_ruleset", rights, 8, 0)
    try:
        syscalls.call("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


def _ruleset(version: int) -> tuple[int, int]:
    handled = _RIGHTS_OF_ABI.get(version, (1 << 16) - 1)
    attributes = struct.pack("<Q", handled)
    if version >= 4:
        attributes += struct.pack("<Q", 3)  # binding and connecting TCP
    if version >= 6:
        attributes += struct.pack("<Q", 3)  # abstract sockets and signals stay inside
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return syscalls.call("landlock_create_ruleset", buffer, len(attributes), 0), handled


def restrict(*, read: Iterable[str], execute: Iterable[str] = (), write: Iterable[str] = ()) -> int:
    """Allow only these trees or files; paths that do not exist are left out. Returns the ABI. Raises OSError.

    write gives everything but execution and devices; execute gives reading as well.
    """
    version = abi()
    if version < 1:
        raise OSError(38, "this kernel has no Landlock")
    ruleset, handled = _ruleset(version)
    try:
        for paths, rights in (
            (read, _READ | _READ_FOLDER),
            (execute, _EXECUTE | _READ | _READ_FOLDER),
            (write, handled & ~_EXECUTE & ~_DEVICES),
        ):
            for path in paths:
                _allow(ruleset, path, rights & handled)
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
        syscalls.call("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _ON_FILES
        rule = ctypes.create_string_buffer(struct.pack("<Qi", rights, descriptor), 12)
        syscalls.call("landlock_add_rule", ruleset, 1, rule, 0)
    finally:
        os.close(descriptor)
