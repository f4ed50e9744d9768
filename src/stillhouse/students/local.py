"""A small student trained here: a plain torch loop, LoRA or full, on packed samples that do not see each other.

In: dataset rows, a base (GGUF file, folder or hub name) and settings. Out: losses.jsonl, checkpoints that survive
kill -9, the adapter in PEFT's format, and the merged student as GGUF where the base came as one. Full precision and
no gradient checkpointing: on a CPU both cost more than they save.
"""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.records import UserMistake, canonical_json, content_hash
from stillhouse.students.chat import Chat
from stillhouse.students.packing import pack, shared_prefix
from stillhouse.students.rendering import SYSTEM_PROMPT, Excluded, Form, Proof, Renderer, Sample, prove

Watch = Callable[[Mapping[str, Any]], None]  # student, step, total_steps, loss, seconds_left


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast. batch: packed sequences of sequence_tokens in a step; steps: None for `epochs` epochs."""

    learning_rate: float = 5.0e-4
    epochs: float = 2.0
    warmup: float = 0.05
    batch: int = 1
    sequence_tokens: int = 1024
    steps: int | None = None
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    clip: float = 1.0

    def total(self, sequences: int) -> int:
        return self.steps or max(1, math.ceil(self.epochs * sequences / self.batch))

    def rate(self, step: int, total: int) -> float:
        """Learning rate of step 0 .. total - 1: linear warm-up, then cosine to 0."""
        warm = max(1, round(self.warmup * total)) if self.warmup else 0
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


class Local:
    """Trains small students one after the other. Built in the process that trains.

    method: lora (rank, on every linear layer of the blocks) or full (embeddings frozen). threads: of torch, None for
    all processors. save_every: steps between checkpoints. max_tokens: longest sample; longer ones are excluded.
    """

    kind, checked = "local", True

    def __init__(
        self,
        base: str,
        *,
        method: str = "lora",
        lora_rank: int = 16,
        form: Form = "inline",
        template: str | None = None,
        max_tokens: int = 1024,
        system_prompt: str = SYSTEM_PROMPT,
        threads: int | None = None,
        save_every: int = 10,
        export_gguf: bool = True,
        **schedule: Any,
    ) -> None:
        if method not in ("lora", "full"):
            raise UserMistake(f"train: method is lora or full, not {method!r}")
        self.base, self.method, self.lora_rank = base, method, lora_rank
        self.threads, self.save_every, self.export_gguf = threads, save_every, export_gguf
        self.schedule = Schedule(**{"sequence_tokens": max_tokens, **schedule})
        if self.schedule.sequence_tokens < max_tokens:
            raise UserMistake(
                f"train: samples of {max_tokens} tokens do not fit into sequences of {self.schedule.sequence_tokens}"
            )
        self.watch: Watch | None = None
        self.chat = Chat.load(base, template=template)
        self.renderer = Renderer(self.chat, form=form, max_tokens=max_tokens, system=system_prompt)

    def check(self, rows: Sequence[Mapping[str, Any]]) -> Proof:
        """Prove that thinking is trained, with this base's template. Raises UserMistake when it is not."""
        return prove(self.renderer, rows)

    def measure(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, int | Excluded]]:
        """For each row its key and the tokens it comes to, or why it is left out."""
        for item in self.renderer.render(rows):
            yield item.key, item if isinstance(item, Excluded) else len(item.tokens)

    def train(
        self, rows: Iterable[Mapping[str, Any]], folder: Path, *, name: str, seed: int, lengths: Sequence[int] = ()
    ) -> dict[str, Any]:
        """Train one student in `folder`, or go on where a killed training stopped. Returns what plan.json holds."""
        from stillhouse.students.local_model import Model

        samples = [item for item in self.renderer.render(rows) if isinstance(item, Sample)]
        if not samples:
            raise UserMistake(f"student {name}: no sample is left to train on; see excluded.jsonl")
        folder.mkdir(parents=True, exist_ok=True)
        plan = self._plan(samples, name, seed)
        made = _read(folder / "plan.json")
        if made.get("done") and made["fingerprint"] == plan["fingerprint"]:
            return made
        if made and made["fingerprint"] != plan["fingerprint"]:
            (folder / "checkpoint.pt").unlink(missing_ok=True)
        _write(folder / "plan.json", plan)
        model = Model(self.base, self.chat, method=self.method, rank=self.lora_rank, seed=seed, threads=self.threads)
        known = f"{name} {plan['fingerprint'][:16]}"  # other weights, other name: what names a served model's replies
        session = Session(model, samples, self.schedule, folder, seed, self.save_every)
        seconds = session.run(name, self.watch)
        outputs = model.save(folder / "student", folder / "student.gguf" if self.export_gguf else None, name=known)
        plan |= {"done": True, "seconds": round(seconds, 1), "outputs": [str(p.relative_to(folder)) for p in outputs],
                 **_ends(folder / "losses.jsonl")}  # fmt: skip
        _write(folder / "plan.json", plan)
        (folder / "checkpoint.pt").unlink(missing_ok=True)
        return plan

    def _plan(self, samples: Sequence[Sample], name: str, seed: int) -> dict[str, Any]:
        sequences = len(laid(samples, self.schedule)[1])
        facts = {
            "base": Path(self.base).name if Path(self.base).exists() else self.base, "method": self.method,
            "lora_rank": self.lora_rank if self.method == "lora" else None, "form": self.renderer.form, "seed": seed,
            "max_tokens": self.renderer.max_tokens,
            "system_prompt": bool(self.renderer.system), **asdict(self.schedule),
        }  # fmt: skip
        data = content_hash(*(f"{s.key} {s.start} {content_hash(s.tokens.tobytes().hex())}" for s in samples))
        return {
            "student": name, "base_path": str(Path(self.base).resolve()) if Path(self.base).exists() else "", **facts,
            "samples": len(samples), "tokens": sum(len(s.tokens) for s in samples),
            "trained_tokens": sum(len(s.tokens) - s.start for s in samples), "sequences": sequences,
            "total_steps": self.schedule.total(sequences), "done": False,
            "fingerprint": content_hash("student", canonical_json(facts), data),
        }  # fmt: skip


