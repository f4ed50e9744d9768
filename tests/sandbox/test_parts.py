"""Claims about the sandbox's parts: the filter, plain values, messages, folders, what is seen."""

import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.sandbox import folder, plain, policy, seccomp, view, wire
from stillhouse.sandbox.syscalls import MACHINE, NUMBERS

pytestmark = pytest.mark.sandbox
_LINUX = pytest.mark.skipif(MACHINE not in ("x86_64", "aarch64"), reason="no filter for this machine")


def decide(program: bytes, number: int, *arguments: int, architecture: int | None = None) -> int:
    """A classic BPF machine: the verdict of a filter on a system call."""
    machine = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[MACHINE] if architecture is None else architecture
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, machine, 0, *(each & (1 << 64) - 1 for each in padded))
    code = [struct.unpack("<HBBI", program[at : at + 8]) for at in range(0, len(program), 8)]
    at = accumulator = 0
    while True:
        kind, yes, no, value = code[at]
        at += 1
        if kind == 0x20:
            accumulator = struct.unpack_from("<I", data, value)[0]
        elif kind == 0x05:
            at += value
        elif kind == 0x06:
            return value
        else:
            held = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[kind]
            at += yes if held else no


@_LINUX
def test_the_filter_allows_its_list_and_nothing_else() -> None:
    program = policy.answer_filter(execute=False, alone=False)
    allowed = {name for name, number in NUMBERS.items() if decide(program, number) == seccomp.ALLOW}
    assert {"read", "write", "mmap", "futex", "exit_group", "clone"} <= allowed
    assert not allowed & {"execve", "unshare", "setns", "mount", "socket", "memfd_create", "seccomp", "pivot_root"}
    known = set(NUMBERS.values())
    for number in range(600):
        if number not in known:
            assert decide(program, number) != seccomp.ALLOW, number


@_LINUX
@pytest.mark.parametrize(
    ("name", "arguments", "allowed"),
    [
        ("clone", (17,), True),
        ("clone", (0x10000000 | 17,), False),
        ("clone", (0x00020000 | 17,), False),
        ("clone", (0x100000000 | 17,), True),
        ("clone3", (), False),
        ("prctl", (15,), True),
        ("prctl", (22,), False),
        ("ioctl", (0, 0x5401), True),
        ("ioctl", (0, 0x5412), False),
        ("socketpair", (1,), True),
        ("socketpair", (2,), False),
        ("prlimit64", (0,), True),
        ("prlimit64", (1,), False),
    ],
)
def test_some_calls_depend_on_their_arguments(name: str, arguments: tuple[int, ...], allowed: bool) -> None:
    verdict = decide(policy.answer_filter(execute=False, alone=False), NUMBERS[name], *arguments)
    assert (verdict == seccomp.ALLOW) is allowed


@_LINUX
def test_another_architecture_and_x32_are_killed() -> None:
    program = policy.answer_filter(execute=True, alone=False)
    assert decide(program, NUMBERS["read"], architecture=0x40000003) == seccomp.KILL
    if MACHINE == "x86_64":
        assert decide(program, 0x40000000 | NUMBERS["read"]) == seccomp.KILL


@_LINUX
def test_where_nothing_holds_processes_none_are_made_or_signalled() -> None:
    program = policy.alone_filter(77)
    assert decide(program, NUMBERS["clone"], 0x00010000) == seccomp.ALLOW
    assert decide(program, NUMBERS["clone"], 17) == seccomp.ERRNO | seccomp.EAGAIN
    assert decide(program, NUMBERS["kill"], 77) == seccomp.ALLOW == decide(program, NUMBERS["tgkill"], 77)
    assert decide(program, NUMBERS["kill"], 1) != seccomp.ALLOW != decide(program, NUMBERS["tgkill"], 1)


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary())
KEYS = st.one_of(st.integers(), st.text())
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(KEYS, inner, max_size=3),
        st.sets(KEYS, max_size=3), st.frozensets(KEYS, max_size=3),
    ),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_plain_values_come_back_with_their_types(value: Any) -> None:
    back = plain.decode(plain.encoder()(value))
    assert back == value and type(back) is type(value)


@pytest.mark.parametrize(
    "value",
    [1 + 2j, -0.0, float("inf"), range(3, 9, 2), bytearray(b"x"), 2**53, -(2**53), 10**400, True, 1, 1.0, "\udc80"],
)
def test_a_value_keeps_its_type_and_digits(value: Any) -> None:
    assert repr(plain.decode(plain.encoder()(value))) == repr(value)


