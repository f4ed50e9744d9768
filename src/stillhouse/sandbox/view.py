"""What of this machine an answer may see, for an interpreter: folders of libraries, the compiler's, nothing private.

In: the running interpreter (or one that a dropped user can reach); out: absolute paths for mounts and Landlock.
Why: the stages of the ladder hold the same list in different ways.
"""

# Paths here go to mounts and rules as plain strings, links unresolved.
# ruff: noqa: PTH110, PTH114, PTH115, PTH116, PTH120

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from typing import NamedTuple

_LIBRARIES = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/usr/share/zoneinfo")
_FILES = ("/etc/ld.so.cache", "/etc/localtime")
_TOOLS = ("/usr/bin", "/bin", "/usr/include", "/usr/libexec", "/usr/local/include", "/etc/alternatives")
_TOP = ("/lib", "/lib32", "/lib64", "/bin", "/sbin")
_LOADERS = (
    "/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
)  # fmt: skip


class View(NamedTuple):
    """executable: the interpreter; read: what an answer may read; tools: what a compiler may read and run besides;
    site: folders of installed packages; loader: the loader of compiled programs; links: top-level symlinks."""

    executable: str
    read: tuple[str, ...]
    tools: tuple[str, ...]
    site: tuple[str, ...]
    loader: tuple[str, ...]
    links: dict[str, str]

    @property
    def trees(self) -> list[str]:
        return [*self.read, *self.tools, *self.site]


def reachable(path: str) -> bool:
    """May a user without any rights of its own go there and read it?"""
    try:
        real = os.path.realpath(path)
        if not os.stat(real).st_mode & 0o004:
            return False
        while real != "/":
            real = os.path.dirname(real)
            if not os.stat(real).st_mode & 0o001:
                return False
    except OSError:
        return False
    return True


def running(*, packages: bool) -> View:
    """The view for the running interpreter; packages: with what is installed for it."""
    executable = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    folders = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        folders.add(str(sysconfig.get_config_var("LIBDIR")))
    return _view(executable, folders, site.getsitepackages() if packages else [])


def fallback(*, packages: bool) -> View | None:
    """The view for a system interpreter of the same version that anyone can run, None without one."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for executable in (f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        if not (os.path.exists(executable) and reachable(executable)):
            continue
        asked = "import sysconfig as s, json; print(json.dumps([s.get_path(n) for n in ('stdlib', 'platstdlib')]))"
        try:
            told = subprocess.run(  # noqa: S603  a system interpreter by its absolute path
                [executable, "-I", "-c", asked], capture_output=True, timeout=30, check=True
            )
            folders = set(json.loads(told.stdout))
        except (OSError, ValueError, subprocess.SubprocessError):
            continue
        return _view(executable, folders, [p for p in site.getsitepackages() if packages and reachable(p)])
    return None


def _view(executable: str, folders: Iterable[str], packages: Iterable[str]) -> View:
    read = _real([*_LIBRARIES, *_FILES, *folders])
    links = {path: os.readlink(path) for path in _TOP if os.path.islink(path)}
    return View(executable, read, _real(_TOOLS), _real(packages), _real(_LOADERS), links)


def _real(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(os.path.realpath(path) for path in paths if os.path.exists(path)))
