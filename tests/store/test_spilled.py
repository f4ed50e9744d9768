"""Claims about replies that memory does not keep."""

from stillhouse.records import Response
from stillhouse.store.spilled import Spilled


def test_a_reply_comes_back_as_it_was_and_an_unknown_one_is_none() -> None:
    spilled = Spilled()
    assert spilled.get("a") is None
    replies = [(f"k{n}", Response(f"k{n}", "q", "judge", f"text {n} 😀", cost_usd=0.5, reasoning=None))
               for n in range(3)]  # fmt: skip
    spilled.put(replies)
    spilled.put(replies[:1])
    assert [spilled.get(key) for key, _ in replies] == [reply for _, reply in replies]
    assert spilled.get("k9") is None
    spilled.close()
    spilled.close()
