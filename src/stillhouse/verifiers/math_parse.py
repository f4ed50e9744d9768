r"""Reads an expression from tokens into a tree: sums, products with and without signs, powers, functions, matrices.

In: the tokens of one side of a formula. Out: a tree, or rows of trees for a matrix, and how far it read. It knows
nothing of lists, sets, relations and units; those are cut off before.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from stillhouse.verifiers.math_number import GuardError
from stillhouse.verifiers.math_token import Token, UnreadableError
from stillhouse.verifiers.math_tree import Node, num

MAX_DEPTH = 40
MAX_CELLS = 100
_CLOSERS = {"(": ")", "[": "]", "{": "}", "\\{": "\\}", "lfloor": "rfloor", "lceil": "rceil", "langle": "rangle"}
_PREFIX = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth ln log lg exp arsinh arcosh artanh "
    "arcsinh arccosh arctanh det abs floor ceil sgn".split()
)
_LISTED = frozenset({"max", "min", "gcd", "lcm", "binom"})
_INVERSES = {"sin": "arcsin", "cos": "arccos", "tan": "arctan", "cot": "arccot", "sec": "arcsec", "csc": "arccsc",
             "sinh": "arsinh", "cosh": "arcosh", "tanh": "artanh"}  # fmt: skip
_ACCENTS = frozenset("vec overline bar hat tilde overrightarrow mathbf dot ddot widehat underline mathbb overleftarrow".split())
_MATRICES = frozenset("matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix array".split())
_STARTS = frozenset({"frac", "sqrt", "pi", "infty", "binom", "overline", "imath", "lfloor", "lceil", "sum", "prod"})
ONE = num(1)


@dataclass(frozen=True, slots=True)
class Grid:
    """A matrix or vector: rows of expressions."""

    rows: tuple[tuple[Node, ...], ...]


class Parser:
    """One pass over tokens[at:end]; every method leaves `at` behind what it read."""

    def __init__(self, tokens: list[Token], at: int = 0, end: int | None = None) -> None:
        self.tokens, self.at = tokens, at
        self.end = len(tokens) if end is None else end
        self.depth = 0
        self.bars = 0

    # ---- looking ----
    def peek(self, ahead: int = 0) -> Token:
        at = self.at + ahead
        return self.tokens[at] if at < self.end else _END

    def is_op(self, text: str, ahead: int = 0) -> bool:
        token = self.peek(ahead)
        return token.kind == "op" and token.text == text

    def is_cmd(self, *names: str) -> bool:
        token = self.peek()
        return token.kind == "cmd" and token.text in names

    def expect(self, text: str) -> None:
        token = self.peek()
        if token.text != text or token.kind not in ("op", "cmd"):
            raise UnreadableError(f"expected {text} and found {token.text!r}")
        self.at += 1

    # ---- sums and products ----
    def sum(self) -> Node | Grid:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise GuardError("a formula nested too deep")
        sign = self._sign()
        total = _signed(sign, self.product())
        terms = [total]
        while (sign := self._sign()) != "":
            terms.append(_signed(sign, self.product()))
        self.depth -= 1
        return terms[0] if len(terms) == 1 else _added(terms)

    def _sign(self) -> str:
        """Plus, minus and plus-minus signs in front of a term, as one; empty where there is none."""
        sign = ""
        while True:
            token = self.peek()
            if token.kind == "op" and token.text in "+-" and token.text:
                new = token.text
            elif token.kind == "cmd" and token.text in ("pm", "mp"):
                new = token.text
            else:
                return sign
            self.at += 1
            sign = _SIGNS.get((sign, new), new)

    def product(self) -> Node | Grid:
        total = self.power()
        while True:
            token = self.peek()
            if token.kind == "op" and token.text in ("*", "/"):
                self.at += 1
                sign = self._sign()
                right = self.power()
                total = _divided(total, right) if token.text == "/" else _multiplied(total, right)
                total = _signed(sign, total)
            elif self.starts_factor():
                if isinstance(total, Node) and total.op == "num" and token.kind == "num":
                    raise UnreadableError("two numbers side by side")
                total = _multiplied(total, self.power())
            else:
                return total

    def starts_factor(self) -> bool:
        """Whether a factor without a sign follows."""
        token = self.peek()
        if token.kind in ("num", "sym"):
            return True
        if token.kind == "op":
            return token.text in ("(", "{", "[") or (token.text == "|" and not self.bars)
        if token.kind == "word":
            return plain_product(token.text)
        return token.kind == "cmd" and (
            token.text in _STARTS or token.text in _PREFIX or token.text in _ACCENTS or token.text in _LISTED
            or (token.text == "begin")
        )  # fmt: skip

    # ---- powers and what stands behind a factor ----
    def power(self) -> Node | Grid:
        base = self.atom()
        while True:
            if self.is_op("^"):
                self.at += 1
                base = self._raised(base)
            elif self.is_op("!"):
                self.at += 1
                base = Node("call", (_node(base),), "factorial")
                if self.is_op("!"):
                    raise UnreadableError("a double factorial")
            elif self.is_op("'"):
                self.at += 1
                base = _primed(base)
            elif self.is_op("%"):
                self.at += 1
                base = Node("percent", (_node(base),))
            elif self.is_cmd("degree"):
                if self.peek(1).text in ("C", "F") and self.peek(1).kind in ("sym", "text"):
                    return base  # a temperature: the unit is read behind
                self.at += 1
                base = self._degrees(_node(base))
            else:
                return base

    def _degrees(self, base: Node) -> Node:
        """Degrees, with minutes and seconds of arc where they follow."""
        total = base
        for mark, part in (("'", 60), ("''", 3600)):
            token = self.peek()
            quotes = len(mark)
            if token.kind != "num" or token.literal is None or not all(self.is_op("'", 1 + i) for i in range(quotes)):
                break
            self.at += 1 + quotes
            total = Node("add", (total, num(token.literal.value / part)))
        return Node("degree", (total,))

    def _raised(self, base: Node | Grid) -> Node | Grid:
        if self.is_op("'"):
            self.at += 1
            return _primed(base)
        if isinstance(base, Grid):
            if self.peek().text == "T" or (self.is_op("{") and self.peek(1).text in ("T", "top")):
                self._argument()
                return Grid(tuple(zip(*base.rows, strict=True)))
            raise UnreadableError("a power of a matrix")
        exponent = self._exponent()
        chosen = _combination(base, exponent)
        return Node("pow", (base, exponent)) if chosen is None else chosen

    def _exponent(self) -> Node:
        if self.is_op("-"):
            self.at += 1
            return Node("neg", (_node(self.atom()),))
        return _node(self._argument())

    def _argument(self) -> Node | Grid:
        r"""What a command takes: a group in braces or one token (a whole number counts as one here)."""
        if self.is_op("{"):
            self.at += 1
            if self.is_op("}"):
                raise UnreadableError("an empty group")
            inner = self.sum()
            self.expect("}")
            return inner
        return self.atom()

    def _digit_argument(self) -> Node:
        r"""Argument of \frac: of a number without braces only the first digit."""
        token = self.peek()
        if token.kind == "num" and token.literal is not None and token.text.isdigit() and len(token.text) > 1:
            rest = token.text[1:]
            literal = type(token.literal)(Fraction(int(rest)), text=rest)
            self.tokens = [*self.tokens[: self.at], Token("num", rest, True, literal), *self.tokens[self.at + 1 :]]
            return num(int(token.text[0]))
        return _node(self._argument())

    # ---- atoms ----
    def atom(self) -> Node | Grid:
        token = self.peek()
        self.at += 1
        if token.kind == "num":
            return self._number(token)
        if token.kind in ("sym", "text", "word"):
            return self._name(token)
        if token.kind == "op" and token.text in ("(", "[", "{"):
            return self._group(token.text)
        if token.kind == "op" and token.text in ("|", "\\|"):
            return self._bars(token.text)
        if token.kind == "op" and token.text in "+-" and token.text:
            return _signed(token.text, self.power())
        if token.kind == "cmd":
            return self._command(token.text)
        raise UnreadableError(f"nothing is read at {token.text!r}")

    def _number(self, token: Token) -> Node:
        if token.literal is None:
            raise UnreadableError("a number without value")
        node = Node("num", number=token.literal.value, name=token.literal.text if token.literal.digits else "")
        if self.is_op("_"):
            return self._based(token)
        if not token.text.isdigit():
            return node
        # a whole number and a proper fraction side by side are a mixed number
        one, two, three = self.peek(), self.peek(1), self.peek(2)
        if one.kind == "num" and not one.glued and two.text == "/" and three.kind == "num" and _proper(one, three):
            self.at += 3
            return _mixed(node, num(int(one.text)), num(int(three.text)))
        if self.is_cmd("frac"):
            saved, tokens = self.at, self.tokens
            self.at += 1
            top, bottom = self._digit_argument(), self._digit_argument()
            if top.op == bottom.op == "num" and not top.name and not bottom.name and top.number < bottom.number:
                return _mixed(node, top, bottom)
            self.at, self.tokens = saved, tokens
        return node

    def _based(self, token: Token) -> Node:
        """Digits with their base as a subscript."""
        self.at += 1
        base = _node(self._argument())
        if base.op != "num" or not token.text.isdigit() or not 2 <= base.number <= 36:
            raise UnreadableError("a number with a strange subscript")
        try:
            value = int(token.text, int(base.number))
        except ValueError as error:
            raise UnreadableError("digits outside their base") from error
        return Node("call", (num(value), base), "based", Fraction(int(token.text)))

    def _name(self, token: Token) -> Node:
        if token.kind == "word" or (token.kind == "text" and len(token.text) > 1):
            if token.kind == "text" or not plain_product(token.text):
                raise UnreadableError(f"words: {token.text!r}")
            letters = [_symbol(letter) for letter in token.text]
            if self.is_op("_") or self.is_op("^"):  # a subscript or power belongs to the last letter
                last = self._subscripted(token.text[-1]) if self.is_op("_") else letters[-1]
                if self.is_op("^"):
                    self.at += 1
                    last = Node("pow", (last, self._exponent()))
                letters[-1] = last
            return Node("mul", tuple(letters))
        return self._subscripted(token.text) if self.is_op("_") else _symbol(token.text)

    def _subscripted(self, name: str) -> Node:
        self.at += 1
        if not self.is_op("{"):
            token = self.peek()
            self.at += 1
            if token.kind not in ("num", "sym", "text", "word"):
                raise UnreadableError("a strange subscript")
            return Node("sym", name=f"{name}_{token.text}")
        pieces, depth = list[str](), 0
        while True:
            token = self.peek()
            self.at += 1
            if token.kind == "end":
                raise UnreadableError("a subscript without end")
            depth += (token.text == "{") - (token.text == "}")
            if depth == 0:
                break
            pieces.append(token.text)
        return Node("sym", name=f"{name}_{''.join(pieces[1:])}")

    def _group(self, opener: str) -> Node | Grid:
        inner = self.sum_or_choose()
        self.expect(_CLOSERS[opener])
        return inner

    def sum_or_choose(self) -> Node | Grid:
        bars, self.bars = self.bars, 0
        inner = self.sum()
        if self.is_cmd("choose"):
            self.at += 1
            inner = Node("call", (_node(inner), _node(self.sum())), "binom")
        self.bars = bars
        return inner

    def _bars(self, bar: str) -> Node:
        self.bars += 1
        inner = _node(self.sum())
        self.bars -= 1
        self.expect(bar)
        return Node("call", (inner,), "abs")

    # ---- commands ----
    def _command(self, name: str) -> Node | Grid:
        if name == "frac":
            return _divided(self._digit_argument(), self._digit_argument())
        if name == "sqrt":
            return self._square_root()
        if name == "cbrt":
            return Node("call", (_node(self._argument()), num(3)), "root")
        if name == "pi":
            return Node("const", name="pi")
        if name in ("imath", "jmath"):
            return Node("const", name="i")
        if name in ("lfloor", "lceil"):
            inner = _node(self.sum())
            self.expect(_CLOSERS[name])
            return Node("call", (inner,), "floor" if name == "lfloor" else "ceil")
        if name == "begin":
            return self._matrix()
        if name in _ACCENTS:
            return self._accent(name)
        if name in _LISTED:
            return self._listed(name)
        if name in _PREFIX:
            return self._function(name)
        raise UnreadableError(f"no reading of \\{name}")

    def _square_root(self) -> Node:
        degree = num(2)
        if self.is_op("["):
            self.at += 1
            degree = _node(self.sum())
            self.expect("]")
        return Node("call", (_node(self._argument()), degree), "root")

    def _accent(self, name: str) -> Node | Grid:
        inner = self._argument()
        if isinstance(inner, Node) and inner.name in ("i", "j", "k") and name in ("mathbf", "hat", "vec"):
            return Node("sym", name=f"unit {inner.name}")
        if name == "mathbf":
            return inner
        name = {"overrightarrow": "vec", "overline": "bar", "widehat": "hat"}.get(name, name)
        if isinstance(inner, Node) and inner.op == "sym":
            return Node("sym", name=f"{name} {inner.name}")
        if isinstance(inner, Node) and inner.op == "mul" and all(part.op == "sym" for part in inner.args):
            return Node("sym", name=f"{name} {''.join(part.name for part in inner.args)}")
        raise UnreadableError(f"\\{name} over something else than a name")

    def _listed(self, name: str) -> Node:
        """gcd(a, b), max{a, b}, binom{n}{k}: functions of several values."""
        if name == "binom" and self.is_op("{"):
            return Node("call", (_node(self._argument()), _node(self._argument())), "binom")
        opener = self.peek().text
        if opener not in ("(", "\\{", "{"):
            raise UnreadableError(f"{name} without a list")
        self.at += 1
        args = [_node(self.sum())]
        while self.is_op(","):
            self.at += 1
            args.append(_node(self.sum()))
        self.expect(_CLOSERS[opener])
        return Node("call", tuple(args), name)

    def _function(self, name: str) -> Node:
        base: Node | None = None
        exponent: Node | None = None
        for _ in range(2):
            if self.is_op("_") and name == "log":
                self.at += 1
                base = _node(self._argument())
            elif self.is_op("^"):
                self.at += 1
                exponent = self._exponent()
        if exponent is not None and _is_minus_one(exponent) and name in _INVERSES:
            name, exponent = _INVERSES[name], None
        argument = self._function_argument()
        if name == "det" or (name == "abs" and isinstance(argument, Grid)):
            raise UnreadableError("a determinant")
        args = (_node(argument),) if base is None else (_node(argument), base)
        made = Node("call", args, name)
        return made if exponent is None else Node("pow", (made, exponent))

    def _function_argument(self) -> Node | Grid:
        """A group, or the factors up to the next sign, function or group's end: sin 2x cos x is a product."""
        if self.is_op("(") or self.is_op("{") or self.is_op("["):
            closed = self.power_of_argument()
            return closed
        total = self.power()
        while self.starts_factor() and not (self.peek().kind == "cmd" and self.peek().text in _PREFIX):
            if self.is_op("("):
                break
            total = _multiplied(total, self.power())
        if self.is_op("/") and self.peek(1).kind == "num" and isinstance(total, Node) and _angle(total):
            self.at += 1
            total = _divided(total, self.power())
        return total

    def power_of_argument(self) -> Node | Grid:
        """A bracketed argument; sin(x)^2 is the square of the sine, so the power stays outside."""
        return self.atom()

    def _matrix(self) -> Grid | Node:
        self.expect("{")
        kind = self.peek().text
        self.at += 1
        self.expect("}")
        if kind not in _MATRICES:
            raise UnreadableError(f"an environment {kind}")
        if kind == "array" and self.is_op("{"):
            while self.peek().kind != "end" and not self.is_op("}"):
                self.at += 1
            self.expect("}")
        rows: list[tuple[Node, ...]] = []
        row: list[Node] = []
        while True:
            if self.is_cmd("end"):
                break
            row.append(_node(self.sum()))
            if self.is_op("&"):
                self.at += 1
            elif self.is_op("\\\\"):
                self.at += 1
                rows.append(tuple(row))
                row = []
            elif not self.is_cmd("end"):
                raise UnreadableError("a strange matrix")
        if row:
            rows.append(tuple(row))
        for _ in range(4):  # \end { kind }
            self.at += 1
        if not rows or len({len(one) for one in rows}) != 1:
            raise UnreadableError("a matrix of uneven rows")
        if kind in ("vmatrix", "Vmatrix"):
            raise UnreadableError("a determinant")
        return Grid(tuple(rows))


