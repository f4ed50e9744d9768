"""The decision: one sentence with its uncertainty, on the measure that the recipe fixed beforehand.

In: the sections and pairs of report.json, and the students' means where there are any. Out: report.json's `decision`.
Data alone never say which teacher to distil from: they lead, are equal, or cannot tell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillhouse.comparing.pairs import Row, find

UNTIL = "which teaches better is not known until students are trained"
FIELD = {"verified_yield": "verified_yield", "cost_per_verified": "cost_per_verified_usd", "pass_at_1": "pass_at_1"}
NOUN = {
    "verified_yield": "verified yield",
    "cost_per_verified": "dollars per verified row",
    "pass_at_1": "pass@1",
    "student_mean": "their students' mean score",
}
Sections = Mapping[str, Mapping[str, Any]]


def choose_measure(sections: Sections, decide_by: str | None, students: bool) -> str | None:
    """The measure of the decision: what the recipe fixed, else the students' mean, dollars, or the yield.

    Which of them it is hangs on what was set up (students, prices), never on what came out. None where nobody's
    attempts are known, as of datasets that exist already.
    """
    if students and decide_by in (None, "student_mean"):
        return "student_mean"
    asked = [part for part in sections.values() if part["queries"]]
    costs = [part["cost_usd"] for part in asked]
    priced = bool(costs) and all(cost is not None for cost in costs) and any(costs)
    wanted = decide_by if decide_by not in (None, "student_mean") else "cost_per_verified"
    if wanted == "cost_per_verified" and not priced:
        wanted = "verified_yield"
    known = any(part["verified_yield"] is not None for part in asked)
    return wanted if known else None


def values(sections: Sections, measure: str, students: Mapping[str, float]) -> dict[str, float]:
    """Each teacher's value, those left out of whom nothing is known. Who has paid and verified nothing pays without
    end for a verified row."""
    if measure == "student_mean":
        return dict(students)
    out: dict[str, float] = {}
    for name, part in sections.items():
        value = part.get(FIELD[measure])
        if value is None and measure == "cost_per_verified" and part["cost_usd"] and part["verified_yield"] == 0:
            value = math.inf
        if value is not None:
            out[name] = value
    return out


def waiting_notes(sections: Sections) -> list[str]:
    """A sentence where pairs wait: they stand in no denominator, so a yield of 100 % may be one of a few."""
    waits = {name: part["waiting"] for name, part in sections.items() if part.get("waiting")}
    if not waits:
        return []
    told = [f"{n:,} of the {sections[name]['queries']:,} pairs of {name}" for name, n in waits.items()]
    verb = "waits and counts" if list(waits.values()) == [1] else "wait and count"
    return [f"{_names(told)} {verb} neither way."]


def filtered_notes(sections: Sections) -> list[str]:
    """A sentence where the filters left nothing of what was verified: yields and costs are of before the filters."""
    empty = [name for name, part in sections.items() if part["verified"] and not part["kept"]]
    return [f"The filters dropped everything that {_names(empty)} verified: see the filter stage."] if empty else []


@dataclass(frozen=True)
class _Case:
    """What a sentence is made of. at: each teacher's value; order: teachers, the best first."""

    pairs: Sequence[Row]
    measure: str
    at: Mapping[str, float]
    order: Sequence[str]

    @property
    def leader(self) -> str:
        return self.order[0]

    def said(self, one: str, other: str) -> str:
        """ahead, behind, equal or cannot_tell: of one against another."""
        found = find(self.pairs, one, other, self.measure)
        if found is None:
            return "cannot_tell"
        row, sign = found
        if row["outcome"] in ("equal", "cannot_tell"):
            return str(row["outcome"])
        return "ahead" if row["outcome"] == ("a" if sign == 1 else "b") else "behind"

    def figures(self, names: Sequence[str]) -> str:
        if self.measure == "cost_per_verified":
            told = [_dollars(1000 * self.at[n]) if self.at[n] < math.inf else "nothing verified" for n in names]
            return ", ".join(f"{name} {one}" for name, one in zip(names, told, strict=True)) + " per 1,000"
        return ", ".join(f"{name} {100 * self.at[name]:.1f} %" for name in names)


