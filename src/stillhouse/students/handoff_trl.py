"""Hand-off to TRL: prompt and completion rows, best-fit packing, FSDP2 by accelerate.

In: Plan and rows. Out: train.jsonl, sft.yaml (read by `trl sft --config`), fsdp2.yaml. The loss counts on the
completion, which is the last turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stillhouse.students.handoff import (
    TEMPLATE_FILE,
    Plan,
    dialogue,
    messages_only,
    write_lines,
    write_template,
    write_yaml,
)
from stillhouse.students.rendering import Row

VERSION = "1.16.0"


def write(plan: Plan, rows: Iterable[Row], folder: Path) -> str:
    """Returns the command."""
    messages_only(plan, "TRL")
    write_template(plan, folder)
    turns = (dialogue(plan, row) for row in rows)
    write_lines(folder / "train.jsonl", ({"prompt": t[:-1], "completion": t[-1:]} for t in turns))
    write_yaml(folder / "fsdp2.yaml", accelerate(plan))
    write_yaml(folder / "sft.yaml", config(plan), "warmup_steps below 1 is a share of all steps (transformers >= 5).")
    return "trl sft --config sft.yaml --accelerate_config fsdp2.yaml"


def accelerate(plan: Plan) -> dict[str, Any]:
    return {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "FSDP",
        "fsdp_config": {
            "fsdp_version": 2,
            "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "fsdp_cpu_ram_efficient_loading": True,
            "fsdp_offload_params": False,
            "fsdp_reshard_after_forward": True,
            "fsdp_state_dict_type": "SHARDED_STATE_DICT",
        },
        "machine_rank": 0,
        "main_training_function": "main",
        "mixed_precision": "bf16",
        "num_machines": plan.nodes,
        "num_processes": plan.gpus,
        "rdzv_backend": "static",
        "same_network": True,
    }


def config(plan: Plan) -> dict[str, Any]:
    lora = {"use_peft": True, "lora_r": plan.lora_rank, "lora_alpha": 2 * plan.lora_rank,
            "lora_target_modules": ["all-linear"]}  # fmt: skip
    return {
        "model_name_or_path": plan.base,
        "dtype": "bfloat16",
        "attn_implementation": "flash_attention_2",
        **(lora if plan.method == "lora" else {}),
        "datasets": [{"path": "json", "data_files": "train.jsonl", "split": "train"}],
        **({"chat_template_path": TEMPLATE_FILE} if plan.template_text else {}),
        "completion_only_loss": True,
        "eos_token": plan.end,
        "max_length": plan.max_tokens,
        "packing": True,
        "packing_strategy": "bfd",
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": plan.accumulation,
        "gradient_checkpointing": True,
        "bf16": True,
        "num_train_epochs": plan.epochs,
        "learning_rate": plan.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": plan.warmup,
        "optim": "adamw_torch_fused",
        "adam_beta1": plan.beta1,
        "adam_beta2": plan.beta2,
        "weight_decay": plan.weight_decay,
        "max_grad_norm": plan.clip,
        "seed": plan.seed,
        "output_dir": "student",
        "save_strategy": "steps",
        "save_steps": 200,
        "logging_steps": 1,
        "report_to": "none",
    }
