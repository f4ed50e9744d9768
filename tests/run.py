"""Runs all tests, fast ones first, and ends with what was skipped, why, and the command that would change it.

With STILLHOUSE_CI=1 a skip that this machine could run is a failure. Exempt is what needs a trainer of students with a
virtual environment of its own (several gigabytes each): listed like every skip, with the script that installs them.
"""

import os
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


class Skips:
    """Collects why tests were skipped."""

    def __init__(self) -> None:
        self.reasons: dict[str, int] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            reason = reason.removeprefix("Skipped: ")
            self.reasons[reason] = self.reasons.get(reason, 0) + 1


def main() -> int:
    skips = Skips()
    code = 0
    for chosen in ("not slow", "slow"):
        print(f"== {chosen} ==", flush=True)
        ended = pytest.main(["-q", "-m", chosen, str(ROOT / "tests"), *sys.argv[1:]], plugins=[skips])
        if ended not in (0, 5):
            code = int(ended)
            break
    if skips.reasons:
        print("\nskipped:")
        for reason, count in sorted(skips.reasons.items()):
            print(f"  {count} tests: {reason}")
        ours = [reason for reason in skips.reasons if "trainers/install.sh" not in reason]
        could = bool(ours) and os.geteuid() == 0 and shutil.which("apt-get") is not None
        print("`make system` (as root) installs the Debian packages; `stillhouse doctor` lists all parts")
        if os.environ.get("STILLHOUSE_CI") and could:
            print("a skip on a machine that could run it is a failure")
            return code or 1
    return code


if __name__ == "__main__":
    sys.exit(main())
