"""The code of an answer: which fenced block counts, and in which language it is.

In: the answer part of a reply; out: language and source, or why there is none. Why: answers hold several blocks;
the last one of a language that the tests can run is the solution.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal, NamedTuple

Language = Literal["python", "cpp"]
_LANGUAGES: dict[str, Language] = {
    "python": "python", "python3": "python", "py": "python", "py3": "python", "cpython": "python", "pypy3": "python",
    "cpp": "cpp", "c++": "cpp", "cc": "cpp", "cxx": "cpp", "c++17": "cpp", "c++20": "cpp",
    "cpp17": "cpp", "cpp20": "cpp",
}  # fmt: skip
_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})[ \t]*([^\n`]*)$")
_CPP = re.compile(r"^\s*#\s*include\b|\bint\s+main\s*\(|\busing\s+namespace\b", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: the first word after the fence, lower case, and the text inside."""

    label: str
    text: str


class Solution(NamedTuple):
    language: Language
    source: str


def blocks(answer: str) -> list[Block]:
    """All fenced blocks in order. A fence closes with at least as many of the same marks; one that is never closed
    reaches to the end."""
    found: list[Block] = []
    opened: tuple[str, str, str] | None = None
    inside: list[str] = []
    for line in answer.replace("\r\n", "\n").split("\n"):  # not splitlines: a form feed in a string ends no line
        match = _FENCE.match(line)
        if opened is None:
            if match:
                label = match[3].strip().split()
                opened, inside = (match[1], match[2], label[0].strip("{}.").lower() if label else ""), []
        elif match and match[2].startswith(opened[1]) and not match[3].strip():
            found.append(Block(opened[2], "\n".join(inside) + "\n"))
            opened = None
        else:
            inside.append(line.removeprefix(opened[0]))
    if opened is not None and inside:
        found.append(Block(opened[2], "\n".join(inside) + "\n"))
    return found


def solution(answer: str, languages: Collection[Language]) -> Solution | str:
    """The last block in one of the languages; an unlabelled one counts when no block has a label. Else says why not."""
    found = [block for block in blocks(answer) if block.text.strip()]
    if not found:
        return "the answer holds no fenced code"
    for block in reversed(found):
        language = _LANGUAGES.get(block.label)
        if language in languages and language is not None:
            return Solution(language, block.text)
    labels = sorted({block.label for block in found if block.label})
    if labels:
        return f"no fenced {' or '.join(sorted(languages))} code, only {', '.join(labels)[:100]}"
    text = found[-1].text
    guessed: Language = "cpp" if _CPP.search(text) else "python"
    if guessed not in languages:
        return f"the fenced code is {guessed}, and the tests need {' or '.join(sorted(languages))}"
    return Solution(guessed, text)
