"""Claims about frames: what was written is read, no flipped bit and no cut is read as data, the rest survives."""

import os
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stillhouse.store.frames import HEADER_BYTES, MAGIC, Damage, FrameEncoder, read_frame, scan

LINES = st.lists(st.binary(max_size=200).map(lambda b: b.replace(b"\n", b" ")), min_size=1, max_size=5)
FILES = st.lists(LINES, min_size=1, max_size=6)
SALT = b"12345678"
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(path: Path, groups: list[list[bytes]], tail: bytes = b"") -> list[int]:
    """Write frames; returns where each begins, and where the last ends."""
    encoder, data, starts = FrameEncoder(SALT), b"", [0]
    for lines in groups:
        data += encoder.encode(lines)
        starts.append(len(data))
    path.write_bytes(data + tail)
    return starts


def read(path: Path) -> tuple[list[tuple[int, list[bytes]]], list[Damage]]:
    damage: list[Damage] = []
    return [(frame.offset, frame.lines()) for frame in scan(path, damage)], damage


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "segment"


@quick
@given(groups=FILES, zeros=st.sampled_from([0, 1, 39, 40, 41, 5000]))
def test_what_was_written_is_read_and_zeros_set_aside_are_no_damage(
    path: Path, groups: list[list[bytes]], zeros: int
) -> None:
    starts = written(path, groups, bytes(zeros))
    frames, damage = read(path)
    assert frames == list(zip(starts, groups, strict=False))
    assert damage == []
    with path.open("rb") as file:
        assert [read_frame(file, offset) for offset in starts[:-1]] == groups


@quick
@given(groups=FILES, data=st.data())
def test_every_flipped_bit_is_found_and_the_other_frames_are_read(
    path: Path, groups: list[list[bytes]], data: st.DataObject
) -> None:
    starts = written(path, groups)
    whole = bytearray(path.read_bytes())
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[bit // 8] ^= 1 << bit % 8
    path.write_bytes(whole)
    hit = max(n for n, start in enumerate(starts[:-1]) if start <= bit // 8)
    frames, damage = read(path)
    assert frames == [(start, lines) for n, (start, lines) in enumerate(zip(starts, groups, strict=False)) if n != hit]
    assert len(damage) == 1
    assert damage[0].offset == starts[hit]
    assert (damage[0].reason == "torn tail") == (hit == len(groups) - 1)


def test_every_bit_of_a_frame_in_the_middle_is_guarded(path: Path) -> None:
    starts = written(path, [[b"first"], [b"middle", b"two"], [b"last"]])
    whole = path.read_bytes()
    for bit in range(starts[1] * 8, starts[2] * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        frames, damage = read(path)
        assert [lines for _, lines in frames] == [[b"first"], [b"last"]], bit
        assert [(d.offset, d.length) for d in damage] == [(starts[1], starts[2] - starts[1])], bit


def test_a_file_cut_at_any_byte_keeps_its_whole_frames_and_tells_of_the_torn_one(path: Path) -> None:
    groups = [[b"a" * 50], [b"b", b"c" * 90], [b"d"]]
    starts = written(path, groups)
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        kept = sum(start <= length for start in starts[1:])
        frames, damage = read(path)
        assert [lines for _, lines in frames] == groups[:kept], length
        torn = [(starts[kept], "torn tail")] if length > starts[kept] else []
        assert [(d.offset, d.reason) for d in damage] == torn, length


@quick
@given(groups=FILES, noise=st.binary(min_size=1, max_size=300))
def test_foreign_bytes_between_frames_are_skipped_and_told(path: Path, groups: list[list[bytes]], noise: bytes) -> None:
    starts = written(path, [*groups, *groups])
    whole, middle = path.read_bytes(), starts[len(groups)]
    path.write_bytes(whole[:middle] + noise + whole[middle:])
    frames, damage = read(path)
    assert [lines for _, lines in frames] == [*groups, *groups]
    assert [(d.offset, d.length) for d in damage] == [(middle, len(noise))]


def test_a_frame_of_another_file_inside_damage_is_not_taken_for_data(path: Path) -> None:
    forged = FrameEncoder(b"otherone").encode([b'{"kind":"reply"}'])
    starts = written(path, [[b"first"], [os.urandom(400).replace(b"\n", b" ")], [b"last"]])
    whole = bytearray(path.read_bytes())
    whole[starts[1] + 60 : starts[1] + 60 + len(forged)] = forged
    path.write_bytes(whole)
    frames, damage = read(path)
    assert [lines for _, lines in frames] == [[b"first"], [b"last"]]
    assert [d.offset for d in damage] == [starts[1]]


def test_a_header_with_an_absurd_length_reserves_no_memory(path: Path) -> None:
    path.write_bytes(MAGIC + b"\xff" * (HEADER_BYTES - len(MAGIC)) + b"rest")
    frames, damage = read(path)
    assert frames == []
    assert [(d.offset, d.reason) for d in damage] == [(0, "torn tail")]


@pytest.mark.parametrize("size", [1, 254, 255, 256, 300, 65_534, 65_535, 70_000])
def test_a_stored_frame_is_a_zstd_frame_like_any_other(path: Path, size: int) -> None:
    data = FrameEncoder(SALT).encode([b"x" * size], stored=True)
    path.write_bytes(data)
    assert read(path) == ([(0, [b"x" * size])], [])
    assert zstandard.ZstdDecompressor().decompress(data[HEADER_BYTES:]) == b"x" * size + b"\n"


@pytest.mark.parametrize("lines", [[], [b"a\nb"], [b"a", b"\n"]])
def test_a_line_with_a_line_feed_or_no_line_at_all_is_refused(lines: list[bytes]) -> None:
    with pytest.raises(ValueError, match="line"):
        FrameEncoder(SALT).encode(lines)
