"""Length-prefixed pickles over a stream socket between a pool and its workers.

In: bytes as they arrive, in any cut. Out: whole payloads. Both ends are our own processes of one machine.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator
from typing import Any

_LENGTH = struct.Struct("<I")
MAX_FRAME = 1 << 30


def pack(value: Any) -> bytes:
    """One frame. Raises what pickle raises, or ValueError for a value of a gigabyte."""
    data = pickle.dumps(value, protocol=5)
    if len(data) > MAX_FRAME:
        raise ValueError(f"an item of {len(data)} bytes is too large for a worker")
    return _LENGTH.pack(len(data)) + data


class Reader:
    """Collects bytes and gives out the values of the frames that are complete."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        self._buffer += data
        start, size = 0, len(self._buffer)
        try:
            while size - start >= 4:
                (length,) = _LENGTH.unpack_from(self._buffer, start)
                if size - start - 4 < length:
                    break
                view = memoryview(self._buffer)[start + 4 : start + 4 + length]
                start += 4 + length
                try:
                    value = pickle.loads(view)  # noqa: S301  from our own process over a private socket pair
                finally:
                    view.release()
                yield value
        finally:
            del self._buffer[:start]
