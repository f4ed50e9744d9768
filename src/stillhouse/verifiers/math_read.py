r"""Reads a whole cleaned answer: alternatives, letters, conditions, parameters, words; formulas go on to the statement.

In: cleaned text. Out: a Shape, or None where this is nothing that we know how to read. Raises GuardError for what is
too large or nested too deep to be looked at.
"""

from __future__ import annotations

import re
from fractions import Fraction

from stillhouse.verifiers import math_words
from stillhouse.verifiers.math_number import GuardError
from stillhouse.verifiers.math_region import pieces_of_set
from stillhouse.verifiers.math_shape import (
    EMPTY,
    Choice,
    Clock,
    Either,
    Family,
    Many,
    Named,
    Numbers,
    Piece,
    Ratio,
    Region,
    Relation,
    Residue,
    Scalar,
    Shape,
    Words,
)
from stillhouse.verifiers.math_statement import statement
from stillhouse.verifiers.math_token import UnreadableError, tokens
from stillhouse.verifiers.math_tree import num

MAX_TEXT = 6_000
MAX_RESIDUES = 40
_EQUIVALENT = re.compile(
    r"\s*[,;(]?\s*(?:\\text\s?\{\s*)?[,;(]?\s*(?:(?:or\s*,?\s*)?equivalently|(?:or\s+)?i\.\s?e\.?|"
    r"that is|or simply|in other words|"
    r"which is|which equals|which simplifies to|also written as|or approximately|or about|即|也就是)"
    r"\s*,?:?\s*(?:to\s+)?\s*(?:\})?\s*",
    re.IGNORECASE,
)
_ABOUT = re.compile(r"\\approx(?![a-zA-Z])|\\Leftrightarrow(?![a-zA-Z])|\\sim(?![a-zA-Z])")
_PARAMETER = re.compile(
    r"[,;]?\s*\(?\s*(?:\\text\s?\{[^{}]*\}|for|where|with)?\s*(?:any|all|every)?\s*(?:\\text\s?\{[^{}]*\})?\s*(?<![a-zA-Z])(?P<name>[a-z])\s*"
    r"(?:\\in\s*(?:\\mathbb\s*\{?\s*[ZN]\s*\}?(?:\^?[+*_]?)|Z|\\text\s?\{\s*(?:Z|integers?)\s*\})|"
    r"(?:\\text\s?\{)?\s*(?:is )?(?:an |any )?integers?\s*\}?)\s*\)?$"
)
_INTEGER = re.compile(
    r"[,;]?\s*\(?\s*(?:\\text\s?\{\s*)?(?:for|where|with)\s+(?:an?|any|all|every|each|some)?\s*integers?\s*"
    r"(?:values? of\s+)?\}?\s*(?P<name>[a-z])\s*\}?\)?$"
)
_FOR_ALL = re.compile(
    r"[,;]?\s*\(?\s*(?:\\text\s?\{\s*)?\b(?:for|where|with)\s+(?:all|any|every|each|some)\b.*$", re.DOTALL
)
_MODULUS = re.compile(
    r"\s*\(?\s*(?:\\pmod|\\bmod|\\mod|\\text\s?\{\s*\(?\s*mod\s*\}|mod\b)\s*\{?\s*(?P<modulus>[^{}()]+?)\s*\}?\s*\)?$"
)
_TEXT = re.compile(r"\\text\s?\{([^{}]*)\}")
_IN_TEXT = re.compile(r"\s*(?:[-+]?\d|[A-J](?:\s*(?:,|and|&)+\s*[A-J])+\s*$)")
_LONE_BRACE = re.compile(
    r"\\\{\s*\\begin\s?\{(array|aligned|matrix|gathered|split)\}\s*(?:\{[^{}]*\})?(.*)\\end\s?\{\1\}", re.DOTALL
)
_OUT_OF = re.compile(r"(\d{1,9})\s*(?:\\text\s?\{)?\s*(?:out of|in every|in)\s*\}?\s*(\d{1,9})")
_EXCEPT = re.compile(
    r"(?:\\text\s?\{\s*)?(?:all|any|every)?\s*(?:the\s+)?real(?:s| numbers?| values?)\b(?:\s+of)?(?:\s+x)?\s*"
    r"(?:except|other than|excluding|but)(?:\s+(?:for|when|at))?\s*\}?\s*(?P<points>[^\s].*)$",
    re.IGNORECASE,
)
_EITHER = re.compile(r"\s*(?:,\s*(?:or|and)?|\\text\s?\{\s*(?:or|and|,\s*or)\s*\}|\b(?:or|and)\b)\s*")
_CLOCK = re.compile(
    r"(?P<hour>\d{1,2})\s?:\s?(?P<minute>[0-5]\d)\s*(?:\\text\s?\{\s*)?(?P<half>[ap]\.?\s?m\.?)?\s*\}?", re.IGNORECASE
)
_CHINESE_CLOCK = re.compile(r"(\d{1,2})点(\d{2})分?")
_FRENCH = re.compile(r"([\[\]])([^\[\]]+,[^\[\]]+)([\[\]])")
_BEHIND = re.compile(r"\s*\((?:\\text\s?\{\s*)?\s*(?:or|=|\\approx|approximately|about)\s*(?:\})?([^()]*)\)\s*$")


