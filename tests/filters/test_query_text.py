"""Query filters: one line a case, with what must happen and why it is here."""

from __future__ import annotations

import pytest

from stillhouse.filters import query_text
from stillhouse.records import Message, Query

PASS, FAIL = "pass", "fail"
CASES = [
    # filter, outcome, text, category
    ("odd_characters", PASS, "Find x in x² + 3x ≤ 10 — “exactly” 5° or €3.", "math"),
    ("odd_characters", PASS, "求函数 f(x)=x² 的最小值。", "math"),
    ("odd_characters", PASS, "Что такое производная функции? Ответьте кратко.", "other"),
    ("odd_characters", PASS, "Why is 😀 used so often in chats today?", "other"),
    ("odd_characters", FAIL, "😀😀😀😀 ok", "other"),
    ("odd_characters", FAIL, "broken \ufffd\ufffd text here is short", "math"),
    ("odd_characters", FAIL, "control \x00\x01 characters in a text", "math"),
    ("odd_characters", FAIL, "private \ue000\ue001 use area in a text", "math"),
    ("odd_characters", FAIL, "lone \ud800\ud800 surrogates in a text", "math"),
    ("odd_characters", PASS, "Tabs\tand\nnew lines are\r\nfine", "code"),
    ("incomplete", FAIL, "   \n", "math"),
    ("incomplete", FAIL, "Why so", "other"),
    ("incomplete", PASS, "Why is it?", "other"),
    ("incomplete", PASS, "12*12", "math"),
    ("incomplete", FAIL, "你好吗", "other"),
    ("incomplete", PASS, "你是谁呢", "other"),
    ("incomplete", FAIL, "Prove that the sum is even and then...", "math"),
    ("incomplete", FAIL, "Tell me about the next step …", "other"),
    ("incomplete", PASS, "Compute 1 + 2 + ... + 100 now", "math"),
    ("incomplete", FAIL, "Write it:\n```python\ndef f():\n    return 1", "code"),
    ("incomplete", PASS, "Fix it:\n```python\nx = {\n```\nplease", "code"),
    ("incomplete", FAIL, "Solve the equation $x^2 = 4 for x", "math"),
    ("incomplete", PASS, "A pen costs $5 and a book is three times that", "math"),
    ("incomplete", PASS, "It costs $5 while $x$ is the number of books", "math"),
    ("incomplete", PASS, "Let $a$$b$ be the product of these", "math"),
    ("incomplete", FAIL, "Compute $$\\int_0^1 x dx for me", "math"),
    ("incomplete", PASS, "The price is \\$5 each for them", "math"),
    ("incomplete", FAIL, "Evaluate \\[ x + y and so on", "math"),
    ("incomplete", PASS, "A matrix: \\begin{pmatrix} 1 & 2 \\\\[2pt] 3 & 4 \\end{pmatrix}", "math"),
    ("incomplete", FAIL, "A matrix: \\begin{pmatrix} 1 & 2 \\\\ 3", "math"),
    ("incomplete", FAIL, "Let \\frac{1}{2 be given to us", "math"),
    ("incomplete", PASS, "Let \\{1, 2 \\} be the set of two", "math"),
    ("incomplete", FAIL, "Let } be the first of these", "math"),
    ("incomplete", PASS, "Why does `if (x) {` not compile here", "code"),
    ("url", FAIL, "Summarise https://example.com/a?b=c for me", "other"),
    ("url", FAIL, "Look at WWW.Example.com and tell me", "other"),
    ("url", FAIL, "It is on example.com/path somewhere", "other"),
    ("url", PASS, "Divide 3/4 by 1.5 and round the result", "math"),
    ("url", PASS, "Write to me at a.b@example.com and/or call", "other"),
    ("table", FAIL, "Given\n| a | b |\n|---|---|\n| 1 | 2 |\nfind a", "math"),
    ("table", FAIL, "Given\n| a | b | c |\n| 1 | 2 | 3 |\nfind a", "math"),
    ("table", FAIL, "\\begin{tabular}{cc} 1 & 2 \\end{tabular} find it", "math"),
    ("table", FAIL, "\\begin{array}{c|c} x & y \\\\ \\hline 1 & 2 \\end{array}", "math"),
    ("table", PASS, "\\begin{array}{c} x + y = 1 \\\\ x = 2 \\end{array}", "math"),
    ("table", FAIL, "see <TABLE border=1><tr><td>1", "other"),
    ("table", FAIL, "a\tb\n1\t2\n3\t4\nwhat is the sum?", "other"),
    ("table", PASS, "def f():\n\tx = 1\n\ty = 2\n\treturn x", "code"),
    ("table", PASS, "Find |x - 1| + |x - 2|\nfor x = 3", "math"),
    ("image", FAIL, "![a](b.png) what is this", "other"),
    ("image", FAIL, "5! is 120, and ![x] is an image", "math"),
    ("image", PASS, "Why does vec![1, 2] compile in Rust?", "code"),
    ("image", FAIL, "What is <img src='x'> showing", "other"),
    ("image", FAIL, "[asy] draw((0,0)--(1,1)); [/asy] Find the area", "math"),
    ("image", FAIL, "In the figure below, find the angle", "math"),
    ("image", FAIL, "As shown in the diagram, AB = 3", "math"),
    ("image", FAIL, "Find the area of the accompanying figure", "math"),
    ("image", FAIL, "如图，求三角形的面积。", "math"),
    ("image", PASS, "Draw the graph of f and figure out its area", "math"),
    ("image", PASS, "Describe a picture of a house to a child", "other"),
    ("oversized", FAIL, "x" * 200_001, "other"),
    ("oversized", PASS, "x" * 200_000, "other"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "outcome", "text", "category"), CASES)
def test_filter(name: str, outcome: str, text: str, category: str) -> None:
    verdict = getattr(query_text, name)(Query((Message("user", text),), category))
    assert (verdict.outcome, verdict.rule) == (outcome, name), verdict.reason
    if outcome == FAIL:
        assert verdict.reason and verdict.detail is not None


def test_every_user_turn_is_looked_at_and_a_short_follow_up_is_not_incomplete() -> None:
    turns = (Message("user", "See https://a.org/b"), Message("assistant", "Yes"), Message("user", "Why so"))
    query = Query(turns, "multiturn")
    assert query_text.url(query).outcome == FAIL
    assert query_text.incomplete(query).outcome == PASS
