"""Claims about reading responses: however the bytes are cut, the same is read; what is no HTTP is refused."""

import gzip
import random
import zlib

import pytest

from stillhouse.transport.http_parser import BadHttp, Response

BODY = b'{"choices": [{"message": {"content": "two"}}]}'


def chunked(body: bytes, size: int, trailer: bytes = b"") -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;name=value\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailer + b"\r\n"


def packed(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (
        len(z := gzip.compress(body)),
        z,
    )


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE = [
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY),
    b"HTTP/1.1 200 \r\ncontent-length:%d\r\n\r\n%s" % (len(BODY), BODY),
    b"HTTP/1.1 200 OK\nContent-Length: %d\n\n%s" % (len(BODY), BODY),
    CHUNKED + chunked(BODY, 7),
    CHUNKED + chunked(BODY, 1),
    CHUNKED + chunked(BODY, 100, b"X-Trailer: 1\r\n"),
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY),
    packed(BODY),
]


def read(data: bytes, cuts: list[int]) -> tuple[Response, bytes]:
    response, body, before = Response(), b"", 0
    for cut in [*cuts, len(data)]:
        body += b"".join(response.feed(data[before:cut]))
        before = cut
    return response, body


@pytest.mark.parametrize("data", WHOLE)
@pytest.mark.parametrize("seed", range(12))
def test_a_response_is_read_however_it_is_cut(data: bytes, seed: int) -> None:
    draw = random.Random(seed)
    count = [0, 1, len(data) - 1][seed] if seed < 3 else draw.randrange(1, 20)
    response, body = read(data, sorted(draw.sample(range(1, len(data)), count)))
    assert (response.status, response.complete, response.keep_alive, response.rest) == (200, True, True, b"")
    assert body == BODY


@pytest.mark.parametrize("data", WHOLE)
def test_a_response_that_ends_early_is_never_whole(data: bytes) -> None:
    for cut in range(1, len(data)):
        response, _ = read(data[:cut], [])
        assert not response.end(), data[:cut]


def test_without_a_length_the_body_ends_with_the_connection() -> None:
    response, body = read(b"HTTP/1.1 200 OK\r\n\r\nabc", [20])
    assert not response.complete and response.end() and body == b"abc" and not response.keep_alive


@pytest.mark.parametrize(
    ("head", "keeps"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", True),
    ],
)
def test_when_a_connection_may_be_kept(head: bytes, keeps: bool) -> None:
    response, body = read(head, [])
    assert response.complete and response.keep_alive is keeps and body == b""


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n",
        b"<html>",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 20\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBad Name : x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\n",
        CHUNKED + b"xyz\r\n",
        CHUNKED + b"-5\r\n",
        CHUNKED + b"0x5\r\nabcde\r\n",
        CHUNKED + b"3\r\nabcd\r\n",
        CHUNKED + b"ffffffffffffffffff\r\n",
        CHUNKED + b"1" * 70_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 70_000,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
    ],
)
def test_what_is_no_http_is_refused(data: bytes) -> None:
    with pytest.raises(BadHttp):
        read(data, [])


def test_what_comes_after_the_end_is_kept_apart() -> None:
    response, body = read(WHOLE[0] + b"HTTP/1.1 408 Request Timeout\r\n\r\n", [])
    assert response.complete and body == BODY and response.rest.startswith(b"HTTP/1.1 408")


def test_a_packed_bomb_grows_by_a_megabyte_a_piece_at_most() -> None:
    bomb = zlib.compress(b"0" * 50_000_000)
    response = Response()
    response.feed(b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: %d\r\n\r\n" % len(bomb))
    assert sum(len(piece) for piece in response.feed(bomb)) <= 1_000_000
