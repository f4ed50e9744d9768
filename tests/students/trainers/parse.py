"""Parse a hand-off with the trainer's own config classes: `python parse.py TRAINER FOLDER`, in a process of its own.

Prints one JSON object: the paper's numbers as the trainer understood them, under one name each, and what its own
data code made of the first row where that can be run without a model. The trainer must be importable (PYTHONPATH).
"""

import dataclasses
import json
import os
import sys
from pathlib import Path
from unittest.mock import MagicMock

import yaml


def absent(*names):
    """Stand in for packages of pictures and sound that a trainer imports and text never needs."""
    for name in names:
        sys.modules.setdefault(name, MagicMock(__spec__=None, __version__="0"))


def number(value):
    return float(value) if isinstance(value, str) else value


def llamafactory(folder, tokenizer):
    os.environ |= {"DISABLE_VERSION_CHECK": "1"}
    absent("torchaudio")
    from llamafactory.data.processor.supervised import PackedSupervisedDatasetProcessor
    from llamafactory.data.template import TEMPLATES
    from llamafactory.hparams.parser import _TRAIN_ARGS
    from transformers import HfArgumentParser

    value = yaml.safe_load((folder / "sft.yaml").read_text())
    value["deepspeed"] = None  # its file is read by deepspeed itself, which is not here
    value |= {"bf16": False, "use_cpu": True}
    model, data, training, finetuning, _ = HfArgumentParser(_TRAIN_ARGS).parse_dict(value, allow_extra_keys=False)
    info = json.loads((folder / "dataset_info.json").read_text())["stillhouse"]
    rows = [json.loads(line) for line in (folder / info["file_name"]).open()]
    turns = rows[0]["messages"]
    processor = PackedSupervisedDatasetProcessor(
        template=TEMPLATES[data.template], tokenizer=tokenizer, processor=None, data_args=data
    )
    examples = {"_prompt": [turns[1:-1]], "_response": [turns[-1:]], "_system": [turns[0]["content"]]}
    examples |= {key: [None] for key in ("_tools", "_images", "_videos", "_audios")}
    examples["_tools"] = [""]
    packed = processor.preprocess_dataset(examples)
    labels = packed["labels"][0]
    return shown(training, finetuning.finetuning_type, model.model_name_or_path, data.cutoff_len) | {
        "packing": data.packing and data.neat_packing,
        "trained": tokenizer.decode([t for t in labels if t != -100]),
        "sequence": len(labels),
    }


def shown(training, method, model, max_tokens):
    """The numbers as transformers' TrainingArguments hold them."""
    return {
        "base": model,
        "method": method,
        "max_tokens": max_tokens,
        "learning_rate": training.learning_rate,
        "warmup": training.warmup_steps,
        "schedule": str(getattr(training.lr_scheduler_type, "value", training.lr_scheduler_type)),
        "epochs": training.num_train_epochs,
        "accumulation": training.gradient_accumulation_steps,
        "micro": training.per_device_train_batch_size,
        "betas": [training.adam_beta1, training.adam_beta2],
        "weight_decay": training.weight_decay,
        "clip": training.max_grad_norm,
        "seed": training.seed,
    }


def axolotl(folder, tokenizer):
    from axolotl.prompt_strategies.chat_template import load
    from axolotl.utils.dict import DictDefault
    from axolotl.utils.schemas.config import AxolotlInputConfig

    os.chdir(folder)
    value = yaml.safe_load((folder / "sft.yaml").read_text())
    known = set(AxolotlInputConfig.model_fields)
    assert set(value) <= known, set(value) - known
    config = AxolotlInputConfig(**value)
    source = DictDefault(config.datasets[0].model_dump())
    full = DictDefault(config.model_dump(exclude_none=True))
    strategy = load(tokenizer, full, source)
    row = json.loads((folder / "train.jsonl").open().readline())
    out = strategy.tokenize_prompt(row)
    return {
        "base": config.base_model,
        "method": config.adapter or "full",
        "max_tokens": config.sequence_len,
        "packing": config.sample_packing and config.pad_to_sequence_len,
        "learning_rate": number(config.learning_rate),
        "warmup": config.warmup_ratio,
        "schedule": str(getattr(config.lr_scheduler, "value", config.lr_scheduler)),
        "epochs": config.num_epochs,
        "accumulation": config.gradient_accumulation_steps,
        "micro": config.micro_batch_size,
        "betas": [config.adam_beta1, config.adam_beta2],
        "weight_decay": config.weight_decay,
        "clip": config.max_grad_norm,
        "seed": config.seed,
        "trained": tokenizer.decode([t for t in out["labels"] if t != -100]),
    }


