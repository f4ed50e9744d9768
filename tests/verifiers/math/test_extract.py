"""Claims about extraction: the last box counts, boxes of a list are joined, without a box the last formula counts."""

import time

import pytest

from stillhouse.verifiers.math_extract import extract, last_boxed, last_formula


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"so \boxed{5}", "5"),
        (r"\boxed{4}, no: \boxed{5}.", "5"),
        (r"first \boxed{4}. Then, after a correction, \boxed{5}", "5"),
        (r"$\boxed{\frac{1}{\sqrt{2}}}$", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed {5}", "5"),
        (r"\boxed 5", "5"),
        (r"$\boxed5$", "5"),
        (r"\fbox{5}", "5"),
        (r"\framebox{5}", "5"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{x = \boxed{5}}", "x = {5}"),
        (r"\boxed{\text{B}}", r"\text{B}"),
        (r"\boxed{5", "5"),
        (r"$\boxed{\frac{1}{2}$ is it", r"\frac{1}{2}"),
        (r"\boxed{}", ""),
        (r"$\boxed{1}$ and $\boxed{2}$", "1, 2"),
        (r"\boxed{-2} \quad \text{and} \quad \boxed{1}", "-2, 1"),
        (r"\boxed{1}\boxed{2}", "1, 2"),
        (r"\(\boxed{1}\) 或 \(\boxed{2}\)", "1, 2"),
        (r"$\boxed{5}$ or $\boxed{5}$", "5"),
        (r"\boxed{1} is not it, so and therefore it is \boxed{2}", "2"),
        ("no box", None),
        (r"\boxedish{5}", None),
        (r"{ \boxed{5}", "5"),
        (r"} \boxed{5} {", "5"),
    ],
)  # fmt: skip
def test_the_last_box_is_the_answer(text: str, content: str | None) -> None:
    assert last_boxed(text) == content


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("42", "42"),
        ("x = 5", "x = 5"),
        ("The answer is 12.", "12"),
        ("The answer is $12$.", "12"),
        ("**Final Answer:** 3/4", "3/4"),
        ("答案是 7。", "7"),
        ("We add $1$ and $2$ and get $3$.", "3"),
        ("We add 1 and 2.\nThis makes 3 apples in all, as we know.", "3"),
        (r"Thus \[ x = \frac{1}{2} \]", r"x = \frac{1}{2}"),
        (r"They are \( a = 3 \) and \( b = -4 \).", "a = 3, b = -4"),
        ("#### 18", "18"),
        ("", None),
        ("nothing to see in this long sentence, which goes on and on and on and on and on until it ends at last", None),
    ],
)  # fmt: skip
def test_without_a_box_the_last_formula_is_the_answer(text: str, content: str | None) -> None:
    assert last_formula(text) == content


def test_an_answer_without_a_box_is_none_where_boxes_are_required() -> None:
    assert extract("The answer is 5", unboxed=False) is None
    found = extract("The answer is 5", unboxed=True)
    assert found is not None
    assert (found.text, found.boxed) == ("5", False)


@pytest.mark.parametrize(
    "text",
    [r"\boxed{" * 100_000, r"\boxed{5}" * 50_000, "{" * 300_000, "$" * 300_000, r"\[" * 150_000,
     "answer is " * 50_000, "1 " * 200_000],
)  # fmt: skip
def test_extraction_takes_one_pass_whatever_the_text_holds(text: str) -> None:
    began = time.process_time()
    extract(text, unboxed=True)
    assert time.process_time() - began < 10  # what is not linear takes hours here
