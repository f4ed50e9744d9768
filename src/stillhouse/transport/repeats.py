"""Tells, while a reply streams, that it has fallen into a loop: one phrase, back to back.

In: pieces of text as they come. Out: True once a phrase of at least `min_tokens` tokens stands `times` times in a
row. A token is a run of non-blank characters, or one CJK character. Candidates come from windows seen before, and are
then counted token by token. Thousands of streams are read at once, so only hashes are kept: 12 bytes a token.
"""

from __future__ import annotations

import re
from array import array

_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]|[^\s\u3040-\u30ff"
                    r"\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]+")  # fmt: skip
_REMEMBERED = 4  # latest places of a window: enough where a phrase holds a window more than once
_MOST_CANDIDATES = 64
_SPARSE = 16  # tokens between the windows that are remembered, at most; every window is looked up


class Repeats:
    """`feed` each piece; it returns True from the moment when the loop is complete. A pure state machine."""

    def __init__(self, min_tokens: int = 20, times: int = 3) -> None:
        if min_tokens < 1 or times < 2:
            raise ValueError(f"a loop is a phrase of >= 1 token, >= 2 times; not {min_tokens} and {times}")
        self.min_tokens, self.times = min_tokens, times
        self.found: int | None = None  # length of the repeated phrase, in tokens
        # so close that every loop holds a remembered window and, later in it, the same window again
        self._every = min(_SPARSE, (times - 2) * min_tokens + 1)
        self._tokens = array("q")  # hashes
        self._cut = ""  # the last token, which may go on in the next piece
        self._places: dict[int, tuple[int, ...]] = {}  # hash of a window -> where it ended
        self._runs: dict[int, int] = {}  # distance -> how many tokens in a row equal the one that far back

    @property
    def tokens(self) -> int:
        """Whole tokens read so far."""
        return len(self._tokens)

    def feed(self, text: str) -> bool:
        """Read on; True if a phrase has been repeated `times` times back to back."""
        if self.found is not None:
            return True
        text = self._cut + text
        tokens = _TOKEN.findall(text)
        self._cut = ""
        if tokens and not text[-1].isspace() and len(tokens[-1]) < 10_000:
            self._cut = tokens.pop()
        return any(self._add(hash(token)) for token in tokens)

    def end(self) -> bool:
        """The text is over: its last token counts as well."""
        return self.feed(" ")

    def _add(self, token: int) -> bool:
        tokens, at = self._tokens, len(self._tokens)
        tokens.append(token)
        runs = {back: run + 1 for back, run in self._runs.items() if token == tokens[at - back]}
        if at + 1 >= self.min_tokens:
            window = hash(tuple(tokens[-self.min_tokens :]))
            earlier = self._places.get(window, ())
            for place in earlier:
                back = at - place
                if back not in runs and len(runs) < _MOST_CANDIDATES:
                    runs[back] = self._run_before(at, back)
            if at % self._every == 0:
                self._places[window] = (*earlier[-_REMEMBERED + 1 :], at)
        self._runs = runs
        for back, run in runs.items():
            phrase = back * -(-self.min_tokens // back)  # a short period makes a long enough phrase by itself
            if run + back >= phrase * self.times:
                self.found = phrase
                return True
        return False

    def _run_before(self, at: int, back: int) -> int:
        """How many tokens up to and including `at` equal the one `back` before them; never more than is needed."""
        tokens, enough = self._tokens, self.times * (back + self.min_tokens)
        run = 0
        while run < enough and at - run - back >= 0 and tokens[at - run] == tokens[at - run - back]:
            run += 1
        return run


def first_loop(text: str, min_tokens: int = 20, times: int = 3) -> int | None:
    """The length of the first phrase that loops in a whole text, or None."""
    reader = Repeats(min_tokens, times)
    return reader.found if reader.feed(text) or reader.end() else None
