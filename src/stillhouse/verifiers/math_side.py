"""Reads one side of a formula: sets, tuples and intervals in brackets, unions of them, or a quantity.

In: tokens without a relation at their top level, and how to read what is inside brackets. Out: a Shape.
"""

from __future__ import annotations

from collections.abc import Callable

from stillhouse.verifiers.math_cut import CLOSERS, OPENERS, is_dots, partner, split
from stillhouse.verifiers.math_lists import progression
from stillhouse.verifiers.math_quantity import quantity
from stillhouse.verifiers.math_region import end_of, intersect, pieces_of_set, union
from stillhouse.verifiers.math_shape import EMPTY, Many, Named, Numbers, Piece, Region, Relation, Scalar, Shape
from stillhouse.verifiers.math_token import Token, UnreadableError
from stillhouse.verifiers.math_tree import Node, num

Statement = Callable[[list[Token], int], Shape]


def side(body: list[Token], depth: int, statement: Statement) -> Shape:
    """The shape of one side; statement reads what stands inside brackets."""
    if not body:
        raise UnreadableError("nothing here")
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
    if isinstance(shape, Many) and shape.kind == "tuple" and len(shape.items) == 2:
        low, high = shape.items
        if isinstance(low, Scalar) and isinstance(high, Scalar):
            return Region((Piece(end_of(low), False, end_of(high), False),))
    if isinstance(shape, Many) and shape.kind == "set":
        points = [item for item in shape.items if isinstance(item, Scalar)]
        if len(points) == len(shape.items):
            return Region(tuple(Piece(point, True, point, True) for point in points))
    raise UnreadableError("a union of something else than intervals")


def _wrapped(body: list[Token], depth: int, statement: Statement) -> Shape | None:
    """A set, tuple or interval in brackets that enclose the whole side; None for anything else."""
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
            return Region((Piece(end_of(low), opener == "[", end_of(high), closer == "]"),))
    return Many("tuple" if opener == "(" else "bracket", tuple(items))


def _braces(inner: list[Token], depth: int, statement: Statement) -> Shape:
    parts, _ = split(inner, {"|", ":"})
    if len(parts) == 2 and len(parts[0]) <= 6 and parts[1]:
        condition = statement(parts[1], depth)
        if isinstance(condition, Region | Relation | Named):
            return condition
        raise UnreadableError("a set by a condition")
    shape = statement(inner, depth)
    if isinstance(shape, Many) and shape.kind == "bare":
        return Many("set", shape.items)
    return Many("set", (shape,))
