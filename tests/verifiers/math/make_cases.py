r"""Writes cases.jsonl: hand-made pairs of three tables, and pairs made from templates whose truth is known.

Run it as `python tests/verifiers/math/make_cases.py`. Seeded, so the file is the same each time. No verifier is asked:
a pair of a template is equal because both sides are two writings of one value, or different because the values are.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

HERE = Path(__file__).parent
Pair = tuple[str, str, bool]
Template = Callable[[random.Random], Pair]


def integer(dice: random.Random) -> Pair:
    value = dice.choice([dice.randint(-20, 120), dice.randint(-5000, 99_999)])
    other = value if dice.random() < 0.5 else value + dice.choice([-10, -1, 1, 2, 10, -2 * value or 3])
    return str(value), _dress(str(other), dice), value == other


def fraction(dice: random.Random) -> Pair:
    value = _fraction(dice)
    other = value if dice.random() < 0.5 else dice.choice([1 / value, -value, value + 1, value * 2, _fraction(dice)])
    return _write_fraction(value, dice), _dress(_write_fraction(other, dice), dice), value == other


def unreduced(dice: random.Random) -> Pair:
    value, k = _fraction(dice), dice.randint(2, 9)
    other = value if dice.random() < 0.6 else value + Fraction(1, value.denominator)
    return _write_fraction(value, dice), rf"\frac{{{other.numerator * k}}}{{{other.denominator * k}}}", value == other


def decimal(dice: random.Random) -> Pair:
    places = dice.randint(1, 4)
    whole = dice.randint(-99_999, 99_999) or 7
    value = Fraction(whole, 10**places)
    other = value if dice.random() < 0.5 else value + dice.choice([-1, 1, 10]) * Fraction(1, 10**places)
    text = _write_decimal(value, places)
    zeros = dice.choice(["", "0"]) if value == other else ""
    return text, _dress(_write_decimal(other, places) + zeros, dice), value == other


def decimal_and_fraction(dice: random.Random) -> Pair:
    denominator = dice.choice([2, 4, 5, 8, 10, 16, 20, 25, 40, 50])
    value = Fraction(dice.randint(1, 200), denominator)
    while value.denominator == 1:
        value = Fraction(dice.randint(1, 200), denominator)
    other = value if dice.random() < 0.5 else value + Fraction(dice.choice([-1, 1]), denominator)
    sides = [_write_fraction(value, dice), _write_decimal(other, 5).rstrip("0").rstrip(".")]
    if dice.random() < 0.5:
        sides = [_write_decimal(value, 5).rstrip("0"), _write_fraction(other, dice)]
    return sides[0], sides[1], value == other


def surd(dice: random.Random) -> Pair:
    a, b = dice.randint(1, 12), dice.choice([2, 3, 5, 6, 7, 10, 11, 13])
    c = dice.choice([1, 1, 2, 3, 4, 6])
    right = dice.random() < 0.5
    d = a if right else a + dice.choice([-1, 1, 3]) or 14
    left = _over(_times(a, rf"\sqrt{{{b}}}"), c)
    forms = [_over(_times(d, rf"\sqrt{{{b}}}"), c), _over(rf"\sqrt{{{d * d * b}}}", c), _over(rf"{d}\sqrt {b}", c)]
    if c == 1:
        forms.append(rf"\frac{{{d * b}}}{{\sqrt{{{b}}}}}")
    return left, dice.choice(forms), right


def conjugate(dice: random.Random) -> Pair:
    a, b, c = dice.randint(1, 9), dice.randint(1, 5), dice.choice([2, 3, 5, 7])
    right = dice.random() < 0.5
    sign = dice.choice("+-")
    tail = _times(b, rf"\sqrt{{{c}}}")
    if right:
        return f"{a}{sign}{tail}", dice.choice([f"{'-' if sign == '-' else ''}{tail}+{a}", f"{a} {sign} {tail}"]), True
    return f"{a}{sign}{tail}", f"{a}{'+' if sign == '-' else '-'}{tail}", False


def pi_multiple(dice: random.Random) -> Pair:
    value = _fraction(dice, 12)
    value = abs(value)
    right = dice.random() < 0.5
    other = value if right else value + Fraction(1, value.denominator)
    forms = [_write_pi(other), rf"\frac{{{other.numerator}}}{{{other.denominator}}}\pi"]
    return _write_pi(value), dice.choice(forms), right


def polynomial(dice: random.Random) -> Pair:
    roots = [dice.choice([-1, 1]) * dice.randint(1, 7) for _ in range(dice.randint(2, 3))]
    name = dice.choice("xyznt")
    right = dice.random() < 0.5
    others = list(roots)
    if not right:
        others[0] += dice.choice([-1, 1, 2])
        if sorted(others) == sorted(roots):
            others[0] += 5
    factored = "".join(f"({name}{-root:+d})" for root in others if root) + (name if 0 in others else "")
    left = _expand(roots, name)
    right_side = dice.choice([factored, _expand(others, name)])
    sides = (left, right_side) if dice.random() < 0.7 else (left, _expand(others, name).replace(" ", ""))
    return sides[0], sides[1], sorted(roots) == sorted(others)


def pair_of_numbers(dice: random.Random) -> Pair:
    values = [_fraction(dice) if dice.random() < 0.3 else Fraction(dice.randint(-20, 20)) for _ in range(2)]
    while values[0] == values[1]:
        values[1] += 1
    right = dice.random() < 0.5
    others = (
        list(values) if right else dice.choice([values[::-1], [values[0], values[1] + 1], [-values[0] - 1, values[1]]])
    )
    blank = dice.choice(["", " "])
    left = "(" + ", ".join(_write_fraction(v, dice) for v in values) + ")"
    body = f",{blank}".join(_write_fraction(v, dice) for v in others)
    return left, dice.choice([f"({body})", rf"\left({body}\right)"]), right


def several(dice: random.Random) -> Pair:
    values = dice.sample(range(-30, 30), dice.randint(2, 4))
    right = dice.random() < 0.5
    others = list(values)
    dice.shuffle(others)
    if not right:
        others[0] += dice.choice([60, 70])
    left = ", ".join(map(str, values))
    body = ", ".join(map(str, others))
    forms = [
        body,
        rf"\{{{body}\}}",
        body.replace(", ", ","),
        " and ".join(map(str, others)) if len(others) == 2 else body,
    ]
    return left, dice.choice(forms), right


def as_set(dice: random.Random) -> Pair:
    values = dice.sample(range(-30, 60), dice.randint(2, 5))
    right = dice.random() < 0.5
    others = list(values) if right else [*values[:-1], values[-1] + 90]
    dice.shuffle(others)
    return rf"\{{{', '.join(map(str, values))}\}}", rf"\{{{','.join(map(str, others))}\}}", right


def letter(dice: random.Random) -> Pair:
    one = dice.choice("ABCDE")
    right = dice.random() < 0.5
    other = one if right else dice.choice([c for c in "ABCDE" if c != one])
    return one, dice.choice([other, f"({other})", rf"\text{{{other}}}", rf"\textbf{{{other}}}"]), right


def assigned(dice: random.Random) -> Pair:
    value = _fraction(dice) if dice.random() < 0.4 else Fraction(dice.randint(-50, 50))
    right = dice.random() < 0.5
    other = value if right else value + dice.choice([-1, 1, 5])
    name = dice.choice(["x", "y", "n", "a", "k", "m"])
    return _write_fraction(value, dice), f"{name}{dice.choice(['=', ' = '])}{_write_fraction(other, dice)}", right


def interval(dice: random.Random) -> Pair:
    low = dice.randint(-20, 10)
    high = low + dice.randint(1, 20)
    brackets = dice.choice("[("), dice.choice("])")
    right = dice.random() < 0.5
    left = f"{brackets[0]}{low}, {high}{brackets[1]}"
    if right:
        return left, rf"\left{brackets[0]}{low},{high}\right{brackets[1]}", True
    return left, f"{brackets[0]}{low}, {high + dice.choice([1, 2])}{brackets[1]}", False


def percent(dice: random.Random) -> Pair:
    value = dice.choice([5, 10, 12, 15, 20, 25, 30, 37, 40, 60, 62, 75, 80, 95])
    right = dice.random() < 0.5
    other = value if right else value + dice.choice([-3, 2, 7])
    return rf"{value}\%", dice.choice([rf"{other}\%", f"{other}%", rf"{other} \%", rf"{other}\,\%"]), right


def measured(dice: random.Random) -> Pair:
    value = dice.randint(2, 400)
    unit = dice.choice(["cm", "m", "km", "kg", "g", "meters", "inches", "hours", "minutes", "square feet", "mph"])
    right = dice.random() < 0.5
    other = value if right else value + dice.choice([-1, 1, 10])
    forms = [rf"{other} \text{{ {unit}}}", rf"{other}\text{{ {unit}}}", rf"{other}\ \mathrm{{{unit}}}", str(other)]
    return rf"{value} \text{{ {unit}}}", dice.choice(forms), right


def thousands(dice: random.Random) -> Pair:
    value = dice.randint(1000, 9_999_999)
    right = dice.random() < 0.5
    other = value if right else value + dice.choice([-1, 1, 10, 1000])
    forms = [f"{other:,}", f"{other:,}".replace(",", "{,}"), f"{other:,}".replace(",", ",\\!"), str(other)]
    return str(value), dice.choice(forms), right


def power(dice: random.Random) -> Pair:
    base, exponent = dice.randint(2, 9), dice.randint(2, 12)
    right = dice.random() < 0.5
    other = exponent if right else exponent + 1
    forms = [f"{base}^{{{other}}}", str(base**other)]
    if base == 4:
        forms.append(f"2^{{{2 * other}}}")
    return f"{base}^{{{exponent}}}" if dice.random() < 0.5 else str(base**exponent), dice.choice(forms), right


def function(dice: random.Random) -> Pair:
    a, b = dice.randint(2, 9), dice.randint(1, 9)
    right = dice.random() < 0.5
    c = a if right else a + 1
    kind = dice.choice(["sin", "cos", "ln", "exp", "sqrt", "log"])
    if kind in ("sin", "cos"):
        return rf"\{kind}({a}x)+{b}", dice.choice([rf"{b}+\{kind} {c}x", rf"\{kind}\left({c}x\right) + {b}"]), right
    if kind == "ln":
        return rf"\ln {a}", dice.choice([rf"\ln({c})", rf"\ln {c}", rf"\ln{{{c}}}"]), right
    if kind == "exp":
        return rf"{b}e^{{{a}x}}", dice.choice([rf"{b} e^{{{c}x}}", rf"{b}\cdot e^{{{c} x}}"]), right
    if kind == "sqrt":
        return rf"\sqrt{{x+{a}}}", dice.choice([rf"\sqrt{{{c}+x}}", rf"(x+{c})^{{1/2}}"]), right
    return (
        rf"\log_{{{b + 1}}} {a}",
        dice.choice([rf"\log_{{{b + 1}}}({c})", rf"\frac{{\ln {c}}}{{\ln {b + 1}}}"]),
        right,
    )


def rational_function(dice: random.Random) -> Pair:
    a, b = dice.sample(range(1, 9), 2)
    right = dice.random() < 0.5
    c = a if right else a + 9
    left = rf"\frac{{x+{a}}}{{x+{b}}}"
    forms = [
        rf"\frac{{{c}+x}}{{{b}+x}}",
        rf"(x+{c})/(x+{b})",
        rf"1+\frac{{{c - b}}}{{x+{b}}}",
        rf"\frac{{2x+{2 * c}}}{{2x+{2 * b}}}",
    ]
    return left, dice.choice(forms), right


def line(dice: random.Random) -> Pair:
    a, b = dice.choice([-3, -2, 2, 3, 5]), dice.choice([-7, -4, 1, 3, 6])
    right = dice.random() < 0.5
    c = b if right else b + 2
    return (
        f"y={a}x{b:+d}",
        dice.choice([f"y = {a}x {'+' if c > 0 else '-'} {abs(c)}", f"y={c}{a:+d}x", f"{a}x{c:+d}"]),
        right,
    )


def complex_number(dice: random.Random) -> Pair:
    a, b = dice.randint(-9, 9), dice.choice([-7, -5, -3, -2, 2, 3, 4, 6])
    right = dice.random() < 0.5
    d = b if right else -b
    return f"{a}{b:+d}i", dice.choice([f"{a} {'+' if d > 0 else '-'} {abs(d)}i", f"{d}i{a:+d}"]), right


def matrix(dice: random.Random) -> Pair:
    cells = [dice.randint(-9, 9) for _ in range(4)]
    right = dice.random() < 0.5
    others = list(cells)
    if not right:
        others[dice.randrange(4)] += 1
    kinds = dice.choice(["pmatrix", "bmatrix"]), dice.choice(["pmatrix", "bmatrix"])
    return _matrix(cells, kinds[0], ""), _matrix(others, kinds[1], " "), right


def word(dice: random.Random) -> Pair:
    words = [
        "Monday",
        "Tuesday",
        "Sunday",
        "Alice",
        "Bob",
        "circle",
        "ellipse",
        "hyperbola",
        "parabola",
        "square",
        "red",
        "blue",
    ]
    one = dice.choice(words)
    right = dice.random() < 0.5
    other = one if right else dice.choice([w for w in words if w != one])
    return rf"\text{{{one}}}", dice.choice([other, rf"\text{{{other}}}", other.lower(), rf"\textbf{{{other}}}"]), right


ORDINARY: list[tuple[Template, int]] = [
    (integer, 190), (fraction, 110), (unreduced, 40), (decimal, 70), (decimal_and_fraction, 40), (surd, 60),
    (conjugate, 30), (pi_multiple, 50), (polynomial, 70), (pair_of_numbers, 45), (several, 45), (as_set, 25),
    (letter, 40), (assigned, 45), (interval, 35), (percent, 25), (measured, 50), (thousands, 30), (power, 30),
    (function, 45), (rational_function, 35), (line, 25), (complex_number, 30), (matrix, 25), (word, 20),
]  # fmt: skip


# ---- ways of writing ----
def _dress(text: str, dice: random.Random) -> str:
    return dice.choice([text, text, text, f"${text}$", f" {text} ", f"{text}."])


def _fraction(dice: random.Random, bottom: int = 30) -> Fraction:
    value = Fraction(dice.randint(-40, 60) or 1, dice.randint(2, bottom))
    return value if value.denominator > 1 else value + Fraction(1, 3)


def _write_fraction(value: Fraction, dice: random.Random) -> str:
    if value.denominator == 1:
        return str(value)
    sign, top, bottom = "-" * (value < 0), abs(value.numerator), value.denominator
    return dice.choice(
        [rf"{sign}\frac{{{top}}}{{{bottom}}}", rf"{sign}\dfrac{{{top}}}{{{bottom}}}", f"{sign}{top}/{bottom}",
         rf"\frac{{{sign}{top}}}{{{bottom}}}"]
    )  # fmt: skip


def _write_decimal(value: Fraction, places: int) -> str:
    scaled = abs(value) * 10**places
    assert scaled.denominator == 1
    digits = str(int(scaled)).rjust(places + 1, "0")
    return "-" * (value < 0) + digits[:-places] + "." + digits[-places:]


def _write_pi(value: Fraction) -> str:
    top = r"\pi" if value.numerator == 1 else rf"{value.numerator}\pi"
    return top if value.denominator == 1 else rf"\frac{{{top}}}{{{value.denominator}}}"


def _times(factor: int, text: str) -> str:
    return text if factor == 1 else f"{factor}{text}"


def _over(text: str, bottom: int) -> str:
    return text if bottom == 1 else rf"\frac{{{text}}}{{{bottom}}}"


def _expand(roots: list[int], name: str) -> str:
    coefficients = [1]
    for root in roots:
        shifted = [*coefficients, 0]
        for index, coefficient in enumerate(coefficients):
            shifted[index + 1] -= root * coefficient
        coefficients = shifted
    degree = len(coefficients) - 1
    text = ""
    for index, coefficient in enumerate(coefficients):
        exponent = degree - index
        if not coefficient:
            continue
        variable = "" if exponent == 0 else name if exponent == 1 else f"{name}^{exponent}"
        number = str(abs(coefficient)) if abs(coefficient) != 1 or not variable else ""
        sign = ("-" if coefficient < 0 else "") if not text else (" - " if coefficient < 0 else " + ")
        text += f"{sign}{number}{variable}"
    return text


def _matrix(cells: list[int], kind: str, blank: str) -> str:
    a, b, c, d = cells
    return rf"\begin{{{kind}}}{blank}{a}{blank}&{blank}{b}{blank}\\{blank}{c}{blank}&{blank}{d}{blank}\end{{{kind}}}"


# ---- the file ----
def hand_made(name: str) -> Iterator[dict[str, object]]:
    group = ""
    for line_ in (HERE / name).read_text(encoding="utf-8").splitlines():
        if line_.startswith("## "):
            group = line_[3:]
        elif " ⟂ " in line_ and not line_.startswith("# "):
            reference, answer, label, *note = line_.split(" ⟂ ")
            yield {
                "group": group,
                "reference": reference,
                "answer": answer,
                "label": label == "1",
                "note": "".join(note),
            }


def templates() -> Iterator[dict[str, object]]:
    seen: set[tuple[str, str]] = set()
    for template, count in ORDINARY:
        dice = random.Random(f"stillhouse {template.__name__}")
        made = 0
        while made < count:
            reference, answer, label = template(dice)
            if (reference, answer) in seen:
                continue
            seen.add((reference, answer))
            made += 1
            yield {"group": f"ordinary_{template.__name__}", "reference": reference, "answer": answer, "label": label,
                   "note": ""}  # fmt: skip


def main() -> None:
    rows = [*templates(), *hand_made("tricky.txt"), *hand_made("wild.txt"), *hand_made("held_out.txt")]
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    (HERE / "cases.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    ordinary = sum(str(row["group"]).startswith("ordinary") for row in rows)
    print(f"{len(rows)} cases: {ordinary} ordinary, {len(rows) - ordinary} tricky")


if __name__ == "__main__":
    main()