def decide(
    sections: Sections,
    pairs: Sequence[Row],
    measure: str | None,
    *,
    students: Mapping[str, float] | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """report.json's `decision`. students: mean score of each teacher's student where they were evaluated. notes:
    sentences that it must not be read without."""
    students = students or {}
    by_students = measure == "student_mean"
    base = {
        "basis": "students" if by_students else "data", "teacher": None, "measure": measure, "queries_needed": None,
    }  # fmt: skip
    end = "".join(f" {note}" for note in (*waiting_notes(sections), *filtered_notes(sections), *notes))
    if sections and not any(part["queries"] for part in sections.values()):
        return base | {"sentence": f"Nobody was asked anything: no query came as far as the teachers.{end}"}
    if len(sections) < 2:
        only = f"Only {next(iter(sections))} was asked" if sections else "No teacher was asked"
        return base | {"sentence": f"{only}: there is nothing to compare.{end}"}
    if measure is None and any(part["waiting"] is not None for part in sections.values()):
        return base | {"sentence": f"Cannot tell yet: no pair of any teacher has a verdict; {UNTIL}.{end}"}
    if measure is None:
        return base | {"sentence": _no_measure(pairs, list(sections)) + end}
    at = values(sections, measure, students)
    absent = [name for name in sections if name not in at]
    if absent:
        end = f" Nothing is known yet of {_names(absent)}.{end}"
    if len(at) < 2:
        return base | {"sentence": f"Cannot tell yet who is ahead in {NOUN[measure]}.{end}"}
    order = sorted(at, key=lambda name: at[name], reverse=measure != "cost_per_verified")
    case = _Case(pairs, measure, at, order)
    until = "" if by_students else "; the students' scores stand beside it" if students else f"; {UNTIL}"
    end = f"{until}.{end}"
    beaten = [other for other in order[1:] if case.said(case.leader, other) == "ahead"]
    near = [other for other in order[1:] if other not in beaten]
    if not near:
        return base | {"teacher": case.leader, "sentence": _ahead(case) + end}
    if all(case.said(case.leader, other) == "equal" for other in near):
        names = [case.leader, *near]
        text = f"{_names(names)} are equal within the margin in {NOUN[measure]} ({case.figures(names)})"
        text += f"; {case.leader} is ahead of {_names(beaten)}" if beaten else ""
        return base | {"sentence": text + end}
    return base | _cannot_tell(case, near, beaten, end)


def _ahead(case: _Case) -> str:
    found = find(case.pairs, case.leader, case.order[1], case.measure)
    assert found is not None  # noqa: S101  a teacher that is ahead has been compared
    row, sign = found
    who = case.order[1] if len(case.order) == 2 else f"{case.order[1]}, the next of {len(case.order) - 1}"
    if case.at[case.order[1]] == math.inf:
        cost = _dollars(1000 * case.at[case.leader])
        return f"{case.leader} verifies 1,000 rows for {cost}, {case.order[1]} none for its money"
    if case.measure == "cost_per_verified":
        more, low, high = _more_per_dollar(row, sign)
        return f"{case.leader} verifies {more} more rows per dollar than {who} (95 % interval {low} to {high})"
    gap = f"{100 * sign * row['difference']:.1f} points more"
    interval = ""
    if row["low"] is not None:
        low_high = sorted((sign * row["low"], sign * row["high"]))
        interval = f" (95 % interval {100 * low_high[0]:.1f} to {100 * low_high[1]:.1f})"
    share = f"{100 * case.at[case.leader]:.1f} %"
    if case.measure == "student_mean":
        return f"Distil from {case.leader}: its student scores {share} on average, {gap} than that of {who}{interval}"
    verb = "verifies" if case.measure == "verified_yield" else "passes at the first attempt"
    return f"{case.leader} {verb} {share} of its queries, {gap} than {who}{interval}"


def _more_per_dollar(row: Row, sign: int) -> tuple[str, str, str]:
    """Rows per dollar of the cheaper against the dearer: the inverse of the ratio of costs."""

    def share(cost_ratio: float | None) -> str:
        if cost_ratio is None or cost_ratio <= 0:
            return "unknown"
        gain = (1 / cost_ratio if sign == 1 else cost_ratio) - 1
        return f"{100 * gain:.0f} %" if abs(gain) < 10 else f"{gain + 1:.0f} times"

    ends = (row["ratio_high"], row["ratio_low"]) if sign == 1 else (row["ratio_low"], row["ratio_high"])
    return share(row["ratio"]), share(ends[0]), share(ends[1])


def _cannot_tell(case: _Case, near: Sequence[str], beaten: Sequence[str], end: str) -> dict[str, Any]:
    rows = [found[0] for other in near if (found := find(case.pairs, case.leader, other, case.measure))]
    needs = [row["queries_needed"] for row in rows if row["queries_needed"]]
    needed = max(needs) if needs else None
    names = [case.leader, *near]
    items = "items" if case.measure == "student_mean" else "queries"
    text = f"Cannot tell yet which of {_names(names)} is ahead in {NOUN[case.measure]} ({case.figures(names)}"
    text += f"; {max((row['n'] for row in rows), default=0):,} {items} compared)"
    text += f"; {case.leader} is ahead of {_names(beaten)}" if beaten else ""
    if needed:
        text += f"; about {rounded(needed):,} {items} would decide if the difference stays what it is"
    return {"sentence": text + end, "queries_needed": needed}


def _dollars(value: float) -> str:
    return f"${value:,.2f}" if value >= 0.1 else f"${value:#.2g}"


def _names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" and {names[-1]}"


def rounded(number: int) -> int:
    """Two leading digits, upwards: a forecast from one sample has no more."""
    scale = int(10 ** max(0, len(str(number)) - 2))
    return -(-number // scale) * scale


def _no_measure(pairs: Sequence[Row], teachers: Sequence[str]) -> str:
    """Datasets that exist already: what can be said is how they differ in length, never which is better."""
    lengths = [row for row in pairs if row["measure"] == "length_parallel" and row["category"] is None]
    told = [row for row in lengths if row["outcome"] in ("a", "b") and row["ratio"]]
    if not lengths:
        return f"{_names(teachers)} share no queries that could be compared; {UNTIL}."
    if not told:
        word = "are equal in" if all(r["outcome"] == "equal" for r in lengths) else "cannot be told apart by"
        return f"{_names(teachers)} {word} mean length over {lengths[0]['n']:,} shared queries; {UNTIL}."
    row = max(told, key=lambda r: max(r["ratio"], 1 / r["ratio"]))
    longer, shorter = (row["a"], row["b"]) if row["outcome"] == "a" else (row["b"], row["a"])
    ratio = row["ratio"] if row["outcome"] == "a" else 1 / row["ratio"]
    more = f"{100 * (ratio - 1):.0f} % longer than" if ratio < 3 else f"{ratio:.1f} times as long as"
    most = "the largest difference in length: " if len(teachers) > 2 else ""
    return (
        f"Over {row['n']:,} shared queries {most}the answers of {longer} are {more} those of {shorter}; "
        f"yield and cost are not known, as these datasets hold only what was accepted; {UNTIL}."
    )