def swift(folder, tokenizer):
    from swift.arguments import SftArguments
    from swift.cli.main import parse_yaml_args
    from swift.loss_scale import get_loss_scale
    from transformers import HfArgumentParser

    argv = [str(folder / "sft.yaml")]
    parse_yaml_args(argv)
    SftArguments.__post_init__ = lambda self: None  # it would load the model and look for GPUs
    (parsed,) = HfArgumentParser(SftArguments).parse_args_into_dataclasses(argv)
    turns = json.loads((folder / "train.jsonl").open().readline())["messages"]
    from swift.template import ContextType

    contexts = [m["content"] for m in turns[1:]]
    kinds = [ContextType.RESPONSE if m["role"] == "assistant" else ContextType.OTHER for m in turns[1:]]
    texts, weights = get_loss_scale(parsed.loss_scale)(contexts, kinds, turns[1:])
    return shown(parsed, parsed.tuner_type, parsed.model, parsed.max_length) | {
        "warmup": parsed.warmup_ratio,
        "packing": parsed.packing,
        "template": parsed.template,
        "trained": "".join(t for t, w in zip(texts, weights, strict=True) if w),
    }


def verl(folder, tokenizer):
    import torch
    from transformers.models.qwen2_vl import modeling_qwen2_vl

    modeling_qwen2_vl.Qwen2VLCausalLMOutputWithPast = object  # of an older transformers; for pictures
    from hydra import compose, initialize_config_dir
    from verl.utils.config import omega_conf_to_dataclass
    from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset

    os.chdir(folder)
    with initialize_config_dir(str(folder), version_base=None):
        config = compose("stillhouse_sft")
    optim = omega_conf_to_dataclass(config.optim)
    engine = omega_conf_to_dataclass(config.engine)
    sys.path.insert(0, str(folder))
    from last_turn import LastTurn

    assert issubclass(LastTurn, MultiTurnSFTDataset)
    assert config.data.custom_cls.name == "LastTurn"
    item = LastTurn([config.data.train_files], tokenizer, config.data)[0]
    kept = item["input_ids"][item["loss_mask"].to(torch.bool)]
    return {
        "base": config.model.path,
        "method": "lora" if config.model.lora_rank else "full",
        "max_tokens": config.data.max_length,
        "packing": config.model.use_remove_padding and config.data.use_dynamic_bsz,
        "learning_rate": optim.lr,
        "warmup": optim.lr_warmup_steps_ratio,
        "schedule": optim.lr_scheduler_type,
        "epochs": config.trainer.total_epochs,
        "samples": config.data.train_batch_size,
        "betas": list(optim.betas),
        "weight_decay": optim.weight_decay,
        "clip": optim.clip_grad,
        "seed": config.trainer.seed,
        "strategy": engine.strategy,
        "trained": tokenizer.decode(kept.tolist()),
    }


def trl(folder, tokenizer):
    from trl.scripts.sft import make_parser

    os.chdir(folder)
    value = yaml.safe_load((folder / "sft.yaml").read_text()) | {"bf16": False, "use_cpu": True}
    (folder / "here.yaml").write_text(yaml.safe_dump(value))  # this machine has no GPU, which bf16 asks for
    _, training, model, sources = make_parser().parse_args_and_config(["--config", "here.yaml"])
    out = shown(training, "lora" if model.use_peft else "full", model.model_name_or_path, training.max_length) | {
        "packing": training.packing and training.packing_strategy == "bfd",
        "source": dataclasses.asdict(sources.datasets[0])["data_files"],
    }
    out["trained"] = trl_trained(folder, training, tokenizer)
    return out


def trl_trained(folder, training, tokenizer):
    """What SFTTrainer's own preparation trains on, over a model of a few thousand weights."""
    from datasets import load_dataset
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    small = LlamaConfig(vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                        num_attention_heads=2, num_key_value_heads=2)  # fmt: skip
    arguments = SFTConfig(
        output_dir=str(folder / "out"),
        max_length=training.max_length,
        completion_only_loss=training.completion_only_loss,
        packing=False,
        use_cpu=True,
        bf16=False,
        report_to="none",
    )
    rows = load_dataset("json", data_files=str(folder / "train.jsonl"), split="train", cache_dir=str(folder / "cache"))
    trainer = SFTTrainer(LlamaForCausalLM(small), args=arguments, train_dataset=rows, processing_class=tokenizer)
    row = trainer.train_dataset[0]
    return tokenizer.decode([t for t in row["labels"] if t != -100])


def main():
    trainer, folder, student = sys.argv[1], Path(sys.argv[2]).resolve(), sys.argv[3]
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(student)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    reads = {"llamafactory": llamafactory, "axolotl": axolotl, "ms-swift": swift, "verl": verl, "trl": trl}
    out = reads[trainer](folder, tokenizer)
    print("\n" + json.dumps(out))


if __name__ == "__main__":
    main()
