"""Verifies code: runs the answer's last matching fenced block on the query's tests, in the sandbox.

In: a query with a test_case, a response; out: a verdict with passed / run, rule `sandbox`, the first failing test
as its reason, and the rung of isolation. Why: the expected values never enter the jail, so what passes has
computed them. A sandbox that is down gives unknown, never a fail.
"""

from __future__ import annotations

from typing import Any

from stillhouse.records import PASS_TENTHS, Query, Response, Verdict, canonical_json, content_hash
from stillhouse.sandbox.jail import Breaks, Sandbox, SandboxDown
from stillhouse.sandbox.limits import COMPILING, MIB, Limits
from stillhouse.sandbox.outcome import Case, Ran
from stillhouse.verifiers.code_fences import Language, Solution, blocks, solution
from stillhouse.verifiers.code_tests import Check, Unreadable, languages, read

_VERSION = "2"
_RULE = "sandbox"
_REMEMBERED, _REMEMBERED_BYTES = 256, 1 << 16  # queries whose tests are kept, and the largest of them


class Code:
    """A verifier of Python (asserts, stdin/stdout) and C++ (stdin/stdout).

    python_timeout, cpp_timeout: wall-clock seconds a test. tests: how many of the first tests count. memory_mb: of a
    test. packages: may answers import what is installed for the running interpreter? stop_early: leave out the
    tests that can no longer change pass or fail (the score is then a lower bound). unsafe: run even where nothing
    isolates. rung: insist on one rung of the ladder, see `stillhouse doctor`.
    """

    def __init__(
        self,
        *,
        unsafe: bool = False,
        python_timeout: float = 10.0,
        cpp_timeout: float = 10.0,
        tests: int = 10,
        memory_mb: int = 1024,
        packages: bool = True,
        stop_early: bool = False,
        rung: int | None = None,
    ) -> None:
        if tests < 1 or python_timeout <= 0 or cpp_timeout <= 0 or memory_mb < 64:
            raise ValueError("tests and time-outs must be positive, and memory_mb at least 64")
        self.tests, self.stop_early = tests, stop_early
        self._limits: dict[Language, Limits] = {
            "python": Limits(seconds=python_timeout, memory=memory_mb * MIB),
            "cpp": Limits(seconds=cpp_timeout, memory=memory_mb * MIB),
        }
        self.sandbox = Sandbox(rung=rung, unsafe=unsafe, packages=packages)
        self._known: dict[str, tuple[list[Check], frozenset[Language]]] = {}
        changed = {
            "python": python_timeout,
            "cpp": cpp_timeout,
            "tests": tests,
            "memory": memory_mb,
            "packages": packages,
        }
        default = {"python": 10.0, "cpp": 10.0, "tests": 10, "memory": 1024, "packages": True}
        self.version = _VERSION if changed == default else f"{_VERSION}-{content_hash(canonical_json(changed))[:8]}"
        # both compilations, every test to its limit, twice (a fault of the sandbox is tried again), and the starts
        once = tests * max(python_timeout, cpp_timeout) + len(self.sandbox.standards) * COMPILING.seconds
        self.deadline = 2 * once + 60.0

    def check(self, query: Query) -> Verdict:
        """Are the tests readable, and can they be run here? Does a solution in the ground truth pass them?"""
        try:
            tests, spoken = self._read(query)
        except Unreadable as problem:
            return Verdict("fail", 0.0, "no_reference", str(problem))
        try:
            rung = self.sandbox.rung
        except SandboxDown as down:
            return _down(down)
        told = query.ground_truth or ""
        reference = solution(told, spoken) if blocks(told) else None
        if not isinstance(reference, Solution):
            return Verdict.of(1, 1, "tests_readable", rung=rung, weak=sum(test.weak for test in tests))
        return self._judge(reference, tests)

    def __call__(self, query: Query, response: Response) -> Verdict:
        """Score = tests passed / tests run."""
        try:
            tests, spoken = self._read(query)
        except Unreadable as problem:
            return Verdict.unknown("no_reference", str(problem))
        parts = response.parts
        if parts.malformed is not None:
            return Verdict.of(0, len(tests), "malformed", parts.malformed)
        found = solution(parts.answer, spoken)
        if isinstance(found, str):
            return Verdict.of(0, len(tests), "no_code", found)
        return self._judge(found, tests)

    def settle(self, query: Query, response: Response, reply: Response) -> Verdict:
        """Never called: this verifier asks no judge."""
        raise NotImplementedError("the code verifier asks no judge")

    def close(self) -> None:
        """End the sandbox; it also ends with this process."""
        self.sandbox.close()

    def _read(self, query: Query) -> tuple[list[Check], frozenset[Language]]:
        """Remembered by reference: all attempts of all teachers at a query face the same tests."""
        key = query.reference
        known = self._known.get(key)
        if known is None:
            tests = read(query.test_case, self.tests)
            known = tests, languages(query.test_case or {})
            if sum(len(test.case.stdin) + len(test.expected) for test in tests) < _REMEMBERED_BYTES:
                self._known[key] = known
        if len(self._known) > _REMEMBERED:
            self._known.pop(next(iter(self._known)))
        return known

    def _judge(self, found: Solution, tests: list[Check]) -> Verdict:
        reasons: list[str] = []

        def go_on(ran: Ran) -> bool:
            reasons.append(tests[len(reasons)].judge(ran))
            failed = sum(1 for reason in reasons if reason)
            decided = 10 * (len(tests) - failed) < PASS_TENTHS * len(tests)
            return not (self.stop_early and decided)

        cases: list[Case] = [test.case for test in tests]
        try:
            run = self.sandbox.python if found.language == "python" else self.sandbox.cpp
            results = run(found.source, cases, limits=self._limits[found.language], go_on=go_on)
            rung = self.sandbox.rung
        except SandboxDown as down:
            return _down(down)
        except Breaks as fault:
            return Verdict.unknown(_RULE, f"the answer breaks its sandbox: {fault}")
        outcomes = ["pass" if not reason else ran.limit or "fail" for reason, ran in zip(reasons, results, strict=True)]
        first = next(((number, reason) for number, reason in enumerate(reasons) if reason), None)
        told = f"test {first[0] + 1}: {first[1]}" if first else ""
        detail: dict[str, Any] = {
            "rung": rung, "language": found.language, "weak": sum(test.weak for test in tests), "tests": outcomes,
        }  # fmt: skip
        if len(results) < len(tests):
            detail["stopped"] = True
        return Verdict.of(outcomes.count("pass"), len(tests), _RULE, told[:500], **detail)


def _down(down: SandboxDown) -> Verdict:
    """To be judged again, once the machine is mended, or the user accepts programs without isolation."""
    told = f"the sandbox is down: {down}; or accept programs without isolation: verify: {{code: {{unsafe: true}}}}"
    return Verdict.unknown(_RULE, told, transient=True)
