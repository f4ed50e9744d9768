"""Intervals and inequalities as one thing: unions of intervals of one variable.

In: chains such as `1 < x <= 2`, intervals, sets to leave out. Out: Regions in order of their ends. Ends that are no
numbers are kept as written where nothing has to be ordered.
"""

from __future__ import annotations

from functools import cmp_to_key
from typing import Any

from stillhouse.verifiers.math_equal import DIGITS, arithmetic, constant
from stillhouse.verifiers.math_shape import Many, Piece, Region, Relation, Scalar, Shape
from stillhouse.verifiers.math_token import UnreadableError
from stillhouse.verifiers.math_tree import Node, has, num, symbols

MAX_COUNTED = 300
_FLIP = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!="}


def chain_region(nodes: list[Scalar], ops: list[str]) -> Region | None:
    """`x > 1`, `1 < x`, `1 < x <= 2` and `x != 1` as regions; None for every other chain."""
    names = [index for index, scalar in enumerate(nodes) if scalar.node.op == "sym" and scalar.plain]
    if len(nodes) == 2 and len(names) == 2:
        return None  # x < y is a relation of two variables
    if len(nodes) == 2 and len(names) == 1:
        at = names[0]
        bound, op = nodes[1 - at], ops[0] if at == 0 else _FLIP.get(ops[0], "")
        if nodes[at].node.name in symbols(bound.node) or bound.percent:
            return None
        return _half(nodes[at].node.name, op, bound)
    if len(nodes) == 3 and nodes[1].node.op == "sym" and set(ops) <= {"<", "<="}:
        name = nodes[1].node.name
        return Region((piece_of(nodes[0], ops[0] == "<=", nodes[2], ops[1] == "<="),), name)
    if len(nodes) == 3 and nodes[1].node.op == "sym" and set(ops) <= {">", ">="}:
        name = nodes[1].node.name
        return Region((piece_of(nodes[2], ops[1] == ">=", nodes[0], ops[0] == ">="),), name)
    return None


def piece_of(low: Scalar, low_closed: bool, high: Scalar, high_closed: bool) -> Piece:
    """An interval between two ends. Raises UnreadableError where it begins at infinity or ends at minus infinity."""
    if low.infinite > 0 or high.infinite < 0:
        raise UnreadableError("an interval that ends before it begins")
    return Piece(None if low.infinite else low, low_closed, None if high.infinite else high, high_closed)


def _open_pair(many: Many) -> Piece | None:
    """Two numbers in round brackets as an open interval; None for anything else."""
    low, high = many.items if len(many.items) == 2 else (None, None)
    if many.kind != "tuple" or not isinstance(low, Scalar) or not isinstance(high, Scalar):
        return None
    return None if low.infinite > 0 or high.infinite < 0 else piece_of(low, False, high, False)


def _half(name: str, op: str, bound: Scalar) -> Region | None:
    end = None if bound.infinite else bound
    if op in ("<", "<="):
        return Region((Piece(None, False, end, op == "<="),), name)
    if op in (">", ">="):
        return Region((Piece(end, op == ">=", None, False),), name)
    if op == "!=" and end is not None:
        return Region((Piece(None, False, end, False), Piece(end, False, None, False)), name)
    return None


def interval_of(shape: Shape) -> Region | None:
    """A region, two numbers in round brackets as an open interval, or a set of numbers as intervals of one point."""
    if isinstance(shape, Region):
        return shape
    if isinstance(shape, Many) and shape.kind == "set" and shape.items:
        points = [Piece(item, True, item, True) for item in shape.items if isinstance(item, Scalar) and item.plain]
        return union([Region(tuple(points))]) if len(points) == len(shape.items) else None
    pair = _open_pair(shape) if isinstance(shape, Many) else None
    return None if pair is None else Region((pair,))


def of_relation(left: Node, op: str, right: Node) -> Relation:
    if op in (">", ">="):
        return Relation(right, _FLIP[op], left)
    return Relation(left, op, right)


def whole_numbers(shape: Shape, domain: str) -> Many | None:
    """The whole numbers of a region, as a set; None where they are too many or the ends no numbers."""
    least = {"Z": None, "N": 0, "Z+": 1}
    if not isinstance(shape, Region) or domain not in least or not all(map(_numeric, shape.pieces)):
        return None
    found: list[int] = []
    for piece in shape.pieces:
        if piece.high is None or (piece.low is None and least[domain] is None):
            return None
        high, low = (
            _NUMBERS.float(_value(piece.high, 1)),
            None if piece.low is None else _NUMBERS.float(_value(piece.low, -1)),
        )
        first = least[domain] if low is None else int(_NUMBERS.ctx.ceil(low))
        last = int(_NUMBERS.ctx.floor(high))
        assert first is not None  # noqa: S101  one of both is given
        first += low is not None and not piece.low_closed and first == low
        last -= not piece.high_closed and last == high
        first = first if least[domain] is None else max(first, least[domain] or 0)
        if last - first > MAX_COUNTED:
            return None
        found += range(first, last + 1)
    return Many("set", tuple(Scalar(num(number)) for number in found))