def read(text: str) -> Shape | None:
    """The shape of a cleaned answer."""
    if len(text) > MAX_TEXT:
        raise GuardError(f"an answer of {len(text)} signs")
    text = math_words.without_lead(text)
    if text.startswith("\\approx"):
        text = text[len("\\approx") :].strip()
    if not text:
        return None
    text = _opened(_other_brackets(text))
    out_of = _OUT_OF.fullmatch(text)
    if out_of is not None:
        return Ratio((Scalar(num(int(out_of[1]))), Scalar(num(int(out_of[2])))))
    if math_words.MONTH.search(text):
        dated = math_words.normal(text)
        if dated is not None:
            return Words(dated)
    excepted = _EXCEPT.match(text)
    if excepted is not None:
        left_out = read(excepted["points"])
        return None if left_out is None else pieces_of_set(left_out)
    if "点" in text:
        text = _CHINESE_CLOCK.sub(r"\1:\2", text)
    if ":" in text:
        clock = _clock(text)
        if clock is not None:
            return clock
    letter = math_words.letter(text)
    if letter is not None:
        return Choice(letter[0], read(letter[1]) if letter[1] else None)
    parameter = _INTEGER.search(text) or _PARAMETER.search(text)
    if parameter is not None and text[: parameter.start()].strip():
        inside = read(text[: parameter.start()].strip(" ,;"))
        return None if inside is None else Family(parameter["name"], inside)
    text = _FOR_ALL.sub("", text) or text
    modulus = _MODULUS.search(text)
    if modulus is not None:
        if text.count("mod") > 1:
            pieces = _EITHER.split(text)
            several = [read(piece) for piece in pieces] if 1 < len(pieces) <= MAX_RESIDUES else []
            found = tuple(one for one in several if isinstance(one, Residue))
            return Many("bare", found) if found and len(found) == len(several) else None
        return _residue(text[: modulus.start()], modulus["modulus"])
    either = _alternatives(text)
    if either is not None:
        return either
    try:
        return statement(tokens(text), 0)
    except UnreadableError:
        return _in_words(text)
    except RecursionError as error:
        raise GuardError("a formula nested too deep") from error


def _other_brackets(text: str) -> str:
    """<1, 2> as a vector, ]1, 2] and [1, 2[ as the intervals that they are in France."""
    if text[0] == "<" and text[-1] == ">" and "," in text and "<" not in text[1:]:
        return f"({text[1:-1]})"
    if text[0] in "[]" and text[-1] in "[]" and (text[0] == "]" or text[-1] == "["):
        pieces = [_FRENCH.fullmatch(piece.strip()) for piece in text.split("\\cup")]
        if all(pieces):
            return "\\cup ".join(_turned(piece) for piece in pieces if piece)
    return text


