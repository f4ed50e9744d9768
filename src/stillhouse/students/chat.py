"""A student's tongue: its tokenizer and its chat template, as its trainer would use them.

In: a folder, a hub name or a GGUF file. Out: rendered prompts and turns, token ids, and the control tokens that no
text of a dataset may hold. Templates are code written by strangers: they run in jinja's immutable sandbox.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.records import UserMistake

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Turns = Sequence[Mapping[str, Any]]
Tokens = NDArray[np.int32]
_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


class Chat:
    """A tokenizer with its chat template.

    template: jinja text. tokens: bos_token, eos_token and their like by name, as templates refer to them. end: the
    text with which the template closes an assistant turn, up to its last control token.
    """

    def __init__(self, tokenizer: Tokenizer, template: str, tokens: Mapping[str, str], name: str = "") -> None:
        self.tokenizer, self.template, self.tokens, self.name = tokenizer, template, dict(tokens), name
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self._compiled = _compile(template, name)
        added = self.tokenizer.get_added_tokens_decoder().values()
        self.controls = frozenset(t.content for t in added if t.special) | frozenset(self.tokens.values())
        self._control = re.compile("|".join(map(re.escape, sorted(self.controls, key=len, reverse=True))) or r"(?!)")
        self.vocabulary = self.tokenizer.get_vocab_size(with_added_tokens=True)
        self.end = self._end()

    @staticmethod
    def load(place: str | Path, *, template: str | None = None) -> Chat:
        """From a folder with tokenizer.json, a GGUF file, or a hub name; `template` (text) overrides its own."""
        path = Path(place)
        if path.suffix == ".gguf":
            from stillhouse.students.gguf_files import chat_of, open_gguf

            return chat_of(open_gguf(path), path.name, template)
        return _from_folder(path if path.is_dir() else _from_hub(str(place)), str(place), template)

    def render(self, turns: Turns, *, generate: bool = False) -> str:
        """The template's text; generate opens an assistant turn at the end. Raises UserMistake when it refuses."""
        try:
            return str(self._compiled.render(messages=list(turns), add_generation_prompt=generate, **self.tokens))
        except Exception as error:
            raise UserMistake(f"the chat template of {self.name} fails: {error}") from error

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of each text, without added special tokens; control tokens in the text become their ids."""
        batch = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(item.ids, np.int32) for item in batch]

    def decode(self, tokens: Sequence[int] | Tokens) -> str:
        return str(self.tokenizer.decode([int(t) for t in tokens], skip_special_tokens=False))

    def control_in(self, text: str) -> str | None:
        """The first control token that stands in a text, which would be read as one: an injection."""
        found = self._control.search(text)
        return found.group() if found else None

    @property
    def end_token(self) -> int:
        """Id of the token with which an assistant turn ends: where generation stops."""
        return int(self.encode([self.end])[0][-1])

    def _end(self) -> str:
        """What the template writes behind an assistant's words, found by rendering a mark in their place."""
        mark = "closing-mark"
        turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": mark}]
        _, found, tail = self.render(turns).rpartition(mark)
        closings = list(self._control.finditer(tail)) if found else []
        if closings:
            return tail[: closings[-1].end()]
        if "eos_token" in self.tokens:
            return self.tokens["eos_token"]
        raise UserMistake(f"{self.name}: neither the chat template nor the tokenizer says how an assistant turn ends")


def _compile(template: str, name: str) -> Any:
    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, indent: int | None = None) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    # The settings that every trainer renders chat templates with; `generation` marks are read and ignored.
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals |= {"raise_exception": refuse, "strftime_now": lambda _: "2025-01-01"}
    plain = re.sub(r"\{%(-?)\s*(?:end)?generation\s*(-?)%\}", r"{%\1 if true \2%}{%\1 endif \2%}", template)
    try:
        return environment.from_string(plain)
    except TemplateError as error:
        raise UserMistake(f"the chat template of {name} is not valid jinja: {error}") from error


def _token_text(value: Any) -> str | None:
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) and value else None


def read_tokenizer(place: str) -> Tokenizer:
    """The tokenizer alone, from the same places as Chat.load."""
    path = Path(place)
    if path.suffix == ".gguf":
        from stillhouse.students.gguf_files import open_gguf, tokenizer_of

        made: Tokenizer = tokenizer_of(open_gguf(path), path.name)
        return made
    return _tokenizer_of(path if path.is_dir() else _from_hub(place), place)


def _tokenizer_of(folder: Path, name: str) -> Tokenizer:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise UserMistake(f"reading the tokenizer of {name} needs `pip install 'stillhouse[train]'`") from error
    try:
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:
        raise UserMistake(
            f"{name}: tokenizer.json cannot be read ({error}); a student needs a fast tokenizer"
        ) from error


def _from_folder(folder: Path, name: str, template: str | None) -> Chat:
    tokenizer = _tokenizer_of(folder, name)
    settings: dict[str, Any] = {}
    for file in _FILES[1:3]:
        if (folder / file).is_file():
            settings |= json.loads((folder / file).read_text(encoding="utf-8"))
    if template is None:
        template = _template_of(folder, settings, name)
    tokens = {key: text for key in ("bos_token", "eos_token", "pad_token", "unk_token")
              if (text := _token_text(settings.get(key)))}  # fmt: skip
    return Chat(tokenizer, template, tokens, name)


def _template_of(folder: Path, settings: Mapping[str, Any], name: str) -> str:
    beside = folder / "chat_template.jinja"
    if beside.is_file():
        return beside.read_text(encoding="utf-8")
    written = settings.get("chat_template")
    if isinstance(written, list):  # several templates by name
        written = next((t.get("template") for t in written if t.get("name") == "default"), None)
    if not isinstance(written, str):
        raise UserMistake(f"{name} has no chat template: give one with `train: {{template: FILE.jinja}}`")
    return written


def _from_hub(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UserMistake(f"{name} is no folder here, and hub names need `pip install 'stillhouse[train]'`") from error
    try:
        return Path(snapshot_download(name, allow_patterns=list(_FILES)))
    except Exception as error:
        raise UserMistake(
            f"the tokenizer of {name} is not to be had ({type(error).__name__}): name a folder that holds its "
            "tokenizer.json and tokenizer_config.json with `train: {tokenizer: FOLDER}`"
        ) from error
