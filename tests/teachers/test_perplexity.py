"""Claims about perplexity: the definition holds, the text's tokens are certain, a missing score is no number."""

import math
from typing import Any

import pytest

from stillhouse.records import Fault, UserMistake
from stillhouse.teachers.perplexity import Perplexity, PromptLogprobs, perplexity_of, read_logprobs
from stillhouse.testing import FakeServer
from stillhouse.transport.fake_server import fake_logprob, fake_tokens


def test_the_definition() -> None:
    found = perplexity_of([math.log(0.5), math.log(0.25), math.log(0.25)], prompt_tokens=2)
    assert found.response == pytest.approx(4.0)
    assert found.full == pytest.approx((2 * 4 * 4) ** (1 / 3))
    assert (found.tokens, found.whole) == (2, True)


def test_an_impossible_text_has_a_finite_perplexity() -> None:
    assert math.isfinite(perplexity_of([-1e9, -1e9], 1).response)


@pytest.mark.parametrize("prompt_tokens", [0, 4])
def test_nothing_to_score_is_an_error(prompt_tokens: int) -> None:
    with pytest.raises(ValueError, match="nothing to score"):
        perplexity_of([-1.0, -1.0, -1.0], prompt_tokens)


@pytest.mark.parametrize("api", ["vllm", "sglang"])
def test_a_server_scores_the_text_and_not_the_prompt(api: Any) -> None:
    prompt, text = "What is one plus one?", "It is two of course"
    with FakeServer() as server:
        (found,) = PromptLogprobs(server.url, "fake-model", api=api).score_all([(prompt, text)])
        sent = server.counts.bodies[0]
    assert isinstance(found, Perplexity)
    expected = [fake_logprob(token) for token in fake_tokens(text)]
    assert found.response == pytest.approx(math.exp(-sum(expected) / len(expected)))
    assert found.tokens == 5 and found.full != found.response
    assert sent["prompt"] == fake_tokens(prompt) + fake_tokens(text) and sent["max_tokens"] == 1


def test_scores_keep_the_order_of_the_pairs() -> None:
    pairs = [(f"prompt {number}", f"a text of {number} words") for number in range(40)]
    with FakeServer() as server:
        scorer = PromptLogprobs(server.url, "fake-model", max_in_flight=8)
        together, alone = scorer.score_all(pairs), [scorer.score_all([pair])[0] for pair in pairs]
        assert server.counts.most_in_flight <= 8
    assert together == alone


@pytest.mark.parametrize(
    ("choice", "tokens"),
    [
        ({}, [1, 2]),
        ({"prompt_logprobs": None}, [1, 2]),
        ({"prompt_logprobs": [None]}, [1, 2]),
        ({"prompt_logprobs": [None, {"3": {"logprob": -1.0}}]}, [1, 2]),
        ({"prompt_logprobs": [None, {"2": {"logprob": None}}]}, [1, 2]),
        ({"logprobs": {"token_logprobs": [None]}}, [1, 2]),
        ({"logprobs": {"token_logprobs": None}}, [1, 2]),
    ],
)
def test_a_reply_without_every_score_gives_a_fault_and_no_number(choice: dict[str, Any], tokens: list[int]) -> None:
    with pytest.raises(Fault, match="does the server score prompts"):
        read_logprobs({"choices": [choice]}, tokens)


def test_a_model_that_is_not_served_is_a_fault() -> None:
    with FakeServer() as server:
        (found,) = PromptLogprobs(server.url, "another-model").score_all([("a", "b")])
    assert isinstance(found, Fault) and found.kind == "not_found"


@pytest.mark.parametrize("pair", [("a", ""), ("", "")])
def test_an_empty_text_has_none(pair: tuple[str, str]) -> None:
    with FakeServer() as server:
        (found,) = PromptLogprobs(server.url, "fake-model").score_all([pair])
    assert isinstance(found, Fault) and found.kind == "bad_request"


def test_a_fault_that_passes_is_retried_and_one_that_stays_is_the_result() -> None:
    with FakeServer(script=["500"]) as server:
        (found,) = PromptLogprobs(server.url, "fake-model").score_all([("a", "b")])
    assert isinstance(found, Perplexity)
    with FakeServer(faults={"500": 1.0}) as server:
        (failed,) = PromptLogprobs(server.url, "fake-model", retries=0).score_all([("a", "b")])
    assert isinstance(failed, Fault) and failed.kind == "server_error"


def test_wrong_settings_are_told_at_once() -> None:
    with pytest.raises(UserMistake) as caught:
        PromptLogprobs("nowhere", "m", api="tgi")  # type: ignore[arg-type]
    assert "nowhere" in str(caught.value) and "vllm or sglang" in str(caught.value)
