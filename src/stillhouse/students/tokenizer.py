"""The student's tokenizer as what counts tokens in reports and filters: `tokenizer: FOLDER or hub name`.

In: a folder with tokenizer.json, a GGUF file or a hub name. Out: counts, numbers, and texts of numbers. No template is
needed, and control tokens in a text are plain text, so that a count is that of the words that stand there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.students.chat import read_tokenizer

_BATCH = 256


class Tokenizer:
    """name: as in the recipe; it names the tokenizer in the report."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._tokenizer: Any = read_tokenizer(name)
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def __call__(self, texts: Iterable[str]) -> list[int]:
        """One count a text."""
        held = list(texts)
        counts: list[int] = []
        for start in range(0, len(held), _BATCH):
            counts += [len(item.ids) for item in self._encoded(held[start : start + _BATCH])]
        return counts

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        """Token numbers of each text."""
        return [np.array(item.ids, np.uint32) for item in self._encoded(list(texts))]

    def decode(self, numbers: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(numbers), skip_special_tokens=False))

    def _encoded(self, texts: list[str]) -> Sequence[Any]:
        sound = [text.encode("utf-8", "replace").decode() for text in texts]  # lone surrogates have no tokens
        encoded: Sequence[Any] = self._tokenizer.encode_batch_fast(sound, add_special_tokens=False)
        return encoded
