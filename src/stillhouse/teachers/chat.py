"""The settings of a teacher behind a chat endpoint: as people write them, and as a profile fills them in.

In: a mapping of settings. Out: a Chat, checked. Every mistake is told at once (UserMistake), unknown settings with what
was probably meant.
"""

from __future__ import annotations

import difflib
import importlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, get_args

from stillhouse.records import Part, Price, Terms, Thinking, UserMistake
from stillhouse.teachers.profiles import Profile, SystemPlace, find_profile
from stillhouse.teachers.prompts import Prompts, estimate_tokens
from stillhouse.teachers.settings import (
    OURS,
    plain,
    read_examples,
    read_positive,
    read_price,
    read_sampling,
    read_suffixes,
    read_terms,
)
from stillhouse.transport.client import MAX_BYTES, endpoint_problems

log = logging.getLogger("stillhouse.teachers")
FROM_PROFILE = "profile"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSettings:
    """What may be said of a chat teacher. None (and `profile` for the system prompt) means: as the profile has it.

    base_url ends where `/chat/completions` is appended; base_urls: several endpoints of one model. price: {input,
    output, cached, thinking} dollars per million tokens, or {per_hour}. api_key_env: variable that holds the key.
    system_prompt: a text, null for none. sampling: replaces the profile's as a whole; temperature, top_p, top_k and
    min_p are single values of it. seed: true derives one from each reply's key, so attempts differ; false sends none.
    stream with early_stop cancels a reply that loops or runs over its limit. timeout: seconds of one whole request.
    extra_body: further fields of the request. revision: of the weights, a part of the identity. counter:
    what counts tokens where the server sends no usage: `module:function` from a text to a number, or the Part of a
    tokenizer. ca_file: authority of a self-signed endpoint. proxy: use that of the environment. The last four are for
    the loop.
    """

    base_url: str | None = None
    base_urls: Sequence[str] | None = None
    profile: str = "generic"
    price: Any = None
    api_key_env: str | None = None
    api_key_header: str = "Authorization"
    system_prompt: str | None = FROM_PROFILE
    system_place: SystemPlace | None = None
    suffixes: Mapping[str, str] | None = None
    examples: Any = None
    sampling: Mapping[str, Any] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: bool | int = True
    max_tokens: int | None = None
    max_tokens_field: str = "max_tokens"
    thinking: Thinking | None = None
    stream: bool = False
    early_stop: bool = True
    timeout: float = 3600.0
    max_bytes: int = MAX_BYTES
    extra_body: Mapping[str, Any] | None = None
    revision: str = ""
    terms: Terms | bool | None = None
    licence: str | None = None
    family: str | None = None
    perplexity: float | None = None
    counter: str | Part | None = None
    ca_file: str | None = None
    proxy: bool = False
    max_in_flight: int = 64
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    batch: bool = False


@dataclass(frozen=True, slots=True)
class Chat:
    """The settings that hold, and what they were filled in from. extra: the fields of extra_body, as JSON has them."""

    given: ChatSettings
    profile: Profile
    endpoints: tuple[str, ...]
    price: Price | None
    terms: Terms
    thinking: Thinking
    max_tokens: int
    sampling: Mapping[str, Any]
    extra: Mapping[str, Any]
    prompts: Prompts
    count: Callable[[str], int]

    @property
    def licence(self) -> str:
        return self.profile.licence if self.given.licence is None else self.given.licence

    @property
    def family(self) -> str:
        return self.profile.family if self.given.family is None else self.given.family

    @property
    def perplexity(self) -> float:
        return self.profile.perplexity if self.given.perplexity is None else self.given.perplexity


