"""Claims about the index: which reply answers for which attempt and limit, and that it never depends on its file."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.records import Request, Response
from stillhouse.store.index import find_sorted, hex_key, load_index, raw_keys
from stillhouse.store.journal import Journal
from stillhouse.store.reading import read_responses
from stillhouse.store.rows import REPLY, raw_key
from stillhouse.store.segments import INDEX, SEGMENT

Ask, Answer, Fill = Callable[..., Request], Callable[..., Response], Callable[..., list[Response]]


def write(folder: Path, *responses: Response) -> None:
    async def keep() -> None:
        with Journal(folder) as journal:
            await asyncio.gather(*(journal.reply(response, retry=0) for response in responses))

    asyncio.run(keep())


STOP_100, STOP_900 = ("stop", 100), ("stop", 900)
CUT_100, CUT_900, HALT_100 = ("length", 100), ("length", 900), ("stopped", 100)


@pytest.mark.parametrize(
    ("replies", "limit", "chosen"),
    [
        ([STOP_100], 900, 0),  # a finished reply is valid for any limit
        ([STOP_900], 100, 0),
        ([CUT_100], 100, 0),  # a truncated one up to its own
        ([CUT_100], 50, 0),
        ([CUT_100], 101, None),
        ([HALT_100], 101, None),
        ([HALT_100], 100, 0),
        ([CUT_100, CUT_900], 900, 1),
        ([CUT_100, CUT_900], 50, 1),
        ([CUT_900, CUT_100], 50, 0),
        ([CUT_900, STOP_100], 50, 1),
        ([STOP_100, CUT_900], 5000, 0),
        ([STOP_100, STOP_900], None, 0),  # paid twice: the earlier stands
        ([CUT_100], None, 0),
        ([("content_filter", 100)], 900, 0),
        ([], 1, None),
    ],
)
def test_which_reply_answers_for_a_limit(
    tmp_path: Path, ask: Ask, answer: Answer, replies: list[tuple[str, int]], limit: int | None, chosen: int | None
) -> None:
    request = ask(1, 3)
    others = [answer(ask(1, 2)), answer(ask(2, 3)), answer(ask(1, 3, identity="qwen"))]
    made = [answer(request, finish_reason=f, max_tokens=m, text=str(n)) for n, (f, m) in enumerate(replies)]
    write(tmp_path, *others, *made)
    index = load_index(tmp_path)
    state = index.lookup(request.identity, np.sort(raw_keys([request.prompt])), attempts=4, limit=limit)
    found = [r.text for r in read_responses(index, state[0, 2:3][state[0, 2:3] >= 0])]
    assert found == ([] if chosen is None else [str(chosen)])
    assert (state[0, [0, 3]] == -1).all()
    assert state[0, 1] >= 0
    assert index.find([request.key], limit=limit)[0] == state[0, 2]


def test_state_over_sorted_prompts_is_one_row_a_pair_and_attempt(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    rng = np.random.default_rng(5)
    done = {(int(q), int(a)) for q, a in zip(rng.integers(0, 60, 150), rng.integers(1, 9, 150), strict=True)}
    write(tmp_path, *(answer(ask(q, a)) for q, a in sorted(done)))
    index = load_index(tmp_path)
    prompts = np.sort(raw_keys([ask(n).prompt for n in range(80)]))
    number_of = {raw_key(ask(n).prompt): n for n in range(80)}
    state = index.lookup(ask(0).identity, prompts, attempts=8)
    assert {(number_of[bytes(prompts[p]).ljust(16, b"\0")], a + 1) for p, a in np.argwhere(state >= 0)} == done
    rows = state[state >= 0]
    assert len(np.unique(rows)) == len(rows) == len(done)
    responses = list(read_responses(index, rows))
    assert [r.key for r in responses] == [index.key_text(row) for row in rows]
    limits = rng.integers(500, 1500, len(prompts))
    assert (index.lookup(ask(0).identity, prompts, attempts=8, limit=limits) == state).all()  # all of them finished


def test_rows_are_chosen_by_kind_teacher_identity_and_purpose(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    async def keep() -> None:
        with Journal(tmp_path) as journal:
            journal.intent(ask(1), retry=0)
            await journal.reply(answer(ask(1)), retry=0)
            await journal.reply(answer(ask(1, identity="judge")), retry=0, purpose="judge")

    asyncio.run(keep())
    index = load_index(tmp_path)
    assert index.rows(kind=None).tolist() == [0, 1, 2]
    assert index.rows().tolist() == [1, 2]
    assert index.rows(purpose="judge").tolist() == index.replies(ask(1, identity="judge").identity).tolist() == [2]
    assert index.rows(teacher="am", purpose="judge").tolist() == index.rows(teacher="nobody").tolist() == []


def break_nothing(index: Path) -> None:
    pass


def flip_a_bit(index: Path) -> None:
    data = bytearray(index.read_bytes())
    data[len(data) // 2] ^= 1
    index.write_bytes(data)


def cut(index: Path) -> None:
    index.write_bytes(index.read_bytes()[:-1])


def empty(index: Path) -> None:
    index.write_bytes(b"")


BREAKS: list[Callable[[Path], None]] = [break_nothing, Path.unlink, flip_a_bit, cut, empty]


@pytest.mark.parametrize("harm", BREAKS, ids=lambda harm: harm.__name__)
def test_a_lost_or_broken_index_is_made_again_from_the_segment(
    tmp_path: Path, fill: Fill, harm: Callable[[Path], None]
) -> None:
    fill(tmp_path, range(20))
    before = load_index(tmp_path)
    (path,) = tmp_path.glob(f"*{INDEX}")
    whole = path.read_bytes()
    harm(path)
    after = load_index(tmp_path)
    for name in ("query", "key", "kind", "frame", "line", "cost_usd", "created", "teacher", "label", "max_tokens"):
        assert (getattr(after, name) == getattr(before, name)).all(), name
    assert (after.teachers, after.labels, after.purposes) == (before.teachers, before.labels, before.purposes)
    Journal(tmp_path).close()
    assert path.read_bytes() == whole


def test_an_index_that_speaks_of_another_length_of_its_segment_is_not_believed(tmp_path: Path, fill: Fill) -> None:
    fill(tmp_path, range(4))
    (segment,) = tmp_path.glob(f"*{SEGMENT}")
    segment.write_bytes(segment.read_bytes()[:-10])
    index = load_index(tmp_path)
    assert (index.kind == REPLY).sum() == 0  # the four replies stood in one frame, which is torn now
    assert [d.reason for d in index.damage] == ["torn tail"]


def test_a_segment_that_is_gone_is_told(tmp_path: Path, fill: Fill) -> None:
    fill(tmp_path, range(4))
    next(tmp_path.glob(f"*{SEGMENT}")).unlink()
    index = load_index(tmp_path)
    assert len(index) == 0
    assert [d.reason for d in index.damage] == ["the segment is gone"]


def test_several_folders_are_one_index_and_a_folder_named_twice_counts_once(tmp_path: Path, fill: Fill) -> None:
    fill(tmp_path / "a", range(3))
    fill(tmp_path / "store", range(3, 5))
    index = load_index([tmp_path / "a", tmp_path / "store", tmp_path / "a", tmp_path / "none"])
    assert len(index.rows()) == 5
    assert len(list(read_responses(index, index.rows()))) == 5
    assert len(load_index(tmp_path / "none")) == 0
    assert load_index(tmp_path / "none").lookup("x", raw_keys(["a"]), attempts=3).tolist() == [[-1, -1, -1]]


def test_rows_may_be_read_in_any_order_and_twice(tmp_path: Path, fill: Fill) -> None:
    responses = fill(tmp_path, range(700))
    index = load_index(tmp_path)
    order = np.random.default_rng(1).permutation(700)
    wanted = np.concatenate([order, order[:10]])
    got = list(read_responses(index, index.rows()[wanted]))
    assert got == [responses[n] for n in wanted]
    with pytest.raises(ValueError, match="holds no response"):
        list(read_responses(index, [0]))


@settings(max_examples=60, deadline=None)
@given(
    held=st.sets(st.binary(min_size=16, max_size=16) | st.sampled_from([bytes(8) + bytes([n]) * 8 for n in range(4)])),
    wanted=st.lists(st.binary(min_size=16, max_size=16), min_size=1),
    many=st.sampled_from([1, 1001]),
)
def test_keys_are_found_where_they_stand(held: set[bytes], wanted: list[bytes], many: int) -> None:
    keys = np.frombuffer(b"".join(sorted(held)), dtype="S16")
    asked = [*wanted, *sorted(held)] * many
    found = find_sorted(keys, np.frombuffer(b"".join(asked), dtype="S16"))
    place = {key: n for n, key in enumerate(sorted(held))}
    assert found.tolist() == [place.get(key, -1) for key in asked]


def test_a_key_with_closing_zeros_and_a_foreign_one_have_sixteen_bytes() -> None:
    zeros = "ab" * 14 + "0000"
    assert hex_key(raw_keys([zeros])[0]) == zeros
    for foreign in ("k1", "", "ab cd" * 6 + "ab", "é" * 32, "\ud800"):
        assert len(raw_key(foreign)) == 16
