"""`stillhouse audit RUN`: what was asked, paid, in doubt and paid twice, proved from the journal's index.

In: a run folder, also one that is running. Out: an account per teacher and purpose, in counts and dollars.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stillhouse.recipe import load_recipe, parts
from stillhouse.records import Price, UserMistake
from stillhouse.store.index import load_index
from stillhouse.store.ledger import Account, Ledger
from stillhouse.store.ledger import audit as audit_index
from stillhouse.store.run import Run
from stillhouse.verbs.columns import aligned


def audit(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """The ledger as JSON and as lines. Raises UserMistake where no run stands."""
    run = Run(folder, read_only=True)
    index = load_index(run.journals)
    if not len(index) and not run.recipe.exists():
        raise UserMistake(f"{folder}: no run stands here: there is no journal and no recipe.yaml to prove anything of")
    ledger = audit_index(index, _prices(run))
    damage = [f"{d.segment}: {d.reason}" for d in index.damage]
    value = {"run": str(folder), **ledger.as_json(), "store": str(run.store) if run.store else None, "damage": damage}
    lines = [f"{folder}: {len(index):,} records in {len(index.segments)} segments"]
    if run.store is not None:
        lines.append(f"  the store {run.store} is shared: what follows counts all runs that write to it")
    lines += _table(ledger)
    lines += _notes(ledger)
    return value, lines + [f"damaged: {told}" for told in damage]


def _prices(run: Run) -> dict[str, Price]:
    """The prices of the run's recipe, by teacher and judge; none where the recipe cannot be read any more."""
    try:
        found = parts(load_recipe(run.recipe), run.folder)
    except UserMistake:
        return {}
    return {spec.name: spec.price for spec in (*found.teachers, *found.judges.values()) if spec.price is not None}


COLUMNS = (
    "teacher", "purpose", "asked", "paid", "dollars", "faults", "maybe paid", "in flight", "in batches", "in doubt",
    "at most", "reasked", "paid twice",
)  # fmt: skip


def _table(ledger: Ledger) -> list[str]:
    """A row for each teacher and purpose, and their sum."""
    rows: list[tuple[str, ...]] = [COLUMNS]
    rows += [_cells(teacher, purpose, account) for (teacher, purpose), account in sorted(ledger.accounts.items())]
    if len(rows) != 2:
        rows.append(_cells("all", "", ledger.total))
    return aligned(rows, names=2)


def _cells(teacher: str, purpose: str, account: Account) -> tuple[str, ...]:
    a = account
    return (
        teacher, purpose, f"{a.asked:,}", f"{a.paid:,}", f"${a.paid_usd:,.4f}", f"{a.faults:,}", f"{a.maybe_paid:,}",
        f"{a.in_flight:,}", f"{a.submitted:,}", f"{a.in_doubt:,}", f"${a.in_doubt_usd:,.4f}",
        f"{a.reasked + a.asked_again:,}", f"{a.paid_twice:,}",
    )  # fmt: skip


def _notes(ledger: Ledger) -> list[str]:
    """What the figures come to."""
    total, lines = ledger.total, list[str]()
    for teacher in dict.fromkeys(name for name, _ in sorted(ledger.accounts)):
        account = sum((a for (name, _), a in ledger.accounts.items() if name == teacher), Account())
        if account.stopped:
            dollars = "" if account.saved_usd is None else f" and ${account.saved_usd:,.4f}"
            lines.append(
                f"{teacher}: {account.stopped:,} replies were stopped early, "
                f"which saved at most {account.saved_tokens:,} tokens{dollars}"
            )
    if total.unpriced:
        lines.append(f"{total.unpriced:,} replies have no price: their dollars are not known")
    if total.maybe_paid:
        lines.append(f"{total.maybe_paid:,} faults may have been paid: ${total.maybe_paid_usd:,.4f} at most")
    if total.submitted:
        lines.append(f"{total.submitted:,} requests stand in batch files: ${total.submitted_usd:,.4f} at most")
    if total.unannounced:
        lines.append(f"{total.unannounced:,} outcomes have no intent: see keys in --json")
    twice = f"{total.paid_twice:,} replies were paid twice (${total.paid_twice_usd:,.4f}): see keys in --json"
    told = twice if total.paid_twice else "nothing was paid twice"
    if total.in_doubt:
        told += (
            f", but for at most {total.in_doubt:,} requests (${total.in_doubt_usd:,.4f}) that were in flight when the "
            "process was killed: they were asked, and no outcome is on disk"
        )
    return [*lines, told]
