"""The Ray engine behaves as the local one does."""

from __future__ import annotations

import os
import signal
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
