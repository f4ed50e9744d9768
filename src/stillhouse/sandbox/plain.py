"""Plain builtin values as text: encoded inside the jail, decoded and never executed outside.

In: a value of the answer; out: JSON text with tags, and in the parent the value again. Why: objects could carry an
`__eq__` that says yes to anything, and pickles run code. The encoder binds all that it calls when it is made,
before the answer is loaded, and reads subclasses through the methods of their builtin base.
"""

from __future__ import annotations

import itertools
import json
import json.encoder
from collections.abc import Callable, Iterable
from typing import Any

_DEPTH, _NODES = 200, 2_000_000
_SMALL = 1 << 53
_COLLISIONS = 1000


class NotPlain(Exception):  # noqa: N818  a finding about a value
    """The value cannot be told in plain builtin types; the message says why."""


def encoder() -> Callable[[Any], str]:
    """A function from a value to text that depends on nothing an answer can patch."""
    get_type, list_, tuple_, dict_, set_, frozenset_, str_, int_, float_, bytes_, bytearray_, complex_, range_ = (
        type, list, tuple, dict, set, frozenset, str, int, float, bytes, bytearray, complex, range,
    )  # fmt: skip
    quote: Callable[[Any], str] = json.encoder.encode_basestring_ascii
    join, float_text, to_hex, int_text, mro_of = ",".join, float.__repr__, hex, int.__repr__, type.__dict__["__mro__"]
    bytes_hex, bytearray_hex, nodes_left = bytes.hex, bytearray.hex, [_NODES]
    not_plain, depth_limit, small = NotPlain, _DEPTH, _SMALL

    def number(value: Any) -> str:
        text = float_text(value)
        return text if text not in ("inf", "-inf", "nan") else '{"f":"' + text + '"}'

    def walk(value: Any, depth: int) -> str:
        kind = get_type(value)
        if value is None:
            return "null"
        if value is True:
            return "true"
        if value is False:
            return "false"
        nodes_left[0] -= 1
        if depth > depth_limit or nodes_left[0] < 0:
            raise not_plain("a value nested too deep or too large")
        bases = mro_of.__get__(kind)
        if int_ in bases:
            return int_text(value) if -small < value < small and kind is int_ else '{"i":"' + to_hex(value) + '"}'
        if str_ in bases:
            return quote(value)
        if float_ in bases:
            return number(value)
        if list_ in bases:
            return "[" + join([walk(each, depth + 1) for each in list_.__iter__(value)]) + "]"
        if tuple_ in bases:
            return '{"t":[' + join([walk(each, depth + 1) for each in tuple_.__iter__(value)]) + "]}"
        if dict_ in bases:
            pairs = [f"[{walk(k, depth + 1)},{walk(v, depth + 1)}]" for k, v in dict_.items(value)]
            return '{"d":[' + join(pairs) + "]}"
        if set_ in bases:
            return '{"s":[' + join([walk(each, depth + 1) for each in set_.__iter__(value)]) + "]}"
        if frozenset_ in bases:
            return '{"S":[' + join([walk(each, depth + 1) for each in frozenset_.__iter__(value)]) + "]}"
        if kind is bytes_:
            return '{"b":"' + bytes_hex(value) + '"}'
        if kind is bytearray_:
            return '{"B":"' + bytearray_hex(value) + '"}'
        if kind is complex_:
            return '{"c":[' + number(value.real) + "," + number(value.imag) + "]}"
        if kind is range_:
            return '{"r":[' + join([walk(each, depth + 1) for each in (value.start, value.stop, value.step)]) + "]}"
        if kind.__module__ == "numpy" and not value.ndim:  # a scalar: tell the number that it is
            return walk(value.item(), depth + 1)
        raise not_plain(f"a value of type {kind.__name__}, which is no plain builtin")

    def encode(value: Any) -> str:
        nodes_left[0] = _NODES
        return walk(value, 0)

    return encode


def decode(text: str | bytes) -> Any:
    """The value again. Raises NotPlain for anything that the encoder would not have written."""
    try:
        return _value(json.loads(text, parse_constant=_refuse), 0)
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError, MemoryError) as error:
        raise NotPlain(f"a result that cannot be read ({type(error).__name__})") from error


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _value(node: Any, depth: int) -> Any:
    if depth > 2 * _DEPTH:
        raise NotPlain("a value nested too deep")
    if isinstance(node, list):
        return [_value(each, depth + 1) for each in node]
    if not isinstance(node, dict):
        return node
    if len(node) != 1:
        raise NotPlain("a result that cannot be read")
    ((tag, content),) = node.items()
    if tag == "i":
        return int(_text(content), 16)
    if tag == "f":
        return float(_text(content))
    if tag == "b":
        return bytes.fromhex(_text(content))
    if tag == "B":
        return bytearray.fromhex(_text(content))
    items = [_value(each, depth + 1) for each in _items(content)]
    if tag == "t":
        return tuple(items)
    if tag == "s":
        return set(hashable(items))
    if tag == "S":
        return frozenset(hashable(items))
    if tag == "d":
        hashable(key for key, _ in items)
        return dict(items)
    if tag == "c":
        return complex(*items)
    if tag == "r":
        return range(*items)
    raise NotPlain("a result that cannot be read")


def _text(content: Any) -> str:
    if not isinstance(content, str):
        raise NotPlain("a result that cannot be read")
    return content


def _items(content: Any) -> list[Any]:
    if not isinstance(content, list):
        raise NotPlain("a result that cannot be read")
    return content


def hashable(items: Iterable[Any]) -> list[Any]:
    """The items, unless they were made to collide in a hash table (which would take quadratic time)."""
    listed = list(items)
    if len(listed) > _COLLISIONS:
        for _, group in itertools.groupby(sorted(listed, key=hash), key=hash):
            same = list(group)
            if len(same) > _COLLISIONS and len(set(map(repr, same))) > _COLLISIONS:  # str hashes are seeded
                raise NotPlain("values made to collide")
    return listed