class Odd(int):
    def __repr__(self) -> str:
        raise AssertionError("never called")

    def __index__(self) -> int:
        raise AssertionError("never called")


def test_a_subclass_is_read_through_its_builtin_base() -> None:
    encode = plain.encoder()
    assert plain.decode(encode(Odd(7))) == 7
    assert plain.decode(encode(type("L", (list,), {"__iter__": lambda _: iter("x")})([1, 2]))) == [1, 2]


@pytest.mark.parametrize("value", [object(), lambda: 0, type, NotImplemented, iter([]), 1j.conjugate])
def test_what_is_not_plain_is_refused(value: Any) -> None:
    with pytest.raises(plain.NotPlain):
        plain.encoder()(value)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1", '{"x":1}', '{"i":7}', '{"i":"zz"}', '{"t":1}', '{"d":[1]}', '{"d":[[1,2,3]]}', '{"s":[[1]]}', "NaN",
     '{"f":[]}', '{"r":["a",1,1]}', '{"t":[],"s":[]}', "[" * 10000, '{"t":[' * 3000, '{"c":["a","b"]}', "9" * 5000],
)  # fmt: skip
def test_what_the_encoder_would_not_write_is_refused(text: str) -> None:
    with pytest.raises(plain.NotPlain):
        plain.decode(text)


def test_keys_made_to_collide_are_refused_and_ordinary_ones_are_not() -> None:
    with pytest.raises(plain.NotPlain, match="collide"):
        plain.hashable([i * (2**61 - 1) for i in range(2000)])
    assert len(plain.hashable(list(range(5000)))) == len(plain.hashable([7] * 5000)) == 5000


def test_a_message_arrives_whole_or_not_at_all() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        wire.write(ours, {"a": [1, "é"]}, b"blob")
        assert wire.read(theirs) == ({"a": [1, "é"]}, b"blob")
        with pytest.raises(wire.Late):
            wire.read(theirs, deadline=time.monotonic() + 0.01)
        ours.send(struct.pack("<II", 1 << 31, 0))
        with pytest.raises(wire.Broken, match="bytes"):
            wire.read(theirs)
        ours.send(struct.pack("<II", 3, 0) + b"[1]")
        with pytest.raises(wire.Broken, match="object"):
            wire.read(theirs)
        ours.close()
        with pytest.raises(wire.Broken, match="gone"):
            wire.read(theirs)


def test_a_folder_is_emptied_however_deep_and_follows_no_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    box = tmp_path / "box"
    box.mkdir()
    (box / "link").symlink_to(outside)
    here = Path.cwd()
    os.chdir(box)
    try:
        for _ in range(1200):  # deeper than recursion goes
            Path("deep").mkdir()
            os.chdir("deep")
        Path("file").write_text("x")
    finally:
        os.chdir(here)
    (box / "shut").mkdir()
    (box / "shut" / "inner").mkdir(mode=0)
    (box / "shut").chmod(0)
    assert folder.empty(str(box)) == 0
    assert list(box.iterdir()) == [] and (outside / "kept").exists()


def test_the_size_of_a_folder_counts_every_entry(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "big").write_bytes(b"x" * 100_000)
    for number in range(10):
        (tmp_path / str(number)).touch()
    assert 100_000 + 11 * 4096 <= folder.size(str(tmp_path), most=1 << 30) < 300_000


def test_a_private_home_is_not_reachable(tmp_path: Path) -> None:
    inner = tmp_path / "home" / "python"
    inner.mkdir(parents=True)
    (tmp_path / "home").chmod(0o700)
    assert not view.reachable(str(inner)) and view.reachable("/usr/lib")


def test_the_filter_is_made_for_aarch64_too() -> None:
    program = (
        "import os, types\n"
        "os.uname = lambda: types.SimpleNamespace(machine='aarch64')\n"
        "from stillhouse.sandbox import policy, syscalls\n"
        "assert syscalls.NUMBERS['openat'] == 56 and 'open' not in syscalls.NUMBERS\n"
        "made = [policy.answer_filter(execute=e, alone=a, foreign=a) for e in (False, True) for a in (False, True)]\n"
        "print(*map(len, [*made, policy.alone_filter(7), policy.outer_filter()]))\n"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert all(0 < int(size) <= 4096 * 8 and int(size) % 8 == 0 for size in ran.stdout.split())
