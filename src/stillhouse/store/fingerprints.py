"""Fingerprints of files by size and content, so that a stage knows whether its inputs changed.

In: files and folders. Out: a hash for each file. A hash is remembered with the file's inode, size and times, and used
again while those stay, except for a file so young that a change could hide within one tick of the clock.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path

from stillhouse.store.segments import INDEX, PARQUET, SEGMENT, replaced

_TICK_NS = 2_000_000_000  # coarsest clock of a file system in use


class Fingerprints:
    """A memory of hashes, kept in a file (`keep=False` only reads it)."""

    def __init__(self, path: Path, *, keep: bool = True) -> None:
        self._path, self._keep = path, keep
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            held = {}
        self._held: dict[str, list[object]] = held if isinstance(held, dict) else {}

    def of(self, paths: Iterable[Path]) -> list[list[str]]:
        """[name, `size:hash`] of each file in the order of paths; a folder stands for all files under it.

        Names are relative to the given folder, so that a run may be moved. A missing path is noted as missing, so
        that its appearance changes the fingerprint. Hidden files are left out; of a sealed segment of a journal the
        index stands for the whole, which may be many gigabytes.
        """
        found: list[list[str]] = []
        changed = False
        for path in paths:
            for file in _files(path):
                name = file.name if file == path else str(file.relative_to(path))
                if not file.is_file():
                    found.append([name, "missing"])
                    continue
                value, new = self._one(file)
                found.append([name, value])
                changed |= new
        if self._keep and changed:
            with replaced(self._path) as temporary:
                temporary.write_text(json.dumps(self._held), encoding="utf-8")
        return found

    def _one(self, file: Path) -> tuple[str, bool]:
        now = time.time_ns()
        seen = file.stat()
        name = str(file.resolve())
        identity = [seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns]
        held = self._held.get(name)
        if held is not None and held[:-1] == identity:
            return str(held[-1]), False
        digest = hashlib.blake2b(digest_size=16)
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
        value = f"{seen.st_size}:{digest.hexdigest()}"
        if now - max(seen.st_mtime_ns, seen.st_ctime_ns) > _TICK_NS:
            self._held[name] = [*identity, value]
            return value, True
        return value, False


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(f for f in path.rglob("*") if f.is_file() and not _hidden(f, path))
    indexed = {str(f).removesuffix(INDEX) for f in found if f.name.endswith(INDEX)}
    return [f for f in found if not any(str(f).removesuffix(kind) in indexed for kind in (SEGMENT, PARQUET))]


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)
