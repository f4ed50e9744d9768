"""Claims about the ladder: what is said of a machine, and that the attacks are stopped on every rung it has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stillhouse.sandbox import Ladder, Rung, probe

pytestmark = pytest.mark.sandbox
ROOT = Path(__file__).parents[2]


def test_every_rung_is_tried_and_told() -> None:
    ladder = probe()
    assert [rung.number for rung in ladder.rungs] == [1, 2, 3]
    assert all(rung.works or rung.reason for rung in ladder.rungs)
    assert str(ladder).count("rung") >= 3


def ladder(*works: bool) -> Ladder:
    rungs = [Rung(n, f"name {n}", w, "" if w else f"reason {n}", f"mend {n}") for n, w in enumerate(works, 1)]
    return Ladder(tuple(rungs), "python", None)


def test_the_best_rung_and_the_way_to_a_better_one() -> None:
    assert ladder(True, True, True).rung == 1 and ladder(True, True, True).better == ""
    assert ladder(False, False, True).rung == 3
    assert ladder(False, False, True).better == "for rung 1: mend 1; for rung 2: mend 2"
    nothing = ladder(False, False, False)
    assert nothing.rung is None and "reason 3" in nothing.told and "unsafe" in str(nothing)


@pytest.mark.slow
@pytest.mark.parametrize("rung", [1, 2, 3])
def test_every_attack_and_every_cheat_is_stopped(rung: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "tests.sandbox.attacks", str(rung)]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    if ran.returncode == 2 or "is not to be had here" in ran.stdout:
        pytest.skip(ran.stdout.strip())
    assert ran.returncode == 0, "\n".join(line for line in ran.stdout.splitlines() if "ESCAPED" in line) + ran.stderr
