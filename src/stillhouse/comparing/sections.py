"""What report.json says of one teacher, over all queries or within a category.

In: a Population, a mask of queries. Out: plain dicts with the keys that scripts rely on, null for every empty
population, and further keys under their own names (intervals, boxes, histograms).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from stillhouse.comparing.population import STATES, Bools, Floats, Population, Side
from stillhouse.stats import boxes, means, rates

MOST_K = 16


def section(population: Population, side: Side, within: Bools, *, seed: int, sampled: bool) -> dict[str, Any]:
    """One teacher's figures over the queries of the mask. sampled: tokens were counted for some queries only."""
    asked = side.asked & within
    states = {name: int((side.in_state(name) & within).sum()) for name in STATES}
    kept = side.kept & within
    tokens = side.tokens[kept & ~np.isnan(side.tokens)]
    perplexity = side.perplexity[kept & ~np.isnan(side.perplexity)]
    cost = money(side, within)
    verified = states["verified"]
    decided = int((side.decided & within).sum())
    judged = (side.first >= 0) & within
    unselected = not population.selected
    out: dict[str, Any] = {
        "queries": int(asked.sum()),
        "responses": int(side.responses[within].sum()),
        **states,
        "kept": int(kept.sum()),
        "unknown": int(side.unknown[within].sum()) if unselected else None,
        "verified_yield": verified / decided if unselected and decided else None,
        "pass_at_1": float(side.first[judged].mean()) if judged.any() else None,
        "tokens": token_summary(tokens, int(kept.sum()), sampled),
        "perplexity": boxes.summary(perplexity),
        "cost_usd": cost,
        "cost_per_verified_usd": cost / verified if cost is not None and verified else None,
    }
    if not unselected:
        out |= dict.fromkeys(("exhausted", "waiting", "undecided", "too_long", "unverified"))
    return out | _lengths(population, side, within, seed) | (_chances(side, within, out, seed) if unselected else {})


def _lengths(population: Population, side: Side, within: Bools, seed: int) -> dict[str, Any]:
    """Boxes and histograms, each named for what it is of: kept replies, those of the parallel set (what students
    see), and first attempts (unselected)."""
    kept = side.kept & within
    tokens = side.tokens[kept & ~np.isnan(side.tokens)]
    perplexity = side.perplexity[kept & ~np.isnan(side.perplexity)]
    shared = population.parallel & within
    parallel = side.tokens[shared & ~np.isnan(side.tokens)]
    first = side.first_tokens[within & side.asked & ~np.isnan(side.first_tokens)]
    return {
        "parallel": int(shared.sum()),
        "token_box": boxes.box(tokens),
        "token_histogram": boxes.token_histogram(tokens) if tokens.size else None,
        "tokens_mean_interval": means.mean_interval(tokens, seed=seed),
        "perplexity_box": boxes.box(perplexity),
        "parallel_tokens": boxes.summary(parallel),
        "parallel_token_box": boxes.box(parallel),
        "parallel_token_histogram": boxes.token_histogram(parallel) if parallel.size else None,
        "parallel_tokens_mean_interval": means.mean_interval(parallel, seed=seed),
        "parallel_perplexity": boxes.summary(side.perplexity[shared & ~np.isnan(side.perplexity)]),
        "first_tokens": boxes.summary(first),
        "first_token_box": boxes.box(first),
        "first_token_histogram": boxes.token_histogram(first) if first.size else None,
        "first_tokens_mean_interval": means.mean_interval(first, seed=seed),
    }


def _chances(side: Side, within: Bools, figures: dict[str, Any], seed: int) -> dict[str, Any]:
    """Rates, attempts and money: what is known only where the failures are."""
    judged = (side.first >= 0) & within
    decided = side.decided & within
    verified = side.in_state("verified") & within
    attempts = side.attempts[within & side.asked & (side.attempts > 0)]
    cost = side.cost[within & side.asked]
    priced = figures["cost_usd"] is not None
    return {
        "pass_at_1_interval": rates.wilson(int(side.first[judged].sum()), int(judged.sum())),
        "pass_at_1_bounds": first_bounds(side, within),
        "verified_yield_interval": rates.wilson(int(verified.sum()), int(decided.sum())),
        "verified_yield_bounds": yield_bounds(side, within),
        "pass_at_k": pass_at_k(side, within),
        "attempts": boxes.summary(attempts.astype(np.float64)),
        "attempts_histogram": [int(n) for n in np.bincount(attempts)[1:]] if attempts.size else None,
        "prompt_tokens": int(side.prompt_tokens[within].sum()),
        "completion_tokens": int(side.completion_tokens[within].sum()),
        "cost_box": boxes.box(cost) if priced and cost.size else None,
        "cost_per_verified_interval": means.ratio_interval(cost, verified[within & side.asked].astype(float), seed=seed)
        if priced and verified.any()
        else None,
    }


def add_shares(categories: Mapping[str, dict[str, Any]]) -> None:
    """Put onto each category its share of the teacher's kept replies and of their tokens; None where there are none."""
    counts = boxes.shares({name: part["kept"] for name, part in categories.items()})
    tokens = boxes.shares({name: (part["tokens"] or {}).get("total", 0) for name, part in categories.items()})
    for name, part in categories.items():
        part |= {"share": counts[name], "token_share": tokens[name]}


def money(side: Side, within: Bools) -> float | None:
    """All dollars of the teacher's pairs, judges included; None where nothing was asked or a price is missing."""
    cost = side.cost[within & side.asked]
    return float(cost.sum()) if cost.size and not np.isnan(cost).any() else None


def token_summary(tokens: Floats, kept: int, sampled: bool) -> dict[str, Any] | None:
    """total, mean, median, q1, q3 over kept responses; from a sample the total is the mean times all kept."""
    figures = boxes.summary(tokens)
    if figures is None:
        return None
    whole = float(round(figures["mean"] * kept)) if sampled else figures["total"]
    return figures | {"total": int(whole)}


def pass_at_k(side: Side, within: Bools) -> list[float] | None:
    """Share of decided queries solved within 1, 2, ... attempts; None for an empty population."""
    decided = side.decided & within
    if not decided.any():
        return None
    deepest = int(min(MOST_K, max(side.attempts[decided].max(), side.passed_at[decided].max(), 1)))
    solved = side.passed_at[decided & side.in_state("verified")]
    return [float((solved <= k).sum() / decided.sum()) for k in range(1, deepest + 1)]


def yield_bounds(side: Side, within: Bools) -> tuple[float, float] | None:
    """The yield if everything that waits, is undecided or unverified failed, and if all of it passed."""
    asked = int((side.asked & within).sum())
    if not asked:
        return None
    verified = int((side.in_state("verified") & within).sum())
    open_pairs = int((side.open & within).sum())
    return verified / asked, (verified + open_pairs) / asked


def first_bounds(side: Side, within: Bools) -> tuple[float, float] | None:
    """pass@1 if every first attempt without a verdict failed, and if each passed."""
    asked = int((side.asked & within).sum())
    if not asked:
        return None
    passed = int(((side.first == 1) & within).sum())
    open_pairs = int(((side.first < 0) & side.asked & within).sum())
    return passed / asked, (passed + open_pairs) / asked
