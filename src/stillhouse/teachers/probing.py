"""Is each endpoint of a teacher there, is the key accepted, is the model served? Asked before anything is paid.

In: base URLs, headers, a model name. Out: nothing, or UserMistake for what the user can mend, or Fault where nothing
answers for the time being. One GET of /models each.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Mapping, Sequence

from stillhouse.records import Fault, UserMistake
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
) -> None:
    """key: the variable that holds the key, for the message. An endpoint that does not answer matters if none does."""
    found = await asyncio.gather(
        *(_probe(client, one, model, headers, key, min(timeout, SECONDS)) for one in endpoints)
    )
    mistakes = [f"teacher {name}: {text}" for text in found if isinstance(text, str)]
    if mistakes:
        raise UserMistake(*mistakes)
    faults = [fault for fault in found if isinstance(fault, Fault)]
    if len(faults) == len(endpoints):
        raise faults[0]


async def _probe(
    client: Client, endpoint: str, model: str, headers: Mapping[str, str], key: str | None, deadline: float
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
    names = [str(item.get("id")) for item in listed or () if isinstance(item, Mapping)]
    if not names or model in names:
        return None
    near = difflib.get_close_matches(model, names, n=1, cutoff=0.4)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return f"{show(endpoint)} serves no model {model!r}; {meant}it serves {', '.join(names[:10])}"
