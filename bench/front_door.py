"""Start-up, resume and memory of the command line: `python bench/front_door.py [RUN]`.

Prints CPU seconds of `stillhouse --help` and of `import stillhouse`, beside `python -c pass` and typer alone; wall and
CPU seconds of running a finished run again; and the peak memory of the main process while a run distils 2,000 queries
over a fake endpoint (no model in the process). RUN: a finished run folder (default runs/demo).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 5


def cost(*words: str, cwd: Path | None = None) -> tuple[float, float, float]:
    """(wall seconds, CPU seconds of the process and its reaped children, peak MB) of one command; medians."""
    seen = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=cwd)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - started
        if child.returncode:
            raise SystemExit(f"{' '.join(words)} ended with {child.returncode}")
        seen.append((wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024))
    return tuple(sorted(column)[ROUNDS // 2] for column in zip(*seen, strict=True))  # type: ignore[return-value]


def show(name: str, measured: tuple[float, float, float]) -> None:
    wall, cpu, peak = measured
    print(f"{name:44} {wall:6.2f} s wall {cpu:6.2f} s CPU {peak:7.0f} MB")


def distil_memory() -> None:
    """Peak of the main process over 2,000 queries x 2 teachers, 20 kB replies, 256 in flight."""
    from stillhouse.testing import FakeServer

    def answer(body: dict[str, object]) -> str:
        number = str(body["messages"][-1]["content"]).split()[2]  # type: ignore[index]
        return f"<think>{'we think ' * 2500}</think><answer>\\boxed{{{int(number) + 1}}}</answer>"

    with tempfile.TemporaryDirectory() as place, FakeServer(answer) as server:
        folder = Path(place)
        rows = [json.dumps({"query": f"What is {n} + 1 here?", "ground_truth": str(n + 1)}) for n in range(2000)]
        (folder / "q.jsonl").write_text("\n".join(rows), encoding="utf-8")
        teacher = (
            f'base_url: "{server.url}", model: fake-model, max_in_flight: 256, max_tokens: 20000, thinking: required'
        )
        (folder / "r.yaml").write_text(
            "name: memory\nqueries: [{path: q.jsonl, category: math}]\ncurate: {near_duplicates: false}\nteachers:\n"
            f"  - {{name: a, {teacher}}}\n  - {{name: b, temperature: 0.5, {teacher}}}\n",
            encoding="utf-8",
        )
        code = "import sys; sys.argv = ['stillhouse', 'run', 'r.yaml', '--until', 'distill']; " \
               "from stillhouse.cli import main; main()"  # fmt: skip
        child = subprocess.Popen([sys.executable, "-c", code], cwd=folder, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        print(f"{'distil 2,000 x 2, 20 kB replies: main process':44} {used.ru_maxrss / 1024:32.0f} MB peak")


def main() -> None:
    run = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo")
    python = sys.executable
    show("python -c pass", cost(python, "-c", "pass"))
    show("python -c 'import typer'", cost(python, "-c", "import typer"))
    show("python -c 'import stillhouse'", cost(python, "-c", "import stillhouse"))
    show("stillhouse --help", cost(python, "-m", "stillhouse", "--help"))
    if (run / "recipe.yaml").is_file():
        show(
            f"stillhouse run, {run} finished",
            cost(python, "-m", "stillhouse", "run", str(run / "recipe.yaml"), "--out", str(run)),
        )
    else:
        print(f"no finished run in {run}: `stillhouse demo` makes one")
    distil_memory()
    print(f"this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
