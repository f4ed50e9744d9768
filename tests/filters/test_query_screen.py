"""The screen never turns away a text that a query filter would reject, and seldom keeps one that passes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.filters import query_text
from stillhouse.records import Message, Query
from stillhouse.store.columns import QueryTexts

FILTERS = (
    query_text.oversized, query_text.odd_characters, query_text.incomplete, query_text.url, query_text.table,
    query_text.image,
)  # fmt: skip
PIECES = st.sampled_from([
    " ", "\n", "\t", "\u3000", "\xa0", "\x1c", "\x85", "a", "word ", "7", "٣", "$", "$$", "\\$", "\\", "\\\\", "{", "}",
    "\\{", "\\[", "\\]", "\\(", "\\)", "\\begin", "\\begin{", "\\end", "\\beginé", "\\begin{tabular}", "\\BEGIN{array}",
    "\\hline", "\\begin{align}", "|", "|-|-|", "| a | b |\n", "---", ":-:", "<table>", "<TR ", "<img ", "<IMG/", "![",
    "![a](b)", "[asy]", "[ASY]", "\\includegraphics", "the ", "in the ", "figure ", "Figure below", "diagram shown",
    "photograph", "see fig. 3", "in fıg. 3", "ﬁgure", "image", "如图", "图", "https://x", "ftp://",
    "HTTPS://a", "httpſ://a", "www.a.b", "WWW.a.bc", "xwww.a.b", "éwww.a.b", "a.com/", "a.IO/", "a.ıo/", "-.org/", "/",
    ".", "..", "...", "…", "```", "``` ", "\n```",
    "\n  ```py", "é", "中文字符", "😀", "\ufffd", "\ue000", "\x00", "\x7f", "☃", "İ", "K", "ſ", "ı",
])  # fmt: skip
TEXTS = st.lists(PIECES, max_size=14).map("".join) | st.text(max_size=30)


def texts_of(queries: list[Query]) -> QueryTexts:
    user = ["\n\n".join(m.content for m in q.messages if m.role == "user") for q in queries]
    last = [query.text for query in queries]
    array = pa.array(user, pa.large_string())
    sizes = [sum(len(m.content.encode()) for m in query.messages) for query in queries]
    code = np.array([query.category == "code" for query in queries])
    return QueryTexts(array, array if user == last else pa.array(last, pa.large_string()), np.array(sizes), code)


def asked_of(judge: object, queries: list[Query]) -> list[bool]:
    return judge.suspects(texts_of(queries)).tolist()  # type: ignore[attr-defined]


@settings(max_examples=400, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=8), st.sampled_from(["math", "code"]), st.booleans())
def test_what_a_filter_rejects_is_always_handed_to_it(texts: list[str], category: str, several: bool) -> None:
    texts = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]
    turns = [Message("user", text) for text in texts]
    queries = [Query((turn,), category) for turn in turns]
    if several:
        queries.append(Query((turns[0], Message("assistant", "yes\tno"), turns[-1]), category))
    for judge in FILTERS:
        for query, asked in zip(queries, asked_of(judge, queries), strict=True):
            assert asked or judge(query).outcome == "pass", (judge.__name__, query.text)


@pytest.mark.parametrize("text", [
    "A farmer sells 12 of his 40 sheep, then buys a few more; how many sheep are there in the evening?",
    "Let $x^2 + \\frac{1}{2}y = 3$ and \\[ \\begin{cases} x > 0 \\\\ y < 1 \\end{cases} \\] hold. Find $$x + y.$$",
    "Janet pays $5 for eggs and $7 for ducks (50% more than last year). What does she pay in total?",
    "Write a function f(a: list[int]) -> dict[str, int] that counts each number, for instance {1: 2}.",
    "求所有满足方程 x² + y² = 25 的整数解，并说明理由。",
])  # fmt: skip
def test_ordinary_questions_are_handed_to_no_filter(text: str) -> None:
    query = Query((Message("user", text),), "math")
    assert [judge.__name__ for judge in FILTERS if asked_of(judge, [query]) == [True]] == []


def test_long_conversations_count_as_a_whole() -> None:
    turns = (Message("user", "Hello to you all"), Message("assistant", "x" * 200_001), Message("user", "Go on now, 1"))
    assert asked_of(query_text.oversized, [Query(turns, "multiturn")]) == [True]
