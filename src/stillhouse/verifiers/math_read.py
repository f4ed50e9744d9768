r"""Reads a whole cleaned answer: lists, sets, tuples, intervals, relations, ratios, units, alternatives, words.

In: cleaned text. Out: a Shape, or None where this is no formula that we know how to read. Raises GuardError for what is
too large or nested too deep to be looked at.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

from stillhouse.verifiers import math_units, math_words
from stillhouse.verifiers.math_lists import progression
from stillhouse.verifiers.math_number import GuardError
from stillhouse.verifiers.math_parse import Grid, Parser
from stillhouse.verifiers.math_region import chain_region, intersect, of_relation, pieces_of_set, union
from stillhouse.verifiers.math_shape import (
    EMPTY,
    Choice,
    Dots,
    Either,
    Clock,
    Family,
    Given,
    Many,
    Matrix,
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
from stillhouse.verifiers.math_token import Token, UnreadableError, tokens
from stillhouse.verifiers.math_tree import Node, num, signs, symbols

MAX_TEXT = 6_000
MAX_NESTING = 40
MAX_POWER_OF_TEN = 400
_LETTER_UNITS = frozenset("mgshLNJWVKtl")
_OPENERS = {"(": 1, "[": 1, "{": 1, "\\{": 1, "langle": 1, "lfloor": 1, "lceil": 1}
_CLOSERS = {")": 1, "]": 1, "}": 1, "\\}": 1, "rangle": 1, "rfloor": 1, "rceil": 1}
_COMPARE = {"=": "=", "<": "<", ">": ">", "le": "<=", "ge": ">=", "ne": "!=", "in": "in", "notin": "notin"}
_EQUIVALENT = re.compile(
    r"\s*[,;(]?\s*(?:\\text\s?\{\s*)?[,;(]?\s*(?:(?:or\s*,?\s*)?equivalently|(?:or\s+)?i\.\s?e\.?|that is|or simply|in other words|"
    r"which is|which equals|which simplifies to|also written as|or approximately|or about|即|也就是)\s*,?:?\s*(?:to\s+)?\s*(?:\})?\s*",
    re.IGNORECASE,
)
_ABOUT = re.compile(r"\\approx(?![a-zA-Z])|\\Leftrightarrow(?![a-zA-Z])|\\sim(?![a-zA-Z])")
_PARAMETER = re.compile(
    r"[,;]?\s*\(?\s*(?:\\text\s?\{[^{}]*\}|for|where|with)?\s*(?:any|all|every)?\s*(?:\\text\s?\{[^{}]*\})?\s*(?P<name>[a-z])\s*"
    r"(?:\\in\s*(?:\\mathbb\s*\{?\s*[ZN]\s*\}?(?:\^?[+*_]?)|Z|\\text\s?\{\s*(?:Z|integers?)\s*\})|"
    r"(?:\\text\s?\{)?\s*(?:is )?(?:an |any )?integers?\s*\}?)\s*\)?$"
)
_FOR_ALL = re.compile(r"[,;]?\s*\(?\s*(?:\\text\s?\{\s*)?\b(?:for|where|with)\s+(?:all|any|every|each|some)\b.*$", re.DOTALL)
_MODULUS = re.compile(
    r"\s*\(?\s*(?:\\pmod|\\bmod|\\mod|\\text\s?\{\s*\(?\s*mod\s*\}|mod\b)\s*\{?\s*(?P<modulus>[^{}()]+?)\s*\}?\s*\)?$"
)
_CLOCK = re.compile(
    r"(?P<hour>\d{1,2})\s?:\s?(?P<minute>[0-5]\d)\s*(?:\\text\s?\{\s*)?(?P<half>[ap]\.?\s?m\.?)?\s*\}?", re.IGNORECASE
)
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
        return _statement(tokens(text), 0)
    except UnreadableError:
        return _in_words(text)
    except RecursionError as error:
        raise GuardError("a formula nested too deep") from error


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
    fraction = math_words.chinese_fraction(text)
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
    """ "X, or equivalently Y" and "X = about Y" as alternatives; None where there are none, or one cannot be read."""
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
    return Either(found, loose) if len(found) == len(pieces) else None


# ---- statements: lists of clauses ----
def _statement(all_tokens: list[Token], depth: int) -> Shape:
    if depth > MAX_NESTING:
        raise GuardError("a formula nested too deep")
    body = all_tokens[:-1] if all_tokens and all_tokens[-1].kind == "end" else all_tokens
    groups = _systems(body, depth)
    if groups is not None:
        return groups
    clauses, links = _split(body, {",", ";", "and", "or", "\\\\", "land", "lor"})
    if len(clauses) == 1:
        return _clause(clauses[0], depth)
    shapes = [_clause(clause, depth) for clause in clauses if clause]
    if len(shapes) == 1:
        return shapes[0]
    parameter = shapes[-1]
    if isinstance(parameter, Named) and isinstance(parameter.value, Numbers):
        return Family(parameter.name, shapes[0] if len(shapes) == 2 else _listed(shapes[:-1], links))
    if isinstance(shapes[0], Scalar | Named) and all(isinstance(shape, Region | Relation) for shape in shapes[1:]):
        if not isinstance(shapes[0], Named) or not isinstance(shapes[0].value, Region):
            return Given(shapes[0], shapes[1] if len(shapes) == 2 else _listed(shapes[1:], links[1:]))
    return _listed(shapes, links)


def _systems(body: list[Token], depth: int) -> Many | None:
    """`x=1, y=2 or x=3, y=4`: several solutions of several unknowns, each a list of its own."""
    for marks in ({"or", "lor"}, {";"}, {"\\\\"}):
        parts, _ = _split(body, marks)
        if len(parts) < 2:
            continue
        inner = [_split(_trimmed(part), {",", "and", "land"})[0] for part in parts]
        if all(len(clauses) > 1 for clauses in inner):
            systems = [_statement(_trimmed(part), depth + 1) for part in parts]
            if all(isinstance(s, Many) and s.kind == "bare" and _unknowns(s) for s in systems):
                return Many("bare", tuple(systems))
    return None


def _trimmed(part: list[Token]) -> list[Token]:
    while part and part[-1].text == ",":
        part = part[:-1]
    return part


def _unknowns(system: Many) -> bool:
    names = [item.name for item in system.items if isinstance(item, Named)]
    return len(names) == len(system.items) == len(set(names))


def _listed(shapes: list[Shape], links: list[str]) -> Shape:
    """Several clauses: regions are joined or cut, everything else is a bare list."""
    regions = [shape for shape in shapes if isinstance(shape, Region)]
    if len(regions) == len(shapes) and len({region.variable for region in regions}) == 1:
        if any(link in ("or", "lor") for link in links):
            return union(regions)
        cut = intersect(regions)
        return union(regions) if cut is None or not cut.pieces else cut
    flat: list[Shape] = []
    for shape in shapes:
        flat.extend(shape.items if isinstance(shape, Many) and shape.kind == "bare" and not _unknowns(shape) else (shape,))
    return Many("bare", tuple(flat))


def _clause(body: list[Token], depth: int) -> Shape:
    """One clause: a chain of sides with relations between them, a ratio, or a single side."""
    if not body:
        raise UnreadableError("nothing between two commas")
    if _is_dots(body):
        return Dots()
    sides, signs_between = _split(body, set(_COMPARE))
    if len(sides) > 1:
        return _chain(sides, [_COMPARE[sign] for sign in signs_between], depth)
    return _side_or_ratio(body, depth)


def _side_or_ratio(body: list[Token], depth: int) -> Shape:
    parts, _ = _split(body, {":"})
    if len(parts) > 1:
        scalars = [_side(part, depth) for part in parts]
        if not all(isinstance(scalar, Scalar) for scalar in scalars):
            raise UnreadableError("a ratio of something else than numbers")
        return Ratio(tuple(scalar for scalar in scalars if isinstance(scalar, Scalar)))
    return _side(body, depth)


def _chain(sides: list[list[Token]], ops: list[str], depth: int) -> Shape:
    if not sides[-1] or not sides[0]:
        raise UnreadableError("a relation without one side")
    if ops[-1] in ("in", "notin"):
        return _membership(sides, ops, depth)
    if all(op == "=" for op in ops):
        return _equation(sides, depth)
    if "=" in ops and ops[0] == "=" and len(ops) > 1 and "=" not in ops[1:]:
        raise UnreadableError("a definition of a relation")
    found = [_side_or_ratio(side, depth) for side in sides]
    nodes = [scalar for scalar in found if isinstance(scalar, Scalar)]
    if len(nodes) != len(found):
        raise UnreadableError("a relation between something else than numbers")
    region = chain_region(nodes, ops)
    if region is not None:
        return region
    if len(ops) == 1:
        return of_relation(nodes[0].node, ops[0], nodes[1].node)
    raise UnreadableError("a chain of relations")


def _membership(sides: list[list[Token]], ops: list[str], depth: int) -> Shape:
    if len(ops) > 1:
        raise UnreadableError("a chain of memberships")
    name = "".join(token.text for token in sides[0])
    value = _side(sides[1], depth)
    if ops[0] == "notin":
        outside = pieces_of_set(value)
        if outside is None:
            raise UnreadableError("outside of something that is no set")
        return replace(outside, variable=name)
    if isinstance(value, Region):
        return replace(value, variable=name)
    if isinstance(value, Many) and value.kind == "tuple" and len(value.items) == 2:
        low, high = value.items
        if isinstance(low, Scalar) and isinstance(high, Scalar):
            return Region((Piece(_bound(low), False, _bound(high), False),), name)
    return Named(name, value)


def _bound(scalar: Scalar) -> Scalar | None:
    return None if scalar.infinite else scalar


def _equation(sides: list[list[Token]], depth: int) -> Shape:
    """Of a chain of equal signs the last side is the answer; its name is the first side where that is a name."""
    value = _side_or_ratio(sides[-1], depth)
    name = _name_of(sides[0])
    if name is not None:
        return Named(name[0], value, name[1])
    try:
        left = _side_or_ratio(sides[-2] if len(sides) > 2 else sides[0], depth)
    except UnreadableError:
        left = None
    if not isinstance(left, Scalar) or not isinstance(value, Scalar):
        return Named("".join(token.text for token in sides[0]), value, plain=False)
    if not symbols(left.node):
        return value if len(sides) > 1 and not symbols(value.node) else Named(_text(sides[-1]), left, plain=False)
    if left.node.op == "call" and left.node.name == "abs" and _is_segment(left.node.args[0]):
        return Named("".join(token.text for token in sides[0]), value, plain=False)
    return Relation(left.node, "=", value.node)


def _is_segment(node: Node) -> bool:
    """AB between bars is the length of a segment, the name of a number."""
    return node.op == "mul" and all(part.op == "sym" and part.name.isupper() for part in node.args)


def _text(side: list[Token]) -> str:
    return "".join(token.text for token in side)


def _name_of(side: list[Token]) -> tuple[str, bool] | None:
    """The name that a left side is, and whether it is a function's; None for an expression."""
    if not side:
        return None
    try:
        parser = Parser(side)
        made = parser.atom()
    except UnreadableError:
        return None
    if not isinstance(made, Node) or made.op not in ("sym", "const") or made.name == "pi":
        return None
    rest = side[parser.at :]
    while rest and rest[0].text == "'":
        rest = rest[1:]
    if "".join(token.text for token in rest[:5]) == "^{-1}":
        made, rest = Node("sym", name=made.name + "^-1"), rest[5:]
    if not rest:
        return made.name, False
    if rest[0].text == "(" and rest[-1].text == ")" and not any(t.kind == "op" and t.text in "+-*/" for t in rest):
        return made.name, True
    return None


