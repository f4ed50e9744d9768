"""Compares lists, sets, tuples, intervals, matrices and ratios.

In: two shapes, and how to compare what is inside them. Out: rule and verdict. Bare lists are sets; tuples, sets and
intervals are told apart; a column is a tuple.
"""

from __future__ import annotations

from collections.abc import Sequence

from stillhouse.verifiers.math_lists import Compare, all_of, covers, with_dots
from stillhouse.verifiers.math_number import GuardError
from stillhouse.verifiers.math_region import interval_of
from stillhouse.verifiers.math_scalar import Result, scalars
from stillhouse.verifiers.math_shape import Choice, Dots, Many, Matrix, Named, Numbers, Ratio, Region, Scalar, Shape
from stillhouse.verifiers.math_tree import Node, num, substitute, symbols

MAX_PAIRS = 10_000


def ratios(reference: Shape, answer: Shape) -> bool | None:
    """3:4 is 6:8 and 3/4."""
    parts = [_parts(reference), _parts(answer)]
    if parts[0] is None or parts[1] is None:
        return False
    left, right = parts[0], parts[1]
    if len(left) != len(right):
        return False
    verdicts = [
        scalars(Scalar(Node("mul", (left[i].node, right[0].node))), Scalar(Node("mul", (left[0].node, right[i].node))))[
            1
        ]
        for i in range(1, len(left))
    ]
    return all_of(verdicts)


def _parts(shape: Shape) -> Sequence[Scalar] | None:
    if isinstance(shape, Ratio):
        return shape.parts
    if isinstance(shape, Scalar) and shape.plain:
        return shape, Scalar(num(1))
    return None


def structures(reference: Shape, answer: Shape, compare: Compare) -> Result:
    reference, answer = _vector(reference), _vector(answer)
    if isinstance(reference, Numbers) or isinstance(answer, Numbers):
        return "math_convention_set", reference == answer
    if isinstance(reference, Matrix) or isinstance(answer, Matrix):
        return "math_convention_matrix", _matrices(reference, answer, compare)
    if isinstance(reference, Region) or isinstance(answer, Region):
        return "math_convention_interval", _regions(reference, answer)
    left, right = _many(reference), _many(answer)
    if left is None or right is None:
        return "math_exact", None
    return _lists(left, right, compare)


def _vector(shape: Shape) -> Shape:
    """A sum of multiples of the unit vectors i, j, k as the tuple of its coordinates."""
    if not isinstance(shape, Scalar) or not shape.plain:
        return shape
    names = symbols(shape.node)
    units = ["unit i", "unit j", "unit k"]
    if not names or not names <= set(units):
        return shape
    size = 3 if "unit k" in names else 2
    return Many("tuple", tuple(Scalar(substitute(shape.node, _unit_point(units[i]))) for i in range(size)))


def _unit_point(name: str) -> dict[str, Node]:
    return {one: num(1 if one == name else 0) for one in ("unit i", "unit j", "unit k")}


def _many(shape: Shape) -> Many | None:
    if isinstance(shape, Many):
        return shape
    return Many("bare", (shape,)) if isinstance(shape, Scalar | Ratio) else None


def _lists(left: Many, right: Many, compare: Compare) -> Result:
    if len(left.items) * len(right.items) > MAX_PAIRS:
        raise GuardError("lists of too many items")
    if any(isinstance(item, Dots) for item in (*left.items, *right.items)):
        if any((left.kind == kind) != (right.kind == kind) for kind in ("sum", "tuple", "bracket")):
            return "math_convention_ellipsis", False
        return "math_convention_ellipsis", with_dots(left, right, compare)
    letters = _letters(left), _letters(right)
    if None not in letters and (len(left.items) == 1) != (len(right.items) == 1):
        return "math_convention_letter", letters[0] == letters[1]
    named = _assignments(left, right, compare)
    if named is not None:
        return "math_convention_name", named
    kinds = {left.kind, right.kind}
    if "any" in kinds:
        return "math_convention_list", len(kinds) == 1 and covers(left.items, right.items, compare)
    if kinds <= {"bare", "set"}:
        return "math_convention_list", covers(left.items, right.items, compare)
    if kinds <= {"tuple", "bracket"}:
        if len(left.items) != len(right.items):
            return "math_convention_tuple", False
        pairs = zip(left.items, right.items, strict=True)
        return "math_convention_tuple", all_of([compare(a, b)[1] for a, b in pairs])
    if "bracket" in kinds and "tuple" not in kinds:
        return "math_convention_list", covers(left.items, right.items, compare)
    if "tuple" in kinds and min(len(left.items), len(right.items)) == 1:  # one point, or a set of one point
        many, one = (left, right) if left.kind == "tuple" else (right, left)
        if len(one.items) == 1 and isinstance(one.items[0], Many):
            return compare(*((many, one.items[0]) if many is left else (one.items[0], many)))
    return "math_convention_tuple", False


