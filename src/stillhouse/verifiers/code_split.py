"""Splits `assert f(x) == literal` into what runs in the jail and what is compared outside it.

In: the text of an assert case and the name of the tested function; out: steps for the sandbox, and for each assert
an expression over the values that come back. Why: an answer that never sees the expected value cannot fake it. What
cannot be split runs inside as it stands and is marked weak.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any, Literal

from stillhouse.verifiers.code_values import CONSTANT_CALLS, METHODS, MODULES, OUTER_CALLS

# a call of these on a value of the answer, with nothing but constants beside, may run inside: it says nothing of
# what is expected, and turns iterators and the like into plain values
_TRANSPARENT = frozenset((
    "list", "tuple", "set", "frozenset", "dict", "sorted", "sum", "len", "round", "str", "int", "float", "next", "repr",
    "min", "max",
))  # fmt: skip
_TELLING = frozenset(
    ("abs", "isclose", "all", "any", "isinstance", "allclose", "array_equal", "approx", "assert_equal")
)
_ITERATING = frozenset(("map", "filter", "zip", "enumerate"))
_HOLE = "__value_{}__"


@dataclass(slots=True)
class Split:
    """steps: for the sandbox, in order. checks: expressions over `__value_N__`, N counting the `value` steps, with
    the text of their assert. weak: asserts that run inside."""

    steps: list[tuple[Literal["do", "value"], str]] = field(default_factory=list)
    checks: list[tuple[ast.expr, str]] = field(default_factory=list)
    weak: int = 0

    @property
    def asserts(self) -> int:
        return len(self.checks) + self.weak


def split(text: str, function: str) -> Split:
    """Raises SyntaxError (or ValueError) for what is not Python. A text without any assert has `asserts` 0."""
    body = ast.parse(text).body
    inside: set[str] = set()
    while True:
        made = _Splitter(function, body, inside).run()
        needed = set().union(*(_loaded(source) for _, source in made.steps))
        if needed <= inside:
            return made
        inside |= needed


def _loaded(source: str) -> set[str]:
    """Names that a step reads and does not make itself."""
    names = [each for each in ast.walk(ast.parse(source)) if isinstance(each, ast.Name)]
    made = {each.id for each in names if isinstance(each.ctx, ast.Store)}
    return {each.id for each in names} - made


class _Splitter:
    """inside: names that steps read, as an earlier pass has shown."""

    def __init__(self, function: str, body: list[ast.stmt], inside: set[str]) -> None:
        self.body, self.inside = body, inside
        self.answer_names = {function, "candidate", "Solution"} - {""}
        self.constants: dict[str, ast.expr] = {}
        self.made = Split()
        self.values = 0

    def run(self) -> Split:
        for statement in self.body:
            if isinstance(statement, ast.Assert):
                self._assert(statement)
            elif not self._constant(statement):
                self._do(statement)
        return self.made

    def _constant(self, statement: ast.stmt) -> bool:
        """`expected = [1, 2]` stays outside when only comparisons use it. Says whether it does. A constant that
        both sides use, and that no call can change, is known on both."""
        if not (isinstance(statement, ast.Assign) and len(statement.targets) == 1):
            return False
        target = statement.targets[0]
        if not isinstance(target, ast.Name) or self._mentions(statement.value):
            return False
        value = self._outer(statement.value, [])
        if value is None or _has_hole(value):
            return False
        if target.id not in self.inside:
            self.constants[target.id] = value
            return True
        if not any(isinstance(each, ast.List | ast.Dict | ast.Set | ast.Call) for each in ast.walk(value)):
            self.constants[target.id] = value
            self.made.steps.append(("do", f"{target.id} = {ast.unparse(value)}"))
            return True
        return False

    def _do(self, statement: ast.stmt) -> None:
        self.made.steps.append(("do", ast.unparse(statement)))
        for node in ast.walk(statement):
            if isinstance(node, ast.Assert):
                self.made.weak += 1
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self.answer_names.add(node.id)
        if isinstance(statement, ast.FunctionDef) and statement.name.startswith("test") and not statement.args.args:
            self.made.steps.append(("do", f"{statement.name}()"))

    def _assert(self, statement: ast.Assert) -> None:
        holes: list[str] = []
        outer = self._outer(statement.test, holes)
        if outer is None or not holes or self._both_sides(outer):
            bound = [f"{name} = {ast.unparse(value)}" for name, value in self.constants.items()]
            self.made.steps.append(("do", "\n".join([*bound, ast.unparse(statement)])))
            self.made.weak += 1
            return
        self.made.steps += [("value", hole) for hole in holes]
        self.made.checks.append((outer, ast.unparse(statement.test)))
        self.values += len(holes)

    @staticmethod
    def _both_sides(outer: ast.expr) -> bool:
        """Two values of the answer against each other: nothing expected is known, and they may be its own objects."""
        compared = [each for each in ast.walk(outer) if isinstance(each, ast.Compare)]
        return any(sum(map(_has_hole, (each.left, *each.comparators))) > 1 for each in compared)

    def _mentions(self, node: ast.AST) -> bool:
        return any(isinstance(each, ast.Name) and each.id in self.answer_names for each in ast.walk(node))

    def _hole(self, node: ast.expr, holes: list[str]) -> ast.expr:
        holes.append(ast.unparse(node))
        return ast.copy_location(ast.Name(_HOLE.format(self.values + len(holes) - 1), ast.Load()), node)

    def _outer(self, node: ast.expr, holes: list[str]) -> ast.expr | None:
        """The expression with the answer's parts replaced by names, or None when it cannot stand outside."""
        if isinstance(node, ast.Constant):
            return node
        if isinstance(node, ast.Name) and node.id in self.constants:
            return self.constants[node.id]
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.Call):
            return self._chain(node, holes)
        if isinstance(node, ast.Compare):
            return self._compare(node, holes)
        if isinstance(node, ast.BoolOp | ast.BinOp | ast.UnaryOp | ast.Tuple | ast.List | ast.Set | ast.Dict):
            return self._rebuilt(node, holes)
        return None

    def _rebuilt(self, node: ast.expr, holes: list[str]) -> ast.expr | None:
        """The same node with every expression below it outside."""
        fields: dict[str, Any] = {}
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                listed = [self._outer(each, holes) if isinstance(each, ast.expr) else each for each in value]
                if any(each is None for each in listed):
                    return None
                fields[name] = listed
            elif isinstance(value, ast.expr):
                made = self._outer(value, holes)
                if made is None:
                    return None
                fields[name] = made
            else:
                fields[name] = value
        return ast.copy_location(type(node)(**fields), node)

    def _compare(self, node: ast.Compare, holes: list[str]) -> ast.expr | None:
        sides: list[ast.expr] = []
        for side in (node.left, *node.comparators):
            tried: list[str] = []
            self.values += len(holes)
            made = self._outer(side, tried)
            if made is None and self._mentions(side) and not _tells(side) and not self._helped(side):
                tried = []
                made = self._hole(side, tried)
            self.values -= len(holes)
            if made is None:
                return None
            holes += tried
            sides.append(made)
        return ast.copy_location(ast.Compare(sides[0], node.ops, sides[1:]), node)

    def _helped(self, node: ast.expr) -> bool:
        """Does a helper take the answer's value with something beside it, as `close(f(x), 0.5)` does?"""
        for each in ast.walk(node):
            if not isinstance(each, ast.Call) or not any(self._mentions(argument) for argument in each.args):
                continue
            root = _root(each)
            known = root is not None and root.id in self.answer_names | _TRANSPARENT | _ITERATING
            if not known and len(each.args) + len(each.keywords) > 1:
                return True
        return False

    def _chain(self, node: ast.expr, holes: list[str]) -> ast.expr | None:
        """A name, call, attribute or subscript: the answer's own stays inside, known functions stay outside."""
        root = _root(node)
        if root is None:
            return self._method(node, holes)
        known = root.id in OUTER_CALLS or root.id in _TRANSPARENT or root.id in MODULES or root.id in CONSTANT_CALLS
        if root.id in self.answer_names or not known:
            if root.id not in self.answer_names and self._mentions(node):
                return None  # a helper around the answer's value: what it is compared with is among its arguments
            return self._hole(node, holes)
        if isinstance(node, ast.Name):
            return node
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in _TRANSPARENT and self._transparent(node):
                return self._hole(node, holes)
            if node.func.id in OUTER_CALLS or (node.func.id in CONSTANT_CALLS and not self._mentions(node)):
                return self._call(node, node.func, holes)
            return None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.value is root:
            return self._call(node, node.func, holes)
        return node if isinstance(node, ast.Attribute) and node.value is root else None

    def _transparent(self, node: ast.Call) -> bool:
        if not node.args or not self._mentions(node.args[0]) or _tells(node.args[0]):
            return False
        beside = [*node.args[1:], *(keyword.value for keyword in node.keywords)]
        return not any(self._mentions(each) for each in beside) and all(
            isinstance(each, ast.Constant | ast.Lambda | ast.Name) for each in beside
        )

    def _method(self, node: ast.expr, holes: list[str]) -> ast.expr | None:
        """`"a,b".split(",")`: a method of a literal, outside."""
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS):
            return None
        receiver = self._outer(node.func.value, holes)
        if receiver is None:
            return None
        return self._call(node, ast.Attribute(receiver, node.func.attr, ast.Load()), holes)

    def _call(self, node: ast.Call, function: ast.expr, holes: list[str]) -> ast.expr | None:
        arguments = [self._outer(each, holes) for each in node.args]
        keywords = [(keyword.arg, self._outer(keyword.value, holes)) for keyword in node.keywords]
        if any(each is None for each in arguments) or any(name is None or each is None for name, each in keywords):
            return None
        kept = [ast.keyword(name, each) for name, each in keywords if each is not None]
        return ast.copy_location(ast.Call(function, [each for each in arguments if each is not None], kept), node)


def _root(node: ast.expr) -> ast.Name | None:
    """The name at the beginning of a chain of calls, attributes and subscripts."""
    while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node if isinstance(node, ast.Name) else None


def _tells(node: ast.AST) -> bool:
    """Might the expression hold what is expected, as `abs(f(x) - 0.5)` and `isclose(f(x), 0.5)` do?"""
    for each in ast.walk(node):
        if isinstance(each, ast.BinOp | ast.Compare | ast.BoolOp):
            return True
        name = each.id if isinstance(each, ast.Name) else each.attr if isinstance(each, ast.Attribute) else ""
        if name in _TELLING:
            return True
    return False


def _has_hole(node: ast.AST) -> bool:
    return any(isinstance(each, ast.Name) and each.id.startswith("__value_") for each in ast.walk(node))
