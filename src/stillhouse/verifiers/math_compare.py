"""Compares two answers of any shape by the conventions of math.

In: reference and answer as Shapes; the reference sets the form. Out: the rule that decided and True, False, or None for
"cannot tell". A None goes on to Math-Verify.
"""

from __future__ import annotations

from collections.abc import Sequence

from stillhouse.verifiers.math_equal import arithmetic, proportional, value
from stillhouse.verifiers.math_equation import same_solutions, solved_by
from stillhouse.verifiers.math_inequality import as_region, matches
from stillhouse.verifiers.math_lists import all_of, covers, with_dots
from stillhouse.verifiers.math_number import GuardError
from stillhouse.verifiers.math_family import families
from stillhouse.verifiers.math_scalar import Result, scalars
from stillhouse.verifiers.math_shape import (
    Choice,
    Clock,
    Dots,
    Either,
    Family,
    Given,
    Many,
    Matrix,
    Named,
    Numbers,
    Piece,
    Ratio,
    Region,
    Relation,
    Residue,
    Scalar,
    Shape,
    Words,
)
from stillhouse.verifiers.math_tree import Node, num, substitute, symbols

MAX_PAIRS = 10_000
LOOSE = 0.01  # alternatives of one answer that are further apart contradict each other
FEW_WORDS = 3


def compare(reference: Shape, answer: Shape) -> Result:
    """Rule and verdict. Raises GuardError for sizes beyond every limit."""
    if isinstance(reference, Either):
        return _any("math_convention_alternatives", [compare(one, answer) for one in reference.items])
    if isinstance(answer, Either):
        return _either(reference, answer)
    if isinstance(reference, Choice) or isinstance(answer, Choice):
        return _choice(reference, answer)
    if isinstance(reference, Clock) or isinstance(answer, Clock):
        return "math_convention_time", _clocks(reference, answer)
    if isinstance(reference, Words) or isinstance(answer, Words):
        return _words(reference, answer)
    if isinstance(reference, Given) or isinstance(answer, Given):
        return _given(reference, answer)
    if isinstance(reference, Residue) or isinstance(answer, Residue):
        return "math_convention_residue", _residues(reference, answer)
    if isinstance(reference, Family) or isinstance(answer, Family):
        return "math_convention_family", families(reference, answer)
    if isinstance(reference, Named) or isinstance(answer, Named):
        return _named(reference, answer)
    if isinstance(reference, Relation) or isinstance(answer, Relation):
        return _relation(reference, answer)
    if isinstance(reference, Ratio) or isinstance(answer, Ratio):
        return "math_convention_ratio", _ratio(reference, answer)
    if isinstance(reference, Scalar) and isinstance(answer, Scalar):
        return scalars(reference, answer)
    return _structure(reference, answer)


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
        if not verdict and not _consistent(first, one):
            return rule, False
    return rule, True


def _consistent(one: Shape, other: Shape) -> bool:
    """Whether two alternatives may mean the same: equal, or numbers about equal."""
    if isinstance(one, Named):
        one = one.value
    if isinstance(other, Named):
        other = other.value
    if compare(one, other)[1] is not False or compare(other, one)[1] is not False:
        return True
    if isinstance(one, Scalar) and isinstance(other, Scalar):
        numbers = arithmetic(50, True, None)
        a, b = value(one.node, numbers), value(other.node, numbers)
        if a is None or b is None:
            return False
        x, y = numbers.float(a), numbers.float(b)
        slack = max(abs(x) * LOOSE, numbers.float(max(one.ulp, other.ulp)))
        return bool(abs(x - y) <= slack)
    return False


# ---- letters and words ----
def _choice(reference: Shape, answer: Shape) -> Result:
    rule = "math_convention_letter"
    if isinstance(reference, Choice):
        if isinstance(answer, Choice):
            return rule, reference.letter == answer.letter
        name = _letter_of(answer)
        if name is not None:
            return rule, name.upper() == reference.letter
        return (rule, False) if reference.rest is None else compare(reference.rest, answer)
    assert isinstance(answer, Choice)  # noqa: S101  the caller saw to it
    name = _letter_of(reference)
    if name is not None:
        return rule, name.upper() == answer.letter
    return (rule, False) if answer.rest is None else compare(reference, answer.rest)


