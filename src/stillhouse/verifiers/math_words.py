"""Answers in words: what is the same word, what is a letter of a choice, which phrases mean one thing.

In: cleaned text. Out: normalised words, letters, numbers. English and Chinese.
"""

from __future__ import annotations

import re


def word_set(text: str) -> frozenset[str]:
    """Words of a table that is easier to read as a text."""
    return frozenset(text.split())


_GROUPS = (
    ("yes", "true", "correct", "是", "对", "正确", "真", "right"),
    ("no", "false", "incorrect", "否", "不是", "错", "错误", "假", "wrong", "不对"),
    ("no solution", "no solutions", "none", "no real solution", "no real solutions", "there is no solution",
    "empty set",
     "the empty set", "there are no solutions", "no such number", "无解", "空集", "没有", "not possible", "impossible",
     "不可能",
     "no real roots", "no such integers", "no integer solutions", "no integer solution", "no such value",
     "does not exist any"),
    ("does not exist", "dne", "doesnt exist", "undefined", "not exist", "diverges", "divergent", "不存在",
    "limit does not exist",
     "the limit does not exist", "nonexistent"),
    ("infinite", "infinitely many", "infinitely many solutions", "infinite solutions",
    "infinite number of solutions", "无穷多",
     "无数", "无数个", "无穷多个"),
    ("all real numbers", "all reals", "reals", "any real number", "全体实数", "任意实数", "所有实数", "实数",
    "all real x", "any real x", "every real x", "all real values of x", "all values of x", "all x",
    "every real number", "real numbers"),
    ("integers", "all integers", "set of integers", "set of all integers", "any integer", "整数", "全体整数",
    "所有整数"),
    ("positive integers", "all positive integers", "set of positive integers", "any positive integer", "正整数",
    "所有正整数", "全体正整数"),
    ("rational numbers", "all rational numbers", "rationals", "set of rational numbers"),
    ("complex numbers", "all complex numbers", "set of complex numbers"),
    ("even", "偶", "偶函数", "even function", "偶数"),
    ("odd", "奇", "奇函数", "odd function", "奇数"),
    ("increasing", "递增", "单调递增", "strictly increasing"),
    ("decreasing", "递减", "单调递减", "strictly decreasing"),
    ("parallel", "平行"),
    ("perpendicular", "垂直", "orthogonal"), ("equal", "相等", "they are equal"),
    ("neither", "非奇非偶"),
    ("convergent", "converges", "收敛", "converge"), ("greater", "大于", "larger"), ("less", "小于", "smaller"),
)  # fmt: skip
_SAME = {phrase: group[0] for group in _GROUPS for phrase in group}
NUMBERS = {"integers": "Z", "positive integers": "Z+", "rational numbers": "Q", "complex numbers": "C"}
NOTHING, REALS, INFINITE = "no solution", "all real numbers", "infinite"
_NUMBERS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17,
    "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70,
    "eighty": 80,
    "ninety": 90, "hundred": 100, "once": 1, "twice": 2,
}  # fmt: skip
_CHINESE = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_SCALES = {"十": 10, "百": 100, "千": 1000, "万": 10_000, "亿": 10**8}
_OPTION = re.compile(
    r"(?:the\s+)?(?:correct\s+)?(?:option|choice|answer|选项|选择|选|答案)\s*(?:is|为|是)?\s*:?\s*", re.IGNORECASE
)
_ENCLOSED = re.compile(r"[(\[{]\s*([A-Ja-j])\s*[)\]}]\s*[.:,]?\s*(.*)", re.DOTALL)
_FOLLOWED = re.compile(r"([A-Ja-j])\s*(?:[.:)]\s*(.*))?", re.DOTALL)
_TEXT_GROUP = re.compile(r"\\text\s?\{((?:[^{}]|\{[^{}]*\})*)\}")
_LEAD = re.compile(
    r"(?:\\text\s?\{\s*)?(?:(?:(?:so|thus|hence|therefore|then|we have|we get)\b[\s,]*)?(?:the\s+)?(?:final answer|"
    r"correct answer|answer|ans|value|solutions?|solution set|result|probability|area|at least|at most|"
    r"approximately|about|roughly|exactly|"
    r"so|thus|hence|therefore|x equals|sum|total|number)(?![A-Za-z_^])|答案|答|解|结果|约|大约|最终答案|所以|因此|故)"
    r"\s*(?:is\b|are\b|为|是|equals\b|:|=|,)*\s*(?:\}\s*)?(?:is\b|are\b|equals\b|:|=|\s)*",
    re.IGNORECASE,
)
# a sentence of words alone that ends in a value: "the limit exists and is equal to 2/3"
_SENTENCE = re.compile(r"[A-Za-z][A-Za-z ,']{2,80}\b(?:is equal to|equals|equal to|is|are)\s+(?=[-\d\\$(\[{a-z])(.+)")
_WORD = re.compile(r"(?<![\\A-Za-z])(?!sqrt|pi|sin|cos|tan|log|ln|exp|infinity|or|and|binom|sum)[A-Za-z]{2,}")
_TAIL = re.compile(
    r"\s*(?:\\text\s?\{\s*)?\b(?:is|are)\s+(?:the\s+)?(?:only\s+)?(?:possible\s+)?(?:values?|solutions?|answers?|ones?)\s*\}?$",
    re.IGNORECASE,
)
_NO_SUCH = re.compile(
    r"no (?:such )?(?:\w+ ){0,2}(?:solutions?|values?|numbers?|integers?|roots?|pairs?|triples?)(?: exists?)?"
)
_CIRCLED = re.compile("[①-⑳]{2,}")
MAX_WORDS, LISTED_WORDS = 8, 2


