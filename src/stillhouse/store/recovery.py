"""Mend what a killed writer left in a journal folder.

In: a folder. Out: every segment that nobody writes has its torn tail cut and its index made; empty ones are removed.
The damage that was found is returned, and kept in the indexes.
"""

from __future__ import annotations

import os
from pathlib import Path

from stillhouse.store.frames import Damage
from stillhouse.store.rows import read_index, scan_segment, write_index
from stillhouse.store.segments import PARQUET, SEGMENT, claimed, fsync_folder, remove_abandoned


def recover(folder: Path) -> list[Damage]:
    """Mend all unsealed segments of a folder that no living process writes. Raises OSError."""
    damage: list[Damage] = []
    remove_abandoned(folder)
    for path in sorted(folder.glob(f"*{SEGMENT}")):
        try:
            rows = read_index(path)
            if rows is not None and (rows.source == PARQUET or rows.end == path.stat().st_size):
                continue
            with claimed(path) as ours:
                if ours:
                    damage += _mend(path)
        except FileNotFoundError:  # another process mended or compacted it first
            continue
    return damage


def _mend(path: Path) -> list[Damage]:
    rows = scan_segment(path)
    if not rows.end and not rows.damage:
        path.unlink()
        fsync_folder(path.parent)
        return []
    if not rows.end:  # nothing intact: kept as it is, for whoever wants to look
        rows.end = path.stat().st_size
    else:
        with path.open("r+b") as file:
            file.truncate(rows.end)
            os.fsync(file.fileno())
    write_index(path, rows)
    return rows.damage