def read_chat(name: str, model: str, settings: Mapping[str, Any]) -> Chat:
    """Fill in, check, and tell every mistake at once."""
    where, problems = f"teacher {name}", list[str]()
    given = ChatSettings(**_known(settings, where, problems))
    profile = _profile(given.profile, where, problems)
    urls = [*(given.base_urls or ()), *([given.base_url] if given.base_url else [])]
    if not urls:
        problems.append(f"{where}: base_url is missing, such as http://127.0.0.1:8000/v1")
    problems += (f"{where}: {problem}" for url in urls for problem in endpoint_problems(url))
    if not model:
        problems.append(f"{where}: model is missing: the name under which the endpoint serves it")
    if given.thinking is not None and given.thinking not in get_args(Thinking):
        problems.append(f"{where}: thinking is one of {', '.join(get_args(Thinking))}, not {given.thinking!r}")
    for whole in ("max_tokens", "max_in_flight", "max_bytes"):
        read_positive(getattr(given, whole), whole, where, problems, whole=True)
    for limit in ("timeout", "requests_per_minute", "tokens_per_minute"):
        read_positive(getattr(given, limit), limit, where, problems)
    chat = Chat(
        given=given,
        profile=profile,
        endpoints=tuple(url.rstrip("/") for url in urls),
        price=read_price(given.price, where, problems),
        terms=profile.terms if given.terms is None else read_terms(given.terms, where, problems),
        thinking=given.thinking or profile.thinking,
        max_tokens=given.max_tokens or profile.max_tokens,
        sampling=_sampling(given, profile, where, problems),
        extra=_extra(given, profile, where, problems),
        prompts=_prompts(given, profile, where, problems),
        count=estimate_tokens if given.counter is None else _counter(given.counter, where, problems),
    )
    if problems:
        raise UserMistake(*problems)
    return chat


def _known(settings: Mapping[str, Any], where: str, problems: list[str]) -> dict[str, Any]:
    names = [field.name for field in fields(ChatSettings)]
    for name in settings:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            problems.append(f"{where}: there is no setting {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
    return {name: value for name, value in settings.items() if name in names}


def _profile(name: str, where: str, problems: list[str]) -> Profile:
    try:
        return find_profile(name)
    except UserMistake as mistake:
        problems += (f"{where}: {problem}" for problem in mistake.problems)
        return find_profile("generic")


def _sampling(given: ChatSettings, profile: Profile, where: str, problems: list[str]) -> dict[str, Any]:
    single = {name: getattr(given, name) for name in ("temperature", "top_p", "top_k", "min_p")}
    mixed = dict(profile.sampling if given.sampling is None else given.sampling)
    mixed |= {name: value for name, value in single.items() if value is not None}
    return read_sampling(mixed, where, problems)


def _extra(given: ChatSettings, profile: Profile, where: str, problems: list[str]) -> dict[str, Any]:
    taken = sorted(OURS & set(given.extra_body or ()))
    if taken:
        problems.append(f"{where}: extra_body cannot set {', '.join(taken)}: there are settings for that")
    extra: dict[str, Any] = plain({**profile.extra_body, **(given.extra_body or {})})
    switch = extra.get("chat_template_kwargs")
    if given.thinking == "none" and isinstance(switch, dict) and "enable_thinking" in switch:
        switch["enable_thinking"] = False
    return extra


def _prompts(given: ChatSettings, profile: Profile, where: str, problems: list[str]) -> Prompts:
    return Prompts(
        system=profile.system_prompt if given.system_prompt == FROM_PROFILE else given.system_prompt,
        place=given.system_place or profile.system_place,
        suffixes=profile.suffixes if given.suffixes is None else read_suffixes(given.suffixes, where, problems),
        examples=read_examples(given.examples, where, problems),
    )


class _Tokenizer:
    """A tokenizer, built when a text has to be counted; where it cannot be, tokens are estimated, and it is said."""

    def __init__(self, part: Part, where: str) -> None:
        self._part, self._where = part, where
        self._built: Callable[[Sequence[str]], Sequence[int]] | None = None
        self._missing = False

    def __call__(self, text: str) -> int:
        if self._built is None and not self._missing:
            try:
                self._built = self._part.build()
            except (UserMistake, ImportError, OSError, ValueError) as error:
                self._missing = True
                log.warning("%s sends no usage, and its tokens are estimated: %s", self._where, error)
        return estimate_tokens(text) if self._built is None else int(self._built([text])[0])


def _counter(path: str | Part, where: str, problems: list[str]) -> Callable[[str], int]:
    if isinstance(path, Part):
        return _Tokenizer(path, where)
    module, _, attribute = str(path).partition(":")
    try:
        counter: Callable[[str], int] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        problems.append(f"{where}: counter is an import path such as my_module:count; {path!r} gives: {error}")
        return estimate_tokens
    return counter
