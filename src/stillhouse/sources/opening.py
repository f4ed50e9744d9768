"""A byte stream of a file, unpacked by its name; local paths, or any object store through fsspec.

In: a path or URL. Out: a binary stream; errors of unpacking come while it is read.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import zstandard

from stillhouse.records import UserMistake

PACKED = (".gz", ".zst", ".zstd", ".bz2", ".xz")
FORMATS = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv",
    ".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".feather": "arrow",
}  # fmt: skip


def file_format(path: str) -> str | None:
    """The format that a file's name says, packed or not; None when it says nothing we know."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return FORMATS.get(suffixes[-1]) if suffixes else None


def remote_system(path: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and its path within it. Raises UserMistake where no driver for it is here."""
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        with told_of_remote(path):
            system, inside = url_to_fs(path)
    except ImportError as error:
        raise UserMistake(f"{path}: object stores need fsspec and its driver (s3fs, gcsfs, ...): {error}") from error
    return system, inside


@contextlib.contextmanager
def told_of_remote(path: str) -> Iterator[None]:
    """Drivers raise exceptions of their own kinds: each is told with the path, as what the user can mend."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        said = str(error).splitlines()[0] if str(error) else ""
        raise UserMistake(f"{path}: cannot be read: {type(error).__name__}: {said}") from error


def open_binary(path: str) -> IO[bytes]:
    """A byte stream of a file, unpacked by its last suffix. Paths with `://` go through fsspec, where installed."""
    suffix = Path(path).suffix.lower()
    if "://" in path:
        system, inside = remote_system(path)
        with told_of_remote(path):
            packed: IO[bytes] = system.open(inside, "rb", compression="infer" if suffix in PACKED else None)
        return packed
    if suffix == ".gz":
        return gzip.open(path)  # type: ignore[return-value]  # a binary stream in all but name
    if suffix in (".zst", ".zstd"):
        raw = Path(path).open("rb")  # noqa: SIM115  the reader closes it
        return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True), 1 << 20)
    if suffix == ".bz2":
        return bz2.open(path)
    if suffix == ".xz":
        return lzma.open(path)
    return Path(path).open("rb")
