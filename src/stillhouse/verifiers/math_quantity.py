"""Reads one quantity: an expression, with a currency sign in front or a unit behind it, or a matrix.

In: the tokens of one side. Out: a Scalar that remembers how its number was written, several for a plus-minus, a Matrix.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

from stillhouse.verifiers import math_units
from stillhouse.verifiers.math_cut import partner
from stillhouse.verifiers.math_grid import Grid
from stillhouse.verifiers.math_number import GuardError
from stillhouse.verifiers.math_parse import Parser
from stillhouse.verifiers.math_shape import Many, Matrix, Scalar, Shape
from stillhouse.verifiers.math_token import Token, UnreadableError
from stillhouse.verifiers.math_tree import Node, depth, num, signs

MAX_LEVELS = 120
MAX_POWER_OF_TEN = 400
_NO_NUMBER_BEFORE = frozenset({"^", "_", "{", "(", "/", "*", "[", "\\{", "+", "-", "pm", "mp"})
_LETTER_UNITS = frozenset("mgshLNJWVKtl")


def quantity(body: list[Token]) -> Shape:
    """An expression, with a currency sign in front or a unit behind."""
    body = _flat_unit(body)
    unit: math_units.Unit | None = None
    at = 0
    if body[0].kind == "cmd" and body[0].text == "dollar":
        unit, at = math_units.UNITS["dollar"], 1
    elif body[0].kind in ("text", "word", "op") and len(body) > 1 and body[1].kind == "num":
        unit = _currency(body[0].text)
        at = 1 if unit is not None else 0
    cut = _letters_of_unit(body) if unit is None else None
    parser = Parser(body, at, cut)
    made = parser.sum_or_choose()
    if isinstance(made, Node) and depth(made) > MAX_LEVELS:
        raise GuardError("a formula nested too deep")
    rest = body[parser.at :]
    product: Node | None = None
    if cut is not None and parser.at == cut:
        product, unit, rest = _as_product(body), math_units.read(_unit_text(rest)), []
    if rest:
        compound = _compound(made, rest)
        if compound is not None:
            return compound
        factor, unit = _unit(rest)
        if unit is None:
            raise UnreadableError(f"what follows is not read: {rest[0].text!r}")
        if factor != 1 and isinstance(made, Node):
            made = Node("mul", (made, num(factor)))
    if isinstance(made, Grid):
        return Matrix(tuple(tuple(_one(cell, body) for cell in row) for row in made.rows))
    if unit is not None and not unit.dimension and unit.factor == 1:
        unit = None
    glued = cut is not None and body[cut].glued
    variants = [replace(_one(node, body), unit=unit, product=product, glued=glued) for node in signs(made)]
    return variants[0] if len(variants) == 1 else Many("bare", tuple(variants))


def _flat_unit(body: list[Token]) -> list[Token]:
    r"""`10 \frac{\text{m}}{\text{s}}` with its unit in one line; anything else as it is."""
    at = next((i for i, t in enumerate(body) if i and t.kind == "cmd" and t.text == "frac"), None)
    if at is None or not any(token.kind == "text" for token in body[at:]):
        return body
    groups: list[str] = []
    rest = body[at + 1 :]
    while rest and rest[0].text == "{" and len(groups) < 2:
        end = partner(rest, 0)
        groups.append("".join(token.text for token in rest[1:end] if token.text not in ("{", "}")))
        rest = rest[end + 1 :] if end > 0 else []
    if len(groups) != 2 or rest or not all(re.match(r"[^\W\d]", group) for group in groups):
        return body
    unit = math_units.read("/".join(groups))
    known = unit is not None and all(math_units.known(group.split("^")[0].split(" ")[-1]) for group in groups)
    return [*body[:at], Token("text", "/".join(groups), False)] if known else body


def _compound(made: Node | Grid, rest: list[Token]) -> Scalar | None:
    """1 hour 30 minutes: a sum of two quantities of one kind; None for anything else."""
    cut = next((i for i, t in enumerate(rest) if t.kind == "num" and i and rest[i - 1].kind in ("text", "word")), None)
    if cut is None or not isinstance(made, Node):
        return None
    first = math_units.read(" ".join(token.text for token in rest[:cut] if token.text not in (",",)))
    second = quantity(rest[cut:])
    if first is None or not isinstance(second, Scalar) or second.unit is None or not first.alike(second.unit):
        raise UnreadableError("two quantities side by side")
    total = Node("add", (Node("mul", (made, num(first.factor))), Node("mul", (second.node, num(second.unit.factor)))))
    return Scalar(total, unit=math_units.Unit(Fraction(1), first.dimension))


def _currency(text: str) -> math_units.Unit | None:
    name = {"¥": "yuan", "Rs": "rupee", "rs": "rupee", "USD": "dollar", "RMB": "yuan"}.get(text, text)
    if name in ("yuan", "rupee", "dollar", "euro", "pound"):
        return math_units.UNITS[name]
    return None


def _unit(rest: list[Token]) -> tuple[int, math_units.Unit | None]:
    """What the words behind a number multiply it by (million), and its unit; None where they are neither."""
    words = [token.text for token in rest if not (token.kind == "op" and token.text in ("(", ")", "{", "}"))]
    if rest[0].kind == "cmd" and rest[0].text == "degree":
        scale = {"C": "degree celsius", "F": "degree fahrenheit"}.get("".join(words[1:]))
        return 1, math_units.UNITS[scale] if scale else None
    if rest[0].kind == "cmd" and rest[0].text == "dollar":
        words = ["dollar", *words[1:]]
    elif rest[0].kind == "op" and rest[0].text == "¥":
        words = ["yuan", *words[1:]]
    elif rest[0].kind == "word" and not rest[0].text.isascii():
        words = ["".join(words)]
    else:
        short = rest[0].kind == "word" and not math_units.known(rest[0].text) and len(rest[0].text) < 3
        if short or (rest[0].kind not in ("text", "word") and rest[0].text != "/"):
            return 1, None
    factor, words = math_units.multiple(words)
    text = " ".join(words).replace("^ ", "^").replace("^- ", "^-").strip()
    return factor, math_units.read(text) if text else math_units.Unit()


def _letters_of_unit(body: list[Token]) -> int | None:
    """Where, behind a number, letters begin that name a unit (`5 m`, `10 m/s^2`); None where they do not."""
    at = next((index for index, token in enumerate(body) if token.kind in ("sym", "word")), None)
    if at is None or at == 0 or body[at - 1].text in _NO_NUMBER_BEFORE:
        return None
    if not any(token.kind == "num" for token in body[:at]) or body[at].text not in _LETTER_UNITS:
        return None
    for token in body[at:]:
        if token.kind in ("sym", "word"):
            if token.text not in math_units.UNITS:
                return None
        elif token.text not in ("/", "*", "^", "{", "}", "-") and token.text not in ("1", "2", "3"):
            return None
    return at


def _as_product(body: list[Token]) -> Node | None:
    """The same with the letters as variables."""
    try:
        parser = Parser(body)
        made = parser.sum()
    except UnreadableError:
        return None
    return made if isinstance(made, Node) and parser.at == len(body) else None


def _unit_text(rest: list[Token]) -> str:
    return "".join(token.text for token in rest if token.text not in ("{", "}"))


def _one(node: Node, body: list[Token]) -> Scalar:
    """A scalar that remembers how its number was written."""
    percent = False
    inner = node
    if inner.op == "percent":
        percent, inner = True, inner.args[0]
    elif inner.op == "neg" and inner.args[0].op == "percent":
        percent, inner = True, Node("neg", (inner.args[0].args[0],))
    number = inner.args[0] if inner.op == "neg" else inner
    number = number.args[0] if number.op == "degree" else number
    scale = _power_of_ten(number)
    if scale is not None:
        number = number.args[0]
    if number.op == "num" and number.name:
        literal = next((t.literal for t in body if t.literal is not None and t.literal.text == number.name), None)
        if literal is not None and literal.digits:
            ulp = literal.ulp * Fraction(10) ** (scale or 0)
            return Scalar(inner, literal.digits, ulp, literal.scientific or scale is not None, percent)
    return Scalar(inner, percent=percent)


def _power_of_ten(node: Node) -> int | None:
    """Exponent of a decimal times a power of ten; None for anything else."""
    if node.op != "mul" or len(node.args) != 2 or node.args[1].op != "pow" or node.args[0].op != "num":
        return None
    base, exponent = node.args[1].args
    sign = -1 if exponent.op == "neg" else 1
    exponent = exponent.args[0] if exponent.op == "neg" else exponent
    if base.op != "num" or base.number != 10 or exponent.op != "num" or exponent.number.denominator != 1:
        return None
    return sign * int(exponent.number) if exponent.number <= MAX_POWER_OF_TEN else None
