r"""Finds the final answer in the answer part of a reply: the last \boxed, or else the last formula.

In: text of any length, hostile. Out: the answer's own text, in one pass over the input (no backtracking patterns),
because a reply of 32k tokens is read for each attempt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stillhouse.verifiers.math_prose import stated_formula

_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![a-zA-Z])\s*")
_BRACED = re.compile(r"\{([^{}]*)\}")
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_LINK = re.compile(
    r"(?:\\[()\[\]]|\\text\s?\{|\\quad|\\[;, ]|[$*\s}])*"
    r"(?:,|;|、|，|and|or|和|或|及|与)"
    r"(?:\\[()\[\]]|\\text\s?\{|\\quad|\\[;, ]|and|or|[$*\s}])*"
)
_BESIDE = re.compile(r"[ $]*|\\(?:quad|qquad|,|;| )")
_UNCLOSED_END = re.compile(r"\$|\\\]|\\\)|\n")
_FORMULA = re.compile(
    r"(?<!\\)\$\$(?P<a>[^$]+)\$\$|\\\[(?P<b>(?:[^\\]|\\[^\]])+)\\\]|(?<!\\)\$(?P<c>(?:[^$\\\n]|\\.)+)\$"
    r"|\\\((?P<d>(?:[^\\]|\\[^)])+)\\\)"
)
_ANCHOR = re.compile(
    r"(?i:(?:final\s+)?(?:answer|result)(?:\s+is|\s+would\s+be)?\s*(?:[:：=]|\bis\b)|####)"
    r"|(?:最终)?(?:答案|结果)(?:[是为:：]+)"
)
_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.])[-−+]?\$?\d[\d,]*(?:\.\d+)?(?:\s?[/:]\s?-?\d+(?:\.\d+)?)?\s?(?:%|°)?(?![A-Za-z0-9_])"
)
_SENTENCE = re.compile(
    r"\b(?:is|are|was|be|it|we|the|get|have|has|gives?|makes?|equals?|so|thus|hence|this|there)\b"
    r"|(?:\b[a-z]+\s+){4}.*\d|[\u4e00-\u9fff]{2}.*\d.*[\u4e00-\u9fff]{2}",  # four words or so, and a number among them
    re.IGNORECASE,
)
_YES_NO = re.compile(r"(?:(?:final\s+)?answer\s*[:：]\s*)?(yes|no)\b(?!\s+\w+\s+(?:is|are|exists?)\b)", re.IGNORECASE)
_PERCENT = re.compile(r"\s?\\?%")
_MARKUP = re.compile(r"\*\*|__|`")
SHORT = 120  # characters up to which an answer without box or formula may be the bare answer itself
TAIL = 4000  # characters at the end in which a formula is looked for


@dataclass(frozen=True, slots=True)
class Found:
    """An extracted answer; boxed tells whether it stood in a box."""

    text: str
    boxed: bool


def extract(answer: str, *, unboxed: bool) -> Found | None:
    """The final answer of an answer part; None when there is none (without a box, if unboxed is False)."""
    box = last_boxed(answer)
    if box is not None:
        return Found(box, True)
    formula = last_formula(answer) if unboxed else None
    return None if formula is None else Found(formula, False)


def last_boxed(text: str) -> str | None:
    r"""Content of the last \boxed (or \fbox), inner boxes opened; boxes joined by "and", "or", a comma are one list."""
    if "\\boxed" not in text and "\\f" not in text:
        return None
    boxes = _boxes(text)
    if not boxes:
        return None
    return _joined(text, boxes)


def _joined(text: str, found: list[tuple[int, int, str]]) -> str:
    """The last of what was found, with those before it that only "and", "or" or a comma part from it."""
    contents = [found[-1][2]]
    for left, right in zip(reversed(found[:-1]), reversed(found), strict=False):
        between = text[left[1] : right[0]]
        if len(between) > 40 or not (_LINK.fullmatch(between) or _BESIDE.fullmatch(between)):
            break
        contents.append(left[2])
    contents.reverse()
    unique = list(dict.fromkeys(contents))
    return ", ".join(unique) if len(unique) > 1 else unique[0]


def _boxes(text: str) -> list[tuple[int, int, str]]:
    """Start, end and content of every outermost box."""
    matches = list(_BOX.finditer(text))
    if not matches:
        return []
    closing = _closing_braces(text, {match.end() for match in matches})
    boxes: list[tuple[int, int, str]] = []
    for match in matches:
        if boxes and match.start() < boxes[-1][1]:
            continue  # inside an outer box
        start = match.end()
        if text[start : start + 1] != "{":
            token = re.compile(r"[^\s$]+").match(text, start)
            if token:
                boxes.append((match.start(), token.end(), token[0]))
            continue
        end = closing.get(start)
        if end is None:  # never closed: it ends with its line or formula
            stop = _UNCLOSED_END.search(text, start)
            end = stop.start() if stop else len(text)
            boxes.append((match.start(), end, _open_inner(text[start + 1 : end])))
        else:
            behind = _PERCENT.match(text, end + 1)  # \boxed{5}\% says five per cent
            content = _open_inner(text[start + 1 : end])
            boxes.append((match.start(), end + 1, f"{content}\\%" if behind and content else content))
    return boxes


def _closing_braces(text: str, wanted: set[int]) -> dict[int, int]:
    stack: list[int] = []
    closing: dict[int, int] = {}
    for match in _BRACES.finditer(text):
        brace = match[0]
        if brace == "{":
            stack.append(match.start())
        elif brace == "}" and stack:
            start = stack.pop()
            if start in wanted:
                closing[start] = match.start()
    return closing


def _open_inner(content: str) -> str:
    opened = _BOX.sub("", content).strip() if "\\" in content else content.strip()
    whole = _BRACED.fullmatch(opened)
    return whole[1].strip() if whole else opened


def last_formula(answer: str) -> str | None:
    """Without a box: the whole of a short answer, what follows "the answer is", what a sentence
    states, or the last formula or number."""
    text = _MARKUP.sub("", answer).strip()
    if not text:
        return None
    tail = text[-TAIL:]
    anchor = _last(_ANCHOR, tail)
    if anchor is not None:
        rest = tail[anchor.end() :].strip().split("\n")[0].strip()
        if rest:
            return _first_formula(rest)
    formulas = [(match.start(), match.end(), _inside(match)) for match in _FORMULA.finditer(tail)]
    if not formulas and len(text) <= SHORT and "\n" not in text and not _SENTENCE.search(text):
        return text
    stated = stated_formula(tail)
    if stated is not None:
        return stated
    number = _last(_NUMBER, tail, formulas[-1][1] if formulas else 0)
    if number is not None:
        return number[0].strip(" ,")
    return _joined(tail, formulas) if formulas else None


def _last(pattern: re.Pattern[str], text: str, start: int = 0) -> re.Match[str] | None:
    return max(pattern.finditer(text, start), key=re.Match.start, default=None)


def _inside(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group is not None).strip()


def _sole_formula(text: str) -> str:
    match = _FORMULA.fullmatch(text.rstrip(". "))
    return _inside(match) if match else text


def _first_formula(rest: str) -> str:
    """Of a sentence that gives the answer: its formulas, or itself up to its full stop."""
    formulas = [_inside(match) for match in _FORMULA.finditer(rest)]
    if formulas:
        return formulas[0] if len(formulas) == 1 else _sole_formula(rest)
    stop = re.search(r"[.。](?=\s|$)", rest)
    return (rest[: stop.start()] if stop else rest).strip()


def yes_or_no(answer: str) -> str | None:
    """What an answer in prose to a question of yes or no begins with: the whole of it, or else its last sentence."""
    text = _MARKUP.sub("", answer[-TAIL:]).strip()
    last = re.split(r"(?<=[.!?])\s+|\n", text)[-1]
    match = _YES_NO.match(text) or _YES_NO.match(last)
    return None if match is None else match[1]