def _opened(text: str) -> str:
    r"""A lone \text group around a number, a time or letters without it, and an array behind a lone brace as cases."""
    whole = _TEXT.fullmatch(text)
    if whole is not None and _IN_TEXT.match(whole[1]):
        return whole[1].strip()
    if "begin" in text and text.count("\\{") != text.count("\\}"):
        return _LONE_BRACE.sub(r"\\begin{cases}\2\\end{cases}", text)
    return text


def _turned(piece: re.Match[str]) -> str:
    return ("(" if piece[1] == "]" else "[") + piece[2] + (")" if piece[3] == "[" else "]")


def _clock(text: str) -> Clock | None:
    """9:30, 9:30 p.m.; minutes such as 05 make it a time of day for certain."""
    match = _CLOCK.fullmatch(text)
    if match is None or int(match["hour"]) > 24:
        return None
    hour, minute, half = int(match["hour"]), int(match["minute"]), (match["half"] or "")[:1].lower()
    certain = bool(half) or match["minute"][0] == "0" or not hour
    ratio = None if certain else Ratio((Scalar(num(hour)), Scalar(num(minute))))
    return Clock((hour % 12 if half else hour) * 60 + minute, half, ratio)


def _residue(text: str, modulus: str) -> Shape | None:
    """x = 3 (mod 7)."""
    text = text.replace("\\equiv", "=")
    value, divisor = read(text), read(modulus)
    if isinstance(value, Named) and isinstance(value.value, Many):
        value = value.value
    if isinstance(value, Many) and value.kind == "bare" and isinstance(divisor, Scalar):
        plain = [item.value if isinstance(item, Named) else item for item in value.items]
        residues = tuple(Residue(item, divisor) for item in plain if isinstance(item, Scalar))
        return Many("bare", residues) if len(residues) == len(plain) else None
    name = ""
    if isinstance(value, Named):
        name, value = (value.name if value.plain else ""), value.value
    if isinstance(value, Relation):
        value = Scalar(value.right)
    if not isinstance(value, Scalar) or not isinstance(divisor, Scalar):
        return None
    return Residue(value, divisor, name)


def _in_words(text: str) -> Shape | None:
    number = math_words.number(text)
    if number is not None:
        return Scalar(num(number))
    fraction = math_words.fraction(text)
    if fraction is not None:
        return Scalar(num(Fraction(*fraction)))
    percent = math_words.chinese_percent(text)
    if percent is not None:
        return Scalar(num(percent), percent=True)
    words = math_words.normal(text)
    if words is None:
        return None
    if words in math_words.NUMBERS:
        return Numbers(math_words.NUMBERS[words])
    if words == math_words.NOTHING:
        return EMPTY
    if words == math_words.REALS:
        return Region((Piece(None, False, None, False),))
    return Words(words)


def _alternatives(text: str) -> Either | None:
    """ "X, or equivalently Y" and "X = about Y" as alternatives, as far as they can be read; None without any."""
    behind = _BEHIND.search(text)
    if behind is not None and text[: behind.start()].strip():
        pieces, loose = [text[: behind.start()], behind[1]], True
    else:
        pieces, loose = _EQUIVALENT.split(text), False
        if len(pieces) == 1:
            pieces, loose = _ABOUT.split(text), True
    pieces = [piece.strip(" ,;)") if piece.count("(") < piece.count(")") else piece.strip(" ,;") for piece in pieces]
    pieces = [piece for piece in pieces if piece]
    if len(pieces) < 2 or any(piece.count("{") != piece.count("}") for piece in pieces):
        return None
    read_pieces = [read(piece) for piece in pieces]
    found = tuple(piece for piece in read_pieces if piece is not None)
    if loose and len(found) == 2 and isinstance(found[0], Scalar) and found[0].node.op == "sym":
        return Either(found[1:], loose)  # x is about 3: only the number counts
    return Either(found, loose) if found else None
