"""Keeps a long process small: what allocators and arrow would hold on to for nothing.

In: nothing. Out: memory goes back to the system. Only costs depend on it, never a result.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Sequence

import pyarrow as pa


def hand_back() -> None:
    """Return what was freed. After a step that took hundreds of megabytes for a moment: it costs milliseconds."""
    pa.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)


class _NoPandas:
    """Finds everything but pandas."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def without_pandas() -> None:
    """Keep arrow from importing pandas, which it does at its first conversion where pandas is installed: 50 MB and
    half a second for a library that nothing here uses.

    For our own process, before arrow has converted anything. Who imports pandas afterwards has it, and arrow takes
    notice at the first `to_pandas` or `from_pandas`.
    """
    if "pandas" in sys.modules:
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(finder)
