"""Traces packed for the page: compressed chunks, the first inside the page, the rest in script files beside it.

In: dicts of texts. Out: base64 of gzipped JSON, which holds no character that could end a script element. A page
opened from disk may load scripts beside it but no data, hence `traces-N.js`.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

INSIDE_BYTES = 1_200_000
CHUNK_BYTES = 400_000


def packed(value: Any) -> str:
    """Gzipped JSON as base64; the same value gives the same text."""
    return base64.b64encode(gzip.compress(orjson.dumps(value), 6, mtime=0)).decode("ascii")


def pack(items: Sequence[Any]) -> tuple[list[list[Any]], dict[int, str]]:
    """Chunks as [first item, items, base64 or null where it lies beside], and the texts of the scripts beside."""
    chunks: list[list[Any]] = []
    beside: dict[int, str] = {}
    inside = start = 0
    for group in _groups(items):
        text = packed(group)
        if inside + len(text) <= INSIDE_BYTES:
            inside += len(text)
            chunks.append([start, len(group), text])
        else:
            beside[len(chunks)] = f'stillhouseTraces({len(chunks)},"{text}");\n'
            chunks.append([start, len(group), None])
        start += len(group)
    return chunks, beside


def _groups(items: Sequence[Any]) -> Iterator[list[Any]]:
    group: list[Any] = []
    size = 0
    for item in items:
        group.append(item)
        size += len(orjson.dumps(item))
        if size >= CHUNK_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