def letter(text: str) -> tuple[str, str] | None:
    r"""The letter of a choice and what follows it: `B`, `(B)`, `B. 12`, `\text{(B) } 12`; None for anything else."""
    flat = text
    if "\\text" in text:
        flat = _TEXT_GROUP.sub(r"\1", _TEXT_GROUP.sub(r"\1", text)).strip()
    lead = _OPTION.match(flat)
    if lead is not None:
        flat = flat[lead.end() :].strip()
    match = _ENCLOSED.fullmatch(flat) or _FOLLOWED.fullmatch(flat)
    if match is None:
        return None
    name, rest = match[1], (match[2] or "").strip()
    if name.islower() and (rest or name in "ei"):
        return None  # "a. 5" is a choice seldom enough; e and i are numbers
    if rest and rest[0] in "+-*/^=_([<>!,":
        return None  # a formula that begins with a variable in brackets
    return name.upper(), rest


def without_lead(text: str) -> str:
    """Without "the answer is" and its like in front, and "is the only possible value" behind."""
    tail = _TAIL.search(text)
    if tail is not None and tail.start():
        text = text[: tail.start()]
    sentence = _SENTENCE.match(text)
    if sentence is not None and not _WORD.search(sentence[1]):
        return sentence[1].strip()
    match = _LEAD.match(text)
    if match is None or match.end() == len(text):
        return text
    rest = text[match.end() :].strip()
    return rest if rest.count("{") == rest.count("}") else text


def normal(text: str) -> str | None:
    """Words without case, punctuation and articles, one phrase for its synonyms; None for what is more than words."""
    plain = _TEXT_GROUP.sub(r" \1 ", text)
    if re.search(r"[^\w\s.,;:'\"!?()-]|_", plain) or (re.search(r"\d", plain) and not re.search(r"[^\W\d]{3}", plain)):
        return None
    circled = re.sub(r"[\s,;.]", "", plain)
    if _CIRCLED.fullmatch(circled):
        return "".join(sorted(circled))  # the statements that are right, in any order
    words = re.sub(r"[^\w\s]", "", plain.lower()).split()
    if not words or len(words) > MAX_WORDS:
        return None
    dated = _date(words)
    if dated is not None:
        return dated
    listed = [re.sub(r"[^\w\s]", "", piece).strip() for piece in re.split(r",|;|\band\b", plain.lower())]
    if _NO_SUCH.fullmatch(" ".join(words)):
        return NOTHING
    if len(listed) > 1 and all(piece and len(piece.split()) <= LISTED_WORDS for piece in listed):
        return ", ".join(sorted(listed))
    kept = [word for word in words if word not in ("the", "a", "an", "is", "are", "it")] or words
    phrase = " ".join(kept)
    return _SAME.get(" ".join(words), _SAME.get(phrase, phrase))


