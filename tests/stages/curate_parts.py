"""Small real parts for the tests of curate: a source of rows and a verifier, importable from worker processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stillhouse.records import Message, Query, Response, Verdict


class Rows:
    """A source of rows given as settings: dictionaries of Query fields with `query` for a single turn."""

    def __init__(self, rows: list[dict[str, Any]], category: str = "math", source: str = "rows") -> None:
        self.rows, self.category, self.source = rows, category, source

    def __call__(self) -> Iterator[Query]:
        for number, row in enumerate(self.rows, 1):
            row = {"category": self.category, "source": self.source, "origin": f"{self.source}:{number}", **row}
            text = row.pop("query", None)
            messages = row.pop("messages", None) or ([("user", text)] if text is not None else [])
            yield Query(tuple(Message(role, content) for role, content in messages), **row)


class DiesOnce(Rows):
    """The same, but the process is killed in the middle the first time. mark: a file that remembers."""

    def __init__(self, rows: list[dict[str, Any]], mark: str, **settings: Any) -> None:
        super().__init__(rows, **settings)
        self.mark = Path(mark)

    def __call__(self) -> Iterator[Query]:
        for number, query in enumerate(super().__call__()):
            if number == len(self.rows) // 2 and not self.mark.exists():
                self.mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield query


class Whole:
    """A verifier of whole numbers: its check wants a reference that is one."""

    version = "1"

    def check(self, query: Query) -> Verdict:
        if query.ground_truth is None:
            return Verdict("fail", 0.0, "no_reference", "math needs a reference answer")
        if query.ground_truth.lstrip("-").isdigit():
            return Verdict.of(1, 1, "whole")
        return Verdict("fail", 0.0, "whole", f"{query.ground_truth!r} is no whole number")

    def __call__(self, query: Query, response: Response) -> Verdict:
        return Verdict.of(int(response.text == query.ground_truth), 1, "whole")


class Counted(Rows):
    """The same, which notes each reading in the file notes["log"], and raises while notes["fail"] is not there."""

    def __init__(self, rows: list[dict[str, Any]], notes: dict[str, str | None], **settings: Any) -> None:
        super().__init__(rows, **settings)
        self.log, self.fail = Path(notes["log"] or ""), notes["fail"]

    def __call__(self) -> Iterator[Query]:
        with self.log.open("a") as out:
            out.write("read\n")
        if self.fail is not None and not Path(self.fail).exists():
            raise ValueError("not yet")
        yield from super().__call__()


class Hostile:
    """A verifier whose check does what the reference says: hang, die, raise, or be down."""

    version = "1"
    deadline = 0.5

    def check(self, query: Query) -> Verdict:
        reference = query.ground_truth or ""
        if reference == "hang":
            time.sleep(60)
        if reference == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if reference == "raise":
            raise ZeroDivisionError("by nothing")
        if reference == "down":
            return Verdict.unknown("sandbox", "no sandbox", transient=True)
        return Verdict.of(1, 1, "whole")


def no_cats(query: Query) -> Verdict:
    """A user's own query filter."""
    found = "cat" in query.text
    return Verdict("fail" if found else "pass", float(not found), "no_cats", "holds a cat" if found else "")


def no_cat_replies(query: Query, response: Response) -> Verdict:
    """A user's own filter of responses."""
    found = "cat" in response.text
    return Verdict("fail" if found else "pass", float(not found), "no_cats", "holds a cat" if found else "")


class FailsLate:
    """A filter that counts its calls in notes["log"], and raises after 10,000 while notes["fail"] is not there."""

    def __init__(self, notes: dict[str, str]) -> None:
        self.log, self.fail = Path(notes["log"]), Path(notes["fail"])

    def judge(self, pairs: list[tuple[Query, Response]]) -> list[Verdict]:
        calls = int(self.log.read_text()) if self.log.exists() else 0
        self.log.write_text(str(calls + len(pairs)))
        if calls > 10_000 and not self.fail.exists():
            raise ValueError("not yet")
        return [Verdict("pass", 1.0, "late")] * len(pairs)


class Letters:
    """A tokenizer of characters without blanks."""

    def encode(self, texts: list[str]) -> list[list[int]]:
        return [[ord(c) for c in text if not c.isspace()] for text in texts]

    def decode(self, numbers: list[int]) -> str:
        return " ".join(map(chr, numbers))


class Halves:
    """A tokenizer that only counts: two characters are a token."""

    def __call__(self, texts: list[str]) -> list[int]:
        return [len(text) // 2 for text in texts]


class Noted(Whole):
    """The same, which notes the number in each question that it checks, and is down while the file `broken` is there
    and two dozen are noted."""

    def __init__(self, notes: dict[str, str]) -> None:
        self.log, self.broken = Path(notes["log"]), Path(notes["broken"])

    def check(self, query: Query) -> Verdict:
        with self.log.open("a") as out:
            out.write(query.text.split()[2] + "\n")
        if self.broken.exists() and len(self.log.read_text().split()) > 24:
            return Verdict.unknown("sandbox", "no sandbox", transient=True)
        return super().check(query)
