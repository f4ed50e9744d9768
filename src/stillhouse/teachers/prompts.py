"""A query and a profile's prompts -> the messages that a teacher is sent. Pure, no I/O.

Why apart: the chat endpoint, the embedded model and batch files must all send, and name, the same prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stillhouse.records import Message, Query
from stillhouse.teachers.profiles import SystemPlace

TURN_OVERHEAD = 16  # tokens that a chat template may add to each turn
PROMPT_OVERHEAD = 256  # and once: its own system text, tool notes, date


@dataclass(frozen=True, slots=True)
class Prompts:
    """What a teacher puts around a query.

    suffixes: by category, and `code:cpp` for queries whose extra says language cpp. examples: worked examples by
    category (or `*`), as pairs of user and assistant text that stand before the query's own turns.
    """

    system: str | None = None
    place: SystemPlace = "system"
    suffixes: Mapping[str, str] | None = None
    examples: Mapping[str, Sequence[tuple[str, str]]] | None = None

    def identity(self, category: str) -> list[object]:
        """What of these prompts enters replies to a category, as JSON-like data for hashing."""
        suffixes = self.suffixes or {}
        mine = {name: text for name, text in sorted(suffixes.items()) if name.partition(":")[0] == category}
        return [self.system, self.place, mine, [list(pair) for pair in self._examples(category)]]

    def messages(self, query: Query) -> tuple[Message, ...]:
        """The whole conversation to send: the last turn is the user's, with the category's suffix."""
        turns: list[Message] = []
        if self.examples:
            for user, assistant in self._examples(query.category):
                turns += (Message("user", user), Message("assistant", assistant))
        turns += map(without_thinking, query.messages)
        if self.suffixes and turns and turns[-1].role == "user":
            turns[-1] = Message("user", with_suffix(turns[-1].content, self._suffix(query)))
        system = f"{self.system}\n\n{query.system}" if self.system and query.system else self.system or query.system
        if not system:
            return tuple(turns)
        first = next((at for at, turn in enumerate(turns) if turn.role == "user"), None)
        if self.place == "system" or first is None:
            return (Message("system", system), *turns)
        turns[first] = Message("user", f"{system}\n\n{turns[first].content}")
        return tuple(turns)

    def _examples(self, category: str) -> Sequence[tuple[str, str]]:
        examples = self.examples or {}
        return examples.get(category, examples.get("*", ()))

    def _suffix(self, query: Query) -> str:
        suffixes = self.suffixes or {}
        language = str((query.extra or {}).get("language", "")).lower()
        name = f"{query.category}:cpp" if language in ("cpp", "c++") else query.category
        return suffixes.get(name, suffixes.get(query.category, ""))


def with_suffix(text: str, suffix: str) -> str:
    """text, a line feed, the suffix; unless the source has already put it there."""
    return text if not suffix or suffix in text else f"{text}\n{suffix}"


def without_thinking(message: Message) -> Message:
    """An earlier assistant turn without its thinking; every other turn as given.

    A turn that opens with `<think>`, or holds a closing tag on a line's end without an opening one before it (a forced
    `<think>`), is cut after the first `</think>`. Tags that the text merely speaks of stay.
    """
    text = message.content
    if message.role != "assistant" or "</think>" not in text:
        return message
    head, _, tail = text.partition("</think>")
    opened = head.lstrip().startswith("<think>")
    forced = "<think>" not in head and tail.lstrip(" ")[:1] in ("", "\n", "<")
    return Message(message.role, tail.lstrip()) if opened or forced else message


def prompt_bound(messages: Sequence[Message], overhead: int = PROMPT_OVERHEAD) -> int:
    """An upper bound of the prompt's tokens: byte-level tokenizers make no more tokens than there are bytes."""
    size = overhead
    for message in messages:
        text = message.content
        size += TURN_OVERHEAD + (len(text) if text.isascii() else len(text.encode("utf-8", "replace")))
    return size


def estimate_tokens(text: str) -> int:
    """Tokens of a text where no server counted them: a quarter of its bytes, rounded up. An estimate, marked so."""
    return -(-len(text.encode("utf-8", "replace")) // 4)