_END = Token("end", "")
_SIGNS = {
    ("", "+"): "+", ("", "-"): "-", ("+", "+"): "+", ("+", "-"): "-", ("-", "+"): "-", ("-", "-"): "+", ("", "pm"): "pm",
    ("", "mp"): "mp", ("-", "pm"): "mp", ("-", "mp"): "pm", ("+", "pm"): "pm", ("+", "mp"): "mp", ("pm", "-"): "mp",
    ("mp", "-"): "pm", ("pm", "+"): "pm", ("mp", "+"): "mp",
}  # fmt: skip


def plain_product(word: str) -> bool:
    """Whether letters without a sign between them may be a product of variables rather than a word."""
    name_like = len(word) > 2 and word[0].isupper() and word[1:].islower()
    return word.isascii() and len(word) <= 4 and not name_like and word.lower() not in _ENGLISH


_ENGLISH = frozenset(
    "yes no none true fals odd even all any each both one two six ten four five nine zero cm mm km kg mg ml ft lb lbs sec min hr "
    "hrs day days year men boys girl inch foot feet mile unit ways way the of is to at by for if on per sq dne left only and or "
    "not when then with than such that from mph noon am pm monday red blue".split()
)


def _symbol(name: str) -> Node:
    if name in ("e", "i"):
        return Node("const", name=name)
    return Node("sym", name=name)


