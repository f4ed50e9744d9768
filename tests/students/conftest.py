"""A tokenizer that needs no download: bytes as tokens, and the control tokens of the template fixtures."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("tokenizers")
pytest.importorskip("jinja2")

from stillhouse.students.chat import Chat

TEMPLATES = Path(__file__).parent / "templates"
CONTROLS = ("<|im_start|>", "<|im_end|>", "<|user|>", "<|assistant|>", "<|end|>", "<|bos|>")


def byte_tokenizer(controls=CONTROLS):
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = {text: i for i, text in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in controls])
    return tokenizer


def make_chat(template: str) -> Chat:
    """A Chat over a template fixture's name, or over a template's text."""
    text = template if "{" in template else (TEMPLATES / f"{template}.jinja").read_text(encoding="utf-8")
    named = re.findall(r"<[|｜][\w▁]+[|｜]>", text)  # control tokens of real templates
    return Chat(
        byte_tokenizer(dict.fromkeys([*CONTROLS, *named])),
        text,
        {"bos_token": "<|bos|>", "eos_token": "<|im_end|>"},
        template[:40],
    )


@pytest.fixture
def chat_with() -> Callable[[str], Chat]:
    return make_chat


@pytest.fixture
def dataset_row() -> Callable[..., dict]:
    """A row as export writes it: the last assistant turn in normal form, thinking and answer beside it."""

    def row(question="What is 7 + 9?", thinking="7 and 9\nmake 16.", answer="\\boxed{16}", key="k1", before=()):
        text = f"<think>{thinking}</think>\n<answer>{answer}</answer>" if thinking else f"<answer>{answer}</answer>"
        messages = [*before, {"role": "user", "content": question}, {"role": "assistant", "content": text}]
        return {"key": key, "messages": messages, "thinking": thinking, "answer": answer}

    return row


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory) -> Path:
    """A llama of some ten thousand random weights with a byte tokenizer, as a GGUF file."""
    gguf = pytest.importorskip("gguf")
    import numpy as np

    path = tmp_path_factory.mktemp("base") / "tiny.gguf"
    size, inner, layers, heads, key_heads = 64, 96, 2, 4, 2
    tokens = [text for text, _ in sorted(byte_tokenizer().get_vocab().items(), key=lambda item: item[1])] + ["ab"]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("tiny")
    writer.add_block_count(layers)
    writer.add_context_length(512)
    writer.add_embedding_length(size)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(key_heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(size // heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if text in CONTROLS else 1 for text in tokens])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(tokens.index("<|bos|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(tokens.index("<|im_end|>"))
    writer.add_chat_template((TEMPLATES / "keeps_inline_drops_field.jinja").read_text(encoding="utf-8"))
    random = np.random.default_rng(0)

    def add(name, *shape):
        value = np.ones(shape, np.float32) if len(shape) == 1 else random.normal(0, 0.15, shape).astype(np.float32)
        writer.add_tensor(name, value)

    add("token_embd.weight", len(tokens), size)
    for layer in range(layers):
        for name in ("attn_norm", "ffn_norm"):
            add(f"blk.{layer}.{name}.weight", size)
        for name, rows, columns in (
            ("attn_q", size, size), ("attn_k", size // heads * key_heads, size),
            ("attn_v", size // heads * key_heads, size), ("attn_output", size, size),
            ("ffn_gate", inner, size), ("ffn_up", inner, size), ("ffn_down", size, inner),
        ):  # fmt: skip
            add(f"blk.{layer}.{name}.weight", rows, columns)
    add("output_norm.weight", size)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def student_folder(tmp_path: Path) -> Path:
    """A folder with what of a student is needed for rendering: tokenizer.json, its settings and a template."""
    import json

    folder = tmp_path / "student"
    folder.mkdir()
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    special = {"content": "<|bos|>", "special": True, "__type": "AddedToken"}  # as older tokenizers wrote it
    settings = {"bos_token": special, "eos_token": "<|im_end|>", "tokenizer_class": "PreTrainedTokenizerFast"}
    settings["chat_template"] = (TEMPLATES / "keeps_inline_drops_field.jinja").read_text(encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder
