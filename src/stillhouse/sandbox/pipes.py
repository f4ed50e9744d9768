"""Descriptors of the warden: what a case writes, and which numbers are free for a case.

In: descriptors; out: bytes. Why: a case must find 0 to 3 where it expects them, and nothing else.
"""

from __future__ import annotations

import fcntl
import os
import socket

from stillhouse.sandbox.case import RESULT


class Pipe:
    """What a case writes to one descriptor."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        self.pieces: list[bytes] = []
        self.size = 0

    def take(self) -> bool:
        """Read once; False at the end of the stream."""
        piece = os.read(self.read, 65536)
        self.pieces.append(piece)
        self.size += len(piece)
        return bool(piece)

    def drain(self, most: int) -> None:
        """What is there now, without waiting for processes that still hold the other end."""
        os.set_blocking(self.read, False)
        try:
            while self.size <= most and self.take():
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        os.close(self.read)
        if self.write >= 0:
            os.close(self.write)

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


def clear_descriptors(descriptor: int) -> socket.socket:
    """0 to 3 are /dev/null, so that nothing needed stands where a case puts its own; the channel is above."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    nothing = os.open("/dev/null", os.O_RDWR)
    for low in range(RESULT + 1):
        os.dup2(nothing, low)
    if nothing > RESULT:
        os.close(nothing)
    os.closerange(RESULT + 1, moved)
    os.closerange(moved + 1, 1024)
    return socket.socket(fileno=moved)
