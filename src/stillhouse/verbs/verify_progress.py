"""How far `verify` is: a bar on a terminal, a line now and then elsewhere, nothing when quiet. On standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

LINE_SECONDS = 10.0
DRAW_SECONDS = 0.2


class Progress(AbstractContextManager["Progress"]):
    """total: rows in all. `advance` may be called for every row: it draws a few times a second."""

    def __init__(self, total: int, *, quiet: bool = False) -> None:
        self.total, self.quiet = total, quiet
        self.console = Console(file=sys.stderr, soft_wrap=True, highlight=False)
        self._begun = self._told = time.monotonic()
        self._first: int | None = None
        self._bar: Bar | None = None

    def __enter__(self) -> Progress:
        if not self.quiet and self.console.is_terminal:
            self._bar = Bar(
                TextColumn("verify"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[told]}"),
                TimeRemainingColumn(), console=self.console, transient=True,
            )  # fmt: skip
            self._task = self._bar.add_task("verify", total=self.total, told="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def advance(self, rows: int, counts: Mapping[str, int]) -> None:
        """rows: done so far. counts: outcomes, told beside."""
        now = time.monotonic()
        if self.quiet or now - self._told < (DRAW_SECONDS if self._bar is not None else LINE_SECONDS):
            return
        self._told = now
        told = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
        if self._bar is not None:
            self._bar.update(self._task, completed=rows, told=told)
            return
        if self._first is None:
            self._first, self._begun = rows, now
        pace = (rows - self._first) / max(now - self._begun, 1e-9)
        left = f", {(self.total - rows) / pace / 60:.1f} minutes left" if rows > self._first else ""
        self.console.print(f"verify  {rows:,} of {self.total:,} rows{left}: {told}")

    def say(self, text: str) -> None:
        if not self.quiet:
            self.console.print(text, markup=False)
