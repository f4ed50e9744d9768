"""Claims about class Sandbox on every rung that this machine has: ends, limits, values, and its own failures."""

import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from stillhouse.sandbox import Breaks, Case, Limits, Ran, Sandbox, SandboxDown, outcome, procs
from stillhouse.sandbox.launch import NoRung, Server
from stillhouse.sandbox.outcome import StepKind

pytestmark = pytest.mark.sandbox
QUICK = Limits(seconds=1.0)


@pytest.fixture(scope="module", params=[1, 2, 3])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(rung=request.param) as made:
        try:
            assert made.rung == request.param
        except SandboxDown as down:
            pytest.skip(str(down))
        yield made


@pytest.fixture(scope="module")
def best() -> Iterator[Sandbox]:
    with Sandbox() as made:
        yield made


def values(*expressions: str) -> Case:
    steps: tuple[tuple[StepKind, str], ...] = tuple(("value", expression) for expression in expressions)
    return Case(steps=steps)


ENDS: list[tuple[str, str, str, str | None, str]] = [
    ("prints", "print(input())", "done", None, ""),
    ("exit code 0", "import sys; sys.exit()", "done", None, ""),
    ("exit code 3", "import sys; sys.exit(3)", "error", None, "exit code 3"),
    ("exit with a message", "import sys; sys.exit('no')", "error", None, "no"),
    ("an exception", "raise ValueError('boo')", "error", None, "ValueError: boo"),
    ("a crash", "import ctypes; ctypes.string_at(0)", "error", None, "SIGSEGV"),
    ("no syntax", "def", "error", None, "SyntaxError"),
    ("null bytes", "x = '\0'", "error", None, "null"),
    ("sleep", "import time; time.sleep(9)", "limit", "time", "1 s"),
    ("memory", "x = bytearray(3 << 30)", "limit", "memory", "1024 MiB"),
    ("output", "print('x' * (9 << 20))", "limit", "output", "8 MiB"),
    ("stderr counts", "import sys; sys.stderr.write('x' * (9 << 20))", "limit", "output", "8 MiB"),
    ("files", "open('x', 'wb').write(bytes(65 << 20))", "limit", "files", "64 MiB"),
    ("threads", "import threading as t, time\nfor _ in range(99):\n    t.Thread(target=time.sleep, args=(9,), "
     "daemon=True).start()", "limit", "processes", "64"),
]  # fmt: skip


@pytest.mark.parametrize(("program", "outcome", "limit", "reason"), [row[1:] for row in ENDS], ids=[r[0] for r in ENDS])
def test_a_program_ends_as_it_does(
    sandbox: Sandbox, program: str, outcome: str, limit: str | None, reason: str
) -> None:
    (ran,) = sandbox.python(program, [Case(b"in\n")], limits=QUICK)
    assert (ran.outcome, ran.limit) == (outcome, limit), ran
    assert reason in ran.reason, ran


def test_what_is_within_the_limits_runs(sandbox: Sandbox) -> None:
    """Sixty threads, nearly all the memory, nearly all the files."""
    threads = (
        "import threading as t, time\nmade = [t.Thread(target=time.sleep, args=(0.2,)) for _ in range(60)]\n"
        "for each in made: each.start()\nfor each in made: each.join()\nprint(len(made))"
    )
    memory = "x = bytearray(940 << 20)\nfor at in range(0, len(x), 4096): x[at] = 1\nprint(60)"
    files = "open('x', 'wb').write(bytes(40 << 20))\nopen('y', 'wb').write(bytes(20 << 20))\nprint(60)"
    for program in (threads, memory, files):
        (ran,) = sandbox.python(program, [Case()], limits=Limits(seconds=60.0))
        assert (ran.outcome, ran.stdout) == ("done", b"60\n"), ran


def test_values_come_back_as_they_are(sandbox: Sandbox) -> None:
    (ran,) = sandbox.python("def f(*x): return x", [values("f(1, 2.5, {3: [b'x']})", "10 ** 300", "'\\udc80é'")])
    assert ran.values == ((1, 2.5, {3: [b"x"]}), 10**300, "\udc80é")


def test_each_case_starts_from_a_fresh_load_of_the_answer(sandbox: Sandbox) -> None:
    code = "n = []\ndef f():\n    n.append(1)\n    open('x', 'a').write('x')\n    return len(n), len(open('x').read())"
    results = sandbox.python(code, [values("f()", "f()"), values("f()")])
    assert [ran.values for ran in results] == [((1, 1), (2, 2)), ((1, 1),)]