# ---- one side ----
def _side(body: list[Token], depth: int) -> Shape:
    if not body:
        raise UnreadableError("nothing here")
    parts, links = _split(body, {"cup", "cap", "setminus"})
    if len(parts) > 1:
        return _set_algebra(parts, links, depth)
    if any(_is_dots([token]) for token in body):
        terms, _ = _split(body, {"+"})
        if any(map(_is_dots, terms)):
            return _dotted_sum(terms, depth)
    special = _special(body)
    if special is not None:
        return special
    wrapped = _wrapped(body, depth)
    if wrapped is not None:
        return wrapped
    return _scalar(body, depth)


def _is_dots(body: list[Token]) -> bool:
    return len(body) == 1 and body[0].kind == "cmd" and body[0].text == "ldots"


def _dotted_sum(parts: list[list[Token]], depth: int) -> Shape:
    """`1 + 2 + ... + n`: the sum of an arithmetic progression by its formula, any other as its terms."""
    if len(parts) < 3 or not all(parts):
        raise UnreadableError("an ellipsis outside of a list or sum")
    terms = Many("sum", tuple(_clause(part, depth) for part in parts))
    found = progression(terms)
    if found is None or found[2] is None:
        return terms
    first, step, last = found[0], found[1], found[2]
    count = Node("add", (Node("div", (Node("add", (last, Node("neg", (first,)))), step)), num(1)))
    return Scalar(Node("div", (Node("mul", (count, Node("add", (first, last)))), num(2))))


