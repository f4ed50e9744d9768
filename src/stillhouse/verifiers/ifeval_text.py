"""Counting in text of any script: words, sentences, paragraphs, capital words, whole-word matches.

In: the answer part of a reply. Out: lists of the pieces, so that a reason can quote them. A Chinese or Japanese
character counts as a word, as in the rest of the house; nothing here needs a download.
"""

from __future__ import annotations

import functools

import regex

_CJK = r"\p{Han}\p{Hiragana}\p{Katakana}ー"
# Scripts that set no blanks between words: a keyword is found anywhere in them.
_JOINED = rf"{_CJK}\p{{Thai}}\p{{Lao}}\p{{Khmer}}\p{{Myanmar}}"
_LETTER = rf"[[\p{{L}}\p{{M}}\p{{N}}]--[{_JOINED}]]"
_WORD = regex.compile(
    rf"(?V1)\d+(?:[.,:]\d+)+|[{_CJK}]|[\p{{Thai}}\p{{Lao}}\p{{Khmer}}\p{{Myanmar}}]+|{_LETTER}+(?:['’‐‑-]{_LETTER}+)*"
)
_BARE_ITEM = regex.compile(r"(?:[-*+•]|\d{1,3}[.)])[ \t]+")
_HEADING = regex.compile(r"#{1,6}[ \t]|(?:\*\*|__)[^*_\n]+(?:\*\*|__):?$")
_END = regex.compile(r"[。！？｡।॥۔؟]+[」』”’）\")]*|[.!?…]+[\"'”’)\]*_]*(?=\s|$)")
_NEVER_LAST = frozenset({
    "mr", "mrs", "ms", "dr", "prof", "st", "mt", "vs", "cf", "fig", "no", "vol", "pp", "ch", "sec", "eq", "approx",
    "dept", "gen", "col", "sgt", "capt", "lt", "rep", "sen", "gov", "hon", "rev", "fr", "e.g", "i.e", "eg", "ie",
    "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec",
})  # fmt: skip
_SELDOM_LAST = frozenset({
    "etc", "a.m", "p.m", "am", "pm", "inc", "ltd", "co", "corp", "jr", "sr", "u.s", "u.k", "u.n", "e.u", "d.c",
    "ph.d", "m.d", "b.a", "m.a", "al",
})  # fmt: skip


def words(text: str) -> list[str]:
    """Words as a person counts them: `don't`, `well-known` and `1,000.5` are one each, every CJK character is one."""
    return [match.group() for match in _WORD.finditer(text)]


def capital_words(text: str) -> list[str]:
    """Words without a small letter and with at least one capital: `NASA`, `I`, `B2B`, `USA's`."""
    stems = (word[:-2] if word.endswith(("'s", "’s")) else word for word in words(text))
    return [stem for stem in stems if stem.isupper()]


def sentences(text: str) -> list[str]:
    """Sentences by rule: abbreviations, initials, decimals and list numbers end none; a heading is none; a list item
    or a last line without a full stop is one."""
    found: list[str] = []
    for block in _blocks(text):
        found += _sentences_of(block)
    return found


def _blocks(text: str) -> list[str]:
    """Paragraphs and list items, with headings and rules left out, line breaks within a paragraph as blanks."""
    blocks: list[str] = []
    open_block = False
    for raw in text.splitlines():
        line = raw.strip()
        item = _BARE_ITEM.match(line)
        if not _WORD.search(line) or _HEADING.match(line):
            open_block = False
        elif item or not open_block:
            blocks.append(line[item.end() :] if item else line)
            open_block = True
        else:
            blocks[-1] += " " + line
    return [block for block in blocks if _WORD.search(block)]


def _sentences_of(block: str) -> list[str]:
    found: list[str] = []
    start = 0
    for match in _END.finditer(block):
        if not _is_boundary(block, match.start(), match.end(), match.group()):
            continue
        piece = block[start : match.end()].strip()
        if _WORD.search(piece):
            found.append(piece)
        start = match.end()
    rest = block[start:].strip()
    return [*found, rest] if _WORD.search(rest) else found


def _is_boundary(block: str, start: int, end: int, mark: str) -> bool:
    if mark[0] in "。！？｡।॥۔؟":
        return True
    after = _AFTER.match(block, end).group(1)  # type: ignore[union-attr]  # it matches anywhere
    if not after:
        return True
    if after[0].islower():
        return False
    if mark[0] != "." or mark.startswith(".."):
        return True
    near = block[max(0, start - _NEAR) : start]
    before = near.rsplit(None, 1)[-1].lstrip("(\"'“‘[*_").casefold() if near.strip() else ""
    if before in _NEVER_LAST or (len(before) == 1 and before.isalpha() and before != "i"):
        return False
    if before in _SELDOM_LAST:
        following = _WORD.search(after)
        return following is not None and following.group()[0].isupper() and not _NAME_AFTER.match(after)
    return True


_NEAR = 24  # no abbreviation is longer; only so much is looked at, so that long texts cost linear time
_AFTER = regex.compile(rf"\s*(\S?.{{0,{_NEAR}}})", regex.DOTALL)
_NAME_AFTER = regex.compile(r"(?:Army|Navy|Air|Senate|House|Congress|Supreme|President|Department|Government)\b")


def divided(text: str) -> list[str]:
    """Paragraphs between markdown dividers `***`, which stand alone between blanks; empty ends do not count."""
    parts = [part.strip() for part in regex.split(r"(?<!\S)\*\*\*(?!\S)", text)]
    return parts[(not parts[0]) : len(parts) - (len(parts) > 1 and not parts[-1])]


def paragraphs(text: str) -> list[str]:
    """Paragraphs between blank lines."""
    return [part.strip() for part in regex.split(r"\n[^\S\n]*\n", text.replace("\r\n", "\n")) if part.strip()]


def plain_quotes(text: str) -> str:
    """Typographic quotation marks and apostrophes as ASCII, for comparing texts."""
    return text.translate(_QUOTES)


_QUOTES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "“": '"', "”": '"', "„": '"', "＂": '"'})


def occurrences(keyword: str, text: str) -> int:
    """How often a keyword stands in a text as whole words, whatever its case, blanks and apostrophes."""
    return sum(1 for _ in _pattern(keyword).finditer(plain_quotes(text)))


@functools.lru_cache(maxsize=4096)
def _pattern(keyword: str) -> regex.Pattern[str]:
    parts = [regex.escape(part) for part in plain_quotes(keyword).split()]
    body = r"\s+".join(parts)
    head = rf"(?<!{_LETTER})" if regex.match(rf"(?V1){_LETTER}", keyword.strip()) else ""
    tail = rf"(?!{_LETTER})" if regex.search(rf"(?V1){_LETTER}$", keyword.strip()) else ""
    return regex.compile(rf"(?V1){head}{body}{tail}", regex.IGNORECASE | regex.FULLCASE)
