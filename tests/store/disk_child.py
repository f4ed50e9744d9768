"""Fills the disk under a journal, or its process's file size limit, and prints what it met, for test_full_disk.

usage: disk_child.py FOLDER tmpfs|limit
"""

import asyncio
import base64
import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

from conftest import make_request, make_response
from stillhouse.store.journal import Journal, JournalFull, load_index, read_responses

MB = 1 << 20
MAX_TOKENS = 50_000
TEXT = base64.b64encode(os.urandom(MAX_TOKENS * 6)).decode()  # 8 bytes a token, of which zstd saves a quarter


def limit_space(folder: Path, how: str) -> None:
    if how == "tmpfs":  # only ever inside the private mount namespace that the test made
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], check=True)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6 * MB, resource.RLIM_INFINITY))


def fill_up(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno in (errno.ENOSPC, errno.EFBIG)


async def main(folder: Path, how: str) -> None:
    limit_space(folder, how)
    filler = folder / "filler"
    with Journal(folder, reserve=MB) as journal:
        sent = []
        try:
            for number in range(1000):
                request = make_request(number, max_tokens=MAX_TOKENS)
                journal.intent(request, retry=0)
                sent.append(request)
        except JournalFull as full:
            print("full:", full)
        fill_up(filler)
        await asyncio.gather(*(journal.reply(make_response(r, text=TEXT), retry=0) for r in sent))
        print("kept:", len(sent))
        for number in range(1000, 2000):  # what the replies left over is used up by small ones
            request = make_request(number, max_tokens=1)
            try:
                journal.intent(request, retry=0)
            except JournalFull:
                break
            await journal.reply(make_response(request, text=TEXT[: 60 * 1024]), retry=0)
            sent.append(request)
        else:
            raise AssertionError("a full disk was never told")
        filler.unlink()
        if how == "tmpfs":
            request = make_request(3000, max_tokens=MAX_TOKENS)
            journal.intent(request, retry=0)
            await journal.reply(make_response(request, text=TEXT), retry=0)
            sent.append(request)
            print("goes on")
    index = load_index(folder)
    assert index.damage == ()
    assert [r.key for r in read_responses(index, index.find([r.key for r in sent]))] == [r.key for r in sent]
    print("all:", len(sent))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
