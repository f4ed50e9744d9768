"""Solutions with an integer parameter: x = a + k b for every integer k, whatever the parameter is called.

In: two shapes, at least one a Family. Out: whether each value (number, point or interval) of one near zero is a
value of the other.
"""

from __future__ import annotations

from fractions import Fraction

from stillhouse.verifiers.math_equal import DIGITS, arithmetic, value
from stillhouse.verifiers.math_shape import Family, Many, Named, Region, Scalar, Shape
from stillhouse.verifiers.math_tree import Node, symbols

INNER, OUTER = 4, 30
MAX_MEMBERS = 40
_PARAMETERS = frozenset("kmnlj")  # letters that may be a parameter without being told
_SCALE = 10**20
# One member: its expressions, and what else two members must share (open or closed ends).
Member = tuple[tuple[Node, ...], str]
Values = set[tuple[str, tuple[int, ...]]]


def families(reference: Shape, answer: Shape) -> bool | None:
    """Whether both give the same values; None where a side has another variable or no value."""
    names = [_name_of(shape) for shape in (reference, answer)]
    if all(names) and names[0] != names[1]:
        return False
    left, right = _members(reference), _members(answer)
    if left is None or right is None:
        return None
    some_left, all_left = _values(*left)
    some_right, all_right = _values(*right)
    if not some_left or not some_right:
        return None
    return _within(some_left, all_right) and _within(some_right, all_left)


def _name_of(shape: Shape) -> str:
    inner = shape.value if isinstance(shape, Family) else shape
    return inner.name if isinstance(inner, Named) and inner.plain else ""


def _members(shape: Shape) -> tuple[str, list[Member]] | None:
    """The parameter's name and the members; of a shape without a named parameter its only variable is it."""
    parameter = ""
    if isinstance(shape, Family):
        parameter, shape = shape.parameter, shape.value
    if isinstance(shape, Named):
        shape = shape.value
    items = shape.items if isinstance(shape, Many) and shape.kind in ("bare", "set") else (shape,)
    members: list[Member] = []
    for item in items:
        found = _member(item)
        if found is None:
            return None
        members += found
    names = frozenset().union(*(symbols(node) for nodes, _ in members for node in nodes))
    if len(members) > MAX_MEMBERS or len(names) > 1 or (parameter and not names <= {parameter}):
        return None
    if not parameter and not names <= _PARAMETERS:
        return None  # 2r is a length, not all even numbers
    return parameter or next(iter(names), "k"), members


def _member(shape: Shape) -> list[Member] | None:
    if isinstance(shape, Named):
        shape = shape.value
    if isinstance(shape, Scalar):
        return None if shape.infinite or shape.percent else [((shape.node,), "")]
    if isinstance(shape, Many) and shape.kind == "bare":
        inner = [_member(item) for item in shape.items]
        return None if None in inner else [member for one in inner for member in one or ()]
    if isinstance(shape, Many):
        nodes = tuple(item.node for item in shape.items if isinstance(item, Scalar) and not item.infinite)
        return [(nodes, "(, )")] if len(nodes) == len(shape.items) else None
    if isinstance(shape, Region):
        members: list[Member] = []
        for piece in shape.pieces:
            if piece.low is None or piece.high is None:
                return None
            kind = f"{'[' if piece.low_closed else '('}, {']' if piece.high_closed else ')'}"
            members.append(((piece.low.node, piece.high.node), kind))
        return members
    return None


def _values(name: str, members: list[Member]) -> tuple[Values, Values]:
    """Values for small and for many parameters, as whole numbers of 20 decimals; none where one is undefined."""
    some: Values = set()
    every: Values = set()
    numbers = arithmetic(DIGITS, True, None)
    for nodes, kind in members:
        for k in range(-OUTER, OUTER + 1):
            found = [value(node, numbers, {name: Fraction(k)}) for node in nodes]
            if any(one is None for one in found):
                return set(), set()
            rounded = kind, tuple(int(numbers.ctx.nint(numbers.float(one) * _SCALE)) for one in found)
            every.add(rounded)
            if abs(k) <= INNER:
                some.add(rounded)
    return some, every


def _within(some: Values, many: Values) -> bool:
    """Whether every value of one is among those of the other, but for the last of 20 decimals."""
    coarse = {(kind, tuple(round(number, -2) for number in numbers)) for kind, numbers in many}
    coarse |= {(kind, tuple(round(number + 50, -2) for number in numbers)) for kind, numbers in many}
    coarse |= {(kind, tuple(round(number - 50, -2) for number in numbers)) for kind, numbers in many}
    return all((kind, tuple(round(number, -2) for number in numbers)) in coarse for kind, numbers in some)
