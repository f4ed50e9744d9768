"""Which rungs of isolation this machine has, each proved by a program that tries to escape.

In: nothing; out: Ladder, for `stillhouse doctor` and for people. Why: what a kernel claims and what holds differ in
containers, so every rung is started and tried.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass

from stillhouse.sandbox.jail import Sandbox, SandboxDown
from stillhouse.sandbox.launch import NoRung

NAMES = {
    1: "forkserver with namespaces, Landlock and seccomp",
    2: "bubblewrap with seccomp",
    3: "Landlock and seccomp without namespaces",
    4: "resource limits alone (unsafe)",
}


@dataclass(frozen=True, slots=True)
class Rung:
    """works: it runs programs here and holds them. reason, better: why not, and how to get it."""

    number: int
    name: str
    works: bool
    reason: str = ""
    better: str = ""


@dataclass(frozen=True, slots=True)
class Ladder:
    """All rungs from the best down; interpreter: what Python answers run on; compiler: of C++ answers, or None."""

    rungs: tuple[Rung, ...]
    interpreter: str
    compiler: str | None

    @property
    def best(self) -> Rung | None:
        """The rung that answers run on; None when only `unsafe` is left."""
        return next((rung for rung in self.rungs if rung.works and rung.number < 4), None)

    @property
    def rung(self) -> int | None:
        """Number of the best rung."""
        return self.best.number if self.best else None

    @property
    def told(self) -> str:
        """The best rung in a line, or why there is none."""
        if self.best:
            return f"rung {self.best.number}, {self.best.name}"
        return "; ".join(f"rung {rung.number}: {rung.reason}" for rung in self.rungs)

    @property
    def better(self) -> str:
        """How to get the rungs above the best one; empty on the first."""
        above = [rung for rung in self.rungs if self.rung is None or rung.number < self.rung]
        return "; ".join(dict.fromkeys(f"for rung {rung.number}: {rung.better}" for rung in above if rung.better))

    def __str__(self) -> str:
        lines = []
        for rung in self.rungs:
            lines.append(f"rung {rung.number}  {'works  ' if rung.works else 'missing'}  {rung.name}")
            if not rung.works:
                lines += [f"        why: {rung.reason}", f"        to get it: {rung.better}"]
        best = self.best
        lines.append(
            f"answers run on rung {best.number}" if best else "no rung holds: only unsafe=True would run answers"
        )
        lines.append(f"C++: {self.compiler}" if self.compiler else "C++: g++ is not installed (apt-get install g++)")
        return "\n".join(lines)


def probe() -> Ladder:
    """Start and try every rung; about a second. Raises nothing: what does not work is told."""
    return Ladder(tuple(_try(number) for number in (1, 2, 3)), sys.executable, shutil.which("g++"))


def _try(number: int) -> Rung:
    with Sandbox(rung=number) as sandbox:
        try:
            sandbox._proven(number).close()
        except NoRung as problem:
            return Rung(number, NAMES[number], False, problem.reason, problem.better)
        except SandboxDown as down:
            return Rung(number, NAMES[number], False, str(down))
    return Rung(number, NAMES[number], True)
