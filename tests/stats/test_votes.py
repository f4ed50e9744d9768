"""Claims about votes: one a teacher, more than half of those that vote, and never a draw."""

import pytest

from stillhouse.stats.votes import groups, vote


@pytest.mark.parametrize(
    ("given", "won"),
    [
        ({"a": [0], "b": [0]}, (0, 2, 0, 2)),
        ({"a": [0], "b": [0], "c": [1]}, (0, 2, 1, 3)),
        ({"a": [0, 0, 1], "b": [1, 0, 0]}, (0, 2, 0, 2)),
        ({"a": [0, 1], "b": [2, 1]}, (1, 2, 1, 2)),
        ({"a": [0], "b": []}, None),
        ({"a": [0], "b": [1]}, None),
        ({"a": [0], "b": [0], "c": [1], "d": [1]}, None),
        ({"a": [0, 1], "b": [0, 1]}, None),
        ({"a": [0, 1, 2], "b": [0]}, None),
        ({}, None),
    ],
)
def test_the_vote_is_of_teachers_and_not_of_replies(
    given: dict[str, list[int]], won: tuple[int, int, int, int] | None
) -> None:
    found = vote(given)
    assert (found and (found.group, found.votes, found.others, found.voters)) == won


def test_three_must_agree_where_three_are_asked_for() -> None:
    assert vote({"a": [0], "b": [0], "c": [1]}, least=3) is None
    assert vote({"a": [0], "b": [0], "c": [0]}, least=3) is not None


def test_equal_answers_are_one_group_and_equal_texts_are_never_compared() -> None:
    compared = []

    def same(one: str, other: str) -> bool:
        compared.append((one, other))
        return float(one) == float(other)

    assert groups(["1", "2", "1.0", "1", "2"], same) == [0, 1, 0, 0, 1]
    assert all(one != other for one, other in compared)
