"""Makers of requests and responses whose keys fit together, and of filled journals."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillhouse.records import Request, Response, content_hash, response_key
from stillhouse.store.journal import Journal


def make_request(number: int, attempt: int = 1, *, identity: str = "am", **fields: Any) -> Request:
    query = content_hash("query", str(number))
    held = content_hash(identity)
    given: dict[str, Any] = {"max_tokens": 1000, "bound_usd": 0.5, "teacher": identity, "messages": (), "sampling": {}}
    key = response_key(held, query, attempt)
    return Request(key=key, query=query, prompt=query, identity=held, attempt=attempt, **(given | fields))


def make_response(request: Request, **fields: Any) -> Response:
    given: dict[str, Any] = {
        "text": f"<think>of {request.key}</think>4", "prompt_tokens": 7, "completion_tokens": 11, "cost_usd": 0.25,
        "max_tokens": request.max_tokens, "created": 1.5,
    }  # fmt: skip
    return Response(
        key=request.key, query=request.query, teacher=request.teacher, prompt=request.prompt,
        identity=request.identity, attempt=request.attempt, **(given | fields),
    )  # fmt: skip


def write_journal(folder: Path, numbers: range, **settings: Any) -> list[Response]:
    """One intent and one reply for each number, committed together."""
    responses = [make_response(make_request(n)) for n in numbers]

    async def write() -> None:
        with Journal(folder, **settings) as journal:
            for number in numbers:
                journal.intent(make_request(number), retry=0)
            await asyncio.gather(*(journal.reply(response, retry=0) for response in responses))

    asyncio.run(write())
    return responses


@pytest.fixture
def ask() -> Callable[..., Request]:
    return make_request


@pytest.fixture
def answer() -> Callable[..., Response]:
    return make_response


@pytest.fixture
def fill() -> Callable[..., list[Response]]:
    return write_journal
