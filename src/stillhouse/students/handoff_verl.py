"""Hand-off to verl's SFT trainer: parquet messages, FSDP2, sequences without padding up to a token budget.

In: Plan and rows. Out: train.parquet, stillhouse_sft.yaml (over verl's own sft_trainer_engine), last_turn.py. verl
trains every assistant turn; last_turn.py is a dataset class that keeps the loss of the last one alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stillhouse.records import UserMistake
from stillhouse.students.handoff import Plan, dialogue, write_yaml
from stillhouse.students.rendering import Row

VERSION = "0.9.1"

LAST_TURN = '''"""A verl dataset whose loss counts on the last assistant turn alone (written by stillhouse)."""

import torch
from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset


class LastTurn(MultiTurnSFTDataset):
    def _process_single_message(self, index, message, full_message, tools=None, enable_thinking=None):
        tokens, loss, attention, rest = super()._process_single_message(
            index, message, full_message, tools, enable_thinking
        )
        return tokens, loss if index == len(full_message) - 1 else torch.zeros_like(loss), attention, rest
'''
_MESSAGES = pa.schema([("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))])


def write(plan: Plan, rows: Iterable[Row], folder: Path) -> str:
    """Returns the command."""
    if plan.form != "inline":
        raise UserMistake(f"verl renders messages turn by turn: `form: {plan.form}` cannot be handed to it")
    source = iter(rows)
    with pq.ParquetWriter(folder / "train.parquet", _MESSAGES) as writer:
        for batch in _batches(plan, source):
            writer.write_batch(batch)
    (folder / "last_turn.py").write_text(LAST_TURN, encoding="utf-8")
    write_yaml(folder / "stillhouse_sft.yaml", config(plan), _COMMENT)
    launch = f"torchrun --nnodes {plan.nodes} --nproc-per-node {plan.gpus_per_node} --node-rank $NODE_RANK"
    rest = "-m verl.trainer.sft_trainer --config-dir . --config-name stillhouse_sft"
    return f"{launch} --master-addr $MASTER_ADDR {rest}"


def _batches(plan: Plan, rows: Iterator[Row]) -> Iterator[pa.RecordBatch]:
    while batch := list(islice(rows, 1000)):
        yield pa.RecordBatch.from_pylist([{"messages": dialogue(plan, row)} for row in batch], schema=_MESSAGES)


_COMMENT = """train_batch_size counts samples: as many as are in 64 packed sequences of this dataset on average.
Each GPU gets micro batches of at most max_token_len_per_gpu tokens, without padding and without attention across."""


def config(plan: Plan) -> dict[str, Any]:
    a_step = plan.batch * plan.samples / plan.sequences if plan.sequences else plan.batch
    return {
        "hydra": {"searchpath": ["pkg://verl.trainer.config"]},
        "defaults": ["sft_trainer_engine", "_self_"],
        "data": {
            "train_files": "train.parquet",
            "train_batch_size": max(plan.gpus, round(a_step / plan.gpus) * plan.gpus),
            "micro_batch_size_per_gpu": 1,
            "use_dynamic_bsz": True,
            "max_token_len_per_gpu": plan.max_tokens,
            "max_length": plan.max_tokens,
            "truncation": "error",
            "pad_mode": "no_padding",
            "messages_key": "messages",
            "custom_cls": {"path": "last_turn.py", "name": "LastTurn"},
        },
        "model": {
            "path": plan.base,
            "enable_gradient_checkpointing": True,
            "use_remove_padding": True,
            "lora_rank": plan.lora_rank if plan.method == "lora" else 0,
            "lora_alpha": 2 * plan.lora_rank,
            **({"custom_chat_template": plan.template_text} if plan.template_text else {}),
        },
        "engine": {"strategy": "fsdp2", "dtype": "bfloat16", "seed": plan.seed},
        "optim": {
            "lr": plan.learning_rate,
            "lr_scheduler_type": "cosine",
            "lr_warmup_steps_ratio": plan.warmup,
            "min_lr_ratio": 0.0,
            "betas": [plan.beta1, plan.beta2],
            "weight_decay": plan.weight_decay,
            "clip_grad": plan.clip,
        },
        "trainer": {
            "project_name": "stillhouse",
            "experiment_name": plan.name,
            "default_local_dir": "student",
            "total_epochs": _whole(plan.epochs),
            "seed": plan.seed,
            "save_freq": 200,
            "logger": ["console"],
            "nnodes": plan.nodes,
            "n_gpus_per_node": plan.gpus_per_node,
        },
    }


def _whole(epochs: float) -> int:
    if epochs != int(epochs):
        raise UserMistake(f"verl trains whole epochs, not {epochs:g}")
    return int(epochs)
