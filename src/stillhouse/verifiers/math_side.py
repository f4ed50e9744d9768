"""Reads one side of a formula: sets, tuples and intervals in brackets, unions of them, or a quantity.

In: tokens without a relation at their top level, and how to read what is inside brackets. Out: a Shape.
"""

from __future__ import annotations

from collections.abc import Callable

from stillhouse.verifiers.math_cut import CLOSERS, OPENERS, is_dots, partner, split
from stillhouse.verifiers.math_lists import progression
from stillhouse.verifiers.math_piecewise import environment
from stillhouse.verifiers.math_piecewise import read as read_cases
from stillhouse.verifiers.math_quantity import quantity
from stillhouse.verifiers.math_region import intersect, interval_of, piece_of, pieces_of_set, union, whole_numbers
from stillhouse.verifiers.math_shape import EMPTY, Many, Named, Numbers, Piece, Region, Relation, Scalar, Shape
from stillhouse.verifiers.math_token import Token, UnreadableError
from stillhouse.verifiers.math_tree import Node, num

Statement = Callable[[list[Token], int], Shape]


def side(body: list[Token], depth: int, statement: Statement) -> Shape:
    """The shape of one side; statement reads what stands inside brackets."""
    if not body:
        raise UnreadableError("nothing here")
    rows = environment(body)
    if rows is not None:
        return read_cases(rows, depth, statement)
    parts, links = split(body, {"cup", "cap", "setminus"})
    if len(parts) > 1:
        return _set_algebra(parts, links, depth, statement)
    if any(is_dots([token]) for token in body):
        terms, _ = split(body, {"+"})
        if any(map(is_dots, terms)):
            return _dotted_sum(terms, depth, statement)
    special = _special(body)
    if special is not None:
        return special
    point = _point(body, depth, statement)
    if point is not None:
        return point
    wrapped = _wrapped(body, depth, statement)
    if wrapped is not None:
        return wrapped
    return quantity(body)


def _dotted_sum(parts: list[list[Token]], depth: int, statement: Statement) -> Shape:
    """`1 + 2 + ... + n`: the sum of an arithmetic progression by its formula, any other as its terms."""
    if len(parts) < 3 or not all(parts):
        raise UnreadableError("an ellipsis outside of a list or sum")
    terms = Many("sum", tuple(statement(part, depth + 1) for part in parts))
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
        return _numbers("".join(token.text for token in body[1:] if token.text not in ("{", "}")))
    sign = 1
    rest = body
    while rest and rest[0].kind == "op" and rest[0].text in ("+", "-"):
        sign = -sign if rest[0].text == "-" else sign
        rest = rest[1:]
    if len(rest) == 1 and rest[0].kind == "cmd" and rest[0].text == "infty":
        return Scalar(num(0), infinite=sign)
    return None


def _numbers(letter: str) -> Region | Numbers:
    """All real numbers, or those of one sign, as a region; all integers and their like by their letter."""
    kind, sign = letter[:1], letter[1:].lstrip("^_")
    if kind == "R" and sign in ("", "+", ">0", "-", "<0", "ge0"):
        zero = Scalar(num(0))
        low, high = (zero if sign in ("+", ">0", "ge0") else None), (zero if sign in ("-", "<0") else None)
        return Region((Piece(low, sign == "ge0", high, False),))
    positive = sign in ("+", "*", ">0") and kind in ("Z", "N") and (kind, sign) != ("Z", "*")
    return Numbers("Z+" if positive else letter)


def _set_algebra(parts: list[list[Token]], links: list[str], depth: int, statement: Statement) -> Shape:
    total = _as_region(side(parts[0], depth, statement))
    for part, link in zip(parts[1:], links, strict=True):
        shape = side(part, depth, statement)
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
    pair = interval_of(shape) if isinstance(shape, Many) and shape.kind == "tuple" else None
    if pair is not None:
        return pair
    if isinstance(shape, Many) and shape.kind == "set":
        points = [item for item in shape.items if isinstance(item, Scalar)]
        if len(points) == len(shape.items):
            return Region(tuple(Piece(point, True, point, True) for point in points))
    raise UnreadableError("a union of something else than intervals")


