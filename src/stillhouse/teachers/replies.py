"""One reply of an OpenAI-compatible chat endpoint -> what it says, however its server words it. Pure, no I/O.

In: the parsed JSON of a whole reply, or stream events one by one. Out: a Said, or a Fault where the envelope is not
one. Reads vLLM, SGLang, llama.cpp, DeepSeek, OpenAI and routers: `reasoning_content`, `reasoning`, or inline tags,
which stay in the text (records.normal_form reads them).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from stillhouse.records import Fault
from stillhouse.transport.faults import RAW_CHARACTERS, printable, status_fault

_ABORTED = frozenset(
    {"abort", "error", "cancelled", "insufficient_system_resource"}
)  # the server gave up, not the model
_LENGTH = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})
_STOP = frozenset({"stop", "eos", "eos_token", "end_turn", "stop_sequence", "completed"})


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the server counted them; None where it did not say, or said what cannot be."""

    prompt: int | None = None
    completion: int | None = None
    cached: int | None = None
    thinking: int | None = None


@dataclass(slots=True)
class Said:
    """What a reply says. finish_reason: stop, length, or the server's own word; "" where it gave none."""

    text: str = ""
    reasoning: str | None = None
    finish_reason: str = ""
    usage: Usage = field(default_factory=Usage)
    model: str = ""


def read_reply(data: Any, where: str = "") -> Said:
    """A whole chat completion. Raises Fault bad_envelope, or the fault that an error inside a 200 stands for."""
    choice = _first_choice(data, where)
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise _no_envelope(data, where, "has a choice without a message")
    finish = finish_reason(choice.get("finish_reason"))
    if finish in _ABORTED:
        raise _aborted(data, where, finish)
    text, reasoning = text_of(message), reasoning_of(message)
    return Said(text, reasoning, finish, usage_of(data.get("usage")), _name(data.get("model")))


def read_event(said: Said, data: Any, where: str = "") -> tuple[str, str]:
    """Add one stream event to what was said; returns the new (reasoning, text). Raises Fault."""
    if not isinstance(data, Mapping):
        raise _no_envelope(data, where, "is no JSON object")
    _raise_error_inside(data, where)
    if isinstance(data.get("usage"), Mapping):
        said.usage = usage_of(data["usage"])
    said.model = said.model or _name(data.get("model"))
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices:
        return "", ""  # the usage event at the end, or a comment of a router
    choice = choices[0]
    if not isinstance(choice, Mapping):
        raise _no_envelope(data, where, "has a choice that is no object")
    message = choice.get("delta", choice.get("message"))
    thought, text = "", ""
    if isinstance(message, Mapping):
        thought, text = reasoning_of(message) or "", text_of(message)
    if choice.get("finish_reason") is not None:
        said.finish_reason = finish_reason(choice["finish_reason"])
        if said.finish_reason in _ABORTED:
            raise _aborted(data, where, said.finish_reason)
    return thought, text


def text_of(message: Mapping[str, Any]) -> str:
    """The content of a message: a text, or the text parts of a list; a refusal where there is no content."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") != "reasoning"]
        return "".join(part for part in parts if isinstance(part, str))
    refusal = message.get("refusal")
    return refusal if isinstance(refusal, str) else ""


def reasoning_of(message: Mapping[str, Any]) -> str | None:
    """The separate thinking field: vLLM before and after its renaming, SGLang, DeepSeek, routers."""
    for name in ("reasoning_content", "reasoning"):
        value = message.get(name)
        if isinstance(value, str) and value:
            return value
    return None


def finish_reason(value: Any) -> str:
    """stop and length under all their names; every other word as it is."""
    if value == "stop" or value == "length":
        return str(value)
    if isinstance(value, Mapping):  # SGLang's native form
        value = value.get("type")
    if not isinstance(value, str):
        return ""
    word = printable(value)[:40].lower()
    return "stop" if word in _STOP else "length" if word in _LENGTH else word


def usage_of(usage: Any) -> Usage:
    """Token counts of a usage object; what is no count is left out, a detail larger than its whole is cut to it."""
    if not isinstance(usage, Mapping):
        return Usage()
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    cached = _count(_inside(usage, "prompt_tokens_details", "cached_tokens"))
    if cached is None:
        cached = _count(usage.get("prompt_cache_hit_tokens"))
    thinking = _count(_inside(usage, "completion_tokens_details", "reasoning_tokens"))
    if thinking is None:
        thinking = _count(usage.get("reasoning_tokens"))
    if cached is not None:
        cached = min(cached, prompt or 0)
    if thinking is not None:
        thinking = min(thinking, completion or 0)
    return Usage(prompt, completion, cached, thinking)


def _first_choice(data: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise _no_envelope(data, where, "is no JSON object")
    _raise_error_inside(data, where)
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise _no_envelope(data, where, "has no choices")
    return choices[0]


def _raise_error_inside(data: Mapping[str, Any], where: str) -> None:
    """An error object in a 200: some routers and servers answer so, also in the middle of a stream."""
    error = data.get("error")
    if not error:
        return
    code = error.get("code") if isinstance(error, Mapping) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    fault = status_fault(status, {}, _raw(data), where=f"{where} in a 200")
    fault.maybe_paid = True  # it began to answer
    raise fault


def _no_envelope(data: Any, where: str, what: str) -> Fault:
    return Fault("bad_envelope", f"the answer of {where} {what}", status=200, maybe_paid=True, raw=_raw_text(data))


def _aborted(data: Any, where: str, finish: str) -> Fault:
    reason = f"{where} gave up within its answer (finish reason {finish!r})"
    return Fault("server_error", reason, status=200, maybe_paid=True, raw=_raw_text(data))


def _raw(data: Any) -> bytes:
    try:
        return orjson.dumps(data)
    except orjson.JSONEncodeError:
        return repr(data).encode("utf-8", "replace")


def _raw_text(data: Any) -> str:
    return _raw(data).decode("utf-8", "replace")[:RAW_CHARACTERS]


def _inside(data: Mapping[str, Any], first: str, second: str) -> Any:
    inner = data.get(first)
    return None if inner is None or not isinstance(inner, Mapping) else inner.get(second)


def _count(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is int and 0 <= value < 2**40:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**40:
        return None
    return int(value)


def _name(value: Any) -> str:
    return _shown(value) if isinstance(value, str) else ""


_shown = functools.lru_cache(maxsize=256)(printable)  # the same name stands in every reply
