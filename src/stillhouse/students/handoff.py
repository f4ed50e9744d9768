"""The hand-off: a dataset and the paper's recipe, written as the data and the complete config of a trainer.

In: rows of one teacher and a Plan. Out: a folder that the trainer reads as it stands, with a README that says the
command. Each trainer is one file beside this one; its version is the one whose config classes it was tried with.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stillhouse.records import UserMistake
from stillhouse.students.rendering import SYSTEM_PROMPT, Form, Row

TRAINERS = {
    "llamafactory": "stillhouse.students.handoff_llamafactory",
    "axolotl": "stillhouse.students.handoff_axolotl",
    "ms-swift": "stillhouse.students.handoff_swift",
    "verl": "stillhouse.students.handoff_verl",
    "trl": "stillhouse.students.handoff_trl",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How a student is trained: the paper's recipe by default, in the units of the trainers.

    batch: packed sequences of max_tokens tokens in a step, over all gpus; samples, sequences and tokens: what the
    dataset came to when it was rendered and packed (0 where it was not); template: the trainer's own name for the
    base's chat template, where it has such names; template_text: jinja that takes the place of the base's own.
    """

    name: str
    base: str = "Qwen/Qwen2.5-32B"
    learning_rate: float = 8.0e-5
    epochs: float = 2.0
    warmup: float = 0.05
    batch: int = 64
    max_tokens: int = 32768
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    clip: float = 1.0
    seed: int = 42
    method: str = "full"
    lora_rank: int = 32
    gpus: int = 32
    gpus_per_node: int = 8
    template: str = "qwen"
    template_text: str = ""
    end: str = "<|im_end|>"
    form: Form = "inline"
    system: str = SYSTEM_PROMPT
    samples: int = 0
    sequences: int = 0
    tokens: int = 0

    @property
    def accumulation(self) -> int:
        """Steps of one sequence per GPU that make a batch."""
        return self.batch // self.gpus

    @property
    def nodes(self) -> int:
        return max(1, self.gpus // self.gpus_per_node)

    @property
    def steps(self) -> int | None:
        """Optimiser steps of the whole training; None where the dataset was not packed."""
        return max(1, round(self.epochs * self.sequences / self.batch)) if self.sequences else None


Writer = Callable[[Plan, Iterable[Row], Path], str]


class Handoff:
    """Writes for one trainer: `Handoff("axolotl")(plan, rows, folder)` returns the command that trains."""

    def __init__(self, trainer: str) -> None:
        if trainer not in TRAINERS:
            raise UserMistake(f"no hand-off to {trainer!r}; there is one to {', '.join(TRAINERS)}")
        module = importlib.import_module(TRAINERS[trainer])
        self.trainer, self.version = trainer, str(module.VERSION)
        self._write: Writer = module.write

    def __call__(self, plan: Plan, rows: Iterable[Row], folder: Path) -> str:
        if plan.gpus < 1 or plan.batch % plan.gpus:
            raise UserMistake(f"a batch of {plan.batch} sequences cannot be shared by {plan.gpus} GPUs: it must divide")
        folder.mkdir(parents=True, exist_ok=True)
        command = self._write(plan, rows, folder)
        (folder / "README.md").write_text(self._readme(plan, command), encoding="utf-8")
        return command

    def _readme(self, plan: Plan, command: str) -> str:
        packed = (
            f"{plan.samples:,} samples, {plan.tokens:,} tokens, {plan.sequences:,} packed sequences of "
            f"{plan.max_tokens:,}: about {plan.steps:,} steps"
            if plan.sequences
            else f"samples of at most {plan.max_tokens:,} tokens; not rendered here, so not packed or counted"
        )
        return "\n".join([
            f"# {plan.name}: training data and config for {self.trainer}",
            "",
            f"Written for {self.trainer} {self.version}. Base {plan.base}, {plan.method} fine-tuning; {packed}.",
            f"Learning rate {plan.learning_rate:g}, warm-up {plan.warmup:.0%}, cosine to 0, {plan.epochs:g} epochs, "
            f"{plan.batch} packed sequences a step on {plan.gpus} GPUs. The loss counts on the final response alone, "
            "thinking included; samples that share a sequence do not see each other.",
            "",
            "Run, in this folder:",
            "",
            "```sh",
            command,
            "```",
            "",
        ])  # fmt: skip


def dialogue(plan: Plan, row: Row) -> list[dict[str, str]]:
    """The turns as messages, the fixed system prompt in front, the final response with its thinking inline.

    With form `field` thinking stands in reasoning_content.
    """
    last = {"role": "assistant", "content": row.text}
    if plan.form == "field" and row.thinking:
        last = last | {"content": f"<answer>\n{row.answer}\n</answer>", "reasoning_content": row.thinking}
    return [{"role": "system", "content": plan.system}, *[dict(turn) for turn in row.turns], last]


TEMPLATE_FILE = "template.jinja"


def inline_only(plan: Plan, trainer: str) -> None:
    """For trainers with templates of their own, which have one place for a response."""
    if plan.form != "inline" or plan.template_text:
        what = "a template" if plan.template_text else f"`form: {plan.form}`"
        raise UserMistake(f"{trainer} renders with its own templates: {what} cannot be handed to it")


def messages_only(plan: Plan, trainer: str) -> None:
    """For trainers that render messages with the base's template, or with one that is handed to them."""
    if plan.form == "append":
        raise UserMistake(
            f"{trainer} renders with the base's template, which drops thinking: `form: append` cannot be handed to it. "
            "Give a template that keeps it: `train: {template: FILE.jinja}`"
        )


def write_template(plan: Plan, folder: Path) -> None:
    if plan.template_text:
        (folder / TEMPLATE_FILE).write_text(plan.template_text, encoding="utf-8")


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """JSON lines; returns how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


class _Dumper(yaml.SafeDumper):
    pass


def _float(dumper: yaml.SafeDumper, value: float) -> yaml.Node:
    """Floats with a point: PyYAML writes 8e-05, and reads that back as a string."""
    text = repr(value)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


_Dumper.add_representer(float, _float)


def write_yaml(path: Path, value: Mapping[str, Any], comment: str = "") -> None:
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    body = yaml.dump(dict(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    path.write_text(head + body, encoding="utf-8")


def write_zero3(path: Path) -> None:
    """DeepSpeed ZeRO-3 with bf16; `auto` is filled in by the trainer from its own config."""
    value = {
        "zero_optimization": {
            "stage": 3,
            "overlap_comm": True,
            "contiguous_gradients": True,
            "reduce_bucket_size": "auto",
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto",
            "stage3_gather_16bit_weights_on_model_save": True,
        },
        "bf16": {"enabled": True},
        "gradient_clipping": "auto",
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "zero_allow_untested_optimizer": True,
    }
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def trained_turns(plan: Plan, row: Row) -> Iterator[tuple[dict[str, str], bool]]:
    """Each message with whether the loss counts on it: on the last one alone."""
    messages = dialogue(plan, row)
    for place, message in enumerate(messages):
        yield message, place == len(messages) - 1