MONTH = re.compile(
    r"\b(?:january|february|march|april|june|july|august|september|october|november|december|"
    r"(?:jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)\b)",
    re.IGNORECASE,
)
_MONTHS = {name[:3]: name for name in word_set(
    "january february march april may june july august september october november december")}  # fmt: skip
_WEEKDAYS = word_set("monday tuesday wednesday thursday friday saturday sunday")


def _date(words: list[str]) -> str | None:
    """A day of a month in one order, whichever way it was written: June 6th, 6 June, the 6th of June; None for else."""
    left = [word for word in words if word not in ("the", "of", "on", "it", "is") and word not in _WEEKDAYS]
    months = [word for word in left if word in _MONTHS or word in _MONTHS.values() or word == "sept"]
    days = [int(match[1]) for word in left if (match := re.fullmatch(r"(\d{1,2})(?:st|nd|rd|th)?", word))]
    years = [word for word in left if re.fullmatch(r"\d{4}", word)]
    if len(months) != 1 or len(days) != 1 or len(years) > 1 or len(left) != 2 + len(years):
        return None
    return " ".join([_MONTHS[months[0][:3]], str(days[0]), *years])


_PARTS = {
    "half": 2,
    "halves": 2,
    "third": 3,
    "quarter": 4,
    "fourth": 4,
    "fifth": 5,
    "sixth": 6,
    "eighth": 8,
    "tenth": 10,
}


def fraction(text: str) -> tuple[int, int] | None:
    """A fraction in words: "one half", "two-thirds", 三分之二; numerator and denominator, or None."""
    plain = _TEXT_GROUP.sub(r"\1", text).strip().lower()
    match = re.fullmatch(r"(a|an|[a-z]+)[\s-]([a-z]+)", plain)
    if match is not None:
        bottom = _PARTS.get(match[2], _PARTS.get(match[2].removesuffix("s")))
        top = 1 if match[1] in ("a", "an") else _english([match[1]])
        return None if bottom is None or top is None else (top, bottom)
    return chinese_fraction(plain)


def number(text: str) -> int | None:
    """An integer in words: "seven", "twenty-one", "one hundred five", "三十五"; None for anything else."""
    plain = _TEXT_GROUP.sub(r"\1", text).strip().lower()
    if re.fullmatch(r"[a-z]+(?:[\s-][a-z]+){0,4}", plain):
        return _english([word for word in re.split(r"[\s-]", plain) if word != "and"])
    if re.fullmatch(r"[零〇一二两三四五六七八九十百千万亿]{1,12}", plain):
        return _chinese(plain)
    return None


def _english(words: list[str]) -> int | None:
    total = 0
    for word in words:
        value = _NUMBERS.get(word)
        if value is None:
            return None
        total = total * 100 if value == 100 and total else total + value
    return total


def _chinese(text: str) -> int | None:
    if text in ("万", "亿", "百", "千"):
        return None
    total = section = digit = 0
    for char in text:
        if char in _CHINESE:
            digit = _CHINESE[char]
        elif _SCALES[char] < 10_000:
            section += (digit or 1) * _SCALES[char]
            digit = 0
        else:
            total, section, digit = (total + section + digit) * _SCALES[char], 0, 0
    return total + section + digit


def chinese_percent(text: str) -> int | None:
    """百分之四十 and 百分之40 are 40 %: the number, or None."""
    match = re.fullmatch(r"百分之(?:(\d{1,6})|([零〇一二两三四五六七八九十百]{1,6}))", text.strip())
    if match is None:
        return None
    return int(match[1]) if match[1] else _chinese(match[2])


def chinese_fraction(text: str) -> tuple[int, int] | None:
    """三分之二 is 2/3: numerator and denominator, or None."""
    part = r"(\d{1,6}|[零一二两三四五六七八九十百]{1,5})"
    match = re.fullmatch(f"{part}分之{part}", text)
    if match is None:
        return None
    bottom, top = (int(one) if one.isascii() else _chinese(one) for one in match.groups())
    return None if not bottom or top is None else (top, bottom)
