"""Run one command and say what it took: CPU of all its processes, wall time, memory. Nothing but the standard library.

    python bench/generation_measure.py OUT.json -- COMMAND ...

Workers, and daemons that outlive the command, count too: this process is their subreaper and waits for every one.
Memory: `peak_rss_mb` of the largest single process; `peak_pss_mb` of all together, sampled (shared pages once).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import sys
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
EVERY = 0.2


def main(out: Path, command: list[str]) -> int:
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot become a subreaper")
    began = time.monotonic()
    child = subprocess.Popen(command)
    seconds, peak_rss, code, ended = 0.0, 0, 0, 0.0
    peak_pss, looked = 0, 0.0
    while True:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if not pid:
                    break
                seconds += usage.ru_utime + usage.ru_stime
                peak_rss = max(peak_rss, usage.ru_maxrss)
                if pid == child.pid:
                    code, ended = os.waitstatus_to_exitcode(status), time.monotonic()
            if time.monotonic() - looked > EVERY:
                peak_pss, looked = max(peak_pss, _pss(os.getpid())), time.monotonic()
            time.sleep(0.01)
            continue
        break
    told = {
        "exit": code, "cpu": seconds, "wall": ended - began, "peak_rss_mb": peak_rss / 1024,
        "peak_pss_mb": peak_pss / 1024,
    }  # fmt: skip
    out.write_text(json.dumps(told), encoding="utf-8")
    return 0


def _pss(root: int) -> int:
    """KB of all descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    total, family = 0, {root}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in family} - family
        family |= more
        grown = bool(more)
    for pid in family - {root}:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total


if __name__ == "__main__":
    at = sys.argv.index("--")
    sys.exit(main(Path(sys.argv[1]), sys.argv[at + 1 :]))
