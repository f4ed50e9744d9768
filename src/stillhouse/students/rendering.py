"""Dataset rows become training samples: tokens, and from which of them the loss counts.

In: rows of a teacher's dataset and a student's Chat. Out: Sample (final response trained, thinking included) or
Excluded with its rule, one of them for every row. `prove` shows for a template that thinking stands in the text and
inside the loss mask: several templates drop it without a word (Qwen2.5 the field, DeepSeek-V3 every form).
"""

from __future__ import annotations

import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from stillhouse.records import UserMistake, normal_form
from stillhouse.store.rendering import rendered
from stillhouse.students.chat import Chat, Tokens

SYSTEM_PROMPT = (
    "You are a helpful assistant. To answer the user's question, you first think about the reasoning process and then "
    "provide the user with the answer. The reasoning process and answer are enclosed within <think> </think> and "
    "<answer> </answer> tags, respectively, i.e., <think> reasoning process here </think> <answer> answer here "
    "</answer>."
)
Form = Literal["inline", "field", "append"]
FORMS: tuple[Form, ...] = ("inline", "field", "append")
_FORM_MEANS = {
    "inline": "thinking inside the content, rendered by the template",
    "field": "thinking in the message's reasoning_content, rendered by the template",
    "append": "the prompt rendered by the template, the response and the end of turn written behind it",
}
BATCH_ROWS, BATCH_CHARACTERS = 1024, 4_000_000  # of a batch for the tokenizer, whichever is reached first


@dataclass(frozen=True, slots=True)
class Row:
    """What of a dataset row is trained on. turns: up to the last user turn, without system and earlier thinking."""

    key: str
    turns: tuple[Mapping[str, str], ...]
    thinking: str | None
    answer: str

    @property
    def text(self) -> str:
        """The final response in the one form that every teacher's rows get."""
        return rendered(self.thinking, self.answer)


@dataclass(frozen=True, slots=True)
class Sample:
    """A rendered row: token ids, the loss counts from position `start` to the end."""

    key: str
    tokens: Tokens
    start: int


@dataclass(frozen=True, slots=True)
class Excluded:
    """A row that is not trained on. rule: too_long, control_token, thinking_lost, empty or not_a_dialogue."""

    key: str
    rule: str
    reason: str


def read_row(row: Mapping[str, Any]) -> Row:
    """A dataset row (columns messages, and thinking and answer where they stand apart) as a Row.

    Raises ValueError where the messages are no dialogue that ends with an assistant turn.
    """
    messages = [m for m in row["messages"] if m["role"] != "system"]
    roles = [m["role"] for m in messages]
    if len(roles) < 2 or roles[-1] != "assistant" or roles[-2] != "user" or set(roles) - {"user", "assistant"}:
        raise ValueError(f"the turns are {', '.join(roles) or 'none'}: no dialogue that ends user, assistant")
    thinking, answer = row.get("thinking"), row.get("answer")
    if answer is None:
        parts = normal_form(messages[-1]["content"])
        thinking, answer = parts.thinking, parts.answer
    turns = [
        {"role": m["role"], "content": m["content"] if m["role"] == "user" else normal_form(m["content"]).answer}
        for m in messages[:-1]
    ]
    return Row(str(row.get("key") or row.get("query") or ""), tuple(turns), (thinking or "").strip() or None,
               (answer or "").strip())  # fmt: skip


_Ready = tuple[str, str, str] | Excluded  # key, prompt, completion