def _letter_of(shape: Shape) -> str | None:
    if isinstance(shape, Many) and len(shape.items) == 1:
        shape = shape.items[0]
    if isinstance(shape, Scalar) and shape.node.op in ("sym", "const") and len(shape.node.name) == 1:
        return shape.node.name
    return None


def _words(reference: Shape, answer: Shape) -> Result:
    rule = "math_convention_words"
    if isinstance(reference, Words) and isinstance(answer, Words):
        if reference.text == answer.text or reference.text.replace(" ", "") == answer.text.replace(" ", ""):
            return rule, True
        short = len(reference.text.split()) <= FEW_WORDS
        return rule, (False if short else None)
    words, other = (reference, answer) if isinstance(reference, Words) else (answer, reference)
    assert isinstance(words, Words)  # noqa: S101  the caller saw to it
    if isinstance(other, Scalar):
        letters = _letters(other.node)
        if letters is not None:
            return rule, letters.lower() == words.text.replace(" ", "")
        return rule, False
    if isinstance(other, Named | Either | Family | Relation):
        return rule, None
    return rule, False


def _letters(node: Node) -> str | None:
    """Letters that were read as a product and may have been a word."""
    parts = node.args if node.op == "mul" else (node,)
    if all(part.op in ("sym", "const") for part in parts):
        return "".join(part.name for part in parts)
    return None


def _clocks(reference: Shape, answer: Shape) -> bool | None:
    """Times of day; am or pm may be missing. Without either, 3:30 may be a ratio too."""
    if isinstance(reference, Clock) and isinstance(answer, Clock):
        if reference.ratio is not None and answer.ratio is not None:
            return _ratio(reference.ratio, answer.ratio)
        if reference.half and answer.half:
            return (reference.half, reference.minutes) == (answer.half, answer.minutes)
        return reference.minutes % 720 == answer.minutes % 720
    a = reference.ratio if isinstance(reference, Clock) else reference
    b = answer.ratio if isinstance(answer, Clock) else answer
    if a is None or b is None:
        return False
    return compare(a, b)[1]


def _given(reference: Shape, answer: Shape) -> Result:
    """A condition on one side only is forgiven; two conditions must agree."""
    value = compare(
        reference.value if isinstance(reference, Given) else reference,
        answer.value if isinstance(answer, Given) else answer,
    )
    if value[1] and isinstance(reference, Given) and isinstance(answer, Given):
        if compare(reference.condition, answer.condition)[1] is False:
            return "math_convention_condition", False
    return value


def _residues(reference: Shape, answer: Shape) -> bool | None:
    """Congruent modulo one number; a missing modulus is forgiven."""
    if isinstance(reference, Residue) and isinstance(answer, Residue):
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


# ---- names, equations, inequalities ----
def _named(reference: Shape, answer: Shape) -> Result:
    """`x = 5` is 5; two different plain names differ; a name may also be a side of an equation."""
    if isinstance(reference, Named) and isinstance(answer, Named):
        alike = reference.function == answer.function and reference.plain and answer.plain
        if alike and reference.name != answer.name:
            return "math_convention_name", False
        return compare(reference.value, answer.value)
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


