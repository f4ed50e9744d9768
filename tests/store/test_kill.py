"""Claims about `kill -9`: nothing acknowledged is lost, at most what was in flight is in doubt, going on works."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stillhouse.store.journal import Journal, load_index, read_entries, read_responses
from stillhouse.store.ledger import audit
from stillhouse.store.rows import INTENT, REPLY
from stillhouse.store.segments import SEGMENT

HERE = Path(__file__).parent
IN_FLIGHT = 16


def run_and_kill(folder: Path, round_: int, rng: random.Random) -> set[str]:
    """Start a writer, kill it after a random number of acknowledgements, return all keys it acknowledged."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1] / "src")])}
    command = [sys.executable, str(HERE / "kill_child.py"), str(folder), str(round_ * 1_000_000), str(IN_FLIGHT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        wanted, printed = rng.choice([1, 30, 300, 1500]), b""
        while printed.count(b"\n") < wanted:
            block = os.read(child.stdout.fileno(), 4096)
            assert block, "the writer ended by itself"
            printed += block
        time.sleep(rng.random() * 0.01)  # the moment is the point of the test
        os.kill(child.pid, signal.SIGKILL)
        printed += child.stdout.read()
    return set(printed[: printed.rfind(b"\n")].decode().split())


def check(folder: Path, acknowledged: set[str], rounds: int) -> None:
    index = load_index(folder)
    replies = index.rows()
    assert acknowledged <= {index.key_text(row) for row in replies}
    texts = {r.key: r.text for r in read_responses(index, replies)}
    assert len(texts) == len(replies)
    assert all(set(text.split(key)) == {""} for key, text in texts.items())
    total = audit(index).total
    assert total.in_doubt + total.in_flight <= rounds * IN_FLIGHT
    assert (total.paid_twice, total.unannounced) == (0, 0)
    assert total.asked == total.paid + total.in_doubt + total.in_flight


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_killed_again_and_again_nothing_acknowledged_is_lost(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    acknowledged: set[str] = set()
    for round_ in range(8):
        acknowledged |= run_and_kill(tmp_path, round_, rng)
        check(tmp_path, acknowledged, round_ + 1)
    before = [(e.kind, e.key) for e in read_entries(tmp_path)]
    Journal(tmp_path).close()  # mends what the last kill left
    assert [(e.kind, e.key) for e in read_entries(tmp_path)] == before
    for segment in tmp_path.glob(f"*{SEGMENT}"):
        assert segment.with_suffix(".idx").exists()
        assert segment.stat().st_blocks * 512 < segment.stat().st_size + (64 << 10)
    index = load_index(tmp_path)
    kinds = dict(zip(*[a.tolist() for a in (index.key, index.kind)], strict=True))
    assert set(kinds.values()) <= {INTENT, REPLY}
    assert not any(s.live for s in index.segments)
