"""Tokens of texts, counted by one tokenizer for all teachers and kept by content.

In: texts, a callable `Sequence[str] -> list[int]` or its Part. Out: counts; a parquet file remembers them by the
hash of the text, so that every stage counts only what no stage has counted before.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stillhouse.records import Part, canonical_json, content_hash

Tokenizer = Callable[[Sequence[str]], Sequence[int]]
_BATCH_CHARACTERS = 4_000_000


@dataclass(frozen=True, slots=True)
class Counted:
    """Tokens by the hash of the text."""

    hashes: NDArray[Any]
    tokens: NDArray[np.int64]


class TokenCounter:
    """Counts tokens once for each text. Without a tokenizer it counts nothing and says so by `None`."""

    def __init__(self, tokenizer: Part | Tokenizer | None, cache_folder: Path | None) -> None:
        self._given = tokenizer
        self._built: Tokenizer | None = None if isinstance(tokenizer, Part) else tokenizer
        self.name = _name_of(tokenizer)
        self.counted = self.remembered = 0
        self._file = None
        self._hashes = np.empty(0, "S16")
        self._counts = np.empty(0, np.int64)
        self._new: dict[bytes, int] = {}
        if tokenizer is not None and cache_folder is not None:
            self._file = cache_folder / f"tokens-{_identity_of(tokenizer)[:12]}.parquet"
            self._load()

    @property
    def works(self) -> bool:
        return self._given is not None

    def count(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Tokens of each text; NaN everywhere without a tokenizer."""
        if self._given is None:
            return np.full(len(texts), np.nan)
        keys = [_hash(text) for text in texts]
        known = self._lookup(keys)
        missing: dict[bytes, str] = {}
        for place, key in enumerate(keys):
            if known[place] < 0:
                if key in self._new:
                    known[place] = self._new[key]
                else:
                    missing[key] = texts[place]
        self.remembered += len(texts) - len(missing)
        if missing:
            self._new.update(zip(missing, self._count_new(list(missing.values())), strict=True))
            for place, key in enumerate(keys):
                if known[place] < 0:
                    known[place] = self._new[key]
        return known.astype(np.float64)

    def fresh(self) -> Counted:
        """What was counted here and is not in the file yet, for another counter to `learn`."""
        return Counted(np.array(list(self._new), "S16"), np.fromiter(self._new.values(), np.int64, len(self._new)))

    def learn(self, counted: Counted) -> None:
        """Take over what another counter of the same tokenizer has counted."""
        self._new.update(zip(counted.hashes.tolist(), counted.tokens.tolist(), strict=True))

    def save(self) -> None:
        """Write what was counted beside what was known, atomically."""
        if self._file is None or not self._new:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        hashes = np.concatenate([self._hashes, np.array(list(self._new), "S16")])
        counts = np.concatenate([self._counts, np.fromiter(self._new.values(), np.int64)])
        table = pa.table({
            "text": pa.array([h.ljust(16, b"\0") for h in hashes.tolist()], pa.binary(16)), "tokens": counts
        })  # fmt: skip
        partial = self._file.with_suffix(".partial")
        pq.write_table(table, partial)
        partial.replace(self._file)
        self._new.clear()
        self._load()

    def _load(self) -> None:
        if self._file is None or not self._file.exists():
            return
        table = pq.read_table(self._file)
        hashes = np.array(table["text"].to_pylist(), "S16")
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._counts = hashes[order], table["tokens"].to_numpy()[order]

    def _lookup(self, keys: Sequence[bytes]) -> NDArray[np.int64]:
        wanted = np.array(keys, "S16")
        if not self._hashes.size or not wanted.size:
            return np.full(len(keys), -1, np.int64)
        places = np.minimum(np.searchsorted(self._hashes, wanted), self._hashes.size - 1)
        return np.where(self._hashes[places] == wanted, self._counts[places], -1)

    def _count_new(self, texts: list[str]) -> list[int]:
        if self._built is None:
            assert isinstance(self._given, Part)  # noqa: S101  the constructor admits nothing else
            self._built = self._given.build()
        self.counted += len(texts)
        out: list[int] = []
        for batch in _batches(texts):
            out += self._built(batch)
        return out


def _batches(texts: Iterable[str]) -> Iterable[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _hash(text: str) -> bytes:
    # A trailing zero byte would be lost in numpy's fixed-width bytes; one of 256 hashes has it, so it is mapped away.
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return digest if digest[-1] else digest[:-1] + b"\1"


def _identity_of(tokenizer: Part | Tokenizer) -> str:
    if isinstance(tokenizer, Part):
        return content_hash(tokenizer.path, canonical_json(dict(tokenizer.settings)))
    return content_hash(getattr(tokenizer, "__module__", ""), getattr(tokenizer, "__qualname__", repr(tokenizer)))


def _name_of(tokenizer: Part | Tokenizer | None) -> str | None:
    if tokenizer is None:
        return None
    if isinstance(tokenizer, Part):
        for field in ("name", "model", "path"):
            if tokenizer.settings.get(field):
                return str(tokenizer.settings[field])
        module, _, name = tokenizer.path.partition(":")
        with contextlib.suppress(ImportError, AttributeError):
            return str(getattr(importlib.import_module(module), name).name)
        return tokenizer.path
    return str(getattr(tokenizer, "name", None) or getattr(tokenizer, "__name__", type(tokenizer).__name__))
