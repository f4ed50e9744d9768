"""LiveCodeBench's private tests, which come as base64 of zlib of a pickle of one string, without unpickling.

In: untrusted text. Out: the string. A pickle is a program; here it is only read, and any instruction that does more
than hold one string is refused. Sizes are capped before memory is given.
"""

from __future__ import annotations

import base64
import binascii
import pickletools
import zlib

# Instructions of the pickle of one string, protocols 0 to 5: the header, the string, its place in the memo, the end.
_STRING = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"})
_HARMLESS = frozenset({"PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"})


class PackedTests(Exception):  # noqa: N818  told with the problem that it belongs to
    """What is wrong with a packed text: not base64, not zlib, over the limit, or not the pickle of one string."""


def read_packed(text: str, max_bytes: int) -> str:
    """The string in a packed text; max_bytes bounds it at every step. Raises PackedTests."""
    if len(text) > 2 * max_bytes:
        raise PackedTests(f"{len(text)} characters packed, over the limit of {2 * max_bytes}")
    try:
        packed = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise PackedTests(f"not base64: {error}") from error
    return read_string(_inflate(packed, max_bytes))


def _inflate(packed: bytes, max_bytes: int) -> bytes:
    reader = zlib.decompressobj()
    try:
        data = reader.decompress(packed, max_bytes + 1)
    except zlib.error as error:
        raise PackedTests(f"not zlib: {error}") from error
    if len(data) > max_bytes:
        raise PackedTests(f"unpacks to more than the limit of {max_bytes} bytes")
    if not reader.eof:
        raise PackedTests("the packed data is cut off")
    return data


def read_string(data: bytes) -> str:
    """The string of a pickle that holds one string and nothing else. Nothing is executed. Raises PackedTests."""
    found: str | None = None
    ended = False
    try:
        for instruction, argument, position in pickletools.genops(data):
            if instruction.name in _STRING and found is None:
                found = str(argument)
            elif instruction.name == "STOP" and found is not None:
                ended = True
                if (position or 0) + 1 != len(data):
                    raise PackedTests(f"the pickle goes on after its end, at byte {position}")
            elif instruction.name not in _HARMLESS:
                raise PackedTests(f"the pickle holds {instruction.name} at byte {position}: only a string is admitted")
    except PackedTests:
        raise
    except Exception as error:
        raise PackedTests(f"not a pickle: {error}") from error
    if found is None or not ended:
        raise PackedTests("the pickle holds no string")
    return found
