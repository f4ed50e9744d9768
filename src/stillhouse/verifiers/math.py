r"""Verifies answers of math queries: the last \boxed of the answer against the reference.

In: a query with ground_truth, a response. Out: pass, fail or unknown with the rule that decided; an Ask where a judge
may still say yes. Runs in a worker: the pool keeps the deadline and the memory limit.
"""

from __future__ import annotations

import re

from stillhouse.records import Ask, Query, Response, UserMistake, Verdict
from stillhouse.verifiers import math_backend, math_fast, math_guard, math_judge, math_words
from stillhouse.verifiers.choice_options import options
from stillhouse.verifiers.math_clean import clean, key
from stillhouse.verifiers.math_compare import compare
from stillhouse.verifiers.math_equal import same
from stillhouse.verifiers.math_extract import extract, last_boxed
from stillhouse.verifiers.math_number import GuardError
from stillhouse.verifiers.math_read import read
from stillhouse.verifiers.math_shape import Many, Scalar, Shape
from stillhouse.verifiers.math_tree import num

Decision = tuple[str, bool | None, str]

_GROUPS = re.compile(r"(?<!\d)\d{1,3}(?:,[1-9]\d{2})+(?!\d)")
_COMMA_DECIMAL = re.compile(r"-?0,\d+")
_PROSE_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}(?![a-zA-Z])")
_BOUND = re.compile(r"\bat (least|most)\b", re.IGNORECASE)
_CJK = re.compile(r"[\u4e00-\u9fff]")
MANY_WORDS, MANY_CHARACTERS = 7, 14
MODES = ("last", "required")
CANARY = ((r"\frac{1}{2}", r"\frac{2}{4}", True), (r"x^2-1", "(x-1)(x+1)", True), (r"\sqrt{8}", r"3\sqrt{2}", False))


class Math:
    r"""The verifier of category math.

    boxed: "last" takes the last formula where there is no \boxed (rule math_unboxed); "required" fails such an answer.
    judge: after a no or an unknown, ask the recipe's judge `math`.
    """

    version = "math-1"
    deadline = 3.0

    def __init__(self, boxed: str = "last", judge: bool = False) -> None:
        if boxed not in MODES:
            raise UserMistake(f"verify: math: boxed must be one of {', '.join(MODES)}, not {boxed!r}")
        self.unboxed = boxed == "last"
        self.judge = judge

    def __call__(self, query: Query, response: Response) -> Verdict | Ask:
        verdict = self.compare(query, response.answer)
        if verdict.outcome == "pass" or verdict.rule == "no_reference":
            return verdict
        return self.ask(query, response, verdict)

    def ask(self, query: Query, response: Response, so_far: Verdict) -> Verdict | Ask:
        """The question for the judge after a no or an unknown (a time-out too); so_far itself without a judge."""
        if not self.judge:
            return so_far
        found = extract(response.answer, unboxed=True)
        return so_far if found is None else math_judge.ask(query, found.text, so_far)

    def settle(self, query: Query, response: Response, reply: Response) -> Verdict:
        return math_judge.settle(reply)

    def check(self, query: Query) -> Verdict:
        """Gold self-check: the reference in a box must pass."""
        reference = (query.ground_truth or "").strip()
        if not reference:
            return Verdict.unknown("no_reference", "the query has no ground_truth")
        content = last_boxed(reference) or reference
        problem = unreadable(clean(content))
        if problem is not None:
            return Verdict.unknown("reference", problem)
        verdict = self.compare(query, rf"\boxed{{{content}}}")
        if verdict.outcome == "pass":
            return verdict
        return Verdict.unknown("reference", f"the reference does not pass its own verifier: {verdict.reason}")

    def compare(self, query: Query, answer: str) -> Verdict:
        """The verdict on an answer part, without any judge."""
        reference = (query.ground_truth or "").strip()
        if not reference:
            return Verdict.unknown("no_reference", "the query has no ground_truth")
        reference = last_boxed(reference) or reference
        found = extract(answer, unboxed=self.unboxed)
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
        """Known pairs through Math-Verify, whose errors would otherwise look like wrong answers."""
        for reference, answer, expected in CANARY:
            if math_backend.equal(reference, answer) is not expected:
                raise RuntimeError(f"Math-Verify says {not expected} of {reference} = {answer}: its files are damaged")


