"""Hand-off to axolotl: messages with a `train` mark on each turn, multipack sample packing.

In: Plan and rows. Out: train.jsonl, sft.yaml, ds_zero3.json. It renders with the base's own template, or with the one
that the plan brings.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stillhouse.students.handoff import (
    TEMPLATE_FILE,
    Plan,
    messages_only,
    trained_turns,
    write_lines,
    write_template,
    write_yaml,
    write_zero3,
)
from stillhouse.students.rendering import Row

VERSION = "0.19.0"


def write(plan: Plan, rows: Iterable[Row], folder: Path) -> str:
    """Returns the command."""
    messages_only(plan, "axolotl")
    write_template(plan, folder)
    write_lines(folder / "train.jsonl", (
        {"messages": [{**message, "train": trained} for message, trained in trained_turns(plan, row)]} for row in rows
    ))  # fmt: skip
    write_zero3(folder / "ds_zero3.json")
    write_yaml(folder / "sft.yaml", config(plan))
    launch = f"torchrun --nnodes {plan.nodes} --nproc-per-node {plan.gpus_per_node} --rdzv-backend c10d"
    return f"{launch} --rdzv-endpoint $MASTER_ADDR:29500 -m axolotl.cli.train sft.yaml"


def config(plan: Plan) -> dict[str, Any]:
    lora = {"adapter": "lora", "lora_r": plan.lora_rank, "lora_alpha": 2 * plan.lora_rank, "lora_target_linear": True}
    source = {
        "path": "train.jsonl",
        "ds_type": "json",
        "type": "chat_template",
        "field_messages": "messages",
        "message_property_mappings": {"role": "role", "content": "content"},
        "message_field_training": "train",
        "roles_to_train": [],
        "train_on_eos": "turn",
    }
    return {
        "base_model": plan.base,
        **(lora if plan.method == "lora" else {}),
        **(
            {"chat_template": "jinja", "chat_template_jinja": TEMPLATE_FILE}
            if plan.template_text
            else {"chat_template": "tokenizer_default"}
        ),
        "eot_tokens": [plan.end],
        "datasets": [source],
        "dataset_prepared_path": "prepared",
        "train_on_inputs": False,
        "sequence_len": plan.max_tokens,
        "excess_length_strategy": "raise",
        "sample_packing": True,
        "pad_to_sequence_len": True,
        "attn_implementation": "flash_attention_2",
        "gradient_checkpointing": True,
        "bf16": True,
        "deepspeed": "ds_zero3.json",
        "micro_batch_size": 1,
        "gradient_accumulation_steps": plan.accumulation,
        "num_epochs": plan.epochs,
        "learning_rate": plan.learning_rate,
        "lr_scheduler": "cosine",
        "warmup_ratio": plan.warmup,
        "optimizer": "adamw_torch_fused",
        "adam_beta1": plan.beta1,
        "adam_beta2": plan.beta2,
        "weight_decay": plan.weight_decay,
        "max_grad_norm": plan.clip,
        "seed": plan.seed,
        "output_dir": "student",
        "save_steps": 200,
        "logging_steps": 1,
    }
