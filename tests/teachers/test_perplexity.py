"""Claims about perplexity: the definition holds, the text's tokens are certain, a missing score is no number."""

import asyncio
import json
import math
from collections.abc import Sequence
from typing import Any

import pytest

from stillhouse.records import Fault, Message, Query, Response, UserMistake
from stillhouse.teachers.perplexity import Perplexity, PromptLogprobs, perplexity_of, read_logprobs
from stillhouse.testing import FakeServer
from stillhouse.transport.fake_server import fake_logprob, fake_tokens


def score_all(scorer: Any, pairs: Sequence[tuple[str, str]]) -> list[Perplexity | Fault]:
    """What a scorer says of pairs, asked side by side."""

    async def main() -> list[Any]:
        try:
            found = await asyncio.gather(*(scorer.score(*pair) for pair in pairs), return_exceptions=True)
        finally:
            await scorer.close()
        assert all(isinstance(one, Perplexity | Fault) for one in found), found
        return found

    return asyncio.run(main())


def scorer_at(url: str, model: str = "fake-model", **settings: Any) -> PromptLogprobs:
    return PromptLogprobs("perplexity-model", model, base_url=url, **settings)


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
        (found,) = score_all(scorer_at(server.url, api=api), [(prompt, text)])
        sent = server.counts.bodies[0]
    assert isinstance(found, Perplexity)
    expected = [fake_logprob(token) for token in fake_tokens(text)]
    assert found.response == pytest.approx(math.exp(-sum(expected) / len(expected)))
    assert found.tokens == 5 and found.full != found.response
    assert sent["prompt"] == fake_tokens(prompt) + fake_tokens(text) and sent["max_tokens"] == 1


def test_a_score_is_a_reply_with_its_tokens_and_price() -> None:
    query = Query((Message("user", "What is 1 + 1?"), Message("assistant", "It is two")), "math")
    price = {"input": 1.0, "output": 3.0}
    with FakeServer() as server:
        scorer = scorer_at(server.url, price=price)
        request = scorer.request(query, 1)

        async def main() -> Response:
            await scorer.probe()
            try:
                return await scorer.send(request)
            finally:
                await scorer.close()

        reply = asyncio.run(main())
    score = json.loads(reply.text)
    assert (reply.key, reply.query, reply.identity) == (request.key, query.key, scorer.identity("math"))
    assert score["tokens"] == 3 and score["whole"] and score["response"] > 1
    assert reply.prompt_tokens == 8 and reply.cost_usd == pytest.approx((8 * 1.0 + 3.0) / 1e6)
    assert request.bound_usd is not None and reply.cost_usd <= request.bound_usd
    other = PromptLogprobs("another-name", "fake-model", base_url="http://127.0.0.1:1/v1")
    assert other.request(query, 1).key == request.key, "name and address are not in the key"


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
        (found,) = score_all(scorer_at(server.url, "another-model"), [("a", "b")])
    assert isinstance(found, Fault) and found.kind == "not_found"


@pytest.mark.parametrize("pair", [("a", ""), ("", "")])
def test_an_empty_text_has_none(pair: tuple[str, str]) -> None:
    with FakeServer() as server:
        (found,) = score_all(scorer_at(server.url), [pair])
    assert isinstance(found, Fault) and found.kind == "bad_request"


def test_wrong_settings_are_told_at_once() -> None:
    with pytest.raises(UserMistake) as caught:
        PromptLogprobs("p", "m", base_url="nowhere", api="tgi", price={"input": -1})  # type: ignore[arg-type]
    told = str(caught.value)
    assert "nowhere" in told and "vllm or sglang" in told and "price.input" in told
