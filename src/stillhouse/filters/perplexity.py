"""Perplexity of the response given the prompt, strictly above the teacher's threshold: too odd to train on.

In: pairs of Query and Response, a batch at a time, and a scorer (a part with `score_all(pairs)`). Out: verdicts
whose score is the perplexity; a pair that could not be scored is unknown, and stays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from stillhouse.filters.tokens import assistant_text
from stillhouse.records import Fault, Part, Query, Response, UserMistake, Verdict


class PerplexityFilter:
    """scorer: the part that asks a model. threshold: 5.0 for AM-Thinking-v1, 20 for others; the stage offers each
    teacher's own. The detail keeps `full`, over prompt and response. Raises UserMistake where nothing can be scored."""

    rule = "perplexity"

    def __init__(self, scorer: Part, threshold: float = 20.0) -> None:
        self._scorer = scorer.build()
        self.threshold = threshold

    def __call__(self, query: Query, response: Response) -> Verdict:
        return self.judge([(query, response)])[0]

    def judge(self, pairs: Sequence[tuple[Query, Response]]) -> list[Verdict]:
        """A verdict a pair, in order."""
        texts = [("\n".join(m.content for m in query.messages), assistant_text(r)) for query, r in pairs]
        scores = self._scorer.score_all(texts)
        faults = [score for score in scores if isinstance(score, Fault)]
        if faults and len(faults) == len(scores) and all(fault.retryable for fault in faults):
            raise UserMistake(f"perplexity: none of {len(scores)} responses could be scored: {faults[0]}")
        return [self._verdict(score) for score in scores]

    def _verdict(self, score: object) -> Verdict:
        if isinstance(score, Fault):
            return Verdict.unknown(self.rule, str(score))
        value, full = float(score.response), float(score.full)  # type: ignore[attr-defined]  # a scorer's record
        if not math.isfinite(value):
            return Verdict.unknown(self.rule, f"the scorer gave {value}")
        detail = {"full": full, "tokens": score.tokens, "whole": score.whole}  # type: ignore[attr-defined]
        if value > self.threshold:
            reason = f"perplexity {value:.2f}, more than {self.threshold:g}"
            return Verdict("fail", value, self.rule, reason, detail=detail)
        return Verdict("pass", value, self.rule, detail=detail)
