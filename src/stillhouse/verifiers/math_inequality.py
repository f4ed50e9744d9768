"""Inequalities in one variable that are no plain bound: linear ones are solved, others are tried against an interval.

In: a Relation, perhaps a Region. Out: a Region, or whether the two agree at, beside and between all ends.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from stillhouse.verifiers.math_equal import DIGITS, agree, arithmetic, constant, value
from stillhouse.verifiers.math_number import Value
from stillhouse.verifiers.math_shape import Piece, Region, Relation, Scalar
from stillhouse.verifiers.math_tree import Node, num, symbols

NEAR = Fraction(1, 10**9)
GRID = tuple(Fraction(step, 7) for step in (-7001, -701, -97, -45, -22, -9, -4, -1, 1, 4, 9, 22, 45, 97, 701, 7001))


def _sides(relation: Relation, name: str, at: Fraction) -> Value | None:
    """left - right at a value of the variable."""
    difference = Node("add", (relation.left, Node("neg", (relation.right,))))
    return value(difference, arithmetic(DIGITS, True, None), {name: at})


def as_region(relation: Relation) -> Region | None:
    """The region of an inequality that is linear in its only variable; None for any other."""
    names = symbols(relation.left) | symbols(relation.right)
    if len(names) != 1:
        return None
    (name,) = names
    values = [_sides(relation, name, Fraction(at)) for at in (0, 1, -2, 7)]
    if any(one is None for one in values):
        return None
    numbers = arithmetic(DIGITS, True, None)
    start, slope = values[0], numbers.add(values[1], -values[0])  # type: ignore[operator]  # none is None here
    if not slope or not all(
        agree(numbers.add(start, numbers.mul(slope, Fraction(at))), found, numbers)
        for at, found in ((-2, values[2]), (7, values[3]))
    ):
        return None
    bound = numbers.div(-start, slope)  # type: ignore[operator]  # none is None here
    if not isinstance(bound, Fraction):
        return None
    end = Scalar(num(bound))
    if relation.op == "!=":
        return Region((Piece(None, False, end, False), Piece(end, False, None, False)), name)
    closed = relation.op == "<="
    if slope > 0:
        return Region((Piece(None, False, end, closed),), name)
    return Region((Piece(end, closed, None, False),), name)


def matches(relation: Relation, region: Region) -> bool | None:
    """Whether the inequality holds exactly inside the region: tried at its ends, beside them, and on a grid."""
    names = symbols(relation.left) | symbols(relation.right)
    ends = [end for piece in region.pieces for end in (piece.low, piece.high) if end is not None]
    if len(names) != 1 or any(symbols(end.node) for end in ends):
        return None
    (name,) = names
    if region.variable and region.variable != name:
        return False
    places: list[Fraction] = list(GRID)
    for end in ends:
        at = constant(end.node)
        if at is None:
            return None
        if isinstance(at, Fraction):
            places += [at, at - NEAR, at + NEAR]
        else:
            near = Fraction(int(at * 10**15), 10**15)
            places += [near - NEAR, near + NEAR]
    sorted_places = sorted(set(places))
    places += [(a + b) / 2 for a, b in pairwise(sorted_places)]
    for place in places:
        difference = _sides(relation, name, place)
        if difference is None:
            inside = False
        elif relation.op == "!=":
            inside = bool(difference)
        else:
            inside = bool(difference < 0 or (relation.op == "<=" and difference == 0))
        if inside != any(holds(piece, place) for piece in region.pieces):
            return False
    return True


def holds(piece: Piece, place: Fraction) -> bool:
    numbers = arithmetic(DIGITS, True, None)
    if piece.low is not None:
        low = numbers.float(constant(piece.low.node))
        here = numbers.float(place)
        if here < low or (here == low and not piece.low_closed):
            return False
    if piece.high is not None:
        high = numbers.float(constant(piece.high.node))
        here = numbers.float(place)
        if here > high or (here == high and not piece.high_closed):
            return False
    return True
