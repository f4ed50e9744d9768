"""Compares two answers of any shape by the conventions of math.

In: reference and answer as Shapes; the reference sets the form. Out: the rule that decided and True, False, or None for
"cannot tell". A None goes on to Math-Verify.
"""

from __future__ import annotations

from stillhouse.verifiers.math_equal import arithmetic, value
from stillhouse.verifiers.math_family import families
from stillhouse.verifiers.math_piecewise import compare as piecewise
from stillhouse.verifiers.math_relation import named, relations
from stillhouse.verifiers.math_scalar import Result, scalars
from stillhouse.verifiers.math_shape import (
    Cases,
    Choice,
    Clock,
    Either,
    Family,
    Given,
    Named,
    Ratio,
    Relation,
    Residue,
    Scalar,
    Shape,
    Words,
)
from stillhouse.verifiers.math_structure import ratios, structures
from stillhouse.verifiers.math_tree import Node, num
from stillhouse.verifiers.math_wording import choices, clocks, words

LOOSE = 0.01  # alternatives of one answer that are further apart contradict each other


def compare(reference: Shape, answer: Shape) -> Result:
    """Rule and verdict. Raises GuardError for sizes beyond every limit."""
    if reference == answer:
        return "math_exact", True
    if isinstance(reference, Either):
        return _any("math_convention_alternatives", [compare(one, answer) for one in reference.items])
    if isinstance(answer, Either):
        return _either(reference, answer)
    if isinstance(reference, Choice) or isinstance(answer, Choice):
        return choices(reference, answer, compare)
    if isinstance(reference, Clock) or isinstance(answer, Clock):
        return "math_convention_time", clocks(reference, answer, compare)
    if isinstance(reference, Words) or isinstance(answer, Words):
        return words(reference, answer)
    if isinstance(reference, Given) or isinstance(answer, Given):
        return _given(reference, answer)
    if isinstance(reference, Residue) or isinstance(answer, Residue):
        return "math_convention_residue", _residues(reference, answer)
    if isinstance(reference, Family) or isinstance(answer, Family):
        return "math_convention_family", families(reference, answer)
    if isinstance(_value(reference), Cases) or isinstance(_value(answer), Cases):
        return "math_convention_cases", piecewise(reference, answer, compare)
    if isinstance(reference, Named) or isinstance(answer, Named):
        return named(reference, answer, compare)
    if isinstance(reference, Relation) or isinstance(answer, Relation):
        return relations(reference, answer, compare)
    if isinstance(reference, Ratio) or isinstance(answer, Ratio):
        return "math_convention_ratio", ratios(reference, answer)
    if isinstance(reference, Scalar) and isinstance(answer, Scalar):
        return scalars(reference, answer)
    return structures(reference, answer, compare)


def _value(shape: Shape) -> Shape:
    return shape.value if isinstance(shape, Named) else shape


def _any(rule: str, results: list[Result]) -> Result:
    for found, verdict in results:
        if verdict:
            return found, True
    return rule, (False if all(verdict is False for _, verdict in results) else None)


def _either(reference: Shape, answer: Either) -> Result:
    """One alternative must be right, and none may contradict another."""
    rule = "math_convention_alternatives"
    results = [compare(reference, one) for one in answer.items]
    if not any(verdict for _, verdict in results):
        return _any(rule, results)
    first = next(one for one, (_, verdict) in zip(answer.items, results, strict=True) if verdict)
    for one, (_, verdict) in zip(answer.items, results, strict=True):
        if not verdict and not _consistent(first, one, answer.loose):
            return rule, False
    return rule, True


def _consistent(one: Shape, other: Shape, loose: bool) -> bool:
    """Whether two alternatives may mean the same: equal, numbers about equal, or formulas said to be about equal."""
    if isinstance(one, Named):
        one = one.value
    if isinstance(other, Named):
        other = other.value
    if compare(one, other)[1] is not False or compare(other, one)[1] is not False:
        return True
    if isinstance(one, Scalar) and isinstance(other, Scalar):
        numbers = arithmetic(50, True, None)
        a, b = (value(Node("percent", (s.node,)) if s.percent else s.node, numbers) for s in (one, other))
        if a is None or b is None:
            return loose
        x, y = numbers.float(a), numbers.float(b)
        slack = max(abs(x) * LOOSE, numbers.float(max(one.ulp, other.ulp)))
        return bool(abs(x - y) <= slack)
    return False


def _given(reference: Shape, answer: Shape) -> Result:
    """A condition on one side only is forgiven; two conditions must agree."""
    found = compare(
        reference.value if isinstance(reference, Given) else reference,
        answer.value if isinstance(answer, Given) else answer,
    )
    if not found[1] or not isinstance(reference, Given) or not isinstance(answer, Given):
        return found
    agreed = compare(reference.condition, answer.condition)[1]
    return ("math_convention_condition", False) if agreed is False else found


def _residues(reference: Shape, answer: Shape) -> bool | None:
    """Congruent modulo one number; a missing modulus is forgiven."""
    if isinstance(reference, Residue) and isinstance(answer, Residue):
        if reference.name and answer.name and reference.name != answer.name:
            return False
        modulus = scalars(reference.modulus, answer.modulus)[1]
        if not modulus:
            return modulus
        difference = Node("add", (reference.value.node, Node("neg", (answer.value.node,))))
        zero = Scalar(Node("call", (difference, reference.modulus.node), "mod"))
        return scalars(Scalar(num(0)), zero)[1]
    a = reference.value if isinstance(reference, Residue) else reference
    b = answer.value if isinstance(answer, Residue) else answer
    given = reference if isinstance(reference, Residue) else answer
    verdict = compare(a, b)[1]
    if verdict is False and isinstance(given, Residue) and isinstance(a, Scalar) and isinstance(b, Scalar):
        least = Scalar(Node("call", (given.value.node, given.modulus.node), "mod"))
        return scalars(least if given is reference else a, b if given is reference else least)[1]
    return verdict
