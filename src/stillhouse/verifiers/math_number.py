"""Arithmetic on exact fractions and, where those end, on floats of a chosen precision, with a guard on every size.

In: values (Fraction, or mpmath numbers of one Arithmetic). Out: values; Undefined outside a function's domain, Guard
before anything that would cost more than milliseconds. No operation here can hang.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath  # type: ignore[import-untyped]  # it ships no types

Value = Any  # Fraction, mpf or mpc

EXACT_BITS = 20_000  # of a power or factorial that is kept exact
MAGNITUDE_BITS = 1 << 40  # of a float's exponent
ROOT_BITS = 4_000
TRIG_BITS = 1_000  # sine of anything larger would need as many digits
FACTORIAL_EXACT = 5_000
COMBINE_LIMIT = 10_000


class GuardError(Exception):
    """A number is too large to be looked at."""


class UndefinedError(Exception):
    """Outside the domain: division by zero, logarithm of zero, a real root of a negative number."""


class Arithmetic:
    """One precision, one domain. real: values off the real line are undefined. log_base: what a bare log means."""

    def __init__(self, digits: int, *, real: bool, log_base: int | None = None) -> None:
        self.ctx = mpmath.MPContext()
        self.ctx.dps = digits
        self.digits, self.real, self.log_base = digits, real, log_base
        self.pi, self.e, self.i = +self.ctx.pi, +self.ctx.e, self.ctx.mpc(0, 1)

    def float(self, value: Value) -> Any:
        if isinstance(value, Fraction):
            return self.ctx.mpf(value.numerator) / value.denominator
        return value

    def checked(self, value: Any) -> Value:
        """A float that is finite, of bounded size, and real where this domain is."""
        ctx = self.ctx
        if isinstance(value, ctx.mpc):
            if not value.imag:
                value = value.real
            elif self.real:
                raise UndefinedError("not real")
        if not ctx.isfinite(value):
            raise UndefinedError("infinite")
        if value and ctx.mag(value) > MAGNITUDE_BITS:
            raise GuardError("a number of too many digits")
        return value

    def add(self, a: Value, b: Value) -> Value:
        if isinstance(a, Fraction) and isinstance(b, Fraction):
            return a + b
        return self.checked(self.float(a) + self.float(b))

    def mul(self, a: Value, b: Value) -> Value:
        if isinstance(a, Fraction) and isinstance(b, Fraction):
            if _bits(a) + _bits(b) > 2 * EXACT_BITS:
                raise GuardError("a product of too many digits")
            return a * b
        return self.checked(self.float(a) * self.float(b))

    def div(self, a: Value, b: Value) -> Value:
        if not b:
            raise UndefinedError("division by zero")
        if isinstance(b, Fraction):
            return self.mul(a, 1 / b)
        return self.checked(self.float(a) / b)

    def power(self, base: Value, exponent: Value) -> Value:
        if isinstance(exponent, Fraction):
            if exponent.denominator == 1:
                return self._integer_power(base, exponent.numerator)
            if isinstance(base, Fraction) and base > 0 and exponent.denominator <= 64:
                root = _exact_root(base, exponent.denominator)
                if root is not None:
                    return self._integer_power(root, exponent.numerator)
        if not base:
            if isinstance(exponent, self.ctx.mpc) or exponent <= 0:
                raise UndefinedError("a power of zero")
            return Fraction(0)
        a, b = self.float(base), self.float(exponent)
        if self.real and not isinstance(a, self.ctx.mpc) and a < 0:
            raise UndefinedError("a power of a negative number")
        self._bounded_power(a, b)
        return self.checked(self.ctx.power(a, b))

    def _integer_power(self, base: Value, n: int) -> Value:
        if not base:
            if n < 0:
                raise UndefinedError("division by zero")
            return Fraction(0 if n else 1)
        if isinstance(base, Fraction):
            if abs(base) == 1:
                return Fraction(1) if base == 1 or n % 2 == 0 else Fraction(-1)
            if _bits(base) * abs(n) <= EXACT_BITS:
                return base**n
        value = self.float(base)
        if n.bit_length() > 64:
            raise GuardError("an exponent of too many digits")
        self._bounded_power(value, n)
        return self.checked(self.ctx.power(value, n))

    def _bounded_power(self, base: Any, exponent: Any) -> None:
        size = abs(self.ctx.mag(base)) + 1
        if size * (abs(exponent) + 1) > MAGNITUDE_BITS:
            raise GuardError("a power of too many digits")

    def root(self, value: Value, degree: Value) -> Value:
        r"""\sqrt[degree]{value}: of a negative number the real root where the degree is odd."""
        if not isinstance(degree, Fraction):
            return self.power(value, self.div(Fraction(1), degree))
        if not degree:
            raise UndefinedError("a root of degree zero")
        negative = not isinstance(value, self.ctx.mpc) and value < 0
        if negative and degree.denominator == 1 and degree.numerator % 2:
            return -self.power(-value, 1 / degree)
        return self.power(value, 1 / degree)

    def factorial(self, value: Value) -> Value:
        if isinstance(value, Fraction) and value.denominator == 1:
            if value < 0:
                raise UndefinedError("factorial of a negative integer")
            if value <= FACTORIAL_EXACT:
                return Fraction(math.factorial(int(value)))
        x = self.float(value)
        if isinstance(x, self.ctx.mpc) or self.ctx.mag(x) > 33:
            raise GuardError("a factorial of too many digits")
        return self.checked(self.ctx.factorial(x))

    def binomial(self, n: Value, k: Value) -> Value:
        if isinstance(n, Fraction) and isinstance(k, Fraction) and n.denominator == k.denominator == 1:
            if k < 0 or 0 <= n < k:
                return Fraction(0)
            if 0 <= n <= COMBINE_LIMIT:
                return Fraction(math.comb(int(n), int(k)))
        a, b = self.float(n), self.float(k)
        if max(self.ctx.mag(a), self.ctx.mag(b)) > 33:
            raise GuardError("a binomial of too many digits")
        return self.checked(self.ctx.binomial(a, b))

    def call(self, name: str, args: list[Value]) -> Value:
        """A named function of one or more values."""
        if len(args) < _ARITY.get(name, 1):
            raise UndefinedError(f"{name} of too few values")
        if name in _RATIONAL:
            return _RATIONAL[name](self, args)
        x = self.float(args[0])
        if name in _TRIGONOMETRIC:
            if self.ctx.mag(x) > TRIG_BITS:
                raise GuardError("a trigonometric function of a huge number")
            return self._trigonometric(name, x)
        if name in ("ln", "log", "lg"):
            return self._logarithm(name, args)
        if name in ("exp", "sinh", "cosh", "tanh", "coth", "sech", "csch"):
            if self.ctx.mag(x) > 40:
                raise GuardError("an exponential of too many digits")
            if not x and name in ("coth", "csch"):
                raise UndefinedError("a pole")
            return self.checked(getattr(self.ctx, name)(x))
        if name in _INVERSE:
            return self._inverse(_INVERSE[name], x)
        raise UndefinedError(f"no function {name}")

    def _trigonometric(self, name: str, x: Any) -> Value:
        ctx = self.ctx
        top, bottom = _TRIGONOMETRIC[name]
        below = getattr(ctx, bottom)(x) if bottom else ctx.mpf(1)
        if bottom and abs(below) < ctx.mpf(10) ** (8 - self.digits):
            raise UndefinedError("a pole")
        above = getattr(ctx, top)(x) if top else ctx.mpf(1)
        return self.checked(above / below)

    def _logarithm(self, name: str, args: list[Value]) -> Value:
        x = self.float(args[0])
        if not x:
            raise UndefinedError("logarithm of zero")
        if len(args) > 1:
            base = self.float(args[1])
        elif name == "lg" or (name == "log" and self.log_base == 10):
            base = self.ctx.mpf(10)
        else:
            return self.checked(self.ctx.ln(x))
        if not base or base == 1:
            raise UndefinedError("logarithm to base 0 or 1")
        return self.checked(self.ctx.ln(x) / self.ctx.ln(base))

    def _inverse(self, name: str, x: Any) -> Value:
        if self.ctx.mag(x) > TRIG_BITS:
            raise GuardError("an inverse function of a huge number")
        if name in ("acot", "asec", "acsc", "acoth", "asech", "acsch") and not x:
            raise UndefinedError("a pole")
        try:
            return self.checked(getattr(self.ctx, name)(x))
        except (ZeroDivisionError, ValueError) as error:
            raise UndefinedError("a pole") from error


_TRIGONOMETRIC = {
    "sin": ("sin", ""), "cos": ("cos", ""), "tan": ("sin", "cos"), "cot": ("cos", "sin"), "sec": ("", "cos"),
    "csc": ("", "sin"),
}  # fmt: skip
_INVERSE = {
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arccot": "acot", "arcsec": "asec", "arccsc": "acsc",
    "arsinh": "asinh", "arcosh": "acosh", "artanh": "atanh", "arcsinh": "asinh", "arccosh": "acosh",
    "arctanh": "atanh",
}  # fmt: skip


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _exact_root(value: Fraction, degree: int) -> Fraction | None:
    if _bits(value) > ROOT_BITS:
        return None
    top, bottom = _integer_root(value.numerator, degree), _integer_root(value.denominator, degree)
    return None if top is None or bottom is None else Fraction(top, bottom)


@functools.lru_cache(maxsize=1024)
def _integer_root(value: int, degree: int) -> int | None:
    if degree == 2:
        root = math.isqrt(value)
    else:
        low, high = 0, 1 << (value.bit_length() // degree + 1)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if middle**degree <= value else (low, middle - 1)
        root = low
    return root if root**degree == value else None


def _real_of(value: Value) -> Any:
    if not isinstance(value, Fraction) and hasattr(value, "imag") and value.imag:
        raise UndefinedError("an order of complex numbers")
    return value if isinstance(value, Fraction) else value.real


def _abs(_: Arithmetic, args: list[Value]) -> Value:
    return abs(args[0])


def _floor(arithmetic: Arithmetic, args: list[Value]) -> Value:
    value = _real_of(args[0])
    if isinstance(value, Fraction):
        return Fraction(math.floor(value))
    if arithmetic.ctx.mag(value) > 3 * arithmetic.digits:
        raise GuardError("the floor of a number beyond its precision")
    near = arithmetic.ctx.nint(value)
    if abs(value - near) < arithmetic.ctx.mpf(10) ** (10 - arithmetic.digits):
        return Fraction(int(near))  # an integer but for rounding
    return Fraction(int(arithmetic.ctx.floor(value)))


def _ceil(arithmetic: Arithmetic, args: list[Value]) -> Value:
    return -_floor(arithmetic, [-args[0]])


def _whole(value: Value) -> int:
    if not isinstance(value, Fraction) or value.denominator != 1:
        raise UndefinedError("not an integer")
    return int(value)


def _fold(function: Callable[..., int]) -> Callable[[Arithmetic, list[Value]], Value]:
    return lambda _, args: Fraction(function(*map(_whole, args)))


def _extreme(function: Callable[..., Any]) -> Callable[[Arithmetic, list[Value]], Value]:
    return lambda _, args: function(*map(_real_of, args)) if len(args) > 1 else _real_of(args[0])


def _modulo(_: Arithmetic, args: list[Value]) -> Value:
    if not _whole(args[1]):
        raise UndefinedError("modulo zero")
    return Fraction(_whole(args[0]) % _whole(args[1]))


def _sign(_: Arithmetic, args: list[Value]) -> Value:
    value = _real_of(args[0])
    return Fraction((value > 0) - (value < 0))


_ARITY = {"binom": 2, "root": 2, "mod": 2}
_RATIONAL: dict[str, Callable[[Arithmetic, list[Value]], Value]] = {
    "based": lambda _, v: v[0],
    "abs": _abs, "floor": _floor, "ceil": _ceil, "gcd": _fold(math.gcd), "lcm": _fold(math.lcm), "max": _extreme(max),
    "min": _extreme(min), "mod": _modulo, "sgn": _sign, "factorial": lambda a, v: a.factorial(v[0]),
    "binom": lambda a, v: a.binomial(v[0], v[1]), "root": lambda a, v: a.root(v[0], v[1]),
    "Re": lambda _, v: v[0] if isinstance(v[0], Fraction) else v[0].real,
    "Im": lambda _, v: Fraction(0) if isinstance(v[0], Fraction) else v[0].imag,
    "conjugate": lambda _, v: v[0] if isinstance(v[0], Fraction) else v[0].conjugate(),
}  # fmt: skip
