"""Checksummed zstd frames of lines: the format of the journal's segments and of the verdict log.

In: lines of bytes (JSON). Out: frames that say where damage is. A frame is a 32-byte header (magic with format
version, sizes, salt of the file, checksum over header and payload) and a zstd payload. No flipped bit is read as
data: a bad frame is skipped to the next intact one of the same salt, and told as Damage. Zeros at the end of a file
are space set aside and not damage.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import zstandard

VERSION = 1
MAGIC = b"\xffSF" + bytes([VERSION])  # 0xff never stands in UTF-8 text
HEADER = struct.Struct("<4sIII8s")  # magic, payload bytes, raw bytes, lines, salt; the checksum follows
CHECKSUM_BYTES = 8
HEADER_BYTES = HEADER.size + CHECKSUM_BYTES
MAX_FRAME = 1 << 30  # a payload or its text above this is taken for a broken header; no reply is that long
_BLOCK, _PAGE = 1 << 20, 4096
_ZEROS = "nothing but zeros"


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a segment that could not be read: where, how many, and why."""

    segment: str
    offset: int
    length: int
    reason: str

    def __str__(self) -> str:
        return f"{self.segment}: {self.length} bytes at offset {self.offset}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Frame:
    """An intact frame: `offset` of its header, `end` of its last byte, and its compressed payload."""

    offset: int
    end: int
    count: int
    raw_bytes: int
    salt: bytes
    payload: bytes

    def lines(self) -> list[bytes]:
        """The lines, without their line feeds. Raises ValueError if the payload is not what the header says."""
        raw = _unstored(self.payload)
        try:
            if raw is None:
                raw = zstandard.ZstdDecompressor().decompress(self.payload, max_output_size=self.raw_bytes)
        except zstandard.ZstdError as error:
            raise ValueError(f"does not decompress: {error}") from error
        lines = raw.split(b"\n")
        if len(raw) != self.raw_bytes or len(lines) != self.count + 1 or lines.pop():
            raise ValueError("holds another number of lines than its header says")
        return lines


class FrameEncoder:
    """Makes frames for one file. Not thread-safe: each writing thread has its own, with the same salt."""

    def __init__(self, salt: bytes, *, level: int = 3) -> None:
        if len(salt) != 8:
            raise ValueError(f"a salt has 8 bytes, not {len(salt)}")
        self.salt = salt
        self._compressor = zstandard.ZstdCompressor(level=level, write_checksum=False, write_content_size=True)

    def encode(self, lines: Sequence[bytes], *, stored: bool = False) -> bytes:
        """One frame of the given lines. Raises ValueError for no lines, a line feed in one, or over 1 GiB.

        stored: where it is short, as a zstd frame without compression: that costs next to nothing, and does not hand
        the interpreter to another thread, which takes far longer than to compress a few hundred bytes.
        """
        raw = b"\n".join(lines) + b"\n"
        size, count = len(raw), len(lines)
        if not count or raw.count(b"\n") != count:
            raise ValueError("a frame holds one line or more, and a line holds no line feed")
        payload = _stored(raw) if stored and 256 <= size <= 0xFFFF else self._compressor.compress(raw)
        if size > MAX_FRAME or len(payload) > MAX_FRAME:
            raise ValueError(f"a frame holds at most {MAX_FRAME} bytes, not {size}")
        head = HEADER.pack(MAGIC, len(payload), size, count, self.salt)
        return head + _checksum(head, payload) + payload


_STORED = b"\x28\xb5\x2f\xfd\x60"
_STORED_HEAD = len(_STORED) + 2 + 3  # with the content's size and the block's head


def _stored(raw: bytes) -> bytes:
    """A zstd frame (RFC 8878) of one raw block: single segment, content size in two bytes (less 256)."""
    block = (len(raw) << 3 | 1).to_bytes(3, "little")  # raw, and the last one
    return _STORED + (len(raw) - 256).to_bytes(2, "little") + block + raw


def _unstored(payload: bytes) -> bytes | None:
    """The text of a frame of `_stored`, None for any other: without a decompressor, which costs ten times as much."""
    size = len(payload) - _STORED_HEAD
    if size < 256 or payload[:5] != _STORED or int.from_bytes(payload[5:7], "little") != size - 256:
        return None
    return payload[_STORED_HEAD:] if int.from_bytes(payload[7:10], "little") == (size << 3 | 1) else None


