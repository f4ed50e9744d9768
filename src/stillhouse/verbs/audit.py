"""`stillhouse audit RUN`: what was asked, paid, in doubt and paid twice, proved from the journal's index.

In: a run folder, also one that is running. Out: an account per teacher and purpose, in counts and dollars.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stillhouse.store.index import load_index
from stillhouse.store.ledger import Account
from stillhouse.store.ledger import audit as audit_index
from stillhouse.store.run import Run


def audit(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """The ledger as JSON and as lines. Raises UserMistake where no run stands."""
    run = Run(folder, read_only=True)
    index = load_index(run.journals)
    ledger = audit_index(index)
    value = {"run": str(folder), **ledger.as_json(), "damage": [f"{d.segment}: {d.reason}" for d in index.damage]}
    lines = [f"{folder}: {len(index)} records in {len(index.segments)} segments"]
    for (teacher, purpose), account in sorted(ledger.accounts.items()):
        lines += _told(f"{teacher}, {purpose}", account)
    lines += _told("all", ledger.total)
    lines += [f"  damaged: {told}" for told in value["damage"]]
    clean = "nothing was paid twice" if ledger.clean else "something was paid twice: see keys in --json"
    lines.append(f"{clean}; in doubt (asked, no outcome on disk: a kill in flight): {ledger.total.in_doubt}")
    return value, lines


def _told(name: str, account: Account) -> list[str]:
    return [
        f"  {name}: asked {account.asked}, paid {account.paid} (${account.paid_usd:.4f}), "
        f"truncated {account.truncated}, stopped {account.stopped}, "
        f"faults {account.faults} (maybe paid {account.maybe_paid}), "
        f"in flight {account.in_flight}, in doubt {account.in_doubt} (${account.in_doubt_usd:.4f} at most), "
        f"reasked {account.reasked}, paid twice {account.paid_twice} (${account.paid_twice_usd:.4f})"
    ]
