"""Claims that hold for every text: no crash, no wrong no for the same writing, and two orders give one verdict."""

from fractions import Fraction

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stillhouse.verifiers import math_backend
from stillhouse.verifiers.math_clean import clean
from stillhouse.verifiers.math_compare import compare
from stillhouse.verifiers.math_decide import decide
from stillhouse.verifiers.math_number import GuardError
from stillhouse.verifiers.math_read import read

PIECES = tuple(
    piece
    for line in (
        r"\frac { } ( ) [ ] \{ \} ^ _ ! % \pm , ; : = < \le \in \cup \infty x n i e \pi 1 2 0 .5 \sqrt \sin",
        r"\log | \text{ cm",
        r"\ldots \begin{pmatrix} \end{pmatrix} & \\ - + * / \degree $ \$ a C 或 ½ ² \mathbb{Z} \binom \lfloor \rfloor",
        r"' \equiv",
        r"\pmod \approx 1,000 0.\overline{3} and or (B) Yes \left( \right) \dfrac12 \{1,2\} (1,2] x=5 \emptyset",
    )
    for piece in line.split()
)
formulas = st.lists(st.sampled_from(PIECES), max_size=14).flatmap(
    lambda pieces: st.sampled_from(["", " "]).map(lambda blank: blank.join(pieces))
)
texts = st.one_of(formulas, st.text(max_size=40), st.text(alphabet="0123456789.,/-+()[]{}\\^_ xyab", max_size=30))
fractions = st.fractions(min_value=-1000, max_value=1000, max_denominator=999)
LIGHT = settings(max_examples=300, deadline=None, derandomize=True)
FEW = settings(LIGHT, max_examples=60)  # of pairs that cost more


def own(reference: str, answer: str) -> bool | None:
    """Our own verdict, without Math-Verify behind it."""
    try:
        left, right = read(clean(reference)), read(clean(answer))
        return None if left is None or right is None else compare(left, right)[1]
    except GuardError:
        return None


@LIGHT
@given(texts, texts)
def test_no_text_is_a_crash(reference: str, answer: str) -> None:
    own(reference, answer)


@LIGHT
@given(texts)
def test_the_same_writing_is_never_wrong(text: str) -> None:
    assume(clean(text))
    assert decide(text, text)[1] is not False
    assert own(text, text) is not False


@LIGHT
@given(fractions, st.integers(min_value=2, max_value=50))
def test_a_fraction_equals_every_other_writing_of_it(value: Fraction, k: int) -> None:
    top, bottom = value.numerator * k, value.denominator * k
    for writing in (
        f"{top}/{bottom}",
        rf"\frac{{{top}}}{{{bottom}}}",
        rf"\dfrac{{{-top}}}{{{-bottom}}}",
        rf"x = {top}/{bottom}",
    ):
        assert decide(str(value), writing)[1] is True
        assert decide(writing, str(value))[1] is True


@LIGHT
@given(fractions, fractions)
def test_exact_numbers_are_equal_in_both_orders_or_in_none(a: Fraction, b: Fraction) -> None:
    for left, right in ((str(a), str(b)), (rf"\sqrt{{{abs(a)}}}", rf"\sqrt{{{abs(b)}}}"), (f"({a},{b})", f"({b},{a})")):
        assert own(left, right) == own(right, left)
    assert decide(str(a), str(b))[1] == (a == b)


@LIGHT
@given(st.lists(st.integers(-50, 50), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_a_list_is_its_set_in_any_order_and_a_tuple_is_not(values: list[int], dice: object) -> None:
    shuffled = sorted(values, key=lambda _: dice.random())  # type: ignore[attr-defined]  # a Random
    left, right = ", ".join(map(str, values)), ", ".join(map(str, shuffled))
    assert own(left, right) is True
    assert own(left, rf"\{{{right}\}}") is True
    assert own(f"({left})", rf"\{{{right}\}}") is False
    assert own(f"({left})", f"({right})") == (values == shuffled)


@LIGHT
@given(st.integers(-10_000, 10_000), st.integers(1, 5))
def test_percent_is_the_number_and_its_hundredth_and_nothing_else(value: int, shift: int) -> None:
    assert own(rf"{value}\%", str(value)) is True
    assert own(str(value), rf"{value}\%") is True
    assert own(rf"{value}\%", f"{value}/100") is True
    assert own(rf"{value}\%", rf"{value + shift}\%") is False


@LIGHT
@given(
    st.integers(1, 10_000), st.sampled_from([("km", "m", 1000), ("h", "min", 60), ("kg", "g", 1000), ("m", "cm", 100)])
)
def test_units_are_converted_both_ways(value: int, units: tuple[str, str, int]) -> None:
    large, small, factor = units
    left, right = rf"{value}\text{{ {large}}}", rf"{value * factor}\text{{ {small}}}"
    assert own(left, right) is True
    assert own(right, left) is True
    assert own(left, rf"{value}\text{{ {small}}}") is False
    assert own(left, str(value)) is True


@FEW
@given(st.lists(st.integers(-9, 9), min_size=2, max_size=4, unique=True), st.randoms(use_true_random=False))
def test_the_order_of_cases_makes_no_difference_and_their_values_do(slopes: list[int], dice: object) -> None:
    cases = [f"{slope}x & {index}\\le x<{index + 1}" for index, slope in enumerate(slopes)]
    shuffled = sorted(cases, key=lambda _: dice.random())  # type: ignore[attr-defined]  # a Random
    one, other = (r"\begin{cases}" + r" \\ ".join(rows) + r"\end{cases}" for rows in (cases, shuffled))
    assert own(one, other) is True
    assert own(one, one.replace(f"{slopes[0]}x", f"{slopes[0] + 1}x", 1)) is False


@FEW
@given(st.integers(-20, 20), st.integers(0, 12), st.booleans(), st.booleans())
def test_whole_numbers_under_a_condition_are_their_set(low: int, more: int, left: bool, right: bool) -> None:
    high = low + more
    numbers = [n for n in range(low, high + 1) if (left or n != low) and (right or n != high)]
    signs = [r"\le" if closed else "<" for closed in (left, right)]
    given_as = rf"\{{x\in\mathbb{{Z}} : {low}{signs[0]} x{signs[1]} {high}\}}"
    assert own(given_as, rf"\{{{','.join(map(str, numbers))}\}}") is True
    assert own(given_as, rf"\{{{','.join(map(str, [*numbers, high + 1]))}\}}") is False


@LIGHT
@given(st.integers(-99, 99), st.integers(-99, 99), st.sampled_from(["[]", "[)", "(]", "()"]))
def test_the_sign_of_infinity_and_the_kind_of_an_end_are_kept(a: int, b: int, kind: str) -> None:
    low, high = min(a, b), max(a, b) + 1
    interval = f"{kind[0]}{low},{high}{kind[1]}"
    for other in ("[]", "[)", "(]", "()"):
        assert own(interval, f"{other[0]}{low},{high}{other[1]}") is (kind == other)
    assert own(rf"(-\infty,{a}{kind[1]}", rf"(+\infty,{a}{kind[1]}") is not True
    assert own(rf"{kind[0]}{a},\infty)", rf"{kind[0]}{a},-\infty)") is not True


def test_math_verify_is_there_for_what_we_do_not_read() -> None:
    assert math_backend.equal(r"\int_0^1 x\,dx", r"\frac{1}{2}")