def _checksum(head: bytes, payload: bytes) -> bytes:
    digest = hashlib.blake2b(head, digest_size=CHECKSUM_BYTES)
    digest.update(payload)
    return digest.digest()


def scan(path: Path, damage: list[Damage], *, start: int = 0, salt: bytes | None = None) -> Iterator[Frame]:
    """Every intact frame of a file in order; what lies between is appended to `damage`.

    The last entry of damage has the reason "torn tail" when nothing intact follows it. A file that is still being
    written is read as far as it is complete; its tail may then look torn, and the caller knows better.
    """
    with path.open("rb", buffering=0) as file:
        fd, offset = file.fileno(), start
        size = os.fstat(fd).st_size
        while offset < size:
            frame, reason = _frame_at(fd, offset, size, salt)
            if frame is None:
                if reason == _ZEROS and _last_byte(fd, offset, size) == offset:
                    return
                found = _next_frame(fd, offset + 1, size, salt)
                if found is None:
                    damage.append(Damage(path.name, offset, _last_byte(fd, offset, size) - offset, "torn tail"))
                    return
                # frames are written in order: one that stands now before a later one was only being written above
                frame, _ = _frame_at(fd, offset, size, salt)
                if frame is None:
                    damage.append(Damage(path.name, offset, found - offset, reason))
                    offset = found
                    continue
            salt = frame.salt
            yield frame
            offset = frame.end


def read_frame(file: BinaryIO, offset: int) -> list[bytes]:
    """The lines of the frame at an offset. Raises ValueError, saying why, when it is not intact."""
    fd = file.fileno()
    frame, reason = _frame_at(fd, offset, os.fstat(fd).st_size, None)
    if frame is None:
        raise ValueError(reason)
    return frame.lines()


def _frame_at(fd: int, offset: int, size: int, salt: bytes | None) -> tuple[Frame | None, str]:
    data = os.pread(fd, _PAGE, offset)
    if len(data) < HEADER_BYTES or data[:4] != MAGIC:
        return None, "no frame header" if data[:HEADER_BYTES].strip(b"\0") else _ZEROS
    head, told = data[: HEADER.size], data[HEADER.size : HEADER_BYTES]
    _, length, raw_bytes, count, own_salt = HEADER.unpack(head)
    if length > MAX_FRAME or raw_bytes > MAX_FRAME or not 0 < count <= raw_bytes:
        return None, "impossible sizes in the frame header"
    if salt is not None and own_salt != salt:
        return None, "a frame of another file"
    if offset + HEADER_BYTES + length > size:
        return None, "runs past the end of the file"
    payload = data[HEADER_BYTES : HEADER_BYTES + length]
    while len(payload) < length:
        more = os.pread(fd, length - len(payload), offset + HEADER_BYTES + len(payload))
        if not more:
            return None, "runs past the end of the file"
        payload += more
    if _checksum(head, payload) != told:
        return None, "checksum does not match"
    return Frame(offset, offset + HEADER_BYTES + length, count, raw_bytes, own_salt, payload), ""


def _next_frame(fd: int, start: int, size: int, salt: bytes | None) -> int | None:
    """Offset of the first intact frame at or after `start`, None without one."""
    position = start
    while position < size:
        block = os.pread(fd, _BLOCK, position)
        if not block:
            return None
        hit = block.find(MAGIC)
        while hit >= 0:
            if _frame_at(fd, position + hit, size, salt)[0] is not None:
                return position + hit
            hit = block.find(MAGIC, hit + 1)
        position += max(1, len(block) - len(MAGIC) + 1)
    return None


def _last_byte(fd: int, start: int, size: int) -> int:
    """Offset after the last byte that is not zero, at least `start`."""
    last = position = start
    while position < size:
        try:
            position = os.lseek(fd, position, os.SEEK_DATA)  # space set aside is a hole: not read through
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data from here on
                break
        block = os.pread(fd, _BLOCK, position)
        if not block:
            break
        kept = len(block.rstrip(b"\0"))
        if kept:
            last = position + kept
        position += len(block)
    return last
