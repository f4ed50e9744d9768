"""Which query texts are dropped before anything is asked: each filter is a plain function of a query.

In: a Query. Out: a Verdict whose detail holds the matching text. Nearly every query passes, so each filter has
`suspects(texts)`, which says at native speed which queries it need not be called for (see query_screen).
"""

from __future__ import annotations

import functools

import regex

from stillhouse.filters import query_screen
from stillhouse.records import Query, Verdict

# Texts are hostile: every repetition below is possessive (`*+`) or bounded, so that no pattern takes quadratic time.
ODD_ONES = regex.compile(
    r"[^\x00-\x7F\p{L}\p{M}\p{N}\p{Z}\p{P}\p{Sc}\p{Sm}\p{Sk}"
    r"\u00A0-\u00FF\u2000-\u214F\u2190-\u23FF\u2460-\u24FF\u25A0-\u25FF\u27C0-\u27EF\u2980-\u2AFF"
    r"\u3000-\u33FF\uFF00-\uFFEF]"
)
BROKEN = regex.compile(r"[\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x84\x86-\x9F\uFFFD\p{Co}\p{Cs}]")
_CJK = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]")
_FENCE = regex.compile(r"^[ \t]{0,3}```", regex.M)
_DOLLAR = regex.compile(r"\\.|\$\$?", regex.S)
_BRACE = regex.compile(r"\\.|[{}]", regex.S)
_LATEX_PAIR = regex.compile(r"\\\\|\\(\[|\]|\(|\)|begin\b|end\b)")
_CURRENCY = regex.compile(r"\$\s?\d")
_URL = regex.compile(
    r"(?:https?|ftp)://\S+|\bwww\.[\w-]+\.\w\S*|\b[\w-]+\.(?:com|org|net|edu|gov|io)/\S*", regex.I
)  # fmt: skip
_MARKDOWN_RULE = regex.compile(
    r"^[ \t>]*+\|?+[ \t]*+:?-{2,}+:?[ \t]*+(?:\|[ \t]*+:?-{2,}+:?[ \t]*+)++\|?+[ \t]*+$", regex.M
)
_PIPE_ROWS = regex.compile(r"(?:^[ \t]*\|[^\n|]+\|[^\n|]+\|[^\n]*(?:\n|\Z)){2}", regex.M)
_TABLE_MARK = regex.compile(
    r"\\begin\{(?:tabular[xy*]?|longtable|table\*?)\}|\\begin\{array\}(?=(?s:.){0,2000}?\\hline)|<table[\s>]|<tr[\s>]",
    regex.I,
)
_TAB_ROW = regex.compile(r"^[^\n]*\S\t+[^\s][^\n]*$", regex.M)
_PICTURE = r"(?:figure|diagram|picture|image|graph|chart|illustration|drawing|photo|photograph|sketch|plot)s?"
_IMAGE_MARK = regex.compile(r"!\[|<img[\s>/]|\[asy\]|\\includegraphics", regex.I)
_IMAGE_IN_CODE = regex.compile(
    r"!\[[^\]\n]{0,300}+\]\([^)\n]{0,2000}+\)|<img\s+[^>]{0,300}src|\[asy\]|\\includegraphics", regex.I
)
_IMAGE_WORDS = regex.compile(
    rf"\b(?:in|from|on|see|by|to|with|consider|using)\s+the\s+(?:{_PICTURE})\s+"
    r"(?:below|above|shown|(?:at|to|on)\s+(?:the\s+)?(?:right|left))"
    rf"|\bshown\s+(?:in|on)\s+the\s+(?:\w+\s+)?{_PICTURE}\b"
    r"|\bthe\s+(?:following|accompanying|attached|adjoining|adjacent)\s+"
    r"(?:figure|diagram|picture|image|illustration|drawing|photo|photograph|sketch)s?\b"
    r"|\b(?:figure|diagram|picture|image|illustration)\s+(?:below|above|at\s+(?:the\s+)?(?:right|left))\b"
    r"|\b(?:in|see|from|refer\s+to)\s+(?:figure|fig\.?)\s*\d"
    r"|如图|下图|上图|图中|右图|左图|图示|附图",
    regex.I,
)


def oversized(query: Query, characters: int = 200_000) -> Verdict:
    """Fails on a text that no context window of a teacher holds, and that would slow every later step."""
    size = sum(len(message.content) for message in query.messages)
    if size > characters:
        return _fail("oversized", f"{size:,} characters, more than {characters:,}", [])
    return _PASS_OVERSIZED


def odd_characters(query: Query, share: float = 0.30, broken_share: float = 0.01) -> Verdict:
    """Fails above `share` of odd code points, or `broken_share` of U+FFFD, control and private-use ones."""
    text = _user_text(query)
    if text.isascii() and text.isprintable():
        return _PASS_ODD
    broken = BROKEN.findall(text)
    if len(broken) > broken_share * len(text):
        return _fail("odd_characters", f"{len(broken)} of {len(text)} characters are control or replacement", broken)
    if text.isascii():
        return _PASS_ODD
    odd = ODD_ONES.findall(text)
    if len(odd) + len(broken) > share * len(text):
        return _fail("odd_characters", f"{len(odd) + len(broken)} of {len(text)} characters are odd", odd + broken)
    return _PASS_ODD


