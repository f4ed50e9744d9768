"""The paper's figures and tables as numbers: shares of instances and tokens, lengths, histograms, perplexities.

In: a Population. Out: report.json's `figures`, of kept replies, in the paper's categories: `multiturn` and `other` are
one there, "general chat". Boxes are Tukey's, bins of 1,024 tokens are right-closed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stillhouse.comparing.population import Bools, Population, Side
from stillhouse.comparing.sections import token_summary
from stillhouse.stats import boxes

GENERAL_CHAT = "general chat"
MERGED = {"multiturn": GENERAL_CHAT, "other": GENERAL_CHAT}


def figures(population: Population, *, sampled: bool) -> dict[str, Any]:
    """{"bins": labels, "teachers": {NAME: {"all" and each category: _figure}}}; categories by size, the largest first.

    sampled: tokens were counted for some queries only; totals are then the mean times the instances.
    """
    masks = _masks(population)
    return {
        "bins": boxes.bin_labels(),
        "categories": list(masks),
        "teachers": {name: _teacher(side, masks, sampled) for name, side in population.sides.items()},
    }


def _masks(population: Population) -> dict[str, Bools]:
    """Where each of the paper's categories is; those with the most queries first."""
    out: dict[str, Bools] = {}
    for code, name in enumerate(population.categories):
        mask = np.asarray(population.category == code, np.bool_)
        merged = MERGED.get(name, name)
        out[merged] = out[merged] | mask if merged in out else mask
    return dict(sorted(out.items(), key=lambda item: -int(item[1].sum())))


def _teacher(side: Side, masks: dict[str, Bools], sampled: bool) -> dict[str, Any]:
    parts = {name: _figure(side, mask, sampled) for name, mask in masks.items()}
    instances = boxes.shares({name: part["instances"] for name, part in parts.items()})
    tokens = boxes.shares({name: part["tokens"] or 0 for name, part in parts.items()})
    for name, part in parts.items():
        part |= {"instance_share": instances[name], "token_share": tokens[name]}
    return {"all": _figure(side, np.ones(side.kept.size, np.bool_), sampled), "categories": parts}


def _figure(side: Side, within: Bools, sampled: bool) -> dict[str, Any]:
    kept = side.kept & within
    lengths = side.tokens[kept & ~np.isnan(side.tokens)]
    perplexities = side.perplexity[kept & ~np.isnan(side.perplexity)]
    summary = token_summary(lengths, int(kept.sum()), sampled)
    return {
        "instances": int(kept.sum()),
        "tokens": None if summary is None else summary["total"],
        "mean_tokens": None if summary is None else summary["mean"],
        "token_box": boxes.box(lengths),
        "token_histogram": boxes.token_histogram(lengths) if lengths.size else None,
        "mean_perplexity": float(perplexities.mean()) if perplexities.size else None,
        "perplexity_box": boxes.box(perplexities),
    }
