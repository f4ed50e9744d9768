"""`stillhouse plan`: ask a small stratified pilot, then forecast dollars, tokens, hours and verified rows.

In: a recipe. Out: forecast.json in the run folder, with 90 % intervals. The pilot is kept: the run reuses its replies,
and when it has ended it says whether the forecast held (stages/distill_forecast.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stillhouse.asking.seats import GRACE
from stillhouse.distilling.forecast import CHECK, FORECAST, MEASURES, asked_for, values_of
from stillhouse.pipeline import Outcome, Sitting, open_recipe
from stillhouse.records import TeacherSpec, UserMistake
from stillhouse.sitting.gauges import dollars
from stillhouse.stats.forecast import forecast_total
from stillhouse.store.index import Index, load_index
from stillhouse.store.queries import QueryTable
from stillhouse.store.rows import INTENT
from stillhouse.store.segments import replaced
from stillhouse.store.tables import table_files
from stillhouse.store.throughput import throughput
from stillhouse.verbs.columns import aligned

PILOT = 100  # queries, where the user names no number
SMALLEST = 5  # queries of a category in a pilot, as far as it has them
LEAST = 2  # pilot queries at rest without which nothing is forecast of a teacher
Array = NDArray[Any]


def plan(recipe: Path, out: Path | None, *, pilot: int | None = None, quiet: bool = False) -> Outcome:
    """Curate, ask the pilot, forecast. Exit code as of a run: 4 where a part of the pilot waits for something."""
    if pilot is not None and pilot < LEAST:
        raise UserMistake(f"--pilot {pilot}: a pilot needs at least {LEAST} queries")
    with open_recipe(recipe, out, quiet=quiet) as sitting:
        sitting.stage("curate")
        table = QueryTable(table_files(sitting.run.queries, "kept"))
        if not len(table):
            raise UserMistake(f"{recipe}: curate kept no query, so there is nothing to plan: see 1-queries/rejected")
        wanted = stratified(table.categories, pilot or PILOT)
        sitting.pilot(wanted)
        forecast = make_forecast(sitting, table, wanted)
        with replaced(sitting.run.folder / FORECAST) as temporary:
            temporary.write_text(json.dumps(forecast, indent=1) + "\n", encoding="utf-8")
        (sitting.run.folder / CHECK).unlink(missing_ok=True)  # of an earlier forecast
    sitting.outcome.stages["plan"] = forecast
    sitting.outcome.told += told(forecast)
    if sitting.outcome.exit_code == 4 and not sitting.outcome.waits:
        sitting.outcome.exit_code = 0  # what a pilot leaves unasked is not waiting
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


def make_forecast(sitting: Sitting, table: QueryTable, wanted: Sequence[int]) -> dict[str, Any]:
    """Per teacher and in total, each with its 90 % interval; null where the pilot cannot say."""
    pairs = pq.read_table(sitting.run.verdicts / "pairs.parquet")
    index = load_index(sitting.run.journals)
    rng = np.random.default_rng(1)
    teachers: dict[str, Any] = {}
    draws: dict[str, dict[str, Array]] = {}
    for spec in sitting.parts.teachers:
        mine = pairs.filter(np.array(pairs["teacher"].to_pylist(), object) == spec.name)
        teachers[spec.name], draws[spec.name] = _teacher(spec, mine, table, wanted, rng)
        teachers[spec.name] |= _hours(index, spec, table, draws[spec.name], teachers[spec.name])
        teachers[spec.name]["reserve_usd"] = _reserve(index, spec)
        teachers[spec.name]["asked_for"] = asked_for(mine, spec, sitting.recipe.distill.attempts)
    return {
        "made": time.time(), "confidence": 0.9, "queries": len(table), "pilot": len(wanted), "teachers": teachers,
        "total": _total(teachers, draws, len(table)), "budget_usd": sitting.recipe.distill.budget_usd,
    }  # fmt: skip


def _teacher(
    spec: TeacherSpec, mine: Any, table: QueryTable, wanted: Sequence[int], rng: np.random.Generator
) -> tuple[dict[str, Any], dict[str, Array]]:
    """One teacher's forecast from those pilot queries that are at rest, and the draws behind it."""
    rested, values = values_of(mine, wanted)
    strata, everything = np.array(table.categories, object)[rested], np.array(table.categories, object)
    made: dict[str, Any] = {"pilot_queries": len(rested), "pilot_waiting": len(wanted) - len(rested)}
    draws: dict[str, Array] = {}
    for measure in MEASURES:
        seen = values[measure]
        if seen is None or len(rested) < LEAST:
            made[measure] = None
            continue
        expected, low, high, drawn = forecast_total(seen, strata, everything, rng)
        made[measure] = {"expected": expected, "low": low, "high": high}
        draws[measure] = drawn
    made["verified_yield"] = _scaled(made["verified"], 1 / len(table))
    cost, verified = made["cost_usd"], made["verified"]
    known = cost is not None and verified is not None and verified["expected"] > 0
    made["cost_per_verified_usd"] = cost["expected"] / verified["expected"] if known else None
    return made, draws


