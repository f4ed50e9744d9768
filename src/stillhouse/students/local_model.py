"""The model of a local student: loaded from GGUF or a folder, given LoRA or freed layers, stepped, saved.

In: packed samples. Out: losses; a checkpoint (atomic, fsynced); an adapter in PEFT's format or a folder of
transformers; a merged GGUF. The head is computed on trained positions alone, which are a small part of a batch.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.records import UserMistake
from stillhouse.students.chat import Chat
from stillhouse.students.packing import positions_and_owners
from stillhouse.students.rendering import Sample

LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise UserMistake("training here needs `pip install 'stillhouse[train]'` (torch, transformers)") from error
    return torch


def load(base: str) -> Any:
    """The base as transformers' causal model in float32, in evaluation mode (no dropout, also while training)."""
    torch = _torch()
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    path = Path(base)
    if path.suffix == ".gguf":
        from stillhouse.students.gguf_files import config_of, open_gguf, weights_of

        reader = open_gguf(path)
        settings = config_of(reader)
        theta = settings.pop("rope_theta")
        config = LlamaConfig(**settings, rope_parameters={"rope_type": "default", "rope_theta": theta})
        with torch.device("meta"):
            model = LlamaForCausalLM(config)
        model.to_empty(device="cpu")
        state = {name: torch.from_numpy(np.array(value)) for name, value in weights_of(reader).items()}
        missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
        model.tie_weights()
        lost = [name for name in missing if not (name == "lm_head.weight" and config.tie_word_embeddings)]
        if lost or unexpected:
            raise ValueError(f"{path.name}: weights missing {lost}, unknown {unexpected}")
        _reset_rope(model, config)
    else:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model.config._attn_implementation = "sdpa"
    return model.eval()


def _reset_rope(model: Any, config: Any) -> None:
    """Rotary tables are no weights: after construction on the meta device they are made anew."""
    model.model.rotary_emb = type(model.model.rotary_emb)(config)


