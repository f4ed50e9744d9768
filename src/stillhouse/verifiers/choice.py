"""Multiple choice: the letter of the answer part against the letter of the reference; else a judge gives 0 to 5.

In: a query of category science. Out: pass or fail by rule `choice` where the reference is a letter; otherwise an Ask for
the judge `science`, or unknown where there is none. A letter is what the answer commits to, not one that it mentions.
"""

from __future__ import annotations

import re
import unicodedata

from stillhouse.records import Ask, Query, Response, Verdict
from stillhouse.verifiers.judged import ask_science, settle_science

_LETTER = re.compile(r"^\W*(?:\\text(?:bf|rm)?\{)?\s*[(\[]?([A-J])[)\].:,]?\s*\}?\W*$", re.IGNORECASE)
_LETTER_WITH_TEXT = re.compile(r"^\W*[(\[]?([A-J])\s*[)\].:]\s*\S", re.IGNORECASE)
_SAID = re.compile(
    r"(?:answer|option|choice)(?:\s+(?:is|would be|should be))?\s*(?:is)?\s*:?\s*\**\s*[(\[]?([A-J])(?:[)\].:*,]|\s|$)"
    r"|(?:答案|选项|选择)\s*(?:是|为|:)?\s*[(\[]?([A-J])(?![A-Za-z])",
    re.IGNORECASE,
)
_ALONE = re.compile(r"(?<![A-Za-z'’])\(?([A-J])\)?(?![A-Za-z'’])")
_ARTICLE = re.compile(r"A (?!or\b|and\b|is\b|was\b|but\b)[a-z]|I\b")  # the words `A` and `I` commit to nothing
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_OPTION = re.compile(r"^\s*[(\[]?([A-J])\s*[)\].:]\s*(\S.*?)\s*$", re.MULTILINE)


def letter_of(text: str | None) -> str | None:
    """The letter of a reference, A to J: alone, or with the option's text behind it; None for anything else."""
    if text is None:
        return None
    plain = unicodedata.normalize("NFKC", text).strip()
    if plain.startswith("\\boxed"):
        plain = _last_boxed(plain) or plain
    found = _LETTER.match(plain) or (_LETTER_WITH_TEXT.match(plain) if "\n" not in plain else None)
    return found.group(1).upper() if found else None


def committed_letter(answer: str, options: dict[str, str]) -> tuple[str | None, str]:
    """(letter, how it was found): in the last box, by name, as the whole of a line, by an option's text, or alone."""
    plain = unicodedata.normalize("NFKC", answer).strip()
    boxed = _last_boxed(plain)
    if boxed is not None:
        return letter_of(boxed) or _by_text(boxed, options), "boxed"
    said = [next(g for g in m.groups() if g) for m in _SAID.finditer(plain)]
    if said:
        return said[-1].upper(), "said"
    lines = [line for line in plain.splitlines() if line.strip()]
    whole = [found.group(1).upper() for line in lines if (found := _LETTER.match(line) or _LETTER_WITH_TEXT.match(line))]
    if len(set(whole)) == 1:
        return whole[0], "line"
    by_text = _by_text(plain, options)
    if by_text is not None:
        return by_text, "text"
    alone = {m.group(1) for m in _ALONE.finditer(plain) if not _ARTICLE.match(plain, m.start())}
    return (alone.pop(), "alone") if len(alone) == 1 and not whole else (None, "none")


def options_of(query: Query) -> dict[str, str]:
    """Letter -> text of the options that the query lists, one a line."""
    return {m.group(1).upper(): m.group(2) for m in _OPTION.finditer(query.text)}


def _by_text(text: str, options: dict[str, str]) -> str | None:
    """The one option whose text the answer is, without case, articles and closing punctuation."""
    said = _folded(text)
    found = [letter for letter, option in options.items() if _folded(option) == said]
    return found[0] if len(found) == 1 else None


def _folded(text: str) -> str:
    return re.sub(r"^(?:the|a|an)\s+", "", text.strip().strip(".!* ").casefold())


def _last_boxed(text: str) -> str | None:
    found = list(_BOXED.finditer(text))
    if not found:
        return None
    depth, start = 1, found[-1].end()
    for at in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[start:at]
    return None


class Choice:
    """The verifier of category science. judge: ask the recipe's judge `science` where the reference is no letter."""

    version = "choice-1"
    deadline = 3.0

    def __init__(self, judge: bool = False) -> None:
        self.judge = judge

    def check(self, query: Query) -> Verdict:
        """A reference must be there; one that is no letter needs the judge."""
        reference = (query.ground_truth or "").strip()
        if not reference:
            return Verdict("fail", 0.0, "no_reference", "a science query needs ground_truth")
        letter = letter_of(reference)
        options = options_of(query)
        if letter is not None and options and letter not in options:
            return Verdict("fail", 0.0, "reference_rejected", f"the reference {letter} is none of {', '.join(options)}")
        if letter is None and not self.judge:
            return Verdict("fail", 0.0, "no_judge", "the reference is no letter, and the recipe names no judges: {science}")
        return Verdict.of(1, 1, "choice" if letter else "judge")

    def __call__(self, query: Query, response: Response) -> Verdict | Ask:
        reference = letter_of(query.ground_truth)
        if reference is not None:
            found, how = committed_letter(response.answer, options_of(query))
            if found is None:
                return Verdict("fail", 0.0, "choice", "the answer commits to no letter", 0, 1)
            return Verdict.of(int(found == reference), 1, "choice", f"{how}: {found}, the reference is {reference}")
        if not (query.ground_truth or "").strip():
            return Verdict.unknown("no_reference", "a science query needs ground_truth")
        so_far = Verdict.unknown("judge", "the reference is no letter, and there is no judge")
        return ask_science(query, response, so_far) if self.judge else so_far

    def settle(self, query: Query, response: Response, reply: Response) -> Verdict | Ask:
        """score = s / 5; a reply without a readable score is asked for once more."""
        return settle_science(query, response, reply)
