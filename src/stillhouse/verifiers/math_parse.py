r"""Reads an expression from tokens into a tree: sums, products with and without signs, powers, functions, matrices.

In: the tokens of one side of a formula. Out: a tree, or rows of trees for a matrix, and how far it read. It knows
nothing of lists, sets, relations and units; those are cut off before.
"""

from __future__ import annotations

from fractions import Fraction

from stillhouse.verifiers import math_words
from stillhouse.verifiers.math_command import ACCENTS, CLOSERS, LISTED, PREFIX, command
from stillhouse.verifiers.math_grid import (
    Grid,
    added,
    combination,
    divided,
    matrix_power,
    mixed,
    multiplied,
    plain_product,
    primed,
    proper,
    signed,
    single,
    symbol,
)
from stillhouse.verifiers.math_number import GuardError
from stillhouse.verifiers.math_token import Token, UnreadableError
from stillhouse.verifiers.math_tree import Node, num

MAX_DEPTH = 40
_STARTS = frozenset({"frac", "sqrt", "pi", "infty", "binom", "overline", "imath", "lfloor", "lceil", "sum", "prod"})


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
        total = signed(sign, self.product())
        terms = [total]
        while (sign := self._sign()) != "":
            terms.append(signed(sign, self.product()))
        self.depth -= 1
        return terms[0] if len(terms) == 1 else added(terms)

    def _sign(self) -> str:
        """Plus, minus and plus-minus signs in front of a term, as one; empty where there is none."""
        sign = ""
        while True:
            token = self.peek()
            plain = token.kind == "op" and token.text in ("+", "-")
            if not plain and not (token.kind == "cmd" and token.text in ("pm", "mp")):
                return sign
            self.at += 1
            sign = _SIGNS.get((sign, token.text), token.text)

    def product(self) -> Node | Grid:
        total = self.power()
        while True:
            token = self.peek()
            if token.kind == "op" and token.text in ("*", "/"):
                self.at += 1
                sign = self._sign()
                right = self.power()
                total = divided(total, right) if token.text == "/" else multiplied(total, right)
                total = signed(sign, total)
            elif self.starts_factor():
                if isinstance(total, Node) and total.op == "num" and token.kind == "num":
                    raise UnreadableError("two numbers side by side")
                total = multiplied(total, self.power())
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
            token.text in _STARTS or token.text in PREFIX or token.text in ACCENTS or token.text in LISTED
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
                base = Node("call", (single(base),), "factorial")
                if self.is_op("!"):
                    raise UnreadableError("a double factorial")
            elif self.is_op("'"):
                self.at += 1
                base = primed(base)
            elif self.is_op("%"):
                self.at += 1
                base = Node("percent", (single(base),))
            elif self.is_cmd("degree"):
                if self.peek(1).text in ("C", "F") and self.peek(1).kind in ("sym", "text"):
                    return base  # a temperature: the unit is read behind
                self.at += 1
                base = self._degrees(single(base))
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
            return primed(base)
        if isinstance(base, Grid):
            if self.peek().text == "T" or (self.is_op("{") and self.peek(1).text in ("T", "top")):
                self.argument()
                return Grid(tuple(zip(*base.rows, strict=True)))
            return matrix_power(base, self.exponent())
        exponent = self.exponent()
        chosen = combination(base, exponent)
        return Node("pow", (base, exponent)) if chosen is None else chosen

    def exponent(self) -> Node:
        if self.is_op("-"):
            self.at += 1
            return Node("neg", (single(self.atom()),))
        return single(self.argument())

    def argument(self) -> Node | Grid:
        r"""What a command takes: a group in braces or one token (a whole number counts as one here)."""
        if self.is_op("{"):
            self.at += 1
            if self.is_op("}"):
                raise UnreadableError("an empty group")
            inner = self.sum()
            self.expect("}")
            return inner
        return self.atom()

    def digit_argument(self) -> Node:
        r"""Argument of \frac: of a number without braces only the first digit."""
        token = self.peek()
        if token.kind == "num" and token.literal is not None and token.text.isdigit() and len(token.text) > 1:
            rest = token.text[1:]
            literal = type(token.literal)(Fraction(int(rest)), text=rest)
            self.tokens = [*self.tokens[: self.at], Token("num", rest, True, literal), *self.tokens[self.at + 1 :]]
            return num(int(token.text[0]))
        return single(self.argument())

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
        if token.kind == "op" and token.text in ("+", "-"):
            return signed(token.text, self.power())
        if token.kind == "cmd":
            return command(self, token.text)
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
        if one.kind == "num" and not one.glued and two.text == "/" and three.kind == "num" and proper(one, three):
            self.at += 3
            return mixed(node, num(int(one.text)), num(int(three.text)))
        if self.is_cmd("frac"):
            saved, tokens = self.at, self.tokens
            self.at += 1
            top, bottom = self.digit_argument(), self.digit_argument()
            if top.op == bottom.op == "num" and not top.name and not bottom.name and top.number < bottom.number:
                return mixed(node, top, bottom)
            self.at, self.tokens = saved, tokens
        return node

    def _based(self, token: Token) -> Node:
        """Digits with their base as a subscript."""
        self.at += 1
        in_words = math_words.number(self.peek(1).text) if self.is_op("{") and self.peek(1).kind == "text" else None
        if in_words is not None and self.peek(2).text == "}":
            self.at += 3
            base = num(in_words)
        else:
            base = single(self.argument())
        if base.op != "num" or not token.text.isdigit() or base.number.denominator != 1:
            raise UnreadableError("a number with a strange subscript")
        try:
            value = int(token.text, int(base.number) or 1)  # of base 0 int() would guess
        except ValueError:  # digits outside their base: equal to nothing but itself
            value = -(int(token.text) * 100 + int(base.number))
        return Node("call", (num(value), base), "based", Fraction(int(token.text)))

    def _name(self, token: Token) -> Node:
        if token.kind == "word" or (token.kind == "text" and len(token.text) > 1):
            if token.kind == "text" or not plain_product(token.text):
                raise UnreadableError(f"words: {token.text!r}")
            letters = [symbol(letter) for letter in token.text]
            if self.is_op("_") or self.is_op("^"):  # a subscript or power belongs to the last letter
                last = self._subscripted(token.text[-1]) if self.is_op("_") else letters[-1]
                if self.is_op("^"):
                    self.at += 1
                    last = Node("pow", (last, self.exponent()))
                letters[-1] = last
            return Node("mul", tuple(letters))
        if token.text == "C" and self.is_op("("):
            chosen = self._chosen()
            if chosen is not None:
                return chosen
        return self._subscripted(token.text) if self.is_op("_") else symbol(token.text)

    def _chosen(self) -> Node | None:
        """C(n, k) in plain text is a binomial; C(x) is a product."""
        saved = self.at
        self.at += 1
        upper = self.sum()
        if self.is_op(","):
            self.at += 1
            lower = single(self.sum())
            self.expect(")")
            return Node("call", (single(upper), lower), "binom")
        self.at = saved
        return None

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
        self.expect(CLOSERS[opener])
        return inner

    def sum_or_choose(self) -> Node | Grid:
        bars, self.bars = self.bars, 0
        inner = self.sum()
        if self.is_cmd("choose"):
            self.at += 1
            inner = Node("call", (single(inner), single(self.sum())), "binom")
        self.bars = bars
        return inner

    def _bars(self, bar: str) -> Node:
        self.bars += 1
        inner = single(self.sum())
        self.bars -= 1
        self.expect(bar)
        return Node("call", (inner,), "abs")


_END = Token("end", "")
_SIGNS = {
    ("", "+"): "+", ("", "-"): "-", ("+", "+"): "+", ("+", "-"): "-", ("-", "+"): "-", ("-", "-"): "+", ("",
    "pm"): "pm",
    ("", "mp"): "mp", ("-", "pm"): "mp", ("-", "mp"): "pm", ("+", "pm"): "pm", ("+", "mp"): "mp", ("pm", "-"): "mp",
    ("mp", "-"): "pm", ("pm", "+"): "pm", ("mp", "+"): "mp",
}  # fmt: skip
