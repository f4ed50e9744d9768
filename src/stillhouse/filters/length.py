"""Length of the whole sample: what is over the student's length is not trained on, and would make sets unequal.

In: a Query and a Response. Out: a Verdict, rule `too_long`. A text with no more bytes than the limit cannot have more
tokens, so that nearly every sample passes without being tokenised.
"""

from __future__ import annotations

from stillhouse.filters.tokens import Tokens, assistant_text
from stillhouse.records import Query, Response, Verdict

_PASS = Verdict("pass", 1.0, "too_long")
TURN_TOKENS = 8  # of a chat template around each turn, and of the system prompt's frame


class Length:
    """limit: tokens of the rendered sample. tokenizer: Tokens of the recipe's tokenizer; without one the server's
    own counts of prompt and reply are taken."""

    rule = "too_long"

    def __init__(self, limit: int = 32_768, *, tokenizer: Tokens | None = None) -> None:
        self.limit, self.tokenizer = limit, tokenizer

    def __call__(self, query: Query, response: Response) -> Verdict:
        turns = [message.content for message in query.messages]
        frame = TURN_TOKENS * (len(turns) + 2) + len((query.system or "").encode(errors="replace"))
        reply = assistant_text(response)
        if frame + sum(len(t.encode(errors="replace")) for t in (*turns, reply)) <= self.limit:
            return _PASS
        counts = [self.tokenizer.count(text) for text in (*turns, reply)] if self.tokenizer is not None else [None]
        if None in counts:
            size = response.prompt_tokens + response.completion_tokens
        else:
            size = sum(count for count in counts if count is not None) + TURN_TOKENS * (len(turns) + 2)
        if size > self.limit:
            return Verdict("fail", 0.0, "too_long", f"{size:,} tokens, the student takes {self.limit:,}")
        return _PASS
