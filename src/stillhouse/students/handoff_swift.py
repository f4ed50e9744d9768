"""Hand-off to ms-swift: messages, `loss_scale: last_round`, packing with padding-free flash attention.

In: Plan and rows. Out: train.jsonl, sft.yaml (read by `swift sft`), ds_zero3.json. Its templates are its own and
chosen by the model type; that of Qwen2.5 writes content as it stands, thinking included.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stillhouse.students.handoff import Plan, dialogue, inline_only, write_lines, write_yaml, write_zero3
from stillhouse.students.rendering import Row

VERSION = "4.6.0"


def write(plan: Plan, rows: Iterable[Row], folder: Path) -> str:
    """Returns the command."""
    inline_only(plan, "ms-swift")
    write_lines(folder / "train.jsonl", ({"messages": dialogue(plan, row)} for row in rows))
    write_zero3(folder / "ds_zero3.json")
    write_yaml(folder / "sft.yaml", config(plan))
    env = f"USE_HF=1 NNODES={plan.nodes} NPROC_PER_NODE={plan.gpus_per_node} NODE_RANK=$NODE_RANK"
    return f"{env} MASTER_ADDR=$MASTER_ADDR swift sft sft.yaml"


def config(plan: Plan) -> dict[str, Any]:
    lora = {"lora_rank": plan.lora_rank, "lora_alpha": 2 * plan.lora_rank, "target_modules": ["all-linear"]}
    return {
        "model": plan.base,
        "template": _TEMPLATES.get(plan.template, plan.template),
        "tuner_type": plan.method,
        **(lora if plan.method == "lora" else {}),
        "torch_dtype": "bfloat16",
        "attn_impl": "flash_attn",
        "dataset": ["train.jsonl"],
        "split_dataset_ratio": 0.0,
        "load_from_cache_file": True,
        "max_length": plan.max_tokens,
        "truncation_strategy": "delete",
        "packing": True,
        "loss_scale": "last_round",
        "gradient_checkpointing": True,
        "deepspeed": "ds_zero3.json",
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": plan.accumulation,
        "num_train_epochs": plan.epochs,
        "learning_rate": plan.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": plan.warmup,
        "adam_beta1": plan.beta1,
        "adam_beta2": plan.beta2,
        "weight_decay": plan.weight_decay,
        "max_grad_norm": plan.clip,
        "seed": plan.seed,
        "data_seed": plan.seed,
        "output_dir": "student",
        "save_steps": 200,
        "logging_steps": 1,
        "dataset_num_proc": 16,
    }


_TEMPLATES = {"qwen": "qwen2_5"}  # other trainers' name for it: ms-swift's
