"""Solutions with an integer parameter: x = a + k b for every integer k, whatever the parameter is called.

In: two shapes, at least one a Family. Out: whether each value of one near zero is a value of the other.
"""

from __future__ import annotations

from fractions import Fraction

from stillhouse.verifiers.math_equal import DIGITS, arithmetic, value
from stillhouse.verifiers.math_shape import Family, Many, Named, Scalar, Shape
from stillhouse.verifiers.math_tree import Node, symbols

INNER, OUTER = 4, 30
_SCALE = 10**20


def families(reference: Shape, answer: Shape) -> bool | None:
    left, right = _nodes(reference), _nodes(answer)
    if left is None or right is None:
        return None
    near_left, all_left = _values(*left)
    near_right, all_right = _values(*right)
    if near_left is None or near_right is None or all_left is None or all_right is None:
        return None
    return _within(near_left, all_right) and _within(near_right, all_left)


def _nodes(shape: Shape) -> tuple[str, list[Node]] | None:
    """The parameter's name and the expressions; of a shape without a named parameter its only variable is it."""
    parameter = ""
    if isinstance(shape, Family):
        parameter, shape = shape.parameter, shape.value
    if isinstance(shape, Named):
        shape = shape.value
    items = shape.items if isinstance(shape, Many) and shape.kind in ("bare", "set") else (shape,)
    nodes: list[Node] = []
    for item in items:
        inner = item.value if isinstance(item, Named) else item
        if isinstance(inner, Many) and inner.kind == "bare":
            nodes += [one.node for one in inner.items if isinstance(one, Scalar)]
        elif isinstance(inner, Scalar) and not inner.infinite and not inner.percent:
            nodes.append(inner.node)
        else:
            return None
    names = frozenset().union(*(symbols(node) for node in nodes))
    if not names <= ({parameter} if parameter else names) or len(names) > 1:
        return None
    return parameter or next(iter(names), "k"), nodes


def _values(name: str, nodes: list[Node]) -> tuple[set[int] | None, set[int] | None]:
    """Values for small and for many parameters, as whole numbers of 20 decimals."""
    near: set[int] = set()
    every: set[int] = set()
    numbers = arithmetic(DIGITS, True, None)
    for node in nodes:
        for k in range(-OUTER, OUTER + 1):
            found = value(node, numbers, {name: Fraction(k)})
            if found is None:
                return None, None
            rounded = int(numbers.ctx.nint(numbers.float(found) * _SCALE))
            every.add(rounded)
            if abs(k) <= INNER:
                near.add(rounded)
    return near, every


def _within(some: set[int], many: set[int]) -> bool:
    return all(one in many or one + 1 in many or one - 1 in many for one in some)
