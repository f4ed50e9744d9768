"""Reads a statement: lists of clauses, and in a clause relations between sides.

In: tokens. Out: a Shape: a bare list, regions joined or cut, an equation, a name and its value, a ratio, or one side.
"""

from __future__ import annotations

import re
from dataclasses import replace

from stillhouse.verifiers.math_cut import MAX_NESTING, is_dots, split, text_of
from stillhouse.verifiers.math_number import GuardError
from stillhouse.verifiers.math_parse import Parser
from stillhouse.verifiers.math_region import chain_region, intersect, interval_of, of_relation, pieces_of_set, union
from stillhouse.verifiers.math_shape import (
    Dots,
    Family,
    Given,
    Many,
    Named,
    Numbers,
    Piece,
    Ratio,
    Region,
    Relation,
    Scalar,
    Shape,
)
from stillhouse.verifiers.math_side import side
from stillhouse.verifiers.math_token import Token, UnreadableError
from stillhouse.verifiers.math_tree import Node, symbols

_DERIVATIVE = re.compile(r"frac\{?(?:d|partial)(?:\^\{?\d\}?)?\{?[a-zA-Z]+\}?\{?(?:d|partial)[a-z](?:\^\{?\d\}?)?\}?")
_COMPARE = {"=": "=", "<": "<", ">": ">", "le": "<=", "ge": ">=", "ne": "!=", "in": "in", "notin": "notin"}


def statement(all_tokens: list[Token], depth: int) -> Shape:
    """The shape of tokens of any kind. Raises UnreadableError or GuardError."""
    if depth > MAX_NESTING:
        raise GuardError("a formula nested too deep")
    body = all_tokens[:-1] if all_tokens and all_tokens[-1].kind == "end" else all_tokens
    groups = _systems(body, depth)
    if groups is not None:
        return groups
    clauses, links = split(body, {",", ";", "and", "or", "\\\\", "land", "lor"})
    if len(clauses) == 1:
        return _clause(clauses[0], depth)
    shapes = [_clause(clause, depth) for clause in clauses if clause]
    if not shapes:
        raise UnreadableError("nothing but separators")
    if len(shapes) == 1:
        return shapes[0]
    parameter = shapes[-1]
    if isinstance(parameter, Named) and isinstance(parameter.value, Numbers):
        return Family(parameter.name, shapes[0] if len(shapes) == 2 else _listed(shapes[:-1], links))
    first = shapes[0]
    conditioned = not {"or", "lor"} & set(links) and all(isinstance(shape, Region | Relation) for shape in shapes[1:])
    if conditioned and (
        isinstance(first, Scalar) or (isinstance(first, Named) and not isinstance(first.value, Region))
    ):
        return Given(first, shapes[1] if len(shapes) == 2 else _listed(shapes[1:], links[1:]))
    return _listed(shapes, links)


def _systems(body: list[Token], depth: int) -> Many | None:
    """`x=1, y=2 or x=3, y=4`: several solutions of several unknowns, each a list of its own."""
    for marks in ({"or", "lor"}, {";"}, {"\\\\"}):
        parts, _ = split(body, marks)
        if len(parts) < 2:
            continue
        inner = [split(_trimmed(part), {",", "and", "land"})[0] for part in parts]
        if all(len(clauses) > 1 for clauses in inner):
            systems = [statement(_trimmed(part), depth + 1) for part in parts]
            if all(isinstance(s, Many) and s.kind == "bare" and _unknowns(s) for s in systems):
                return Many("bare", tuple(systems))
    return None


def _trimmed(part: list[Token]) -> list[Token]:
    while part and part[-1].text == ",":
        part = part[:-1]
    return part


def _unknowns(system: Many) -> bool:
    names = [item.name for item in system.items if isinstance(item, Named)]
    return len(names) == len(system.items) == len(set(names))


def _listed(shapes: list[Shape], links: list[str]) -> Shape:
    """Several clauses: regions are joined or cut, everything else is a bare list."""
    if links and set(links) <= {"or", "lor"} and any(isinstance(shape, Region) for shape in shapes):
        shapes = [_as_points(shape) for shape in shapes]  # x = 1 or x > 3
    regions = [shape for shape in shapes if isinstance(shape, Region)]
    if len(regions) == len(shapes) and len({region.variable for region in regions}) == 1:
        if any(link in ("or", "lor") for link in links):
            return union(regions)
        cut = intersect(regions)
        return union(regions) if cut is None or not cut.pieces else cut
    conditions = all(isinstance(shape, Region | Relation) for shape in shapes)
    if conditions and links and all(link in ("or", "lor") for link in links):
        return Many("any", tuple(shapes))  # of several variables: one of them holds
    flat: list[Shape] = []
    for shape in shapes:
        flat.extend(
            shape.items if isinstance(shape, Many) and shape.kind == "bare" and not _unknowns(shape) else (shape,)
        )
    return Many("bare", tuple(flat))


def _as_points(shape: Shape) -> Shape:
    """`x = 1` as a region of one point, beside other regions."""
    if not isinstance(shape, Named) or not shape.plain or shape.function or not isinstance(shape.value, Scalar):
        return shape
    return Region((Piece(shape.value, True, shape.value, True),), shape.name) if shape.value.plain else shape


