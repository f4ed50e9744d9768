"""Replies that are there already, judged on all cores and handed back in order; for `verify` and `audit`.

In: queries with responses in any number, a pool of verifiers. Out: the same with a verdict each. What is read ahead is
bounded by rows and by characters, so memory does not grow with the input.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeVar

from stillhouse.loop import VerifierAt, structure
from stillhouse.records import Ask, Query, Response, Verdict
from stillhouse.workers import WorkerDied, WorkerError, WorkerPool, WorkerTimeout, rule_of

AHEAD_ROWS = 4096  # replies between the oldest that is still being judged and the one read last
AHEAD_CHARACTERS = 24_000_000
TURN = 64  # rows read between two looks at what the workers say

T = TypeVar("T")
Settle = Callable[[Query, Response, Ask], Awaitable[Verdict]]


async def in_order(
    items: Iterator[T], judge: Callable[[T], Awaitable[Verdict]], size: Callable[[T], int]
) -> AsyncGenerator[tuple[T, Verdict], None]:
    """Each item with what `judge` says of it, in the order of items. size: characters that an item holds."""
    waiting: deque[tuple[T, int, asyncio.Future[Verdict]]] = deque()
    held = 0
    try:
        for number, item in enumerate(items):
            characters = size(item)
            waiting.append((item, characters, asyncio.ensure_future(judge(item))))
            held += characters
            if number % TURN == 0:
                await asyncio.sleep(0)
            while waiting and (
                waiting[0][2].done() or len(waiting) >= AHEAD_ROWS or (held > AHEAD_CHARACTERS and len(waiting) > 1)
            ):
                first, characters, task = waiting.popleft()
                held -= characters
                yield first, await task
        while waiting:
            first, _, task = waiting.popleft()
            yield first, await task
    finally:
        for _, _, task in waiting:
            task.cancel()


async def verdict_of(
    pool: WorkerPool, at: Mapping[str, VerifierAt], query: Query, response: Response, settle: Settle | None = None
) -> Verdict:
    """By form, then by the category's verifier; settle: what to do where it would like to hear a judge (without: the
    verdict that it had so far stands)."""
    parts = response.parts
    formal = structure(response, parts)
    if formal is not None:
        return formal
    verifier = at.get(query.category)
    if verifier is None:
        return Verdict.unknown("no_verifier", f"nothing here verifies category {query.category!r} without a judge")
    plain = verifier.at_once(query, parts.answer) if verifier.at_once is not None else None
    if plain is not None:
        return plain
    verdict: Verdict | Ask = await work(pool, verifier, "__call__", query, response)
    if verifier.asks and isinstance(verdict, Verdict) and verdict.rule in ("timeout", "memory", "died", "error"):
        verdict = await work(pool, verifier, "ask", query, response, verdict)
    if isinstance(verdict, Ask):
        return verdict.so_far if settle is None else await settle(query, response, verdict)
    return verdict


async def work(pool: WorkerPool, verifier: VerifierAt, method: str, *args: Any) -> Any:
    """A verifier's call in a worker; two time-outs or deaths on the same answer are a final unknown."""
    try:
        return await pool.call(verifier.part, method, args, deadline=verifier.deadline, tries=2)
    except (WorkerTimeout, WorkerDied, WorkerError) as error:
        return Verdict.unknown(*rule_of(error))
