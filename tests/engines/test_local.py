"""The local engine: order, bounds, failures that name their shard, and workers that die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from stillhouse.engines.engine import ShardFailed, make_engine
from stillhouse.engines.local import Local
from stillhouse.records import UserMistake


def double(shard: int) -> int:
    return 2 * shard


def fail_on_three(shard: int) -> int:
    if shard == 3:
        raise ValueError("no threes here")
    return shard


def mistake(shard: int) -> int:
    raise UserMistake("first problem", "second problem")


def die_once(shard: tuple[int, str]) -> int:
    number, folder = shard
    mark = Path(folder) / str(number)
    if number == 2 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die(shard: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return shard


def child_of_a_worker(shard: int) -> int:
    done = subprocess.run([sys.executable, "-c", f"print({shard} + 1)"], capture_output=True, check=True)
    return int(done.stdout)


@pytest.fixture(params=[1, 2])
def engine(request: pytest.FixtureRequest):
    with Local(request.param) as made:
        yield made


def test_results_come_in_the_order_of_the_shards(engine: Local) -> None:
    assert list(engine.imap(double, range(50))) == [2 * n for n in range(50)]


def test_an_engine_serves_several_calls(engine: Local) -> None:
    assert [list(engine.imap(double, range(3))) for _ in range(3)] == [[0, 2, 4]] * 3
    assert list(engine.imap(double, [])) == []


def test_a_failure_names_its_shard_and_keeps_the_engine_usable(engine: Local) -> None:
    with pytest.raises(ShardFailed, match="shard 3 failed: ValueError: no threes here") as failure:
        list(engine.imap(fail_on_three, range(8)))
    assert failure.value.shard == 3
    assert list(engine.imap(double, [1])) == [2]


def test_a_users_mistake_stays_a_users_mistake(engine: Local) -> None:
    with pytest.raises(UserMistake) as failure:
        list(engine.imap(mistake, [1]))
    assert failure.value.problems == ("first problem", "second problem")


def test_shards_are_drawn_only_so_far_ahead(engine: Local) -> None:
    drawn = []

    def shards():
        for n in range(1000):
            drawn.append(n)
            yield n

    results = engine.imap(double, shards())
    next(results)
    assert len(drawn) <= 4 * engine.workers + 1
    results.close()


def test_a_worker_that_dies_costs_only_its_shard(tmp_path: Path) -> None:
    with Local(2) as engine:
        assert list(engine.imap(die_once, [(n, str(tmp_path)) for n in range(6)])) == list(range(6))


def test_a_shard_that_always_kills_its_worker_is_given_up() -> None:
    with Local(2) as engine, pytest.raises(ShardFailed, match=r"died 3 times \(signal 9"):
        list(engine.imap(die, [7]))


def test_a_worker_may_start_processes_of_its_own() -> None:
    with Local(2) as engine:
        assert list(engine.imap(child_of_a_worker, [1, 2])) == [2, 3]


def test_no_worker_outlives_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent("""
        import os, sys, time
        from stillhouse.engines.local import Local
        def name(shard):
            return os.getpid()
        if __name__ == "__main__":
            engine = Local(2)
            print(*engine.imap(name, range(4)), flush=True)
            sys.stdin.read()
        """)
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, env=environment
    )
    assert parent.stdout is not None and parent.stdin is not None
    workers = {int(word) for word in parent.stdout.readline().split()}
    assert workers
    parent.kill()
    parent.wait()
    parent.stdout.close()
    parent.stdin.close()
    give_up = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() and "Z" not in _state(pid) for pid in workers):
        assert time.monotonic() < give_up, "a worker outlived its parent"
        time.sleep(0.05)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_an_unknown_engine_is_a_mistake() -> None:
    with pytest.raises(UserMistake, match="use local or ray"):
        make_engine("dask")
    with pytest.raises(UserMistake, match="at least 1 worker"):
        Local(0)
