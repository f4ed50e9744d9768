"""The house of the forkserver and the room of each answer, made of Linux namespaces.

In: the trees that answers may see; out: the calling process lives in a root of its own that holds only these,
read-only, and each answer's process in namespaces of its own with an empty folder of limited size. Why: what is not
there cannot be read, written, called or killed; an interpreter under a private home stays usable, by bind mount.
"""

# The forkserver stays small, so that forks are cheap: it does without pathlib.
# ruff: noqa: PTH102, PTH103, PTH112, PTH120, PTH123, PTH211

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from stillhouse.sandbox import syscalls
from stillhouse.sandbox.syscalls import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWUTS, mount

BOX = "/box"
_SEALED = syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV
_DEVICES = ("null", "zero", "full", "random", "urandom")
_STAGES = ("/tmp", "/mnt", "/var/tmp", "/run", "/srv", "/media", "/opt", "/home")  # noqa: S108  only mounted over, in a private namespace


def enter_user_namespace() -> None:
    """For an ordinary user: become root of a user namespace that maps nobody else. Raises OSError."""
    uid, gid = os.geteuid(), os.getegid()
    syscalls.unshare(CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("gid_map", f"0 {gid} 1"), ("uid_map", f"0 {uid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def enter_house(trees: Sequence[str], links: Mapping[str, str]) -> None:
    """Move this process into a new root that holds the trees and files named, devices, and nothing else.

    trees: absolute paths without symlinks; links: top-level links to make, as /lib -> usr/lib. Raises OSError where
    mounts are not permitted.
    """
    syscalls.unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)
    mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    root = _stage(trees)
    mount("stillhouse", root, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=755,size=4m")
    for path in sorted(set(trees)):
        _show(path, root)
    for name in _DEVICES:
        _show(f"/dev/{name}", root)
    for path, target in (*links.items(), ("/dev/shm", BOX), ("/tmp", BOX)):  # noqa: S108  a link in the new root
        if not os.path.lexists(root + path):
            os.symlink(target, root + path)
    os.mkdir(root + BOX)
    syscalls.change_root(root)
    mount("none", "/", None, _SEALED)


def _stage(trees: Sequence[str]) -> str:
    """An existing folder to build on, with none of the trees below it."""
    for folder in _STAGES:
        if os.path.isdir(folder) and not any(f"{tree}/".startswith(f"{folder}/") for tree in trees):
            return folder
    raise OSError(2, f"no folder to build a root on among {', '.join(_STAGES)}")


def _show(path: str, root: str) -> None:
    """Put one path of the old root at the same place of the new one."""
    target = root + path
    if os.path.lexists(target) or not os.path.lexists(path):
        return
    os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
    if os.path.isdir(path):
        os.mkdir(target, 0o755)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    if path.startswith("/dev/"):
        mount(path, target, None, syscalls.MS_BIND)
    else:
        syscalls.bind_read_only(path, target)


def enter_room(uid: int, size: int, *, nested: bool) -> None:
    """The namespaces of one answer (its PID namespace came with its fork) and its folder of at most `size` bytes.

    nested: the caller is an ordinary user's namespace; a further one counts this answer's processes apart.
    """
    syscalls.unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV
    mount("box", BOX, "tmpfs", flags, f"mode=700,uid={uid},gid={uid},size={size},nr_inodes=20000")
    if nested:
        syscalls.unshare(CLONE_NEWUSER)
