"""Checksummed zstd frames of lines: the format of the journal's segments and of the verdict log.

In: lines of bytes (JSON). Out: frames that say where damage is. A frame is a 32-byte header (magic with format
version, sizes, salt of the file, checksum over header and payload) and a zstd payload. No flipped bit is read as
data: a bad frame is skipped to the next intact one of the same salt, and told as Damage. Zeros at the end of a file
are space set aside and not damage.
"""

from __future__ import annotations

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
_BLOCK = 1 << 20


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
        try:
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

    def encode(self, lines: Sequence[bytes]) -> bytes:
        """One frame of the given lines. Raises ValueError for no lines, a line feed in one, or over 1 GiB."""
        raw = b"\n".join(lines) + b"\n"
        if not lines or raw.count(b"\n") != len(lines):
            raise ValueError("a frame holds one line or more, and a line holds no line feed")
        payload = self._compressor.compress(raw)
        if len(raw) > MAX_FRAME or len(payload) > MAX_FRAME:
            raise ValueError(f"a frame holds at most {MAX_FRAME} bytes, not {len(raw)}")
        head = HEADER.pack(MAGIC, len(payload), len(raw), len(lines), self.salt)
        return head + _checksum(head, payload) + payload


def _checksum(head: bytes, payload: bytes) -> bytes:
    digest = hashlib.blake2b(head, digest_size=CHECKSUM_BYTES)
    digest.update(payload)
    return digest.digest()


def scan(path: Path, damage: list[Damage], *, start: int = 0, salt: bytes | None = None) -> Iterator[Frame]:
    """Every intact frame of a file in order; what lies between is appended to `damage`.

    The last entry of damage has the reason "torn tail" when nothing intact follows it. A file that is still being
    written is read as far as it is complete; its tail then looks torn, and the caller knows better.
    """
    with path.open("rb", buffering=_BLOCK) as file:
        size = os.fstat(file.fileno()).st_size
        offset = start
        while offset < size:
            frame, reason = _frame_at(file, offset, size, salt)
            if frame is not None:
                salt = frame.salt
                yield frame
                offset = frame.end
                continue
            if reason == "zeros" and _only_zeros(file, offset, size):
                return
            found = _next_frame(file, offset + 1, size, salt)
            end = size if found is None else found
            told = "torn tail" if found is None else reason.replace("zeros", "no frame header")
            length = (_last_byte(file, offset, size) if found is None else end) - offset
            damage.append(Damage(path.name, offset, length, told))
            offset = end


def read_frame(file: BinaryIO, offset: int) -> list[bytes]:
    """The lines of the frame at an offset. Raises ValueError, saying why, when it is not intact."""
    size = os.fstat(file.fileno()).st_size
    frame, reason = _frame_at(file, offset, size, None)
    if frame is None:
        raise ValueError(reason.replace("zeros", "no frame header"))
    return frame.lines()


def _frame_at(file: BinaryIO, offset: int, size: int, salt: bytes | None) -> tuple[Frame | None, str]:
    file.seek(offset)
    head = file.read(HEADER_BYTES)
    if len(head) == HEADER_BYTES and head[:4] == MAGIC:
        _, length, raw_bytes, count, own_salt = HEADER.unpack(head[: HEADER.size])
        if length > MAX_FRAME or raw_bytes > MAX_FRAME or not 0 < count <= raw_bytes:
            return None, "impossible sizes in the frame header"
        if salt is not None and own_salt != salt:
            return None, "a frame of another file"
        if offset + HEADER_BYTES + length > size:
            return None, "runs past the end of the file"
        payload = file.read(length)
        if len(payload) == length and _checksum(head[: HEADER.size], payload) == head[HEADER.size :]:
            end = offset + HEADER_BYTES + length
            return Frame(offset, end, count, raw_bytes, own_salt, payload), ""
        return None, "checksum does not match"
    return None, "zeros" if not head.strip(b"\0") else "no frame header"


def _next_frame(file: BinaryIO, start: int, size: int, salt: bytes | None) -> int | None:
    """Offset of the first intact frame at or after `start`, None without one."""
    position = start
    while position < size:
        file.seek(position)
        block = file.read(_BLOCK)
        if not block:
            return None
        hit = block.find(MAGIC)
        while hit >= 0:
            if _frame_at(file, position + hit, size, salt)[0] is not None:
                return position + hit
            hit = block.find(MAGIC, hit + 1)
        position += max(1, len(block) - len(MAGIC) + 1)
    return None


def _only_zeros(file: BinaryIO, start: int, size: int) -> bool:
    return _last_byte(file, start, size) == start


def _last_byte(file: BinaryIO, start: int, size: int) -> int:
    """Offset after the last byte that is not zero, at least `start`."""
    last = position = start
    file.seek(start)
    while position < size:
        block = file.read(_BLOCK)
        if not block:
            break
        kept = len(block.rstrip(b"\0"))
        if kept:
            last = position + kept
        position += len(block)
    return last
