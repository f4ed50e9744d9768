"""What is known of each teacher model, as frozen data: prompts, sampling, limits, thinking, terms, perplexity bound.

In: a profile's name. Out: a Profile. Every value is a default that a teacher's own settings replace. Sources: the
paper and its sibling papers (2505.14464, 2504.17565), the model cards of a-m-team/AM-Thinking-v1, Qwen/Qwen3-235B-A22B
and deepseek-ai/DeepSeek-R1, and the cards of the published datasets.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from stillhouse.records import Terms, Thinking, UserMistake

THINK_ANSWER = (
    "You are a helpful assistant. To answer the user's question, you first think about the reasoning process and "
    "then provide the user with the answer. The reasoning process and answer are enclosed within <think> </think> "
    "and <answer> </answer> tags, respectively, i.e., <think> reasoning process here </think> <answer> answer here "
    "</answer>."
)
MATH_SUFFIX = "Let's think step by step and output the final answer within \\boxed{}."
CODE_SUFFIX = "Let's think step by step and output the final answer within\n```python\nyour code\n```"
CPP_SUFFIX = "Let's think step by step and output the final answer within\n```cpp\nyour code\n```"
SUFFIXES: Mapping[str, str] = MappingProxyType({"math": MATH_SUFFIX, "code": CODE_SUFFIX, "code:cpp": CPP_SUFFIX})

SystemPlace = Literal["system", "user_head"]


@dataclass(frozen=True, slots=True)
class Profile:
    """Defaults of one model.

    system_place: a system turn, or the head of the first user turn. suffixes: by category, `code:cpp` for queries
    whose extra says `language: cpp`. forced_think: the chat template writes `<think>` itself, so that a reply holds
    only the closing tag. perplexity: strictly above it is dropped. family: models of one family are kin.
    extra_body: further fields of the request. sources: where the values come from.
    """

    name: str
    thinking: Thinking = "optional"
    system_prompt: str | None = THINK_ANSWER
    system_place: SystemPlace = "system"
    suffixes: Mapping[str, str] = field(default_factory=lambda: SUFFIXES)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int = 32_768
    forced_think: bool = False
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    perplexity: float = 20.0
    family: str = ""
    licence: str = ""
    terms: Terms = "unknown"
    terms_note: str = ""
    sources: tuple[str, ...] = ()


_USUAL: Mapping[str, Any] = MappingProxyType({"temperature": 0.6, "top_p": 0.95})

PROFILES: Mapping[str, Profile] = MappingProxyType({
    profile.name: profile
    for profile in (
        Profile(
            name="am-thinking-v1",
            thinking="required",
            sampling=_USUAL,
            max_tokens=49_152,
            perplexity=5.0,
            family="qwen2.5",  # trained from Qwen2.5-32B, the student's own base
            licence="Apache-2.0",
            terms="yes",
            terms_note="The model is Apache-2.0; the published AM-Thinking-v1-Distilled is for research only.",
            sources=("https://huggingface.co/a-m-team/AM-Thinking-v1",),
        ),
        Profile(
            name="qwen3-235b-a22b",
            thinking="required",
            sampling=MappingProxyType({**_USUAL, "top_k": 20, "min_p": 0.0}),
            max_tokens=38_912,
            extra_body=MappingProxyType({"chat_template_kwargs": MappingProxyType({"enable_thinking": True})}),
            family="qwen3",
            licence="Apache-2.0",
            terms="yes",
            terms_note="The model is Apache-2.0; the published AM-Qwen3-Distilled is for research only.",
            sources=("https://huggingface.co/Qwen/Qwen3-235B-A22B",),
        ),
        Profile(
            name="deepseek-r1",
            thinking="required",
            system_place="user_head",  # its authors advise no system prompt
            sampling=_USUAL,
            max_tokens=32_768,
            forced_think=True,
            family="deepseek-v3",
            licence="MIT",
            terms="yes",
            terms_note="The model is MIT and its card allows distillation; a host of it may have terms of its own.",
            sources=("https://huggingface.co/deepseek-ai/DeepSeek-R1",),
        ),
        Profile(name="generic", sampling=_USUAL),
        Profile(
            name="judge",
            thinking="optional",
            system_prompt=None,
            suffixes=MappingProxyType({}),
            sampling=MappingProxyType({"temperature": 0.0}),
            max_tokens=1024,
        ),
    )
})  # fmt: skip


# What a model's name says of the weights that it was trained from; the first that matches, so distils come first.
_LINEAGE = (
    ("am-thinking", "qwen2.5"), ("r1-distill-qwen", "qwen2.5"), ("r1-distill-llama", "llama-3"), ("qwq", "qwen2.5"),
    ("qwen2.5", "qwen2.5"), ("qwen3", "qwen3"), ("qwen2", "qwen2"), ("deepseek-r1", "deepseek-v3"),
    ("deepseek-v3", "deepseek-v3"), ("smollm2", "smollm2"), ("smollm3", "smollm3"), ("llama-3", "llama-3"),
    ("llama3", "llama-3"), ("gemma-3", "gemma-3"), ("gemma3", "gemma-3"), ("gpt-oss", "gpt-oss"), ("glm-4", "glm-4"),
)  # fmt: skip


def family_of(model: str) -> str:
    """The base lineage that a model's name or file name tells, "" where it tells none."""
    name = model.lower().replace("_", "-")
    return next((family for part, family in _LINEAGE if part in name), "")


def find_profile(name: str) -> Profile:
    """The profile of that name; raises UserMistake with what was probably meant."""
    if name in PROFILES:
        return PROFILES[name]
    near = difflib.get_close_matches(name.lower(), PROFILES, n=1, cutoff=0.5)
    meant = f"did you mean {near[0]}? " if near else ""
    raise UserMistake(f"profile: there is no {name!r}; {meant}there are {', '.join(PROFILES)}")