def _special(body: list[Token]) -> Shape | None:
    first = body[0]
    if len(body) == 1 and first.kind == "cmd" and first.text == "emptyset":
        return EMPTY
    if first.kind == "cmd" and first.text == "mathbb":
        letter = "".join(token.text for token in body[1:]).strip("{}")
        if letter == "R":
            return Region((Piece(None, False, None, False),))
        return Numbers(letter)
    sign = 1
    rest = body
    while rest and rest[0].kind == "op" and rest[0].text in ("+", "-"):
        sign = -sign if rest[0].text == "-" else sign
        rest = rest[1:]
    if len(rest) == 1 and rest[0].kind == "cmd" and rest[0].text == "infty":
        return Scalar(num(0), infinite=sign)
    return None


def _set_algebra(parts: list[list[Token]], links: list[str], depth: int) -> Shape:
    total = _as_region(_side(parts[0], depth))
    for part, link in zip(parts[1:], links, strict=True):
        shape = _side(part, depth)
        if link == "setminus":
            outside = pieces_of_set(shape)
            other = None if outside is None else intersect([total, outside])
        elif link == "cup":
            other = union([total, _as_region(shape)])
        else:
            other = intersect([total, _as_region(shape)])
        if other is None:
            raise UnreadableError("sets that cannot be ordered")
        total = other
    return total


