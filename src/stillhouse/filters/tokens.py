"""Token numbers of texts for the rules that count them, by the recipe's tokenizer or, without one, by words.

In: texts. Out: uint32 arrays. A tokenizer has `encode(texts) -> sequences of numbers`, may have `decode(numbers) ->
text`, and may be called for counts alone. What was encoded together is remembered: several filters share the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stillhouse.filters.words import split_words
from stillhouse.records import Response

U32 = NDArray[np.uint32]
_AT_ONCE = 4 << 20  # characters whose words are in memory together


def assistant_text(response: Response) -> str:
    """All that the teacher wrote: a separate thinking field, then the text."""
    return f"{response.reasoning}\n{response.text}" if response.reasoning else response.text


class Tokens:
    """tokenizer: without one that can `encode`, words are taken (CJK characters singly). unit: what the numbers are."""

    def __init__(self, tokenizer: Any = None) -> None:
        self._tokenizer = tokenizer if callable(getattr(tokenizer, "encode", None)) else None
        self._counter = tokenizer if callable(tokenizer) else None
        self.unit = "tokens" if self._tokenizer is not None else "words"
        self._known: dict[str, U32] = {}

    def learn(self, texts: Sequence[str]) -> list[U32]:
        """Encode texts together and remember them in place of what was learnt before."""
        found = self._encode(texts)
        self._known = dict(zip(texts, found, strict=True))
        return found

    def of(self, text: str) -> U32:
        """The numbers of one text."""
        known = self._known.get(text)
        return known if known is not None else self._encode([text])[0]

    def count(self, text: str) -> int | None:
        """Tokens of a text by the tokenizer; None without one."""
        if self._tokenizer is not None:
            return len(self.of(text))
        return int(self._counter([text])[0]) if self._counter is not None else None

    def passage(self, text: str, first: int, last: int) -> str:
        """The text from token `first` to token `last`, inclusive, as near as the tokenizer tells."""
        if self._tokenizer is None:
            words = split_words(pa.array([text], pa.large_string()))
            return words.text(first, min(last, len(words.hashes) - 1))
        decode = getattr(self._tokenizer, "decode", None)
        numbers = self.of(text)[first : last + 1].tolist()
        return str(decode(numbers)) if decode is not None else " ".join(map(str, numbers))

    def _encode(self, texts: Sequence[str]) -> list[U32]:
        if self._tokenizer is not None:
            return [np.asarray(numbers, np.uint32) for numbers in self._tokenizer.encode(list(texts))]
        found: list[U32] = []
        while len(found) < len(texts):
            part: list[str] = []
            size = 0
            for text in texts[len(found) :]:
                part.append(_sound(text))
                size += len(text)
                if size >= _AT_ONCE:
                    break
            words = split_words(pa.array(part, pa.large_string()))
            numbers = (words.hashes >> np.uint64(32)).astype(np.uint32)
            found += [numbers[a:b] for a, b in zip(words.offsets[:-1], words.offsets[1:], strict=True)]
        return found


def _sound(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
