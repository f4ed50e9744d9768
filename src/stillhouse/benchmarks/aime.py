"""AIME 2024 and AIME 2025 (both papers of each year): 30 problems with integer answers, 64 samples each.

In: the hub's dataset, or a local file with the columns problem (or question) and answer. Out: Benchmark.
"""

from __future__ import annotations

from collections.abc import Iterator

from stillhouse.benchmarks.benchmark import Benchmark, Row, math_items, math_prompt, read_rows


def aime2024(path: str | None = None, hub: str = "HuggingFaceH4/aime_2024") -> Benchmark:
    """AIME I and II of 2024."""
    return Benchmark(
        "aime2024", "math", 64, lambda: math_items("aime2024", read_rows("aime2024", path, hub, None, "train")),
        math_prompt, expected=30,
    )  # fmt: skip


def aime2025(path: str | None = None, hub: str = "opencompass/AIME2025") -> Benchmark:
    """AIME I and II of 2025: two configurations on the hub; a local file holds both."""

    def rows() -> Iterator[Row]:
        if path is not None:
            yield from read_rows("aime2025", path, hub, None, "test")
        else:
            for part in ("AIME2025-I", "AIME2025-II"):
                yield from (
                    {**row, "id": f"{part}-{n}"}
                    for n, row in enumerate(read_rows("aime2025", None, hub, part, "test"), 1)
                )

    return Benchmark("aime2025", "math", 64, lambda: math_items("aime2025", rows()), math_prompt, expected=30)