def _as_region(shape: Shape) -> Region:
    if isinstance(shape, Region):
        return shape
    if isinstance(shape, Many) and shape.kind == "tuple" and len(shape.items) == 2:
        low, high = shape.items
        if isinstance(low, Scalar) and isinstance(high, Scalar):
            return Region((Piece(_bound(low), False, _bound(high), False),))
    if isinstance(shape, Many) and shape.kind == "set":
        points = [item for item in shape.items if isinstance(item, Scalar)]
        if len(points) == len(shape.items):
            return Region(tuple(Piece(point, True, point, True) for point in points))
    raise UnreadableError("a union of something else than intervals")


def _wrapped(body: list[Token], depth: int) -> Shape | None:
    """A set, tuple or interval in brackets that enclose the whole side; None for anything else."""
    first, last = body[0], body[-1]
    if _OPENERS.get(first.text) is None or _CLOSERS.get(last.text) is None or first.text in ("lfloor", "lceil"):
        return None
    if first.kind not in ("op", "cmd") or _partner(body, 0) != len(body) - 1:
        return None
    inner = body[1:-1]
    opener, closer = first.text, last.text
    if not inner:
        return EMPTY if opener == "\\{" else None
    if opener == "\\{":
        return _braces(inner, depth + 1)
    parts, _ = _split(inner, {",", ";"})
    if len(parts) == 1:
        return _statement(inner, depth + 1) if (opener, closer) in (("(", ")"), ("{", "}"), ("[", "]")) else None
    if opener == "{":
        return _statement(inner, depth + 1)
    if opener == "langle":
        return Many("tuple", tuple(_clause(part, depth + 1) for part in parts))
    items = [_clause(part, depth + 1) for part in parts]
    if len(items) == 2 and "(" + ")" != opener + closer:
        low, high = items
        if isinstance(low, Scalar) and isinstance(high, Scalar):
            return Region((Piece(_bound(low), opener == "[", _bound(high), closer == "]"),))
    return Many("tuple" if opener == "(" else "bracket", tuple(items))


def _braces(inner: list[Token], depth: int) -> Shape:
    parts, _ = _split(inner, {"|", ":"})
    if len(parts) == 2 and len(parts[0]) <= 6 and parts[1]:
        condition = _statement(parts[1], depth)
        if isinstance(condition, Region | Relation | Named):
            return condition
        raise UnreadableError("a set by a condition")
    shape = _statement(inner, depth)
    if isinstance(shape, Many) and shape.kind == "bare":
        return Many("set", shape.items)
    return Many("set", (shape,))


