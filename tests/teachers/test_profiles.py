"""Claims about profiles, on reply shapes of the servers and models they are for.

Every shape is **hand-made** after the source that its row links to; none was recorded.
"""

import dataclasses
from typing import Any

import pytest

from stillhouse.records import Fault, Message, Query, Response, UserMistake
from stillhouse.teachers.openai import OpenAI
from stillhouse.teachers.profiles import PROFILES, THINK_ANSWER, find_profile

BOXED = "\\boxed{2}"
THOUGHT = "Okay, 1 and 1 make 2."


def read(profile: str, message: dict[str, Any], finish: Any = "stop", **more: Any) -> Response:
    teacher = OpenAI("t", "m", base_url="http://127.0.0.1:9/v1", profile=profile)
    request = teacher.request(Query((Message("user", "1 + 1?"),), "math"), 1)
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return teacher.read(request, {"id": "x", "object": "chat.completion", "model": "m", "choices": [choice], **more})


AM, QWEN, R1, PLAIN = "am-thinking-v1", "qwen3-235b-a22b", "deepseek-r1", "generic"


def said(content: str | None, **fields: Any) -> dict[str, Any]:
    return {"content": content, **fields}


VLLM = "https://docs.vllm.ai/en/stable/features/reasoning_outputs/"
VLLM_BEFORE = "https://docs.vllm.ai/en/v0.10.0/features/reasoning_outputs.html"  # the field is reasoning_content
VLLM_RENAMING = "https://docs.vllm.ai/en/v0.11.2/features/reasoning_outputs/"  # both
QWEN_CUT = "https://github.com/vllm-project/vllm/pull/35230"  # a truncated thought came as content until then
QWEN_FORCED = "https://github.com/vllm-project/vllm/issues/22507"  # a template that forces <think>, parser qwen3
SGLANG = "https://docs.sglang.io/docs/advanced_features/separate_reasoning"
DEEPSEEK_API = "https://api-docs.deepseek.com/guides/reasoning_model"
CARDS = "https://huggingface.co/"
AM_CARD, QWEN_CARD = f"{CARDS}a-m-team/AM-Thinking-v1", f"{CARDS}Qwen/Qwen3-235B-A22B"
R1_CARD, R1_0528_CARD = f"{CARDS}deepseek-ai/DeepSeek-R1", f"{CARDS}deepseek-ai/DeepSeek-R1-0528"
OPENAI_API = "https://platform.openai.com/docs/api-reference/chat/object"

