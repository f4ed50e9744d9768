"""In which language a text is: by its script first, and by py3langid (BSD, its model within the package) where a
script serves several languages.

In: text. Out: an ISO 639-1 code, or None where no language holds two thirds of it. Deterministic, no download.
"""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import regex

CODES = {
    "zh-cn": "zh", "zh-tw": "zh", "zh-hans": "zh", "zh-hant": "zh", "chinese": "zh", "english": "en", "french": "fr",
    "german": "de", "spanish": "es", "portuguese": "pt", "italian": "it", "russian": "ru", "japanese": "ja",
    "korean": "ko", "arabic": "ar", "hindi": "hi", "bengali": "bn", "urdu": "ur", "persian": "fa", "farsi": "fa",
    "vietnamese": "vi", "thai": "th", "polish": "pl", "finnish": "fi", "swahili": "sw", "marathi": "mr",
    "nepali": "ne", "punjabi": "pa", "tamil": "ta", "telugu": "te", "kannada": "kn", "gujarati": "gu",
    "malayalam": "ml", "bulgarian": "bg", "ukrainian": "uk", "hebrew": "he", "iw": "he", "dutch": "nl",
    "turkish": "tr", "greek": "el", "swedish": "sv",
}  # fmt: skip
# Of each script the languages that are told apart in it; the first of a single one is the answer at once.
SCRIPTS: dict[str, tuple[str, ...]] = {
    "Latin": ("en", "de", "fr", "es", "pt", "it", "nl", "pl", "fi", "sw", "vi", "sv", "da", "no", "ro", "cs", "sk",
              "hu", "tr", "id", "ca", "hr", "sl", "et", "lv", "lt", "tl", "la", "eu", "cy", "ga", "is", "sq", "af"),
    "Cyrillic": ("ru", "uk", "bg", "sr", "mk", "be", "kk", "mn"),
    "Arabic": ("ar", "fa", "ur", "ps", "ug"),
    "Devanagari": ("hi", "mr", "ne"),
    "Hangul": ("ko",), "Thai": ("th",), "Bengali": ("bn",), "Tamil": ("ta",), "Telugu": ("te",), "Kannada": ("kn",),
    "Malayalam": ("ml",), "Gujarati": ("gu",), "Gurmukhi": ("pa",), "Hebrew": ("he",), "Greek": ("el",),
    "Georgian": ("ka",), "Armenian": ("hy",), "Khmer": ("km",), "Lao": ("lo",), "Sinhala": ("si",), "Ethiopic": ("am",),
    "Myanmar": ("my",), "Han": ("zh",), "Kana": ("ja",),
}  # fmt: skip
KNOWN = frozenset(code for codes in SCRIPTS.values() for code in codes)
SHARE = 2 / 3
MAX_PROSE = 5_000  # characters that are looked at
# One character of these stands for about so many letters of an alphabet.
_WEIGHT = {"Han": 3.0, "Kana": 2.0, "Hangul": 2.5}
_NO_PROSE = regex.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|\$[^$\n]*\$", regex.DOTALL)
_LETTERS = {
    name: regex.compile(r"[\p{Hiragana}\p{Katakana}ー]" if name == "Kana" else rf"\p{{{name}}}") for name in SCRIPTS
}


def code_of(language: str) -> str | None:
    """The ISO 639-1 code that a code or English name means, or None where we do not know the language."""
    plain = language.strip().casefold().replace("_", "-")
    plain = CODES.get(plain, plain)
    return plain if plain in KNOWN else None


def language_of(text: str) -> str | None:
    """The language of at least two thirds of the letters, code and URLs left out; None for none or a mixture."""
    prose = _NO_PROSE.sub(" ", text)[:MAX_PROSE]
    if prose.isascii():
        return _identify(prose.lower(), SCRIPTS["Latin"]) if _LETTERS["Latin"].search(prose) else None
    counts = Counter({name: len(pattern.findall(prose)) * _WEIGHT.get(name, 1.0) for name, pattern in _LETTERS.items()})
    if counts["Kana"] and counts["Kana"] >= 0.1 * (counts["Kana"] + counts["Han"]):
        counts["Kana"] += counts.pop("Han")
    (script, count), total = counts.most_common(1)[0], sum(counts.values())
    if not count or count < SHARE * total:
        return None
    languages = SCRIPTS[script]
    if len(languages) == 1:
        return languages[0]
    return _identify(_of_script(prose, script), languages)


def could_be_english(text: str) -> bool:
    """Whether a text may be called English: Latin letters, and where it is long enough to tell, no other language."""
    prose = _NO_PROSE.sub(" ", text)
    latin, letters = len(_LETTERS["Latin"].findall(prose)), len(regex.findall(r"\p{L}", prose))
    if not latin or latin < SHARE * letters:
        return False
    return latin < 40 or language_of(text.lower()) == "en"


def _of_script(text: str, script: str) -> str:
    """The text without letters of other scripts, which would mislead; small letters, since models know few capitals."""
    return " ".join(regex.sub(rf"(?V1)[\p{{L}}--\p{{{script}}}]+", " ", text).split()).lower()


@functools.cache
def _identifier(languages: tuple[str, ...]) -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # type: ignore[import-untyped]

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(list(languages))
    return identifier


def _identify(text: str, languages: tuple[str, ...]) -> str:
    return str(_identifier(languages).classify(text)[0])
