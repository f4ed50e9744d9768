"""Cuts tokens at the top level, outside all brackets.

In: tokens. Out: the pieces between given marks. Everything that is not arithmetic is read by cutting.
"""

from __future__ import annotations

from stillhouse.verifiers.math_number import GuardError
from stillhouse.verifiers.math_token import Token, UnreadableError

MAX_NESTING = 40
OPENERS = {"(": 1, "[": 1, "{": 1, "\\{": 1, "langle": 1, "lfloor": 1, "lceil": 1}
CLOSERS = {")": 1, "]": 1, "}": 1, "\\}": 1, "rangle": 1, "rfloor": 1, "rceil": 1}


def split(body: list[Token], marks: set[str]) -> tuple[list[list[Token]], list[str]]:
    """The pieces between marks outside all brackets, and the marks."""
    pieces: list[list[Token]] = [[]]
    found: list[str] = []
    depth = 0
    for token in body:
        if token.kind in ("op", "cmd"):
            depth += OPENERS.get(token.text, 0) - CLOSERS.get(token.text, 0)
            if token.text == "begin":
                depth += 1
            elif token.text == "end":
                depth -= 1
            if depth > MAX_NESTING:
                raise GuardError("a formula nested too deep")
            if depth == 0 and token.text in marks:
                pieces.append([])
                found.append(token.text)
                continue
        pieces[-1].append(token)
    if depth != 0:
        raise UnreadableError("brackets that do not close")
    return pieces, found


def partner(body: list[Token], at: int) -> int:
    depth = 0
    for index in range(at, len(body)):
        token = body[index]
        if token.kind in ("op", "cmd"):
            depth += OPENERS.get(token.text, 0) - CLOSERS.get(token.text, 0)
            if depth == 0:
                return index
    return -1


def is_dots(body: list[Token]) -> bool:
    return len(body) == 1 and body[0].kind == "cmd" and body[0].text == "ldots"


def text_of(side: list[Token]) -> str:
    return "".join(token.text for token in side)
