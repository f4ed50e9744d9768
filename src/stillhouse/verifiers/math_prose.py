r"""Finds the formula that a sentence of prose states as its answer: "There are 144 ways to fill a 2 x 11 box" says 144.

In: the answer part of a reply without a box. Out: the formula behind the main verb of its last sentence that has one,
or None. Clauses that follow (", which occurs when x = y") state nothing; "there are no solutions" says "no solutions".
"""

from __future__ import annotations

import re

_DELIMITED = re.compile(r"\$\$[^$]+\$\$|\\\[[^\]]+\\\]|(?<!\\)\$(?:[^$\\\n]|\\.)+\$|\\\((?:[^\\]|\\[^)])+\\\)")
_ATOM = (
    r"(?:(?:\d+(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?!?%?|[∞πθ√]|[A-Za-z](?:_\w+)?(?![A-Za-z'’])!?|\\[a-zA-Z]+|[()\[\]{}^|]"
    r"|sqrt|sum|log|ln|sin|cos|tan|pi)"
)
_PRODUCT = r"[a-z]{2,4}(?![A-Za-z'’])"  # of letters, behind a sign: elsewhere it would be a word
_BARE = rf"[-+−]?{_ATOM}(?:\s?[-+*/^]\s?{_PRODUCT}|\s?[-+*/^=<>≤≥_!,]\s?[-+−]?{_ATOM}|{_ATOM}|!)*"
_FORMULA = rf"(?:\x00\d+\x00|{_BARE})"
_UNIT = (
    r"(?:\s?(?:[kcmµ]?m|[km]?g|cm\^2|m\^2|km/h|m/s|inch(?:es)?|feet|foot|miles?|hours?|minutes?|seconds?|days?"
    r"|degrees?)\b)?"
)
_FILLER = (
    r"(?:\s+(?:given|equal|by|to|exactly|simply|therefore|thus|only|just|indeed|the|expression|value|set|values|integers?|"
    r"numbers?|number|formula|as|follows|also|at|least|most|approximately|about|then|a|an|total|of))*"
)
_STATES = re.compile(
    rf"(?:\b(?:is|are|equals?|be|was|were|becomes?|gives?|yields?|has|have)\b{_FILLER}\s*[:=]?|[=:])"
    rf"\s*(?P<formula>{_FORMULA}{_UNIT})"
)
_THERE = re.compile(rf"(?i:\bthere\s+(?:is|are|exists?|were|must be)){_FILLER}\s*(?P<formula>{_FORMULA}{_UNIT})")
_NOTHING = r"no\s+(?:(?:\w+\s+){0,3}?(?:solutions?|roots?|values?|numbers|integers|pairs?|triples?)\b|(?:\w+\s+)?\w+)"
_NONE = re.compile(
    rf"(?i:\bthere\s+(?:is|are|exists?)\s+)(?P<none>{_NOTHING})|\b(?P<has>has\s+)(?P<without>{_NOTHING})"
)
_CLAUSE = re.compile(
    r"(?i),?\s+(?:which|where|when|whenever|achieved|attained|occurring|because|since|assuming|provided|if|for all|"
    r"for any|for every|for which|such that|with equality|as it|so that|in which)\b"
)
_MORE = re.compile(rf"\s*(?:,|and|or|, and|, or)\s+(?P<formula>{_FORMULA})")
_SENTENCE = re.compile(r"[.!?。](?=\s|$)|\n")


def stated_formula(text: str) -> str | None:
    """The formula that the last stating sentence gives; None where no sentence states one behind a verb."""
    held: list[str] = []

    def hold(match: re.Match[str]) -> str:
        held.append(match[0])
        return f"\x00{len(held) - 1}\x00"

    masked = _DELIMITED.sub(hold, text)
    for sentence in reversed([s for s in _SENTENCE.split(masked) if s.strip()]):
        found = _of_sentence(sentence)
        if found is not None:
            return re.sub(r"\x00(\d+)\x00", lambda m: _bare(held[int(m[1])]), found).strip(" ,;:")
    return None


def _of_sentence(sentence: str) -> str | None:
    none = _NONE.search(sentence)
    if none is not None:
        return none["none"] or none["without"]
    there = _THERE.search(sentence)
    if there is not None:
        return _with_more(sentence, there)
    chosen: re.Match[str] | None = None
    for match in _STATES.finditer(sentence):
        if chosen is not None and _CLAUSE.search(sentence, chosen.end(), match.start()):
            break
        chosen = match
    return None if chosen is None else _with_more(sentence, chosen)


def _with_more(sentence: str, match: re.Match[str]) -> str:
    """The formula and those that are joined to it by commas, `and` and `or`."""
    parts, end = [match["formula"]], match.end()
    while (more := _MORE.match(sentence, end)) is not None:
        parts.append(more["formula"])
        end = more.end()
    return ", ".join(parts)


def _bare(delimited: str) -> str:
    """A formula without its delimiters."""
    for left, right in (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$")):
        if delimited.startswith(left) and delimited.endswith(right):
            return delimited[len(left) : -len(right)].strip()
    return delimited
