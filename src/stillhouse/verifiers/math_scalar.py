"""Compares two expressions by the conventions: decimals, percent, units, bases, the constant of integration.

In: reference and answer as Scalars (the reference sets the form). Out: the rule and True, False or None.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import permutations

from stillhouse.verifiers.math_equal import (
    DIGITS,
    MORE_DIGITS,
    agree,
    arithmetic,
    points,
    points_inside,
    same,
    value,
)
from stillhouse.verifiers.math_number import Arithmetic, GuardError, UndefinedError, Value
from stillhouse.verifiers.math_shape import Scalar
from stillhouse.verifiers.math_tree import Node, evaluate, has, num, substitute, symbols
from stillhouse.verifiers.math_units import DEGREE, RADIAN, Unit
from stillhouse.verifiers.math_words import word_set

Result = tuple[str, bool | None]
ENOUGH_DIGITS = 6  # of a decimal for an exact reference
_HUNDRED = num(100)
_NUMBERED = re.compile(r"[cC]_\d")
MAX_CONSTANTS = 3
_CONSTANTS = word_set("C c K k D A B const")  # what an arbitrary constant is called; x^2 + y is no antiderivative
_VARIABLES = word_set("x t u y z s r v w theta phi")


def scalars(reference: Scalar, answer: Scalar) -> Result:
    """Whether answer is the reference by the conventions."""
    if reference.infinite or answer.infinite:
        return "math_exact", reference.infinite == answer.infinite
    if reference.percent != answer.percent and (reference.unit is not None or answer.unit is not None):
        return "math_convention_unit", False  # 5 % is not 5 dollars
    if reference.percent or answer.percent:
        return "math_convention_percent", _percent(reference, answer)
    if reference.unit is not None or answer.unit is not None:
        return _units(reference, answer)
    degrees = _degrees(reference, answer)
    if degrees is not None:
        return degrees
    if reference.node.name == "based" or answer.node.name == "based":
        return "math_convention_base", _based(reference.node, answer.node)
    if _has_constant(reference.node):
        return _up_to_constant(reference.node, answer.node)
    renamed = constants_renamed(reference.node, answer.node)
    if renamed is not None:
        return "math_convention_constant", renamed
    return numbers(reference, answer)


def constants_renamed(reference: Node, answer: Node) -> bool | None:
    """C e^{2x} and A e^{2x}: arbitrary constants of a reference may have other names; None where there are none."""
    names, given = symbols(reference), symbols(answer)
    ours = sorted(name for name in names if name == "C" or _NUMBERED.fullmatch(name))
    extra = sorted(given - names)
    others = sorted(name for name in given if name in ours or name in extra)
    if not ours or names == given or len(ours) != len(others) or len(ours) > MAX_CONSTANTS:
        return None
    if not names & _VARIABLES or any(name.partition("_")[0] not in _CONSTANTS for name in extra):
        return None
    for order in permutations(ours):
        if same(reference, substitute(answer, {b: Node("sym", name=a) for a, b in zip(order, others, strict=True)})):
            return True
    return None


def numbers(reference: Scalar, answer: Scalar) -> Result:
    """Values alone: equal, or a decimal that is right in six digits or more."""
    names, given = symbols(reference.node), symbols(answer.node)
    if names or given:
        if names != given and any(name.startswith("vec ") for name in names | given):
            bare = _without_arrows(reference.node, names), _without_arrows(answer.node, given)
            return "math_value", same(*bare)
        return "math_value", same(reference.node, answer.node)
    equal = same(reference.node, answer.node)
    if equal is not False:
        return ("math_exact" if equal else "math_value"), equal
    if answer.digits is None:
        return ("math_convention_decimal" if reference.digits is not None else "math_exact"), False
    return "math_convention_decimal", _rounded(reference, answer)


def _without_arrows(node: Node, names: frozenset[str]) -> Node:
    r"""\vec{a} and the bold a are one, unless the expression holds a without an arrow as well."""
    arrows = {name: name.removeprefix("vec ") for name in names if name.startswith("vec ")}
    if names & set(arrows.values()):
        return node
    return substitute(node, {name: Node("sym", name=bare) for name, bare in arrows.items()})


def _rounded(reference: Scalar, answer: Scalar) -> bool:
    """A decimal answer that differs from the reference: right if all its digits are, and they are six or more."""
    if answer.digits is None or answer.digits < ENOUGH_DIGITS:
        return False
    if reference.digits is not None:
        if reference.digits < ENOUGH_DIGITS:
            return False
        coarse = max((reference, answer), key=lambda scalar: scalar.ulp)
        fine = answer if coarse is reference else reference
        return _right_digits(coarse, fine)
    exact = value(reference.node, arithmetic(DIGITS, False, None))
    if isinstance(exact, Fraction) and exact.denominator == 1:
        return False  # integers compare exactly
    return _right_digits(answer, reference)


def _right_digits(decimal: Scalar, exact: Scalar) -> bool:
    """Whether decimal is exact, rounded or cut at its last digit."""
    arithmetics = arithmetic(MORE_DIGITS, True, None)
    given, true = value(decimal.node, arithmetics), value(exact.node, arithmetics)
    if given is None or true is None:
        return False
    x, y, ulp = arithmetics.float(given), arithmetics.float(true), arithmetics.float(decimal.ulp)
    if abs(x - y) * 2 <= ulp:
        return True
    return bool(abs(x) < abs(y) and abs(y) - abs(x) < ulp and x * y > 0)


def _percent(reference: Scalar, answer: Scalar) -> bool | None:
    r"""50\% is 50\%, 0.5 and 50; and the other way round."""
    a, b = replace(reference, percent=False), replace(answer, percent=False)
    if reference.percent and answer.percent:
        return scalars(a, b)[1]
    if reference.percent:
        known = [scalars(a, b)[1], scalars(_hundredth(a), b)[1]]
    else:
        known = [scalars(a, b)[1], scalars(a, _hundredth(b))[1]]
    return True if True in known else (False if False in known and None not in known else None)


def _hundredth(scalar: Scalar) -> Scalar:
    return replace(scalar, node=Node("div", (scalar.node, _HUNDRED)), ulp=scalar.ulp / 100)


# ---- units ----
def _units(reference: Scalar, answer: Scalar) -> Result:
    rule = "math_convention_unit"
    left, right = reference.unit, answer.unit
    if RADIAN in (left, right):
        first, second = _angle(reference), _angle(answer)
        if first is not None and second is not None:
            return rule, same(first, second)
    a, b = replace(reference, unit=None, product=None), replace(answer, unit=None, product=None)
    if left is None or right is None:
        given, other = (reference, answer) if right is None else (answer, reference)
        if given.product is not None and (given.glued or symbols(other.node)):
            return "math_value", same(_with_letter(reference), _with_letter(answer))
        if _is_degrees(other.node):
            alike = given.unit is not None and given.unit.alike(DEGREE)
            return numbers(_plain_degrees(a), _plain_degrees(b)) if alike else (rule, False)
        return rule, scalars(a, b)[1]
    if not left.alike(right):
        return rule, False
    if left == right:
        return rule, scalars(a, b)[1]
    return rule, numbers(_converted(a, left), _converted(b, right))[1]


def _angle(scalar: Scalar) -> Node | None:
    """An angle that says in what it is measured, in radians; None for anything else."""
    if scalar.unit == RADIAN:
        return scalar.node
    if scalar.unit is not None and scalar.unit.alike(DEGREE):
        return Node("degree", (scalar.node,))
    return scalar.node if scalar.unit is None and _is_degrees(scalar.node) else None


def _with_letter(scalar: Scalar) -> Node:
    """The expression with the letters behind it as variables."""
    return scalar.node if scalar.product is None else scalar.product


def _converted(scalar: Scalar, unit: Unit) -> Scalar:
    factor, offset = unit.factor, unit.offset
    node = Node("mul", (scalar.node, num(factor)))
    if offset:
        node = Node("add", (node, num(offset)))
    return replace(scalar, node=node, ulp=scalar.ulp * abs(factor))


def _degrees(reference: Scalar, answer: Scalar) -> Result | None:
    """A degree sign on one side only is forgiven; None where this is no angle in degrees."""
    if not _is_degrees(reference.node) and not _is_degrees(answer.node):
        return None
    if _is_degrees(reference.node) and _is_degrees(answer.node):
        return "math_convention_unit", numbers(_plain_degrees(reference), _plain_degrees(answer))[1]
    plain = numbers(_plain_degrees(reference), _plain_degrees(answer))
    if plain[1]:
        return "math_convention_unit", True
    if _is_degrees(answer.node) and answer.digits is not None:  # 70.5288 degrees for arccos 1/3
        turned = Node("div", (Node("mul", (reference.node, num(180))), Node("const", name="pi")))
        return "math_convention_unit", numbers(replace(reference, node=turned), _plain_degrees(answer))[1]
    return "math_convention_unit", same(reference.node, answer.node)


def _is_degrees(node: Node) -> bool:
    return node.op == "degree" or (node.op == "neg" and node.args[0].op == "degree")


def _plain_degrees(scalar: Scalar) -> Scalar:
    node = scalar.node
    if node.op == "neg" and node.args[0].op == "degree":
        return replace(scalar, node=Node("neg", node.args[0].args))
    return replace(scalar, node=node.args[0]) if node.op == "degree" else scalar


# ---- bases ----
def _based(reference: Node, answer: Node) -> bool | None:
    """Digits in a base: a missing base is forgiven, a wrong one is not."""
    if reference.name == answer.name == "based":
        return reference.args[0].number == answer.args[0].number
    based, other = (reference, answer) if reference.name == "based" else (answer, reference)
    if other.op == "num" and other.number == based.number:
        return True
    return same(based.args[0], other) if based is answer else False


# ---- the constant of integration ----
def _has_constant(node: Node) -> bool:
    """A sum with a term C in which something else varies: an antiderivative."""
    if node.op != "add":
        return False
    names = [_term_name(term) for term in node.args]
    constants = [name for name in names if name in ("C", "C_1", "c_1", "const")]
    rest = [term for term, name in zip(node.args, names, strict=True) if name not in constants]
    others = frozenset().union(*(symbols(term) for term in rest))
    return len(constants) == 1 and bool(others & _VARIABLES) and constants[0] not in others


def _term_name(term: Node) -> str:
    inner = term.args[0] if term.op == "neg" else term
    return inner.name if inner.op == "sym" else ""


def _up_to_constant(reference: Node, answer: Node) -> Result:
    """Antiderivatives: the answer needs one constant of its own, and may differ by a fixed number."""
    rule = "math_convention_constant"
    terms = tuple(term for term in reference.args if _term_name(term) not in ("C", "C_1", "c_1", "const"))
    rest = Node("add", terms) if len(terms) > 1 else terms[0]
    variables = symbols(rest)
    extra = sorted(symbols(answer) - variables)
    if len(extra) != 1 or extra[0].partition("_")[0] not in _CONSTANTS:
        return rule, False
    name = extra[0]
    numbers_ = arithmetic(DIGITS, True, None)
    shifts: list[Value] = []
    slopes: list[Value] = []
    apart = False
    ordered = tuple(sorted(variables))
    for point in (*points(ordered), *points_inside(ordered)):
        base, at_one, at_four = (
            _maybe(rest, numbers_, point),
            _maybe(answer, numbers_, {**point, name: Fraction(1)}),
            _maybe(answer, numbers_, {**point, name: Fraction(4)}),
        )
        if base is None or at_one is None or at_four is None:
            apart = apart or (base is None) != (at_one is None)
            continue
        shifts.append(numbers_.add(at_one, -base))
        slopes.append(numbers_.add(at_four, -at_one))
    if len(shifts) < 3 or (apart and has(reference, "call", "abs") != has(answer, "call", "abs")):
        return rule, None
    if not slopes[0]:
        return rule, False
    return rule, _all_agree(shifts) and _all_agree(slopes)


def _maybe(node: Node, numbers_: Arithmetic, point: Mapping[str, Value]) -> Value | None:
    try:
        return evaluate(node, numbers_, point)
    except (UndefinedError, GuardError):
        return None


def _all_agree(values: list[Value]) -> bool:
    numbers_ = arithmetic(DIGITS, True, None)
    return all(agree(values[0], one, numbers_) is not False for one in values[1:])
