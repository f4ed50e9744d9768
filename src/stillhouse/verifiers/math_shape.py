"""What an answer may be: an expression, a list, set or tuple, intervals, a matrix, an equation, a letter, words.

In and out: nothing; the reader makes these and the comparison reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal as Kind

from stillhouse.verifiers.math_tree import Node
from stillhouse.verifiers.math_units import Unit


@dataclass(frozen=True, slots=True)
class Scalar:
    """One expression. digits and ulp: of a plain decimal as written (else None); infinite: +1 or -1 for infinity.

    percent: a percent sign at its end (node is without it). based: the digits as written in another base.
    product: where the unit's letters may as well be variables, the product with them; glued: they follow at once.
    """

    node: Node
    digits: int | None = None
    ulp: Fraction = Fraction(0)
    scientific: bool = False
    percent: bool = False
    unit: Unit | None = None
    product: Node | None = None
    glued: bool = False
    infinite: int = 0

    @property
    def plain(self) -> bool:
        return self.unit is None and not self.percent and not self.infinite


@dataclass(frozen=True, slots=True)
class Many:
    """bare: `a, b`; set: braces; tuple: round brackets (two in them may be an open interval) or angle brackets.

    bracket: square ones around three or more; sum: terms of a sum with an ellipsis; any: conditions joined by "or".
    """

    kind: Kind["bare", "set", "tuple", "bracket", "sum", "any"]
    items: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Dots:
    """An ellipsis among the items of a list."""


@dataclass(frozen=True, slots=True)
class Piece:
    """An interval; None is infinity."""

    low: Scalar | None
    low_closed: bool
    high: Scalar | None
    high_closed: bool


@dataclass(frozen=True, slots=True)
class Region:
    """A union of intervals of one variable, whose name may be unknown."""

    pieces: tuple[Piece, ...]
    variable: str | None = None


@dataclass(frozen=True, slots=True)
class Numbers:
    """All integers, all natural numbers ... by their letter."""

    letter: str


@dataclass(frozen=True, slots=True)
class Matrix:
    rows: tuple[tuple[Scalar, ...], ...]


@dataclass(frozen=True, slots=True)
class Named:
    """`x = value`; of a function `f(x) = value`, with its argument. plain: the name is one variable."""

    name: str
    value: Shape
    function: bool = False
    plain: bool = True
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Relation:
    """left op right between expressions: op is = < <= !=; larger signs are turned round."""

    left: Node
    op: str
    right: Node


@dataclass(frozen=True, slots=True)
class Ratio:
    parts: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Words:
    """Normalised words."""

    text: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A letter, with what followed it."""

    letter: str
    rest: Shape | None = None


@dataclass(frozen=True, slots=True)
class Either:
    """Alternatives for one answer. loose: joined by an "about" sign, so they agree only roughly."""

    items: tuple[Shape, ...]
    loose: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """Values that depend on an integer parameter: x = a + k b, k integer."""

    parameter: str
    value: Shape


@dataclass(frozen=True, slots=True)
class Given:
    """An expression under a condition: 1/x, x != 0."""

    value: Shape
    condition: Shape


@dataclass(frozen=True, slots=True)
class Cases:
    """A function by cases: values, each with its condition; None is "otherwise"."""

    items: tuple[tuple[Shape, Shape | None], ...]


@dataclass(frozen=True, slots=True)
class Residue:
    """A number modulo another, and whose it is: x = 3 (mod 7)."""

    value: Scalar
    modulus: Scalar
    name: str = ""


@dataclass(frozen=True, slots=True)
class Clock:
    """A time of day as written: minutes since midnight, and am or pm where it was said; ratio: it may be one too."""

    minutes: int
    half: str
    ratio: Ratio | None


Shape = (
    Scalar
    | Many
    | Dots
    | Region
    | Numbers
    | Matrix
    | Named
    | Relation
    | Ratio
    | Words
    | Choice
    | Either
    | Family
    | Given
    | Cases
    | Residue
    | Clock
)
EMPTY = Many("set", ())
