"""The options of a multiple-choice question, by their letters.

In: the question's text, plain or LaTeX, in one line or many. Out: letter -> text, or nothing where letters do not
follow one another from A.
"""

from __future__ import annotations

import re

MAX_TEXT = 8_000
_WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mathbf|textrm|rm|bf)\s*\{?\s*(\(?[A-J]\s*[).:]\)?)\s*\}?")
_SPACES = re.compile(r"\\(?:qquad|quad|hspace\{[^}]*\}|newline|,|;|:|!| )|~|\\\\")
_MARK = re.compile(r"(?:^|(?<=[\s$,;：:，、（？?。！]))(?:\(([A-J])\)|\[([A-J])\]|([A-J])[.):：、．])\s*", re.MULTILINE)


def options(question: str) -> dict[str, str]:
    """Texts of at least three options that follow one another (two, where each begins a line).

    The last ends with its line or formula.
    """
    text = _SPACES.sub(" ", _WRAPPED.sub(r" \1 ", question[-MAX_TEXT:]))
    marks = list(_MARK.finditer(text))
    chain: list[re.Match[str]] = []
    for mark in marks:
        letter = mark[1] or mark[2] or mark[3]
        if letter == "A":
            chain = [mark]
        elif chain and ord(letter) == ord("A") + len(chain):
            chain.append(mark)
    lines = all(mark.start() == 0 or text[mark.start() - 1] == "\n" for mark in chain)
    if len(chain) < (2 if lines else 3):
        return {}
    ends = [mark.start() for mark in chain[1:]]
    tail = text[chain[-1].end() :]
    cut = re.search(r"\n|\$(?=\s*$)", tail)
    ends.append(chain[-1].end() + (cut.start() if cut else len(tail)))
    return {
        chr(ord("A") + index): text[mark.end() : end].strip(" \t\n$;,.")
        for index, (mark, end) in enumerate(zip(chain, ends, strict=True))
    }
