"""A hand-off in the place of a trainer: proved and measured as a local student is, then written and not trained.

In: dataset rows, the student's base (its tokenizer at least), the trainer's name. Out: a folder for that trainer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stillhouse.records import UserMistake
from stillhouse.students.chat import Chat
from stillhouse.students.handoff import Handoff, Plan
from stillhouse.students.packing import pack
from stillhouse.students.rendering import SYSTEM_PROMPT, Excluded, Form, Proof, Renderer, prove, read_row


class HandoffTrainer:
    """tokenizer: a folder or hub name where the base itself is not at hand. checked False writes without proof, length
    filter or packing, for a machine that has no tokenizer: the README says so. template: jinja text in place of the
    base's own; template_name: the trainer's name for the base's. Further settings are Plan's."""

    kind = "handoff"

    def __init__(
        self,
        trainer: str,
        *,
        base: str = "Qwen/Qwen2.5-32B",
        tokenizer: str | None = None,
        template: str | None = None,
        template_name: str = "qwen",
        form: Form = "inline",
        max_tokens: int = 32768,
        system_prompt: str = SYSTEM_PROMPT,
        checked: bool = True,
        **plan: Any,
    ) -> None:
        self.handoff, self.folder_name, self.checked = Handoff(trainer), trainer, checked
        unknown = sorted(set(plan) - set(Plan.__dataclass_fields__))
        if unknown:
            raise UserMistake(f"train: unknown settings {', '.join(unknown)} for the hand-off to {trainer}")
        self.plan = Plan(
            "", base=base, max_tokens=max_tokens, form=form, system=system_prompt, template_text=template or "",
            template=template_name, **plan,
        )  # fmt: skip
        self.renderer = None
        if checked:
            chat = Chat.load(tokenizer or base, template=template)
            self.renderer = Renderer(chat, form=form, max_tokens=max_tokens, system=system_prompt)
            self.plan = replace(self.plan, end=chat.end)

    def check(self, rows: Sequence[Mapping[str, Any]]) -> Proof:
        """Prove that thinking is trained, with the base's template. Raises UserMistake when it is not."""
        if self.renderer is None:
            raise UserMistake("train: `checked: false` leaves out the proof that thinking is trained: nothing to check")
        return prove(self.renderer, rows)

    def measure(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, int | Excluded]]:
        """For each row its key and the tokens it comes to (0 unchecked), or why it is left out."""
        if self.renderer is not None:
            for item in self.renderer.render(rows):
                yield item.key, item if isinstance(item, Excluded) else len(item.tokens)
            return
        for row in rows:
            yield str(row["key"]), 0

    def train(
        self, rows: Iterable[Mapping[str, Any]], folder: Path, *, name: str, seed: int, lengths: Sequence[int]
    ) -> dict[str, Any]:
        """Write data and config. lengths: tokens of the rows, for the number of packed sequences and steps."""
        plan = replace(self.plan, name=name, seed=seed, samples=len(lengths), tokens=sum(lengths))
        if self.renderer is not None and lengths:
            plan = replace(plan, sequences=len(pack(lengths, plan.max_tokens)))
        command = self.handoff(plan, (read_row(row) for row in rows), folder)
        return {
            "student": name, "handoff": self.handoff.trainer, "version": self.handoff.version, "seed": seed,
            "samples": plan.samples, "tokens": plan.tokens, "sequences": plan.sequences, "total_steps": plan.steps,
            "command": command, "done": False,
        }  # fmt: skip