class Renderer:
    """Renders rows for one student. form: see FORMS; max_tokens: what a sample may have, prompt included."""

    def __init__(
        self, chat: Chat, *, form: Form = "inline", max_tokens: int = 32768, system: str | None = SYSTEM_PROMPT
    ) -> None:
        self.chat, self.form, self.max_tokens = chat, form, max_tokens
        self.system = [{"role": "system", "content": system}] if system else []

    def texts(self, row: Row, form: Form | None = None) -> tuple[str, str]:
        """Prompt and completion as texts: the loss is on the completion, which ends with the end-of-turn token.

        Raises ValueError where the template's prompt is not how its finished dialogue begins.
        """
        form = form or self.form
        turns = [*self.system, *row.turns]
        prompt = self.chat.render(turns, generate=True)
        if form == "append":
            return prompt, _after(prompt, row.text) + self.chat.end
        last: dict[str, str] = {"role": "assistant", "content": row.text}
        if form == "field" and row.thinking:
            last = last | {"content": f"<answer>\n{row.answer}\n</answer>", "reasoning_content": row.thinking}
        whole = self.chat.render([*turns, last])
        if not whole.startswith(prompt):
            raise ValueError("the template's prompt for generation is not how the finished dialogue begins")
        completion = whole[len(prompt) :]
        cut = completion.rfind(self.chat.end)
        return prompt, completion if cut < 0 else completion[: cut + len(self.chat.end)]

    def render(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Sample | Excluded]:
        """One Sample or Excluded for each row, in order; tokenised in batches on all cores.

        Two batches are with the tokenizer (outside the interpreter's lock) while this thread makes the next one.
        """
        with ThreadPoolExecutor(2) as encoders:
            waiting: deque[tuple[list[_Ready], Future[list[Tokens]]]] = deque()
            for ready in _batches(map(self._prepare, rows)):
                texts = [text for item in ready if not isinstance(item, Excluded) for text in item[1:]]
                waiting.append((ready, encoders.submit(self.chat.encode, texts)))
                if len(waiting) > 2:
                    yield from self._finish(*waiting.popleft())
            while waiting:
                yield from self._finish(*waiting.popleft())

    def _finish(self, ready: list[_Ready], encoding: Future[list[Tokens]]) -> Iterator[Sample | Excluded]:
        encoded = iter(encoding.result())
        for item in ready:
            yield item if isinstance(item, Excluded) else self._sample(item[0], next(encoded), next(encoded))

    def _prepare(self, raw: Mapping[str, Any]) -> _Ready:
        try:
            row = read_row(raw)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            key = str(raw.get("key") or raw.get("query") or "")
            return Excluded(key, "not_a_dialogue", str(error))
        if not row.answer:
            return Excluded(row.key, "empty", "the answer is empty")
        for text in (*(turn["content"] for turn in row.turns), row.thinking or "", row.answer):
            if token := self.chat.control_in(text):
                return Excluded(row.key, "control_token", f"the text holds {token}, which the student reads as control")
        try:
            prompt, completion = self.texts(row)
        except ValueError as error:
            return Excluded(row.key, "thinking_lost", str(error))
        if row.thinking and row.thinking not in completion:
            return Excluded(row.key, "thinking_lost", "the template cut or changed the thinking")
        if row.answer not in completion:
            return Excluded(row.key, "thinking_lost", "the template cut or changed the answer")
        return row.key, prompt, completion

    def _sample(self, key: str, prompt: Tokens, completion: Tokens) -> Sample | Excluded:
        size = len(prompt) + len(completion)
        if size > self.max_tokens:
            return Excluded(key, "too_long", f"{size} tokens, {self.max_tokens} fit")
        return Sample(key, np.concatenate([prompt, completion]), len(prompt))


def _batches(rows: Iterable[_Ready]) -> Iterator[list[_Ready]]:
    """Rows that are tokenised together: at the end of each batch the tokenizer's threads wait for the slowest text."""
    batch: list[_Ready] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += 0 if isinstance(row, Excluded) else len(row[1]) + len(row[2])
        if size >= BATCH_CHARACTERS or len(batch) >= BATCH_ROWS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _after(prompt: str, text: str) -> str:
    """The response behind a prompt that may have opened the think block already."""
    return text.removeprefix("<think>").lstrip("\n") if prompt.rstrip().endswith("<think>") else text


