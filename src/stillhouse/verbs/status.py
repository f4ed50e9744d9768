"""`stillhouse status RUN`: how far a run is, from its status.json; works while it runs, from another terminal.

In: a run folder. Out: the figures of the progress table, one line a teacher, and the same as JSON.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stillhouse.records import UserMistake
from stillhouse.sitting.gauges import dollars
from stillhouse.store.run import Run


def status(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """status.json as it stands, and lines for people. Raises UserMistake where no run stands."""
    run = Run(folder, read_only=True)
    value = run.status.read()
    if not value and not run.recipe.exists():
        raise UserMistake(f"{folder}: no run stands here; `stillhouse run RECIPE --out {folder}` begins one")
    if not value:
        return {"run": str(folder), "state": "not begun"}, [f"{folder}: not begun"]
    ago = max(0.0, time.time() - float(value.get("updated", 0)))
    stage = f", in {value['stage']}" if value.get("stage") else ""
    lines = [f"{folder}: {value.get('state', 'running')}{stage}, {_span(ago)} ago"]
    lines += [f"  {line}" for line in str(value.get("problem") or "").splitlines()]
    student = value.get("student")
    if student:
        lines.append(
            f"  student {student['student']}: step {student['step']:,} of {student['total_steps']:,}, "
            f"loss {student['loss']:.3f}, {_span(student['seconds_left'])} left"
        )
    evaluates = value.get("stage") == "evaluate"
    rows = value.get("candidates" if evaluates else "teachers", [])
    for row in rows:
        lines += _told(row, evaluates)
    spent = [row["spent_usd"] for row in rows if row.get("spent_usd") is not None]
    if spent:
        budget = value.get("budget_usd")
        lines.append(f"  all: ${sum(spent):,.2f} spent" + (f" of ${budget:,.2f}" if budget is not None else ""))
    return {"run": str(folder), **value}, lines


def _told(row: Mapping[str, Any], evaluates: bool) -> list[str]:
    """One teacher, or candidate: what is known of it, and nothing for what is not."""
    rested = row["queries"] - row["waiting"]
    parts = [f"{rested:,}/{row['queries']:,} {'items answered' if evaluates else 'pairs at rest'}"]
    if not evaluates:
        share = 100 * (row.get("verified_share") or 0)
        parts.append(f"{row['verified'] + row['unverified']:,} verified ({share:.1f} %)")
    if not evaluates and row.get("attempts_per_verified") is not None:
        parts.append(f"{row['attempts_per_verified']:.2f} attempts per verified")
    if row.get("tokens_per_second") is not None:
        parts.append(f"{row['tokens_per_second']:,.0f} tokens/s")
    parts += [f"{row['in_flight']:,} of {row['limit']:,} in flight", f"{row['rate_limited']:,} 429s"]
    parts.append(f"{row['replies']:,} replies and {row['faults']:,} faults in {_span(row['seconds'])}")
    parts += _money(row, evaluates)
    if row.get("eta_seconds"):
        parts.append(f"{_span(row['eta_seconds'])} to go at the pace of the last ten minutes")
    lines = [f"  {row['teacher']}: {'; '.join(parts)}"]
    if row.get("stopped_early"):
        saved = "" if row.get("saved_usd") is None else f", ${row['saved_usd']:,.2f}"
        lines.append(
            f"    {row['stopped_early']:,} replies stopped early, "
            f"which saved at most {row['saved_tokens']:,} tokens{saved}"
        )
    return lines + ([f"    asked no more: {row['dead']}"] if row.get("dead") else [])


def _money(row: Mapping[str, Any], evaluates: bool) -> list[str]:
    if row.get("spent_usd") is None:
        return []
    money = f"${row['spent_usd']:,.2f} spent"
    if row.get("projected_usd") is not None:
        money += f", ${row['projected_usd']:,.2f} expected in all"
    if not evaluates and row.get("cost_per_verified_usd") is not None:
        money += f", {dollars(row['cost_per_verified_usd'])} per verified"
    return [money]


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