def _point(body: list[Token], depth: int, statement: Statement) -> Named | None:
    """`P(2, 3)`: a point by its name and coordinates; C(5, 2) is a number of combinations."""
    first = body[0]
    if first.kind not in ("sym", "text") or not first.text.isupper() or first.text == "C" or len(body) < 4:
        return None
    if body[1].text != "(" or partner(body, 1) != len(body) - 1:
        return None
    inside = _wrapped(body[1:], depth, statement)
    return Named(first.text, inside) if isinstance(inside, Many) and inside.kind == "tuple" else None


def _wrapped(body: list[Token], depth: int, statement: Statement) -> Shape | None:
    """A set, tuple or interval in brackets that enclose the whole side; None for anything else."""
    marks = "".join(token.text for token in body[-4:] if token.text not in ("{", "}"))
    if marks.endswith(("^T", "^top", "^intercal")) and body[0].text in ("(", "["):  # a row, set upright: a tuple too
        cut = max(index for index, token in enumerate(body) if token.text == "^")
        row = _wrapped(body[:cut], depth, statement)
        return row if isinstance(row, Many) and row.kind in ("tuple", "bracket") else None
    first, last = body[0], body[-1]
    if OPENERS.get(first.text) is None or CLOSERS.get(last.text) is None or first.text in ("lfloor", "lceil"):
        return None
    if first.kind not in ("op", "cmd") or partner(body, 0) != len(body) - 1:
        return None
    inner = body[1:-1]
    opener, closer = first.text, last.text
    if not inner:
        return EMPTY if opener == "\\{" else None
    if opener == "\\{":
        return _braces(inner, depth + 1, statement)
    if opener == "{" and len(inner) > 3 and inner[0].kind == "sym" and inner[1].text in ("|", ":", "in"):
        return _braces(inner, depth + 1, statement)  # {x | x > 1}: a set, by what stands in it
    parts, _ = split(inner, {",", ";"})
    if len(parts) == 1:
        return statement(inner, depth + 1) if (opener, closer) in (("(", ")"), ("{", "}"), ("[", "]")) else None
    if opener == "{":
        return statement(inner, depth + 1)
    if opener == "langle":
        return Many("tuple", tuple(statement(part, depth + 1) for part in parts))
    items = [statement(part, depth + 1) for part in parts]
    if len(items) == 2 and (opener, closer) != ("(", ")"):
        low, high = items
        if isinstance(low, Scalar) and isinstance(high, Scalar):
            return Region((piece_of(low, opener == "[", high, closer == "]"),))
    return Many("tuple" if opener == "(" else "bracket", tuple(items))


def _domain(before: list[Token]) -> str | None:
    r"""Z or N where a set's element is one by what stands before its condition; None for real numbers or nothing."""
    sides, _ = split(before, {"in"})
    shape = _special(sides[1]) if len(sides) == 2 and sides[1] else None
    return shape.letter if isinstance(shape, Numbers) else None


def _braces(inner: list[Token], depth: int, statement: Statement) -> Shape:
    parts, _ = split(inner, {"|", ":"})
    if len(parts) == 2 and len(parts[0]) <= 8 and parts[1]:
        condition = statement(parts[1], depth)
        domain = _domain(parts[0])
        if domain is not None:
            counted = whole_numbers(condition, domain)
            if counted is None:
                raise UnreadableError("a set of numbers by a condition that cannot be counted")
            return counted
        if isinstance(condition, Region | Relation | Named):
            return condition
        raise UnreadableError("a set by a condition")
    shape = statement(inner, depth)
    if isinstance(shape, Many) and shape.kind == "bare":
        return Many("set", shape.items)
    return Many("set", (shape,))
