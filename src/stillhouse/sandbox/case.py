"""One case, in a process of its own inside the jail: a script with its input, test steps, or a compiled program.

In: the compiled code of the answer, and its input or steps; out: what it writes, and for steps the values on
descriptor 3. Never returns. Why: everything used after the answer is loaded is bound before it, so that an answer
that patches the interpreter changes nothing but its own result.
"""

# The forkserver stays small, so that forks are cheap: it does without pathlib.
# ruff: noqa: PTH109

from __future__ import annotations

import atexit
import builtins
import gc
import io
import os
import sys
from collections.abc import Callable, Sequence
from types import CodeType, ModuleType
from typing import Any, NoReturn

from stillhouse.sandbox.limits import ENVIRONMENT
from stillhouse.sandbox.plain import NotPlain

RESULT = 3  # descriptor that the values of steps are written to
_FILE = "solution.py"


def prepare() -> None:
    """Once in the trusted parent: the streams and builtins that a plain `python solution.py` would have."""
    import site

    site.setquit()
    site.sethelper()
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, "rb", closefd=False)), "utf-8", "surrogateescape")
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        raw = io.FileIO(descriptor, "wb", closefd=False)
        errors = "surrogateescape" if name == "stdout" else "backslashreplace"
        stream = io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", errors, line_buffering=name == "stderr")
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.__stdin__ = sys.stdin  # type: ignore[misc]  # the answer may read from either
    sys.argv = [_FILE]
    sys.set_int_max_str_digits(0)  # expected outputs come from programs without that limit; the clock bounds it


def _ending() -> Callable[[int], NoReturn]:
    """What an interpreter does at its end, bound now: threads, exit functions, flushing, then the exit."""
    modules, exit_functions, leave = sys.modules, atexit._run_exitfuncs, os._exit
    streams, system, failed = [sys.stdout, sys.stderr], sys, BaseException

    def end(code: int) -> NoReturn:
        try:
            if "threading" in modules:
                modules["threading"]._shutdown()
            exit_functions()
        except failed:  # of the answer; its traceback is for its own stderr, which may be broken too
            code = code or 1
        for stream in [getattr(system, "stdout", None), getattr(system, "stderr", None), *streams]:
            try:
                stream.flush()  # type: ignore[union-attr]  # what it may be is the answer's doing
            except failed:  # replaced by the answer, closed, or nobody reads any more
                continue
        leave(code)

    return end


def _report() -> Callable[[BaseException], int]:
    """Exit code of an exception, after its traceback on stderr, as the interpreter does it; bound now."""
    show, leaving, write, whole = sys.__excepthook__, SystemExit, os.write, int

    def report(error: BaseException) -> int:
        if isinstance(error, leaving):
            if error.code is None:
                return 0
            if type(error.code) is whole:
                return error.code & 0xFF
            write(2, f"{error.code}\n".encode("utf-8", "replace"))
            return 1
        show(type(error), error, error.__traceback__)
        return 1

    return report


def _fresh(name: str) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(__builtins__=builtins, __file__=_FILE)
    sys.modules[name] = module
    return module


def run_script(code: CodeType) -> NoReturn:
    """The answer as a program: its output is on descriptors 1 and 2, its exit code is the process's."""
    end, report = _ending(), _report()
    gc.enable()
    try:
        exec(code, _fresh("__main__").__dict__)  # noqa: S102  this is what the jail is for
    except BaseException as error:  # noqa: BLE001  any end of the answer is a result
        end(report(error))
    end(0)


def run_steps(
    code: CodeType, steps: Sequence[tuple[str, CodeType]], encode: Callable[[Any], str], give: Callable[[str], None]
) -> NoReturn:
    """Load the answer as a module, then do each step in it: `do` runs statements, `value` tells an expression.

    A result is given only at the very end, so an answer that leaves early has none.
    """
    end, report, not_plain, write, failed = _ending(), _report(), NotPlain, os.write, BaseException
    run, evaluate, values = exec, eval, []
    gc.enable()
    try:
        scope = _fresh("solution").__dict__
        run(code, scope)
        for kind, step in steps:
            if kind == "do":
                run(step, scope)
            else:
                values.append(encode(evaluate(step, scope)))
        give("[" + ",".join(values) + "]")
    except not_plain as error:
        write(2, f"NotPlain: {error}\n".encode("utf-8", "replace"))
        end(1)
    except failed as error:
        end(report(error))
    end(0)


def giver() -> Callable[[str], None]:
    """Writes a whole text to the result descriptor; bound now."""
    write, view = os.write, memoryview

    def give(text: str) -> None:
        rest = view(text.encode("ascii"))
        while rest:
            rest = rest[write(RESULT, rest) :]

    return give


def run_program(descriptor: int, arguments: Sequence[str]) -> NoReturn:
    """A compiled answer from a file in memory, or the compiler by its path."""
    environment = {**ENVIRONMENT, "HOME": os.getcwd(), "TMPDIR": os.getcwd()}
    try:
        os.execve(descriptor if descriptor >= 0 else arguments[0], list(arguments), environment)  # noqa: S606  an answer needs no shell
    except (OSError, MemoryError) as error:
        os.write(2, f"cannot start the program: {error}\n".encode())
        os._exit(126)
