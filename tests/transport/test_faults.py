"""Claims about faults: each status is its kind, each way to say "wait" is read, and no body harms a terminal."""

import pytest

from stillhouse.transport.faults import (
    LONGEST_WAIT,
    duration,
    error_message,
    printable,
    raw_start,
    retry_after,
    scrub,
    secrets_of,
    spent,
    status_fault,
)

NOW = 1_790_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "1e300"}, LONGEST_WAIT),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Mon, 21 Sep 2026 14:14:20 GMT"}, 60.0),
        ({"retry-after": "Mon, 21 Sep 2026 14:13:10 GMT"}, 0.0),
        ({"retry-after": "Mon, 99 Sep 2026"}, None),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-reset-requests": "20ms", "x-ratelimit-reset-tokens": "1m2.5s"}, 62.5),
        (
            {
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-remaining-tokens": "900",
            },
            1.0,
        ),
        ({"x-ratelimit-reset": "12"}, 12.0),
        ({"x-ratelimit-reset": str(int(NOW) + 30)}, 30.0),
        ({"x-ratelimit-reset": str((int(NOW) + 30) * 1000)}, 30.0),
        ({"ratelimit-reset": "9"}, 9.0),
        ({"x-ratelimit-reset": "1h"}, 3600.0),
    ],
)
def test_every_way_to_say_wait_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("text", "seconds"), [("1h2m3s", 3723.0), ("5", 5.0), ("5 s", None), ("", None), ("x1s", None)]
)
def test_durations(text: str, seconds: float | None) -> None:
    assert duration(text) == seconds


def test_nothing_remains_only_where_a_header_says_zero() -> None:
    assert spent({"x-ratelimit-remaining-tokens": "0"})
    assert not spent({"x-ratelimit-remaining-tokens": "10"}) and not spent({})


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (301, "redirect", False),
        (400, "bad_request", False),
        (401, "auth", False),
        (402, "quota", False),
        (403, "auth", False),
        (404, "not_found", False),
        (408, "timeout", True),
        (413, "bad_request", False),
        (418, "bad_request", False),
        (422, "bad_request", False),
        (429, "rate_limited", True),
        (500, "server_error", True),
        (502, "server_error", True),
        (503, "overloaded", True),
        (529, "overloaded", True),
    ],
)
def test_each_status_is_its_kind(status: int, kind: str, retryable: bool) -> None:
    fault = status_fault(status, {}, b"{}", where="http://a/v1")
    assert (fault.kind, fault.retryable, fault.status) == (kind, retryable, status)


def test_a_429_of_an_empty_account_is_not_worth_a_retry() -> None:
    body = b'{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}'
    assert status_fault(429, {}, body).kind == "quota"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "bad model", "code": 404}}', "bad model 404"),
        (b'{"error": "overloaded"}', "overloaded"),
        (b'{"object": "error", "message": "max_tokens is too large", "code": 400}', "max_tokens is too large"),
        (b'{"detail": [{"msg": "field required"}]}', '[{"msg":"field required"}]'),
        (b"<html><body>502 Bad Gateway</body></html>", "an HTML page"),
        (b"upstream timed out\n\x1b[2J", "upstream timed out [2J"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"", ""),
    ],
)
def test_what_an_error_body_says(body: bytes, message: str) -> None:
    assert error_message(body) == message


def test_no_body_brings_control_characters_or_its_whole_length_to_a_terminal() -> None:
    assert printable("a\x1b]0;title\x07b\u2028c\x9bd") == "a ]0;title b c d"
    assert len(printable("x" * 10_000)) <= 300


def test_keys_are_found_in_headers_and_scrubbed_before_the_cut() -> None:
    secrets = secrets_of({"Authorization": "Bearer sk-12345678", "api-key": "az-87654321", "X-Other": "public"})
    assert set(secrets) == {"sk-12345678", "az-87654321"}
    assert scrub("x sk-12345678 y az-87654321", secrets) == "x [key] y [key]"
    body = b"z" * 4090 + b"sk-12345678"  # the cut goes through the key
    assert "sk-1" not in raw_start(body, secrets)
