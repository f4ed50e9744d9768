"""Killable processes that run parts of the shelves with a deadline per item; for the loop, verbs and engines."""

from stillhouse.workers.faults import WorkerDied, WorkerError, WorkerTimeout, rule_of
from stillhouse.workers.pool import WorkerPool

__all__ = ["WorkerDied", "WorkerError", "WorkerPool", "WorkerTimeout", "rule_of"]
