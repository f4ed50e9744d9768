"""`stillhouse plan`: ask a small stratified pilot, then forecast dollars, tokens, hours and verified rows.

In: a recipe. Out: forecast.json in the run folder, with 90 % intervals. The pilot is kept: the run reuses its replies,
and when it has ended, the report says whether the forecast held.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stillhouse.pipeline import Outcome, Sitting, open_recipe
from stillhouse.records import UserMistake
from stillhouse.stats.forecast import forecast_total
from stillhouse.store.index import load_index
from stillhouse.store.run import Run
from stillhouse.store.segments import replaced
from stillhouse.store.tables import read_table, table_files

PILOT = 100  # queries, where the user names no number
SMALLEST = 5  # queries of a category in a pilot, as far as it has them
MEASURES = ("cost_usd", "tokens", "verified", "replies")


def plan(recipe: Path, out: Path | None, *, pilot: int | None = None, quiet: bool = False) -> Outcome:
    """Curate, ask the pilot, forecast. Exit code as of a run; 2 for a pilot that no forecast can be made from."""
    if pilot is not None and pilot < 2:
        raise UserMistake(f"--pilot {pilot}: a pilot needs at least 2 queries")
    with open_recipe(recipe, out, quiet=quiet) as sitting:
        sitting.stage("curate")
        categories = read_table(table_files(sitting.run.queries, "kept"), ["category"])["category"].to_pylist()
        wanted = stratified(categories, pilot or PILOT)
        sitting.pilot(wanted)
        forecast = make_forecast(sitting, categories, wanted)
        _keep(sitting.run, forecast)
    sitting.outcome.stages["plan"] = forecast
    sitting.outcome.told += told(forecast)
    sitting.outcome.waits.clear()  # what a pilot leaves unasked is not waiting
    if sitting.outcome.exit_code == 4:
        sitting.outcome.exit_code = 0
    return sitting.outcome


def stratified(categories: Sequence[str], size: int) -> list[int]:
    """Positions of a pilot: every category by its share, at least a few of each. Kept queries stand in the order of
    their hashes, so the first of each category are a random sample, and a larger pilot contains a smaller one."""
    places: dict[str, list[int]] = {}
    for position, category in enumerate(categories):
        places.setdefault(category, []).append(position)
    wanted: list[int] = []
    for found in places.values():
        share = max(SMALLEST, round(size * len(found) / len(categories)))
        wanted += found[:share]
    return sorted(wanted)


def make_forecast(sitting: Sitting, categories: Sequence[str], wanted: Sequence[int]) -> dict[str, Any]:
    """Per teacher and in total, each with its 90 % interval; null where the pilot cannot say."""
    table = pq.read_table(sitting.run.verdicts / "pairs.parquet")
    rng = np.random.default_rng(1)
    strata = np.array(categories, object)
    teachers: dict[str, Any] = {}
    draws: dict[str, list[NDArray[Any]]] = {}
    for spec in sitting.parts.teachers:
        mine = table.filter(np.array(table["teacher"].to_pylist(), object) == spec.name)
        values = _values(mine, wanted)
        made: dict[str, Any] = {"pilot_queries": len(wanted)}
        for measure, seen in values.items():
            if seen is None:
                made[measure] = None
                continue
            whole, low, high, drawn = forecast_total(seen, strata[list(wanted)], strata, rng)
            made[measure] = {"expected": whole, "low": low, "high": high}
            draws.setdefault(measure, []).append(drawn)
        made["verified_yield"] = _scaled(made["verified"], 1 / len(categories))
        made |= _hours(sitting.run, spec.name, made["tokens"])
        teachers[spec.name] = made
    total: dict[str, Any] = {}
    for measure, each in draws.items():
        if len(each) == len(teachers):
            sums = np.sum(each, axis=0)
            expected = sum(t[measure]["expected"] for t in teachers.values())
            total[measure] = {
                "expected": expected,
                "low": float(np.quantile(sums, 0.05)),
                "high": float(np.quantile(sums, 0.95)),
            }
    hours = [t["hours"]["expected"] for t in teachers.values() if t["hours"]]
    total["hours"] = max(hours) if hours else None
    return {
        "queries": len(categories),
        "pilot": len(wanted),
        "teachers": teachers,
        "total": total,
        "budget": _budget(sitting),
    }


def _values(mine: Any, wanted: Sequence[int]) -> dict[str, NDArray[Any] | None]:
    """What each pilot query came to: one value a query, in the order of `wanted`."""
    part = mine.take(list(wanted))
    cost = part["cost_usd"].to_pylist()
    return {
        "cost_usd": None if any(c is None for c in cost) else np.array(cost, float),
        "tokens": part["completion_tokens"].to_numpy().astype(float),
        "verified": np.array([s in ("verified", "unverified") for s in part["state"].to_pylist()], float),
        "replies": part["responses"].to_numpy().astype(float),
    }


def _hours(run: Run, teacher: str, tokens: Mapping[str, float] | None) -> dict[str, Any]:
    """Hours at the throughput that the pilot had: a pilot that did not fill the endpoint overstates them."""
    index = load_index(run.journals)
    rows = index.rows(teacher=teacher) if teacher in index.teachers else np.empty(0, np.int64)
    if tokens is None or len(rows) < 2:
        return {"tokens_per_second": None, "hours": None}
    span = float(index.created[rows].max() - index.created[rows].min())
    rate = float(index.completion_tokens[rows].sum()) / span if span > 0 else 0.0
    return {"tokens_per_second": rate or None, "hours": _scaled(tokens, 1 / rate / 3600) if rate else None}


def _scaled(value: Mapping[str, float] | None, factor: float) -> dict[str, float] | None:
    return None if value is None else {name: number * factor for name, number in value.items()}


def _budget(sitting: Sitting) -> dict[str, Any]:
    """Which budget would keep max_in_flight busy: what is reserved for requests in flight must fit into it."""
    out: dict[str, Any] = {"budget_usd": sitting.recipe.distill.budget_usd}
    for spec in sitting.parts.teachers:
        bound = spec.price.bound(4096, spec.max_tokens) if spec.price else None
        out[spec.name] = None if bound is None else {"reserved_in_flight_usd": bound * spec.max_in_flight}
    return out


def _keep(run: Run, forecast: Mapping[str, Any]) -> None:
    with replaced(run.folder / "forecast.json") as temporary:
        temporary.write_text(json.dumps(forecast, indent=1) + "\n", encoding="utf-8")


def told(forecast: Mapping[str, Any]) -> list[str]:
    """The forecast in lines."""

    def span(value: Any, form: str) -> str:
        if not value:
            return "not known"
        return f"{form.format(value['expected'])} ({form.format(value['low'])} to {form.format(value['high'])})"

    lines = [f"forecast for {forecast['queries']} queries from a pilot of {forecast['pilot']}, with 90 % intervals"]
    for name, made in {**forecast["teachers"], "all": forecast["total"]}.items():
        lines.append(
            f"  {name}: {span(made.get('cost_usd'), '${:,.2f}')}, {span(made.get('tokens'), '{:,.0f}')} tokens, "
            f"{span(made.get('verified'), '{:,.0f}')} verified rows"
        )
        if isinstance(made.get("hours"), dict):
            lines.append(
                f"    {span(made['hours'], '{:.2f}')} hours at the pilot's {made['tokens_per_second']:,.0f} tokens/s"
            )
    return lines
