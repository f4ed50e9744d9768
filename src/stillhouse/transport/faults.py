"""What came over the wire -> a Fault with its kind, reason and time to wait. Pure functions, no I/O.

In: status, headers and body of a reply that is no use. Out: records.Fault, scrubbed of the keys that were sent.
Why apart: every client, batch file and test judges replies by the same table.
"""

from __future__ import annotations

import email.utils
import functools
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from stillhouse.records import Fault

RAW_CHARACTERS = 4096  # of a faulty reply, kept in the journal
REASON_CHARACTERS = 300
LONGEST_WAIT = 86_400.0  # seconds; a server that asks for more is misread or hostile
SCRUBBED = "[key]"

_STATUS_KINDS = {
    400: "bad_request", 401: "auth", 402: "quota", 403: "auth", 404: "not_found", 405: "not_found", 408: "timeout",
    410: "not_found", 413: "bad_request", 415: "bad_request", 422: "bad_request", 425: "overloaded",
    429: "rate_limited", 503: "overloaded", 529: "overloaded",
}  # fmt: skip
_GATEWAY_LOST_ITS_SERVER = frozenset({502, 504})  # the server behind it may have generated all the same
_SECRET_HEADERS = frozenset({"authorization", "api-key", "x-api-key", "proxy-authorization"})
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def secrets_of(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The keys that a request carries in its headers: what must not be read anywhere afterwards."""
    return _secrets_in(tuple(headers.items()))


@functools.lru_cache(maxsize=64)
def _secrets_in(headers: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    found: list[str] = []
    for name, value in headers:
        if name.lower() in _SECRET_HEADERS:
            scheme, _, key = value.partition(" ")
            found.append(key.strip() or scheme)
    return tuple(secret for secret in found if len(secret) >= 4)


def scrub(text: str, secrets: Iterable[str]) -> str:
    """text without the keys; a server may echo them."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, SCRUBBED)
    return text


def scrub_bytes(body: bytes, secrets: Iterable[str]) -> bytes:
    for secret in secrets:
        key = secret.encode()
        if key in body:
            body = body.replace(key, SCRUBBED.encode())
    return body


def raw_start(body: bytes, secrets: Iterable[str] = ()) -> str:
    """The beginning of a body for the journal: decoded leniently, scrubbed before it is cut."""
    return scrub(body.decode("utf-8", "replace"), secrets)[:RAW_CHARACTERS]


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds to wait, where the server said so. headers: lower-case names.

    Reads `retry-after-ms`, `retry-after` (seconds or an HTTP date), OpenAI's `x-ratelimit-reset-requests` and
    `-tokens` (durations such as `6m0s`; of the spent ones the longest), and `x-ratelimit-reset` or
    `ratelimit-reset` (seconds, or a time since 1970 in seconds or milliseconds).
    """
    moment = time.time() if now is None else now
    waits: list[float | None] = [_number(headers.get("retry-after-ms"), 0.001)]
    waits.append(_seconds_or_date(headers.get("retry-after"), moment))
    told = next((wait for wait in waits if wait is not None), None)
    if told is None:
        told = _reset_of_spent(headers)
    if told is None:
        reset = headers.get("x-ratelimit-reset", headers.get("ratelimit-reset"))
        told = _since_1970(_number(reset), moment) if reset is not None else None
        if told is None and reset is not None:
            told = duration(reset)
    return None if told is None else min(max(told, 0.0), LONGEST_WAIT)


def duration(text: str) -> float | None:
    """Seconds in `1s`, `6m0s`, `20ms` or a bare number; None where it is neither."""
    bare = _number(text)
    if bare is not None:
        return bare
    parts = _DURATION.findall(text.strip())
    if not parts or "".join(amount + unit for amount, unit in parts) != text.strip():
        return None
    return sum(float(amount) * _SECONDS[unit] for amount, unit in parts)


def _reset_of_spent(headers: Mapping[str, str]) -> float | None:
    spent: list[float] = []
    every: list[float] = []
    for what in ("requests", "tokens"):
        wait = duration(headers.get(f"x-ratelimit-reset-{what}", ""))
        if wait is None:
            continue
        every.append(wait)
        if _number(headers.get(f"x-ratelimit-remaining-{what}")) == 0:
            spent.append(wait)
    return max(spent) if spent else max(every, default=None)


_REMAINING = (
    "x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens", "x-ratelimit-remaining", "ratelimit-remaining",
)  # fmt: skip


def spent(headers: Mapping[str, str]) -> bool:
    """Do the rate-limit headers of a reply say that nothing remains?"""
    for name in _REMAINING:  # noqa: SIM110  asked of every reply
        if name in headers and _number(headers[name]) == 0:
            return True
    return False


def _number(text: str | None, unit: float = 1.0) -> float | None:
    if text is None:
        return None
    try:
        value = float(text.strip())
    except ValueError:
        return None
    return value * unit if value == value and abs(value) != float("inf") else None


def _seconds_or_date(text: str | None, now: float) -> float | None:
    if text is None:
        return None
    seconds = _number(text)
    if seconds is not None:
        return seconds
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _since_1970(value: float | None, now: float) -> float | None:
    if value is None:
        return None
    if value > 1e12:
        return value / 1000 - now
    return value - now if value > 1e9 else value


def status_fault(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    secrets: Iterable[str] = (),
    *,
    where: str = "",
    now: float | None = None,
) -> Fault:
    """The fault of a reply that is not 2xx. headers: lower-case names; where: what was asked, for the reason."""
    known = tuple(secrets)
    if 300 <= status < 400:
        target = scrub(printable(headers.get("location", "elsewhere")), known)
        reason = f"{where} redirects to {target}, which is not followed: correct base_url"
        return Fault("redirect", reason, status=status, raw=raw_start(body, known))
    message = scrub(error_message(body), known)
    kind = _STATUS_KINDS.get(status, "server_error" if status >= 500 or status in (409, 423) else "bad_request")
    if kind == "rate_limited" and "insufficient_quota" in message:
        kind = "quota"
    return Fault(
        kind,
        f"{where} answered {status}: {message}" if message else f"{where} answered {status}",
        status=status,
        retry_after=retry_after(headers, now),
        maybe_paid=status in _GATEWAY_LOST_ITS_SERVER,
        raw=raw_start(body, known),
    )


def error_message(body: bytes) -> str:
    """What an error body says, in a printable line; the ways of OpenAI, vLLM, SGLang, FastAPI and llama.cpp."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body[: 4 * REASON_CHARACTERS].decode("utf-8", "replace")
        return "an HTML page" if looks_like_html(body) else printable(text)
    found: Any = data
    if isinstance(data, dict):
        found = data.get("error", data.get("message", data.get("detail", data)))
    if isinstance(found, dict):
        said = [found.get("message"), found.get("code"), found.get("type")]
        found = " ".join(str(part) for part in said if part not in (None, "")) or found
    return printable(found if isinstance(found, str) else orjson.dumps(found).decode())


def printable(text: str) -> str:
    """One line without control characters, cut at REASON_CHARACTERS: bodies are hostile and end on terminals."""
    line = _CONTROL.sub(" ", text).strip()
    return line if len(line) <= REASON_CHARACTERS else line[: REASON_CHARACTERS - 1] + "…"


def looks_like_html(body: bytes) -> bool:
    start = body[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype", b"<html", b"<head", b"<body", b"<?xml"))


def parse_json(body: bytes, secrets: Iterable[str] = (), *, where: str = "") -> Any:
    """The JSON value of a whole 2xx body. Raises Fault: what generated it was probably paid, so maybe_paid is set.

    bad_envelope: an HTML page, an empty body. bad_json: invalid UTF-8, cut JSON, other text.
    """
    known = tuple(secrets)
    try:
        return orjson.loads(scrub_bytes(body, known))
    except orjson.JSONDecodeError as error:
        kind, reason = _why_no_json(body, error)
    raise Fault(
        kind, scrub(f"{where} {reason}".strip(), known), status=200, maybe_paid=True, raw=raw_start(body, known)
    )


def _why_no_json(body: bytes, error: orjson.JSONDecodeError) -> tuple[str, str]:
    if not body.strip():
        return "bad_envelope", "answered with an empty body"
    if looks_like_html(body):
        return "bad_envelope", "answered with an HTML page instead of JSON: is base_url right?"
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as broken:
        if broken.end == len(body) and broken.reason == "unexpected end of data":
            return "bad_json", f"answered with JSON that is cut after {len(body)} bytes"
        return "bad_json", f"answered with invalid UTF-8 at byte {broken.start}"
    if "unexpected end" in error.msg:
        return "bad_json", f"answered with JSON that is cut after {len(body)} bytes"
    return "bad_json", f"answered with what is not JSON at character {error.pos}: {error.msg}"
