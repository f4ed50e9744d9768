"""One segment being written: space set aside ahead, frames appended, an index and a cut tail at the end.

In: encoded frames with the rows they stand for. Out: a sealed segment NAME.journal with NAME.idx. Not thread-safe by
itself: the journal holds its lock around every call but `sync` and `seal`.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from stillhouse.store.rows import Packer, SegmentRows, placed, write_index
from stillhouse.store.segments import SEGMENT, create_locked, fsync_folder, new_segment_name

log = logging.getLogger("stillhouse.store")
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


class SegmentWriter:
    """Owns one segment file from its creation to its seal, and holds the lock that says so.

    end: bytes written; allocated: bytes set aside (the file's length until it is sealed).
    """

    def __init__(self, folder: Path, writer: str, room: int, packer: Packer) -> None:
        """Raises OSError (see NO_SPACE) and leaves no file behind when `room` bytes cannot be set aside."""
        self.path = folder / f"{new_segment_name(writer)}{SEGMENT}"
        self.rows = SegmentRows(packer)
        self.end = self.allocated = 0
        self._fd = create_locked(self.path)
        try:
            self.allocate(room)
            os.fsync(self._fd)
            fsync_folder(folder)
        except BaseException:
            os.close(self._fd)
            self.path.unlink(missing_ok=True)
            raise

    @property
    def room(self) -> int:
        return self.allocated - self.end

    def allocate(self, room: int) -> None:
        """Set aside at least `room` bytes beyond what is written. Raises OSError when the disk has not as much."""
        if room <= self.room:
            return
        try:
            os.posix_fallocate(self._fd, self.allocated, self.end + room - self.allocated)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                self._check_free(room)
            else:
                os.ftruncate(self._fd, self.allocated)  # give back what a failed call may have taken
                raise
        self.allocated = self.end + room

    def _check_free(self, room: int) -> None:
        """A file system that cannot set space aside is asked how much is free: weaker, but not nothing."""
        disk = os.fstatvfs(self._fd)
        if disk.f_bavail * disk.f_frsize < room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        os.ftruncate(self._fd, self.end + room)

    def append(self, frame: bytes, rows: Sequence[bytes]) -> None:
        """Write one frame to the kernel, with the packed row of each of its lines for the index.

        Raises OSError; what was written by half is undone.
        """
        view, done = memoryview(frame), 0
        try:
            while done < len(frame):
                done += os.pwrite(self._fd, view[done:], self.end + done)
        except OSError:
            os.ftruncate(self._fd, self.allocated)  # what is set aside stays ours; the half frame in it becomes zeros
            os.pwrite(self._fd, bytes(min(done, self.room)), self.end)
            raise
        for number, row in enumerate(rows):
            self.rows.packed += placed(row, self.end, number)
        self.end += len(frame)
        self.allocated = max(self.allocated, self.end)
        self.rows.end = self.end

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def abandon(self) -> None:
        """Let go without a seal: whoever opens the journal next mends the segment."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1  # a late write must not reach a file that got the same number

    def seal(self) -> None:
        """Cut the space left over, make all durable, write the index, let go. An empty segment is removed."""
        try:
            if not self.end:
                self.path.unlink(missing_ok=True)
                return
            os.ftruncate(self._fd, self.end)
            os.fsync(self._fd)
            try:
                write_index(self.path, self.rows)
            except OSError as error:
                log.warning("%s: no index written (%s); it will be made again from the segment", self.path, error)
        finally:
            self.abandon()
