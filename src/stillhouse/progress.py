"""What a run tells while it runs: a live table on a terminal, plain lines elsewhere, nothing when quiet.

In: the distill stage's progress rows, counts of stages, report.json. Out: text on standard output.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stillhouse.sitting.gauges import Progress, dollars

Watch = Callable[[Sequence[Progress]], None]
LINE_SECONDS = 10.0
WIDE = 200  # a table of figures is wrapped by a narrow terminal, but its names are never cut


class Teller:
    """quiet: say nothing, for `--json`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.console = Console(file=sys.stdout, soft_wrap=True, highlight=False)

    def say(self, text: str) -> None:
        if not self.quiet:
            self.console.print(Text(text))

    def stage(self, name: str, counts: Mapping[str, Any], seconds: float | None) -> None:
        """One line a stage: its counts, and the time or that it stood already."""
        what = _scalars(counts, zero=True)
        self.say(f"{name:8} {'unchanged' if seconds is None else f'{seconds:.1f} s':>9}  {what}".rstrip())
        for key, inner in counts.items():
            if isinstance(inner, dict) and (told := _scalars(inner)):
                rules = _scalars(inner["rules"]) if isinstance(inner.get("rules"), dict) else ""
                self.say(f"{'':18}  {key}: {told}" + (f" (by {rules})" if rules else ""))

    @contextlib.contextmanager
    def live(self, stage: str = "distill") -> Iterator[Watch | None]:
        """A callback for the loop's progress, drawn until the block ends."""
        if self.quiet:
            yield None
            return
        if self.console.is_terminal:
            with Live(console=self.console, refresh_per_second=4, transient=True) as live:
                yield lambda rows: live.update(_table(rows, stage))
            return
        last = 0.0

        def lines(rows: Sequence[Progress]) -> None:
            nonlocal last
            if time.monotonic() - last >= LINE_SECONDS:
                last = time.monotonic()
                for row in rows:
                    figures = cells(row, stage).items()
                    self.say(f"{stage:8} " + ", ".join(f"{name} {cell}" for name, cell in figures if cell != "-"))

        yield lines

    def pace(self) -> Callable[[str], None]:
        """Says a line at most every ten seconds: for what goes on for long."""
        last = time.monotonic()

        def line(text: str) -> None:
            nonlocal last
            if time.monotonic() - last >= LINE_SECONDS:
                last = time.monotonic()
                self.say(text)

        return line

    def decision(self, report: Path) -> tuple[dict[str, Any], list[str]]:
        """The decision of report.json, and the lines that end a run: its sentence, and the table of teachers."""
        made = json.loads(report.read_text(encoding="utf-8"))
        table = Table(box=None, pad_edge=False)
        waits = any(facts.get("waiting") for facts in made["teachers"].values())
        figures = [(head, path) for head, path in _FIGURES if waits or head != "waiting"]
        for column, right in (("teacher", False), *((name, True) for name, _ in figures)):
            table.add_column(column, justify="right" if right else "left")
        for name, facts in made["teachers"].items():
            table.add_row(Text(name), *(_figure(facts, path) for _, path in figures))
        wide = Console(width=WIDE, highlight=False)
        with wide.capture() as caught:
            wide.print(table)
        lines = ["", *caught.get().rstrip().splitlines(), "", made["decision"]["sentence"]]
        return made["decision"], lines


def _scalars(counts: Mapping[str, Any], *, zero: bool = False) -> str:
    """The plain numbers and words among counts, without those that are nothing."""
    shown = {k: v for k, v in counts.items() if isinstance(v, int | float | str) and (v or zero)}
    return ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in shown.items())


_FIGURES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("queries", ("queries",)),
    ("verified", ("verified",)),
    ("waiting", ("waiting",)),
    ("yield", ("verified_yield",)),
    ("pass@1", ("pass_at_1",)),
    ("kept", ("kept",)),
    ("mean tokens", ("tokens", "mean")),
    ("$/verified", ("cost_per_verified_usd",)),
)


def _figure(facts: Mapping[str, Any], path: tuple[str, ...]) -> str:
    value: Any = facts
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        return "-"
    if path[0] in ("verified_yield", "pass_at_1"):
        return f"{100 * value:.1f} %"
    if path[0] == "cost_per_verified_usd":
        return dollars(value)
    return f"{value:,.0f}" if isinstance(value, float) else f"{value:,}"


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def cells(row: Progress, stage: str = "distill") -> dict[str, str]:
    """The figures of one teacher, or of a candidate of evaluate, by their heads; `-` for what is not known."""
    eta = "done" if row.eta_seconds == 0 else "-" if row.eta_seconds is None else _span(row.eta_seconds)
    if stage == "evaluate":  # a fixed number of samples, whatever passes: nothing is asked until it is verified
        told = {"candidate": row.teacher, "items": f"{row.rested:,}/{row.queries:,}", "replies": f"{row.attempts:,}"}
    else:
        per = row.attempts_per_verified
        share = f"{100 * (row.verified_share or 0):.1f} %"
        told = {"teacher": row.teacher, "verified": f"{row.verified:,}/{row.queries:,} ({share})",
                "attempts/verified": "-" if per is None else f"{per:.2f}"}  # fmt: skip
    told |= {
        "tok/s": "-" if row.tokens_per_second is None else f"{row.tokens_per_second:,.0f}",
        "429s": f"{row.rate_limited:,}",
        "in flight": f"{row.in_flight:,}/{row.limit:,}",
        "so far": _dollars(row.spent_usd),
        "projected": _dollars(row.projected_usd),
    }
    if stage != "evaluate":
        per = row.cost_per_verified_usd
        told["$/verified"] = "-" if per is None else dollars(per)
    return told | {"ETA": row.dead or eta}


def _dollars(value: float | None) -> str:
    return "-" if value is None else f"${value:,.2f}"


def _table(rows: Sequence[Progress], stage: str) -> Table:
    table = Table(box=None, pad_edge=False)
    told = [cells(row, stage) for row in rows]
    for index, column in enumerate(told[0] if told else ()):
        table.add_column(column, justify="left" if index == 0 else "right")
    for row in told:
        table.add_row(*(Text(cell) for cell in row.values()))
    return table
