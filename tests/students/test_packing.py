import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.students.packing import efficiency, pack, positions_and_owners

# Counts of math responses by 1,024-token bins, thousands; read off the paper's figure (arXiv 2505.14464), the last bin
# is open and filled with an exponential tail up to the limit.
PAPER = {
    "AM-Thinking-v1": [153.7, 143.6, 67.6, 42.5, 30.0, 22.7, 17.9, 14.1, 11.5, 9.3, 48.5],
    "Qwen3-235B-A22B": [53.1, 145.1, 94.2, 63.0, 46.3, 36.1, 28.3, 22.7, 17.4, 13.3, 41.7],
    "DeepSeek-R1": [24.7, 194.3, 111.2, 65.0, 42.5, 29.8, 21.4, 16.6, 12.5, 9.8, 33.1],
}


@pytest.mark.parametrize("teacher", PAPER)
def test_the_papers_lengths_pack_to_98_percent_and_more(teacher):
    random = np.random.default_rng(0)
    counts = [int(n * 20) for n in PAPER[teacher]]
    parts = [random.integers(i * 1024 + 1, (i + 1) * 1024 + 1, n) for i, n in enumerate(counts[:-1])]
    tail = 10241 + random.exponential(6000, counts[-1])
    lengths = np.minimum(np.concatenate([*parts, tail]) + 150, 32768).astype(int)
    assert efficiency(lengths, len(pack(lengths, 32768)), 32768) >= 0.98


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 64), max_size=80))
def test_each_sample_is_in_one_sequence_and_none_overflows(lengths):
    sequences = pack(lengths, 64)
    assert sorted(int(i) for s in sequences for i in s) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in s) <= 64 for s in sequences)
    loads = sorted(sum(lengths[i] for i in s) for s in sequences)
    assert len(loads) < 2 or loads[0] + loads[1] > 64, "two sequences would have fitted into one"


def test_packing_is_the_same_every_time():
    lengths = np.random.default_rng(1).integers(1, 500, 1000)
    assert [s.tolist() for s in pack(lengths, 512)] == [s.tolist() for s in pack(lengths, 512)]


@pytest.mark.parametrize("lengths", [[65], [0]])
def test_what_cannot_fit_is_refused_not_cut(lengths):
    with pytest.raises(ValueError, match="64"):
        pack(lengths, 64)


def test_positions_begin_anew_with_each_sample():
    positions, owners = positions_and_owners([3, 1, 2])
    assert positions.tolist() == [0, 1, 2, 0, 0, 1]
    assert owners.tolist() == [0, 0, 0, 1, 2, 2]
