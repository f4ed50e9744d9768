"""Claims about the nouns: identity by content, the one threshold, and the normal form of a reply."""

import pytest

from stillhouse.records import Message, Price, Query, Verdict, normal_form, query_key


def ask(text: str, **fields: object) -> Query:
    return Query(messages=(Message("user", text),), category="math", **fields)  # type: ignore[arg-type]


def test_the_key_of_a_query_is_its_nfc_text_without_outer_white_space() -> None:
    assert ask(" cafe\u0301 ").key == ask("caf\u00e9").key
    assert ask("a").key != ask("b").key


def test_id_source_reference_and_system_do_not_change_the_key() -> None:
    assert ask("a", id="1", source="x", ground_truth="3", system="s").key == ask("a").key


def test_a_system_turn_among_the_messages_does_not_change_the_key() -> None:
    assert query_key((Message("system", "s"), Message("user", "a"))) == query_key((Message("user", "a"),))


def test_turns_cannot_be_shifted_between_messages() -> None:
    assert query_key((Message("user", "a"), Message("user", "b"))) != query_key((Message("user", "ab"),))


@pytest.mark.parametrize(
    ("passed", "total", "outcome"),
    [(9, 10, "pass"), (8, 9, "fail"), (10, 10, "pass"), (0, 1, "fail"), (5, 5, "pass"), (4, 5, "fail")],
)
def test_scores_compare_as_integers(passed: int, total: int, outcome: str) -> None:
    assert Verdict.of(passed, total, "sandbox").outcome == outcome


@pytest.mark.parametrize(
    ("text", "reasoning", "mode", "thinking", "answer", "malformed"),
    [
        ("<think>t</think><answer>a</answer>", None, "required", "t", "a", False),
        ("<think>t</think>\n\nbare", None, "required", "t", "bare", False),
        ("t</think>bare", None, "required", "t", "bare", False),
        ("bare", "t", "required", "t", "bare", False),
        ("<answer>a</answer>", "t", "required", "t", "a", False),
        ("bare", None, "required", None, "bare", True),
        ("bare", None, "optional", None, "bare", False),
        ("bare", None, "none", None, "bare", False),
        ("<answer>a</answer>", None, "optional", None, "a", False),
        ("<think>t", None, "optional", "t", "", True),
        ("<think></think>a", None, "required", None, "a", True),
        ("<think></think>a", None, "optional", None, "a", False),
        ("<think>say <answer> in <think> tags</think><answer>a</answer>", None, "required",
         "say <answer> in <think> tags", "a", False),
        ("<think>t</think><answer>a</answer><answer>b</answer>", None, "required", "t", None, True),
        ("<think>t</think>x<answer>a</answer>", None, "required", "t", "a", True),
        ("<think>t</think>u</think>a", None, "required", "t", None, True),
        ("hello <think>t</think>a", None, "required", "t", "a", True),
        ("a", "t</think>", "required", None, None, True),
        ("<think>u</think>a", "t", "required", "t", None, True),
        ("<think>t</think></answer>a<answer>", None, "required", "t", None, True),
        ("<think>t</think>", None, "required", "t", "", True),
        ("", None, "optional", None, "", True),
    ],
)  # fmt: skip
def test_a_reply_is_brought_into_normal_form(
    text: str, reasoning: str | None, mode: str, thinking: str | None, answer: str | None, malformed: bool
) -> None:
    parts = normal_form(text, reasoning, mode)  # type: ignore[arg-type]
    assert (parts.malformed is not None) == malformed, parts
    if thinking is not None:
        assert parts.thinking == thinking
    if answer is not None:
        assert parts.answer == answer


def test_cached_and_thinking_tokens_have_their_own_price() -> None:
    price = Price(input=1.0, output=2.0, cached=0.5, thinking=4.0)
    assert price.cost(100, 50, cached=40, thinking=10) == pytest.approx((60 + 20 + 80 + 40) / 1e6)
    bound = price.bound(100, 50)
    assert bound is not None and bound >= (price.cost(100, 50, cached=0, thinking=50) or 0)