def _scalar(body: list[Token], depth: int) -> Shape:
    """An expression, with a currency sign in front or a unit behind."""
    unit: math_units.Unit | None = None
    at = 0
    if body[0].kind == "cmd" and body[0].text == "dollar":
        unit, at = math_units.UNITS["dollar"], 1
    elif body[0].kind in ("text", "word", "op") and len(body) > 1 and body[1].kind == "num":
        unit = _currency(body[0].text)
        at = 1 if unit is not None else 0
    cut = _letters_of_unit(body) if unit is None else None
    parser = Parser(body, at, cut)
    made = parser.sum()
    rest = body[parser.at :]
    product: Node | None = None
    if cut is not None and parser.at == cut:
        product, unit, rest = _as_product(body), math_units.read(_unit_text(rest)), []
    if rest:
        compound = _compound(made, rest, depth)
        if compound is not None:
            return compound
        unit = _unit(rest, parser)
        if unit is None:
            raise UnreadableError(f"what follows is not read: {rest[0].text!r}")
    if isinstance(made, Grid):
        return Matrix(tuple(tuple(_one(cell, body) for cell in row) for row in made.rows))
    if unit is not None and not unit.dimension and unit.factor == 1:
        unit = None
    glued = cut is not None and body[cut].glued
    variants = [replace(_one(node, body), unit=unit, product=product, glued=glued) for node in signs(made)]
    return variants[0] if len(variants) == 1 else Many("bare", tuple(variants))


def _compound(made: Node | Grid, rest: list[Token], depth: int) -> Scalar | None:
    """1 hour 30 minutes: a sum of two quantities of one kind; None for anything else."""
    cut = next((i for i, t in enumerate(rest) if t.kind == "num" and i and rest[i - 1].kind in ("text", "word")), None)
    if cut is None or not isinstance(made, Node):
        return None
    first = math_units.read(" ".join(token.text for token in rest[:cut] if token.text not in (",",)))
    second = _scalar(rest[cut:], depth)
    if first is None or not isinstance(second, Scalar) or second.unit is None or not first.alike(second.unit):
        raise UnreadableError("two quantities side by side")
    total = Node("add", (Node("mul", (made, num(first.factor))), Node("mul", (second.node, num(second.unit.factor)))))
    return Scalar(total, unit=math_units.Unit(Fraction(1), first.dimension))


def _currency(text: str) -> math_units.Unit | None:
    name = {"¥": "yuan", "Rs": "rupee", "rs": "rupee", "USD": "dollar", "RMB": "yuan"}.get(text, text)
    if name in ("yuan", "rupee", "dollar", "euro", "pound"):
        return math_units.UNITS[name]
    return None


def _unit(rest: list[Token], parser: Parser) -> math_units.Unit | None:
    """The unit that stands behind a number."""
    words = [token.text for token in rest if not (token.kind == "op" and token.text in ("(", ")", "{", "}"))]
    if rest[0].kind == "cmd" and rest[0].text == "degree":
        scale = {"C": "degree celsius", "F": "degree fahrenheit"}.get("".join(words[1:]))
        return math_units.UNITS[scale] if scale else None
    if rest[0].kind == "cmd" and rest[0].text == "dollar":
        words = ["dollar", *words[1:]]
    elif rest[0].kind == "op" and rest[0].text == "¥":
        words = ["yuan", *words[1:]]
    elif rest[0].kind == "word" and not rest[0].text.isascii():
        words = ["".join(words)]
    elif rest[0].kind == "word" and not math_units.known(rest[0].text) and len(rest[0].text) < 3:
        return None
    elif rest[0].kind not in ("text", "word") and not (rest[0].kind == "op" and rest[0].text == "/"):
        return None
    text = " ".join(words).replace("^ ", "^")
    return math_units.read(text.replace("per cent", "percent"))


def _letters_of_unit(body: list[Token]) -> int | None:
    """Where, behind a number, letters begin that name a unit (`5 m`, `10 m/s^2`); None where they do not."""
    at = next((index for index, token in enumerate(body) if token.kind in ("sym", "word")), None)
    if at is None or at == 0 or body[at - 1].text in ("^", "_", "{", "(", "/", "*", "[", "\\{"):
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


# ---- cutting at the top level ----
def _split(body: list[Token], marks: set[str]) -> tuple[list[list[Token]], list[str]]:
    """The pieces between marks outside all brackets, and the marks."""
    pieces: list[list[Token]] = [[]]
    found: list[str] = []
    depth = 0
    for token in body:
        if token.kind in ("op", "cmd"):
            depth += _OPENERS.get(token.text, 0) - _CLOSERS.get(token.text, 0)
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


def _partner(body: list[Token], at: int) -> int:
    depth = 0
    for index in range(at, len(body)):
        token = body[index]
        if token.kind in ("op", "cmd"):
            depth += _OPENERS.get(token.text, 0) - _CLOSERS.get(token.text, 0)
            if depth == 0:
                return index
    return -1