# source, profile, message, finish reason, thinking, answer, malformed
SHAPES: list[tuple[str, str, dict[str, Any], str, str | None, str, bool]] = [
    # without a parser: both tags inline
    (AM_CARD, AM, said(f"<think>{THOUGHT}</think>\n<answer>\\boxed{{2}}</answer>"), "stop", THOUGHT, BOXED, False),
    # it speaks of its tags while it thinks
    (AM_CARD, AM, said("<think>I use <answer>.</think><answer>2</answer>"), "stop", "I use <answer>.", "2", False),
    # behind the deepseek_r1 parser: thinking apart, the answer tags stay
    (VLLM, AM, said("\n<answer>2</answer>", reasoning=THOUGHT), "stop", THOUGHT, "2", False),
    # cut within its thought
    (AM_CARD, AM, said(f"<think>{THOUGHT}"), "length", THOUGHT, "", True),
    # two answer blocks, text around them, no thought, an empty thought: not in form
    (AM_CARD, AM, said("<think>a</think><answer>1</answer><answer>2</answer>"), "stop", "a", "", True),
    (AM_CARD, AM, said("<think>a</think>So: <answer>2</answer>"), "stop", "a", "", True),
    (AM_CARD, AM, said("<answer>2</answer>"), "stop", None, "", True),
    (AM_CARD, AM, said("<think></think><answer>2</answer>"), "stop", None, "", True),
    # behind the qwen3 parser, by both names of the field, and both at once as gateways send them
    (VLLM, QWEN, said("\n\n\\boxed{2}", reasoning=f"\n{THOUGHT}\n"), "stop", THOUGHT, "\\boxed{2}", False),
    (VLLM_BEFORE, QWEN, said("2", reasoning_content=THOUGHT, tool_calls=[]), "stop", THOUGHT, "2", False),
    (VLLM_RENAMING, QWEN, said("2", reasoning=THOUGHT, reasoning_content=THOUGHT), "stop", THOUGHT, "2", False),
    (SGLANG, QWEN, said("2", reasoning_content=THOUGHT, tool_calls=None), "stop", THOUGHT, "2", False),
    # without a parser
    (QWEN_CARD, QWEN, said(f"<think>\n{THOUGHT}\n</think>\n\n2"), "stop", THOUGHT, "2", False),
    # the empty think block of non-thinking mode, and none at all behind a parser
    (QWEN_CARD, QWEN, said("<think>\n\n</think>\n\n2"), "stop", None, "2", True),
    (VLLM, QWEN, said("2", reasoning=None), "stop", None, "2", True),
    # a truncated thought: in content with its tag, in content without any tag, in the field
    (QWEN_CUT, QWEN, said(f"<think>\n{THOUGHT}", reasoning_content=None), "length", THOUGHT, "", True),
    (QWEN_CUT, QWEN, said(THOUGHT, reasoning_content=None), "length", None, THOUGHT, True),
    (QWEN_CUT, QWEN, said(None, reasoning=THOUGHT), "length", THOUGHT, "", True),
    # a forced <think> that the parser did not expect: content with the closing tag alone
    (QWEN_FORCED, QWEN, said(f"{THOUGHT}\n</think>\n\n2", reasoning_content=None), "stop", THOUGHT, "2", False),
    # the template wrote <think>: only the closing tag comes
    (R1_CARD, R1, said(f"{THOUGHT}\n</think>\n\n\\boxed{{2}}"), "stop", THOUGHT, "\\boxed{2}", False),
    (SGLANG, R1, said("2", reasoning_content=f"{THOUGHT}\n"), "stop", THOUGHT, "2", False),
    (VLLM, R1, said("\n\n2", reasoning=THOUGHT), "stop", THOUGHT, "2", False),
    # R1-0528 writes the opening tag itself
    (R1_0528_CARD, R1, said(f"<think>\n{THOUGHT}\n</think>\n\n2"), "stop", THOUGHT, "2", False),
    (DEEPSEEK_API, R1, said("2", reasoning_content=THOUGHT), "stop", THOUGHT, "2", False),
    # it skipped its thought, which its card warns of: inline, and with the forced tag written by the template
    (R1_CARD, R1, said("<think>\n\n</think>\n\n2"), "stop", None, "2", True),
    (R1_CARD, R1, said("\n</think>\n\n2"), "stop", None, "2", True),
    # cut within the forced thought: no tag at all; behind a parser: all in the field
    (R1_CARD, R1, said(THOUGHT), "length", None, THOUGHT, True),
    (VLLM, R1, said(None, reasoning=THOUGHT), "length", THOUGHT, "", True),
    # a closing tag within the separate field
    (VLLM, R1, said("2", reasoning_content="a</think>b"), "stop", "a</think>b", "2", True),
    # a plain model of any server: all answer
    (OPENAI_API, PLAIN, said("2"), "stop", None, "2", False),
    (QWEN_CARD, PLAIN, said(f"<think>{THOUGHT}</think>2"), "stop", THOUGHT, "2", False),
    (QWEN_CARD, PLAIN, said("<think>\n\n</think>\n\n2"), "stop", None, "2", False),
    (OPENAI_API, PLAIN, said(None, refusal="I cannot help."), "stop", None, "I cannot help.", False),
]  # fmt: skip


@pytest.mark.parametrize(("source", "profile", "message", "finish", "thinking", "answer", "malformed"), SHAPES)
def test_each_shape_is_brought_into_normal_form(
    source: str, profile: str, message: dict[str, Any], finish: str, thinking: str | None, answer: str, malformed: bool
) -> None:
    assert source.startswith("https://"), "every shape says where it was read"
    response = read(profile, message, finish)
    parts = response.parts
    assert (parts.malformed is not None) is malformed, parts
    assert parts.thinking == thinking
    assert response.truncated is (finish == "length")
    if not malformed:
        assert parts.answer == answer


