"""Other people's ways to ask an endpoint a few thousand things; run by an interpreter that has the peer installed.

    PYTHON bench/generation_peers.py openai|curator|datatrove|distilabel --url URL --rows N --in-flight M --out FOLDER

Each asks `rows` questions the way its documentation shows, with its own concurrency setting, and writes what it got as
JSONL. None verifies, and none has a reply on disk before the next is asked. Imports nothing of ours.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SYSTEM = "You are a helpful assistant. Think first, then answer."


def prompt(number: int) -> str:
    return f"Which number stands in this mark? [id:{number}]"


def openai_client(url: str, rows: int, in_flight: int, out: Path) -> None:
    """The openai client as its README shows it, with a semaphore; retries are its own."""
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient  # type: ignore[import-not-found,unused-ignore]

    async def main() -> None:
        room, http = asyncio.Semaphore(in_flight), DefaultAsyncHttpxClient()
        client = AsyncOpenAI(base_url=url, api_key="none", http_client=http, timeout=120, max_retries=5)
        with (out / "replies.jsonl").open("w", encoding="utf-8") as file:

            async def ask(number: int) -> None:
                async with room:
                    turns: Any = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt(number)}]
                    reply = await client.chat.completions.create(
                        model="mock", messages=turns, temperature=0.6, top_p=0.95, max_tokens=32768
                    )
                    row = {"id": number, "text": reply.choices[0].message.content}
                    file.write(json.dumps(row) + "\n")

            await asyncio.gather(*(ask(number) for number in range(rows)))
        await client.close()

    asyncio.run(main())


def datatrove(url: str, rows: int, in_flight: int, out: Path) -> None:
    """InferenceRunner with server_type endpoint."""
    from datatrove.data import Document  # type: ignore[import-not-found,unused-ignore]
    from datatrove.pipeline.inference.run_inference import (  # type: ignore[import-not-found,unused-ignore]
        InferenceConfig,
        InferenceRunner,
    )
    from datatrove.pipeline.writers import JsonlWriter  # type: ignore[import-not-found,unused-ignore]

    async def ask(document: Any, generate: Callable[[dict[str, Any]], Any]) -> Any:
        turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": document.text}]
        return await generate({"messages": turns, "temperature": 0.6, "top_p": 0.95, "max_tokens": 32768})

    def documents() -> Iterator[Any]:
        for number in range(rows):
            yield Document(text=prompt(number), id=str(number))

    config = InferenceConfig(
        server_type="endpoint", model_name_or_path="mock", endpoint_url=url.removesuffix("/v1"),
        max_concurrent_generations=in_flight, max_concurrent_documents=in_flight + in_flight // 4, metric_interval=600,
    )  # fmt: skip
    runner = InferenceRunner(
        rollout_fn=ask,
        config=config,
        output_writer=JsonlWriter(str(out), output_filename="replies_${rank}.jsonl", compression=None),
    )
    runner.run(documents(), rank=0, world_size=1)


def distilabel(url: str, rows: int, in_flight: int, out: Path) -> None:
    """TextGeneration of OpenAILLM over one batch of `in_flight` rows at a time, without its cache."""
    from distilabel.models import OpenAILLM  # type: ignore[import-not-found,unused-ignore]
    from distilabel.pipeline import Pipeline  # type: ignore[import-not-found,unused-ignore]
    from distilabel.steps import LoadDataFromDicts  # type: ignore[import-not-found,unused-ignore]
    from distilabel.steps.tasks import TextGeneration  # type: ignore[import-not-found,unused-ignore]

    with Pipeline(name="bench", cache_dir=str(out / "cache")) as pipeline:
        load = LoadDataFromDicts(data=[{"instruction": prompt(n)} for n in range(rows)], batch_size=in_flight)
        llm = OpenAILLM(
            model="mock", base_url=url, api_key="none", timeout=120,
            generation_kwargs={"max_new_tokens": 32768, "temperature": 0.6, "top_p": 0.95},
        )  # fmt: skip
        task = TextGeneration(llm=llm, system_prompt=SYSTEM, input_batch_size=in_flight)
        load >> task
    made = pipeline.run(use_cache=False)
    with (out / "replies.jsonl").open("w", encoding="utf-8") as file:
        for row in made["default"]["train"]:
            if row["generation"]:
                file.write(json.dumps({"text": row["generation"]}) + "\n")


def curator(url: str, rows: int, in_flight: int, out: Path) -> None:
    """curator.LLM with its openai backend, its limits set out of the way."""
    os.environ.update(
        CURATOR_CACHE_DIR=str(out / "cache"), TELEMETRY_ENABLED="0", CURATOR_DISABLE_RICH_DISPLAY="1",
        HF_HOME=str(out / "hf"), OPENAI_API_KEY="none", CURATOR_VIEWER="0", HF_HUB_OFFLINE="1",
    )  # fmt: skip
    _without_litellm()
    _without_downloads()
    import bespokelabs.curator as package  # type: ignore[import-not-found,unused-ignore]

    llm = package.LLM(
        model_name="mock", backend="openai", generation_params={"temperature": 0.6, "top_p": 0.95, "max_tokens": 1000},
        backend_params={
            "base_url": url, "max_concurrent_requests": in_flight, "max_requests_per_minute": 10_000_000,
            "max_tokens_per_minute": 10_000_000_000, "request_timeout": 120,
        },
        system_prompt=SYSTEM,
    )  # fmt: skip
    made = llm([prompt(number) for number in range(rows)])
    dataset = getattr(made, "dataset", made)
    with (out / "replies.jsonl").open("w", encoding="utf-8") as file:
        for row in dataset:
            file.write(json.dumps({"text": row["response"]}) + "\n")


def _without_litellm() -> None:
    """curator looks up prices and limits in litellm, which we do not install: the little it needs here, for nothing.

    What stands in costs less than the real one, so the figure flatters curator.
    """
    try:
        import litellm  # type: ignore[import-not-found,unused-ignore]  # noqa: F401  is it there?
    except ImportError:
        made: Any = types.ModuleType("litellm")
        made.__path__ = []
        made.model_cost, made.suppress_debug_info = {}, True
        made.get_max_tokens = lambda model: 32768
        made.get_supported_openai_params = lambda model: ["temperature", "top_p", "max_tokens"]
        made.supports_response_schema = made.supports_vision = lambda *_, **__: False
        made.completion_cost = lambda *_, **__: 0.0
        made.RateLimitError = RuntimeError
        sys.modules["litellm"] = made


def _without_downloads() -> None:
    """tiktoken fetches its vocabulary when it is first used; without a network blanks stand in, which costs less."""
    import tiktoken  # type: ignore[import-not-found,unused-ignore]

    try:
        tiktoken.get_encoding("cl100k_base")
    except Exception:  # noqa: BLE001  whatever the missing network makes of it
        split = types.SimpleNamespace(encode=lambda text, **_: text.split())
        tiktoken.get_encoding = tiktoken.encoding_for_model = lambda name: split


PEERS = {"openai": openai_client, "curator": curator, "datatrove": datatrove, "distilabel": distilabel}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Ask as a peer does.")
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--url", required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    PEERS[given.peer](given.url, given.rows, given.in_flight, given.out)
