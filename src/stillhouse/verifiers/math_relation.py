"""Compares names with values, equations and inequalities.

In: two shapes of which one is a Named or a Relation, and how to compare what is inside. Out: rule and verdict.
"""

from __future__ import annotations

import re
from dataclasses import replace

from stillhouse.verifiers.math_equal import proportional
from stillhouse.verifiers.math_equation import same_solutions, solved_by
from stillhouse.verifiers.math_inequality import as_region, matches
from stillhouse.verifiers.math_lists import Compare
from stillhouse.verifiers.math_region import interval_of
from stillhouse.verifiers.math_scalar import Result, constants_renamed
from stillhouse.verifiers.math_shape import Many, Named, Region, Relation, Scalar, Shape
from stillhouse.verifiers.math_tree import Node, substitute, symbols


def named(reference: Shape, answer: Shape, compare: Compare) -> Result:
    """`x = 5` is 5; two different plain names differ; a name may also be a side of an equation."""
    if isinstance(reference, Named) and isinstance(answer, Named):
        alike = reference.function == answer.function and reference.plain and answer.plain
        if alike and reference.name != answer.name:
            return "math_convention_name", False
        if not reference.plain and not answer.plain and _other_name(reference.name, answer.name):
            return "math_convention_name", False
        if reference.name == answer.name and _other_place(reference, answer):
            return "math_convention_name", False
        return compare(reference.value, _with_argument(reference, answer))
    if isinstance(reference, Named):
        if isinstance(answer, Relation):
            return _equation_of(reference, answer)
        if isinstance(answer, Region) and isinstance(reference.value, Region | Many):
            return compare(reference.value, answer)
        return compare(reference.value, answer)
    assert isinstance(answer, Named)  # noqa: S101  the caller saw to it
    if isinstance(reference, Relation):
        return _equation_of(answer, reference)
    return compare(reference, answer.value)


def _other_name(one: str, other: str) -> bool:
    """Whether two names that are more than a letter are of one form and differ: angle A and angle B, P(X=1), P(X=2)."""
    return one != other and re.sub(r"[A-Za-z0-9]", "#", one) == re.sub(r"[A-Za-z0-9]", "#", other)


def _other_place(reference: Named, answer: Named) -> bool:
    """Whether two numbers are values of one function at different places: f(2) and f(3), P(A) and P(B)."""
    one, other = reference.argument, answer.argument
    if one == other or not one or not other or not re.search(r"[A-Z0-9]", one + other):
        return False
    values = [named.value for named in (reference, answer)]
    return all(isinstance(value, Scalar) and not symbols(value.node) for value in values)


def _with_argument(reference: Named, answer: Named) -> Shape:
    """The answer's value with the reference's argument: f(t) = 2t is f(x) = 2x."""
    one, other, value = reference.argument, answer.argument, answer.value
    if one == other or not isinstance(value, Scalar) or other not in symbols(value.node) or one in symbols(value.node):
        return value
    return replace(value, node=substitute(value.node, {other: Node("sym", name=one)}))


def _equation_of(named: Named, relation: Relation) -> Result:
    rule = "math_convention_equation"
    if relation.op != "=":
        return rule, False
    if not named.plain or named.function:
        return rule, None
    if not isinstance(named.value, Scalar):
        items = named.value.items if isinstance(named.value, Many) and named.value.kind in ("bare", "set") else ()
        nodes = [item.node for item in items if isinstance(item, Scalar) and item.plain]
        whole = bool(items) and len(nodes) == len(items)
        return rule, solved_by(_difference(relation), named.name, nodes) if whole else None
    left = Node("add", (Node("sym", name=named.name), Node("neg", (named.value.node,))))
    return rule, same_solutions(left, _difference(relation))


def _difference(relation: Relation) -> Node:
    return Node("add", (relation.left, Node("neg", (relation.right,))))


def relations(reference: Shape, answer: Shape, compare: Compare) -> Result:
    rule = "math_convention_equation"
    if isinstance(reference, Relation) and isinstance(answer, Relation):
        if reference.op != answer.op:
            return rule, False
        if reference.op == "=":
            if constants_renamed(_difference(reference), _difference(answer)):
                return "math_convention_constant", True
            return rule, same_solutions(_difference(reference), _difference(answer))
        positive = reference.op in ("<", "<=")
        found = proportional(_difference(reference), _difference(answer), positive=positive)
        return rule, found if found else None
    relation, other = (reference, answer) if isinstance(reference, Relation) else (answer, reference)
    assert isinstance(relation, Relation)  # noqa: S101  the caller saw to it
    if relation.op != "=":
        region = as_region(relation)
        if region is not None:
            return compare(region, other) if relation is reference else compare(other, region)
        interval = interval_of(other)
        return "math_convention_interval", None if interval is None else matches(relation, interval)
    if isinstance(other, Scalar) and relation is answer:
        if relation.right.op == "num" and not relation.right.number:
            return rule, False  # a curve, not the number zero
        return compare(reference, Scalar(relation.right))  # a + b = 5 where 5 was asked
    return rule, None if isinstance(other, Many | Region) else False