@pytest.mark.parametrize(
    ("details", "cached", "thinking"),
    [
        # vLLM; with --enable-prompt-tokens-details
        ({"total_tokens": 120, "prompt_tokens_details": None}, None, None),
        ({"prompt_tokens_details": {"cached_tokens": 16}}, 16, None),
        # SGLang with --enable-cache-report, and its reasoning_tokens
        ({"reasoning_tokens": 80}, None, 80),
        # OpenAI
        ({"completion_tokens_details": {"reasoning_tokens": 64}}, None, 64),
        # the DeepSeek API
        ({"prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 12}, 8, None),
        # more cached than there were: cut to what there was
        ({"prompt_tokens_details": {"cached_tokens": 99}}, 20, None),
    ],
)
def test_usage_is_read_as_each_server_gives_it(
    details: dict[str, Any], cached: int | None, thinking: int | None
) -> None:
    response = read("generic", {"content": "2"}, usage={"prompt_tokens": 20, "completion_tokens": 100, **details})
    assert (response.prompt_tokens, response.completion_tokens) == (20, 100)
    assert (response.cached_tokens, response.thinking_tokens, response.counted) == (cached, thinking, False)


@pytest.mark.parametrize(
    "finish", ["abort", {"type": "abort", "message": "out of memory"}, "insufficient_system_resource"]
)
def test_a_reply_that_the_server_gave_up_is_a_fault(finish: Any) -> None:
    with pytest.raises(Fault) as caught:
        read("deepseek-r1", {"content": "half a rep"}, finish)
    assert caught.value.retryable and caught.value.maybe_paid


@pytest.mark.parametrize(
    ("name", "sampling", "max_tokens", "perplexity", "place", "forced"),
    [
        ("am-thinking-v1", {"temperature": 0.6, "top_p": 0.95}, 49_152, 5.0, "system", False),
        (QWEN, {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.0}, 38_912, 20.0, "system", False),
        ("deepseek-r1", {"temperature": 0.6, "top_p": 0.95}, 32_768, 20.0, "user_head", True),
    ],
)  # fmt: skip
def test_the_papers_teachers_have_the_papers_settings(
    name: str, sampling: dict[str, Any], max_tokens: int, perplexity: float, place: str, forced: bool
) -> None:
    profile = find_profile(name)
    assert dict(profile.sampling) == sampling and profile.max_tokens == max_tokens
    assert (profile.perplexity, profile.system_place, profile.forced_think) == (perplexity, place, forced)
    assert profile.thinking == "required" and profile.system_prompt == THINK_ANSWER and profile.terms == "yes"
    assert profile.licence and profile.family and profile.sources


def test_qwen3_thinks_unless_it_is_told_not_to() -> None:
    def body(**settings: Any) -> dict[str, Any]:
        teacher = OpenAI("t", "m", base_url="http://a/v1", profile="qwen3-235b-a22b", **settings)
        return teacher.body(teacher.request(Query((Message("user", "q"),), "math"), 1))

    assert body()["chat_template_kwargs"] == {"enable_thinking": True}
    assert body(thinking="none")["chat_template_kwargs"] == {"enable_thinking": False}


def test_profiles_are_frozen_to_their_depth() -> None:
    for profile in PROFILES.values():
        with pytest.raises(dataclasses.FrozenInstanceError):
            profile.max_tokens = 1  # type: ignore[misc]
        with pytest.raises(TypeError):
            profile.suffixes["math"] = "x"  # type: ignore[index]
    with pytest.raises(TypeError):
        PROFILES["qwen3-235b-a22b"].extra_body["chat_template_kwargs"]["enable_thinking"] = False


def test_an_unknown_profile_is_told_with_what_was_meant() -> None:
    with pytest.raises(UserMistake, match="did you mean deepseek-r1"):
        find_profile("deepseek_r1")
