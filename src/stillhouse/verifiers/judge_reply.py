"""What every judge has in common: hostile text goes in as a JSON string, a JSON verdict comes out, one reprompt.

In: data for a prompt; a judge's reply. Out: messages; the object that the reply holds. An unreadable reply is answered
with another Ask (the same conversation and what was wrong); the loop ends that after the second one with unknown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from stillhouse.records import Ask, Message, Response

MAX_TEXT = 24_000  # characters of one text that a judge is shown; of longer ones the head and the tail
MAX_REPLY = 4_000
_DECODER = json.JSONDecoder()


def data_message(**fields: str) -> Message:
    """A user turn that is one JSON object: no text in it can end its quotation or speak as somebody else."""
    return Message("user", json.dumps({name: clip(text) for name, text in fields.items()}, ensure_ascii=False))


def clip(text: str, limit: int = MAX_TEXT) -> str:
    """A text of at most limit characters: two thirds from its head, the rest from its tail, which has the answer."""
    if len(text) <= limit:
        return text
    tail = limit // 3
    return f"{text[: limit - tail]}\n[... {len(text) - limit} characters left out ...]\n{text[-tail:]}"


def read_object(reply: Response, wanted: Callable[[Mapping[str, Any]], bool]) -> Mapping[str, Any] | None:
    """The last JSON object of a reply that is wanted, fenced or among words; None where there is none."""
    text, at, found = reply.answer[:MAX_TEXT], 0, None
    while (at := text.find("{", at)) >= 0:
        try:
            value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            at += 1
            continue
        if isinstance(value, dict) and wanted(value):
            found = value
        at = end
    return found


def ask_again(ask: Ask, reply: Response, problem: str) -> Ask:
    """The same question once more, after the unreadable reply and what was wrong with it."""
    said = Message("assistant", clip(reply.text, MAX_REPLY) or "(nothing)")
    return replace(ask, messages=(*ask.messages, said, Message("user", f"{problem} Reply with the JSON object only.")))