def _hours(
    index: Index, spec: TeacherSpec, table: QueryTable, draws: dict[str, Array], made: Mapping[str, Any]
) -> dict[str, Any]:
    """Hours at the throughput that the pilot had: a pilot that did not fill the endpoint overstates them."""
    seen = throughput(index, spec.name, table.keys)
    if seen is None or made["tokens"] is None or not seen.tokens:
        return {"throughput": None, "hours": None}
    told = {
        "tokens_per_second": seen.tokens_per_second, "in_flight": seen.in_flight,
        "max_in_flight": spec.max_in_flight * len(spec.endpoints),
    }  # fmt: skip
    draws["hours"] = draws["tokens"] / seen.tokens_per_second / 3600
    return {"throughput": told, "hours": _scaled(made["tokens"], 1 / seen.tokens_per_second / 3600)}


def _scaled(value: Mapping[str, float] | None, factor: float) -> dict[str, float] | None:
    return None if value is None else {name: number * factor for name, number in value.items()}


def _reserve(index: Index, spec: TeacherSpec) -> float | None:
    """Dollars that are reserved while max_in_flight is in flight: what a budget must hold beside what is spent."""
    if spec.price is None:
        return None
    if spec.price.per_hour is not None:
        return spec.price.per_hour * len(spec.endpoints) * (spec.timeout + GRACE) / 3600
    bounds = index.cost_usd[index.rows(kind=INTENT, teacher=spec.name)] if spec.name in index.teachers else np.empty(0)
    return float(np.nanmax(bounds)) * spec.max_in_flight * len(spec.endpoints) if len(bounds) else None


def _total(teachers: Mapping[str, Any], draws: Mapping[str, Mapping[str, Array]], queries: int) -> dict[str, Any]:
    """Sums over all teachers, null where one is not known; hours: of the slowest, as they are asked side by side."""
    total: dict[str, Any] = {}
    for measure in (*MEASURES, "hours"):
        each = [drawn[measure] for drawn in draws.values() if measure in drawn]
        if len(each) < len(teachers):
            total[measure] = None
            continue
        expected = [made[measure]["expected"] for made in teachers.values()]
        both = np.max(each, axis=0) if measure == "hours" else np.sum(each, axis=0)
        middle = max(expected) if measure == "hours" else sum(expected)
        low, high = float(np.quantile(both, 0.05)), float(np.quantile(both, 0.95))
        total[measure] = {"expected": middle, "low": min(low, middle), "high": max(high, middle)}
    total["verified_yield"] = _scaled(total["verified"], 1 / (queries * len(teachers)))
    return total


# -- telling it --------------------------------------------------------------------------------------------------

_FORMS: dict[str, Callable[[float], str]] = {
    "cost_usd": dollars, "tokens": "{:,.0f}".format, "verified": "{:,.0f}".format, "verified_yield": "{:.1%}".format,
    "hours": "{:,.3g}".format,
}  # fmt: skip


def told(forecast: Mapping[str, Any]) -> list[str]:
    """The forecast in lines."""
    rows = [["teacher", "dollars", "tokens", "verified rows", "yield", "$/verified", "hours"]]
    rows += [_row(name, made) for name, made in forecast["teachers"].items()]
    if len(forecast["teachers"]) > 1:
        rows.append(_row("all", forecast["total"]))
    lines = [
        f"forecast for {forecast['queries']:,} queries from a pilot of {forecast['pilot']:,}; "
        "in brackets 90 % intervals",
        *aligned(rows),
    ]
    for name, made in forecast["teachers"].items():
        lines += _notes(name, made)
    return lines + _budget(forecast)


def _row(name: str, made: Mapping[str, Any]) -> list[str]:
    price = made.get("cost_per_verified_usd")
    spans = {measure: _span(made.get(measure), form) for measure, form in _FORMS.items()}
    return [
        name, spans["cost_usd"], spans["tokens"], spans["verified"], spans["verified_yield"],
        "-" if price is None else f"${price:,.4f}", spans["hours"],
    ]  # fmt: skip


def _span(value: Mapping[str, float] | None, form: Callable[[float], str]) -> str:
    if not value:
        return "-"
    return f"{form(value['expected'])} [{form(value['low'])}, {form(value['high'])}]"


def _notes(name: str, made: Mapping[str, Any]) -> list[str]:
    lines = []
    if made["pilot_waiting"]:
        lines.append(
            f"  {name}: {made['pilot_waiting']} pilot queries wait and are left out: where those are the hard ones, "
            "its forecast is too good until they are at rest"
        )
    speed = made["throughput"]
    if speed:
        lines.append(
            f"  {name}: hours at the pilot's {speed['tokens_per_second']:,.0f} tokens/s, with "
            f"{speed['in_flight']:.1f} in flight on average; the run may have {speed['max_in_flight']:,}"
        )
    elif made["tokens"]:
        lines.append(f"  {name}: its throughput is not known, so its hours are not either")
    return lines


def _budget(forecast: Mapping[str, Any]) -> list[str]:
    """Whether the budget carries it, and which one would: the upper end, and what is reserved for what is in flight."""
    cost = forecast["total"]["cost_usd"]
    reserves = [made["reserve_usd"] for made in forecast["teachers"].values()]
    if cost is None or any(reserve is None for reserve in reserves):
        return []
    needed, given = cost["high"] + sum(reserves), forecast["budget_usd"]
    line = (
        f"a budget of {dollars(needed)} carries it with max_in_flight in flight to the end: the upper end, and "
        f"{dollars(sum(reserves))} that are reserved for what is in flight"
    )
    if given is None:
        return [line]
    if given >= needed:
        return [f"the budget of ${given:,.2f} carries it: {line}"]
    short = "may not be enough" if given >= cost["low"] else "will not be enough"
    return [f"the budget of ${given:,.2f} {short}: {line}"]
