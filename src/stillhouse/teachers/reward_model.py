"""A reward model with several heads from safetensors alone: no code of its repository runs, nothing is unpickled.

In: a folder (or a hub repository at a pinned commit) with config.json, tokenizer and *.safetensors that hold a backbone
known to transformers and one linear head. Out: the numbers of the heads for conversations. Needs the extra `reward`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.records import UserMistake

HEADS = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")  # their order in Decision-Tree-Reward
BACKBONE = "model."
WANTED_FILES = ("*.safetensors", "*.safetensors.index.json", "config.json", "tokenizer*", "special_tokens_map.json",
                "chat_template.*", "vocab.*", "merges.txt")  # fmt: skip
_COMMIT = re.compile(r"[0-9a-f]{40}")

Turns = Sequence[Mapping[str, str]]


def model_folder(name: str, revision: str | None = None) -> Path:
    """A local folder as it is; a hub repository at a commit, of which only weights, settings and tokenizer are fetched.

    Raises UserMistake for a repository without the 40 digits of a commit: a branch may change under a run.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if revision is None or not _COMMIT.fullmatch(revision):
        raise UserMistake(f"{name}: no such folder; a hub repository needs --revision with the 40 digits of a commit")
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, revision=revision, allow_patterns=list(WANTED_FILES)))


class RewardModel:
    """Scores conversations; built once, used from one thread.

    head: the name of the head's weight where the files hold several of its shape. heads: names of its outputs, in
    order. Raises UserMistake for files that are not there, not safetensors, or do not fit.
    """

    def __init__(
        self,
        folder: Path,
        *,
        heads: Sequence[str] = HEADS,
        head: str | None = None,
        device: str = "cpu",
        dtype: str = "auto",
        max_tokens: int = 8192,
    ) -> None:
        import torch
        import transformers

        self.heads, self.device, self.max_tokens = tuple(heads), device, max_tokens
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise UserMistake(f"{folder}: holds no *.safetensors; pickled weights are not loaded")
        kind = "auto" if dtype == "auto" else getattr(torch, dtype, None)
        if kind is None:
            raise UserMistake(f"--dtype {dtype}: torch has no such type; auto, float32, bfloat16 or float16")
        options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
            self.model, told = transformers.AutoModel.from_pretrained(
                folder, use_safetensors=True, dtype=kind, output_loading_info=True, **options
            )
        except (OSError, ValueError, KeyError) as error:
            raise UserMistake(f"{folder}: cannot be loaded: {str(error).splitlines()[0]}") from error
        if told["missing_keys"]:
            some = ", ".join(sorted(told["missing_keys"])[:3])
            raise UserMistake(f"{folder}: the backbone lacks {len(told['missing_keys'])} tensors, such as {some}")
        if not self.tokenizer.chat_template:
            raise UserMistake(f"{folder}: its tokenizer has no chat template, so it cannot render a conversation")
        self.model.to(device).eval()
        weight, bias = _read_head(files, len(self.heads), int(self.model.config.hidden_size), head)
        self.weight = weight.to(device=device, dtype=torch.float32)
        self.bias = None if bias is None else bias.to(device=device, dtype=torch.float32)
        self._special = sorted(set(self.tokenizer.all_special_tokens) | set(self.tokenizer.get_added_vocab()))

    def encode(self, turns: Turns) -> list[int]:
        """Token ids of a conversation by the model's chat template. What looks like a special token inside a turn is
        text there. Raises ValueError for more than max_tokens."""
        if any(token in turn["content"] for token in self._special for turn in turns):
            ids = self._encode_hostile(turns)
        else:
            text = self.tokenizer.apply_chat_template(list(turns), tokenize=False)
            ids = self.tokenizer.encode(text, add_special_tokens=False)
        if len(ids) > self.max_tokens:
            raise ValueError(f"the conversation has {len(ids)} tokens, and this server takes {self.max_tokens}")
        return list(ids)

    def _encode_hostile(self, turns: Turns) -> list[int]:
        """The template with a mark in place of each text; the texts are encoded without special tokens."""
        whole = "".join(turn["content"] for turn in turns)
        mark = "\u2e28turn {}\u2e29"
        while mark.format(0) in whole:
            mark = mark.replace("turn", "turn turn")
        marked = [{**turn, "content": mark.format(n)} for n, turn in enumerate(turns)]
        rest = self.tokenizer.apply_chat_template(marked, tokenize=False)
        ids: list[int] = []
        for number, turn in enumerate(turns):
            before, found, rest = rest.partition(mark.format(number))
            if not found:
                raise ValueError("the chat template of this model does not show every turn once and in order")
            ids += self.tokenizer.encode(before, add_special_tokens=False)
            ids += self.tokenizer.encode(turn["content"].strip(), add_special_tokens=False, split_special_tokens=True)
        return ids + list(self.tokenizer.encode(rest, add_special_tokens=False))

    def score(self, batch: Sequence[Sequence[int]]) -> list[dict[str, float]]:
        """The numbers of each conversation: the head at its last token. batch: token ids, padded here."""
        import torch

        longest = max(len(ids) for ids in batch)
        ids = torch.zeros((len(batch), longest), dtype=torch.long, device=self.device)
        mask = torch.zeros_like(ids)
        for row, one in enumerate(batch):
            ids[row, : len(one)] = torch.tensor(list(one), device=self.device)
            mask[row, : len(one)] = 1
        last = mask.sum(dim=1) - 1
        with torch.inference_mode():
            hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
            pooled = hidden[torch.arange(len(batch), device=self.device), last].float()
            out = pooled @ self.weight.T
            out = out if self.bias is None else out + self.bias
        return [dict(zip(self.heads, map(float, row), strict=True)) for row in out.tolist()]


def _read_head(files: Sequence[Path], outputs: int, hidden: int, name: str | None) -> tuple[Any, Any]:
    """(weight (outputs, hidden), bias or None): the tensors outside the backbone that have these shapes."""
    from safetensors import safe_open

    weights: dict[str, Any] = {}
    biases: dict[str, Any] = {}
    for file in files:
        with safe_open(str(file), framework="pt") as opened:
            for key in opened.keys():  # noqa: SIM118  no mapping
                if key.startswith(BACKBONE):
                    continue
                shape = tuple(opened.get_slice(key).get_shape())
                if shape in ((outputs, hidden), (hidden, outputs)):
                    weights[key] = opened.get_tensor(key)
                elif shape == (outputs,):
                    biases[key] = opened.get_tensor(key)
    if name is not None:
        weights = {key: tensor for key, tensor in weights.items() if key == name}
        stem = name.removesuffix("weight")
        biases = {key: tensor for key, tensor in biases.items() if key == f"{stem}bias"}
    if len(weights) != 1 or len(biases) > 1:
        found = ", ".join([*weights, *biases]) or "none"
        raise UserMistake(
            f"{files[0].parent}: wanted one head of {outputs} outputs over {hidden} values beside the backbone, found: "
            f"{found}; --head names one"
        )
    ((_, weight),) = weights.items()
    weight = weight if tuple(weight.shape) == (outputs, hidden) else weight.T
    return weight, next(iter(biases.values()), None)
