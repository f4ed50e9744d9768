"""The Ray engine behaves as the local one does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from stillhouse.engines.engine import ShardFailed, make_engine
from stillhouse.records import UserMistake

pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engine():
    with make_engine("ray", workers=2) as made:
        yield made


def test_results_come_in_the_order_of_the_shards(engine) -> None:
    assert engine.workers == 2
    assert list(engine.imap(lambda shard: 2 * shard, range(30))) == [2 * n for n in range(30)]


def test_a_failure_names_its_shard(engine) -> None:
    def fail_on_three(shard: int) -> int:
        if shard == 3:
            raise ValueError("no threes here")
        return shard

    with pytest.raises(ShardFailed, match="no threes here") as failure:
        list(engine.imap(fail_on_three, range(8)))
    assert failure.value.shard == 3


def test_a_users_mistake_stays_a_users_mistake(engine) -> None:
    def mistake(shard: int) -> int:
        raise UserMistake("first problem", "second problem")

    with pytest.raises(UserMistake) as failure:
        list(engine.imap(mistake, [1]))
    assert failure.value.problems == ("first problem", "second problem")


def test_a_worker_killed_in_the_middle_costs_only_its_shard(engine, tmp_path: Path) -> None:
    def die_once(shard: int) -> int:
        (tmp_path / f"{shard}-{os.getpid()}-{os.urandom(4).hex()}").touch()
        if shard == 2 and len(list(tmp_path.glob("2-*"))) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return shard

    assert list(engine.imap(die_once, range(6))) == list(range(6))
    tries = [len(list(tmp_path.glob(f"{n}-*"))) for n in range(6)]
    assert tries[2] == 2 and sum(tries) <= 8


def test_shards_are_drawn_only_so_far_ahead(engine) -> None:
    drawn = []

    def shards():
        for n in range(1000):
            drawn.append(n)
            yield n

    results = engine.imap(lambda shard: shard, shards())
    next(results)
    assert len(drawn) <= 4 * engine.workers + 1
    results.close()


def test_a_node_that_dies_costs_only_its_shards(tmp_path: Path) -> None:
    """Three nodes as processes of this machine; one is removed while its shard runs. Uses its own driver process."""
    script = tmp_path / "drive.py"
    script.write_text(
        textwrap.dedent("""
        import os, sys, time
        from pathlib import Path
        from ray.cluster_utils import Cluster
        from stillhouse.engines.ray import Ray

        marks = Path(sys.argv[1])
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        doomed = [cluster.add_node(num_cpus=1) for _ in range(2)]

        def work(shard):
            import ray
            node = ray.get_runtime_context().get_node_id()
            (marks / f"{shard}-{node}-{os.getpid()}").touch()
            first = len(list(marks.glob(f"{shard}-*"))) == 1
            while first and shard < 3 and not (marks / "removed").exists():
                time.sleep(0.05)  # the first three shards hold a node each until one node is gone
            return shard

        with Ray(address=cluster.address) as engine:
            assert engine.workers == 3, engine.workers
            results = engine.imap(work, range(12))
            import threading

            def remove():
                while len(list(marks.iterdir())) < 3:
                    time.sleep(0.05)
                cluster.remove_node(doomed[0], allow_graceful=False)
                (marks / "removed").touch()

            thread = threading.Thread(target=remove)
            thread.start()
            (marks.parent / "results").write_text(" ".join(map(str, results)))
            thread.join()
        cluster.shutdown()
        """)
    )
    marks = tmp_path / "marks"
    marks.mkdir()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(script), str(marks)], capture_output=True, text=True, env=environment, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "results").read_text().split() == [str(n) for n in range(12)]  # Ray prints to stdout
    tries = [len(list(marks.glob(f"{n}-*"))) for n in range(12)]
    assert 12 < sum(tries) <= 16, tries
