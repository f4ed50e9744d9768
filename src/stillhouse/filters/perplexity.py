"""Perplexity of the response given the prompt, strictly above the teacher's threshold: too odd to train on.

In: a query and a response, then what a scoring model replied. Out: first the conversation to score, then the verdict,
whose score is the perplexity; a response that cannot be scored is unknown, and stays.
"""

from __future__ import annotations

import json
import math

from stillhouse.filters.tokens import assistant_text
from stillhouse.records import Message, Query, Response, Verdict


class PerplexityFilter:
    """threshold: 5.0 for AM-Thinking-v1, 20 for others; the stage offers each teacher's own.

    The detail keeps `full`, over prompt and response, `tokens`, and whether the response was scored whole.
    """

    rule = "perplexity"

    def __init__(self, threshold: float = 20.0) -> None:
        self.threshold = threshold

    def conversation(self, query: Query, response: Response) -> Query:
        """What the scoring model is handed: the turns of the query, then the response as it would be trained on."""
        return Query((*query.messages, Message("assistant", assistant_text(response))), query.category)

    def settle(self, reply: Response | str) -> Verdict:
        """reply: of the scoring model, its text the score as JSON; or why there is none."""
        if isinstance(reply, str):
            return Verdict.unknown(self.rule, reply)
        score = json.loads(reply.text)
        value, full = float(score["response"]), float(score["full"])
        if not math.isfinite(value):
            return Verdict.unknown(self.rule, f"the scoring model gave {value}")
        detail = {"full": full, "tokens": score["tokens"], "whole": score["whole"]}
        if value > self.threshold:
            reason = f"perplexity {value:.2f}, more than {self.threshold:g}"
            return Verdict("fail", value, self.rule, reason, detail=detail)
        return Verdict("pass", value, self.rule, detail=detail)
