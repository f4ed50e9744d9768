"""The arithmetic of an evaluation: samples become items, items become scores with intervals clustered by item.

In: rows of judged samples. Out: pass@1, unbiased pass@k (Chen et al. 2021), mean length, truncation, stop and format
rates, each None for an empty population. An unknown verdict counts neither way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.records import Query
from stillhouse.stats.means import bootstrap_sums, mean_interval, percentile_interval, ratio_interval, resamples_for
from stillhouse.stats.rates import Interval, wilson


@dataclass(frozen=True)
class Answers:
    """What came of asking. rows, one a judged sample: query (key), attempt, outcome, finish_reason, completion_tokens,
    malformed (why the reply is not in think/answer form, None when it is), tagged (its answer stands in tags, thinking
    or not), and cost_usd where known. outcome: done, interrupted, budget or disk_full, and problem says why; waits:
    reason -> how many queries wait for it."""

    rows: Iterable[Mapping[str, Any]]
    outcome: str = "done"
    problem: str = ""
    waits: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Item:
    """One benchmark item's counts over its samples. tokens: of all samples, thinking included; stopped: by itself."""

    query: str
    id: str
    wanted: int
    asked: int = 0
    passed: int = 0
    judged: int = 0
    unknown: int = 0
    tokens: int = 0
    truncated: int = 0
    stopped: int = 0
    formatted: int = 0
    tagged: int = 0
    cost_usd: float | None = 0.0

    @property
    def waiting(self) -> int:
        return self.wanted - self.asked

    @property
    def rate(self) -> float | None:
        """Share of the judged samples that pass; None where none was judged."""
        return self.passed / self.judged if self.judged else None


def items_of(queries: Sequence[Query], samples: int, rows: Iterable[Mapping[str, Any]]) -> list[Item]:
    """Count the rows of each query. A second row of one (query, attempt) and rows beyond `samples` are not counted.

    Raises ValueError for a row of a query that was not asked: its counts would be lost.
    """
    items = {query.key: Item(query.key, query.id or query.key[:8], samples) for query in queries}
    seen: set[tuple[str, int]] = set()
    for row in rows:
        item, place = items.get(row["query"]), (str(row["query"]), int(row["attempt"]))
        if item is None:
            raise ValueError(f"a sample of query {row['query']}, which is not of this benchmark")
        if place in seen or item.asked == samples:
            continue
        seen.add(place)
        item.asked += 1
        item.passed += row["outcome"] == "pass"
        item.judged += row["outcome"] != "unknown"
        item.unknown += row["outcome"] == "unknown"
        item.tokens += int(row["completion_tokens"])
        item.truncated += row["finish_reason"] == "length"
        item.stopped += row["finish_reason"] == "stop"
        item.formatted += not row["malformed"]
        item.tagged += bool(row.get("tagged", not row["malformed"]))
        cost = row.get("cost_usd")
        item.cost_usd = None if cost is None or item.cost_usd is None else item.cost_usd + cost
    return list(items.values())


def summary(items: Sequence[Item], samples: int) -> dict[str, Any]:
    """The scores of one benchmark."""
    asked = np.array([item.asked for item in items], np.float64)
    total = int(asked.sum())
    tokens = np.array([item.tokens for item in items], np.float64)

    def share(name: str) -> float | None:
        return sum(getattr(item, name) for item in items) / total if total else None

    rates = np.array([item.rate for item in items if item.rate is not None], np.float64)
    costs = [item.cost_usd for item in items]
    told = asked > 0
    return {
        "items": len(items),
        "asked": total,
        "waiting": sum(item.waiting for item in items),
        "unknown": sum(item.unknown for item in items),
        "unjudged_items": len(items) - len(rates),
        "pass_at_1": float(rates.mean()) if rates.size else None,
        "pass_at_1_interval": rate_interval(rates),
        "pass_at_k": pass_at_powers(items, samples),
        "mean_length": float(tokens.sum() / total) if total else None,
        "mean_length_interval": ratio_interval(tokens[told], asked[told]),
        "truncated": share("truncated"),
        "stop_ratio": share("stopped"),
        "format_rate": share("formatted"),
        "answer_tag_rate": share("tagged"),
        "cost_usd": None if not total or any(c is None for c in costs) else float(sum(c for c in costs if c)),
    }


def rate_interval(rates: NDArray[np.float64], confidence: float = 0.95) -> Interval | None:
    """Interval of a mean pass rate over items. Where all items agree a resample shows nothing: Wilson over items."""
    if rates.size and (np.all(rates == 0) or np.all(rates == 1)):
        return wilson(int(rates.sum()), rates.size, confidence)
    found = mean_interval(rates, confidence=confidence)
    return None if found is None else (max(0.0, found[0]), min(1.0, found[1]))


def pass_at(judged: int, passed: int, k: int) -> float | None:
    """1 - C(n - c, k) / C(n, k) as a product, exact at any size; None where fewer than k samples were judged."""
    if judged < k:
        return None
    if judged - passed < k:
        return 1.0
    miss = 1.0
    for i in range(judged - passed + 1, judged + 1):
        miss *= 1.0 - k / i
    return 1.0 - miss


def pass_at_powers(items: Sequence[Item], samples: int) -> dict[str, float]:
    """pass@k for k = 1, 2, 4 .. samples, each over the items that have k judged samples, where all judged items do."""
    out: dict[str, float] = {}
    judged = [item for item in items if item.judged]
    k = 1
    while k <= samples:
        values = [pass_at(item.judged, item.passed, k) for item in judged]
        known = [value for value in values if value is not None]
        if known and len(known) == len(values):
            out[str(k)] = float(np.mean(known))
        k *= 2
    return out


def mean_over_benchmarks(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The student's mean score, every benchmark weighing the same, with its interval: items are drawn anew in each."""
    rates = []
    for part in parts.values():
        kept = [i["passed"] / i["judged"] for i in part["per_item"] if i["judged"]]
        rates.append(np.array(kept, np.float64))
    if not rates or any(not r.size for r in rates):
        return {"student_mean": None, "student_mean_interval": None}
    draws = np.zeros(resamples_for(max(r.size for r in rates)))
    for seed, values in enumerate(rates, 1):
        draws += bootstrap_sums(values[:, None], draws.size, seed)[:, 0] / values.size / len(rates)
    flat = all(np.all(r == r[0]) for r in rates)
    interval = rate_interval(np.concatenate(rates)) if flat else percentile_interval(draws)
    return {"student_mean": float(np.mean([r.mean() for r in rates])), "student_mean_interval": interval}
