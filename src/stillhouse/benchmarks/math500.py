"""MATH500: the 500 problems of MATH that Lightman et al. 2023 set aside, 4 samples each.

In: the hub's dataset, or a local file with the columns problem and answer. Out: Benchmark.
"""

from __future__ import annotations

from stillhouse.benchmarks.benchmark import Benchmark, math_items, math_prompt, read_rows


def math500(path: str | None = None, hub: str = "HuggingFaceH4/MATH-500") -> Benchmark:
    return Benchmark(
        "math500", "math", 4, lambda: math_items("math500", read_rows("math500", path, hub, None, "test")),
        math_prompt, expected=500,
    )  # fmt: skip
