"""Evaluates the outside part of a split assert: literals, comparisons, arithmetic and a few pure functions.

In: an expression and the plain values that came back from the jail; out: its value. Why: the comparison must run
where the answer cannot reach, and neither a test nor a value may make it slow or large.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

_MOST_BITS, _MOST_ITEMS = 1_000_000, 10_000_000
MODULES = {"math": math}
OUTER_CALLS: dict[str, Callable[..., Any]] = {
    "abs": abs, "isclose": math.isclose, "isinstance": isinstance, "type": type, "bool": bool, "len": len,
    "round": round, "min": min, "max": max, "sum": sum, "sorted": sorted, "all": all, "any": any, "int": int,
    "float": float, "str": str, "list": list, "tuple": tuple, "set": set, "frozenset": frozenset, "dict": dict,
    "repr": repr, "complex": complex, "bytes": bytes,
}  # fmt: skip
_TYPES = {name: kind for name, kind in OUTER_CALLS.items() if isinstance(kind, type)}
METHODS = frozenset((
    "upper", "lower", "strip", "lstrip", "rstrip", "split", "rsplit", "splitlines", "join", "title", "capitalize",
    "swapcase", "count", "index", "find", "startswith", "endswith", "encode", "decode", "keys", "values", "items",
    "isdigit", "isalpha", "issubset", "issuperset", "union", "intersection", "difference",
))  # fmt: skip


def _range(*arguments: int) -> range:
    made = range(*arguments)
    if len(made) > _MOST_ITEMS:
        raise ValueError("a range too long")
    return made


CONSTANT_CALLS: dict[str, Callable[..., Any]] = {
    "range": _range, "ord": ord, "chr": chr, "bin": bin, "hex": hex, "oct": oct,
    "reversed": lambda x: list(reversed(x)),
    "enumerate": lambda x, start=0: list(enumerate(x, start)), "zip": lambda *x: list(zip(*x, strict=False)),
}  # fmt: skip


class NotOutside(Exception):  # noqa: N818  a finding about an expression
    """The expression, with these values, is not evaluated outside; says why."""


def _bits(*values: Any) -> int:
    return sum(value.bit_length() for value in values if isinstance(value, int))


def _multiply(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int):
        if _bits(a, b) > _MOST_BITS:
            raise NotOutside("a product too large")
    elif isinstance(a, int) or isinstance(b, int):
        times, many = (a, b) if isinstance(a, int) else (b, a)
        if hasattr(many, "__len__") and len(many) * max(times, 0) > _MOST_ITEMS:
            raise NotOutside("a sequence too long")
    return a * b


def _power(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int) and a.bit_length() * max(b, 0) > _MOST_BITS:
        raise NotOutside("a power too large")
    return a**b


def _shift(a: Any, b: Any) -> Any:
    if isinstance(b, int) and b > _MOST_BITS:
        raise NotOutside("a shift too large")
    return a << b


def _remainder(a: Any, b: Any) -> Any:
    if not isinstance(a, int | float):
        raise NotOutside("formatting")
    return a % b


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: _multiply, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: _remainder, ast.Pow: _power, ast.LShift: _shift,
    ast.RShift: operator.rshift, ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor,
}  # fmt: skip
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.Not: operator.not_, ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.invert,
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip


def _identical(a: Any, b: Any) -> bool:
    """`is` between a value and None, True, False or a type; values from outside have no other identity."""
    if b is None or b is True or b is False or isinstance(b, type):
        return a is b
    return type(a) is type(b) and bool(a == b)


def evaluate(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """The value. Raises NotOutside, or whatever the expression itself raises."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return names[node.id] if node.id in names else _TYPES[node.id]
    if isinstance(node, ast.Tuple):
        return tuple(evaluate(each, names) for each in node.elts)
    if isinstance(node, ast.List):
        return [evaluate(each, names) for each in node.elts]
    if isinstance(node, ast.Set):
        return {evaluate(each, names) for each in node.elts}
    if isinstance(node, ast.Dict):
        if any(key is None for key in node.keys):
            raise NotOutside("a dict display with **")
        return {
            evaluate(k, names): evaluate(v, names) for k, v in zip(node.keys, node.values, strict=True) if k is not None
        }
    if isinstance(node, ast.BinOp):
        return _BINARY[type(node.op)](evaluate(node.left, names), evaluate(node.right, names))
    if isinstance(node, ast.UnaryOp):
        return _UNARY[type(node.op)](evaluate(node.operand, names))
    if isinstance(node, ast.BoolOp):
        return _bool(node, names)
    if isinstance(node, ast.Compare):
        return _compare(node, names)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in MODULES:
        return getattr(MODULES[node.value.id], node.attr)
    if isinstance(node, ast.Call):
        return _call(node, names)
    raise NotOutside(f"a {type(node).__name__}")


def _bool(node: ast.BoolOp, names: Mapping[str, Any]) -> Any:
    stop_at = isinstance(node.op, ast.Or)
    value: Any = not stop_at
    for each in node.values:
        value = evaluate(each, names)
        if bool(value) is stop_at:
            break
    return value


def _compare(node: ast.Compare, names: Mapping[str, Any]) -> bool:
    left = evaluate(node.left, names)
    for sign, side in zip(node.ops, node.comparators, strict=True):
        right = evaluate(side, names)
        if isinstance(sign, ast.Is | ast.IsNot):
            held = _identical(left, right) is isinstance(sign, ast.Is)
        else:
            held = bool(_COMPARE[type(sign)](left, right))
        if not held:
            return False
        left = right
    return True


def _call(node: ast.Call, names: Mapping[str, Any]) -> Any:
    arguments = [evaluate(each, names) for each in node.args]
    keywords = {keyword.arg: evaluate(keyword.value, names) for keyword in node.keywords if keyword.arg}
    function = node.func
    if isinstance(function, ast.Name):
        called = OUTER_CALLS.get(function.id) or CONSTANT_CALLS.get(function.id)
        if called is None:
            raise NotOutside(f"a call of {function.id}")
        if called in (bytes, bytearray) and arguments and isinstance(arguments[0], int):
            raise NotOutside("bytes of a length")
        return called(*arguments, **keywords)
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id in MODULES:
        if function.attr in ("factorial", "comb", "perm", "prod", "pow", "lcm") and _bits(*arguments) > 24:
            raise NotOutside(f"a large {function.attr}")
        return getattr(MODULES[function.value.id], function.attr)(*arguments, **keywords)
    if isinstance(function, ast.Attribute) and function.attr in METHODS:
        return getattr(evaluate(function.value, names), function.attr)(*arguments, **keywords)
    raise NotOutside("a call")
