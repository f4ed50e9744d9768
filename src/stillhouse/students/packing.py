"""Samples are laid side by side into sequences of a fixed length, each attending to itself alone.

In: lengths in tokens. Out: which sequence each sample goes to (best fit, longest first), and the block-diagonal
attention of a packed sequence. Source of the rule: Ding et al. 2024, "Fewer Truncations Improve Language Modeling".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def pack(lengths: Sequence[int] | Ints, capacity: int) -> list[Ints]:
    """Sample positions of each sequence; every sample is in exactly one, none is over capacity.

    Best fit decreasing. The sets of equal free space are bits of one integer, so that a fit is found in a few
    machine-word loops: some millions of samples in seconds. Raises ValueError for a sample that cannot fit.
    """
    sizes = np.asarray(lengths, np.int64)
    if sizes.size and (sizes.max() > capacity or sizes.min() < 1):
        raise ValueError(f"lengths go from {sizes.min()} to {sizes.max()}, but 1 to {capacity} tokens fit")
    room: list[list[int]] = [[] for _ in range(capacity + 1)]  # sequences by their free space
    free = 0  # bit s is set while room[s] is not empty
    members: list[list[int]] = []
    for position in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[position])
        fitting = free >> size
        if fitting:
            space = size + (fitting & -fitting).bit_length() - 1
            sequence = room[space].pop()
            if not room[space]:
                free ^= 1 << space
        else:
            space, sequence = capacity, len(members)
            members.append([])
        members[sequence].append(position)
        left = space - size
        if left:
            room[left].append(sequence)
            free |= 1 << left
    return [np.array(sequence, np.int64) for sequence in members]


def efficiency(lengths: Sequence[int] | Ints, sequences: int, capacity: int) -> float:
    """Share of the packed positions that hold tokens; nan without sequences."""
    return float(np.sum(lengths)) / (sequences * capacity) if sequences else float("nan")


def positions_and_owners(lengths: Sequence[int], prefix: int = 0) -> tuple[Ints, Ints]:
    """For one packed sequence: each token's position within its sample, and which sample it belongs to.

    prefix: tokens that all samples begin with, laid once in front (owner -1) and not counted in lengths.
    """
    starts = np.repeat(np.cumsum([0, *lengths[:-1]]), lengths)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    positions = np.arange(int(np.sum(lengths))) - starts + prefix
    return np.concatenate([np.arange(prefix), positions]), np.concatenate([np.full(prefix, -1), owners])


def shared_prefix(tokens: Sequence[NDArray[np.int32]], most: int) -> int:
    """How many tokens all samples begin with, at most `most`: the system prompt need be computed only once."""
    if not tokens:
        return 0
    size = min(most, *(len(t) for t in tokens))
    first = tokens[0][:size]
    for other in tokens[1:]:
        differs = np.flatnonzero(other[: len(first)] != first)
        if differs.size:
            first = first[: int(differs[0])]
    return len(first)
