"""`python bench/sandbox.py`: cases verified per second, by rung, beside a new python process per case without a jail.

In: --answers, --cases, --workers, --rounds; out: a table of medians over interleaved rounds. CPU time is that of
every process, also of those that outlive their parent: this process is their subreaper and waits for all of them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import resource_tracker
from multiprocessing.synchronize import Barrier
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from stillhouse.records import Message, Query, Response
from stillhouse.sandbox import probe
from stillhouse.sandbox.syscalls import PR_SET_CHILD_SUBREAPER, prctl
from stillhouse.verifiers.code import Code

PROGRAM = """
import sys
from collections import Counter, deque

def solve(n):
    queue, seen = deque([n]), Counter()
    while queue:
        x = queue.popleft()
        seen[x % 7] += 1
        if x > 1:
            queue.append(x // 2)
    return sum(seen.values())

def main():
    data = sys.stdin.read().split()
    print(solve(int(data[0])))

if __name__ == "__main__":
    main()
# answer {number}
"""


Work = Callable[[int, int, int, int, Barrier], None]  # rung, first answer, answers, cases, the common start


def make(number: int, cases: int) -> tuple[str, Query]:
    """An answer and its query; every other one has asserts, the others input and output."""
    wanted = [(n * 37 + 1, (n * 37 + 1).bit_length()) for n in range(cases)]
    if number % 2:
        tests = {
            "call_type": "assert",
            "fn_name": "solve",
            "assert_case": [f"assert solve({n}) == {r}" for n, r in wanted],
        }
    else:
        tests = {"call_type": "std", "inputs": [f"{n}\n" for n, _ in wanted], "outputs": [f"{r}\n" for _, r in wanted]}
    return PROGRAM.replace("{number}", str(number)), Query((Message("user", "q"),), "code", test_case=tests)


def in_sandbox(rung: int, first: int, answers: int, cases: int, start: Barrier) -> None:
    verifier = Code(rung=rung, tests=cases)
    verifier.sandbox.rung  # noqa: B018  starts it
    start.wait()
    for number in range(first, first + answers):
        code, query = make(number, cases)
        verdict = verifier(query, Response("k", "q", "t", f"```python\n{code}\n```"))
        assert verdict.outcome == "pass" and verdict.passed == cases, verdict
    verifier.close()


def in_processes(_: int, first: int, answers: int, cases: int, start: Barrier) -> None:
    """A new interpreter for every case, no jail: what a harness of a few lines does."""
    start.wait()
    for number in range(first, first + answers):
        code, _query = make(number, cases)
        for n in range(cases):
            value = n * 37 + 1
            ran = subprocess.run([sys.executable, "-c", code], input=b"%d\n" % value, capture_output=True, timeout=10)
            assert int(ran.stdout) == value.bit_length()


def by_forks(_: int, first: int, answers: int, cases: int, start: Barrier) -> None:
    """A fork for every case, no jail: what isolation is paid on top of."""
    start.wait()
    for number in range(first, first + answers):
        code, _query = make(number, cases)
        compiled = compile(code, "<answer>", "exec")
        for n in range(cases):
            value, (read, write) = n * 37 + 1, os.pipe()
            into, out = os.pipe()
            os.write(out, b"%d\n" % value)
            os.close(out)
            pid = os.fork()
            if not pid:
                os.dup2(into, 0)
                os.dup2(write, 1)
                sys.stdin = os.fdopen(0)
                sys.stdout = os.fdopen(1, "w")
                exec(compiled, {"__name__": "__main__"})
                sys.stdout.flush()
                os._exit(0)
            os.close(write)
            os.close(into)
            assert int(os.read(read, 100)) == value.bit_length()
            os.close(read)
            os.waitpid(pid, 0)


def measure(work: Work, rung: int, options: argparse.Namespace, answers: int) -> tuple[float, float]:
    """Cases a second of wall clock, and CPU milliseconds a case."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(options.workers + 1)
    share = answers // options.workers
    workers = [
        context.Process(target=work, args=(rung, number * share, share, options.cases, start))
        for number in range(options.workers)
    ]
    for worker in workers:
        worker.start()
    start.wait()
    begun, used = time.monotonic(), spent()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0, f"a worker of rung {rung} failed"
    seconds = time.monotonic() - begun
    reap_the_rest()
    total = share * options.workers * options.cases
    return total / seconds, (spent() - used) / total * 1000


def reap_the_rest() -> None:
    """Wait for whatever outlived its parent; multiprocessing's own tracker stays."""
    tracker = resource_tracker._resource_tracker._pid  # type: ignore[attr-defined]  # it has no public name
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while left := {int(pid) for pid in children.read_text().split()} - {tracker}:
        for pid in left:
            os.waitpid(pid, 0)


def spent() -> float:
    """CPU seconds of this process and of everything below it that has ended."""
    mine, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return mine.ru_utime + mine.ru_stime + theirs.ru_utime + theirs.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=120, help="answers a round; a tenth of it without a sandbox")
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    rows: dict[str, tuple[Work, int, int]] = {
        "python process per case, no jail": (in_processes, 0, max(options.workers * 2, options.answers // 10)),
        "fork per case, no jail": (by_forks, 0, options.answers),
    }
    for rung in probe().rungs:
        if rung.works:
            rows[f"rung {rung.number}: {rung.name}"] = (in_sandbox, rung.number, options.answers)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for _ in range(options.rounds):
        for name, (work, rung_number, answers) in rows.items():
            found[name].append(measure(work, rung_number, options, answers))
    plain = statistics.median(rate for rate, _ in next(iter(found.values())))
    plain_cpu = statistics.median(cpu for _, cpu in next(iter(found.values())))
    load = os.getloadavg()[0]
    print(
        f"{options.workers} workers, {options.cases} cases an answer, medians of {options.rounds}; load now {load:.1f}"
    )
    print(f"{'':50} {'cases/s':>8} {'ratio':>6} {'CPU ms/case':>12} {'ratio':>6}")
    for name, pairs in found.items():
        rate, cpu = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{name:50} {rate:8.0f} {rate / plain:6.2f} {cpu:12.2f} {plain_cpu / cpu:6.2f}")


if __name__ == "__main__":
    main()
