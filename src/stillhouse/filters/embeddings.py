"""Semantic decontamination: texts whose embedding's cosine with a benchmark item's is strictly above a threshold.

In: benchmark items once, then texts. Out: hits with the item and the cosine. `wordllama` is embedded and light: it sees
which words occur and not their order; bge-m3 comes through an endpoint (`/v1/embeddings`) or sentence-transformers.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stillhouse.filters.contamination import Hit
from stillhouse.filters.words import split_words
from stillhouse.records import Fault, UserMistake

F32 = NDArray[np.float32]
LIGHT = "wordllama"
THRESHOLD = 0.9  # of bge-m3 in the paper; for the light model calibrated to the same number, see docs/curate.md
LIGHT_SHORTEST = 8  # words below which word counts say nothing about a question
LIGHT_CJK_SHARE = 0.3  # of words; the light model has no words for CJK, and finds all of it alike
LONGEST = 24_000  # characters that are embedded: about the 8,192 tokens of bge-m3
BATCH, IN_FLIGHT, TRIES = 64, 8, 6


class Embeddings:
    """model: wordllama, or a name that the endpoint at base_url (or sentence-transformers) knows. threshold: cosine
    that a hit must exceed. api_key_env: the variable that holds the endpoint's key."""

    rule = "benchmark_embedding"

    def __init__(
        self,
        model: str = LIGHT,
        threshold: float | None = None,
        base_url: str | None = None,
        api_key_env: str | None = None,
    ) -> None:
        self.model, self.threshold = model, THRESHOLD if threshold is None else threshold
        self.light = model == LIGHT and base_url is None
        self._embed: Callable[[Sequence[str]], F32] = functools.partial(_light_embed)
        if base_url is not None:
            self._embed = functools.partial(_endpoint_embed, model, base_url.rstrip("/"), api_key_env)
        elif not self.light:
            self._embed = functools.partial(_transformer_embed, model)

    @property
    def warning(self) -> str:
        """What a user should know of the model; empty for a full one."""
        if not self.light:
            return ""
        return (
            "embeddings: wordllama is the light model: it finds copies with their sentences moved or numbers changed, "
            f"and some reworded ones; it skips texts under {LIGHT_SHORTEST} words and CJK ones. The paper's is bge-m3: "
            "`embeddings: {model: BAAI/bge-m3, base_url: ...}`"
        )

    def index(self, items: Sequence[str]) -> EmbeddedItems:
        """items: the texts of all benchmarks."""
        return EmbeddedItems(items, self.embed(items), self)

    def embed(self, texts: Sequence[str]) -> F32:
        """(n, d), each row of length 1, or 0 where the model cannot say anything of the text."""
        told = self._tellable(texts)
        vectors = self._embed([texts[i][:LONGEST] for i in np.flatnonzero(told).tolist()]) if told.any() else None
        out = np.zeros((len(texts), 1 if vectors is None else vectors.shape[1]), np.float32)
        if vectors is not None:
            length = np.linalg.norm(vectors, axis=1, keepdims=True)
            out[told] = vectors / np.where(length > 0, length, 1)
        return out

    def _tellable(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        if not self.light:
            return np.array([bool(text.strip()) for text in texts], np.bool_)
        words = split_words(pa.array(texts, pa.large_string()))
        counts = np.diff(words.offsets)
        wide = np.concatenate([[0], np.cumsum(words.data[words.starts] >= 0xE3)])  # CJK starts with such a byte
        cjk = wide[words.offsets[1:]] - wide[words.offsets[:-1]]
        told: NDArray[np.bool_] = (counts >= LIGHT_SHORTEST) & (cjk <= LIGHT_CJK_SHARE * counts)
        return told


class EmbeddedItems:
    """Benchmark items as vectors."""

    def __init__(self, items: Sequence[str], vectors: F32, model: Embeddings) -> None:
        self._items, self._vectors, self._model = list(items), vectors, model

    def judge(self, texts: Sequence[str]) -> list[Hit]:
        """The hits among n texts, each with its nearest item."""
        vectors = self._model.embed(texts)
        if vectors.shape[1] != self._vectors.shape[1]:
            return []  # one side has no text that the model can say anything of
        hits = []
        for start in range(0, len(texts), 2048):
            cosines = vectors[start : start + 2048] @ self._vectors.T
            nearest = cosines.argmax(axis=1)
            best = cosines[np.arange(len(nearest)), nearest]
            for row in np.flatnonzero(best > self._model.threshold).tolist():
                item = int(nearest[row])
                match = f"cosine {best[row]:.3f}: {self._items[item]}"
                hits.append(Hit(start + row, item, Embeddings.rule, match))
        return hits


@functools.cache
def _light_model() -> Any:
    try:
        import wordllama
    except ImportError as error:
        raise UserMistake(
            "embeddings: the light model needs the package wordllama: pip install 'stillhouse[embeddings]'"
        ) from error
    # its own load() asks the network for what the package holds already
    return wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)


def _light_embed(texts: Sequence[str]) -> F32:
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # it pads each batch to its longest text
    out: F32 = np.empty((len(texts), 256), np.float32)
    out[order] = _light_model().embed([texts[i] for i in order])
    return out


@functools.cache
def _transformer(model: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found,unused-ignore]  # an extra
    except ImportError as error:
        raise UserMistake(
            f"embeddings: {model} needs base_url (an endpoint with /v1/embeddings) or the package sentence-transformers"
        ) from error
    return SentenceTransformer(model)


def _transformer_embed(model: str, texts: Sequence[str]) -> F32:
    return np.asarray(_transformer(model).encode(list(texts), normalize_embeddings=True), np.float32)


def _endpoint_embed(model: str, base_url: str, api_key_env: str | None, texts: Sequence[str]) -> F32:
    return asyncio.run(_ask_all(model, base_url, api_key_env, texts))


async def _ask_all(model: str, base_url: str, api_key_env: str | None, texts: Sequence[str]) -> F32:
    from stillhouse.transport.client import Client

    headers = {"Content-Type": "application/json"}
    if api_key_env is not None:
        key = os.environ.get(api_key_env)
        if not key:
            raise UserMistake(f"embeddings: the environment variable {api_key_env} holds no key")
        headers["Authorization"] = f"Bearer {key}"
    client, gate = Client(), asyncio.Semaphore(IN_FLIGHT)
    batches = [list(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
    try:
        made = await asyncio.gather(*(_ask(client, gate, model, base_url, headers, batch) for batch in batches))
    finally:
        await client.close()
    return np.concatenate(made)


async def _ask(
    client: Any, gate: asyncio.Semaphore, model: str, base_url: str, headers: dict[str, str], texts: list[str]
) -> F32:
    url, body = f"{base_url}/embeddings", json.dumps({"model": model, "input": texts}).encode()
    for number in range(TRIES):
        try:
            async with gate:
                _, reply = await client.post_json(url, body, headers, deadline=300.0, max_bytes=256 << 20)
        except Fault as fault:
            if not fault.retryable or number == TRIES - 1:
                raise UserMistake(f"embeddings: {url}: {fault}") from fault
            await asyncio.sleep(fault.retry_after or min(30.0, 0.5 * 2**number))
            continue
        try:
            rows = sorted(reply["data"], key=lambda row: row["index"])
            vectors = np.asarray([row["embedding"] for row in rows], np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise UserMistake(f"embeddings: {url} answers in no form of /v1/embeddings: {error!r}") from error
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise UserMistake(f"embeddings: {url} gave {vectors.shape} for {len(texts)} texts")
        return vectors
    raise AssertionError("unreachable: the last try raises")
