r"""Functions given by cases, and systems in the same environment.

In: the tokens of a side, or two shapes of which one is a Cases. Out: a Shape, or a verdict. Two are equal when every
value has its equal under an equal condition; else as functions of one variable, at, beside and between all ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise

from stillhouse.verifiers.math_cut import split, text_of
from stillhouse.verifiers.math_equal import DIGITS, agree, arithmetic, constant, value
from stillhouse.verifiers.math_inequality import GRID, NEAR, holds
from stillhouse.verifiers.math_number import Value
from stillhouse.verifiers.math_shape import Cases, Given, Named, Region, Relation, Scalar, Shape, Words
from stillhouse.verifiers.math_token import Token, UnreadableError
from stillhouse.verifiers.math_tree import Node, symbols

Statement = Callable[[list[Token], int], Shape]
Compare = Callable[[Shape, Shape], tuple[str, bool | None]]
MAX_CASES = 30
CLASH = object()  # no value of a function
_KINDS = ("cases", "dcases", "rcases")
_OTHERWISE = frozenset({"otherwise", "else", "elsewhere", "其他", "其它", "否则"})


def environment(body: list[Token]) -> list[list[Token]] | None:
    """The rows of a side that is one cases environment; None for anything else."""
    if len(body) < 9 or body[0].text != "begin" or body[-4].text != "end" or body[2].text not in _KINDS:
        return None
    rest = body[4:-4]
    if any(token.text == "begin" for token in rest):
        return None
    rows = split(rest, {"\\\\"})[0]
    return [row for row in rows if row]


def read(rows: list[list[Token]], depth: int, statement: Statement) -> Shape:
    """Values with their conditions, or, where no row has a condition, all rows as one list of clauses."""
    if not rows or len(rows) > MAX_CASES:
        raise UnreadableError("cases without rows, or of too many")
    items: list[tuple[Shape, Shape | None]] = []
    plain: list[Token] = []
    for row in rows:
        columns = [column for column in split(row, {"&"})[0] if column]
        if not columns:
            raise UnreadableError("an empty case")
        if len(columns) > 1 and columns[1][0].text not in ("=", "<", ">", "le", "ge", "ne", "in"):
            condition = [token for column in columns[1:] for token in column]
            items.append((statement(_bare(columns[0]), depth + 1), _condition(_bare(condition), depth, statement)))
            continue
        joined = _bare([token for column in columns for token in column])
        plain += [Token("op", ","), *joined] if plain else joined
        if not items or plain:
            made = statement(joined, depth + 1)
            if isinstance(made, Given):
                items.append((made.value, made.condition))
    if len(items) == len(rows):
        return Cases(tuple(items))
    if items:
        raise UnreadableError("some cases have a condition and some have none")
    return statement(plain, depth + 1)


def _bare(tokens: list[Token]) -> list[Token]:
    """Without the commas around it, which "if" and "for" have become too."""
    while tokens and tokens[0].text == ",":
        tokens = tokens[1:]
    while tokens and tokens[-1].text in (",", ";", "."):
        tokens = tokens[:-1]
    return tokens


def _condition(tokens: list[Token], depth: int, statement: Statement) -> Shape | None:
    words = text_of(tokens).strip().lower().strip(".")
    if words in _OTHERWISE or not tokens:
        return None
    try:
        return statement(tokens, depth + 1)
    except UnreadableError:
        return Words(" ".join(token.text.strip() for token in tokens).lower())


def compare(reference: Shape, answer: Shape, compare_: Compare) -> bool | None:
    """Whether two functions are one, at least one of them by cases."""
    if isinstance(reference, Named):
        reference = reference.value
    if isinstance(answer, Named):
        answer = answer.value
    if isinstance(reference, Cases) and isinstance(answer, Cases) and _paired(reference, answer, compare_):
        return True
    name = _variable(reference, answer)
    if name is None:
        return _differ(reference, answer, compare_)
    for place in _places(reference, answer):
        left, right = _at(reference, name, place), _at(answer, name, place)
        if left is CLASH or right is CLASH:
            return None if left is CLASH else False
        if (left is None) != (right is None):
            return False
        if left is not None and right is not None and not agree(left, right, _NUMBERS):
            return False
    return True


def _paired(one: Cases, other: Cases, compare_: Compare) -> bool:
    left = list(other.items)
    for item in one.items:
        match = next((x for x in left if _same_condition(item[1], x[1], compare_) and compare_(item[0], x[0])[1]), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def _same_condition(a: Shape | None, b: Shape | None, compare_: Compare) -> bool:
    return a is b if a is None or b is None else bool(compare_(a, b)[1])


def _differ(reference: Shape, answer: Shape, compare_: Compare) -> bool | None:
    """False where one condition leads to two different values; None where nobody can tell."""
    if isinstance(reference, Cases) and isinstance(answer, Cases):
        for item in reference.items:
            for other in answer.items:
                if _same_condition(item[1], other[1], compare_) and compare_(item[0], other[0])[1] is False:
                    return False
    return None


def _variable(*shapes: Shape) -> str | None:
    """The one variable of functions that can be evaluated; None where there are several, or words."""
    names: set[str] = set()
    for shape in shapes:
        for made, condition in shape.items if isinstance(shape, Cases) else ((shape, None),):
            if not isinstance(made, Scalar) or not made.plain:
                return None
            names |= symbols(made.node)
            if isinstance(condition, Region):
                names |= {condition.variable} if condition.variable else set()
                if any(constant(end.node) is None for end in _ends(condition)):
                    return None
            elif isinstance(condition, Relation):
                names |= symbols(condition.left) | symbols(condition.right)
            elif isinstance(condition, Named):
                names.add(condition.name)
                if not isinstance(condition.value, Scalar) or constant(condition.value.node) is None:
                    return None
            elif condition is not None:
                return None
    return next(iter(names)) if len(names) == 1 else None


def _ends(region: Region) -> Iterator[Scalar]:
    return (end for piece in region.pieces for end in (piece.low, piece.high) if end is not None)


def _places(*shapes: Shape) -> list[Fraction]:
    """Where to look: a grid, and at, beside and between the ends of all conditions."""
    places = set(GRID) | {Fraction(0)}
    for shape in shapes:
        for _, condition in shape.items if isinstance(shape, Cases) else ():
            ends = list(_ends(condition)) if isinstance(condition, Region) else []
            if isinstance(condition, Named) and isinstance(condition.value, Scalar):
                ends.append(condition.value)
            for end in ends:
                at = constant(end.node)
                exact = at if isinstance(at, Fraction) else Fraction(int(_NUMBERS.float(at) * 10**15), 10**15)
                places |= {exact - NEAR, exact + NEAR} | ({at} if isinstance(at, Fraction) else set())
    ordered = sorted(places)
    return ordered + [(a + b) / 2 for a, b in pairwise(ordered)]


def _at(shape: Shape, name: str, place: Fraction) -> Value | None:
    """The value at a place; None for none, CLASH where two conditions hold and lead to different values."""
    items = shape.items if isinstance(shape, Cases) else ((shape, None),)
    held = [made for made, condition in items if condition is not None and _true(condition, name, place)]
    chosen = held or [made for made, condition in items if condition is None][:1]
    values = [value(made.node, _NUMBERS, {name: place}) for made in chosen if isinstance(made, Scalar)]
    if any(one is not None and values[0] is not None and not agree(values[0], one, _NUMBERS) for one in values[1:]):
        return CLASH
    return values[0] if values else None


def _true(condition: Shape | None, name: str, place: Fraction) -> bool:
    if isinstance(condition, Region):
        return any(holds(piece, place) for piece in condition.pieces)
    if isinstance(condition, Named) and isinstance(condition.value, Scalar):
        return bool(agree(place, value(condition.value.node, _NUMBERS), _NUMBERS))
    if isinstance(condition, Relation):
        found = value(Node("add", (condition.left, Node("neg", (condition.right,)))), _NUMBERS, {name: place})
        if found is None:
            return False
        return bool({"=": found == 0, "!=": found != 0, "<": found < 0, "<=": found <= 0}[condition.op])
    return condition is None


_NUMBERS = arithmetic(DIGITS, True, None)
