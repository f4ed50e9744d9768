"""Whether the forecast of `stillhouse plan` held, told when distill has brought every pair to rest.

In: forecast.json of the run folder, `3-verdicts/pairs.parquet`, the journal's index. Out: forecast_check.json: each
measure with its interval and what it came to. A forecast for other queries or other settings is not compared.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stillhouse.records import TeacherSpec, content_hash
from stillhouse.sitting.gauges import dollars
from stillhouse.store.index import Index
from stillhouse.store.queries import QueryTable
from stillhouse.store.run import Run
from stillhouse.store.segments import replaced
from stillhouse.store.throughput import throughput

FORECAST, CHECK = "forecast.json", "forecast_check.json"
MEASURES = ("cost_usd", "tokens", "verified", "replies")
Array = NDArray[Any]


def values_of(mine: pa.Table, wanted: Sequence[int]) -> tuple[Array, dict[str, Array | None]]:
    """Of one teacher's rows of pairs.parquet, at these positions: those at rest, and what each of them came to."""
    part = mine.take(pa.array(list(wanted), pa.int64()))
    states = np.array(part["state"].to_pylist(), object)
    at_rest = states != "waiting"
    part = part.filter(pa.array(at_rest))
    cost = part["cost_usd"].to_pylist()
    return np.array(list(wanted), np.int64)[at_rest], {
        "cost_usd": None if any(c is None for c in cost) else np.array(cost, float),
        "tokens": part["completion_tokens"].to_numpy().astype(float),
        "verified": np.isin(states[at_rest], ("verified", "unverified")).astype(float),
        "replies": part["responses"].to_numpy().astype(float),
    }


def asked_for(mine: pa.Table, spec: TeacherSpec, attempts: int) -> str:
    """A hash of what a teacher is asked for: a forecast holds for this alone."""
    identities = sorted(set(mine["identity"].to_pylist()))
    return content_hash(*identities, str(attempts), str(spec.max_tokens))


def check_forecast(
    run: Run, table: QueryTable, index: Index, teachers: Sequence[TeacherSpec], attempts: int
) -> dict[str, Any] | None:
    """Compare and write; None where there is no forecast."""
    try:
        forecast = json.loads((run.folder / FORECAST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    pairs = pq.read_table(run.verdicts / "pairs.parquet")
    names = np.array(pairs["teacher"].to_pylist(), object)
    actual: dict[str, dict[str, float | None]] = {}
    why = "" if forecast["queries"] == len(table) else f"it was for {forecast['queries']:,} queries, not {len(table):,}"
    for spec in teachers:
        mine = pairs.filter(pa.array(names == spec.name))
        actual[spec.name] = _actual(mine, spec, table, index)
        told = forecast["teachers"].get(spec.name)
        if told is None or told["asked_for"] != asked_for(mine, spec, attempts):
            why = why or f"{spec.name} is asked otherwise than it was then"
    check = {"queries": forecast["queries"], "pilot": forecast["pilot"], "confidence": forecast["confidence"]}
    check |= {"comparable": not why, "why": why} | ({} if why else _compared(forecast, actual))
    check["sentence"] = f"the forecast cannot be checked: {why}" if why else _sentence(check)
    with replaced(run.folder / CHECK) as temporary:
        temporary.write_text(json.dumps(check, indent=1) + "\n", encoding="utf-8")
    return check


def _actual(mine: pa.Table, spec: TeacherSpec, table: QueryTable, index: Index) -> dict[str, float | None]:
    _, values = values_of(mine, range(len(mine)))
    sums = {measure: None if seen is None else float(seen.sum()) for measure, seen in values.items()}
    speed = throughput(index, spec.name, table.keys)
    return {**sums, "hours": None if speed is None else speed.busy_seconds / 3600}


def _compared(forecast: Mapping[str, Any], actual: Mapping[str, Mapping[str, float | None]]) -> dict[str, Any]:
    """Each measure with its interval, what it came to and whether that lies inside; held and of: counts of them."""
    teachers = {
        name: {measure: _one(forecast["teachers"][name].get(measure), came) for measure, came in sums.items()}
        for name, sums in actual.items()
    }
    total: dict[str, Any] = {}
    for measure in (*MEASURES, "hours"):
        each = [sums[measure] for sums in actual.values()]
        known = [came for came in each if came is not None]
        came = (max(known) if measure == "hours" else sum(known)) if len(known) == len(each) else None
        total[measure] = _one(forecast["total"].get(measure), came)
    judged = [one["held"] for facts in (*teachers.values(), total) for one in facts.values() if one is not None]
    return {"teachers": teachers, "total": total, "held": sum(judged), "of": len(judged)}


def _one(interval: Mapping[str, float] | None, came: float | None) -> dict[str, Any] | None:
    if interval is None or came is None:
        return None
    hair = 1e-9 * max(1.0, abs(came))
    return {**interval, "actual": came, "held": bool(interval["low"] - hair <= came <= interval["high"] + hair)}


_WORDS: dict[str, tuple[str, Callable[[float], str]]] = {
    "cost_usd": ("dollars", dollars), "tokens": ("tokens", "{:,.0f}".format),
    "verified": ("verified rows", "{:,.0f}".format), "replies": ("replies", "{:,.0f}".format),
    "hours": ("hours", "{:,.3g}".format),
}  # fmt: skip


def _sentence(check: Mapping[str, Any]) -> str:
    """What held and what did not, for the end of a run."""
    parts = [f"the forecast held in {check['held']} of {check['of']} intervals of {check['confidence']:.0%}"]
    for name, facts in {**check["teachers"], "all": check["total"]}.items():
        for measure, one in facts.items():
            if one is not None and not one["held"]:
                words, form = _WORDS[measure]
                low, high, came = (form(one[key]) for key in ("low", "high", "actual"))
                parts.append(f"{name}: {words} came to {came}, outside [{low}, {high}]")
    return "; ".join(parts)


def told(check: Mapping[str, Any]) -> list[str]:
    """The check as lines: of the whole run its measures, then what did not hold."""
    if not check["comparable"]:
        return [check["sentence"]]
    lines = []
    for measure, one in check["total"].items():
        if one is not None:
            words, form = _WORDS[measure]
            expected, low, high, came = (form(one[key]) for key in ("expected", "low", "high", "actual"))
            verdict = "held" if one["held"] else "did not hold"
            lines.append(f"  {words}: {came}; forecast {expected} [{low}, {high}]: {verdict}")
    return [check["sentence"], *lines]
