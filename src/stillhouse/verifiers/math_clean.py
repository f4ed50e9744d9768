r"""Brings the many spellings of one formula together: full-width and typographic characters, LaTeX cosmetics.

In: an answer as written. Out: one line in which white space, signs, brackets and commands have one spelling. It
changes no meaning: what differs after it may still be equal, what is equal after it is.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_PAIRS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "‒": "-", "﹣": "-", "⁻": "^{-}",
    "×": "*", "∙": "*", "·": "*", "⋅": "*", "•": "*", "∗": "*", "✕": "*", "÷": "/", "∕": "/", "⁄": "/",
    "≤": r"\le ", "≦": r"\le ", "⩽": r"\le ", "≥": r"\ge ", "≧": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ",
    "≈": r"\approx ",
    "≃": r"\approx ", "∞": r"\infty ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∉": r"\notin ",
    "∖": r"\setminus ",
    "∅": r"\emptyset ", "±": r"\pm ", "∓": r"\mp ", "√": r"\sqrt ", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]",
    "°": r"\degree ", "º": r"\degree ", "℃": r"\degree C", "℉": r"\degree F", "′": "'", "’": "'", "‘": "'", "″": "''",
    "“": '"', "”": '"', "…": r"\ldots ", "⋯": r"\ldots ", "∶": ":", "：": ":", "，": ",",
    "、": ",", "；": ";", "。": ".",
    "．": ".", "｡": ".", "（": "(", "）": ")", "［": "[", "］": "]", "【": "[", "】": "]", "｛": "{", "｝": "}",
    "〈": r"\langle ", "〉": r"\rangle ", "⟨": r"\langle ", "⟩": r"\rangle ", "％": "%",
    "﹪": "%", "⇒": r"\Rightarrow ",
    "→": r"\to ", "∠": r"\angle ", "△": r"\triangle ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}",
    "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}", "∧": r"\land ", "∨": r"\lor ", "⌊": r"\lfloor ", "⌋": r"\rfloor ",
    "⌈": r"\lceil ", "⌉": r"\rceil ", "∣": "|", "｜": "|", "‖": r"\|", "∑": r"\sum ", "∏": r"\prod ", "∫": r"\int ",
    "⊂": r"\subset ", "ı": r"\imath ", "＄": "$", "￥": "¥", "€": r"\text{euro}", "£": r"\text{pound}",
    "¥": r"\text{yuan}",
    "₹": r"\text{rupee}", "¢": r"\text{cent}", "µ": r"\mu ", "∂": r"\partial ", "∝": r"\propto ",
    "≡": r"\equiv ", "ℓ": r"\ell ",
    "½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}",
    "⅕": r"\frac{1}{5}", "⅖": r"\frac{2}{5}", "⅗": r"\frac{3}{5}", "⅘": r"\frac{4}{5}", "⅙": r"\frac{1}{6}",
    "⅚": r"\frac{5}{6}", "⅛": r"\frac{1}{8}", "⅜": r"\frac{3}{8}", "⅝": r"\frac{5}{8}", "⅞": r"\frac{7}{8}",
    "或": r"\text{ or }", "和": r"\text{ and }", "与": r"\text{ and }", "及": r"\text{ and }", "且": r"\text{ and }",
    "\u200b": "", "\u200c": "", "\u200d": "", "\u2060": "", "\ufeff": "", "\u00ad": "", "\u2061": "", "\u2062": "*",
}  # fmt: skip
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma",
    "τ": "tau", "υ": "upsilon", "φ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega", "Γ": "Gamma", "Δ": "Delta",
    "Θ": "Theta", "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
    "ϕ": "phi", "ϵ": "epsilon", "ϑ": "theta", "ς": "sigma",
}  # fmt: skip
_SUPER = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹ⁿⁱ⁺", "0123456789ni+", strict=True))
_SUB = dict(zip("₀₁₂₃₄₅₆₇₈₉ₙ", "0123456789n", strict=True))

_GONE = (
    r"left|right|middle|bigl|bigr|Bigl|Bigr|biggl|biggr|Biggl|Biggr|big|Big|bigg|Bigg|displaystyle|textstyle|scriptstyle|"
    r"limits|nolimits|mathstrut|strut|boldsymbol|bm|rm|bf|it|sf|tt|cal|hfill|therefore|mathopen|mathclose|mathrel|mathord|"
    r"allowbreak|nonumber|notag|normalsize|large|Large|small|smash|ensuremath|mathstrut|null"
)
_SPACES = r"quad|qquad|thinspace|medspace|thickspace|enspace|enskip|space|hskip|nobreakspace|negthinspace"
_SAME = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "nicefrac": "frac", "sfrac": "frac", "leq": "le",
    "leqslant": "le",
    "leqq": "le", "geq": "ge", "geqslant": "ge", "geqq": "ge", "neq": "ne", "not=": "ne", "dots": "ldots",
    "cdots": "ldots",
    "dotsc": "ldots", "dotsb": "ldots", "dotso": "ldots", "vdots": "ldots", "hdots": "ldots", "textdegree": "degree",
    "infin": "infty", "varnothing": "emptyset", "empty": "emptyset", "O": "emptyset", "wedge": "land", "vee": "lor",
    "backslash": "setminus", "smallsetminus": "setminus", "simeq": "approx", "thickapprox": "approx",
    "doteq": "approx",
    "varphi": "phi", "varepsilon": "epsilon", "vartheta": "theta", "varrho": "rho", "varsigma": "sigma",
    "dbinom": "binom",
    "tbinom": "binom", "Longrightarrow": "Rightarrow", "implies": "Rightarrow", "rightarrow": "to",
    "longrightarrow": "to",
    "lbrack": "[", "rbrack": "]", "textrm": "text", "textnormal": "text", "textsf": "text", "texttt": "text",
    "textbf": "text", "textit": "text", "textup": "text", "mbox": "text", "hbox": "text", "emph": "text",
    "mathrm": "text",
    "operatorname": "text", "mathsf": "text", "mathtt": "text", "mathnormal": "text", "unit": "text", "bigcup": "cup",
    "bigcap": "cap", "ang": "angle", "measuredangle": "angle", "iff": "Leftrightarrow", "tg": "tan", "ctg": "cot",
    "arctg": "arctan", "cosec": "csc", "lg": "lg", "sh": "sinh", "ch": "cosh", "mathit": "mathbf",
    "mathcal": "mathbf",
    "wp": "wp", "upi": "pi", "mathring": "hat", "mathbfit": "mathbf",
}  # fmt: skip
_PLAIN = {
    "lt": "<", "gt": ">", "lbrace": r"\{", "rbrace": r"\}", "lvert": "|", "rvert": "|", "vert": "|", "lVert": r"\|",
    "rVert": r"\|", "Vert": r"\|", "times": "*", "cdot": "*", "ast": "*", "bullet": "*", "cdotp": "*", "div": "/",
    "colon": ":",
    "prime": "'", "textdollar": r"\dollar ", "textemdash": "-", "euro": r"\text{euro}", "pounds": r"\text{pound}",
    "lparen": "(", "rparen": ")", "slash": "/", "mid": "|", "enclose": "", "smallint": r"\int ", "textbackslash": "",
}  # fmt: skip
_COMMAND = re.compile(
    r"(?P<row>\\\\(?:\s*\[-?[\d.]+\s?[a-z]{2}\])?)"
    rf"|(?P<gone>\\(?:{_GONE})(?![a-zA-Z])\.?(?=\s*)|\\[!/]|\\(?:label|tag|phantom|hspace|vspace|hphantom|color)\*?\{{[^{{}}]*\}}|\\\$(?=\s*$))"
    rf"|(?P<space>\\(?:{_SPACES})(?![a-zA-Z])|\\[,;:> ]|~)"
    r"|(?P<colour>\\textcolor\{[^{}]*\})"
    r"|(?P<degree>\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z])|\{\s*\\degree\s*\}))"
    r"|(?P<name>\\[a-zA-Z]+)\*?"
    r"|(?P<percent>\\%)|(?P<dollar>\\\$)|(?P<delimiter>\$+|\\[()\[\]])|(?P<escaped>\\[#&_])"
)
_DOT_AFTER = re.compile(r"\\(?:left|right)\s*\.")
_DOUBLED = re.compile(r"\\\\(?=[a-zA-Z{}%$,;!()\[\]])")  # a formula that was escaped once too often
_TEXT_BRACE = re.compile(r"\\text\s+\{")
_PERCENT = re.compile(
    r"\s*(?:\\text\s?\{\s*(?:percentage|per cent|percent|pct)\s*\}|\b(?:percentage|per cent|percent|pct)\b)"
)
_THOUSANDS = re.compile(r"(?<=\d)\s*(?:,\s*\\!\s*|\{\s*,\s*\}\s*)(?=\d)")
_DOTS = re.compile(r"(?<![a-zA-Z]{2})\s?\.{3,}")
_BLANKS = re.compile(r"\s+")
_RUNS = re.compile(r"(?:[⁰¹²³⁴⁵⁶⁷⁸⁹ⁿⁱ⁺⁻]+)|(?:[₀₁₂₃₄₅₆₇₈₉ₙ]+)")
_EDGES = re.compile(r"^[\s.,;:=*`\"]+(?=[^\d])|^[\s,;:=`\"]+|[\s.,;:`\"]+$")
_TIGHT = re.compile(r"\s*([^\w\s\\])\s*")


@lru_cache(maxsize=2048)
def clean(text: str) -> str:
    """One spelling for one formula; a single line without outer white space or full stop."""
    if not text.isascii():
        text = _ascii(text)
    text = text.strip()
    if "..." in text:
        text = _DOTS.sub(r"\\ldots ", text)
    if "," in text and ("\\!" in text or "{" in text):
        text = _THOUSANDS.sub(r"{,}", text)
    text = text.replace("{:}", ":")
    if "\\" in text or "$" in text or "~" in text:
        if "\\\\" in text and "\\begin" not in text:
            text = _DOUBLED.sub(r"\\", text)
        text = _COMMAND.sub(_replace, text)
        text = _TEXT_BRACE.sub(r"\\text{", text).replace("\\text{\\dollar }", "\\dollar ")
    if "erc" in text or "pct" in text:
        text = _PERCENT.sub("%", text)
    text = _BLANKS.sub(" ", text.replace("**", "^") if _star_power(text) else text.replace("**", ""))
    if len(text) > 2 and text[0] == text[-1] == "*":
        text = text[1:-1]  # emphasis
    before = None
    while before != text:
        before, text = text, _EDGES.sub("", text).strip()
    return text


def _star_power(text: str) -> bool:
    return bool(re.search(r"[\w)}]\*\*[\w({-]", text)) and not text.startswith("**")


def key(cleaned: str) -> str:
    """What two cleaned texts of the same writing share: without blanks that separate nothing."""
    return _TIGHT.sub(r"\1", cleaned)


def _ascii(text: str) -> str:
    text = _RUNS.sub(_script, text)
    return "".join(char if char < "\x80" else _one(char) for char in text)


def _script(match: re.Match[str]) -> str:
    run = match[0]
    if run[0] in _SUB:
        return "_{" + "".join(_SUB[char] for char in run) + "}"
    return "^{" + "".join("-" if char == "⁻" else _SUPER[char] for char in run) + "}"


@lru_cache(maxsize=4096)
def _one(char: str) -> str:
    found = _PAIRS.get(char)
    if found is not None:
        return found
    if char in _GREEK:
        return f"\\{_GREEK[char]} "
    if unicodedata.category(char) == "Nd":
        return str(unicodedata.digit(char))
    if unicodedata.category(char) in ("Zs", "Cc", "Zl", "Zp"):
        return " "
    plain = unicodedata.normalize("NFKC", char)
    if plain != char and len(plain) <= 4 and not ("\u2460" <= char <= "\u24ff"):
        return "".join(piece if piece < "\x80" else _PAIRS.get(piece, piece) for piece in plain)
    return char


def _replace(match: re.Match[str]) -> str:
    group = match.lastgroup
    if group == "name":
        name = match["name"][1:]
        if name in _PLAIN:
            return _PLAIN[name]
        return "\\" + _SAME.get(name, name)
    if group == "gone":
        # "\left." stands for no bracket at all; after any other command the full stop is the sentence's
        return "" if _DOT_AFTER.fullmatch(match[0]) or not match[0].endswith(".") else "."
    return _FIXED[group or ""]


_FIXED = {"row": r"\\ ", "space": " ", "colour": "", "degree": r"\degree ", "percent": "%", "dollar": r"\dollar ",
    "delimiter": " ",
          "escaped": " "}  # fmt: skip
