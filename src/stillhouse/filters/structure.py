"""Structure of a response: one think and one answer block in order, both filled, nothing else, in a sound conversation.

In: a Query and a Response. Out: a Verdict. The loop refuses malformed replies by the same form.
"""

from __future__ import annotations

from stillhouse.records import Query, Response, Verdict

_PASS = Verdict("pass", 1.0, "structure")


def structure(query: Query, response: Response) -> Verdict:
    """Fails on a truncated or malformed reply, and on turns that do not alternate up to a last user turn."""
    if response.truncated:
        return _fail("the reply was cut at its limit")
    malformed = response.parts.malformed
    if malformed is not None:
        return _fail(malformed)
    roles = [message.role for message in query.messages]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        return _fail(f"with the reply the turns are no pairs of user and assistant: {', '.join(roles) or 'none'}")
    return _PASS


def _fail(reason: str) -> Verdict:
    return Verdict("fail", 0.0, "structure", reason)
