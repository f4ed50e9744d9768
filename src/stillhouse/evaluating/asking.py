"""How a candidate is asked: the run's one loop with a fixed number of samples, the same journal, budget and sandbox.

In: the run, and what a benchmark's candidate and verifier are. Out: for each benchmark a way to ask that returns
Answers. Whether a reply is in think/answer form is read from its text by the strictest measure, whatever the candidate
is judged by: so format and lenient accuracy are told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stillhouse.evaluating.scores import Answers
from stillhouse.records import Part, Query, TeacherSpec, normal_form, response_key
from stillhouse.sitting.samples import sample
from stillhouse.sitting.session import Sat
from stillhouse.store.queries import raw_keys
from stillhouse.store.reading import read_responses
from stillhouse.store.replies import Replies
from stillhouse.store.run import Run
from stillhouse.store.spending import spending

AskAll = Callable[[Sequence[Query], int], Answers]


@dataclass(slots=True)
class Purse:
    """One budget over everybody who is evaluated, on every benchmark: each sitting gets what the others left."""

    limit: float | None
    spent: float = 0.0

    @property
    def left(self) -> float | None:
        return None if self.limit is None else max(0.0, self.limit - self.spent)

    def pay(self, spent: Mapping[str, float]) -> None:
        """Dollars by name, as the journal has them, of a sitting that has ended."""
        self.spent += sum(spent.values())


def asking(
    run: Run,
    spec_for: Callable[[Any], TeacherSpec],
    verifiers_for: Callable[[Any], Mapping[str, Part]],
    judges: Mapping[str, TeacherSpec] | None = None,
    *,
    purse: Purse | None = None,
    **settings: Any,
) -> Callable[[Any], AskAll]:
    """For `Candidate.ask_all`. spec_for: the candidate under a benchmark's limit and sampling, without a suffix of its
    own; verifiers_for: category -> part, with what the benchmark says; purse: the budget of all candidates together;
    settings: of session.sit (workers, watch, ..)."""
    money = purse or Purse(None)

    def for_benchmark(benchmark: Any) -> AskAll:
        spec, verifiers = spec_for(benchmark), verifiers_for(benchmark)

        def ask_all(queries: Sequence[Query], samples: int) -> Answers:
            sat, rows = sample(
                run, queries, samples, teacher=spec, verifiers=verifiers, judges=judges or {}, budget_usd=money.left,
                **settings,
            )  # fmt: skip
            money.pay(spending(sat.index, {spec.name, *(j.name for j in (judges or {}).values())},
                               raw_keys(sorted(query.key for query in queries))))  # fmt: skip
            formed = _forms(sat, spec, queries, rows)
            rows = [{**row, "malformed": why, "tagged": t} for row, (why, t) in zip(rows, formed, strict=True)]
            return Answers(rows, sat.outcome, sat.problem, dict(sat.waits.get(spec.name, {})))

        return ask_all

    return for_benchmark


def _forms(
    sat: Sat, spec: TeacherSpec, queries: Sequence[Query], rows: Sequence[Mapping[str, Any]]
) -> list[tuple[str | None, bool]]:
    """For each row why its reply is not in think/answer form, None when it is; and whether its answer at least stands
    in tags, thinking or not."""
    by_key = {query.key: query for query in queries}
    identities, replies = sat.identities[spec.name], Replies(sat.index)
    keys = []
    for row in rows:
        query = by_key[row["query"]]
        keys.append(response_key(identities[query.category], query.prompt_key, row["attempt"]))
    found = sorted({place for key in keys if (place := replies.row(key)) is not None})
    forms: dict[str, tuple[str | None, bool]] = {}
    for response in read_responses(sat.index, np.array(found, np.int64)) if found else ():
        strict = normal_form(response.text, response.reasoning, "required").malformed
        loose = normal_form(response.text, response.reasoning, "optional").malformed
        forms[response.key] = (strict, loose is None and "<answer>" in response.text)
    return [forms.get(key, ("the reply cannot be read", False)) for key in keys]
