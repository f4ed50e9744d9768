"""`stillhouse status RUN`: how far a run is, from its status.json and its folder; works while it runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from stillhouse.store.run import Run


def status(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """status.json as it stands, and lines for people. Raises UserMistake where no run stands."""
    run = Run(folder, read_only=True)
    value = run.status.read()
    if not value:
        return {"run": str(folder), "state": "not begun"}, [f"{folder}: not begun"]
    ago = max(0.0, time.time() - float(value.get("updated", 0)))
    stage = f", in {value['stage']}" if value.get("stage") else ""
    lines = [f"{folder}: {value.get('state', 'running')}{stage}, {ago:.0f} s ago"]
    lines += [f"  {line}" for line in str(value.get("problem") or "").splitlines()]
    for row in value.get("teachers", []):
        done = row["queries"] - row["waiting"]
        money = "" if row.get("spent_usd") is None else f", ${row['spent_usd']:.2f}"
        lines.append(
            f"  {row['teacher']}: {done}/{row['queries']} pairs at rest, {row['verified']} verified, "
            f"{row['in_flight']} in flight, {row['replies']} replies, {row['faults']} faults{money}"
        )
    return {"run": str(folder), **value}, lines
