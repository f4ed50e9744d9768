r"""Verifies answers of math queries: the last \boxed of the answer against the reference.

In: a query with ground_truth, a response. Out: pass, fail or unknown with the rule that decided; an Ask where a judge
may still say yes. Runs in a worker: the pool keeps the deadline and the memory limit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from stillhouse.records import Ask, Query, Response, UserMistake, Verdict
from stillhouse.stats.votes import groups
from stillhouse.verifiers import math_backend, math_fast, math_judge, math_words
from stillhouse.verifiers.choice_options import options
from stillhouse.verifiers.math_clean import clean
from stillhouse.verifiers.math_decide import decide, unreadable
from stillhouse.verifiers.math_extract import Found, extract, last_boxed, yes_or_no

MODES = ("last", "required")
warm = math_backend.warm  # before the workers are forked
MOST_SOUND, LONGEST_SOUND = 50_000, 200  # references, characters of one
_PLAIN = r"[-+]?\d{1,60}(?:/\d{1,60})?|[A-J]"
PLAIN = re.compile(_PLAIN, re.ASCII)
PLAIN_BOX = re.compile(rf"\\boxed\{{({_PLAIN})\}}", re.ASCII)
MOST_AT_ONCE = 20_000  # characters
BACKEND_CANARY = (
    (r"\frac{1}{2}", r"\frac{2}{4}", True),
    ("x^2-1", "(x-1)(x+1)", True),
    (r"\sqrt{8}", r"3\sqrt{2}", False),
)
CANARY = (
    ("(1,2]", r"1<x\le 2", True),
    (r"\sqrt{8}", r"2\sqrt{2}", True),
    ("3.14", r"\pi", False),
    ("5 m", "5 km", False),
)


class Math:
    r"""The verifier of category math.

    boxed: "last" takes the last formula where there is no \boxed (rule math_unboxed); "required" fails such an answer.
    judge: after a no or an unknown, ask the recipe's judge `math`.
    """

    version = "math-2"
    deadline = 3.0

    def __init__(self, boxed: str = "last", judge: bool = False) -> None:
        if boxed not in MODES:
            raise UserMistake(f"verify: math: boxed must be one of {', '.join(MODES)}, not {boxed!r}")
        self.unboxed = boxed == "last"
        self.judge = judge
        self._sound: dict[str, Verdict] = {}  # references that passed as they are, whatever the question

    def __call__(self, query: Query, response: Response) -> Verdict | Ask:
        verdict = self.compare(query, response.answer)
        if verdict.outcome == "pass" or verdict.rule == "no_reference":
            return verdict
        return self.ask(query, response, verdict)

    def at_once(self, query: Query, answer: str) -> Verdict | None:
        """What `__call__` says where reference and the only box are a plain integer, fraction or letter each.

        Bounded and linear: nothing is parsed. None where there is anything more to it, or a judge would be asked.
        """
        reference = query.ground_truth or ""
        if len(answer) > MOST_AT_ONCE or answer.count("box") != 1:
            return None
        box = PLAIN_BOX.search(answer)
        if box is None or not PLAIN.fullmatch(reference):
            return None
        equal = math_fast.decide(reference, box[1])
        if equal is None or (not equal and (self.judge or reference.isalpha())):
            return None
        return Verdict.of(int(equal), 1, "math_exact", "equal" if equal else "different")

    def ask(self, query: Query, response: Response, so_far: Verdict) -> Verdict | Ask:
        """The question for the judge after a no or an unknown (a time-out too); so_far itself without a judge."""
        if not self.judge:
            return so_far
        found = extract(response.answer, unboxed=True)
        return so_far if found is None else math_judge.ask(query, found.text, so_far)

    def settle(self, query: Query, response: Response, reply: Response) -> Verdict | Ask:
        """The judge's yes or no; a reply that cannot be read is answered with the question once more."""
        found = extract(response.answer, unboxed=True)
        return math_judge.settle(query, "" if found is None else found.text, reply)

    def stated(self, query: Query, response: Response) -> tuple[str, bool] | None:
        """The final answer that a reply states, for votes, and whether it says so itself (by a box)."""
        found = extract(response.answer, unboxed=self.unboxed)
        return (found.text, found.boxed) if found is not None and found.text else None

    def alike(self, answers: Sequence[str]) -> list[int]:
        """Groups of answers that are equal, whichever of the two is taken as the reference."""
        return groups(answers, lambda one, other: decide(one, other)[1] is True or decide(other, one)[1] is True)

    def check(self, query: Query) -> Verdict:
        """Gold self-check: the reference in a box must pass."""
        reference = reference_of(query)
        if not reference:
            return Verdict.unknown("no_reference", "the query has no ground_truth")
        if reference in self._sound:
            return self._sound[reference]
        problem = unreadable(clean(reference))
        if problem is not None:
            return Verdict.unknown("reference", problem)
        verdict = self.compare(query, rf"\boxed{{{reference}}}")
        if verdict.outcome == "pass":
            short = len(reference) <= LONGEST_SOUND and len(self._sound) < MOST_SOUND
            if verdict.rule != "math_convention_option" and short:
                self._sound[reference] = verdict
            return verdict
        return Verdict.unknown("reference", f"the reference does not pass its own verifier: {verdict.reason}")

    def compare(self, query: Query, answer: str) -> Verdict:
        """The verdict on an answer part, without any judge."""
        reference = reference_of(query)
        if not reference:
            return Verdict.unknown("no_reference", "the query has no ground_truth")
        found = extract(answer, unboxed=self.unboxed)
        if found is None or not found.boxed:
            said = yes_or_no(answer) if self.unboxed and math_words.normal(clean(reference)) in ("yes", "no") else None
            found = Found(said, False) if said else found
        if found is None:
            return Verdict.of(0, 1, "math_unboxed", r"the answer holds no \boxed and no formula")
        if not found.text:
            return Verdict.of(0, 1, "math_empty", "the box is empty")
        rule, equal, reason = decide(reference, found.text)
        if equal is False and rule == "math_convention_letter" and self._by_option(query.text, reference, found.text):
            rule, equal, reason = "math_convention_option", True, "the text of the option with that letter"
        if not found.boxed:
            rule, reason = "math_unboxed", f"{rule}: {reason}"
        if equal is None:
            return Verdict.unknown(rule, reason)
        return Verdict.of(int(equal), 1, rule, reason)

    def _by_option(self, question: str, reference: str, answer: str) -> bool:
        """A letter on one side and, on the other, what the question gives as the option of that letter."""
        left, right = math_words.letter(clean(reference)), math_words.letter(clean(answer))
        if (left is None) == (right is None):
            return False
        name = (left or right or ("", ""))[0]
        text = options(question).get(name)
        if not text:
            return False
        return bool(decide(text, answer)[1] if left else decide(reference, text)[1])

    def canary(self) -> None:
        """Known pairs through both, for the errors of Math-Verify would otherwise look like wrong answers."""
        for reference, answer, expected in CANARY:
            if decide(reference, answer)[1] is not expected:
                raise RuntimeError(f"the math verifier does not say {expected} of {reference} = {answer}")
        for reference, answer, expected in BACKEND_CANARY:
            if math_backend.equal(reference, answer) is not expected:
                raise RuntimeError(f"Math-Verify says {not expected} of {reference} = {answer}: its files are damaged")


def reference_of(query: Query) -> str:
    """The final answer of the reference: in its box, or behind `####` where it is a worked solution."""
    text = (query.ground_truth or "").strip()
    boxed = last_boxed(text)
    return boxed if boxed else text.rpartition("####")[2].strip()
