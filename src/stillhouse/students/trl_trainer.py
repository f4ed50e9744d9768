"""A student trained by TRL on this machine's GPUs: the hand-off, run here, with resume and the same records.

In: dataset rows, a base in the format of transformers, settings of the hand-off. Out: what students/local.py leaves:
plan.json, losses.jsonl, student/. TRL runs in a process of its own; a killed one goes on from its last checkpoint.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from stillhouse.records import UserMistake, canonical_json, content_hash
from stillhouse.students.handoff import write_yaml
from stillhouse.students.handoff_trainer import HandoffTrainer
from stillhouse.students.rendering import Excluded, Proof

_NEEDS_FLASH = "packing keeps samples apart by flash attention alone"


class Trl:
    """gpus: processes, sharded by FSDP2 where there are several. config: settings of TRL's SFTConfig and ModelConfig
    that replace the recipe's (`{attn_implementation: sdpa, packing: false}` where there is no flash attention)."""

    kind, checked = "local", True

    def __init__(self, *, gpus: int = 1, config: Mapping[str, Any] | None = None, **settings: Any) -> None:
        self.config = dict(config or {})
        self.handoff = HandoffTrainer("trl", gpus=gpus, **settings)
        flash = "flash" in str(self.config.get("attn_implementation", "flash_attention_2"))
        if self.config.get("packing", True) and not flash:
            raise UserMistake(f"train: {_NEEDS_FLASH}: with attn_implementation {self.config['attn_implementation']} "
                              "set packing: false")  # fmt: skip

    def check(self, rows: Sequence[Mapping[str, Any]]) -> Proof:
        return self.handoff.check(rows)

    def measure(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, int | Excluded]]:
        return self.handoff.measure(rows)

    def train(
        self, rows: Iterable[Mapping[str, Any]], folder: Path, *, name: str, seed: int, lengths: Sequence[int]
    ) -> dict[str, Any]:
        """Write the hand-off, run it to its end, keep its losses. Raises UserMistake with TRL's last words."""
        folder.mkdir(parents=True, exist_ok=True)
        told = self.handoff.train(rows, folder, name=name, seed=seed, lengths=lengths)
        value = yaml.safe_load((folder / "sft.yaml").read_text(encoding="utf-8")) | self.config
        write_yaml(folder / "sft.yaml", value)
        data = content_hash((folder / "train.jsonl").read_text(encoding="utf-8"))
        known = {k: v for k, v in asdict(self.handoff.plan).items() if k != "name"}
        plan = told | {"fingerprint": content_hash("trl", canonical_json(known), canonical_json(self.config), data)}
        file = folder / "plan.json"
        before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if before.get("done") and before.get("fingerprint") == plan["fingerprint"]:
            return dict(before)
        file.write_text(json.dumps(plan, indent=1), encoding="utf-8")
        began = time.monotonic()
        resume = before.get("fingerprint") == plan["fingerprint"] and any((folder / "student").glob("checkpoint-*"))
        self._run(folder, resume)
        self._losses(folder)
        plan |= {"done": True, "seconds": round(time.monotonic() - began, 1), "outputs": ["student"]}
        file.write_text(json.dumps(plan, indent=1), encoding="utf-8")
        return plan

    def _run(self, folder: Path, resume: bool) -> None:
        command = [sys.executable, "-m", "trl.scripts.sft"]
        if self.handoff.plan.gpus > 1:
            launch = ["-m", "accelerate.commands.launch", "--config_file", "fsdp2.yaml", "-m", "trl.scripts.sft"]
            command = [sys.executable, *launch]
        command += ["--config", "sft.yaml"]
        if resume:
            last = max((folder / "student").glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]))
            command += ["--resume_from_checkpoint", str(last.relative_to(folder))]
        with (folder / "trl.log").open("wb") as log:
            done = subprocess.run(  # noqa: S603  our own command, no shell
                command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, env=os.environ | {"WANDB_DISABLED": "true"},
                check=False,
            )  # fmt: skip
        if done.returncode:
            words = (folder / "trl.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
            raise UserMistake(f"TRL ended with {done.returncode}; {folder / 'trl.log'} ends:\n" + "\n".join(words))

    @staticmethod
    def _losses(folder: Path) -> None:
        """TRL's log history as losses.jsonl, a line a logged step."""
        states = [*(folder / "student").glob("checkpoint-*/trainer_state.json"), folder / "student/trainer_state.json"]
        found = [json.loads(s.read_text(encoding="utf-8")) for s in states if s.is_file()]
        history = max(found, key=lambda state: state["global_step"])["log_history"] if found else []
        with (folder / "losses.jsonl").open("w", encoding="utf-8") as out:
            for row in history:
                if "loss" in row:
                    kept = {"step": row["step"], "epoch": row.get("epoch"), "loss": row["loss"]}
                    kept |= {"rate": row.get("learning_rate"), "norm": row.get("grad_norm")}
                    out.write(json.dumps(kept) + "\n")