def _node(made: Node | Grid) -> Node:
    if isinstance(made, Grid):
        raise UnreadableError("a matrix where a number is expected")
    return made


def _signed(sign: str, made: Node | Grid) -> Node | Grid:
    if sign in ("", "+"):
        return made
    if isinstance(made, Grid):
        return Grid(tuple(tuple(_node(_signed(sign, cell)) for cell in row) for row in made.rows))
    if sign == "-":
        return Node("neg", (made,))
    return Node("pm", (made,), "+" if sign == "pm" else "-")


def _added(terms: list[Node | Grid]) -> Node | Grid:
    if all(isinstance(term, Grid) for term in terms):
        grids = [term for term in terms if isinstance(term, Grid)]
        if len({(len(g.rows), len(g.rows[0])) for g in grids}) != 1:
            raise UnreadableError("a sum of unlike matrices")
        rows = zip(*(grid.rows for grid in grids), strict=True)
        return Grid(tuple(tuple(Node("add", cells) for cells in zip(*row, strict=True)) for row in rows))
    return Node("add", tuple(_node(term) for term in terms))


def _multiplied(left: Node | Grid, right: Node | Grid) -> Node | Grid:
    if isinstance(left, Grid) and isinstance(right, Grid):
        if len(left.rows[0]) != len(right.rows) or len(left.rows) * len(right.rows) > MAX_CELLS:
            raise UnreadableError("a product of unlike matrices")
        columns = list(zip(*right.rows, strict=True))
        return Grid(
            tuple(
                tuple(Node("add", tuple(Node("mul", pair) for pair in zip(row, column, strict=True))) for column in columns)
                for row in left.rows
            )
        )
    if isinstance(left, Grid) or isinstance(right, Grid):
        grid, scale = (left, right) if isinstance(left, Grid) else (right, left)
        assert isinstance(grid, Grid)  # noqa: S101  for the type checker
        return Grid(tuple(tuple(Node("mul", (_node(scale), cell)) for cell in row) for row in grid.rows))
    parts = left.args if left.op == "mul" else (left,)
    return Node("mul", (*parts, right))