def _relation(reference: Shape, answer: Shape) -> Result:
    rule = "math_convention_equation"
    if isinstance(reference, Relation) and isinstance(answer, Relation):
        if reference.op != answer.op:
            return rule, False
        if reference.op == "=":
            return rule, same_solutions(_difference(reference), _difference(answer))
        positive = reference.op in ("<", "<=")
        found = proportional(_difference(reference), _difference(answer), positive=positive)
        return rule, found if found else None
    relation, other = (reference, answer) if isinstance(reference, Relation) else (answer, reference)
    assert isinstance(relation, Relation)  # noqa: S101  the caller saw to it
    if relation.op != "=":
        region = as_region(relation)
        if region is not None:
            return _structure(region, other) if relation is reference else _structure(other, region)
        interval = _interval(other)
        return "math_convention_interval", None if interval is None else matches(relation, interval)
    if isinstance(other, Scalar) and relation is answer:
        return compare(reference, Scalar(relation.right))  # a + b = 5 where 5 was asked
    return rule, None if isinstance(other, Many | Region) else False


def _ratio(reference: Shape, answer: Shape) -> bool | None:
    """3:4 is 6:8 and 3/4."""
    parts = [_parts(reference), _parts(answer)]
    if parts[0] is None or parts[1] is None:
        return False
    left, right = parts[0], parts[1]
    if len(left) != len(right):
        return False
    verdicts = [
        scalars(
            Scalar(Node("mul", (left[i].node, right[0].node))), Scalar(Node("mul", (left[0].node, right[i].node)))
        )[1]
        for i in range(1, len(left))
    ]
    return all_of(verdicts)


def _parts(shape: Shape) -> Sequence[Scalar] | None:
    if isinstance(shape, Ratio):
        return shape.parts
    if isinstance(shape, Scalar) and shape.plain:
        return shape, Scalar(num(1))
    return None


# ---- lists, sets, tuples, intervals, matrices ----
def _structure(reference: Shape, answer: Shape) -> Result:
    reference, answer = _vector(reference), _vector(answer)
    if isinstance(reference, Numbers) or isinstance(answer, Numbers):
        return "math_convention_set", reference == answer
    if isinstance(reference, Matrix) or isinstance(answer, Matrix):
        return "math_convention_matrix", _matrices(reference, answer)
    if isinstance(reference, Region) or isinstance(answer, Region):
        return "math_convention_interval", _regions(reference, answer)
    left, right = _many(reference), _many(answer)
    if left is None or right is None:
        return "math_exact", None
    return _lists(left, right)


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


def _lists(left: Many, right: Many) -> Result:
    if len(left.items) * len(right.items) > MAX_PAIRS:
        raise GuardError("lists of too many items")
    if any(isinstance(item, Dots) for item in (*left.items, *right.items)):
        if (left.kind == "sum") != (right.kind == "sum"):
            return "math_convention_ellipsis", False
        return "math_convention_ellipsis", with_dots(left, right, compare)
    named = _assignments(left, right)
    if named is not None:
        return "math_convention_name", named
    kinds = {left.kind, right.kind}
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


def _assignments(left: Many, right: Many) -> bool | None:
    """`x=1, y=2` against itself in any order, or against the tuple (1, 2) in the order of the alphabet."""
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
    if other.kind == "tuple":
        pairs = zip(values, other.items, strict=True)
        return all_of([(compare(v, o) if a is not None else compare(o, v))[1] for v, o in pairs])
    return None


def _by_name(many: Many) -> dict[str, Shape] | None:
    if len(many.items) < 2 or not all(isinstance(item, Named) and item.plain for item in many.items):
        return None
    named = {item.name: item.value for item in many.items if isinstance(item, Named)}
    return named if len(named) == len(many.items) else None


def _matrices(reference: Shape, answer: Shape) -> bool | None:
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


def _interval(shape: Shape) -> Region | None:
    """A region, or two numbers in round brackets as an open interval."""
    if isinstance(shape, Region):
        return shape
    if isinstance(shape, Many) and shape.kind == "tuple" and len(shape.items) == 2:
        low, high = shape.items
        if isinstance(low, Scalar) and isinstance(high, Scalar):
            return Region((Piece(_end(low), False, _end(high), False),))
    return None


def _end(scalar: Scalar) -> Scalar | None:
    return None if scalar.infinite else scalar


def _regions(reference: Shape, answer: Shape) -> bool | None:
    left, right = _interval(reference), _interval(answer)
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

