"""Lists: whether one covers the other, and lists with an ellipsis.

In: items and a way to compare two of them. Out: True, False or None for "cannot tell".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise

from stillhouse.verifiers.math_equal import DIGITS, arithmetic, constant, same, value
from stillhouse.verifiers.math_shape import Dots, Many, Scalar, Shape
from stillhouse.verifiers.math_tree import Node, num, symbols

Compare = Callable[[Shape, Shape], tuple[str, bool | None]]
MAX_EXPANDED = 2_000


def all_of(verdicts: Sequence[bool | None]) -> bool | None:
    """True when all are; False when one is; None otherwise."""
    if False in verdicts:
        return False
    return None if None in verdicts else True


def covers(left: Sequence[Shape], right: Sequence[Shape], compare: Compare) -> bool | None:
    """Whether each item has its equal on the other side: equality of sets."""
    if bool(left) != bool(right):
        return False
    unsure = False
    hit = [False] * len(right)
    for a in left:
        found = False
        for index, b in enumerate(right):
            if found and hit[index]:
                continue
            verdict = compare(a, b)[1]
            if verdict:
                found = hit[index] = True
            unsure = unsure or verdict is None
        if not found:
            return None if unsure else False
    return True if all(hit) else (None if unsure else False)


def with_dots(left: Many, right: Many, compare: Compare) -> bool | None:
    """Lists with an ellipsis: alike item by item, or the same arithmetic progression between the same ends."""
    if len(left.items) == len(right.items):
        pairs = zip(left.items, right.items, strict=True)
        verdicts = [
            isinstance(a, Dots) and isinstance(b, Dots)
            if isinstance(a, Dots) or isinstance(b, Dots)
            else compare(a, b)[1]
            for a, b in pairs
        ]
        if all_of(verdicts):
            return True
    one, two = progression(left), progression(right)
    if one is None or two is None:
        a, b = _expanded(left), _expanded(right)
        return _shown(left, right, compare) if a is None or b is None else covers(a, b, compare)
    return all_of([_same(x, y) for x, y in zip(one, two, strict=True)])


def _shown(left: Many, right: Many, compare: Compare) -> bool | None:
    """False when terms at the beginning or end differ, or only one list goes on; else nobody can tell."""
    if not all(any(isinstance(item, Dots) for item in many.items) for many in (left, right)):
        return False
    for a, b in (left.items, right.items), (left.items[::-1], right.items[::-1]):
        for x, y in zip(a, b, strict=False):
            if isinstance(x, Dots) or isinstance(y, Dots):
                break
            if compare(x, y)[1] is False:
                return False
    return None


def _same(a: Node | None, b: Node | None) -> bool | None:
    return a is b if a is None or b is None else same(a, b)


def progression(many: Many) -> tuple[Node, Node, Node | None] | None:
    """First term, step and last term (None: for ever) of a list with one ellipsis and two terms before it."""
    dots = [index for index, item in enumerate(many.items) if isinstance(item, Dots)]
    if len(dots) != 1 or dots[0] < 2 or len(many.items) - dots[0] > 2:
        return None
    nodes = [item.node for item in many.items if isinstance(item, Scalar)]
    if len(nodes) != len(many.items) - 1:
        return None
    head = nodes[: dots[0]]
    steps = [Node("add", (b, Node("neg", (a,)))) for a, b in pairwise(head)]
    if not all(same(steps[0], step) for step in steps[1:]):
        return None
    last = nodes[-1] if dots[0] < len(many.items) - 1 else None
    if last is not None and not _counts(Node("div", (Node("add", (last, Node("neg", (head[0],)))), steps[0]))):
        return None
    return head[0], steps[0], last


def _counts(node: Node) -> bool:
    """Whether an expression can be a number of steps: whole, and linear in its only variable."""
    names = symbols(node)
    if len(names) > 1:
        return False
    numbers = arithmetic(DIGITS, True, None)
    found = [value(node, numbers, {name: Fraction(at) for name in names}) for at in (1, 2, 3, 7)]
    if not all(isinstance(one, Fraction) and one.denominator == 1 for one in found):
        return False
    one, two, three, seven = found
    return bool(two - one == three - two and seven - three == 4 * (two - one))  # type: ignore[operator]  # fractions all


def _expanded(many: Many) -> list[Shape] | None:
    """All items of a list of numbers, the ellipsis filled in."""
    if not any(isinstance(item, Dots) for item in many.items):
        return list(many.items)
    found = progression(many)
    if found is None or any(part is None for part in found):
        return None
    first, step, last = (None if part is None else constant(part) for part in found)
    if not isinstance(first, Fraction) or not isinstance(step, Fraction) or not isinstance(last, Fraction) or not step:
        return None
    count = (last - first) / step
    if count.denominator != 1 or not 0 <= count <= MAX_EXPANDED:
        return None
    return [Scalar(num(first + step * index)) for index in range(int(count) + 1)]