def _divided(left: Node | Grid, right: Node | Grid) -> Node | Grid:
    if isinstance(left, Grid):
        return _multiplied(Node("div", (ONE, _node(right))), left)
    return Node("div", (left, _node(right)))


def _primed(base: Node | Grid) -> Node:
    node = _node(base)
    if node.op != "sym":
        raise UnreadableError("a prime on something else than a name")
    return Node("sym", name=node.name + "'")


def _mixed(whole: Node, top: Node, bottom: Node) -> Node:
    if not bottom.number:
        raise UnreadableError("a fraction with denominator zero")
    return num(whole.number + top.number / bottom.number)


def _proper(top: Token, bottom: Token) -> bool:
    return top.text.isdigit() and bottom.text.isdigit() and int(top.text) < int(bottom.text)


def _combination(base: Node, exponent: Node) -> Node | None:
    """C_5^2 and A_5^3 with numbers: how many combinations and arrangements there are."""
    letter, _, below = base.name.partition("_")
    if base.op != "sym" or letter not in ("C", "A", "P") or not below.isdigit() or exponent.op != "num":
        return None
    n = num(int(below))
    chosen = Node("call", (n, exponent), "binom")
    return chosen if letter == "C" else Node("mul", (chosen, Node("call", (exponent,), "factorial")))


def _is_minus_one(node: Node) -> bool:
    return node.op == "neg" and node.args[0].op == "num" and node.args[0].number == 1


def _angle(node: Node) -> bool:
    return node.op == "const" or any(arg.op == "const" and arg.name == "pi" for arg in node.args)
