"""What several teachers agree on: each teacher votes for the answer that it gives most often.

In: groups of equal answers, a list a teacher. Out: the answer with the most votes, or None. Pure counting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Vote:
    """group: the one that won. votes: teachers for it; others: the most that any other answer got; voters: all."""

    group: int
    votes: int
    others: int
    voters: int


def groups(answers: Sequence[str], same: Callable[[str, str], bool]) -> list[int]:
    """The number of each answer's group, from 0 in order of first use; equal texts are never compared."""
    firsts: list[str] = []
    numbers: dict[str, int] = {}
    for answer in answers:
        if answer not in numbers:
            number = next((n for n, first in enumerate(firsts) if same(first, answer)), len(firsts))
            if number == len(firsts):
                firsts.append(answer)
            numbers[answer] = number
    return [numbers[answer] for answer in answers]


def choices_of(given: Sequence[int]) -> frozenset[int]:
    """What a teacher votes for: its most frequent group, both where two are as frequent, none where more are."""
    counts = Counter(given)
    most = max(counts.values(), default=0)
    chosen = frozenset(group for group, count in counts.items() if count == most)
    return chosen if len(chosen) <= 2 else frozenset()


def vote(given: Mapping[str, Sequence[int]], least: int = 2) -> Vote | None:
    """The one group that more than half of the voting teachers, and at least `least` of them, chose."""
    choices = [chosen for answers in given.values() if (chosen := choices_of(answers))]
    counts = Counter(group for chosen in choices for group in chosen).most_common(2)
    if not counts:
        return None
    group, votes = counts[0]
    others = counts[1][1] if len(counts) == 2 else 0
    if votes < least or 2 * votes <= len(choices) or votes == others:
        return None
    return Vote(group, votes, others, len(choices))