def _letters(many: Many) -> str | None:
    """Letters of several choices, as `A, C` or in one word as `AC`, in their order; None for anything else."""
    letters = ""
    for item in many.items:
        if isinstance(item, Choice) and item.rest is None:
            letters += item.letter
        elif isinstance(item, Scalar) and item.plain and item.node.op in ("sym", "mul"):
            parts = item.node.args or (item.node,)
            letters += "".join(part.name if part.op == "sym" else "?" for part in parts)
    known = len(letters) > 1 and set(letters) <= set("ABCDEFGHIJ") and len(set(letters)) == len(letters)
    return "".join(sorted(letters)) if known and many.kind == "bare" else None


def _assignments(left: Many, right: Many, compare: Compare) -> bool | None:
    """`x=1, y=2` against itself in any order, or against the tuple (1, 2) or the list 1, 2, in alphabetical order.

    A reference that is a list has no order, so an answer may name its values as it likes; a set is no such system.
    """
    a, b = _by_name(left), _by_name(right)
    if a is None and b is None:
        return None
    if a is not None and b is not None:
        if a.keys() != b.keys():
            return False
        return all_of([compare(a[name], b[name])[1] for name in a])
    named, other = (a, right) if a is not None else (b, left)
    assert named is not None  # noqa: S101  one of them is
    values = [named[name] for name in sorted(named)]
    if len(values) != len(other.items):
        return False
    if other.kind == "set" or any(isinstance(item, Named) for item in other.items):
        return False
    if other.kind == "tuple" or (other.kind == "bare" and a is not None):
        pairs = zip(values, other.items, strict=True)
        return all_of([(compare(v, o) if a is not None else compare(o, v))[1] for v, o in pairs])
    return None


def _by_name(many: Many) -> dict[str, Shape] | None:
    if len(many.items) < 2 or not all(isinstance(item, Named) and item.plain for item in many.items):
        return None
    named = {item.name: item.value for item in many.items if isinstance(item, Named)}
    return named if len(named) == len(many.items) else None


def _matrices(reference: Shape, answer: Shape, compare: Compare) -> bool | None:
    left, right = _rows(reference, answer), _rows(answer, reference)
    if left is None or right is None:
        return None if _nested(reference) or _nested(answer) else False
    if len(left) != len(right) or len(left[0]) != len(right[0]):
        return False
    pairs = [(a, b) for x, y in zip(left, right, strict=True) for a, b in zip(x, y, strict=True)]
    return all_of([compare(a, b)[1] for a, b in pairs])


def _nested(shape: Shape) -> bool:
    return not isinstance(shape, Matrix | Many | Scalar)


def _rows(shape: Shape, other: Shape) -> Sequence[Sequence[Shape]] | None:
    """Rows of a matrix; a tuple stands as the column or row that the other one is."""
    if isinstance(shape, Matrix):
        return shape.rows
    if isinstance(shape, Many) and shape.kind in ("tuple", "bracket") and isinstance(other, Matrix):
        inner = [_inner_row(item) for item in shape.items]
        if all(inner):
            return [one for one in inner if one]
        if len(other.rows) == 1:
            return [shape.items]
        return [[item] for item in shape.items]
    if not isinstance(shape, Region) or not isinstance(other, Matrix):
        return None
    pair = _inner_row(shape)
    if pair is None:
        return None
    return [pair] if len(other.rows) == 1 else [[cell] for cell in pair]


def _inner_row(shape: Shape) -> Sequence[Shape] | None:
    """Items of a list in brackets; two of them in square ones were read as an interval."""
    if isinstance(shape, Many) and shape.kind in ("tuple", "bracket"):
        return shape.items
    if isinstance(shape, Region) and len(shape.pieces) == 1:
        piece = shape.pieces[0]
        if piece.low is not None and piece.high is not None and piece.low_closed and piece.high_closed:
            return piece.low, piece.high
    return None


def _regions(reference: Shape, answer: Shape) -> bool | None:
    left, right = interval_of(reference), interval_of(answer)
    if left is None or right is None:
        return False
    if left.variable and right.variable and left.variable != right.variable:
        return False
    if len(left.pieces) != len(right.pieces):
        return False
    verdicts: list[bool | None] = []
    for a, b in zip(left.pieces, right.pieces, strict=True):
        if (a.low_closed, a.high_closed) != (b.low_closed, b.high_closed):
            return False
        for x, y in ((a.low, b.low), (a.high, b.high)):
            if x is None or y is None:
                verdicts.append(x is y)
            else:
                verdicts.append(scalars(x, y)[1])
    return all_of(verdicts)
