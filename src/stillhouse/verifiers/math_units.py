"""Units of measure: their names, what they measure and how many of the base unit they are.

In: words after (or a sign before) a number. Out: a Unit that can be converted, or None. Words that only count things
("ways", "个") are no unit at all; other nouns are units of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

from stillhouse.verifiers.math_words import word_set

F = Fraction
ZERO, ONE = F(0), F(1)
MOST_POWER = 12


@dataclass(frozen=True, slots=True)
class Unit:
    """factor: base units in one of this; dimension: exponents of length, mass, time, money ... by name.

    offset: what is added to the scaled value, for temperatures.
    """

    factor: Fraction = ONE
    dimension: Mapping[str, int] = field(default_factory=dict)
    offset: Fraction = ZERO

    def alike(self, other: Unit) -> bool:
        return dict(self.dimension) == dict(other.dimension)


def product(units: list[tuple[Unit, int]]) -> Unit:
    """The unit of several, each raised to a power."""
    if len(units) == 1 and units[0][1] == 1:
        return units[0][0]
    factor, dimension = F(1), dict[str, int]()
    for unit, power in units:
        factor *= unit.factor**power
        for name, exponent in unit.dimension.items():
            dimension[name] = dimension.get(name, 0) + exponent * power
    return Unit(factor, {name: exponent for name, exponent in dimension.items() if exponent})


_LENGTH = {
    "mm": F(1, 1000), "cm": F(1, 100), "dm": F(1, 10), "m": F(1), "km": F(1000), "nm": F(1, 10**9), "um": F(1, 10**6),
    "millimeter": F(1, 1000), "centimeter": F(1, 100), "decimeter": F(1, 10), "meter": F(1), "kilometer": F(1000),
    "in": F(254, 10000), "inch": F(254, 10000), "ft": F(3048, 10000), "foot": F(3048, 10000), "yd": F(9144, 10000),
    "yard": F(9144, 10000), "mi": F(1609344, 1000), "mile": F(1609344, 1000), "毫米": F(1, 1000), "厘米": F(1, 100),
    "分米": F(1, 10), "米": F(1), "千米": F(1000), "公里": F(1000), "nanometer": F(1, 10**9), "micrometer": F(1, 10**6),
    "nautical mile": F(1852), "里": F(500),
}  # fmt: skip
_MASS = {
    "mg": F(1, 10**6), "g": F(1, 1000), "gm": F(1, 1000), "kg": F(1), "t": F(1000), "gram": F(1, 1000),
    "kilogram": F(1),
    "milligram": F(1, 10**6), "tonne": F(1000), "ton": F(1000), "lb": F(45359237, 10**8), "lbs": F(45359237, 10**8),
    "oz": F(45359237, 16 * 10**8), "ounce": F(45359237, 16 * 10**8), "克": F(1, 1000), "千克": F(1), "公斤": F(1),
    "吨": F(1000), "斤": F(1, 2), "毫克": F(1, 10**6),
}  # fmt: skip
_TIME = {
    "ms": F(1, 1000), "s": F(1), "sec": F(1), "second": F(1), "min": F(60), "minute": F(60), "h": F(3600),
    "hr": F(3600),
    "hour": F(3600), "day": F(86400), "week": F(604800), "秒": F(1), "分钟": F(60), "分": F(60), "小时": F(3600),
    "时": F(3600),
    "天": F(86400), "日": F(86400), "周": F(604800), "millisecond": F(1, 1000),
}  # fmt: skip
_VOLUME = {
    "l": F(1, 1000), "L": F(1, 1000), "liter": F(1, 1000), "litre": F(1, 1000), "ml": F(1, 10**6), "mL": F(1, 10**6),
    "milliliter": F(1, 10**6), "millilitre": F(1, 10**6), "cc": F(1, 10**6), "升": F(1, 1000), "毫升": F(1, 10**6),
    "gallon": F(3785411784, 10**12), "gal": F(3785411784, 10**12), "quart": F(946352946, 10**12),
    "pint": F(473176473, 10**12),
}  # fmt: skip
_ENERGY = {"J": F(1), "joule": F(1), "kJ": F(1000), "kilojoule": F(1000), "cal": F(4184, 1000), "kWh": F(3600000)}
_OTHER = {
    "N": Unit(F(1), {"mass": 1, "length": 1, "time": -2}), "newton": Unit(F(1), {"mass": 1, "length": 1, "time": -2}),
    "W": Unit(F(1), {"mass": 1, "length": 2, "time": -3}), "watt": Unit(F(1), {"mass": 1, "length": 2, "time": -3}),
    "kW": Unit(F(1000), {"mass": 1, "length": 2, "time": -3}), "Pa": Unit(F(1),
    {"mass": 1, "length": -1, "time": -2}),
    "kPa": Unit(F(1000), {"mass": 1, "length": -1, "time": -2}), "Hz": Unit(F(1), {"time": -1}),
    "hertz": Unit(F(1), {"time": -1}),
    "mph": Unit(F(1609344, 3600000), {"length": 1, "time": -1}), "kmh": Unit(F(1000, 3600),
    {"length": 1, "time": -1}),
    "kph": Unit(F(1000, 3600), {"length": 1, "time": -1}), "mol": Unit(F(1), {"amount": 1}), "V": Unit(F(1),
    {"volt": 1}),
    "volt": Unit(F(1), {"volt": 1}), "A": Unit(F(1), {"current": 1}), "ampere": Unit(F(1), {"current": 1}),
    "ohm": Unit(F(1), {"volt": 1, "current": -1}), "K": Unit(F(1), {"temperature": 1}), "kelvin": Unit(F(1),
    {"temperature": 1}),
    "degree celsius": Unit(F(1), {"temperature": 1}, F(27315, 100)),
    "degree fahrenheit": Unit(F(5, 9), {"temperature": 1}, F(45967, 180)),
    "hectare": Unit(F(10**4), {"length": 2}), "ha": Unit(F(10**4), {"length": 2}), "公顷": Unit(F(10**4),
    {"length": 2}),
    "acre": Unit(F(40468564224, 10**7), {"length": 2}), "亩": Unit(F(2000, 3), {"length": 2}),
    "month": Unit(F(1), {"month": 1}), "year": Unit(F(12), {"month": 1}), "yr": Unit(F(12), {"month": 1}),
    "月": Unit(F(1), {"month": 1}), "个月": Unit(F(1), {"month": 1}), "年": Unit(F(12), {"month": 1}),
    "dollar": Unit(F(100), {"USD": 1}), "usd": Unit(F(100), {"USD": 1}), "cent": Unit(F(1), {"USD": 1}),
    "USD": Unit(F(100), {"USD": 1}), "euro": Unit(F(1), {"EUR": 1}), "EUR": Unit(F(1), {"EUR": 1}),
    "pound": Unit(F(1), {"GBP": 1}), "yuan": Unit(F(100), {"CNY": 1}), "元": Unit(F(100), {"CNY": 1}),
    "RMB": Unit(F(100), {"CNY": 1}),
    "角": Unit(F(10), {"CNY": 1}), "rupee": Unit(F(1), {"INR": 1}), "rs": Unit(F(1), {"INR": 1}), "Rs": Unit(F(1),
    {"INR": 1}),
    "yen": Unit(F(1), {"JPY": 1}), "degree": Unit(F(1), {"degree": 1}), "deg": Unit(F(1), {"degree": 1}),
    "度": Unit(F(1), {"degree": 1}),
    "radian": Unit(F(1), {"radian": 1}), "rad": Unit(F(1), {"radian": 1}),
}  # fmt: skip
UNITS: dict[str, Unit] = {
    **{name: Unit(factor, {"length": 1}) for name, factor in _LENGTH.items()},
    **{name: Unit(factor, {"mass": 1}) for name, factor in _MASS.items()},
    **{name: Unit(factor, {"time": 1}) for name, factor in _TIME.items()},
    **{name: Unit(factor, {"length": 3}) for name, factor in _VOLUME.items()},
    **{name: Unit(factor, {"mass": 1, "length": 2, "time": -2}) for name, factor in _ENERGY.items()},
    **_OTHER,
}
DEGREE, RADIAN = UNITS["degree"], UNITS["radian"]
# words that only multiply: 3 million is a number
MULTIPLES = {
    "dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12, "万": 10**4,
    "亿": 10**8, "百万": 10**6, "千万": 10**7, "百": 100, "千": 1000,
}  # fmt: skip
# nouns that only say what was counted: "12 ways" and "12 arrangements" are one answer, and so is 12
COUNTING = word_set(
    "way ways arrangement arrangements permutation permutations combination combinations possibility "
    "possibilities choice "
    "choices method methods solution solutions outcome outcomes value values number numbers integer integers "
    "element elements "
    "item items piece pieces unit units pair pairs case cases total in square cubic sq cu times time of the all "
    "different distinct possible such approximately about exactly digit digits term terms each respectively "
    "个 种 次 倍 项 组 对 只 条 张 件 名 位 人 枚 颗 块 本 支 份 台 辆 棵 场 单位 平方单位 立方单位 种方法 个单位 "
    "根 道 题 间 头"
)
_IRREGULAR = {"feet": "foot", "inches": "inch", "men": "man", "women": "woman", "children": "child",
    "people": "person",
              "persons": "person", "metres": "meter", "metre": "meter", "kilometre": "kilometer",
              "centimetre": "centimeter",
              "millimetre": "millimeter", "grams": "gram", "hrs": "hr", "mins": "min", "secs": "sec", "yrs": "yr",
              "celsius": "degree celsius", "fahrenheit": "degree fahrenheit", "mice": "mouse", "geese": "goose",
              "kilometres": "kilometer", "centimetres": "centimeter", "dollars": "dollar", "degrees": "degree",
              "Dollars": "dollar", "°": "degree"}  # fmt: skip
_POWER_WORDS = {"square": 2, "squared": 2, "sq": 2, "cubic": 3, "cubed": 3, "cu": 3, "平方": 2, "立方": 3}
_WORD = re.compile(r"[A-Za-zµ°]+|[\u4e00-\u9fff]+|\^\{?-?\d+\}?|[/*·]|(?<=[a-z])[23](?!\d)")
_CLOSE = re.compile(r"[\u4e00-\u9fff]+")
# a phrase with one of these says more than a unit
_NO_UNIT = word_set(
    "is are for all if where when then not than at most least be or and such that which because since with as"
)


@lru_cache(maxsize=512)
def read(text: str) -> Unit | None:
    """The unit that a phrase names: "km/h", "square meters", "cm^2", "apples"; a bare count is Unit() of no dimension.

    None where the phrase is no unit: too long, or holding other signs.
    """
    text = re.sub(r"(?<=[a-z]{3})\s?-\s?(?=[a-z]{3})", " ", text.strip().strip(".,()").strip())
    pieces = _WORD.findall(text)
    if not pieces or "".join(pieces) != re.sub(r"[\s.]", "", text) or len(pieces) > 9:
        return None
    if any(piece.lower() in _NO_UNIT for piece in pieces):
        return None
    found: list[tuple[Unit, int]] = []
    sign, pending = 1, 0
    for piece in pieces:
        if piece == "/" or piece == "per" or piece == "每":
            sign = -1
        elif piece in "*·" or piece in ("a", "an"):
            continue
        elif piece[0] == "^" or piece.isdigit():
            power = int(re.sub(r"[^\d-]", "", piece))
            if not found or not power or abs(power) > MOST_POWER:
                return None
            found[-1] = (found[-1][0], found[-1][1] * power)
        elif piece in _POWER_WORDS and piece not in ("squared", "cubed"):
            pending = _POWER_WORDS[piece]
        elif piece in ("squared", "cubed"):
            if not found:
                return None
            found[-1] = (found[-1][0], found[-1][1] * _POWER_WORDS[piece])
        else:
            found.extend((unit, sign * power * (pending or 1)) for unit, power in _lookup(piece))
            pending = 0
    merged = [(unit, power) for unit, power in found if unit.dimension or unit.factor != 1]
    return product(merged) if merged else Unit()


def _lookup(word: str) -> list[tuple[Unit, int]]:
    """Unit of one word with its power; an unknown noun is a unit by its stem."""
    if word in COUNTING and word not in UNITS:
        return [(Unit(), 1)]
    if word in UNITS:
        return [(UNITS[word], 1)]
    for prefix, power in (("平方", 2), ("立方", 3)):
        if word.startswith(prefix) and word[2:] in UNITS:
            return [(UNITS[word[2:]], power)]
    lower = word.lower()
    lower = _IRREGULAR.get(lower, lower)
    if lower in UNITS:
        return [(UNITS[lower], 1)]
    if lower in COUNTING:
        return [(Unit(), 1)]
    stem = _singular(lower)
    if stem in UNITS:
        return [(UNITS[stem], 1)]
    if stem in COUNTING:
        return [(Unit(), 1)]
    return [(Unit(F(1), {stem: 1}), 1)]


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word


def multiple(words: list[str]) -> tuple[int, list[str]]:
    """What the words in front of a unit multiply by, and the words left: 3 million dollars, 5 万元."""
    factor = 1
    while words:
        first = words[0].strip()
        name = first.lower().removesuffix("s") if first.isascii() else first
        head = next((key for key in MULTIPLES if not key.isascii() and first.startswith(key)), "")
        if name in MULTIPLES:
            factor, words = factor * MULTIPLES[name], words[1:]
        elif head and first not in UNITS and _CLOSE.fullmatch(first[len(head) :] or "个"):
            factor, words = factor * MULTIPLES[head], [first[len(head) :], *words[1:]]
        elif " " in first and first.split()[0].lower() in MULTIPLES:
            factor, words = factor * MULTIPLES[first.split()[0].lower()], [first.split(None, 1)[1], *words[1:]]
        else:
            break
    return factor, words


def known(word: str) -> bool:
    """Whether a plain word, outside any text group, is the name of a unit."""
    lower = word.lower()
    return (
        word in UNITS
        or _IRREGULAR.get(lower, lower) in UNITS
        or (len(word) > 3 and (_singular(lower) in UNITS or lower in COUNTING))
        or word in COUNTING
        or lower in _POWER_WORDS
    )
