"""Any population, however empty or odd, gives a report of finite figures that add up and a decision in words."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from stillhouse.comparing.population import STATES, Population, Side
from stillhouse.records import Part, Price, TeacherSpec
from stillhouse.stages.compare import describe


def made(seed: int) -> Population:
    random = np.random.default_rng(seed)
    size, names = int(random.choice([0, 1, 2, 3, 17, 50])), ("code", "math", "other")[: int(random.integers(1, 4))]
    sides = {f"t{place}": side(random, size) for place in range(int(random.integers(1, 5)))}
    codes = random.integers(0, len(names), size).astype(np.int16)
    return Population(np.arange(size).astype("S16"), codes, names, sides, selected=bool(random.random() < 0.2))


def side(random: np.random.Generator, size: int) -> Side:
    out = Side.blank(size)
    out.state[:] = random.choice([-1, *range(len(STATES))], size, p=random.dirichlet(np.ones(7) * 0.4))
    out.first[:] = np.where(out.state >= 0, random.integers(-1, 2, size), -1)
    out.first_tokens[:] = np.where(random.random(size) < 0.2, np.nan, random.lognormal(3, 1, size).round())
    out.cost[:] = np.nan if random.random() < 0.3 else random.lognormal(0, 1, size) * (random.random() > 0.1)
    out.responses[:] = out.attempts[:] = (out.state >= 0) * random.integers(0, 4, size)
    out.passed_at[:] = np.where(out.state == 0, np.maximum(out.attempts, 1), 0)
    out.kept[:] = np.isin(out.state, (0, 1)) & (random.random(size) < 0.9)
    out.tokens[:] = np.where(out.kept & (random.random(size) < 0.9), random.lognormal(3, 1, size).round(), np.nan)
    out.perplexity[:] = np.where(out.kept & (random.random(size) < 0.5), 1 + random.random(size), np.nan)
    return out


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize("decide_by", [None, "pass_at_1"])
def test_figures_are_finite_and_add_up(seed: int, decide_by: str | None) -> None:
    population = made(seed)
    specs = [TeacherSpec(name, Part("made:teacher"), price=Price(1, 1)) for name in population.sides]
    found: dict[str, Any] = describe(population, specs, decide_by=decide_by, margin=None, seed=1, sampled=seed % 3 == 0)
    json.dumps(found, allow_nan=False)
    for part in found["teachers"].values():
        for section in (part, *part["categories"].values()):
            assert population.selected or section["queries"] == sum(section[state] for state in STATES)
            assert section["kept"] or (section["tokens"] is None and section["perplexity"] is None)
    for row in found["pairs"] + found["exploratory"]:
        assert row["low"] is None or row["low"] <= row["difference"] + 1e-9 <= row["high"] + 2e-9
        assert row["p"] is None or row["p"] <= row["holm_p"] + 1e-12 <= 1 + 2e-12
    assert found["decision"]["sentence"]
    assert found["decision"]["basis"] == "data" and "istil from" not in found["decision"]["sentence"]
