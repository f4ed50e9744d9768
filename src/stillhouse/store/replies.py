"""Replies of the journal by their content key, for a loop that must never ask for what is there.

In: the journal's index. Out: the response of a key that is valid under a limit, its text read from disk.
"""

from __future__ import annotations

import numpy as np

from stillhouse.records import Response
from stillhouse.store.index import Index, halves
from stillhouse.store.reading import read_responses
from stillhouse.store.rows import raw_key

_BLOCK = 65_536


class Replies:
    """One lookup is a binary search; memory is 24 bytes a distinct reply, which the index holds too.

    Nearly every key that is asked for is new: a table of bits by the first 24 bits of the keys says so at once.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        keys, self._rows = index.best_replies()
        self._keys = keys
        bits = np.zeros(1 << 24 if len(keys) else 0, np.bool_)
        for start in range(0, len(keys), _BLOCK):
            bits[halves(keys[start : start + _BLOCK])[0] >> np.uint64(40)] = True
        self._seen = np.packbits(bits).tobytes()

    def row(self, key: str, max_tokens: int | None = None) -> int | None:
        """Row of the best reply of a key; None without one, or where it was cut under a lower limit than asked now."""
        raw = raw_key(key)
        byte, bit = raw[0] << 13 | raw[1] << 5 | raw[2] >> 3, 7 - (raw[2] & 7)
        if not self._seen or not self._seen[byte] >> bit & 1:
            return None
        wanted = np.bytes_(raw.rstrip(b"\0"))  # as numpy hands out what it holds
        at = int(np.searchsorted(self._keys, wanted))
        if at >= len(self._keys) or self._keys[at] != wanted:
            return None
        row = int(self._rows[at])
        unfinished = bool(self._index.unfinished(np.array([row]))[0])
        if max_tokens is not None and unfinished and int(self._index.max_tokens[row]) < max_tokens:
            return None
        return row

    def response(self, key: str, max_tokens: int) -> Response | None:
        """The reply itself; None too where its frame is damaged (then it is asked for again, and audit tells)."""
        row = self.row(key, max_tokens)
        return None if row is None else next(read_responses(self._index, [row]), None)
