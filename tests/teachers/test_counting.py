"""Claims about usage: where a server sends none, the recipe's tokenizer counts, and the reply says so."""

import asyncio
from typing import Any

import pytest

from stillhouse.records import Message, Part, Query, Response
from stillhouse.teachers.openai import OpenAI
from stillhouse.teachers.prompts import estimate_tokens
from stillhouse.testing import FakeServer

TEXT = "<think>We add seventeen and twenty-five.</think><answer>\\boxed{42}</answer>"


class EveryLetter:
    """A tokenizer as recipes name them: counts texts."""

    def __call__(self, texts: list[str]) -> list[int]:
        return [len(text) for text in texts]


def reply(counter: Any, *, usage: bool) -> Response:
    async def ask(url: str) -> Response:
        teacher = OpenAI("am", "fake-model", base_url=url, counter=counter, price={"input": 0, "output": 1e6})
        try:
            return await teacher.send(teacher.request(Query((Message("user", "?"),), "math"), 1))
        finally:
            await teacher.close()

    with FakeServer(lambda _: TEXT, usage=usage) as server:
        return asyncio.run(ask(server.url))


@pytest.mark.parametrize(
    ("counter", "tokens"),
    [
        (Part(f"{__name__}:EveryLetter"), len(TEXT)),
        (Part("no_such_package:Tokenizer"), estimate_tokens(TEXT)),
        (None, estimate_tokens(TEXT)),
    ],
    ids=["tokenizer", "not installed", "none"],
)
def test_missing_usage_is_counted_and_paid(counter: Any, tokens: int) -> None:
    made = reply(counter, usage=False)
    assert (made.completion_tokens, made.counted, made.cost_usd) == (tokens, True, float(tokens))


def test_usage_that_is_told_is_taken() -> None:
    made = reply(Part(f"{__name__}:EveryLetter"), usage=True)
    assert not made.counted and made.completion_tokens == len(TEXT.split())
