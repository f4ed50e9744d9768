"""Writes replies to a journal for ever and prints each acknowledged key; a test kills it at a random moment."""

import asyncio
import os
import random
import sys
from pathlib import Path

from conftest import make_request, make_response
from stillhouse.store.journal import Journal


async def main(folder: Path, begin: int, in_flight: int) -> None:
    numbers = iter(range(begin, begin + 1_000_000))
    rng = random.Random(begin)

    async def ask() -> None:
        for number in numbers:
            request = make_request(number)
            journal.intent(request, retry=0)
            await asyncio.sleep(0)
            await journal.reply(make_response(request, text=request.key * rng.randrange(1, 200)), retry=0)
            os.write(1, f"{request.key}\n".encode())

    with Journal(folder, seal_bytes=150_000, reserve=1 << 20, commit_seconds=0.002) as journal:
        await asyncio.gather(*(ask() for _ in range(in_flight)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