class Model:
    """One student at a time: `begin`, `step` .., `save`. Device: a GPU where there is one, in bf16; else the CPU."""

    def __init__(self, base: str, chat: Chat, *, method: str, rank: int, seed: int, threads: int | None = None) -> None:
        self.torch = torch = _torch()
        torch.set_num_threads(threads or os.cpu_count() or 1)
        torch.manual_seed(seed)
        self.base, self.chat, self.method, self.rank = base, chat, method, rank
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = load(base).to(self.device)
        self.model.requires_grad_(False)
        self.adapters: dict[str, Any] = {}
        if method == "lora":
            self._add_adapters()
        else:
            for name, parameter in self.model.named_parameters():
                parameter.requires_grad_("embed_tokens" not in name and "lm_head" not in name)
        self.trained = {n: p for n, p in self.model.named_parameters() if p.requires_grad}

    def _add_adapters(self) -> None:
        for name, module in list(self.model.named_modules()):
            if name.rpartition(".")[2] in LAYERS:
                parent = self.model.get_submodule(name.rpartition(".")[0])
                adapter = lora(self.torch, module, self.rank)
                setattr(parent, name.rpartition(".")[2], adapter)
                self.adapters[name] = adapter
        if not self.adapters:
            raise UserMistake(f"{self.base}: it has none of the layers {', '.join(LAYERS)}; use `method: full`")

    # -- training ---------------------------------------------------------------------------------------------

    def begin(self, schedule: Any) -> None:
        """A new optimiser: AdamW, no decay on vectors."""
        matrices = [p for p in self.trained.values() if p.ndim > 1]
        vectors = [p for p in self.trained.values() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": schedule.weight_decay}]
        groups += [{"params": vectors, "weight_decay": 0.0}] if vectors else []
        self.optimizer = self.torch.optim.AdamW(
            groups, lr=schedule.learning_rate, betas=(schedule.beta1, schedule.beta2), eps=1e-8
        )

    def step(self, batch: Sequence[Sequence[Sample]], *, rate: float, clip: float, prefix: int = 0) -> dict[str, Any]:
        """One optimiser step over packed sequences; the loss is the mean over the trained tokens of the whole batch."""
        trained = sum(len(s.tokens) - s.start for sequence in batch for s in sequence)
        total = 0.0
        for sequence in batch:
            loss = self.loss(sequence, prefix) / trained
            loss.backward()
            total += float(loss.detach())
        norm = float(self.torch.nn.utils.clip_grad_norm_(list(self.trained.values()), clip))
        if not math.isfinite(total) or not math.isfinite(norm):
            raise UserMistake(f"the loss is {total}, its gradient {norm}: lower `train: {{learning_rate}}`")
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        tokens = sum(len(s.tokens) for sequence in batch for s in sequence)
        return {"loss": round(total, 6), "rate": rate, "norm": round(norm, 4), "tokens": tokens, "trained": trained}

    def loss(self, sequence: Sequence[Sample], prefix: int = 0) -> Any:
        """Summed loss over the trained tokens of samples side by side, each attending to itself alone.

        prefix: tokens that they all begin with, before any trained one; computed once, and seen by all.
        """
        torch = self.torch
        hidden, targets = self._hidden(sequence, prefix)
        logits = self.model.lm_head(hidden)
        return torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum")

    def _hidden(self, sequence: Sequence[Sample], prefix: int) -> tuple[Any, Any]:
        """Hidden states at the positions that predict a trained token, and those tokens."""
        torch = self.torch
        lengths = [len(s.tokens) - prefix for s in sequence]
        laid = np.concatenate([sequence[0].tokens[:prefix], *(s.tokens[prefix:] for s in sequence)])
        tokens = torch.from_numpy(laid.astype(np.int64)).to(self.device)
        positions, owners = (torch.from_numpy(v).to(self.device) for v in positions_and_owners(lengths, prefix))
        size = tokens.numel()
        causal = torch.ones(size, size, dtype=torch.bool, device=self.device).tril_()
        mask = (causal & ((owners[:, None] == owners[None, :]) | (owners[None, :] < 0)))[None, None]
        starts = np.cumsum([0, *lengths[:-1]])  # a token's place is its place in the sample plus its sample's start
        wanted = np.concatenate(
            [np.arange(s.start, len(s.tokens)) + at for s, at in zip(sequence, starts, strict=True)]
        )
        picked = torch.from_numpy(wanted).to(self.device)
        with torch.autocast("cuda", torch.bfloat16, enabled=self.device == "cuda"):
            out = self.model.model(
                input_ids=tokens[None], attention_mask=mask, position_ids=positions[None], use_cache=False
            )
        return out.last_hidden_state[0, picked - 1], tokens[picked]

    # -- files ------------------------------------------------------------------------------------------------

    def save_state(self, path: Path, step: int, seconds: float) -> None:
        """Everything that the next step depends on; whole or not at all, also after kill -9."""
        state = {"step": step, "seconds": seconds, "weights": self.trained, "optimizer": self.optimizer.state_dict()}
        partial = path.with_name(f".{path.name}.partial")
        with partial.open("wb") as file:
            self.torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    def load_state(self, path: Path) -> tuple[int, float]:
        """(step, seconds) of a checkpoint taken over; (0, 0.0) without one."""
        if not path.exists():
            return 0, 0.0
        state = self.torch.load(path, map_location=self.device, weights_only=True)
        with self.torch.no_grad():
            for name, value in state["weights"].items():
                self.trained[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        return int(state["step"]), float(state["seconds"])

    def save(self, folder: Path, gguf: Path | None, *, name: str) -> list[Path]:
        """The adapter, or the whole model, and the merged GGUF where the base came as one. Returns what was written."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        if self.adapters:
            save_file(self._adapter_state(), str(folder / "adapter_model.safetensors"))
            (folder / "adapter_config.json").write_text(json.dumps(self._adapter_config(), indent=1), encoding="utf-8")
        else:
            state = {k: v.detach().cpu().contiguous() for k, v in self.merged().items()}
            save_file(state, str(folder / "model.safetensors"), metadata={"format": "pt"})
            (folder / "config.json").write_text(self.model.config.to_json_string(), encoding="utf-8")
        written = [folder]
        if gguf is not None and Path(self.base).suffix == ".gguf":
            from stillhouse.students.gguf_files import write_gguf

            merged = {key: value.detach().float().cpu().numpy() for key, value in self.merged().items()}
            write_gguf(Path(self.base), merged, gguf, name=name)
            written.append(gguf)
        return written

    def merged(self) -> dict[str, Any]:
        """All weights under the base's names, adapters added to the layers they stand on."""
        out = {}
        for key, value in self.model.state_dict().items():
            if ".lora_" in key or (key == "lm_head.weight" and self.model.config.tie_word_embeddings):
                continue
            out[key.replace(".base.weight", ".weight").replace(".base.bias", ".bias")] = value
        for name, adapter in self.adapters.items():
            out[f"{name}.weight"] = adapter.base.weight + adapter.scale * adapter.lora_b @ adapter.lora_a
        return out

    def _adapter_state(self) -> dict[str, Any]:
        state = {}
        for name, adapter in self.adapters.items():
            for side, value in (("A", adapter.lora_a), ("B", adapter.lora_b)):
                state[f"base_model.model.{name}.lora_{side}.weight"] = value.detach().cpu().contiguous()
        return state

    def _adapter_config(self) -> dict[str, Any]:
        return {
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": Path(self.base).name,
            "r": self.rank, "lora_alpha": 2 * self.rank, "lora_dropout": 0.0, "bias": "none",
            "target_modules": list(LAYERS), "inference_mode": True,
        }  # fmt: skip


def lora(torch: Any, base: Any, rank: int) -> Any:
    """A linear layer with a low-rank addition (Hu et al. 2021), scale alpha / rank = 2; the layer itself is frozen."""

    class Lora(torch.nn.Module):  # type: ignore[misc]  # torch comes without types here
        def __init__(self) -> None:
            super().__init__()
            self.base, self.scale = base, 2.0
            shape = base.weight.shape
            self.lora_a = torch.nn.Parameter(torch.empty(rank, shape[1], device=base.weight.device))
            self.lora_b = torch.nn.Parameter(torch.zeros(shape[0], rank, device=base.weight.device))
            torch.nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

        def forward(self, inputs: Any) -> Any:
            low = torch.nn.functional.linear(inputs, self.lora_a)
            return self.base(inputs) + self.scale * torch.nn.functional.linear(low, self.lora_b)

    return Lora()