def decide(reference: str, answer: str) -> Decision:
    """Rule, equal (None: unknown) and reason for two final answers, the reference first."""
    left, right = clean(reference), clean(answer)
    if _opposed(left, right):
        return "math_convention_words", False, "at least is not at most"
    known = math_fast.decide(left, right)
    if known is not None:
        return "math_exact", known, "equal" if known else "different"
    if key(left) == key(right) and left:
        return "math_exact", True, "the same writing"
    try:
        rule, same = _by_convention(left, right)
    except GuardError as error:
        return "guard", None, str(error)
    except RecursionError:
        return "guard", None, "a formula nested too deep"
    except Exception as error:  # noqa: BLE001  a fault of our own reading leaves the pair unknown, and says so
        return "error", None, f"{type(error).__name__}: {error}"[:300]
    if same is not None:
        return rule, same, "equal" if same else "different"
    return _by_math_verify(left, right)


def _opposed(left: str, right: str) -> bool:
    one, two = _BOUND.search(left), _BOUND.search(right)
    return one is not None and two is not None and one[1].lower() != two[1].lower()


def _by_convention(left: str, right: str) -> tuple[str, bool | None]:
    """The verdict of our own reading; None where one side cannot be read or compared."""
    found: tuple[str, bool | None] = ("math_verify", None)
    for reference in _readings(left):
        for answer in _readings(right):
            rule, same = compare(reference, answer)
            if same or found[1] is None:
                found = (rule, same)
            if same:
                return found
    return found


def _readings(text: str) -> list[Shape]:
    """A text's shape; of digits in groups of three the number and the list, of `0,5` the list and the decimal."""
    texts = [text, text.replace(",", ", ")] if _GROUPS.search(text) else [text]
    if _COMMA_DECIMAL.fullmatch(text):
        texts.append(text.replace(",", "."))
    return [shape for shape in map(read, texts) if shape is not None]


def _by_math_verify(left: str, right: str) -> Decision:
    if _prose(left):
        return "reference", None, f"the reference is prose: {left[:200]}"
    if _prose(right):
        return "math_convention_words", False, "the answer is prose"
    for text in (left, right):
        refused = math_guard.refusal(text)
        if refused is not None:
            return "guard", None, refused
        if "\\ldots" in text:  # Math-Verify drops the dots, and takes what is left for the whole
            rule = "reference" if text is left else "math_convention_ellipsis"
            return rule, None if text is left else False, "an ellipsis that cannot be compared"
    try:
        same = math_backend.equal(left, right)
    except math_backend.UnreadableError:
        return "reference", None, f"the reference cannot be parsed: {left[:200]}"
    except Exception as error:  # noqa: BLE001  sympy raises of everything; unknown is what that means
        return "error", None, f"{type(error).__name__}: {error}"[:300]
    return "math_verify", same, "equal" if same else "different"


def unreadable(reference: str) -> str | None:
    """Why a cleaned reference cannot be compared with anything; None when it can."""
    try:
        shapes = _readings(reference)
        for shape in shapes:
            _value_of(shape)
    except (GuardError, RecursionError) as error:
        return f"the reference is too large to be looked at: {error}"
    if shapes:
        return None
    refused = math_guard.refusal(reference)
    if refused is None and not _prose(reference):
        try:
            if not all(isinstance(reading, str) for reading in math_backend.parse(reference)):
                return None
        except Exception as error:  # noqa: BLE001  sympy raises of everything; unreadable is what that means
            refused = f"{type(error).__name__}: {error}"[:200]
    return f"the reference cannot be parsed: {refused or reference[:200]}"


def _value_of(shape: Shape) -> None:
    """Evaluate what can be evaluated. Raises GuardError for what is too large."""
    if isinstance(shape, Scalar):
        same(shape.node, num(7))
    elif isinstance(shape, Many):
        for item in shape.items:
            _value_of(item)


def _prose(text: str) -> bool:
    """Whether a text is a sentence rather than an answer."""
    words = _PROSE_WORD.findall(text)
    return len(words) >= MANY_WORDS or len(_CJK.findall(text)) >= MANY_CHARACTERS
