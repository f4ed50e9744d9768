"""Faults of every kind and kills at random moments: is every row delivered, is nothing lost, what is paid twice?

In: a mock endpoint that fails on demand and counts what it was paid for. Out: two tables. What runs is the stage
`distill` of a run folder; a kill is SIGKILL of its main process, and to run again is to go on.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

KINDS = ("r429", "r503", "r500", "r502", "rreset", "rtrunc", "rbadjson", "rhtml", "rempty", "rlength", "rhang")
SHARES = (0.05, 0.20)
IN_FLIGHT = 64


def faults(mock: Any, *, rows: int) -> None:
    """Each kind alone and all together, at 5 % and at 20 % of requests."""
    from generation import lay

    print(f"\nfaults: {rows:,} rows, 64 in flight, 20 ms, time-out 3 s\n", flush=True)
    print(f"{'kind':10}{'share':>7}{'delivered':>11}{'requests':>10}{'paid':>7}{'paid twice':>12}{'faults told':>13}"
          f"{'seconds':>9}", flush=True)  # fmt: skip
    for kind in (*(k for k in KINDS if k in mock.knobs), "all"):
        for share in SHARES:
            here = [k for k in KINDS if k in mock.knobs] if kind == "all" else [kind]
            knobs = {name: share / len(here) for name in here}
            with tempfile.TemporaryDirectory() as name:
                settings = {"truncated_attempts": 8, "workers": 1}
                run = lay(Path(name), mock, rows, IN_FLIGHT, timeout=3.0, distill=settings)
                mock.set(latency_ms=20, retry_after=0.2, **knobs)
                began = time.monotonic()
                ended = _distill(run)
                told, stats = _journal(run), mock.stats()
                delivered = told["verified"] if ended == 0 else f"exit {ended}"
                took = time.monotonic() - began
                print(f"{kind:10}{share:>7.0%}{delivered:>11}{stats['requests']:>10,}{stats['ok']:>7,}"
                      f"{stats['dup_paid']:>12}{told['faults']:>13}{took:>9.1f}", flush=True)  # fmt: skip
    mock.set()


def kills(mock: Any, count: int) -> None:
    """Kill distill again and again, then let it end: what the journal acknowledged must be there each time."""
    from generation import lay

    rng = random.Random(7)
    with tempfile.TemporaryDirectory() as name:
        run = lay(Path(name), mock, count * 90, IN_FLIGHT, distill={"workers": 1})
        mock.set(latency_ms=300, jitter_ms=250)
        held: set[bytes] = set()
        lost = early = unread = done = 0
        print(f"\nkills: {count} x SIGKILL at random moments, {count * 90:,} rows, {IN_FLIGHT} in flight\n", flush=True)
        for number in range(1, count + 1):
            before = mock.stats()["requests"]
            child, ended = _forked(run), False
            if number % 2:  # half while requests are in flight, half at any moment from the start on
                while mock.stats()["requests"] == before and not ended:
                    time.sleep(0.02)
                    ended = os.waitpid(child, os.WNOHANG)[0] == child
            time.sleep(rng.random() * 1.5)
            if not ended and os.waitpid(child, os.WNOHANG)[0] != child:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            else:
                done += 1
            early += mock.stats()["requests"] == before
            told = _journal(run)
            lost += len(held - told["keys"])
            held |= told["keys"]
            unread += told["damaged"]
            if number % 10 == 0:
                print(
                    f"  {number} kills: {len(held):,} replies on disk, lost {lost}, frames unread {unread}", flush=True
                )
        ended = _distill(run)
        told, stats = _journal(run), mock.stats()
        lost += len(held - told["keys"])
    print(
        f"\nkilled {count - done} times ({early} of them before a request was sent), then run to its end (exit {ended})"
    )
    print(f"rows {count * 90:,}, verified {told['verified']:,}, replies lost {lost}, frames unread {unread}")
    print(f"the mock was paid for {stats['ok']:,} replies, {stats['dup_paid']} of them twice: "
          f"{stats['dup_paid'] / max(1, count - done):.1f} a kill of {IN_FLIGHT} in flight")  # fmt: skip
    print(
        f"audit: in doubt {told['in_doubt']}, paid twice by the journal's own account {told['paid_twice']}", flush=True
    )
    mock.set()


def _forked(run: Path) -> int:
    """`stillhouse distill RUN` in a child of this process, which has imported it already: that makes starts quick."""
    from stillhouse.pipeline import run_stage

    child = os.fork()
    if child:
        return child
    log = os.open(run / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 1
    try:
        code = run_stage(run, "distill", quiet=True).exit_code
    except BaseException:  # noqa: BLE001  whatever it is ends in the log and as exit 1
        traceback.print_exc()
    finally:
        os._exit(code)


def _distill(run: Path) -> int:
    """To its end; the exit code as the command line has it."""
    return os.waitstatus_to_exitcode(os.waitpid(_forked(run), 0)[1])


def _journal(run: Path) -> dict[str, Any]:
    """What stands on disk now: keys of replies whose text is read back, damage beyond a torn tail, and the audit."""
    import pyarrow.parquet as pq

    from stillhouse.store.journal import Damage, load_index, read_entries
    from stillhouse.store.ledger import audit
    from stillhouse.store.rows import FAULT

    damage: list[Damage] = []
    keys = {entry.key for entry in read_entries(run / "2-responses", damage=damage) if entry.kind == "reply"}
    index = load_index(run / "2-responses")
    total = audit(index).total
    pairs, verified = run / "3-verdicts" / "pairs.parquet", 0
    if pairs.exists():
        verified = pq.read_table(pairs)["state"].to_pylist().count("verified")
    return {
        "keys": {key.encode() for key in keys}, "damaged": sum(d.reason != "torn tail" for d in damage),
        "verified": verified, "faults": len(index.rows(kind=FAULT)), "in_doubt": total.in_doubt,
        "paid_twice": total.paid_twice,
    }  # fmt: skip
