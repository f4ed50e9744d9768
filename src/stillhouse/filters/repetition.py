"""Back-to-back repetition: a phrase of at least 20 tokens that is written at least three times in a row.

In: a Query and a Response. Out: a Verdict with the phrase. Linear in the text: the distance of each 20-gram to its last
occurrence proposes a period, and comparing token by token decides.
"""

from __future__ import annotations

import numba
import numpy as np

from stillhouse.filters.tokens import Tokens, assistant_text
from stillhouse.records import Query, Response, Verdict

_PASS = Verdict("pass", 1.0, "back_to_back")
_WORDS = Tokens()
_MATCH = 400


def back_to_back(
    query: Query, response: Response, phrase: int = 20, times: int = 3, tokenizer: Tokens | None = None
) -> Verdict:
    """Fails where a phrase of >= `phrase` tokens stands >= `times` times back to back."""
    tokens = tokenizer or _WORDS
    text = assistant_text(response)
    if len(text) < phrase * times:
        return _PASS
    start, period, length = find_repetition(tokens.of(text), phrase, times)
    if start < 0:
        return _PASS
    match = tokens.passage(text, start, start + period - 1)[:_MATCH]
    size = -(-phrase // period) * period
    reason = f"a phrase of {size} {tokens.unit} stands {length // size} times back to back"
    return Verdict("fail", 0.0, "back_to_back", reason, detail={"match": match})


def find_repetition(tokens: np.ndarray, phrase: int, times: int) -> tuple[int, int, int]:
    """(start, period, length) of the first such run, in tokens; start is -1 where there is none."""
    start, period, length = _find(np.ascontiguousarray(tokens, np.uint32), phrase, times)
    return int(start), int(period), int(length)


@numba.njit(cache=True, nogil=True)
def _find(tokens, phrase, times):  # type: ignore[no-untyped-def]  # compiled
    n = len(tokens)
    if n < phrase * times:
        return -1, 0, 0
    size = 16
    while size < 2 * n:
        size *= 2
    values, places = np.zeros(size, np.uint64), np.full(size, -1, np.int32)
    prime = np.uint64(0x9E3779B97F4A7C15)
    leaving = np.uint64(1)
    for _ in range(phrase):
        leaving *= prime
    rolling, work = np.uint64(0), 0
    last_lag, last_end = 0, -1
    for i in range(n):
        rolling = rolling * prime + (np.uint64(tokens[i]) + np.uint64(1))
        if i >= phrase:
            rolling -= leaving * (np.uint64(tokens[i - phrase]) + np.uint64(1))
        if i < phrase - 1:
            continue
        value = rolling ^ (rolling >> np.uint64(29))
        slot = np.int64((value * prime) >> np.uint64(40)) & (size - 1)
        while places[slot] >= 0 and values[slot] != value:
            slot = (slot + 1) & (size - 1)
        if places[slot] >= 0:
            lag = i - places[slot]
            if not (lag == last_lag and i <= last_end) and work < 64 * n:
                end = i
                while end + 1 < n and tokens[end + 1] == tokens[end + 1 - lag]:
                    end += 1
                start = i
                while start - lag >= 0 and tokens[start] == tokens[start - lag]:
                    start -= 1
                begin = start + 1 - lag
                length = end - begin + 1
                work += end - start
                unit = ((phrase + lag - 1) // lag) * lag
                if length >= times * unit:
                    return begin, lag, length
                last_lag, last_end = lag, end
        values[slot], places[slot] = value, i
    return -1, 0, 0