def _clause(body: list[Token], depth: int) -> Shape:
    """One clause: a chain of sides with relations between them, a ratio, or a single side."""
    if not body:
        raise UnreadableError("nothing between two commas")
    if is_dots(body):
        return Dots()
    sides, signs_between = split(body, set(_COMPARE))
    if len(sides) > 1:
        return _chain(sides, [_COMPARE[sign] for sign in signs_between], depth)
    return _side_or_ratio(body, depth)


def _side_or_ratio(body: list[Token], depth: int) -> Shape:
    parts, _ = split(body, {":"})
    if len(parts) > 1:
        scalars = [side(part, depth, statement) for part in parts]
        if not all(isinstance(scalar, Scalar) for scalar in scalars):
            raise UnreadableError("a ratio of something else than numbers")
        return Ratio(tuple(scalar for scalar in scalars if isinstance(scalar, Scalar)))
    return side(body, depth, statement)


def _chain(sides: list[list[Token]], ops: list[str], depth: int) -> Shape:
    if not sides[-1] or not sides[0]:
        raise UnreadableError("a relation without one side")
    if ops[-1] in ("in", "notin"):
        return _membership(sides, ops, depth)
    if all(op == "=" for op in ops):
        return _equation(sides, depth)
    if "=" in ops and ops[0] == "=" and len(ops) > 1 and "=" not in ops[1:]:
        raise UnreadableError("a definition of a relation")
    found = [_side_or_ratio(side, depth) for side in sides]
    if ops == ["!="] and isinstance(found[1], Many) and isinstance(found[0], Scalar) and found[0].node.op == "sym":
        outside = pieces_of_set(found[1])  # x is neither 1 nor -1
        if outside is not None:
            return replace(outside, variable=found[0].node.name)
    nodes = [scalar for scalar in found if isinstance(scalar, Scalar)]
    if len(nodes) != len(found):
        raise UnreadableError("a relation between something else than numbers")
    region = chain_region(nodes, ops)
    if region is not None:
        return region
    if len(ops) == 1:
        return of_relation(nodes[0].node, ops[0], nodes[1].node)
    raise UnreadableError("a chain of relations")


def _membership(sides: list[list[Token]], ops: list[str], depth: int) -> Shape:
    if len(ops) > 1:
        raise UnreadableError("a chain of memberships")
    name = text_of(sides[0])
    value = side(sides[1], depth, statement)
    if ops[0] == "notin":
        outside = pieces_of_set(value)
        if outside is None:
            raise UnreadableError("outside of something that is no set")
        return replace(outside, variable=name)
    if isinstance(value, Region):
        return replace(value, variable=name)
    pair = interval_of(value) if isinstance(value, Many) and value.kind == "tuple" else None
    if pair is not None:
        return replace(pair, variable=name)
    return Named(name, value)


def _equation(sides: list[list[Token]], depth: int) -> Shape:
    """Of a chain of equal signs the last side is the answer; its name is the first side where that is a name."""
    value = _side_or_ratio(sides[-1], depth)
    name = _name_of(sides[0])
    if name is not None:
        return Named(name[0], value, name[1], argument=name[2])
    if _DERIVATIVE.fullmatch(text_of(sides[0])):
        return Named(text_of(sides[0]), value, plain=False)
    try:
        left = _side_or_ratio(sides[-2] if len(sides) > 2 else sides[0], depth)
    except UnreadableError:
        left = None
    if not isinstance(left, Scalar) or not isinstance(value, Scalar):
        return Named(text_of(sides[0]), value, plain=False)
    if not symbols(left.node):
        return value if not symbols(value.node) else Relation(value.node, "=", left.node)
    length = left.node.args[0] if left.node.op == "call" and left.node.name == "abs" else None
    if not symbols(value.node) and (_is_segment(left.node) or (length is not None and _is_length(length))):
        return Named(text_of(sides[0]), value, plain=False)
    return Relation(left.node, "=", value.node)


def _is_segment(node: Node) -> bool:
    """AB, with bars or without, is the length of a segment, the name of a number."""
    return node.op == "mul" and len(node.args) == 2 and all(p.op == "sym" and p.name.isupper() for p in node.args)


def _is_length(node: Node) -> bool:
    """Whether bars around it make the length of a segment or vector: |x| = 5 is an equation."""
    return _is_segment(node) or (node.op == "sym" and node.name.startswith("vec "))


def _name_of(side: list[Token]) -> tuple[str, bool, str] | None:
    """The name that a left side is, whether it is a function's, and of what; None for an expression."""
    if not side:
        return None
    try:
        parser = Parser(side)
        made = parser.atom()
    except UnreadableError:
        return None
    if not isinstance(made, Node) or made.op not in ("sym", "const") or made.name == "pi":
        return None
    rest = side[parser.at :]
    while rest and rest[0].text == "'":
        rest = rest[1:]
    if "".join(token.text for token in rest[:5]) == "^{-1}":
        made, rest = Node("sym", name=made.name + "^-1"), rest[5:]
    if not rest:
        return made.name, False, ""
    if rest[0].text == "(" and rest[-1].text == ")" and not any(t.kind == "op" and t.text in "+-*/" for t in rest):
        return made.name, True, text_of(rest[1:-1])
    return None
