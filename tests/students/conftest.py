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
