"""Claims about loops in a stream: found at once and exactly, whatever the pieces; not found where there is none."""

import random

import pytest

from stillhouse.transport.repeats import Repeats, first_loop

PHRASE = " ".join(f"w{number}" for number in range(20)) + " "
NINETEEN = " ".join(f"w{number}" for number in range(19)) + " "


@pytest.mark.parametrize(
    ("text", "length"),
    [
        (PHRASE * 3, 20),
        (PHRASE * 2, None),
        ("before all that " + PHRASE * 3 + "after", 20),
        (NINETEEN * 3, None),
        (NINETEEN * 6, 38),  # two of them are a phrase of 38
        (PHRASE * 2 + "but " + PHRASE * 2, None),
        ("no " * 59, None),
        ("no " * 60, 20),
        ("yes no " * 30, 20),
        (" ".join(map(str, range(3000))), None),
        ("".join(f"line {number}: the same words follow here again and again without end, is it not so, dear "
                 for number in range(50)), None),
        ("我们再检查一遍这个结果看看是不是正确的吧好的呀" * 3, 23),
        ("我们再检查一遍" * 8, None),
        ("我们再检查一遍" * 9, 21),
        (" ".join(f"v{number}" for number in range(700)) + " " + (PHRASE + NINETEEN) * 3, 39),
        # every window stands twice in the phrase: its last place alone does not tell the period
        (((PHRASE + NINETEEN * 2) * 2 + (PHRASE + " ".join(f"z{n}" for n in range(30)) + " ") * 2) * 3, 216),
    ],
)  # fmt: skip
def test_a_loop_is_found_where_there_is_one(text: str, length: int | None) -> None:
    assert first_loop(text) == length


@pytest.mark.parametrize("seed", range(5))
def test_how_the_text_is_cut_into_pieces_does_not_matter(seed: int) -> None:
    draw = random.Random(seed)
    text = " ".join(draw.choice("abcdefgh") * 3 for _ in range(500)) + " " + PHRASE * 3
    reader, at, found_at = Repeats(), 0, None
    while at < len(text) and found_at is None:
        step = draw.randint(1, 9)
        if reader.feed(text[at : at + step]):
            found_at = at + step
        at += step
    assert found_at is not None or reader.end()
    assert reader.found == first_loop(text) == 20


@pytest.mark.parametrize("seed", range(20))
def test_it_agrees_with_trying_every_length(seed: int) -> None:
    draw = random.Random(seed)
    words: list[str] = []
    while len(words) < 120:  # few words, so that near-loops abound
        phrase = [draw.choice("abc") for _ in range(draw.randint(1, 9))]
        words += phrase * draw.randint(1, 5)
    at = next((end for end in range(len(words) + 1) if loops(words[:end], 4, 3)), None)
    reader = Repeats(4, 3)
    found = next((end for end, word in enumerate(words, 1) if reader.feed(word + " ")), None)
    assert found == at


def loops(words: list[str], least: int, times: int) -> bool:
    """Does the text end in a loop? By the definition, slowly."""
    for length in range(least, len(words) // times + 1):
        if all(words[-at] == words[-at - length] for at in range(1, length * (times - 1) + 1)):
            return True
    return False


def test_the_last_token_counts_only_when_it_is_over() -> None:
    reader = Repeats()
    assert not reader.feed((PHRASE * 3).strip())
    assert reader.end()


def test_a_text_without_blanks_is_read_in_bounded_memory() -> None:
    reader = Repeats()
    for _ in range(300):
        assert not reader.feed("x" * 997)
    assert len(reader._cut) < 12_000
