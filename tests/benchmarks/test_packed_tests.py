"""Private tests are packed by strangers: nothing in them is run, and none of them takes more memory than allowed."""

import base64
import os
import pickle
import pickletools
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.benchmarks.packed_tests import PackedTests, read_packed, read_string


def pack(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


@pytest.mark.parametrize("protocol", range(1, 6))
@pytest.mark.parametrize("text", ["", "[]", "naïve 数 \N{GRINNING FACE}\n", "x" * 70_000])
def test_a_string_is_read_as_pickle_would(protocol, text):
    assert read_packed(pack(pickle.dumps(text, protocol)), 10**6) == text


class Runs:
    def __reduce__(self):
        return os.system, ("touch /tmp/it-ran",)


@pytest.mark.parametrize(
    "hostile",
    [
        pickle.dumps(Runs()),
        pickle.dumps(Runs(), 0),
        pickle.dumps(["a", "list"]),
        pickle.dumps({"a": 1}),
        pickle.dumps(b"bytes"),
        pickle.dumps(7),
        b"cos\nsystem\n(S'touch /tmp/it-ran'\ntR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R.",
        b"\x80\x04\x8c\x02ab\x8c\x02cd.",
        pickle.dumps("a") + b"more",
        pickle.dumps("a")[:-1],
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
        b"X\xff\xff\xff\x7fabc.",
        b"",
        b"\x80\x04.",
        b"P1\n.",
        b"\x80\x04\x8c\x01a\x94Q.",
    ],
    ids=range(17),
)
def test_whatever_is_more_than_a_string_is_refused_and_never_run(hostile, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("it ran"))
    with pytest.raises(PackedTests):
        read_string(hostile)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_string_or_refused(data):
    try:
        text = read_string(data)
    except PackedTests:
        return
    assert isinstance(text, str)
    names = {op.name for op, _, _ in pickletools.genops(data)}
    assert not names & {"GLOBAL", "STACK_GLOBAL", "REDUCE", "INST", "OBJ", "NEWOBJ", "BUILD", "EXT1", "PERSID"}


def test_a_bomb_stops_at_the_limit():
    bomb = pack(b"\0" * 200_000_000)
    tracemalloc.start()
    with pytest.raises(PackedTests, match="more than the limit"):
        read_packed(bomb, 1_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("x" * 300, "over the limit"),
        ("@@@@", "not base64"),
        (base64.b64encode(b"plain").decode(), "not zlib"),
        (base64.b64encode(zlib.compress(b"x" * 50)[:-4]).decode(), "cut off"),
    ],
)
def test_each_step_says_what_is_wrong(text, word):
    with pytest.raises(PackedTests, match=word):
        read_packed(text, 100)
