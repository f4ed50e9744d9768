"""Claims about a full disk: it is told before anything new is sent, and all that is in flight still fits."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def run_child(folder: Path, how: str, *prefix: str) -> list[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1] / "src")])}
    command = [*prefix, sys.executable, str(HERE / "disk_child.py"), str(folder), how]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def private_mounts() -> bool:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not private_mounts(), reason="a private mount namespace needs root and unshare")
def test_on_a_full_disk_nothing_new_is_sent_what_is_in_flight_fits_and_it_goes_on(tmp_path: Path) -> None:
    told = run_child(tmp_path, "tmpfs", "unshare", "-m", "--propagation", "private")
    assert told[0].startswith("full:")
    assert "nothing new is sent" in told[0]
    assert [line.split(":")[0] for line in told[1:]] == ["kept", "goes on", "all"]
    assert int(told[1].split()[1]) >= 5
    assert list(tmp_path.iterdir()) == []  # the mount was the child's own


def test_a_file_that_may_not_grow_counts_as_a_full_disk(tmp_path: Path) -> None:
    told = run_child(tmp_path, "limit")
    assert [line.split(":")[0] for line in told] == ["full", "kept", "all"]
