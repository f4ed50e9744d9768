"""Claims about the ledger: what was asked, lost and paid twice is told from the journal alone."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillhouse.records import Fault, Request, Response
from stillhouse.store.index import load_index
from stillhouse.store.journal import Journal
from stillhouse.store.ledger import Ledger, audit

Ask, Answer = Callable[..., Request], Callable[..., Response]

# what happened to one key, in order -> the account's fields that are not zero, beside tokens
I, F, M, LOST = "intent", "fault", "maybe paid", "killed"  # noqa: E741  one letter each keeps the table readable
STOP, CUT_9, CUT_5, HALT = ("stop", 9), ("length", 9), ("length", 5), ("stopped", 9)
CASES: list[tuple[list[Any], dict[str, Any]]] = [
    ([I, STOP], {"asked": 1, "paid": 1, "finished": 1, "paid_usd": 0.25}),
    ([I, F, I, STOP], {"asked": 2, "faults": 1, "paid": 1, "finished": 1, "paid_usd": 0.25}),
    ([I, M], {"asked": 1, "faults": 1, "maybe_paid": 1, "maybe_paid_usd": 0.5}),
    ([I], {"asked": 1, "in_flight": 1, "in_flight_usd": 0.5}),
    ([I, LOST], {"asked": 1, "in_doubt": 1, "in_doubt_usd": 0.5}),
    ([I, LOST, I, STOP], {"asked": 2, "paid": 1, "finished": 1, "paid_usd": 0.25, "in_doubt": 1, "in_doubt_usd": 0.5}),
    ([I, LOST, I],
     {"asked": 2, "in_flight": 1, "in_flight_usd": 0.5, "in_doubt": 1, "in_doubt_usd": 0.5}),
    ([I, LOST, I, LOST], {"asked": 2, "in_doubt": 2, "in_doubt_usd": 1.0}),
    ([I, STOP, I, STOP],
     {"asked": 2, "paid": 2, "finished": 2, "paid_usd": 0.5, "paid_twice": 1, "paid_twice_usd": 0.25}),
    ([I, STOP, LOST, I, CUT_9, I, STOP],
     {"asked": 3, "paid": 3, "finished": 2, "truncated": 1, "paid_usd": 0.75, "paid_twice": 2, "paid_twice_usd": 0.5}),
    ([I, CUT_5, I, CUT_9],
     {"asked": 2, "paid": 2, "truncated": 2, "paid_usd": 0.5, "reasked": 1, "reasked_usd": 0.25}),
    ([I, CUT_9, I, CUT_5],
     {"asked": 2, "paid": 2, "truncated": 2, "paid_usd": 0.5, "asked_again": 1, "asked_again_usd": 0.25}),
    ([I, HALT, I, STOP],
     {"asked": 2, "paid": 2, "stopped": 1, "finished": 1, "paid_usd": 0.5, "asked_again": 1, "asked_again_usd": 0.25}),
    ([STOP], {"paid": 1, "finished": 1, "paid_usd": 0.25, "unannounced": 1}),
]  # fmt: skip


def told(tmp_path: Path, ask: Ask, answer: Answer, events: list[Any]) -> Ledger:
    request, other = ask(1), ask(2)

    async def write(journal: Journal, event: Any) -> None:
        if event == I:
            journal.intent(request, retry=0)
        elif event in (F, M):
            await journal.fault(request, Fault("reset", "gone", maybe_paid=event == M), retry=0)
        else:
            finish, limit = event
            await journal.reply(answer(request, finish_reason=finish, max_tokens=limit), retry=0)

    async def play() -> Ledger:
        journal = Journal(tmp_path)
        for event in events:
            if event == LOST:  # to the reader, a process that died and one that closed leave the same
                journal.close()
                journal = Journal(tmp_path)
            else:
                await write(journal, event)
        journal.intent(other, retry=0, purpose="judge")
        await journal.reply(answer(other, cost_usd=None), retry=0, purpose="judge")
        ledger = audit(load_index(tmp_path))
        journal.close()
        return ledger

    return asyncio.run(play())


@pytest.mark.parametrize(("events", "expected"), CASES, ids=lambda given: "-".join(map(str, given))[:60])
def test_the_account_of_one_key(
    tmp_path: Path, ask: Ask, answer: Answer, events: list[Any], expected: dict[str, Any]
) -> None:
    ledger = told(tmp_path, ask, answer, events)
    account = ledger.as_json()["teachers"]["am"]["distill"]
    assert {n: v for n, v in account.items() if v and not n.endswith("_tokens")} == expected
    judged = ledger.accounts["am", "judge"]
    assert (judged.asked, judged.paid, judged.unpriced, judged.paid_usd) == (1, 1, 1, 0.0)
    assert ledger.total.asked == judged.asked + account["asked"]
    assert ledger.clean == (not expected.get("paid_twice") and not expected.get("unannounced"))
    found = {"in_flight", "in_doubt", "unannounced", "paid_twice", "asked_again", "reasked"} & expected.keys()
    assert {name: set(keys) for name, keys in ledger.keys.items()} == {name: {ask(1).key} for name in found}


def test_the_ledger_of_nothing_is_empty_and_clean(tmp_path: Path) -> None:
    ledger = audit(load_index(tmp_path))
    assert ledger.clean
    assert ledger.accounts == {}
    assert ledger.total.asked == 0


def test_tokens_are_summed_over_replies_only(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    ledger = told(tmp_path, ask, answer, [I, STOP])
    assert (ledger.total.prompt_tokens, ledger.total.completion_tokens) == (14, 22)