def test_a_result_is_given_only_at_the_very_end(sandbox: Sandbox) -> None:
    (ran,) = sandbox.python("import os", [Case(steps=(("value", "1"), ("do", "os._exit(0)")))])
    assert ran.outcome == "error" and "left before" in ran.reason


def test_go_on_ends_the_job(sandbox: Sandbox) -> None:
    results = sandbox.python("print(1)", [Case()] * 5, go_on=lambda _: False)
    assert len(results) == 1
    assert sandbox.python("print(2)", [Case()])[0].stdout == b"2\n"


def test_many_cases_go_through_several_jails_in_order(best: Sandbox) -> None:
    seen: list[bytes] = []
    cases = [Case(b"%d" % number) for number in range(150)]
    results = best.python("print(input())", cases, go_on=lambda ran: not seen.append(ran.stdout))
    assert [int(ran.stdout) for ran in results] == list(range(150)) and len(seen) == 150


def test_after_a_fault_only_the_rest_is_run_again(best: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    read, faults, seen = outcome.read, [1], []

    def once(told: Mapping[str, Any], blob: bytes, case: Case, limits: Limits) -> Ran:
        if case.stdin == b"2" and faults:
            faults.clear()
            raise ValueError("nonsense")
        return read(told, blob, case, limits)

    monkeypatch.setattr(outcome, "read", once)
    results = best.python("print(input())", [Case(b"%d" % n) for n in range(4)], go_on=lambda ran: not seen.append(ran))
    assert [ran.stdout for ran in results] == [b"0\n", b"1\n", b"2\n", b"3\n"] and seen == results


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_cpp_is_compiled_once_and_runs_each_case(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    source = '#include <cstdio>\nint main() { int n; scanf("%d", &n); printf("%d\\n", n * n); }'
    assert [ran.stdout for ran in sandbox.cpp(source, [Case(b"3"), Case(b"4")])] == [b"9\n", b"16\n"]
    monkeypatch.setattr(sandbox, "_compile", lambda *_: pytest.fail("compiled again"))
    assert sandbox.cpp(source, [Case(b"5")])[0].stdout == b"25\n"


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_cpp_has_a_deep_stack_and_many_threads_whatever_its_macros_are(best: Sandbox) -> None:
    source = """
#include <bits/stdc++.h>
using namespace std;
#define int long long
int deep(int n) { volatile char b[64]; b[0] = n; return n ? deep(n - 1) + b[0] % 2 : 0; }
signed main() {
    vector<thread> made;
    for (int n = 0; n < 60; ++n) made.emplace_back([] { this_thread::sleep_for(chrono::milliseconds(200)); });
    for (auto& each : made) each.join();
    cout << made.size() << (deep(700000) != 1);
}
"""
    (ran,) = best.cpp(source, [Case()])
    assert (ran.outcome, ran.stdout) == ("done", b"601"), ran
    for ending in (
        "",
        " // no line ends here",
        " // nor here \\",
        "\n#define static\n#define void int",
        "\n/* closed */",
    ):
        (ran,) = best.cpp("int main() {}" + ending, [Case()])
        assert ran.outcome == "done", (ending, ran)


def test_cpp_that_does_not_compile_is_an_error_of_every_case(best: Sandbox) -> None:
    results = best.cpp("int main() { return x; }", [Case(), Case()])
    assert [ran.outcome for ran in results] == ["error", "error"] and "does not compile" in results[0].reason


def test_a_server_that_is_killed_is_started_again(best: Sandbox) -> None:
    best.python("print(1)", [Case()])
    assert best._server is not None
    best._server._process.send_signal(signal.SIGKILL)
    assert best.python("print(2)", [Case()])[0].stdout == b"2\n"


def test_an_answer_whose_jail_dies_twice_is_told_apart_from_a_sandbox_that_is_down(
    best: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = outcome.read

    def nonsense(told: Mapping[str, Any], blob: bytes, case: Case, limits: Limits) -> Ran:
        if b"xxx" in blob:
            raise ValueError("nonsense")
        return read(told, blob, case, limits)

    monkeypatch.setattr(outcome, "read", nonsense)
    with pytest.raises(Breaks, match="nonsense"):
        best.python("print('xxx')", [Case()])
    monkeypatch.undo()
    assert best.python("print(1)", [Case()])[0].stdout == b"1\n"


def test_a_source_that_ends_its_reader_is_an_error_of_the_answer(best: Sandbox) -> None:
    assert best.rung
    killed: set[int] = set()
    done = threading.Event()

    def kill_two_that_read() -> None:
        proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        ages: dict[int, int] = {}
        while len(killed) < 2 and not done.wait(0.05):
            server = best._server
            for pid in procs.below(proc, server._process.pid) if server is not None else []:
                ages[pid] = ages.get(pid, 0) + 1
                if ages[pid] > 5 and pid not in killed:  # no canary lives as long
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
        os.close(proc)

    killer = threading.Thread(target=kill_two_that_read)
    killer.start()
    (ran,) = best.python("x = " + "9" * 1_000_000, [Case()])
    done.set()
    killer.join()
    assert ran.outcome == "error" and "ends the interpreter" in ran.reason
    assert best.python("print(1)", [Case()])[0].stdout == b"1\n"


def test_a_source_that_takes_too_long_to_parse_fails_in_time(best: Sandbox) -> None:
    started = time.monotonic()
    (ran,) = best.python("x = " + "9" * 3_000_000, [Case()], limits=QUICK)
    assert "too long to parse" in ran.reason and time.monotonic() - started < 10


def test_no_rung_is_down_with_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Server, packages: bool) -> dict[str, Any]:
        raise NoRung("not here", "another kernel")

    monkeypatch.setattr(Server, "_settings", refuse)
    with Sandbox() as sandbox, pytest.raises(SandboxDown, match=r"rung 3: not here .*another kernel"):
        sandbox.python("print(1)", [Case()])


def test_rung_4_needs_the_word_unsafe() -> None:
    with Sandbox(rung=4) as sandbox, pytest.raises(SandboxDown, match="unsafe"):
        sandbox.python("print(1)", [Case()])
    with Sandbox(rung=4, unsafe=True) as sandbox:
        assert sandbox.python("print(1)", [Case()])[0].stdout == b"1\n" and sandbox.rung == 4


def test_unsafe_still_takes_the_best_rung_there_is(best: Sandbox) -> None:
    with Sandbox(unsafe=True) as sandbox:
        assert sandbox.rung == best.rung


def test_several_threads_may_share_a_sandbox(best: Sandbox) -> None:
    found: dict[int, bytes] = {}

    def run(number: int) -> None:
        found[number] = best.python(f"print({number})", [Case()])[0].stdout

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: b"%d\n" % number for number in range(6)}


_CHILD = """
import os, sys
from stillhouse.sandbox import Case, Sandbox
sandbox = Sandbox()
assert sandbox.rung
print(sandbox._server._process.pid, flush=True)
sandbox.python("import time; time.sleep(60)", [Case()])
"""


def _start(program: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment)


def test_server_and_answer_end_with_the_process_that_started_them() -> None:
    with _start(_CHILD) as process:
        assert process.stdout is not None
        server = int(process.stdout.readline())
        ended = os.pidfd_open(server)
        process.kill()
        process.wait()
        assert select.select([ended], [], [], 10)[0], "the server outlives its parent"
        os.close(ended)


def test_a_forked_child_starts_a_sandbox_of_its_own(best: Sandbox) -> None:
    best.python("print(1)", [Case()])
    program = _CHILD.replace("time.sleep(60)", "pass") + (
        "pid = os.fork()\n"
        "ran = sandbox.python('print(2)', [Case()])\n"
        "if pid == 0: os._exit(0 if ran[0].stdout == b'2\\n' else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), ran[0].stdout)\n"
    )
    with _start(program) as process:
        told = process.communicate(timeout=60)[0].decode().splitlines()
    assert told[1] == "0 b'2\\n'"


def test_a_soft_memory_limit_of_the_worker_does_no_harm() -> None:
    program = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        "from stillhouse.sandbox import Case, Sandbox\n"
        "with Sandbox() as sandbox:\n"
        "    print(sandbox.python('x = bytearray(900 << 20); print(1)', [Case()])[0].outcome)\n"
    )
    with _start(program) as process:
        assert process.communicate(timeout=60)[0] == b"done\n"


def open_descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir() if path.exists()}


def test_nothing_of_the_sandbox_is_left_behind(best: Sandbox) -> None:
    before = open_descriptors()
    with Sandbox(rung=best.rung) as sandbox:
        sandbox.python("print(1)", [Case()])
        server = sandbox._server
        assert server is not None
    deadline = time.monotonic() + 10
    while server._process.poll() is None and time.monotonic() < deadline:
        os.sched_yield()
    assert server._process.poll() is not None and open_descriptors() == before
