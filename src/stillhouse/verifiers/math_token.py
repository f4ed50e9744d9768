r"""Cuts a cleaned formula into tokens: numbers with all their spellings, names, commands, words, signs.

In: cleaned text. Out: tokens. A number knows whether it was written as a decimal and with how many digits, because the
conventions ask that of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from stillhouse.verifiers.math_words import word_set

MAX_TOKENS = 3_000
MAX_LITERAL = 3_000  # digits of one number; longer integers are compared as text before anything is cut


class UnreadableError(Exception):
    """This text is no formula that we know how to read."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A number as written. digits: significant ones of a decimal, None for an exact number; ulp: worth of the last.

    grouped: with bare commas between groups of three, which may have been a list. scientific: with a power of ten.
    """

    value: Fraction
    digits: int | None = None
    ulp: Fraction = Fraction(0)
    grouped: bool = False
    scientific: bool = False
    text: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """kind: num, sym, cmd, word, text, op, end. glued: no white space before it."""

    kind: str
    text: str
    glued: bool = True
    literal: Literal | None = None


_INT = r"\d{1,3}(?:\{,\}\d{3})+(?!\d)|\d{1,3}(?:,\d{3})+(?![\d])|\d{1,3}(?: \d{3})+(?!\d|\s?/\s?\d)|\d+"
_SCANNER = re.compile(
    r"(?P<space>\s+)"
    rf"|(?P<repeat>\d*\.\d*(?:\\overline\s?\{{\s?\d+\s?\}}|\(\d+\)|\\overline\s?\d|(?:\\dot\s?\{{?\d\}}?)(?:\d*\\dot\s?\{{?\d\}}?)?))"
    rf"|(?P<dots>\d+\.\d+\s?\\ldots)"
    rf"|(?P<num>(?:(?:{_INT})(?:\.\d+(?:\s\d{{3}})*(?!\d)|\.(?!\d)(?=\s|$|[,)\]}}])|\{{,\}}\d+)?|\.\d+)"
    r"(?P<exp>[eE][+-]?\d+(?![\w.]))?)"
    r"|\\(?:text)\s?\{(?P<text>(?:[^{}]|\{[^{}]*\})*)\}"
    r"|(?P<cmd>\\[a-zA-Z]+)|(?P<pair>\\[{}|\\])|(?P<word>[A-Za-z\u4e00-\u9fff]+)|(?P<le><=|=<|≤)|(?P<ge>>=)|(?P<ne>!=|/=|<>)"
    r"|(?P<op>[^\s\w]|_)|(?P<other>.)"
)
_FUNCTIONS = word_set(
    "sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth ln log lg exp sqrt max "
    "min gcd lcm "
    "arsinh arcosh artanh arcsinh arccosh arctanh det abs floor ceil cbrt sgn binom cis"
)
_CONDITIONS = frozenset({"for", "where", "if", "when", "with", "provided", "such that", "provided that", "as"})
_NAMES = {
    "pi": "\\pi", "Pi": "\\pi", "infinity": "\\infty", "inf": "\\infty", "infty": "\\infty", "Infinity": "\\infty",
    "theta": "\\theta", "alpha": "\\alpha", "beta": "\\beta", "gamma": "\\gamma", "lambda": "\\lambda",
    "omega": "\\omega",
    "sigma": "\\sigma", "phi": "\\phi", "asin": "\\arcsin", "acos": "\\arccos", "atan": "\\arctan",
    "emptyset": "\\emptyset",
    "union": "\\cup",
}  # fmt: skip
_GREEK = word_set(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi "
    "omega Gamma "
    "Delta Theta Lambda Xi Sigma Upsilon Phi Psi Omega ell hbar aleph wp"
)


def tokens(text: str) -> list[Token]:
    """All tokens, then one of kind end. Raises UnreadableError for signs that no formula holds, or too many."""
    found: list[Token] = []
    glued = True
    for match in _SCANNER.finditer(text):
        kind = match.lastgroup
        if kind == "exp":
            kind = "num"
        if kind == "space":
            glued = False
            continue
        found.extend(_token(kind or "", match, glued))
        glued = True
        if len(found) > MAX_TOKENS:
            raise UnreadableError("a formula of too many signs")
    if any(token.literal is not None and token.literal.grouped for token in found):
        found = _ungrouped(found)
    found.append(Token("end", ""))
    return found


def _ungrouped(found: list[Token]) -> list[Token]:
    """Inside brackets `12,102` is two numbers; only a group such as 000 or 050 tells one number."""
    out: list[Token] = []
    depth = 0
    for token in found:
        depth += (token.text in ("(", "[", "\\{")) - (token.text in (")", "]", "\\}"))
        groups = token.text.split(",")
        if (
            depth > 0
            and token.literal is not None
            and token.literal.grouped
            and not any(g[0] == "0" for g in groups[1:])
        ):
            for index, group in enumerate(groups):
                if index:
                    out.append(Token("op", ","))
                out.append(Token("num", group, not index and token.glued, _number(group)))
        else:
            out.append(token)
    return out


def _token(kind: str, match: re.Match[str], glued: bool) -> list[Token]:
    text = match[0]
    if kind == "num":
        euler = re.fullmatch(r"(\d+)e([+-])(\d+)", text)
        if euler and euler[1] != "1":  # 2e-3 is twice Euler's number less three; 1e-3 and 2.0e-3 are a thousandth
            first, last = (Token("num", part, True, _number(part)) for part in (euler[1], euler[3]))
            return [first, Token("sym", "e"), Token("op", euler[2]), last]
        return [Token("num", text, glued, _number(text))]
    if kind in ("repeat", "dots"):
        return [Token("num", text, glued, _repeating(text))]
    if kind == "text":
        return _words(match["text"].strip(), glued, _applied(match))
    if kind == "cmd":
        name = text[1:]
        return [Token("sym", name, glued) if name in _GREEK else Token("cmd", name, glued)]
    if kind == "word":
        return _word(text, glued, _applied(match))
    if kind == "pair":
        return [Token("op", {"\\{": "\\{", "\\}": "\\}", "\\|": "\\|"}.get(text, "\\\\"), glued)]
    if kind in ("le", "ge", "ne"):
        return [Token("cmd", kind, glued)]
    if kind == "op":
        return [Token("op", text, glued)]
    raise UnreadableError(f"an unknown sign {text!r}")


def _applied(match: re.Match[str]) -> bool:
    """Whether a bracket, index or command follows, as behind a function: min(a, b) is one, 60 min is none."""
    return match.string[match.end() :].lstrip()[:1] in ("(", "[", "{", "\\", "_", "^", "|")


def _word(text: str, glued: bool, applied: bool) -> list[Token]:
    if len(text) == 1 and text.isascii():
        return [Token("sym", text, glued)]
    if text in ("min", "sec") and not applied:
        return [Token("word", text, glued)]
    if text in _FUNCTIONS or text.lower() in ("sqrt", "ln", "log", "sin", "cos", "tan", "exp"):
        return [Token("cmd", text if text in _FUNCTIONS else text.lower(), glued)]
    if text in _NAMES:
        name = _NAMES[text][1:]
        return [Token("sym", name, glued) if name in _GREEK else Token("cmd", name, glued)]
    lower = text.lower()
    if lower in ("and", "or"):
        return [Token("op", lower, glued)]
    if lower in ("sum", "prod", "product") and applied:
        return [Token("cmd", lower[:4] if lower != "sum" else lower, glued)]
    if lower in _CONDITIONS:
        return [Token("op", ",", glued)]
    return [Token("word", text, glued)]


def _words(text: str, glued: bool, applied: bool) -> list[Token]:
    r"""Content of a \text group: a connective, a single letter, or words."""
    bare = text.strip(" ,;").lower()
    if bare in ("and", "or"):
        return [Token("op", bare, False)]
    if bare in _CONDITIONS:
        return [Token("op", ",", False)]
    if bare in ("const", "constant"):
        return [Token("sym", "const", glued)]
    if bare == "to":
        return [Token("op", ":", False)]
    if not bare:
        return []
    inner = text.strip()
    if len(inner) == 1 and inner.isalpha() and inner.isascii():
        return [Token("sym" if inner in "ie" else "text", inner, glued)]  # upright i and e are the constants
    if inner in _FUNCTIONS and (applied or inner not in ("min", "sec")):
        return [Token("cmd", inner, glued)]
    if re.match(r"(?:\\dollar\s*)?[-+]?\d", inner):  # \text{12}, \text{12 cm}, \text{\$12}
        return tokens(inner)[:-1]
    return [Token("text", inner, glued)]


def _number(text: str) -> Literal:
    if len(text) > MAX_LITERAL:
        raise UnreadableError("a number of too many digits")
    mantissa, exponent = text, 0
    cut = re.search(r"[eE]", text)
    if cut:
        mantissa, exponent = text[: cut.start()], int(text[cut.end() :])
        if abs(exponent) > MAX_LITERAL:
            raise UnreadableError("an exponent of too many digits")
    grouped = "," in mantissa.replace("{,}", "")
    plain = re.sub(r"\{,\}(?=\d{3}(?:\{|\.|$))", "", mantissa) if not mantissa.startswith("0{") else mantissa
    plain = plain.replace("{,}", ".").replace(",", "").replace(" ", "")
    whole, _, fraction = plain.partition(".")
    value = Fraction(int(whole + fraction or "0"), 10 ** len(fraction)) * Fraction(10) ** exponent
    if not fraction and not cut:
        return Literal(value, grouped=grouped, text=plain.rstrip("."))
    significant = len((whole + fraction).lstrip("0"))
    ulp = Fraction(1, 10 ** len(fraction)) * Fraction(10) ** exponent
    return Literal(value, significant, ulp, grouped, bool(cut), plain)


def _repeating(text: str) -> Literal:
    r"""0.1\overline{6}, 0.(3), 0.\dot{1}4\dot{2}, 0.333\ldots as fractions; other digits before dots stay a decimal."""
    if len(text) > MAX_LITERAL:
        raise UnreadableError("a number of too many digits")
    whole, _, rest = text.partition(".")
    if text.endswith("\\ldots"):
        digits = re.sub(r"\D", "", rest)
        period = re.search(r"(?:(\d)\1\1+|(\d{2,6}?)\2+)$", digits)
        if period is None:
            value = Fraction(int((whole or "0") + digits), 10 ** len(digits))
            return Literal(value, len((whole + digits).lstrip("0")), Fraction(1, 10 ** len(digits)))
        block = period[1] or period[2]
        start = digits[: period.start()]
    else:
        start = re.match(r"\d*", rest)[0]  # type: ignore[index]  # a star always matches
        block = re.sub(r"\D", "", rest[len(start) :])
    scale = 10 ** len(start)
    tail = Fraction(int(block), (10 ** len(block) - 1) * scale)
    return Literal(Fraction(int((whole or "0") + start), scale) + tail, text=text)
