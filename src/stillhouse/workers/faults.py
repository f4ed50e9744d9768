"""What can go wrong with one item in a worker, as exceptions that `call` raises and `imap` yields.

A pool that is broken as a whole (a part cannot be built, its canary fails) raises UserMistake or RuntimeError instead.
"""

from __future__ import annotations


class WorkerTimeout(Exception):  # noqa: N818  named in the contract between the rooms
    """The item ran longer than its deadline; its worker was killed and replaced."""

    def __init__(self, part: str, seconds: float) -> None:
        super().__init__(f"{part} was stopped after {seconds:.1f} s")
        self.part, self.seconds = part, seconds


class WorkerDied(Exception):  # noqa: N818  named in the contract between the rooms
    """The worker ended under the item: memory is True when the memory limit was the cause."""

    def __init__(self, part: str, reason: str, *, memory: bool = False) -> None:
        super().__init__(f"{part}: {reason}")
        self.part, self.reason, self.memory = part, reason, memory


class WorkerError(Exception):
    """The part raised; `trace` is the traceback as text, the message its last line."""

    def __init__(self, part: str, summary: str, trace: str) -> None:
        super().__init__(f"{part} raised {summary}")
        self.part, self.summary, self.trace = part, summary, trace


def rule_of(error: BaseException) -> tuple[str, str]:
    """Rule and reason of the unknown verdict that stands for a failed item: `Verdict.unknown(*rule_of(error))`.

    Rules: timeout, memory, died, error. Anything that is no fault of a worker is raised again.
    """
    if isinstance(error, WorkerTimeout):
        return "timeout", str(error)
    if isinstance(error, WorkerDied):
        return ("memory" if error.memory else "died"), str(error)
    if isinstance(error, WorkerError):
        return "error", str(error)
    raise error