def pieces_of_set(shape: Shape) -> Region | None:
    """The line without the given points or intervals; None when they cannot be ordered."""
    if isinstance(shape, Scalar) and not shape.infinite:
        return _half("", "!=", shape)
    if isinstance(shape, Many) and shape.kind == "tuple":
        shape = interval_of(shape) or shape
    if isinstance(shape, Many) and all(isinstance(item, Scalar) for item in shape.items):
        points = [item for item in shape.items if isinstance(item, Scalar)]
        holes = [_half("", "!=", point) for point in points]
        return intersect([hole for hole in holes if hole is not None])
    if isinstance(shape, Region):
        outside = [
            Region(
                tuple(
                    piece
                    for piece in (
                        None if one.low is None else Piece(None, False, one.low, not one.low_closed),
                        None if one.high is None else Piece(one.high, not one.high_closed, None, False),
                    )
                    if piece is not None
                )
            )
            for one in shape.pieces
        ]
        return intersect(outside)
    return None


def _name(regions: list[Region]) -> str | None:
    return next((region.variable for region in regions if region.variable), None)


def union(regions: list[Region]) -> Region:
    """All pieces; put in order and joined where their ends are numbers."""
    pieces = [piece for region in regions for piece in region.pieces]
    if len(pieces) > 1 and all(_numeric(piece) for piece in pieces):
        pieces = _joined(pieces)
    return Region(tuple(pieces), _name(regions))


def intersect(regions: list[Region]) -> Region | None:
    """What all regions share; None when ends that are no numbers would have to be ordered."""
    total = list(regions[0].pieces) if regions else []
    for region in regions[1:]:
        if len(total) == 1 and len(region.pieces) == 1:
            both = _halves(total[0], region.pieces[0])
            if both is not None:
                total = [both]
                continue
        if not all(_numeric(piece) for piece in (*total, *region.pieces)):
            return None
        cut = [_cut(a, b) for a in total for b in region.pieces]
        total = [piece for piece in cut if piece is not None]
    return Region(tuple(_joined(total)) if all(map(_numeric, total)) else tuple(total), _name(regions))


def _halves(a: Piece, b: Piece) -> Piece | None:
    """x > a and x < b with ends that may be letters."""
    if _numeric(a) and _numeric(b):
        return None
    for low, high in ((a, b), (b, a)):
        if low.high is None and high.low is None and low.low is not None and high.high is not None:
            return Piece(low.low, low.low_closed, high.high, high.high_closed)
    return None


def _value(end: Scalar | None, infinite: int) -> Any:
    """A number that sorts: infinities as floats."""
    if end is None:
        return infinite * float("inf")
    return constant(end.node)


def _numeric(piece: Piece) -> bool:
    return all(end is None or _orderable(end) for end in (piece.low, piece.high))


def _orderable(end: Scalar) -> bool:
    if symbols(end.node) or has(end.node, "pm"):
        return False
    return constant(end.node) is not None


def _compare(a: Any, b: Any) -> int:
    if isinstance(a, float) or isinstance(b, float):
        x = a if isinstance(a, float) else 0.0
        y = b if isinstance(b, float) else 0.0
        return (x > y) - (x < y)
    if a == b:
        return 0
    difference = _NUMBERS.float(a) - _NUMBERS.float(b)
    if abs(difference) <= (abs(_NUMBERS.float(a)) + 1) * _NUMBERS.ctx.mpf(10) ** -38:
        return 0
    return 1 if difference > 0 else -1


_NUMBERS = arithmetic(DIGITS, True, None)


def _low(piece: Piece) -> tuple[Any, int]:
    return _value(piece.low, -1), 0 if piece.low_closed else 1


def _high(piece: Piece) -> tuple[Any, int]:
    return _value(piece.high, 1), 0 if piece.high_closed else -1


def _order(a: tuple[Any, int], b: tuple[Any, int]) -> int:
    return _compare(a[0], b[0]) or (a[1] > b[1]) - (a[1] < b[1])


def _begins(a: Piece, b: Piece) -> int:
    return _order(_low(a), _low(b))


def _cut(a: Piece, b: Piece) -> Piece | None:
    low = a if _order(_low(a), _low(b)) >= 0 else b
    high = a if _order(_high(a), _high(b)) <= 0 else b
    if _order(_low(low), _high(high)) > 0:
        return None
    return Piece(low.low, low.low_closed, high.high, high.high_closed)


def _joined(pieces: list[Piece]) -> list[Piece]:
    ordered = sorted(pieces, key=cmp_to_key(_begins))
    out: list[Piece] = []
    for piece in ordered:
        if _order(_low(piece), _high(piece)) > 0:
            continue  # empty
        if out and _touch(out[-1], piece):
            last = out[-1]
            high = last if _order(_high(last), _high(piece)) >= 0 else piece
            out[-1] = Piece(last.low, last.low_closed, high.high, high.high_closed)
        else:
            out.append(piece)
    return out


def _touch(left: Piece, right: Piece) -> bool:
    """Whether nothing lies between two intervals in order."""
    order = _compare(_high(left)[0], _low(right)[0])
    return order > 0 or (order == 0 and (left.high_closed or right.low_closed))
