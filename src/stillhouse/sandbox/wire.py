"""Messages between the parent and the warden of an answer: a JSON object and a blob, both with their lengths.

In: a socket; out: dicts and bytes. Why: the parent reads from a process that lives with hostile code, so lengths
are capped, nothing but JSON is parsed and every read has a deadline.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

_HEADER = struct.Struct("<II")
_MOST_JSON = 64 << 20
_MOST_BLOB = 1 << 30


class Broken(Exception):  # noqa: N818  a state of the channel, turned into a verdict or a new try by the caller
    """The channel ended, timed out or does not speak this language; says which."""


class Late(Broken):
    """Nothing complete came before the deadline."""


def write(
    channel: socket.socket, message: Mapping[str, Any], blob: bytes = b"", *, deadline: float | None = None
) -> None:
    """Send one message; deadline is a time.monotonic() value for the whole of it. Raises Broken."""
    text = json.dumps(message).encode()
    view = memoryview(_HEADER.pack(len(text), len(blob)) + text + blob)
    while view:
        _wait(channel, select.POLLOUT, deadline)
        try:
            view = view[channel.send(view, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL) :]
        except BlockingIOError:  # readiness was spurious
            continue
        except OSError as error:
            raise Broken(f"cannot send: {error}") from error


def read(
    channel: socket.socket, *, deadline: float | None = None, most_json: int = _MOST_JSON, most_blob: int = _MOST_BLOB
) -> tuple[dict[str, Any], bytes]:
    """The next message. Raises Late after the deadline, Broken at the end of the stream or at nonsense."""
    json_size, blob_size = _HEADER.unpack(_exactly(channel, _HEADER.size, deadline))
    if json_size > most_json or blob_size > most_blob:
        raise Broken(f"a message of {json_size} + {blob_size} bytes")
    text = _exactly(channel, json_size, deadline)
    blob = _exactly(channel, blob_size, deadline) if blob_size else b""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Broken("a message that is not JSON") from error
    if not isinstance(message, dict):
        raise Broken("a message that is not an object")
    return message, blob


def _exactly(channel: socket.socket, size: int, deadline: float | None) -> bytes:
    pieces = []
    while size:
        _wait(channel, select.POLLIN, deadline)
        try:
            piece = channel.recv(min(size, 1 << 20), socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
        except OSError as error:
            raise Broken(f"cannot read: {error}") from error
        if not piece:
            raise Broken("the other end is gone")
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _wait(channel: socket.socket, event: int, deadline: float | None) -> None:
    poller = select.poll()
    poller.register(channel, event)
    left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
    if not poller.poll(left):
        raise Late("no answer before the deadline")
