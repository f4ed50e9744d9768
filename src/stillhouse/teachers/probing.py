"""Is each endpoint of a teacher there, is the key accepted, is the model served? Asked before anything is paid.

In: base URLs, headers, a model name. Out: nothing, or UserMistake for what the user can mend, or Fault where nothing
answers for the time being. One GET of /models each.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from stillhouse.records import Fault, Price, UserMistake
from stillhouse.transport.client import Client
from stillhouse.transport.wire import show

SECONDS = 30.0


async def probe_all(
    client: Client,
    name: str,
    model: str,
    endpoints: Sequence[str],
    headers: Mapping[str, str],
    key: str | None,
    timeout: float,  # noqa: ASYNC109  a teacher's setting, handed on as the deadline of each request
    price: Price | None = None,
) -> None:
    """key: the variable that holds the key, for the message. An endpoint that does not answer matters if none does.

    price: of the recipe, held against the price that the endpoint lists, where it lists one.
    """
    found = await asyncio.gather(
        *(_probe(client, one, model, headers, key, min(timeout, SECONDS), price) for one in endpoints)
    )
    mistakes = [f"teacher {name}: {text}" for text in found if isinstance(text, str)]
    if mistakes:
        raise UserMistake(*mistakes)
    faults = [fault for fault in found if isinstance(fault, Fault)]
    if len(faults) == len(endpoints):
        raise faults[0]


async def _probe(
    client: Client,
    endpoint: str,
    model: str,
    headers: Mapping[str, str],
    key: str | None,
    deadline: float,
    price: Price | None,
) -> str | Fault | None:
    """A mistake in words, a fault that may pass, or None where all is well."""
    try:
        data = (await client.get(f"{endpoint}/models", headers, deadline=deadline)).json()
    except Fault as fault:
        if fault.kind == "auth":
            said = f"refuses the key in {key}" if key else "wants a key: set api_key_env"
            return f"{show(endpoint)} {said} ({fault.reason})"
        if fault.kind == "not_found":
            return None  # not every server lists its models
        return fault if fault.kind != "bad_envelope" and fault.retryable else fault.reason
    listed = data.get("data") if isinstance(data, Mapping) else None
    listed = [item for item in listed or () if isinstance(item, Mapping)] if isinstance(listed, list) else []
    names = [str(item.get("id")) for item in listed]
    if not names:
        return None
    if model in names:
        return _price_mistake(price, listed[names.index(model)].get("pricing"), show(endpoint), model)
    near = difflib.get_close_matches(model, names, n=1, cutoff=0.4)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return f"{show(endpoint)} serves no model {model!r}; {meant}it serves {', '.join(names[:10])}"


def _price_mistake(price: Price | None, listed: Any, endpoint: str, model: str) -> str | None:
    """A price that is not half to twice the listed one (dollars per token, as routers list it) is a slip of units or
    of the line; a discount, or a batch at half the price, is not."""
    if price is None or not isinstance(listed, Mapping):
        return None
    wrong = []
    for name, field in (("input", "prompt"), ("output", "completion")):
        given, per_million = getattr(price, name), _dollars(listed.get(field))
        if given is not None and per_million and not per_million / 2 <= given <= per_million * 2:
            wrong.append(f"{name} {given:g} where {per_million:g} is listed")
    if not wrong:
        return None
    return f"{endpoint} lists another price of {model}, in dollars per million tokens: {', '.join(wrong)}"


def _dollars(per_token: Any) -> float:
    """Dollars per million tokens; 0 where it is no price."""
    try:
        value = float(per_token) * 1e6
    except (TypeError, ValueError):
        return 0.0
    return value if 0 < value < 1e6 else 0.0
