"""Instruction following: the 25 constraints of IFEval, strict, on the answer part of a reply.

In: a query with `instruction_constrain` (`instruction_id_list`, `kwargs`) and a response. Out: passed of all as the
score; strict selects, loose is a detail. Pure, deterministic, no download. An unknown id never passes or stops a run:
it is rejected in curate (`unknown_constraint`) and unknown here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stillhouse.records import Ask, Query, Response, Verdict
from stillhouse.verifiers.ifeval_rules import RULES, Kwargs, Rule, read_kwargs
from stillhouse.verifiers.ifeval_synthesis import ask_constraints, read_constraints

RULE = "ifeval"


class IFEval:
    """Verifier of the category `if`.

    loose: also judge the loose variants, into detail["loose"]. judge: a query without constraints gets them from the
    recipe's judge `constraints`, the same for every teacher, since the question depends on the query alone.
    """

    version = "ifeval-1"
    deadline = 5.0

    def __init__(self, loose: bool = True, judge: bool = False) -> None:
        self.loose, self.judge = loose, judge

    def check(self, query: Query) -> Verdict:
        """Fails with rule no_reference, unknown_constraint, bad_constraint or contradiction, and the reason."""
        ids, kwargs = constraints(query)
        if not ids and self.judge:
            return Verdict("pass", None, RULE, "a judge will supply the constraints")
        if not ids:
            return Verdict("fail", None, "no_reference", "the query has no instruction constraints")
        unknown = [name for name in ids if name not in RULES]
        if unknown:
            return Verdict("fail", None, "unknown_constraint", f"unknown: {', '.join(map(str, unknown))}")
        bad = [reason for name, given in zip(ids, kwargs, strict=True) if (reason := _wrong_kwargs(name, given))]
        if bad:
            return Verdict("fail", None, "bad_constraint", "; ".join(bad))
        against = contradiction(ids, kwargs)
        if against:
            return Verdict("fail", None, "contradiction", against)
        return Verdict("pass", None, RULE, f"{len(ids)} constraints", detail={"constraints": list(ids)})

    def __call__(self, query: Query, response: Response) -> Verdict | Ask:
        ids, kwargs = constraints(query)
        if not ids and self.judge:
            return ask_constraints(query)
        checked = self.check(query)
        if checked.outcome != "pass" and checked.rule != "contradiction":
            return Verdict.unknown(checked.rule, checked.reason)
        return self._judged(ids, kwargs, response.answer)

    def settle(self, query: Query, response: Response, reply: Response) -> Verdict | Ask:
        """The verdict by the constraints that the judge read off the query, or the question again."""
        found = read_constraints(query, reply)
        if isinstance(found, Ask):
            return found
        ids, kwargs = found["instruction_id_list"], found["kwargs"]
        against = contradiction(ids, kwargs)
        if not ids or against:
            return Verdict.unknown("no_reference", against or "the judge finds no constraint in the query")
        return self._judged(ids, kwargs, response.answer, synthesised=dict(found))

    def _judged(self, ids: Sequence[str], kwargs: Sequence[Mapping[str, Any]], answer: str, **detail: Any) -> Verdict:
        rules = [(RULES[name], read_kwargs(RULES[name], given)) for name, given in zip(ids, kwargs, strict=True)]
        reasons = [judge(rule, given, answer) for rule, given in rules]
        failed = [f"{name}: {reason}" for name, reason in zip(ids, reasons, strict=True) if reason is not None]
        detail["strict"] = [reason is None for reason in reasons]
        if self.loose:
            kept = [reason is None or holds_loosely(*rule, answer) for rule, reason in zip(rules, reasons, strict=True)]
            detail["loose"], detail["loose_passed"] = kept, sum(kept)
        return Verdict.of(len(ids) - len(failed), len(ids), RULE, "; ".join(failed), **detail)


def constraints(query: Query) -> tuple[tuple[str, ...], tuple[Mapping[str, Any], ...]]:
    """The ids and the kwargs of each, nulls as empty, as many as there are ids."""
    given = query.instruction_constrain or {}
    ids = given.get("instruction_id_list")
    listed = [ids] if isinstance(ids, str) else ids if isinstance(ids, list | tuple) else []
    names = tuple(str(name).strip() for name in listed)
    each = given.get("kwargs")
    kwargs = [item if isinstance(item, Mapping) else {} for item in each] if isinstance(each, Sequence) else []
    return names, tuple(kwargs[: len(names)] + [{}] * (len(names) - len(kwargs)))


def _wrong_kwargs(name: str, given: Mapping[str, Any]) -> str:
    try:
        read_kwargs(RULES[name], given)
    except ValueError as error:
        return f"{name}: {error}"
    return ""


def judge(rule: Rule, kwargs: Kwargs, answer: str) -> str | None:
    """None where the answer keeps to the rule, else why not; an empty answer keeps to none."""
    return rule.holds(answer, kwargs) if answer.strip() else "the answer is empty"


def holds_loosely(rule: Rule, kwargs: Kwargs, answer: str) -> bool:
    """The loose mode of IFEval, for an answer that fails: would it hold less a first or last line, or asterisks?"""
    others = dict.fromkeys(text for text in loose_variants(answer) if text.strip() and text != answer)
    return any(rule.holds(text, kwargs) is None for text in others)


def loose_variants(answer: str) -> Iterator[str]:
    """The eight texts of loose mode: all, less the first line, the last, both; each with and without asterisks."""
    lines = answer.split("\n")
    cuts = (answer, "\n".join(lines[1:]).strip(), "\n".join(lines[:-1]).strip(), "\n".join(lines[1:-1]).strip())
    for text in cuts:
        yield text
    for text in cuts:
        yield text.replace("*", "")


_EXCLUDING = (
    {"change_case:english_capital", "change_case:english_lowercase"},
    {"combination:repeat_prompt", "detectable_format:json_format"},
    {"combination:two_responses", "detectable_format:json_format"},
    {"detectable_format:json_format", "startend:quotation"},
)


def contradiction(ids: Sequence[str], kwargs: Sequence[Mapping[str, Any]]) -> str:
    """Which constraints no answer can keep together, or nothing."""
    for pair in _EXCLUDING:
        if pair <= set(ids):
            return f"no answer keeps {' and '.join(sorted(pair))}"
    by_id = dict(zip(ids, kwargs, strict=True))
    wanted = _words(by_id.get("keywords:existence", {}).get("keywords"))
    banned = _words(by_id.get("keywords:forbidden_words", {}).get("forbidden_words"))
    both = wanted & banned
    return f"wanted and forbidden: {', '.join(sorted(both))}" if both else ""


def _words(given: Any) -> set[str]:
    """Keywords as rules read them: one text is one keyword."""
    listed = [given] if isinstance(given, str) else given if isinstance(given, list | tuple) else []
    return {str(word).strip().casefold() for word in listed}
