"""Runs untrusted Python and C++ behind the best isolation that the machine has; knows nothing of queries.

In: source and cases; out: how each case went. `Sandbox` runs, `probe` tells which rungs of the ladder work here
and how to get a better one. The names are loaded at first use, so the small forkserver need not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stillhouse.sandbox.jail import Breaks, Sandbox, SandboxDown
    from stillhouse.sandbox.ladder import Ladder, Rung, probe
    from stillhouse.sandbox.limits import Limits
    from stillhouse.sandbox.outcome import Case, Ran

__all__ = ["Breaks", "Case", "Ladder", "Limits", "Ran", "Rung", "Sandbox", "SandboxDown", "probe"]
_HOMES = {
    "Breaks": "jail", "Sandbox": "jail", "SandboxDown": "jail", "Ladder": "ladder", "Rung": "ladder", "probe": "ladder",
    "Limits": "limits", "Case": "outcome", "Ran": "outcome",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
