"""Hand-off to LLaMA-Factory: sharegpt-style messages, `mask_history` for the last turn, `neat_packing`.

In: Plan and rows. Out: train.jsonl, dataset_info.json, sft.yaml, ds_zero3.json. Its templates are its own: the name
in Plan.template (`qwen` for Qwen2.5) writes content as it stands, thinking included.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stillhouse.students.handoff import Plan, dialogue, inline_only, write_lines, write_yaml, write_zero3
from stillhouse.students.rendering import Row

VERSION = "0.9.5"


def write(plan: Plan, rows: Iterable[Row], folder: Path) -> str:
    """Returns the command."""
    inline_only(plan, "LLaMA-Factory")
    write_lines(folder / "train.jsonl", ({"messages": dialogue(plan, row)} for row in rows))
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
            "system_tag": "system"}  # fmt: skip
    entry = {"file_name": "train.jsonl", "formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": tags}
    (folder / "dataset_info.json").write_text(json.dumps({"stillhouse": entry}, indent=2) + "\n", encoding="utf-8")
    write_zero3(folder / "ds_zero3.json")
    write_yaml(folder / "sft.yaml", config(plan), _COMMENT)
    env = f"FORCE_TORCHRUN=1 NNODES={plan.nodes} NODE_RANK=$NODE_RANK MASTER_ADDR=$MASTER_ADDR MASTER_PORT=29500"
    return f"{env} llamafactory-cli train sft.yaml"


_COMMENT = """cutoff_len: with packing LLaMA-Factory takes one token off, so 32,769 admits samples of 32,768.
warmup_steps is a number of steps, since what a fraction means depends on the version of transformers."""


def config(plan: Plan) -> dict[str, Any]:
    lora = {"lora_rank": plan.lora_rank, "lora_alpha": 2 * plan.lora_rank, "lora_target": "all"}
    return {
        "model_name_or_path": plan.base,
        "stage": "sft",
        "do_train": True,
        "finetuning_type": plan.method,
        **(lora if plan.method == "lora" else {}),
        "deepspeed": "ds_zero3.json",
        "dataset": "stillhouse",
        "dataset_dir": ".",
        "template": plan.template,
        "cutoff_len": plan.max_tokens + 1,
        "packing": True,
        "neat_packing": True,
        "mask_history": True,
        "train_on_prompt": False,
        "preprocessing_num_workers": 16,
        "preprocessing_batch_size": 10_000,
        "flash_attn": "fa2",
        "disable_gradient_checkpointing": False,
        "bf16": True,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": plan.accumulation,
        "num_train_epochs": plan.epochs,
        "learning_rate": plan.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": max(1, round(plan.warmup * plan.steps)) if plan.steps else plan.warmup,
        "optim": "adamw_torch",
        "adam_beta1": plan.beta1,
        "adam_beta2": plan.beta2,
        "weight_decay": plan.weight_decay,
        "max_grad_norm": plan.clip,
        "seed": plan.seed,
        "output_dir": "student",
        "save_strategy": "steps",
        "save_steps": 200,
        "save_only_model": False,
        "logging_steps": 1,
        "report_to": "none",
        "ddp_timeout": 180_000_000,
    }
