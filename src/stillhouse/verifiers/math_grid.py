"""What the parser builds with: sums, products and quotients of expressions and of matrices, names and mixed numbers.

In: expressions or matrices. Out: one of them; UnreadableError where they do not fit together.
"""

from __future__ import annotations

from dataclasses import dataclass

from stillhouse.verifiers.math_token import Token, UnreadableError
from stillhouse.verifiers.math_tree import Node, num
from stillhouse.verifiers.math_words import word_set

MAX_CELLS = 100
MAX_POWER = 4  # of a matrix: its cells grow with each
ONE = num(1)


@dataclass(frozen=True, slots=True)
class Grid:
    """A matrix or vector: rows of expressions."""

    rows: tuple[tuple[Node, ...], ...]


def plain_product(word: str) -> bool:
    """Whether letters without a sign between them may be a product of variables rather than a word."""
    name_like = len(word) > 2 and word[0].isupper() and word[1:].islower()
    return word.isascii() and len(word) <= 4 and not name_like and word.lower() not in _ENGLISH


_ENGLISH = word_set(
    "yes no none true fals odd even all any each both one two six ten four five nine zero cm mm km kg mg ml ft lb "
    "lbs sec min hr "
    "hrs day days year men boys girl inch foot feet mile unit ways way the of is to at by for if on per sq dne "
    "left only and or "
    "not when then with than such that from mph noon am pm monday red blue"
)


def symbol(name: str) -> Node:
    if name in ("e", "i"):
        return Node("const", name=name)
    return Node("sym", name=name)


def single(made: Node | Grid) -> Node:
    if isinstance(made, Grid):
        raise UnreadableError("a matrix where a number is expected")
    return made


def signed(sign: str, made: Node | Grid) -> Node | Grid:
    if sign in ("", "+"):
        return made
    if isinstance(made, Grid):
        return Grid(tuple(tuple(single(signed(sign, cell)) for cell in row) for row in made.rows))
    if sign == "-":
        return Node("neg", (made,))
    return Node("pm", (made,), "+" if sign == "pm" else "-")


def added(terms: list[Node | Grid]) -> Node | Grid:
    if all(isinstance(term, Grid) for term in terms):
        grids = [term for term in terms if isinstance(term, Grid)]
        if len({(len(g.rows), len(g.rows[0])) for g in grids}) != 1:
            raise UnreadableError("a sum of unlike matrices")
        rows = zip(*(grid.rows for grid in grids), strict=True)
        return Grid(tuple(tuple(Node("add", cells) for cells in zip(*row, strict=True)) for row in rows))
    return Node("add", tuple(single(term) for term in terms))


def multiplied(left: Node | Grid, right: Node | Grid) -> Node | Grid:
    if isinstance(left, Grid) and isinstance(right, Grid):
        if len(left.rows[0]) != len(right.rows) or len(left.rows) * len(right.rows) > MAX_CELLS:
            raise UnreadableError("a product of unlike matrices")
        columns = list(zip(*right.rows, strict=True))
        return Grid(
            tuple(
                tuple(
                    Node("add", tuple(Node("mul", pair) for pair in zip(row, column, strict=True)))
                    for column in columns
                )
                for row in left.rows
            )
        )
    if isinstance(left, Grid) or isinstance(right, Grid):
        grid, scale = (left, right) if isinstance(left, Grid) else (right, left)
        assert isinstance(grid, Grid)  # noqa: S101  for the type checker
        return Grid(tuple(tuple(Node("mul", (single(scale), cell)) for cell in row) for row in grid.rows))
    parts = left.args if left.op == "mul" else (left,)
    return Node("mul", (*parts, right))


def matrix_power(base: Grid, exponent: Node) -> Grid:
    """Small powers of a square matrix, and the inverse of one of two rows."""
    size = len(base.rows)
    if len(base.rows[0]) != size:
        raise UnreadableError("a power of a matrix that is not square")
    if is_minus_one(exponent) and size == 2:
        (a, b), (c, d) = base.rows
        turned = Grid(((d, Node("neg", (b,))), (Node("neg", (c,)), a)))
        determinant = Node("add", (Node("mul", (a, d)), Node("neg", (Node("mul", (b, c)),))))
        made = divided(turned, determinant)
    elif exponent.op == "num" and 1 <= exponent.number <= MAX_POWER and exponent.number.denominator == 1:
        made = base
        for _ in range(int(exponent.number) - 1):
            made = multiplied(made, base)
    else:
        raise UnreadableError("a power of a matrix")
    assert isinstance(made, Grid)  # noqa: S101  a product of grids is one
    return made


def divided(left: Node | Grid, right: Node | Grid) -> Node | Grid:
    if isinstance(left, Grid):
        return multiplied(Node("div", (ONE, single(right))), left)
    return Node("div", (left, single(right)))


def primed(base: Node | Grid) -> Node:
    node = single(base)
    if node.op != "sym":
        raise UnreadableError("a prime on something else than a name")
    return Node("sym", name=node.name + "'")


def mixed(whole: Node, top: Node, bottom: Node) -> Node:
    if not bottom.number:
        raise UnreadableError("a fraction with denominator zero")
    return num(whole.number + top.number / bottom.number)


def proper(top: Token, bottom: Token) -> bool:
    return top.text.isdigit() and bottom.text.isdigit() and int(top.text) < int(bottom.text)


def combination(base: Node, exponent: Node) -> Node | None:
    """C_5^2 and A_5^3 with numbers: how many combinations and arrangements there are."""
    letter, _, below = base.name.partition("_")
    if base.op != "sym" or letter not in ("C", "A", "P") or not below.isdigit() or exponent.op != "num":
        return None
    n = num(int(below))
    chosen = Node("call", (n, exponent), "binom")
    return chosen if letter == "C" else Node("mul", (chosen, Node("call", (exponent,), "factorial")))


def is_minus_one(node: Node) -> bool:
    return node.op == "neg" and node.args[0].op == "num" and node.args[0].number == 1


def angle(node: Node) -> bool:
    return node.op == "const" or any(arg.op == "const" and arg.name == "pi" for arg in node.args)


def named_constant(node: Node, name: str) -> Node:
    """The tree with the constant i or e as a variable: the index of a sum."""
    if node.op == "const" and node.name == name:
        return Node("sym", name=name)
    if not node.args:
        return node
    return Node(node.op, tuple(named_constant(arg, name) for arg in node.args), node.name, node.number)
