"""Claims about prompts: where the system text stands, what is appended, what history keeps, and the upper bound."""

from typing import Any

import pytest

from stillhouse.records import Message, Query
from stillhouse.teachers.profiles import CODE_SUFFIX, CPP_SUFFIX, MATH_SUFFIX, PROFILES, SUFFIXES, THINK_ANSWER
from stillhouse.teachers.prompts import Prompts, estimate_tokens, prompt_bound, without_thinking


def turns(*texts: str) -> tuple[Message, ...]:
    return tuple(Message("user" if at % 2 == 0 else "assistant", text) for at, text in enumerate(texts))


def sent(prompts: Prompts, *texts: str, category: str = "math", **more: Any) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in prompts.messages(Query(turns(*texts), category, **more))]


def test_a_querys_own_system_text_follows_the_profiles() -> None:
    assert sent(Prompts(system="P"), "q", system="Q") == [("system", "P\n\nQ"), ("user", "q")]
    assert sent(Prompts(), "q", system="Q") == [("system", "Q"), ("user", "q")]
    assert sent(Prompts(), "q") == [("user", "q")]


def test_deepseek_r1_gets_the_system_text_at_the_head_of_the_user_turn() -> None:
    profile = PROFILES["deepseek-r1"]
    prompts = Prompts(profile.system_prompt, profile.system_place, profile.suffixes)
    ((role, text),) = sent(prompts, "1 + 1?")
    assert role == "user" and text == f"{THINK_ANSWER}\n\n1 + 1?\n{MATH_SUFFIX}"
    dialogue = sent(prompts, "a", "b", "c", category="multiturn", system="Q")
    assert dialogue == [("user", f"{THINK_ANSWER}\n\nQ\n\na"), ("assistant", "b"), ("user", "c")]


@pytest.mark.parametrize(
    ("category", "extra", "suffix"),
    [
        ("math", None, MATH_SUFFIX),
        ("code", None, CODE_SUFFIX),
        ("code", {"language": "python"}, CODE_SUFFIX),
        ("code", {"language": "C++"}, CPP_SUFFIX),
        ("code", {"language": "cpp"}, CPP_SUFFIX),
        ("science", None, ""),
        ("other", None, ""),
    ],
)
def test_the_suffix_follows_the_category_and_the_language(category: str, extra: Any, suffix: str) -> None:
    ((_, text),) = sent(Prompts(suffixes=SUFFIXES), "q", category=category, extra=extra)
    assert text == (f"q\n{suffix}" if suffix else "q")


def test_a_suffix_that_is_there_already_is_not_repeated() -> None:
    ((_, text),) = sent(Prompts(suffixes=SUFFIXES), f"q {MATH_SUFFIX}")
    assert text.count(MATH_SUFFIX) == 1


def test_only_the_last_user_turn_gets_the_suffix_and_history_stays() -> None:
    found = sent(Prompts(suffixes=SUFFIXES), "a", "b", "c")
    assert found == [("user", "a"), ("assistant", "b"), ("user", f"c\n{MATH_SUFFIX}")]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("<think>x</think>\n\ny", "y"),
        ("<think>x</think><answer>y</answer>", "<answer>y</answer>"),
        ("  <think>\nx\n</think>\ny", "y"),
        ("x\n</think>\n\ny", "y"),
        ("plain", "plain"),
        ("the tag </think> ends thinking", "the tag </think> ends thinking"),
        ("say <think>x</think> aloud", "say <think>x</think> aloud"),
        ("<think>never closed", "<think>never closed"),
    ],
)
def test_earlier_assistant_turns_lose_their_thinking_and_nothing_else(given: str, kept: str) -> None:
    assert without_thinking(Message("assistant", given)).content == kept
    assert without_thinking(Message("user", given)).content == given


def test_worked_examples_stand_before_the_query_as_turns() -> None:
    prompts = Prompts(system="S", suffixes=SUFFIXES, examples={"*": [("u", "a")], "code": [("f", "g")]})
    assert sent(prompts, "q") == [("system", "S"), ("user", "u"), ("assistant", "a"), ("user", f"q\n{MATH_SUFFIX}")]
    assert sent(prompts, "q", category="code")[1] == ("user", "f")


@pytest.mark.parametrize("text", ["", "abc", "数学" * 500, "😀" * 100, "a b " * 1000, "\ud800"])
def test_the_bound_holds_for_any_byte_level_tokenizer(text: str) -> None:
    assert prompt_bound(turns(text)) >= len(text.encode("utf-8", "replace"))


def test_tokens_are_estimated_at_four_bytes_each() -> None:
    assert [estimate_tokens(text) for text in ("", "a", "abcd", "abcde", "数学")] == [0, 1, 1, 2, 2]
