"""Rational numbers of any size, compared by their residues modulo large primes.

In: two trees of sums, products, quotients and whole powers of whole numbers. Out: whether they agree modulo each prime,
which for different numbers happens once in 10^55; None for anything else. 2^100000 + 1 costs microseconds so.
"""

from __future__ import annotations

from fractions import Fraction

from stillhouse.verifiers.math_number import Arithmetic, GuardError, UndefinedError
from stillhouse.verifiers.math_tree import Node, evaluate

PRIMES = (2**61 - 1, 2**61 - 31, 2**62 - 57)
_EXACT = Arithmetic(30, real=True)


def residues_agree(a: Node, b: Node) -> bool | None:
    """Whether two constants are equal; None where one is no rational number that can be read so."""
    for prime in PRIMES:
        left, right = _residue(a, prime), _residue(b, prime)
        if left is None or right is None:
            return None
        if left != right:
            return False
    return True


def _residue(node: Node, prime: int) -> int | None:
    if node.op == "num":
        return _quotient(node.number.numerator, node.number.denominator, prime)
    if node.op not in ("add", "mul", "neg", "div", "pow"):
        return None
    first = _residue(node.args[0], prime)
    if first is None:
        return None
    if node.op == "neg":
        return -first % prime
    if node.op == "pow":
        return _power(first, node.args[1], prime)
    total = first
    for arg in node.args[1:]:
        value = _residue(arg, prime)
        if value is None:
            return None
        if node.op == "add":
            total = (total + value) % prime
        elif node.op == "mul":
            total = total * value % prime
        else:
            quotient = _quotient(total, value, prime)
            if quotient is None:
                return None
            total = quotient
    return total


def _quotient(top: int, bottom: int, prime: int) -> int | None:
    return None if bottom % prime == 0 else top * pow(bottom, -1, prime) % prime


def _power(base: int, exponent: Node, prime: int) -> int | None:
    try:
        value = evaluate(exponent, _EXACT, {})
    except (UndefinedError, GuardError):
        return None
    if not isinstance(value, Fraction) or value.denominator != 1 or (value < 0 and not base):
        return None
    return pow(base, int(value), prime)
