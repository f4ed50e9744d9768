r"""Reads a whole cleaned answer: alternatives, letters, conditions, parameters, words; formulas go on to the statement.

In: cleaned text. Out: a Shape, or None where this is nothing that we know how to read. Raises GuardError for what is
too large or nested too deep to be looked at.
"""

from __future__ import annotations

import re
from fractions import Fraction

from stillhouse.verifiers import math_words
from stillhouse.verifiers.math_number import GuardError
from stillhouse.verifiers.math_shape import (
    EMPTY,
    Choice,
    Clock,
    Either,
    Family,
    Named,
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
_EQUIVALENT = re.compile(
    r"\s*[,;(]?\s*(?:\\text\s?\{\s*)?[,;(]?\s*(?:(?:or\s*,?\s*)?equivalently|(?:or\s+)?i\.\s?e\.?|"
    r"that is|or simply|in other words|"
    r"which is|which equals|which simplifies to|also written as|or approximately|or about|即|也就是)"
    r"\s*,?:?\s*(?:to\s+)?\s*(?:\})?\s*",
    re.IGNORECASE,
)
_ABOUT = re.compile(r"\\approx(?![a-zA-Z])|\\Leftrightarrow(?![a-zA-Z])|\\sim(?![a-zA-Z])")
_PARAMETER = re.compile(
    r"[,;]?\s*\(?\s*(?:\\text\s?\{[^{}]*\}|for|where|with)?\s*(?:any|all|every)?\s*(?:\\text\s?\{[^{}]*\})?\s*(?P<name>[a-z])\s*"
    r"(?:\\in\s*(?:\\mathbb\s*\{?\s*[ZN]\s*\}?(?:\^?[+*_]?)|Z|\\text\s?\{\s*(?:Z|integers?)\s*\})|"
    r"(?:\\text\s?\{)?\s*(?:is )?(?:an |any )?integers?\s*\}?)\s*\)?$"
)
_FOR_ALL = re.compile(
    r"[,;]?\s*\(?\s*(?:\\text\s?\{\s*)?\b(?:for|where|with)\s+(?:all|any|every|each|some)\b.*$", re.DOTALL
)
_MODULUS = re.compile(
    r"\s*\(?\s*(?:\\pmod|\\bmod|\\mod|\\text\s?\{\s*\(?\s*mod\s*\}|mod\b)\s*\{?\s*(?P<modulus>[^{}()]+?)\s*\}?\s*\)?$"
)
_CLOCK = re.compile(
    r"(?P<hour>\d{1,2})\s?:\s?(?P<minute>[0-5]\d)\s*(?:\\text\s?\{\s*)?(?P<half>[ap]\.?\s?m\.?)?\s*\}?", re.IGNORECASE
)
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
    text = _other_brackets(text)
    if ":" in text:
        clock = _clock(text)
        if clock is not None:
            return clock
    letter = math_words.letter(text)
    if letter is not None:
        return Choice(letter[0], read(letter[1]) if letter[1] else None)
    parameter = _PARAMETER.search(text)
    if parameter is not None and text[: parameter.start()].strip():
        inside = read(text[: parameter.start()].strip(" ,;"))
        return None if inside is None else Family(parameter["name"], inside)
    text = _FOR_ALL.sub("", text) or text
    modulus = _MODULUS.search(text)
    if modulus is not None:
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
    if isinstance(value, Named):
        value = value.value
    if isinstance(value, Relation):
        value = Scalar(value.right)
    if not isinstance(value, Scalar) or not isinstance(divisor, Scalar):
        return None
    return Residue(value, divisor)


def _in_words(text: str) -> Shape | None:
    number = math_words.number(text)
    if number is not None:
        return Scalar(num(number))
    fraction = math_words.fraction(text)
    if fraction is not None:
        return Scalar(num(Fraction(*fraction)))
    words = math_words.normal(text)
    if words is None:
        return None
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