def incomplete(query: Query) -> Verdict:
    """Fails on an empty text, on one too short to ask anything, and on one that breaks off."""
    text = query.text.strip()
    if not text:
        return _fail("incomplete", "the text is empty", [])
    if len(query.messages) == 1 and _too_short(text):
        return _fail("incomplete", "fewer than 3 words without a digit, or fewer than 4 CJK characters", [text])
    if text.endswith(("...", "…")):
        return _fail("incomplete", "ends in an ellipsis", [text[-40:]])
    if "```" in text and len(_FENCE.findall(text)) % 2:
        return _fail("incomplete", "ends inside a code fence", [text[text.rindex("```") :]])
    if query.category == "code":
        return _PASS_INCOMPLETE
    if "\\" in text and (problem := _open_latex(text)):
        return _fail("incomplete", problem, [text[-40:]])
    if "$" in text and (problem := _open_dollar(text)):
        return _fail("incomplete", problem, [text[-40:]])
    if ("{" in text or "}" in text) and (problem := _open_brace(text)):
        return _fail("incomplete", problem, [text[-40:]])
    return _PASS_INCOMPLETE


def url(query: Query) -> Verdict:
    """Fails on a web address: what it points to is not in the query."""
    text = _user_text(query)
    if "." in text and ("/" in text or "www" in text.lower()) and (found := _URL.search(text)):
        return _fail("url", "holds a URL", [found.group()])
    return _PASS_URL


def table(query: Query) -> Verdict:
    """Fails on a Markdown, LaTeX or HTML table, or on three tab-separated lines."""
    text = _user_text(query)
    found = None
    if "|" in text and "\n" in text:
        found = _MARKDOWN_RULE.search(text) or _PIPE_ROWS.search(text)
    if found is None and ("\\" in text or "<" in text):
        found = _TABLE_MARK.search(text)
    if found is not None:
        return _fail("table", "holds a table", [found.group()])
    if "\t" in text and text.count("\t") >= 3 and len(rows := _TAB_ROW.findall(text)) >= 3:
        return _fail("table", f"holds {len(rows)} tab-separated lines", rows[:3])
    return _PASS_TABLE


def image(query: Query) -> Verdict:
    """Fails on an image, or on words that refer to one."""
    text = _user_text(query)
    if "![" in text or "<" in text or "[" in text or "\\" in text:
        found = (_IMAGE_IN_CODE if query.category == "code" else _IMAGE_MARK).search(text)
        if found:
            return _fail("image", "holds an image", [found.group()])
    if _may_tell_of_image(text.lower()) and (found := _IMAGE_WORDS.search(text)):
        return _fail("image", "refers to an image", [found.group()])
    return _PASS_IMAGE


for _filter, _bit in (
    (oversized, query_screen.OVERSIZED), (odd_characters, query_screen.ODD), (incomplete, query_screen.INCOMPLETE),
    (url, query_screen.URL), (table, query_screen.TABLE), (image, query_screen.IMAGE),
):  # fmt: skip
    _filter.suspects = functools.partial(query_screen.suspects, bit=_bit)  # type: ignore[attr-defined]

_PASS_OVERSIZED, _PASS_ODD, _PASS_INCOMPLETE, _PASS_URL, _PASS_TABLE, _PASS_IMAGE = (
    Verdict("pass", 1.0, rule) for rule in ("oversized", "odd_characters", "incomplete", "url", "table", "image")
)


def _may_tell_of_image(text: str) -> bool:
    """Whether one of the nouns of _IMAGE_WORDS is in a lower-case text: a dozen searches cost less than the pattern."""
    return (
        "fig" in text or "image" in text or "picture" in text or "diagram" in text or "graph" in text
        or "chart" in text or "illustration" in text or "drawing" in text or "photo" in text or "sketch" in text
        or "plot" in text or "图" in text
    )  # fmt: skip


def _user_text(query: Query) -> str:
    if len(query.messages) == 1:
        return query.messages[0].content
    return "\n\n".join(message.content for message in query.messages if message.role == "user")


def _fail(rule: str, reason: str, matches: list[str]) -> Verdict:
    return Verdict("fail", 0.0, rule, reason, detail={"match": "".join(matches)[:400] if matches else ""})


def _too_short(text: str) -> bool:
    if len(text) > 200 or len(text.split(None, 3)) >= 3 or any(c.isdigit() for c in text):
        return False
    return len(_CJK.findall(text)) < 4


def _open_latex(text: str) -> str:
    depth = {"[": 0, "(": 0, "begin": 0}
    closing = {"]": "[", ")": "(", "end": "begin"}
    for found in _LATEX_PAIR.finditer(text):
        mark = found.group(1)
        if mark in depth:
            depth[mark] += 1
        elif mark in closing:
            depth[closing[mark]] -= 1
    for mark, count in depth.items():
        if count > 0:
            return f"ends inside LaTeX: \\{mark} without its end"
    return "ends in a backslash" if text.endswith("\\") and not text.endswith("\\\\") else ""


def _open_dollar(text: str) -> str:
    inside = ""
    for found in _DOLLAR.finditer(text):
        mark = found.group()
        if mark[0] == "\\":
            continue
        if not inside:
            inside = mark
        elif inside == "$" and mark == "$$":
            inside = "$"  # two formulas that touch: the first ends, the second begins
        elif inside == mark:
            inside = ""
    if inside == "$" and _CURRENCY.search(text):
        return ""
    return f"unbalanced {inside}" if inside else ""


def _open_brace(text: str) -> str:
    depth = 0
    for found in _BRACE.finditer(text):
        depth += {"{": 1, "}": -1}.get(found.group(), 0)
        if depth < 0:
            return "a closing brace without its opening"
    return "an opening brace without its end" if depth else ""
