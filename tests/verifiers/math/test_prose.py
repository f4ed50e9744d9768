"""Claims about answers in prose: the formula that a sentence states is taken, not the last one that it mentions."""

import pytest

from stillhouse.verifiers.math_prose import stated_formula


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("There are 144 ways to fill a 2 x 11 rectangle with 2 x 1 tiles.", "144"),
        (r"The smallest value of \( x^2/y^2 \) for \( x, y > 0 \) is 0, which occurs when \( x = y \).", "0"),
        (r"The minimum for positive numbers \( a, b \) is \( 0 \), achieved when \( a = b \).", "0"),
        (
            "The number of sequences such that every driver can park is given by the expression (n+1)^(n-1).",
            "(n+1)^(n-1)",
        ),
        ("The possible values of x^2 mod 30 for prime numbers x > 30 are 1 and 19.", "1, 19"),
        ("There are no integer solutions to the equation x(x+1) = y^z for x > 0.", "no integer solutions"),
        (r"The only solutions are \((x, y) = (3, 0)\) and \((x, y) = (-3, 0)\).", "(x, y) = (3, 0), (x, y) = (-3, 0)"),
        ("The sum is n!/(2n).", "n!/(2n)"),
        ("The limit is 2/3 as n goes to infinity.", "2/3"),
        ("The distance is 5 km.", "5 km"),
        ("Since x is 5, the total = 12.", "12"),
        ("First there are 3 of them. In the end there are 7 left.", "7"),
        ("I think that it is not a prime number.", None),
        ("Nothing is stated", None),
        ("", None),
    ],
)
def test_a_sentence_states_its_formula(text: str, stated: str | None) -> None:
    assert stated_formula(text) == stated


@pytest.mark.parametrize(
    "text", ["is " * 20_000, "a" * 20_000 + " is " + "(" * 5_000, "x is 1, 2, " * 5_000, "$" * 9_999]
)
def test_hostile_text_is_read_in_linear_time(text: str) -> None:
    stated_formula(text[-4000:])
