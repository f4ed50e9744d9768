"""HTTP/1.1 responses, byte by byte as they come. Pure: no sockets, no clock.

In: pieces of bytes, and the end of the connection. Out: status, headers, and pieces of the body, with Content-Length,
chunked or until the connection closes. Raises BadHttp for what is no HTTP. What it does not know (an unknown transfer
coding, two lengths) it refuses instead of guessing.
"""

from __future__ import annotations

import zlib
from typing import Literal

_HEAD, _LENGTH, _SIZE, _CHUNK, _CHUNK_END, _TRAILERS, _UNTIL_CLOSE, _DONE = range(8)
MOST_HEAD_BYTES = 65_536
_HEX = frozenset(b"0123456789abcdefABCDEF")


class BadHttp(Exception):  # noqa: N818  turned into a Fault by the wire
    """What came is no HTTP/1.x response."""


class Response:
    """One response. `feed` gives back the pieces of the body that are complete in it; `complete` says it is over."""

    __slots__ = ("_buffer", "_left", "_state", "_unpack", "headers", "keep_alive", "rest", "status")

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}  # by lower-case name; repeated ones joined with a comma
        self.keep_alive = False
        self.rest = b""  # what came after the end: nothing should
        self._buffer = b""
        self._left = 0
        self._state = _HEAD
        self._unpack: _Unpacker | None = None

    @property
    def has_head(self) -> bool:
        return self._state != _HEAD

    @property
    def complete(self) -> bool:
        return self._state == _DONE

    @property
    def length(self) -> int | None:
        """The length that the server announced."""
        value = self.headers.get("content-length")
        return int(value) if value is not None and "transfer-encoding" not in self.headers else None

    def feed(self, data: bytes) -> list[bytes]:
        """Read on. Raises BadHttp."""
        body: list[bytes] = []
        data = self._buffer + data if self._buffer else data
        self._buffer = b""
        at, end = 0, len(data)
        while at < end and self._state != _DONE:
            at = self._step(data, at, body)
        if self._state == _DONE:
            self.rest += data[at:]
        if self._unpack is not None:
            return [piece for packed in body if (piece := self._unpack.feed(packed))]
        return body

    def end(self) -> bool:
        """The connection has been closed by the other side: is the response whole?"""
        if self._state == _UNTIL_CLOSE:
            self._state = _DONE
        return self._state == _DONE

    def _step(self, data: bytes, at: int, body: list[bytes]) -> int:
        """Take what can be taken from there on; the new place. What is not enough for a step waits in the buffer."""
        state = self._state
        if state in (_LENGTH, _CHUNK):
            piece = data[at : at + self._left] if at or self._left < len(data) else data
            self._left -= len(piece)
            body.append(piece)
            if self._left == 0:
                self._state = _DONE if state == _LENGTH else _CHUNK_END
            return at + len(piece)
        if state == _HEAD:
            return len(data) - len(self._read_head(data[at:]))
        if state == _UNTIL_CLOSE:
            body.append(data[at:])
            return len(data)
        end = data.find(b"\n", at)
        if end < 0:
            if len(data) - at > MOST_HEAD_BYTES:
                raise BadHttp("a line of a chunk is too long")
            self._buffer = data[at:]
            return len(data)
        self._read_line(data[at:end].rstrip(b"\r"))
        return end + 1

    def _read_line(self, line: bytes) -> None:
        if self._state == _CHUNK_END:
            if line:
                raise BadHttp("a chunk is longer than it said")
            self._state = _SIZE
        elif self._state == _SIZE:
            size = line.partition(b";")[0].strip()
            if not size or len(size) > 15 or not _HEX.issuperset(size):
                raise BadHttp(f"{size[:20]!r} is no size of a chunk")
            self._left = int(size, 16)
            self._state = _CHUNK if self._left else _TRAILERS
        elif not line:
            self._state = _DONE

    def _read_head(self, data: bytes) -> bytes:
        head, found, rest = data.partition(b"\r\n\r\n")
        if not found:
            head, found, rest = data.partition(b"\n\n")
        if not found:
            if not b"HTTP/1.".startswith(data[:7]) and not data.startswith(b"HTTP/1."):
                raise BadHttp(f"it begins with {data[:20]!r}")
            if len(data) > MOST_HEAD_BYTES:
                raise BadHttp("its headers are too long")
            self._buffer = data
            return b""
        lines = head.decode("latin-1").split("\n")
        self._read_status(lines[0].rstrip("\r"))
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or name != name.strip() or not name:
                raise BadHttp(f"{line[:40]!r} is no header")
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        self.headers = headers
        if 100 <= self.status < 200:
            return rest  # an interim response: the real one follows
        self._frame()
        return rest

    def _read_status(self, line: str) -> None:
        version, _, after = line.partition(" ")
        code = after[:3]
        if not version.startswith("HTTP/1.") or not code.isdigit() or len(code) != 3:
            raise BadHttp(f"it begins with {line[:40]!r}")
        self.status = int(code)
        self.keep_alive = version != "HTTP/1.0"

    def _frame(self) -> None:
        """How the body ends (RFC 9112, 6.3)."""
        headers = self.headers
        connection = headers.get("connection", "").lower()
        if "close" in connection:
            self.keep_alive = False
        elif "keep-alive" in connection:
            self.keep_alive = True
        packing = headers.get("content-encoding", "identity").lower()
        if packing not in ("identity", ""):
            self._unpack = _Unpacker(packing)
        coding, length = headers.get("transfer-encoding", "").lower(), headers.get("content-length")
        if self.status in (204, 304):
            self._state = _DONE
        elif coding:
            if coding != "chunked":
                raise BadHttp(f"the transfer coding {coding[:40]!r} is not known")
            self._state = _SIZE
        elif length is not None:
            if not length.isdigit() or len(length) > 15:
                raise BadHttp(f"{length[:40]!r} is no length")
            self._left = int(length)
            self._state = _LENGTH if self._left else _DONE
        else:
            self.keep_alive = False
            self._state = _UNTIL_CLOSE


class _Unpacker:
    """Bodies that come packed although that was not asked for. Grows by 1 MB a piece at most, so limits hold."""

    MOST = 1_000_000

    def __init__(self, packing: str) -> None:
        windows: dict[str, Literal[47, 15]] = {"gzip": 47, "x-gzip": 47, "deflate": 15}
        if packing not in windows:
            raise BadHttp(f"the body is packed with {packing[:40]!r}, which was not asked for")
        self._inflate = zlib.decompressobj(windows[packing])

    def feed(self, data: bytes) -> bytes:
        try:
            return self._inflate.decompress(data, self.MOST)
        except zlib.error as error:
            raise BadHttp(f"the packed body is damaged: {error}") from None