def laid(samples: Sequence[Sample], schedule: Schedule) -> tuple[int, list[Any]]:
    """The tokens that all samples begin with, and the samples of each packed sequence behind them."""
    prefix = shared_prefix([s.tokens for s in samples], min(s.start for s in samples) - 1)
    return prefix, pack([len(s.tokens) - prefix for s in samples], schedule.sequence_tokens - prefix)


class Session:
    """The loop over one student's packed samples, from the last checkpoint on."""

    def __init__(
        self, model: Any, samples: Sequence[Sample], schedule: Schedule, folder: Path, seed: int, save_every: int
    ) -> None:
        self.model, self.samples, self.schedule = model, samples, schedule
        self.folder, self.seed, self.save_every = folder, seed, save_every
        self.prefix, self.sequences = laid(samples, schedule)
        self.total = schedule.total(len(self.sequences))

    def run(self, name: str = "", watch: Watch | None = None) -> float:
        """Train to the end; returns the seconds of all sittings. The first Ctrl-C ends in a checkpoint."""
        step, before = self._resume()
        began = time.monotonic()
        with (self.folder / "losses.jsonl").open("a", encoding="utf-8") as losses, _interrupts() as interrupted:
            first = step
            while step < self.total:
                started = time.monotonic()
                told = self.model.step(
                    [[self.samples[int(i)] for i in sequence] for sequence in self._batch(step)],
                    rate=self.schedule.rate(step, self.total),
                    clip=self.schedule.clip,
                    prefix=self.prefix,
                )
                step += 1
                epoch = step * self.schedule.batch / len(self.sequences)
                row = {"step": step, "epoch": round(epoch, 4), **told, "seconds": round(time.monotonic() - started, 3)}
                losses.write(json.dumps(row) + "\n")
                losses.flush()
                spent = time.monotonic() - began
                if (step % self.save_every == 0 or interrupted()) and step < self.total:
                    self.model.save_state(self.folder / "checkpoint.pt", step, before + spent)
                if watch is not None:
                    left = spent / (step - first) * (self.total - step)
                    watch({"student": name, "step": step, "total_steps": self.total, "loss": row["loss"],
                           "seconds_left": round(left, 1)})  # fmt: skip
                if interrupted():
                    raise KeyboardInterrupt
        return before + time.monotonic() - began

    def _resume(self) -> tuple[int, float]:
        """The step to go on from. Losses beyond the checkpoint are dropped: those steps are made again."""
        self.model.begin(self.schedule)
        step, seconds = self.model.load_state(self.folder / "checkpoint.pt")
        path = self.folder / "losses.jsonl"
        written = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() and step else []
        kept = [line for line in written if line.endswith("\n") and json.loads(line)["step"] <= step]
        path.write_text("".join(kept), encoding="utf-8")
        return step, seconds

    def _batch(self, step: int) -> list[Any]:
        """The sequences of a step: each epoch passes all of them in an order of its own, drawn from seed and epoch."""
        out = []
        for place in range(step * self.schedule.batch, (step + 1) * self.schedule.batch):
            epoch, at = divmod(place, len(self.sequences))
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.sequences))
            out.append(self.sequences[int(order[at])])
        return out


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C (or SIGTERM) came: the first is only noted, the second stops at once."""
    hits = 0

    def note(number: int, frame: Any) -> None:
        nonlocal hits
        hits += 1
        if hits > 1:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # only there can signals be handled
        yield lambda: False
        return
    former = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: hits > 0
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _ends(losses: Path) -> dict[str, float]:
    """The mean loss of the first and of the last tenth of the steps."""
    values = [json.loads(line)["loss"] for line in losses.read_text(encoding="utf-8").splitlines()]
    some = max(1, len(values) // 10)
    return {"first_loss": float(np.mean(values[:some])), "last_loss": float(np.mean(values[-some:]))}


def _read(path: Path) -> dict[str, Any]:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return held if isinstance(held, dict) and "fingerprint" in held else {}


def _write(path: Path, value: Mapping[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
