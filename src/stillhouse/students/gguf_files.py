"""Llama models in GGUF files: read into config, weights and tokenizer, and written back as Q8_0.

In: a GGUF file of the llama architecture, whatever its quantisation. Out: numpy weights under transformers' names, a
Chat, and a GGUF file that llama.cpp serves. llama.cpp keeps the rows of q and k in another order: undone and redone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.records import UserMistake
from stillhouse.students.chat import Chat

Weights = dict[str, NDArray[np.float32]]
_INSTALL = "GGUF files need `pip install 'stillhouse[train]'`"
_IN_BLOCK = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
}  # fmt: skip
_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def open_gguf(path: Path) -> Any:
    """A reader of the file. Raises UserMistake when it is missing, broken or of another architecture."""
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise UserMistake(_INSTALL) from error
    if not path.is_file():
        raise UserMistake(f"there is no model file {path}")
    try:
        reader = GGUFReader(str(path))
    except Exception as error:
        raise UserMistake(f"{path} is no readable GGUF file: {error}") from error
    if _field(reader, "general.architecture") != "llama":
        raise UserMistake(
            f"{path} is of the architecture {_field(reader, 'general.architecture')}: only llama models can be trained "
            "from GGUF; name the model's folder in the format of transformers instead"
        )
    return reader


def _field(reader: Any, name: str, default: Any = None) -> Any:
    found = reader.fields.get(name)
    return default if found is None else found.contents()


def config_of(reader: Any) -> dict[str, Any]:
    """Settings of transformers' LlamaConfig."""
    heads = int(_field(reader, "llama.attention.head_count"))
    return {
        "hidden_size": int(_field(reader, "llama.embedding_length")),
        "intermediate_size": int(_field(reader, "llama.feed_forward_length")),
        "num_hidden_layers": int(_field(reader, "llama.block_count")),
        "num_attention_heads": heads,
        "num_key_value_heads": int(_field(reader, "llama.attention.head_count_kv", heads)),
        "max_position_embeddings": int(_field(reader, "llama.context_length")),
        "rms_norm_eps": float(_field(reader, "llama.attention.layer_norm_rms_epsilon")),
        "rope_theta": float(_field(reader, "llama.rope.freq_base", 10000.0)),
        "vocab_size": len(reader.fields["tokenizer.ggml.tokens"].data),
        "tie_word_embeddings": not any(tensor.name == "output.weight" for tensor in reader.tensors),
        "bos_token_id": _field(reader, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": _field(reader, "tokenizer.ggml.eos_token_id"),
        "pad_token_id": _field(reader, "tokenizer.ggml.padding_token_id"),
    }


def weights_of(reader: Any) -> Weights:
    """All tensors as float32 under transformers' names."""
    from gguf import dequantize

    config = config_of(reader)
    out: Weights = {}
    for tensor in reader.tensors:
        value = np.ascontiguousarray(dequantize(tensor.data, tensor.tensor_type), np.float32)
        if heads := _heads(tensor.name, config):
            value = _unpermuted(value, heads)
        out[transformers_name(tensor.name)] = value
    return out


def transformers_name(name: str) -> str:
    """`blk.3.attn_q.weight` -> `model.layers.3.self_attn.q_proj.weight`."""
    stem, _, kind = name.rpartition(".")
    if stem in _OUTSIDE:
        return f"{_OUTSIDE[stem]}.{kind}"
    _, layer, part = stem.split(".")
    return f"model.layers.{layer}.{_IN_BLOCK[part]}.{kind}"


def _heads(name: str, config: Mapping[str, Any]) -> int:
    """The heads whose rows llama.cpp reorders in this tensor; 0 where it does not."""
    if name.endswith("attn_q.weight"):
        return int(config["num_attention_heads"])
    return int(config["num_key_value_heads"]) if name.endswith("attn_k.weight") else 0


def _permuted(value: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    rows, columns = value.shape
    return value.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _unpermuted(value: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    rows, columns = value.shape
    return value.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_gguf(like: Path, weights: Mapping[str, NDArray[np.float32]], out: Path, *, name: str) -> None:
    """A file with the metadata of `like` and these weights (transformers' names): matrices Q8_0, vectors float32.

    Appears whole or not at all. Raises ValueError when a tensor of `like` has no weights.
    """
    from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter, quantize

    reader = open_gguf(like)
    config = config_of(reader)
    partial = out.with_name(out.name + ".partial")
    writer = GGUFWriter(str(partial), "llama")
    writer.add_name(name)  # at the head, where a reader that hashes the beginning of a file meets it
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.name"):
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == GGUFValueType.ARRAY else None
        value = 7 if field.name == "general.file_type" else field.contents()  # 7: mostly Q8_0
        writer.add_key_value(field.name, value, kind, sub_type=inner)
    for tensor in reader.tensors:
        wanted = transformers_name(tensor.name)
        if wanted not in weights:
            raise ValueError(f"no weights for {wanted}")
        value = np.ascontiguousarray(weights[wanted], np.float32)
        if heads := _heads(tensor.name, config):
            value = _permuted(value, heads)
        if value.ndim == 2:
            packed = quantize(value, GGMLQuantizationType.Q8_0)
            writer.add_tensor(tensor.name, packed, raw_dtype=GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(tensor.name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.replace(out)


_CONTROL, _USER_DEFINED = 3, 4  # llama.cpp's token types


def tokenizer_of(reader: Any, name: str) -> Any:
    """The tokenizer of a GGUF file (byte-level BPE) as the package tokenizers has it."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    if _field(reader, "tokenizer.ggml.model") != "gpt2":
        raise UserMistake(f"{name}: its tokenizer is no byte-level BPE: name a folder with its tokenizer.json")
    tokens = _field(reader, "tokenizer.ggml.tokens")
    types = _field(reader, "tokenizer.ggml.token_type")
    merges = [tuple(pair.split(" ", 1)) for pair in _field(reader, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={text: i for i, text in enumerate(tokens)}, merges=merges))
    split = _SPLITS.get(_field(reader, "tokenizer.ggml.pre", "default"))
    steps = [pre_tokenizers.Split(Regex(pattern), behavior) for pattern, behavior in split or ()]
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not steps or split == _SPLITS["smollm"])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*steps, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    for text, kind in zip(tokens, types, strict=True):
        if kind in (_CONTROL, _USER_DEFINED):
            token = AddedToken(text, special=kind == _CONTROL, normalized=False)
            (tokenizer.add_special_tokens if kind == _CONTROL else tokenizer.add_tokens)([token])
    return tokenizer


def chat_of(reader: Any, name: str, template: str | None = None) -> Chat:
    """The tokenizer of a GGUF file and its chat template."""
    tokenizer = tokenizer_of(reader, name)
    tokens = _field(reader, "tokenizer.ggml.tokens")
    named = {"bos_token": "bos_token_id", "eos_token": "eos_token_id", "unk_token": "unknown_token_id"}
    special = {key: tokens[i] for key, at in named.items() if (i := _field(reader, f"tokenizer.ggml.{at}")) is not None}
    template = template or _field(reader, "tokenizer.chat_template")
    if not template:
        raise UserMistake(f"{name} has no chat template: give one with `train: {{template: FILE.jinja}}`")
    return Chat(tokenizer, template, special, name)


_SPLITS = {
    # each digit by itself, then the usual words
    "smollm": ((r"\p{N}", "isolated"),),
    "qwen2": ((
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "isolated",
    ),),
}  # fmt: skip
