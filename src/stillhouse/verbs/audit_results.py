"""What second opinions say of the verdicts: error rates, and yields corrected by them, per teacher and in all.

In: the sample, and opinions by response key. Out: JSON values, rates as shares, intervals as [low, high] (95 %); null
where there is nothing to say.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from stillhouse.stats.second_opinions import Errors, Rate, corrected, weighted_rate
from stillhouse.verbs.audit_sample import Looked, Sample, Standing, Stratum

Opinions = Mapping[str, bool]  # response key -> whether the answer is right
ALL = "all teachers"


def results(sample: Sample, opinions: Opinions, seed: int) -> dict[str, Any]:
    """{"teachers": [...], "rules": [...]}: the rows of the audit."""
    weights = _weights(sample.rows, opinions)
    teachers = [_teacher(name, [r for r in sample.rows if r.teacher == name], standing, opinions, weights, seed)
                for name, standing in sample.standings.items()]  # fmt: skip
    if len(teachers) > 1:
        whole = Standing(*(sum(getattr(s, f.name) for s in sample.standings.values()) for f in fields(Standing)))
        teachers.append(_teacher(ALL, sample.rows, whole, opinions, weights, seed))
    return {"teachers": teachers, "rules": _rules(sample, opinions, weights)}


def _weights(rows: Sequence[Looked], opinions: Opinions) -> dict[Stratum, float]:
    """How many verdicts each opinion of a stratum stands for."""
    given = Counter(row.stratum for row in rows if row.response in opinions)
    return {row.stratum: row.size / given[row.stratum] for row in rows if given[row.stratum]}


def _rate(
    rows: Iterable[Looked], opinions: Opinions, weights: Mapping[Stratum, float], *, right: bool
) -> tuple[Rate | None, int]:
    """The weighted share of rows that are right (or wrong), and of how many opinions."""
    looked = [row for row in rows if row.response in opinions]
    hits = [opinions[row.response] is right for row in looked]
    return weighted_rate(hits, [weights[row.stratum] for row in looked]), len(looked)


def _teacher(
    name: str, rows: Sequence[Looked], standing: Standing, opinions: Opinions, weights: Mapping[Stratum, float],
    seed: int,
) -> dict[str, Any]:  # fmt: skip
    by = {o: [row for row in rows if row.outcome == o] for o in ("pass", "fail", "unknown")}
    false_yes, n_yes = _rate(by["pass"], opinions, weights, right=False)
    false_no, n_no = _rate(by["fail"], opinions, weights, right=True)
    unknown, n_unknown = _rate(by["unknown"], opinions, weights, right=True)
    last_no, _ = _rate((row for row in by["fail"] if row.decides), opinions, weights, right=True)
    errors = Errors(standing.yes, standing.no, false_yes, false_no)
    power = errors.power()
    rests_no = standing.counted - standing.verified
    of_pairs = Errors(standing.verified, rests_no, false_yes, _diluted(last_no, standing.decided_no, rests_no))
    first = corrected(standing.passed_first, standing.judged_first, errors, seed=seed)
    return {
        "teacher": name, "n": n_yes + n_no + n_unknown,
        "yes": standing.yes, "yes_n": n_yes, **_told("false_yes", false_yes),
        "no": standing.no, "no_n": n_no, **_told("false_no", false_no),
        "unknown": standing.unknown, "unknown_n": n_unknown, **_told("unknown_right", unknown),
        "sensitivity": power and power[0], "specificity": power and power[1],
        "verified_yield": _share(standing.verified, standing.counted),
        **_told("corrected_yield", corrected(standing.verified, standing.counted, of_pairs, seed=seed)),
        "pass_at_1": _share(standing.passed_first, standing.first),
        **_told("corrected_pass_at_1", _scaled(first, standing.judged_first, standing.first)),
    }  # fmt: skip


def _diluted(rate: Rate | None, among: int, whole: int) -> Rate | None:
    """The share of right ones among `whole`, of which only `among` rest on a verifier's no: the others on their form,
    which is no opinion."""
    if whole and not among:
        return Rate(0.0, (0.0, 0.0), 1e12)
    if rate is None or not whole:
        return None
    share = among / whole
    return Rate(rate.value * share, (rate.interval[0] * share, rate.interval[1] * share), rate.effective / share)


def _scaled(rate: Rate | None, among: int, whole: int) -> Rate | None:
    """A rate among first attempts that were judged, as one among all of them: those out of form are wrong."""
    if rate is None or not whole:
        return None
    share = among / whole
    return Rate(rate.value * share, (rate.interval[0] * share, rate.interval[1] * share), float(whole))


def _told(name: str, rate: Rate | None) -> dict[str, Any]:
    return {name: rate and rate.value, f"{name}_interval": rate and list(rate.interval)}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _rules(sample: Sample, opinions: Opinions, weights: Mapping[Stratum, float]) -> list[dict[str, Any]]:
    """The same by the rule that decided, most verdicts first."""
    sizes: Counter[tuple[str, str]] = Counter()
    for (_, outcome, rule, _, _), size in sample.strata.items():
        sizes[rule, outcome] += size
    rows: dict[tuple[str, str], list[Looked]] = defaultdict(list)
    for row in sample.rows:
        rows[row.rule, row.outcome].append(row)
    told = []
    for (rule, outcome), size in sizes.most_common():
        rate, n = _rate(rows[rule, outcome], opinions, weights, right=outcome != "pass")
        name = "right" if outcome == "unknown" else "wrong"
        told.append({"rule": rule, "outcome": outcome, "verdicts": size, "n": n, **_told(name, rate)})
    return told
