"""Equations as sets of points: two are one when they have the same solutions, whatever was multiplied or moved.

In: the differences of both sides. Out: True, False, or None where neither way can tell. First by proportion, then by
solving for a variable in which both are of first or second degree, at several values of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from stillhouse.verifiers.math_equal import DIGITS, agree, arithmetic, points, proportional
from stillhouse.verifiers.math_number import GuardError, UndefinedError, Value
from stillhouse.verifiers.math_tree import Node, evaluate, symbols

ENOUGH = 3


def same_solutions(a: Node, b: Node) -> bool | None:
    """Whether a = 0 and b = 0 hold at the same points."""
    if proportional(a, b, positive=False):
        return True
    names = sorted(symbols(a) | symbols(b))
    for name in names:
        verdict = _by_roots(a, b, name, [other for other in names if other != name])
        if verdict is not None:
            return verdict
    return None


def solved_by(a: Node, name: str, values: Sequence[Node]) -> bool | None:
    """Whether the equation a = 0 in one variable has just these solutions; None where it is of higher degree."""
    if symbols(a) != {name} or any(symbols(value) for value in values):
        return None
    roots = _roots(a, name, {})
    if roots is None:
        return None
    numbers = arithmetic(DIGITS, False, None)
    try:
        given = [evaluate(value, numbers, {}) for value in values]
    except UndefinedError:
        return None
    return _alike(roots, given)


def _by_roots(a: Node, b: Node, name: str, others: list[str]) -> bool | None:
    met = 0
    for point in points(tuple(others)) if others else ({},):
        left, right = _roots(a, name, point), _roots(b, name, point)
        if left is None or right is None:
            continue
        if not _alike(left, right):
            return False
        met += 1
    return True if met >= (ENOUGH if others else 1) else None


def _roots(node: Node, name: str, point: Mapping[str, Value]) -> list[Value] | None:
    """Roots in one variable of what is a polynomial of degree one or two in it; None for anything else."""
    numbers = arithmetic(DIGITS, False, None)
    values: list[Value] = []
    for at in (-1, 0, 1, 2, 3):
        try:
            values.append(evaluate(node, numbers, {**point, name: Fraction(at)}))
        except (UndefinedError, GuardError):
            return None
    low, mid, high, two, three = values
    c = mid
    a = numbers.div(numbers.add(numbers.add(high, low), numbers.mul(Fraction(-2), mid)), Fraction(2))
    b = numbers.div(numbers.add(high, -low), Fraction(2))

    def fits(at: int, value: Value) -> bool:
        total = numbers.add(numbers.add(numbers.mul(a, Fraction(at * at)), numbers.mul(b, Fraction(at))), c)
        return agree(total, value, numbers) is not False

    if not fits(2, two) or not fits(3, three):
        return None
    if _zero(a, values) and _zero(b, values):
        return None
    if _zero(a, values):
        return [numbers.div(-c, b)]
    square = numbers.add(numbers.mul(b, b), -numbers.mul(numbers.mul(Fraction(4), a), c))
    root = numbers.power(square, Fraction(1, 2)) if square else Fraction(0)
    half = numbers.mul(Fraction(2), a)
    return [numbers.div(numbers.add(-b, root), half), numbers.div(numbers.add(-b, -root), half)]


def _zero(coefficient: Value, values: list[Value]) -> bool:
    numbers = arithmetic(DIGITS, False, None)
    if isinstance(coefficient, Fraction):
        return not coefficient
    size = max(abs(numbers.float(value)) for value in values)
    return bool(abs(coefficient) <= size * numbers.ctx.mpf(10) ** -38)


def _alike(left: list[Value], right: list[Value]) -> bool:
    """Equality of two sets of roots."""
    numbers = arithmetic(DIGITS, False, None)
    return all(any(agree(x, y, numbers) is not False for y in right) for x in left) and all(
        any(agree(x, y, numbers) is not False for x in left) for y in right
    )
