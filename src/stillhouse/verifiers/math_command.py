r"""Reads what a LaTeX command or a function's name begins: fractions, roots, functions, lists of them, matrices.

In: the parser behind the command's name. Out: a tree or a matrix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stillhouse.verifiers.math_grid import Grid, angle, divided, is_minus_one, multiplied, named_constant, single
from stillhouse.verifiers.math_token import UnreadableError
from stillhouse.verifiers.math_tree import Node, num
from stillhouse.verifiers.math_words import word_set

if TYPE_CHECKING:
    from stillhouse.verifiers.math_parse import Parser

CLOSERS = {"(": ")", "[": "]", "{": "}", "\\{": "\\}", "lfloor": "rfloor", "lceil": "rceil", "langle": "rangle"}
PREFIX = word_set(
    "sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth ln log lg exp arsinh "
    "arcosh artanh "
    "arcsinh arccosh arctanh det abs floor ceil sgn cis"
)
LISTED = frozenset({"max", "min", "gcd", "lcm", "binom"})
ACCENTS = word_set("vec overline bar hat tilde overrightarrow mathbf dot ddot widehat underline mathbb overleftarrow")
_INVERSES = {"sin": "arcsin", "cos": "arccos", "tan": "arctan", "cot": "arccot", "sec": "arcsec", "csc": "arccsc",
             "sinh": "arsinh", "cosh": "arcosh", "tanh": "artanh"}  # fmt: skip
_MATRICES = word_set("matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix array")


def command(parser: Parser, name: str) -> Node | Grid:
    if name == "frac":
        return divided(parser.digit_argument(), parser.digit_argument())
    if name == "sqrt":
        return _square_root(parser)
    if name == "cbrt":
        return Node("call", (single(parser.argument()), num(3)), "root")
    if name == "pi":
        return Node("const", name="pi")
    if name in ("imath", "jmath"):
        return Node("const", name="i")
    if name in ("lfloor", "lceil"):
        inner = single(parser.sum())
        parser.expect(CLOSERS[name])
        return Node("call", (inner,), "floor" if name == "lfloor" else "ceil")
    if name in ("sum", "prod"):
        return _series(parser, name)
    if name == "begin":
        return _matrix(parser)
    if name in ACCENTS:
        return _accent(parser, name)
    if name in LISTED:
        return _listed(parser, name)
    if name in PREFIX:
        return _function(parser, name)
    raise UnreadableError(f"no reading of \\{name}")


def _square_root(parser: Parser) -> Node:
    degree = num(2)
    if parser.is_op("["):
        parser.at += 1
        degree = single(parser.sum())
        parser.expect("]")
    return Node("call", (single(parser.argument()), degree), "root")


def _series(parser: Parser, name: str) -> Node:
    r"""\sum_{k=1}^{n} of the term that follows."""
    parser.expect("_")
    opener = parser.peek().text
    if opener not in ("{", "("):
        raise UnreadableError("a sum without its index")
    parser.at += 1
    index = parser.atom()
    parser.expect("=")
    low = single(parser.sum())
    parser.expect(CLOSERS[opener])
    parser.expect("^")
    high = parser.exponent()
    if not isinstance(index, Node) or index.op not in ("sym", "const") or index.name == "pi":
        raise UnreadableError("a sum over something else than a name")
    body = single(parser.product())
    if index.op == "const":  # i and e are names here
        body = named_constant(body, index.name)
    return Node(name, (body, low, high), index.name)


def _accent(parser: Parser, name: str) -> Node | Grid:
    inner = parser.argument()
    if isinstance(inner, Node) and inner.name in ("i", "j", "k") and name in ("mathbf", "hat", "vec"):
        return Node("sym", name=f"unit {inner.name}")
    if name in ("mathbf", "underline"):  # emphasis
        return inner
    name = {"overrightarrow": "vec", "overline": "bar", "widehat": "hat"}.get(name, name)
    if isinstance(inner, Node) and inner.op == "num" and not inner.number and name == "vec":
        return inner
    if isinstance(inner, Node) and inner.op == "sym":
        return Node("sym", name=f"{name} {inner.name}")
    if isinstance(inner, Node) and inner.op == "mul" and all(part.op == "sym" for part in inner.args):
        return Node("sym", name=f"{name} {''.join(part.name for part in inner.args)}")
    raise UnreadableError(f"\\{name} over something else than a name")


def _listed(parser: Parser, name: str) -> Node:
    """gcd(a, b), max{a, b}, binom{n}{k}: functions of several values."""
    if name == "binom" and parser.is_op("{"):
        return Node("call", (single(parser.argument()), single(parser.argument())), "binom")
    opener = parser.peek().text
    if opener not in ("(", "\\{", "{"):
        raise UnreadableError(f"{name} without a list")
    parser.at += 1
    args = [single(parser.sum())]
    while parser.is_op(","):
        parser.at += 1
        args.append(single(parser.sum()))
    parser.expect(CLOSERS[opener])
    return Node("call", tuple(args), name)


def _function(parser: Parser, name: str) -> Node:
    base: Node | None = None
    exponent: Node | None = None
    for _ in range(2):
        if parser.is_op("_") and name == "log":
            parser.at += 1
            base = single(parser.argument())
        elif parser.is_op("^"):
            parser.at += 1
            exponent = parser.exponent()
    if exponent is not None and is_minus_one(exponent) and name in _INVERSES:
        name, exponent = _INVERSES[name], None
    argument = _function_argument(parser)
    if name == "cis":
        turned = Node("mul", (Node("const", name="i"), single(argument)))
        made = Node("pow", (Node("const", name="e"), turned))
        return made if exponent is None else Node("pow", (made, exponent))
    if name == "det" or (name == "abs" and isinstance(argument, Grid)):
        raise UnreadableError("a determinant")
    args = (single(argument),) if base is None else (single(argument), base)
    made = Node("call", args, name)
    return made if exponent is None else Node("pow", (made, exponent))


def _function_argument(parser: Parser) -> Node | Grid:
    """A group, or the factors up to the next sign, function or group's end: sin 2x cos x is a product."""
    if parser.is_op("(") or parser.is_op("{") or parser.is_op("["):
        return parser.atom()
    total = parser.power()
    while parser.starts_factor() and not (parser.peek().kind == "cmd" and parser.peek().text in PREFIX):
        if parser.is_op("("):
            break
        total = multiplied(total, parser.power())
    if parser.is_op("/") and parser.peek(1).kind == "num" and isinstance(total, Node) and angle(total):
        parser.at += 1
        total = divided(total, parser.power())
    return total


def _matrix(parser: Parser) -> Grid | Node:
    parser.expect("{")
    kind = parser.peek().text
    parser.at += 1
    parser.expect("}")
    if kind not in _MATRICES:
        raise UnreadableError(f"an environment {kind}")
    if kind == "array" and parser.is_op("{"):
        while parser.peek().kind != "end" and not parser.is_op("}"):
            parser.at += 1
        parser.expect("}")
    rows: list[tuple[Node, ...]] = []
    row: list[Node] = []
    while True:
        if parser.is_cmd("end"):
            break
        row.append(single(parser.sum()))
        if parser.is_op("&"):
            parser.at += 1
        elif parser.is_op("\\\\"):
            parser.at += 1
            rows.append(tuple(row))
            row = []
        elif not parser.is_cmd("end"):
            raise UnreadableError("a strange matrix")
    if row:
        rows.append(tuple(row))
    for _ in range(4):  # \end { kind }
        parser.at += 1
    if not rows or len({len(one) for one in rows}) != 1:
        raise UnreadableError("a matrix of uneven rows")
    if kind in ("vmatrix", "Vmatrix"):
        raise UnreadableError("a determinant")
    return Grid(tuple(rows))
