"""Whether two expressions are worth the same: exactly, to many digits, and at many points where they have variables.

In: two trees. Out: True, False, or None where too little can be evaluated. Points are fixed, so the verdict is
deterministic; equality to 38 digits at every one of them is taken for identity.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from fractions import Fraction
from functools import cache

from stillhouse.verifiers.math_modular import residues_agree
from stillhouse.verifiers.math_number import Arithmetic, GuardError, UndefinedError, Value
from stillhouse.verifiers.math_tree import Node, evaluate, has, symbols

DIGITS, MORE_DIGITS = 50, 120
AGREE = 38  # digits
ENOUGH = 3  # points at which both sides must have a value
MAX_SYMBOLS = 24
SMALL_BITS = 60  # below, AGREE digits reach well behind the decimal point
MOST_DIGITS = 3_000


@cache
def arithmetic(digits: int, real: bool, log_base: int | None) -> Arithmetic:
    return Arithmetic(digits, real=real, log_base=log_base)


def same(a: Node, b: Node) -> bool | None:
    """Whether two expressions are equal. Raises GuardError for sizes beyond every limit."""
    if a == b:
        return True
    names = symbols(a) | symbols(b)
    bases: tuple[int | None, ...] = (None, 10) if _bare_log(a) or _bare_log(b) else (None,)
    answers = [same_number(a, b, base) if not names else _same_function(a, b, names, base) for base in bases]
    if True in answers:
        return True
    return False if all(answer is False for answer in answers) else None


def _bare_log(node: Node) -> bool:
    return has(node, "call", "log")


def same_number(a: Node, b: Node, log_base: int | None = None, point: Mapping[str, Value] | None = None) -> bool | None:
    """Two constants; None when neither has a value, False when only the first (the reference) has one."""
    low = arithmetic(DIGITS, False, log_base)
    left = value(a, low)
    right = value(b, low)
    if left is None or right is None:
        return None if left is None else False
    close = agree(left, right, low)
    if close and not (isinstance(left, Fraction) and isinstance(right, Fraction)):
        return _to_the_last_digit(a, b, max(low.ctx.mag(low.float(left)), low.ctx.mag(low.float(right))), log_base)
    if close is not None:
        return close
    high = arithmetic(MORE_DIGITS, False, log_base)
    left, right = value(a, high), value(b, high)
    if left is None or right is None:
        return None
    # a difference that shrinks with the precision is rounding, one that stays is real
    return bool(abs(high.float(left) - high.float(right)) < high.ctx.mpf(10) ** (-MORE_DIGITS + 30))


def _to_the_last_digit(a: Node, b: Node, bits: int, log_base: int | None) -> bool:
    """Whether numbers that agree in their first digits agree behind the decimal point too: 2^9999 is not 2^9999 + 1."""
    if bits < SMALL_BITS:
        return True
    digits = int(bits * 0.30103) + AGREE
    if digits > MOST_DIGITS:
        alike = residues_agree(a, b)
        if alike is None:
            raise GuardError("numbers too large to be told apart")
        return alike
    numbers = Arithmetic(digits, real=False, log_base=log_base)
    left, right = value(a, numbers), value(b, numbers)
    if left is None or right is None:
        return False
    return bool(abs(numbers.float(left) - numbers.float(right)) < numbers.ctx.mpf(10) ** -(AGREE // 2))


def value(node: Node, numbers: Arithmetic, point: Mapping[str, Value] | None = None) -> Value | None:
    try:
        return evaluate(node, numbers, point or {})
    except UndefinedError:
        return None


def agree(a: Value, b: Value, numbers: Arithmetic) -> bool | None:
    """Equal to AGREE digits, or not; None when both are so near zero that only more digits can tell."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a == b
    x, y = numbers.float(a), numbers.float(b)
    difference = abs(x - y)
    if not difference:
        return True
    ten = numbers.ctx.mpf(10)
    if difference <= max(abs(x), abs(y)) * ten**-AGREE:
        return True
    return None if difference < ten ** (-numbers.digits // 2) else False


def _same_function(a: Node, b: Node, names: frozenset[str], log_base: int | None) -> bool | None:
    if len(names) > MAX_SYMBOLS:
        raise GuardError("an expression of too many variables")
    complex_ = has(a, "const", "i") or has(b, "const", "i")
    numbers = arithmetic(DIGITS, not complex_, log_base)
    met = apart = 0
    ordered = tuple(sorted(names))
    for index, point in enumerate((*points(ordered), *points_inside(ordered))):
        if index >= len(points(ordered)) and met >= ENOUGH:
            break
        left, right = _at(a, numbers, point), _at(b, numbers, point)
        if left is None or right is None:
            apart += (left is None) != (right is None)
            continue
        close = agree(left, right, numbers)
        if close is None:
            high = arithmetic(MORE_DIGITS, not complex_, log_base)
            left, right = _at(a, high, point), _at(b, high, point)
            if left is None or right is None:
                continue
            close = bool(abs(high.float(left) - high.float(right)) < high.ctx.mpf(10) ** (-MORE_DIGITS + 30))
        if not close:
            return False
        met += 1
    if met < ENOUGH:
        return None
    if apart and has(a, "call", "abs") != has(b, "call", "abs"):
        return None  # ln|x| against ln x: equal only on a half of the line
    return True


def _at(node: Node, numbers: Arithmetic, point: Mapping[str, Value]) -> Value | None:
    """Value at a point; a guard there means only that this point says nothing."""
    try:
        return evaluate(node, numbers, point)
    except (UndefinedError, GuardError):
        return None


@cache
def points(names: tuple[str, ...]) -> tuple[dict[str, Fraction], ...]:
    """Points that differ in every variable: positive fractions, whole numbers, fractions below one, negative ones."""
    dice = random.Random(20_250_514)
    ranges = [(7, 61), (3, 29), (67, 199)]
    made: list[dict[str, Fraction]] = []
    for low, high in ranges:
        tops = dice.sample(range(low, high + 40), len(names))
        made.append({name: Fraction(top, 23) for name, top in zip(names, tops, strict=True)})
    for start in (2, 3, 5, 8):
        whole = dice.sample(range(start, start + len(names) + 3), len(names))
        made.append({name: Fraction(top) for name, top in zip(names, whole, strict=True)})
    tops = dice.sample(range(1, 97), len(names))
    made.append({name: Fraction(top, 97) for name, top in zip(names, tops, strict=True)})
    for sign in (-1, 1):
        tops = dice.sample(range(5, 90), len(names))
        flips = [dice.choice((-1, 1)) if sign > 0 else -1 for _ in names]
        made.append({n: Fraction(flip * top, 31) for n, top, flip in zip(names, tops, flips, strict=True)})
    return tuple(made)


@cache
def points_inside(names: tuple[str, ...]) -> tuple[dict[str, Fraction], ...]:
    """More points between -1 and 1, for functions that are not real elsewhere."""
    dice = random.Random(20_250_515)
    return tuple({name: Fraction(dice.choice((-1, 1)) * dice.randint(3, 95), 101) for name in names} for _ in range(6))


def constant(node: Node) -> Value | None:
    """The real value of a constant for ordering; None for what has variables or is not real."""
    if symbols(node):
        return None
    numbers = arithmetic(DIGITS, True, None)
    return value(node, numbers)


def proportional(a: Node, b: Node, *, positive: bool) -> bool | None:
    """Whether a = c b with one constant c (positive, where the side of an inequality matters), at every point."""
    names = symbols(a) | symbols(b)
    if not names or len(names) > MAX_SYMBOLS:
        return None
    numbers = arithmetic(DIGITS, True, None)
    ratio: Value | None = None
    met = 0
    for point in points(tuple(sorted(names))):
        left, right = _at(a, numbers, point), _at(b, numbers, point)
        if left is None or right is None:
            continue
        if not left or not right:
            if bool(left) != bool(right):
                return False
            continue
        here = numbers.div(left, right)
        if ratio is not None and agree(ratio, here, numbers) is not True:
            return False
        ratio = here
        met += 1
    if met < ENOUGH or ratio is None:
        return None
    return bool(ratio > 0) or not positive
