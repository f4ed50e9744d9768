"""Expressions as trees, and their values at a point.

In: a tree from the parser, an Arithmetic, values of the symbols. Out: a value. Nothing is simplified: two expressions
are compared by what they are worth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from stillhouse.verifiers.math_number import Arithmetic, GuardError, UndefinedError, Value

MAX_TERMS, NESTED_TERMS = 1_000, 40  # of a sum or product, and of one with another inside


@dataclass(frozen=True, slots=True)
class Node:
    """op: num (number), sym (name), const (name: pi, e, i), add, mul, div, pow, neg, call (name), pm (+ or - in pairs),
    sum and prod (name of the index; body, lower and upper bound).

    mul of a percent sign or a degree is `percent` and `degree` with one argument.
    """

    op: str
    args: tuple[Node, ...] = ()
    name: str = ""
    number: Fraction = Fraction(0)


def num(value: int | Fraction) -> Node:
    return Node("num", number=Fraction(value))


def walk(node: Node) -> Iterator[Node]:
    stack = [node]
    while stack:
        top = stack.pop()
        yield top
        stack.extend(top.args)


def depth(node: Node) -> int:
    """Levels of the tree, found without recursion."""
    deepest, level = 0, [node]
    while level:
        deepest += 1
        level = [arg for one in level for arg in one.args]
    return deepest


def symbols(node: Node) -> frozenset[str]:
    """Names of the free variables; the index of a sum or product is none."""
    found: set[str] = set()
    stack: list[tuple[Node, frozenset[str]]] = [(node, frozenset())]
    while stack:
        top, bound = stack.pop()
        if top.op == "sym" and top.name not in bound:
            found.add(top.name)
        elif top.op in ("sum", "prod"):
            stack.append((top.args[0], bound | {top.name}))
            stack.extend((arg, bound) for arg in top.args[1:])
        else:
            stack.extend((arg, bound) for arg in top.args)
    return frozenset(found)


def has(node: Node, op: str, name: str | None = None) -> bool:
    return any(n.op == op and (name is None or n.name == name) for n in walk(node))


def evaluate(node: Node, arithmetic: Arithmetic, point: Mapping[str, Value]) -> Value:
    """Value of the tree. Raises UndefinedError or GuardError; depth is bounded by the parser."""
    op = node.op
    if op == "num":
        return node.number
    if op == "sym":
        if node.name not in point:
            raise UndefinedError(f"no value of {node.name}")
        return point[node.name]
    if op == "const":
        if node.name == "i" and arithmetic.real:
            raise UndefinedError("not real")
        return arithmetic.pi if node.name == "pi" else arithmetic.e if node.name == "e" else arithmetic.i
    if op in ("sum", "prod"):
        return _series(node, arithmetic, point)
    args = [evaluate(arg, arithmetic, point) for arg in node.args]
    if op == "add":
        return _fold(arithmetic.add, args)
    if op == "mul":
        return _fold(arithmetic.mul, args)
    if op == "div":
        return arithmetic.div(args[0], args[1])
    if op == "neg":
        return -args[0]
    if op == "pow":
        return arithmetic.power(args[0], args[1])
    if op == "call":
        return arithmetic.call(node.name, args)
    if op == "percent":
        return arithmetic.div(args[0], Fraction(100))
    if op == "degree":
        return arithmetic.mul(args[0], arithmetic.pi / 180)
    raise UndefinedError(f"no value of {op}")


def _series(node: Node, arithmetic: Arithmetic, point: Mapping[str, Value]) -> Value:
    """A sum or product over whole numbers from one bound to the other; an empty one is 0 or 1."""
    body, low, high = node.args
    first, last = evaluate(low, arithmetic, point), evaluate(high, arithmetic, point)
    if not isinstance(first, Fraction) or not isinstance(last, Fraction) or first.denominator * last.denominator != 1:
        raise UndefinedError("a sum between bounds that are not whole")
    inside = sum(one.op in ("sum", "prod") for one in walk(body))
    if last - first > (MAX_TERMS, NESTED_TERMS, 0)[min(inside, 2)]:
        raise GuardError("a sum of too many terms")
    total: Value = Fraction(0 if node.op == "sum" else 1)
    operation = arithmetic.add if node.op == "sum" else arithmetic.mul
    for index in range(int(first), int(last) + 1):
        total = operation(total, evaluate(body, arithmetic, {**point, node.name: Fraction(index)}))
    return total


def _fold(operation: Callable[[Value, Value], Value], args: list[Value]) -> Value:
    total = args[0]
    for arg in args[1:]:
        total = operation(total, arg)
    return total


def signs(node: Node) -> tuple[Node, ...]:
    """The expressions that a plus-minus stands for: all upper signs, then all lower ones; itself without any."""
    if not has(node, "pm"):
        return (node,)
    return _with_sign(node, True), _with_sign(node, False)


def _with_sign(node: Node, upper: bool) -> Node:
    args = tuple(_with_sign(arg, upper) for arg in node.args)
    if node.op == "pm":
        return args[0] if (node.name == "+") == upper else Node("neg", args)
    return Node(node.op, args, node.name, node.number) if args else node


def substitute(node: Node, values: Mapping[str, Node]) -> Node:
    """The tree with expressions in the place of symbols."""
    if node.op == "sym":
        return values.get(node.name, node)
    if not node.args:
        return node
    return Node(node.op, tuple(substitute(arg, values) for arg in node.args), node.name, node.number)