@dataclass(frozen=True, slots=True)
class Proof:
    """What `prove` saw. lost: for each form why it loses thinking, "" where it keeps it; shown: rendered samples."""

    form: Form
    rows: int
    lost: Mapping[Form, str]
    shown: tuple[str, ...]

    @property
    def told(self) -> str:
        """What was proved, in one line, and what the other forms would have done."""
        others = ", ".join(
            f"{form} " + (f"would lose it ({why})" if why else "would keep it too")
            for form, why in self.lost.items()
            if form != self.form
        )
        return (
            f"thinking and answer stand in the text and inside the loss mask of {self.rows} rendered samples, and the "
            f"end of the turn is trained (form {self.form}; {others})"
        )


def prove(renderer: Renderer, rows: Sequence[Mapping[str, Any]], *, show: int = 2) -> Proof:
    """Render rows in every form and see whether thinking and answer stand in the text and inside the loss mask.

    Rows without thinking prove nothing about it, so a made-up one is tried beside them. Raises UserMistake when the
    renderer's own form loses thinking, naming the forms that would keep it.
    """
    probe = {"key": "", "messages": _PROBE, "thinking": "First I add\nseven & nine.", "answer": "It is \\boxed{16}."}
    tried = []
    for raw in (probe, *rows):
        try:
            tried.append(read_row(raw))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # rendering excludes such rows and counts them
    tried = [row for row in tried if row.answer and not renderer.chat.control_in(row.text)]
    lost = {form: next((why for row in tried if (why := _loses(renderer, row, form))), "") for form in FORMS}
    if lost[renderer.form]:
        kept = [form for form in FORMS if not lost[form]]
        advice = " or ".join(f"`form: {form}` ({_FORM_MEANS[form]})" for form in kept)
        raise UserMistake(
            f"{renderer.chat.name}: thinking would not be trained on: {lost[renderer.form]}. "
            + (f"What keeps it: {advice}" if kept else "No form keeps it: give another template")
        )
    shown = tuple(mark(renderer, row) for row in (tried[1:] or tried)[:show])
    return Proof(renderer.form, len(tried), lost, shown)


_PROBE = (
    {"role": "user", "content": "What is 2 + 3?"},
    {"role": "assistant", "content": "<think>\nTwo and three.\n</think>\n<answer>\n5\n</answer>"},
    {"role": "user", "content": "And 7 + 9?"},
    {"role": "assistant", "content": "<think>\nFirst I add\nseven & nine.\n</think>\n<answer>\nIt is 16.\n</answer>"},
)


def _loses(renderer: Renderer, row: Row, form: Form) -> str:
    """Why this form loses thinking or answer of a row; "" when both stand in the text and inside the mask."""
    try:
        prompt, completion = renderer.texts(row, form)
    except (ValueError, UserMistake) as error:
        return str(error)
    for what, text in (("thinking", row.thinking), ("answer", row.answer)):
        if text and text not in completion:
            where = "stands before the trained part" if text in prompt else "is not in the rendered text"
            return f"the {what} {where}"
    trained = renderer.chat.encode([completion])[0]
    spelt = _bare(renderer.chat.decode(trained))
    for what, text in (("thinking", row.thinking), ("answer", row.answer)):
        if text and _bare(text) not in spelt:
            return f"the {what} is not in the trained tokens: the tokenizer cannot spell it"
    if not completion.endswith(renderer.chat.end):
        return "the end of the turn is not trained: the student would not learn to stop"
    return ""


def _bare(text: str) -> str:
    """For comparing what a tokenizer may have normalised: NFC, without white space."""
    return "".join(unicodedata.normalize("NFC", text).split())


def mark(renderer: Renderer, row: Row) -> str:
    """A rendered sample for people: lines that the loss counts on begin with `>`, the others with a blank."""
    prompt, completion = renderer.texts(row)
    sizes = [len(tokens) for tokens in renderer.chat.encode([prompt, completion])]
    lines = [f"  {line}" for line in prompt.rstrip("\n").split("\n")] + [f"> {line}" for line in completion.split("\n")]
    return "\n".join([f"-- {row.key or 'probe'}: {sizes[0]} tokens of prompt, {sizes[1]} trained", *lines])
