"""The decision: one sentence with its uncertainty, on the measure that the recipe fixed beforehand.

In: the sections and pairs of report.json, evaluations of students where there are any. Out: report.json's
`decision`. Data alone never say which teacher to distil from: they lead, equal, or cannot tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillhouse.stages.compare_pairs import Row, find

UNTIL = "which teaches better is not known until students are trained"
FIELD = {"verified_yield": "verified_yield", "cost_per_verified": "cost_per_verified_usd", "pass_at_1": "pass_at_1"}
LESS_IS_MORE = ("cost_per_verified",)


def choose_measure(sections: Mapping[str, Mapping[str, Any]], decide_by: str | None, students: bool) -> str | None:
    """The measure of the decision; what the recipe fixed where it is known, else the default order of DESIGN rule 5."""
    if students and decide_by in (None, "student_mean"):
        return "student_mean"
    priced = bool(sections) and all(part["cost_per_verified_usd"] is not None for part in sections.values())
    default = "cost_per_verified" if priced else "verified_yield"
    wanted = default if decide_by in (None, "student_mean") else decide_by
    if wanted == "cost_per_verified" and not priced:
        wanted = "verified_yield"
    known = all(part.get(FIELD.get(wanted or "", "")) is not None for part in sections.values())
    return wanted if sections and known else None


def decide(
    sections: Mapping[str, Mapping[str, Any]],
    pairs: Sequence[Row],
    measure: str | None,
    *,
    basis: str = "data",
    values: Mapping[str, float] | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """report.json's `decision`. values: the measure of each teacher, where it is not a figure of the sections."""
    teachers = list(sections)
    base = {"basis": basis, "teacher": None, "measure": measure, "queries_needed": None}
    if len(teachers) < 2:
        only = f"Only {teachers[0]} was asked" if teachers else "No teacher was asked"
        return base | {"sentence": f"{only}: there is nothing to compare."}
    if measure is None:
        return base | {"sentence": _no_measure(pairs, teachers)}
    at = values or {name: part[FIELD[measure]] for name, part in sections.items()}
    order = sorted(teachers, key=lambda name: at[name], reverse=measure not in LESS_IS_MORE)
    leader, rest = order[0], order[1:]
    said = {other: _said(pairs, leader, other, measure) for other in rest}
    beaten = [other for other in rest if said[other] == "ahead"]
    tail = f"; {UNTIL}." if basis == "data" else "."
    notes_text = "".join(f" {note}" for note in notes)
    if len(beaten) == len(rest):
        return base | {
            "teacher": leader,
            "sentence": _ahead(pairs, leader, rest[0], measure, at, len(rest), basis) + tail + notes_text,
        }
    if all(word == "equal" for word in said.values()):
        text = f"{_names(order)} are equal within the margin in {NOUN[measure]} ({_figures(order, measure, at)})"
        return base | {"sentence": text + tail + notes_text}
    open_teachers = [leader] + [other for other in rest if said[other] != "ahead"]
    return base | _cannot_tell(pairs, open_teachers, beaten, measure, at, tail + notes_text)


NOUN = {
    "verified_yield": "verified yield",
    "cost_per_verified": "dollars per verified row",
    "pass_at_1": "pass@1",
    "student_mean": "students' mean score",
    "length_parallel": "mean length",
    "length": "mean length of first attempts",
}


def _said(pairs: Sequence[Row], leader: str, other: str, measure: str) -> str:
    found = find(pairs, leader, other, measure)
    if found is None:
        return "cannot_tell"
    row, sign = found
    if row["outcome"] in ("equal", "cannot_tell"):
        return str(row["outcome"])
    return "ahead" if row["outcome"] == ("a" if sign == 1 else "b") else "behind"


