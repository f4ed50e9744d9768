"""Claims about the pool: right results, deadlines kept, the dead replaced, nothing left behind."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stillhouse.records import Part, UserMistake
from stillhouse.workers import WorkerDied, WorkerError, WorkerPool, WorkerTimeout, rule_of
from stillhouse.workers.late import LatePool

HERE = Path(__file__).parent
GOOD = Part("worker_parts:Good")


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture
def pool(importable: None) -> Iterator[WorkerPool]:
    with WorkerPool({"good": GOOD, "ten": Part("worker_parts:Good", {"add": 10})}, workers=2, memory_mb=400) as made:
        yield made


def call(pool: WorkerPool, method: str, *args: object, deadline: float = 20.0, tries: int = 1) -> object:
    return asyncio.run(pool.call("good", method, args, deadline=deadline, tries=tries))


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_thousands_of_coroutines_each_get_their_own_result(pool: WorkerPool) -> None:
    async def main() -> list[int]:
        return await asyncio.gather(*(pool.call("ten", "__call__", (i,), deadline=20) for i in range(5000)))

    assert asyncio.run(main()) == [i + 10 for i in range(5000)]


def test_a_pool_on_demand_begins_one_worker_and_more_as_work_waits(importable: None) -> None:
    async def main(pool: WorkerPool) -> tuple[set[object], set[object]]:
        first = {await pool.call("good", "pid", (), deadline=20)}
        naps = [pool.call("good", "sleep", (0.3,), deadline=20) for _ in range(12)]
        return first, set(await asyncio.gather(*naps))

    with WorkerPool({"good": GOOD}, workers=2, on_demand=True) as pool:
        first, all_of_them = asyncio.run(main(pool))
    assert len(first) == 1
    assert first < all_of_them
    assert len(all_of_them) == 2


def test_a_pool_on_demand_proves_its_parts_before_the_first_call(importable: None) -> None:
    with pytest.raises((RuntimeError, UserMistake)):
        WorkerPool({"good": Part("worker_parts:DeadCanary")}, workers=2, on_demand=True)


def test_a_pool_that_does_not_wait_tells_its_first_caller_what_is_wrong(importable: None) -> None:
    pool = WorkerPool({"good": Part("worker_parts:DeadCanary")}, workers=2, on_demand=True, wait=False)
    with pool, pytest.raises((RuntimeError, UserMistake)):
        call(pool, "__call__", 1)


def test_a_late_pool_that_nobody_calls_starts_nothing(importable: None, monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[object] = []
    monkeypatch.setattr("stillhouse.workers.late.WorkerPool", lambda *_, **how: began.append(how))
    LatePool({"good": GOOD}, 2).close()
    assert not began


def test_the_pool_may_be_used_by_one_loop_after_another_and_by_imap_between(pool: WorkerPool) -> None:
    assert call(pool, "__call__", 1) == 1
    assert list(pool.imap("good", "__call__", ((i,) for i in range(3)), deadline=20)) == [0, 1, 2]
    assert call(pool, "__call__", 2) == 2


def test_imap_keeps_the_order_and_reads_ahead_a_bounded_number(pool: WorkerPool) -> None:
    taken = 0

    def items() -> Iterator[tuple[int]]:
        nonlocal taken
        for i in range(20_000):
            taken += 1
            yield (i,)

    results = pool.imap("good", "__call__", items(), deadline=20)
    assert next(results) == 0
    assert taken < 2000
    assert list(results) == list(range(1, 20_000))


def test_imap_may_be_left_half_way(pool: WorkerPool) -> None:
    for value in pool.imap("good", "__call__", ((i,) for i in range(5000)), deadline=20):
        if value == 10:
            break
    assert call(pool, "__call__", 3) == 3


@pytest.mark.parametrize("method", ["sleep", "spin_in_c"])
def test_an_item_over_its_deadline_is_stopped_even_inside_c_and_the_others_go_on(pool: WorkerPool, method: str) -> None:
    args = (60,) if method == "sleep" else ()
    began = time.monotonic()
    with pytest.raises(WorkerTimeout) as caught:
        call(pool, method, *args, deadline=0.3)
    assert time.monotonic() - began < 10
    assert rule_of(caught.value)[0] == "timeout"
    assert call(pool, "__call__", 4) == 4


def test_items_that_wait_behind_a_hanging_one_are_answered_before_it_is_stopped(pool: WorkerPool) -> None:
    list(pool.imap("good", "maybe_sleep", ((i, -1) for i in range(200)), deadline=20))  # learn that they are fast
    finished: list[int] = []

    async def one(i: int) -> None:
        try:
            await pool.call("good", "maybe_sleep", (i, 5), deadline=2.0)
        except WorkerTimeout:
            finished.append(-i)
        else:
            finished.append(i)

    async def main() -> None:
        await asyncio.gather(*(one(i) for i in range(200)))

    asyncio.run(main())
    assert sorted(finished) == sorted([-5, *(i for i in range(200) if i != 5)])
    assert finished[-1] == -5


@pytest.mark.parametrize(
    ("method", "args", "rule", "words"),
    [
        ("die", (9,), "memory", "signal 9"),
        ("die", (15,), None, ""),
        ("crash", (), "died", "signal 11"),
        ("leave", (3,), "died", "exit status 3"),
        ("eat", (800,), "memory", "memory limit"),
        ("fail", ("no such luck",), "error", "ValueError: no such luck"),
        ("quit", (), "error", "SystemExit: 3"),
        ("unpicklable", (), "error", "cannot be sent"),
        ("absent", (), "error", "AttributeError"),
    ],
)
def test_every_way_to_fail_has_its_rule_and_harms_no_other_item(
    pool: WorkerPool, method: str, args: tuple[object, ...], rule: str | None, words: str
) -> None:
    async def main() -> list[object]:
        calls = [pool.call("good", "__call__", (i,), deadline=20) for i in range(50)]
        bad = pool.call("good", method, args, deadline=20)
        return await asyncio.gather(*calls[:25], bad, *calls[25:], return_exceptions=True)

    results = asyncio.run(main())
    bad = results.pop(25)
    assert results == list(range(50))
    if rule is None:
        assert bad is None
    else:
        assert isinstance(bad, WorkerDied | WorkerError)
        assert rule_of(bad)[0] == rule
        assert words in rule_of(bad)[1]


def test_what_cannot_be_pickled_is_told_to_its_own_caller(pool: WorkerPool) -> None:
    with pytest.raises(Exception, match="pickle"):
        call(pool, "__call__", lambda: None)
    assert call(pool, "__call__", 1) == 1


def test_a_second_try_is_given_where_the_caller_wants_one(pool: WorkerPool, tmp_path: Path) -> None:
    assert call(pool, "once", str(tmp_path / "been"), deadline=0.5, tries=2) == "second"


def test_a_worker_is_replaced_after_so_many_items() -> None:
    with WorkerPool({"good": GOOD}, workers=1, recycle_after=10) as pool:
        pids = list(pool.imap("good", "pid", (() for _ in range(40)), deadline=20))
    assert len(set(pids)) == 4
    assert not any(map(alive, pids))


def test_a_worker_whose_memory_grows_is_replaced_before_an_innocent_item_pays() -> None:
    with WorkerPool({"good": GOOD}, workers=1, memory_mb=600) as pool:
        results = list(pool.imap("good", "keep", ((4,) for _ in range(300)), deadline=20))
    assert all(isinstance(result, int) for result in results)
    assert len(set(results)) > 1


def test_large_items_travel_both_ways(pool: WorkerPool) -> None:
    data = os.urandom(5 << 20)
    assert list(pool.imap("good", "echo", ((data,) for _ in range(6)), deadline=30)) == [data] * 6


def test_all_workers_hash_alike_so_that_no_verdict_depends_on_the_worker() -> None:
    with WorkerPool({"good": GOOD}, workers=2, recycle_after=5) as pool:
        assert len(set(pool.imap("good", "hash_of", (("a text",) for _ in range(30)), deadline=20))) == 1


def test_a_cancelled_caller_leaves_the_pool_usable(pool: WorkerPool) -> None:
    async def main() -> object:
        task = asyncio.create_task(pool.call("good", "sleep", (0.2,), deadline=20))
        await asyncio.sleep(0.05)
        task.cancel()
        return await pool.call("good", "__call__", (1,), deadline=20)

    assert asyncio.run(main()) == 1


@pytest.mark.parametrize(
    ("part", "error", "words"),
    [
        ("worker_parts:DeadCanary", RuntimeError, "1 \\+ 1 is not 2 here"),
        ("worker_parts:Refuses", UserMistake, "line 4"),
        ("worker_parts:DiesAtStart", RuntimeError, "exit status 7"),
        ("worker_parts:NotThere", UserMistake, "cannot import"),
        ("no_such_module:Part", UserMistake, "cannot import no_such_module"),
    ],
)
def test_a_part_that_does_not_work_fails_loudly_when_the_pool_starts(
    part: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        WorkerPool({"bad": Part(part)}, workers=2)


def test_the_canary_can_be_left_out() -> None:
    with WorkerPool({"good": Part("worker_parts:DeadCanary")}, workers=1, canary=False) as pool:
        assert call(pool, "__call__", 1) == 1


def test_closing_leaves_no_process_and_no_child_of_a_part(tmp_path: Path) -> None:
    with WorkerPool({"good": GOOD}, workers=2) as pool:
        pids = [call(pool, "pid"), call(pool, "helper", str(tmp_path / "pid"), 0)]
        nursery = pool._nursery.process.pid
    assert not any(map(alive, [*pids, nursery]))  # type: ignore[list-item]


def test_a_child_that_a_stopped_item_started_ends_with_it(pool: WorkerPool, tmp_path: Path) -> None:
    with pytest.raises(WorkerTimeout):
        call(pool, "helper", str(tmp_path / "pid"), 60, deadline=1.0)
    child = int((tmp_path / "pid").read_text())
    assert not alive(child)


def test_workers_do_not_hear_an_interrupt(pool: WorkerPool) -> None:
    assert call(pool, "interrupts") is True


def test_cpu_time_of_the_workers_is_counted_as_that_of_children() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with WorkerPool({"good": GOOD}, workers=1) as pool, pytest.raises(WorkerTimeout):
        call(pool, "spin_in_c", deadline=2.0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime > 0.2


def test_all_processes_end_when_the_parent_is_killed() -> None:
    code = f"""
        import sys; sys.path[:] = {sys.path!r}
        from stillhouse.records import Part
        from stillhouse.workers import WorkerPool
        pool = WorkerPool({{"good": Part("worker_parts:Good")}}, workers=2)
        pids = list(pool.imap("good", "sleep", ((0.05,) for _ in range(8)), deadline=20))
        print(pool._nursery.process.pid, *set(pids), flush=True)
        next(pool.imap("good", "sleep", ((60,) for _ in range(8)), deadline=100))
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent, parent.stdout:
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 3
        assert all(map(alive, pids))
        os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)  # nothing can be awaited: they are not our children
    assert not any(map(alive, pids))


def test_an_unknown_part_is_told_with_the_known_ones(pool: WorkerPool) -> None:
    with pytest.raises(KeyError, match="good"):
        next(pool.imap("god", "__call__", iter([(1,)]), deadline=1))
