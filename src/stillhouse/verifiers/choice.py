"""Verifies multiple choice: the letter of the answer against that of the reference; anything else goes to a judge.

In: a query whose ground_truth is a letter (or letters, or free text), a response. Out: pass or fail by rule `choice`;
for free text an Ask for the judge `science`, who gives 0 to 5.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from stillhouse.records import Ask, Query, Response, Verdict
from stillhouse.stats.votes import groups
from stillhouse.verifiers.choice_options import options
from stillhouse.verifiers.judged import ask_science, settle_science
from stillhouse.verifiers.math_extract import last_boxed

_REFERENCE = re.compile(
    r"[(\[]?\s*([A-Ja-j](?:\s*(?:,|and|&|、|和)?\s*[A-Ja-j]){0,4})\s*[)\]]?\s*(?:[.:)：、]\s*(.*))?", re.DOTALL
)
MAX_QUESTION = 6000  # characters at its end in which options are looked for
_MARKUP = re.compile(r"\\(?:text|mathrm|textbf|mathbf|boxed|fbox)\s*|[*_`$\\{}]")
_LETTERS = r"[(\[]?\s*([A-J](?:(?:\s*(?:,|and|&|、|和)\s*|)[A-J]\b){0,4})\s*[)\]]?(?![A-Za-z'’])"
_SAYS = re.compile(
    r"(?i:answers?|option|choice|correct|select|choose|答案|选项|选择|选|应选)"
    rf"(?i:\s+(?:is|are|would be|option|choice))*\s*(?:是|为)?\s*[:：]?\s*{_LETTERS}"
)
_LINE = re.compile(rf"^\s*{_LETTERS}\s*(?:[.:)：、]|$)", re.MULTILINE)


class Choice:
    """The verifier of category science. judge: whether free-text references may be sent to the judge `science`."""

    version = "choice-1"
    deadline = 3.0

    def __init__(self, judge: bool = False) -> None:
        self.judge = judge

    def __call__(self, query: Query, response: Response) -> Verdict | Ask:
        reference = (query.ground_truth or "").strip()
        if not reference:
            return Verdict.unknown("no_reference", "the query has no ground_truth")
        wanted = letters_of(reference)
        if wanted is None:
            return self._ask(query, response)
        given = chosen(response.answer, query.text)
        if given is None:
            return Verdict.of(0, 1, "choice", "the answer names no letter")
        return Verdict.of(int(given == wanted), 1, "choice", f"answered {_spell(given)}, wanted {_spell(wanted)}")

    def _ask(self, query: Query, response: Response) -> Verdict | Ask:
        so_far = Verdict.unknown("no_judge", "the reference is no letter, and no judge `science` is configured")
        return ask_science(query, response, so_far) if self.judge else so_far

    def settle(self, query: Query, response: Response, reply: Response) -> Verdict | Ask:
        """Score / 5 by the judge's reply; one that cannot be read is asked for once more."""
        return settle_science(query, response, reply)

    def stated(self, query: Query, response: Response) -> tuple[str, bool] | None:
        """The letters that a reply chooses, for votes, and that they are its choice; None where it names none."""
        letters = chosen(response.answer, query.text)
        return None if letters is None else (_spell(letters), True)

    def alike(self, answers: Sequence[str]) -> list[int]:
        """Groups of answers that are equal."""
        return groups(answers, str.__eq__)

    def check(self, query: Query) -> Verdict:
        """Gold self-check: a letter must pass as its own answer; free text needs a judge."""
        reference = (query.ground_truth or "").strip()
        if not reference:
            return Verdict.unknown("no_reference", "the query has no ground_truth")
        wanted = letters_of(reference)
        if wanted is None:
            if self.judge:
                return Verdict.of(1, 1, "reference", "free text, for the judge")
            return Verdict.unknown("no_judge", "the reference is no letter, and no judge `science` is configured")
        same = chosen(rf"\boxed{{{_spell(wanted)}}}", query.text) == wanted
        return Verdict.of(int(same), 1, "choice", "the reference passes" if same else "the reference does not pass")

    def canary(self) -> None:
        if chosen("The answer is (B).", "") != frozenset("B"):
            raise RuntimeError("the choice verifier does not find the letter B")


def letters_of(reference: str) -> frozenset[str] | None:
    """The letters of a reference such as `B`, `(B)`, `B. 12`, `A, C`; None for free text."""
    plain = _MARKUP.sub("", unicodedata.normalize("NFKC", reference)).strip().rstrip(".")
    match = _REFERENCE.fullmatch(plain)
    if match is None or (len(match[1]) > 1 and match[1].isalpha() and not match[1].isupper()):
        return None
    return frozenset(re.findall(r"[A-J]", re.sub(r"and", "", match[1]).upper()))


def chosen(answer: str, question: str) -> frozenset[str] | None:
    """The letters that an answer chooses: in its box, behind "the answer is", at the head of a line, or by text."""
    answer = unicodedata.normalize("NFKC", answer)
    box = last_boxed(answer)
    if box is not None:
        return letters_of(box) or _said(box) or _by_text(box, question)
    plain = _MARKUP.sub("", answer).strip()
    alone = letters_of(plain) if "\n" not in plain else None
    return alone or _said(plain) or _at_line(plain) or _by_text(plain, question)


def _said(text: str) -> frozenset[str] | None:
    last = max(_SAYS.finditer(text), key=re.Match.start, default=None)
    return None if last is None else frozenset(re.findall(r"[A-J]", last[1]))


def _at_line(text: str) -> frozenset[str] | None:
    """A letter alone at the head of a line; two different ones are no choice."""
    found = {frozenset(re.findall(r"[A-J]", match[1])) for match in _LINE.finditer(text)}
    return found.pop() if len(found) == 1 else None


def _by_text(text: str, question: str) -> frozenset[str] | None:
    """The letter of the option whose text the answer is, word for word."""
    wanted = _folded(text)
    if not wanted:
        return None
    found = [letter for letter, option in options(question).items() if _folded(option) == wanted]
    return frozenset(found) if len(found) == 1 else None


def _folded(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s.%/^=+-]", "", _MARKUP.sub("", text).lower()).split()).rstrip(".")


def _spell(letters: frozenset[str]) -> str:
    return ", ".join(sorted(letters))
