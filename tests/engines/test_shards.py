"""Shards appear whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from stillhouse.engines.shards import sweep, whole_file, whole_folder
from stillhouse.records import UserMistake


def test_a_file_appears_whole(tmp_path: Path) -> None:
    with whole_file(tmp_path / "deep" / "a.txt") as place:
        place.write_text("x")
        assert not (tmp_path / "deep" / "a.txt").exists()
    assert (tmp_path / "deep" / "a.txt").read_text() == "x"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.txt"]


@pytest.mark.parametrize("make", [whole_file, whole_folder])
def test_a_failure_leaves_nothing(tmp_path: Path, make) -> None:
    with pytest.raises(ValueError), make(tmp_path / "a") as place:
        (place / "b" if place.is_dir() else place).write_text("x")
        raise ValueError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError("Not enough free space to write 22731072 bytes after offset 128"),  # numpy
    OSError("1680000 requested and 158192 written"),  # numpy
    OSError("Error writing bytes to file. Detail: [errno 28] No space left on device"),  # arrow
])  # fmt: skip
def test_a_full_disk_is_told_as_such(tmp_path: Path, error: OSError) -> None:
    with pytest.raises(UserMistake, match="the disk is full"), whole_folder(tmp_path / "a"):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_the_twin_that_was_faster_stays(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "a") as slow:
        (slow / "x").write_text("slow")
        with whole_folder(tmp_path / "a") as fast:
            (fast / "x").write_text("fast")
    assert (tmp_path / "a" / "x").read_text() == "fast"


def test_what_killed_writers_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".partial-1-ab-x").mkdir()
    (tmp_path / ".partial-1-ab-y").write_text("y")
    (tmp_path / "kept").write_text("z")
    assert sweep(tmp_path) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
    assert sweep(tmp_path / "nowhere") == 0
