"""Claims about the memory of replies: what is in the journal is found, whatever its key, under its own limit."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stillhouse.records import Response
from stillhouse.store.index import load_index
from stillhouse.store.replies import Replies


def test_every_reply_is_found_those_whose_keys_end_in_zero_bytes_too(
    tmp_path: Path, fill: Callable[..., list[Response]]
) -> None:
    written = fill(tmp_path, range(1500))
    assert any(response.key.endswith("00") for response in written), "one key in 256 does"
    memory = Replies(load_index(tmp_path))
    for response in written:
        assert memory.row(response.key) is not None, response.key
    assert memory.row("0" * 32) is None
    assert memory.response(written[7].key, 1000) == written[7]


@pytest.mark.parametrize(("limit", "found"), [(1000, True), (10, True), (1001, True)])
def test_a_finished_reply_answers_for_any_limit(
    tmp_path: Path, fill: Callable[..., list[Response]], limit: int, found: bool
) -> None:
    written = fill(tmp_path, range(3))
    assert (Replies(load_index(tmp_path)).response(written[0].key, limit) is not None) == found
