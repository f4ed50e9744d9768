"""Accepts by form alone, where the recipe says `verify: {other: structure}`.

In: any query and response. Out: a pass without a score, rule `unverified`, which never counts in a yield; what is out
of form fails. Nothing is compared, so every query passes the self-check.
"""

from __future__ import annotations

from stillhouse.records import Query, Response, Verdict

RULE = "unverified"


class Structure:
    """The verifier of a category that nothing at hand can verify."""

    version = "structure-1"

    def check(self, query: Query) -> Verdict:
        return Verdict("pass", None, RULE, "no reference is needed")

    def __call__(self, query: Query, response: Response) -> Verdict:
        malformed = response.parts.malformed
        if malformed is not None:
            return Verdict("fail", 0.0, "malformed", malformed)
        return Verdict("pass", None, RULE, "accepted by its form alone")

    def settle(self, query: Query, response: Response, reply: Response) -> Verdict:
        """No judge is ever asked."""
        return self(query, response)
