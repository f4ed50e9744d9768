"""A small reference server for `judges: {reward}`: a reward model behind the chat endpoint of docs/judges.md.

    python -m stillhouse.teachers.reward_server --model FOLDER --port 8020

In: POST /v1/chat/completions with a conversation whose last turn is the assistant's. Out: its scores as a JSON object
in the content of the reply. Requests that come together are scored as one batch. Needs the extra `reward`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import sys
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from stillhouse.records import UserMistake
from stillhouse.teachers.reward_model import HEADS, RewardModel, model_folder

ROLES = frozenset({"system", "user", "assistant"})
MOST_BODY = 32 << 20


def conversation_of(body: Any) -> list[dict[str, str]]:
    """The turns of a request. Raises ValueError, in words for the client, for what is none."""
    turns = body.get("messages") if isinstance(body, Mapping) else None
    if not isinstance(turns, list) or not turns:
        raise ValueError("messages must be a list of turns")
    out = []
    for number, turn in enumerate(turns):
        if not isinstance(turn, Mapping) or turn.get("role") not in ROLES or not isinstance(turn.get("content"), str):
            raise ValueError(f"messages[{number}] must have a role ({', '.join(sorted(ROLES))}) and a text as content")
        out.append({"role": turn["role"], "content": turn["content"]})
    if out[-1]["role"] != "assistant":
        raise ValueError("the last turn must be the assistant's: it is what is scored")
    return out


class Batches:
    """Scores conversations one batch at a time: whatever came while the model was busy goes together."""

    def __init__(self, model: RewardModel, size: int) -> None:
        self.model, self.size = model, size
        self._queue: asyncio.Queue[tuple[list[int], asyncio.Future[dict[str, float]]]] = asyncio.Queue()

    async def score(self, ids: list[int]) -> dict[str, float]:
        future: asyncio.Future[dict[str, float]] = asyncio.get_running_loop().create_future()
        await self._queue.put((ids, future))
        return await future

    async def run(self) -> None:
        """For ever; an error of the model is that of its batch."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < self.size and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                scores: list[Any] = await asyncio.to_thread(self.model.score, [ids for ids, _ in batch])
            except Exception as error:  # noqa: BLE001  told to each client as a 500, and the next batch goes on
                scores = [error] * len(batch)
            for (_, future), one in zip(batch, scores, strict=True):
                if future.done():
                    continue
                if isinstance(one, Exception):
                    future.set_exception(one)
                else:
                    future.set_result(one)


def reward_app(model: RewardModel, name: str, *, batch: int = 8) -> Any:
    """The server as an ASGI application."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    batches = Batches(model, batch)

    def refused(status: int, told: str) -> JSONResponse:
        return JSONResponse({"error": {"message": told, "type": "invalid_request_error"}}, status_code=status)

    async def complete(request: Request) -> JSONResponse:
        if int(request.headers.get("content-length") or 0) > MOST_BODY:
            return refused(413, f"a request may have {MOST_BODY} bytes")
        try:
            body = json.loads(await request.body())
            ids = model.encode(conversation_of(body))
        except (ValueError, RecursionError) as error:
            return refused(400, str(error))
        scores = await batches.score(ids)
        if not all(math.isfinite(value) for value in scores.values()):
            return refused(500, "the model gave a number that is not finite")
        content = json.dumps({head: round(value, 6) for head, value in scores.items()})
        message = {"role": "assistant", "content": content}
        return JSONResponse({
            "id": "reward", "object": "chat.completion", "created": int(time.time()), "model": name,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": len(ids), "completion_tokens": 0, "total_tokens": len(ids)},
        })  # fmt: skip

    async def models(request: Request) -> JSONResponse:
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"}]})

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        running = asyncio.create_task(batches.run())
        yield
        running.cancel()

    routes = [
        Route("/v1/chat/completions", complete, methods=["POST"]), Route("/v1/models", models, methods=["GET"]),
    ]  # fmt: skip
    return Starlette(routes=routes, lifespan=lifespan)


def main(arguments: list[str] | None = None) -> None:
    """The command. Mistakes are told in lines, exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m stillhouse.teachers.reward_server", description=__doc__)
    parser.add_argument("--model", required=True, help="a folder, or a hub repository with --revision")
    parser.add_argument("--revision", help="the 40 digits of the commit of a hub repository")
    parser.add_argument("--name", default="Decision-Tree-Reward-Llama-3.1-8B", help="the name it is served under")
    parser.add_argument("--head", help="name of the head's weight, where the files hold several")
    parser.add_argument("--heads", default=",".join(HEADS), help="names of the head's outputs, in order")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--max-tokens", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8020)
    given = parser.parse_args(arguments)
    try:
        import uvicorn

        model = RewardModel(
            model_folder(given.model, given.revision), heads=given.heads.split(","), head=given.head,
            device=given.device, dtype=given.dtype, max_tokens=given.max_tokens,
        )  # fmt: skip
    except ImportError as error:
        sys.exit(f"{error}: pip install 'stillhouse[reward]'")
    except UserMistake as mistake:
        print(mistake, file=sys.stderr)
        sys.exit(2)
    uvicorn.run(reward_app(model, given.name, batch=given.batch), host=given.host, port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
