"""What lies under the figures, as HTML: funnel, rules, repetition, contamination, money, forecast, terms, recipe.

In: report.json and what stands beside it, the recipe's text. Out: HTML; "" where there is nothing to show. Every text
is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from stillhouse.reporting.svg import dollars, number, percent_tenth
from stillhouse.reporting.tables import DASH, Label, Report, columns, count, named, note, table, two_places, value
from stillhouse.reporting.text import isolated, spoken, visible, words

MOST_RULES = 30
LONGEST_RECIPE = 200_000


def funnel(report: Report) -> str:
    """One row a step, one column a teacher; what a step left out stands under it, by rule."""
    steps = report.get("funnel") or []
    names = list(report["teachers"])
    shared = [step for step in steps if not step["teacher"]]
    own = {name: [step for step in steps if step["teacher"] == name] for name in names}
    rows: list[list[str]] = []
    for step in shared[:-1]:
        rows.append([words(step["step"]), count(step["count"]), *[""] * len(names)])
        rows += [[_left(rule), _lost(number_), *[""] * len(names)] for rule, number_ in _by_size([step["lost"]])]
    for place, step in enumerate(own[names[0]] if names else []):
        mine = [own[name][place] for name in names]
        rows.append([words(step["step"]), "", *(count(one["count"]) for one in mine)])
        rows += [
            [_left(rule), "", *(_lost(one["lost"].get(rule, 0)) for one in mine)]
            for rule, _ in _by_size([one["lost"] for one in mine])
        ]
    rows += [[words(step["step"]), count(step["count"]), *[""] * len(names)] for step in shared[-1:]]
    if not rows or not names:
        return ""
    return table(["", "queries", *(named(name, report) for name in names)], rows, kind="steps")


def _by_size(lost: Sequence[Mapping[str, int]]) -> list[tuple[str, int]]:
    """Rules with what they left out, the most first; beyond the first ones they are told as one."""
    total: dict[str, int] = {}
    for one in lost:
        for rule, number_ in one.items():
            total[rule] = total.get(rule, 0) + number_
    return sorted(total.items(), key=lambda item: (-item[1], item[0]))[:MOST_RULES]


def _left(rule: str) -> str:
    return f'<span class="under faint">{words(spoken(rule), 60)}</span>'


def _lost(figure: int) -> str:
    return f'<span class="faint">−{figure:,}</span>' if figure else DASH


def rules(report: Report) -> str:
    """Replies by the rule that decided, what filters dropped, how replies ended: one row a rule, a column a teacher."""
    parts = report["teachers"]
    out = ""
    decided = {name: part.get("verdict_rules") or {} for name, part in parts.items()}
    rows = [
        [words(rule, 60), *(_outcomes(decided[name].get(rule)) for name in parts)]
        for rule in _order({n: {r: sum(o.values()) for r, o in held.items()} for n, held in decided.items()})
    ]
    head = ["rule", *(named(name, report) for name in parts)]
    if rows:
        out += "<h3>Replies by the rule that decided</h3>" + table(head, rows, kind="steps")
        out += note("Passed, and beneath what failed and what is unknown. A rule is what gave the verdict, so that "
                    "verdicts of a judge or of an answer without a box can be told apart.")  # fmt: skip
    dropped = {name: part.get("dropped_rules") or {} for name, part in parts.items()}
    rows = [
        [words(spoken(rule), 60), *(
            value(lost, count) + _share(lost, part["verified"]) if (lost := dropped[name].get(rule)) else DASH
            for name, part in parts.items()
        )]
        for rule in _order(dropped)
    ]  # fmt: skip
    if rows:
        out += "<h3>Verified replies that filters dropped</h3>" + table(["filter", *head[1:]], rows, kind="steps")
    ended = {name: part.get("finish_reasons") or {} for name, part in parts.items()}
    rows = [
        [words(reason, 40), *(
            value(times, count) + _share(times, sum(ended[name].values())) if (times := ended[name].get(reason))
            else DASH for name in parts
        )]
        for reason in _order(ended)
    ]  # fmt: skip
    if rows:
        out += "<h3>How replies ended</h3>" + table(["finish reason", *head[1:]], rows, kind="steps")
    return out


def _order(held: Mapping[str, Mapping[str, int]]) -> list[str]:
    return [rule for rule, _ in _by_size(list(held.values()))]


def _outcomes(found: Mapping[str, int] | None) -> str:
    if not found:
        return DASH
    beneath = [f"{found[key]:,} {told}" for key, told in (("fail", "failed"), ("unknown", "unknown")) if found.get(key)]
    return f"{found.get('pass', 0):,}" + (f"<small>{', '.join(beneath)}</small>" if beneath else "")


def _share(part: int, whole: int) -> str:
    return f"<small>{percent_tenth(part / whole)}</small>" if whole else ""


def repeats(report: Report) -> str:
    """Repeated n-grams: how many replies went for it, and the passages that they repeat."""
    found = report.get("repeats") or {}
    if not found:
        return ""
    rules_ = sorted({rule for one in found.values() for rule in one["rules"]})
    head = ["teacher", *(words(spoken(rule)) for rule in rules_)]
    rows = [
        [named(name, report), *(count(one["rules"].get(rule, 0)) for rule in rules_)] for name, one in found.items()
    ]
    out = "<h3>Replies that repeat themselves</h3>" + table(head, rows, kind="steps")
    passages = [
        [named(name, report), f'<span class="quote">{isolated(text, 240)}</span>', count(times)]
        for name, one in found.items() for text, times in one["passages"]
    ]  # fmt: skip
    if passages:
        shown = table(["teacher", "passage", "replies"], passages, (1,), kind="stack")
        out += f"<details><summary>The passages that repeat</summary>{shown}</details>"
    return out


def contamination(report: Report) -> str:
    found = report.get("contamination") or {}
    rows = [
        [isolated(name, 60), count(one["items"]), count(one["rejected"]), count(one["items_found"]),
         ", ".join(f"{lost:,} {words(spoken(rule), 60)}" for rule, lost in one["rules"].items()) or DASH]
        for name, one in found.items()
    ]  # fmt: skip
    hits = [
        [isolated(name, 60), isolated(hit.get("id") or hit.get("key") or "", 40), words(spoken(str(hit["rule"])), 60),
         isolated(hit.get("match"), 400), isolated(hit.get("item_text"), 400)]
        for name, one in found.items() for hit in one["hits"]
    ]  # fmt: skip
    if not rows:
        return ""
    out = note("Queries taken out because a benchmark holds them: equal after normalisation, a shared run of words, or "
               "near in meaning. What is left was compared with every item of these benchmarks.")  # fmt: skip
    out += table(["benchmark", "its items", "queries taken out", "items found", "by rule"], rows, (4,), kind="stack")
    if hits:
        shown = table(["benchmark", "query", "rule", "matching text", "item"], hits, (1, 2, 3, 4), kind="stack")
        title = "The hit" if len(hits) == 1 else f"The first {len(hits)} hits"
        out += f"<details><summary>{title}</summary>{shown}</details>"
    return out


MAY = {
    "yes": "yes",
    "no": "no: compared, never written as training rows",
    "unknown": "unknown: find out before training",
}
THINKS = {"required": "always", "optional": "may", "none": "no"}


def terms(report: Report) -> str:
    rows = []
    for name, part in report["teachers"].items():
        facts, seen = part.get("facts") or {}, part.get("thinking_seen") or {}
        thinks = THINKS.get(str(facts.get("thinking")), words(facts.get("thinking")))
        if seen.get("shown"):
            thinks += f"<small>{seen['thinking'] / seen['shown']:.0%} of the replies shown</small>".replace("%", " %")
        rows.append([
            named(name, report), isolated(facts.get("model"), 60), words(facts.get("family"), 40) or DASH, thinks,
            MAY.get(str(facts.get("terms")), DASH), words(facts.get("licence") or "not stated", 80),
            _price(facts.get("price")),
        ])  # fmt: skip
    head = [
        "dataset" if report.get("matching") else "teacher",
        "model",
        "family",
        "thinks",
        "may be trained on",
        "licence",
        "price",
    ]
    shown_head, shown = columns(head, [[DASH if cell == "–" else cell for cell in row] for row in rows])
    out = table(shown_head, shown, range(1, len(shown_head)), kind="stack")
    sources = [
        [isolated(s.get("name"), 80), words(s.get("licence") or "not stated", 80),
         MAY.get(str(s.get("terms", "unknown")), words(s.get("terms")))]
        for s in report.get("sources") or []
    ]  # fmt: skip
    if sources:
        out += "<h3>Sources of the queries</h3>"
        out += table(["source", "licence", "may be trained on"], sources, (1, 2), kind="stack")
    return out


def _price(price: Mapping[str, float] | None) -> str:
    if not price:
        return DASH
    if "per_hour" in price:
        return f"${price['per_hour']:g} an hour"
    told = ", ".join(f"{spoken(kind)} ${rate:g}" for kind, rate in price.items())
    return f"{escape(told)}<small>per million tokens</small>"


PURPOSES = {"distill": "teaching", "judge": "judging", "evaluate": "evaluation"}


def account(report: Report) -> str:
    """What was asked and paid, by the ledger of the journal: what was lost, and what early stops saved."""
    held = report.get("account") or {}
    rows = [
        [named(name, report), words(PURPOSES.get(purpose, purpose), 40),
         *(count(one.get(key)) if one.get(key) else DASH for key in
           ("paid", "faults", "maybe_paid", "in_doubt", "paid_twice", "stopped")),
         value(one.get("paid_usd") or None, dollars), count(one["saved_tokens"]) if one.get("saved_tokens") else DASH,
         value(one.get("saved_usd"), dollars)]
        for name, purposes in sorted((held.get("teachers") or {}).items(), key=lambda item: _place(item[0], report))
        for purpose, one in purposes.items()
    ]  # fmt: skip
    if not rows:
        return ""
    head = ["teacher", "for", "replies paid", "faults", "of them maybe paid", "in doubt", "paid twice", "stopped early",
            "dollars", "tokens saved at most", "dollars saved at most"]  # fmt: skip
    told = (
        "From the journal, as <code>stillhouse audit</code> proves it. In doubt: asked, no outcome on disk. A reply "
        "that repeats itself is stopped; saved is what it would have had more, had it run to its limit."
    )
    return table(*columns(head, rows), texts=(1,), kind="stack steps") + note(told)


def _place(name: str, report: Report) -> tuple[int, str]:
    """Teachers in the order of the recipe, then judges and others by name."""
    names = list(report["teachers"])
    return (names.index(name), "") if name in names else (len(names), name)


FORECAST: dict[str, tuple[str, Label]] = {
    "cost_usd": ("dollars", dollars), "tokens": ("completion tokens", number), "verified": ("verified rows", count),
    "replies": ("replies", count), "hours": ("hours", two_places),
}  # fmt: skip


def forecast(report: Report) -> str:
    """What the pilot forecast, beside what came of it."""
    made = report.get("forecast_check") or {}
    if not made:
        return ""
    pilot = f"From a pilot of {made.get('pilot', 0):,} of {made.get('queries', 0):,} queries"
    if not made.get("comparable"):
        return note(f"{pilot}: it cannot be checked, {words(made.get('why'))}.")
    rows = [
        [named(name, report) if name in report["teachers"] else words(name), FORECAST[key][0],
         value(one["expected"], FORECAST[key][1], (one["low"], one["high"])), value(one["actual"], FORECAST[key][1]),
         "held" if one["held"] else '<b class="bad">outside</b>']
        for name, measures in {**made["teachers"], "all teachers": made["total"]}.items()
        for key, one in measures.items() if one is not None and key in FORECAST
    ]  # fmt: skip
    told = note(f"{pilot}, with intervals of {100 * made.get('confidence', 0.9):.0f} %: {made['held']} of {made['of']} "
                "held.")  # fmt: skip
    return told + table(["teacher", "of", "forecast", "came to", "interval"], rows, (1, 4), kind="stack")


MADE = {
    "stillhouse": "Stillhouse", "python": "Python", "numpy": "NumPy", "tokenizer": "Tokens counted by",
    "tokens_counted": "Texts counted", "tokens_remembered": "Texts counted before",
    "token_sample": "Tokens of a sample of",
    "first_tokens_by": "First attempts counted by", "seed": "Seed",
}  # fmt: skip


def made(report: Report, recipe: str) -> str:
    facts = {**report.get("made", {}), **(report.get("versions") or {})}
    told = "".join(
        f"<div><dt>{MADE.get(name) or words(spoken(name))}</dt><dd>{_fact(fact)}</dd></div>"
        for name, fact in facts.items() if fact is not None and not isinstance(fact, dict | list)
    )  # fmt: skip
    out = f'<dl class="facts">{told}</dl>' if told else ""
    if recipe:
        shown = escape(visible(recipe[:LONGEST_RECIPE]))
        out += f"<details><summary>recipe.yaml, with every default filled in</summary><pre>{shown}</pre></details>"
    return out


def _fact(fact: Any) -> str:
    return f"{fact:,}" if isinstance(fact, int) and not isinstance(fact, bool) else words(fact)