def _ahead(
    pairs: Sequence[Row], leader: str, next_one: str, measure: str, at: Mapping[str, float], others: int, basis: str
) -> str:
    found = find(pairs, leader, next_one, measure)
    assert found is not None  # noqa: S101  a teacher that is ahead has been compared
    row, sign = found
    who = f"{next_one}" if others == 1 else f"{next_one}, the next of {others}"
    if measure == "cost_per_verified":
        more, low, high = _more_per_dollar(row, sign)
        return f"{leader} verifies {more} more rows per dollar than {who} (95 % interval {low} to {high})"
    gap, low, high = _points(row, sign)
    if measure == "student_mean" and basis == "students":
        head = f"Distil from {leader}: its student scores {100 * at[leader]:.1f} % on average"
        return f"{head}, {gap} points more than that of {who} (95 % interval {low} to {high})"
    verb = "verifies" if measure == "verified_yield" else "passes at the first attempt"
    text = f"{leader} {verb} {100 * at[leader]:.1f} % of its queries, {gap} points more than {who}"
    return f"{text} (95 % interval {low} to {high})"


def _points(row: Row, sign: int) -> tuple[str, str, str]:
    low, high = sorted((sign * row["low"], sign * row["high"]))
    return f"{100 * sign * row['difference']:.1f}", f"{100 * low:.1f}", f"{100 * high:.1f}"


def _more_per_dollar(row: Row, sign: int) -> tuple[str, str, str]:
    """Rows per dollar of the cheaper against the dearer: the inverse of the ratio of costs."""

    def share(cost_ratio: float | None) -> str:
        if cost_ratio is None or cost_ratio <= 0:
            return "any"
        gain = (1 / cost_ratio if sign == 1 else cost_ratio) - 1
        return f"{100 * gain:.0f} %" if abs(gain) < 10 else f"{gain + 1:.0f}-fold"

    ends = (row["ratio_high"], row["ratio_low"]) if sign == 1 else (row["ratio_low"], row["ratio_high"])
    return share(row["ratio"]), share(ends[0]), share(ends[1])


def _cannot_tell(
    pairs: Sequence[Row],
    open_teachers: Sequence[str],
    beaten: Sequence[str],
    measure: str,
    at: Mapping[str, float],
    tail: str,
) -> dict[str, Any]:
    leader, others = open_teachers[0], open_teachers[1:]
    needs: list[int] = []
    compared = 0
    for other in others:
        found = find(pairs, leader, other, measure)
        if found is not None:
            compared = max(compared, found[0]["n"])
            needs += [found[0]["queries_needed"]] if found[0]["queries_needed"] else []
    needed = max(needs) if needs else None
    text = f"Cannot tell yet whether {_names(open_teachers, 'or')} is ahead in {NOUN[measure]}"
    text += f" ({_figures(open_teachers, measure, at)}; {compared:,} queries compared)"
    if beaten:
        text += f"; both are ahead of {_names(beaten)}" if len(open_teachers) == 2 else f"; behind: {_names(beaten)}"
    if needed:
        text += f"; about {_rounded(needed):,} queries would decide if the difference stays what it is"
    return {"sentence": text + tail, "queries_needed": needed}


def _figures(names: Sequence[str], measure: str, at: Mapping[str, float]) -> str:
    def one(value: float) -> str:
        return _dollars(1000 * value) if measure == "cost_per_verified" else f"{100 * value:.1f} %"

    told = ", ".join(f"{name} {one(at[name])}" for name in names)
    return f"{told} per 1,000" if measure == "cost_per_verified" else told


def _dollars(value: float) -> str:
    return f"${value:,.2f}" if value >= 0.1 else f"${value:.2g}"


def _names(names: Sequence[str], word: str = "and") -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" {word} {names[-1]}"


def _rounded(number: int) -> int:
    """Two leading digits: a forecast from one sample has no more."""
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
    row = max(told, key=lambda r: abs(r["ratio"] - 1))
    longer, shorter = (row["a"], row["b"]) if row["outcome"] == "a" else (row["b"], row["a"])
    more = (row["ratio"] if row["outcome"] == "a" else 1 / row["ratio"]) - 1
    return (
        f"Over {row['n']:,} shared queries the answers of {longer} are {100 * more:.0f} % longer than those of {shorter}; "
        f"yield and cost are not known, as these datasets hold only what was accepted; {UNTIL}."
    )
