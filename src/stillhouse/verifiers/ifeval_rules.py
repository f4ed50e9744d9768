"""The 25 instruction constraints of IFEval: for each id what its kwargs must be, and whether an answer keeps to it.

In: the answer part of a reply and the checked kwargs. Out: None where the answer holds, else what is wrong with it.
Written from the published descriptions of the constraints; where the common copies err we do otherwise, and
docs/ifeval.md lists every departure. An empty answer never comes here: it fails.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import regex

from stillhouse.verifiers.ifeval_language import code_of, could_be_english, language_of
from stillhouse.verifiers.ifeval_text import (
    capital_words,
    divided,
    occurrences,
    paragraphs,
    plain_quotes,
    sentences,
    words,
)

Kwargs = Mapping[str, Any]
Holds = Callable[[str, Kwargs], str | None]
MOST_DIGITS = 20
RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "at least": lambda n, limit: n >= limit,
    "less than": lambda n, limit: n < limit,
    "at most": lambda n, limit: n <= limit,
    "more than": lambda n, limit: n > limit,
    "exactly": lambda n, limit: n == limit,
}


@dataclass(frozen=True)
class Rule:
    """kwargs: name -> kind, one of count, relation, text, texts, character, language. text and texts are not empty."""

    holds: Holds
    kwargs: Mapping[str, str]


def read_kwargs(rule: Rule, given: Mapping[str, Any]) -> Kwargs:
    """The kwargs that a rule needs, in their types; others and nulls are left out. Raises ValueError saying which."""
    return {name: _READ[kind](name, given.get(name)) for name, kind in rule.kwargs.items()}


def _count(name: str, value: Any) -> int:
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < MOST_DIGITS:
        value = int(value)
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole or value < 0:
        raise ValueError(f"{name} must be a whole number, not {value!r}")
    return int(value)


def _relation(name: str, value: Any) -> str:
    plain = value.strip().casefold() if isinstance(value, str) else value
    if plain not in RELATIONS:
        raise ValueError(f"{name} must be one of {', '.join(RELATIONS)}, not {value!r}")
    return str(plain)


def _text(name: str, value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must be a text, not {value!r}")
    return value


def _texts(name: str, value: Any) -> list[str]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not items:
        raise ValueError(f"{name} must be a list of texts, not {value!r}")
    return [_text(name, item) for item in items]


def _character(name: str, value: Any) -> str:
    text = _text(name, value).strip()
    if len(text) != 1:
        raise ValueError(f"{name} must be one character, not {value!r}")
    return text


def _language(name: str, value: Any) -> str:
    code = code_of(_text(name, value))
    if code is None:
        raise ValueError(f"{name}: the language {value!r} is not known")
    return code


_READ: dict[str, Callable[[str, Any], Any]] = {
    "count": _count, "relation": _relation, "text": _text, "texts": _texts, "character": _character,
    "language": _language,
}  # fmt: skip


def _compare(what: str, number: int, relation: str, limit: int) -> str | None:
    return None if RELATIONS[relation](number, limit) else f"{number} {what}, not {relation} {limit}"


# --- keywords and letters -------------------------------------------------------------------------------------------


def keywords_exist(text: str, kwargs: Kwargs) -> str | None:
    missing = [word for word in kwargs["keywords"] if not occurrences(word, text)]
    return f"missing: {', '.join(map(repr, missing))}" if missing else None


def keyword_frequency(text: str, kwargs: Kwargs) -> str | None:
    keyword = kwargs["keyword"]
    return _compare(f"times {keyword!r}", occurrences(keyword, text), kwargs["relation"], kwargs["frequency"])


def no_forbidden_words(text: str, kwargs: Kwargs) -> str | None:
    met = [word for word in kwargs["forbidden_words"] if occurrences(word, text)]
    return f"contains {', '.join(map(repr, met))}" if met else None


def letter_frequency(text: str, kwargs: Kwargs) -> str | None:
    letter = kwargs["letter"]
    number = text.lower().count(letter.lower())
    return _compare(f"times {letter!r}", number, kwargs["let_relation"], kwargs["let_frequency"])


# --- lengths --------------------------------------------------------------------------------------------------------


def number_of_sentences(text: str, kwargs: Kwargs) -> str | None:
    return _compare("sentences", len(sentences(text)), kwargs["relation"], kwargs["num_sentences"])


def number_of_words(text: str, kwargs: Kwargs) -> str | None:
    return _compare("words", len(words(text)), kwargs["relation"], kwargs["num_words"])


def number_of_paragraphs(text: str, kwargs: Kwargs) -> str | None:
    parts = divided(text)
    if not all(parts):
        return "an empty paragraph between dividers"
    return _compare("paragraphs", len(parts), "exactly", kwargs["num_paragraphs"])


def nth_paragraph_first_word(text: str, kwargs: Kwargs) -> str | None:
    parts, nth = paragraphs(text), kwargs["nth_paragraph"]
    if len(parts) != kwargs["num_paragraphs"]:
        return f"{len(parts)} paragraphs, not {kwargs['num_paragraphs']}"
    if not 1 <= nth <= len(parts):
        return f"there is no paragraph {nth}"
    opening = regex.sub(r"^[^\p{L}\p{N}]+", "", parts[nth - 1])
    wanted = kwargs["first_word"].strip()
    match = regex.match(r"\p{Han}", wanted)
    starts = opening.startswith(wanted) if match else bool(_opens_with(opening, wanted))
    return None if starts else f"paragraph {nth} starts with {opening[:20]!r}, not {wanted!r}"


def _opens_with(opening: str, word: str) -> bool:
    said = words(plain_quotes(opening))
    return bool(said) and said[0].casefold() in {plain_quotes(word).casefold(), word.strip(".,!?'\"").casefold()}


# --- content and format ---------------------------------------------------------------------------------------------


def number_of_placeholders(text: str, kwargs: Kwargs) -> str | None:
    """`[name]` and `［name］` with a letter inside; neither checkboxes, citations `[1]` nor markdown links."""
    found = regex.findall(r"[\[［][^\[\]［］\n]*\p{L}[^\[\]［］\n]*[\]］](?!\()", text)
    found = [item for item in found if item.strip("[]［］ ").casefold() != "x"]
    return _compare("placeholders", len(found), "at least", kwargs["num_placeholders"])


def has_postscript(text: str, kwargs: Kwargs) -> str | None:
    """The marker outside a word, with something said after it; dots and blanks in it may vary."""
    marker = kwargs["postscript_marker"].strip()
    letters = regex.sub(r"[\s.]", "", marker).casefold()
    body = r"\.\s?".join(letters) + r"(?:\.|\b(?!\.))" if letters in ("ps", "pps") else regex.escape(marker)
    pattern = rf"(?<![\p{{L}}\p{{N}}.]){body}[\s*_:：,，-]*[^\s*_:：,，-]"
    return None if regex.search(pattern, text, regex.IGNORECASE) else f"no postscript {marker!r} with text"


_BULLET = regex.compile(r"^[ \t]*(?:[*+-][ \t]+|•[ \t]*)\S", regex.MULTILINE)
_THEMATIC = regex.compile(r"^[ \t]*(?:[*_-][ \t]*){3,}$", regex.MULTILINE)


def number_of_bullets(text: str, kwargs: Kwargs) -> str | None:
    """Markdown bullets: a marker, a blank and text; `**Title**` and dividers are none."""
    return _compare("bullets", len(_BULLET.findall(_THEMATIC.sub("", text))), "exactly", kwargs["num_bullets"])


CHOICES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def constrained_response(text: str, kwargs: Kwargs) -> str | None:
    said = [choice for choice in CHOICES if choice in text]
    return None if len(said) == 1 else f"says {len(said)} of the three allowed answers"


def number_of_highlights(text: str, kwargs: Kwargs) -> str | None:
    """`*part*`, `**part**`: marks that touch their text on the inside, as markdown has it; bullets are none."""
    found = regex.findall(r"(?<!\*)(\*{1,3})(?=[^\s*])(?:[^*\n]*[^\s*])?\1(?!\*)", text)
    return _compare("highlights", len(found), "at least", kwargs["num_highlights"])


def number_of_sections(text: str, kwargs: Kwargs) -> str | None:
    """Different numbers after the section word at the head of a line, behind markdown marks or not."""
    word = regex.escape(kwargs["section_spliter"].strip())
    numbers = regex.findall(rf"^[\s#*_>\[(-]*{word}\s*(\d+)", text, regex.MULTILINE)
    return _compare("sections", len({int(number) for number in numbers}), "at least", kwargs["num_sections"])


_FENCE = regex.compile(r"^```\w*[ \t]*\n?(.*?)\n?```$", regex.DOTALL)


def is_json(text: str, kwargs: Kwargs) -> str | None:
    """One JSON object or list, fenced or not; a lone number or text is no JSON format."""
    body = text.strip()
    fenced = _FENCE.match(body)
    try:
        value = json.loads(fenced.group(1) if fenced else body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return f"no JSON: {str(error)[:80]}"
    return None if isinstance(value, dict | list) else "a bare value, no JSON object or list"


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_TITLES = (
    r"<<(?=[^<>\n]*[\p{L}\p{N}])\S(?:[^<>\n]*[^<>\s])?>>",  # shifts, `1 << 2 and 3 >> 1`, have blanks inside
    r"(?m:^[ \t]*<<[^<>\n]*[\p{L}\p{N}][^<>\n]*>>[ \t]*$)",
    r"《[^《》\n]*[\p{L}\p{N}][^《》\n]*》",
    r"＜＜[^＜＞\n]*[\p{L}\p{N}][^＜＞\n]*＞＞",
)
_TITLE = regex.compile("|".join(_TITLES))


def has_title(text: str, kwargs: Kwargs) -> str | None:
    return None if _TITLE.search(text) else "no title in double angular brackets"


def two_responses(text: str, kwargs: Kwargs) -> str | None:
    parts = [part.strip() for part in regex.split(r"(?<!\*)\*{6}(?!\*)", text)]
    parts = parts[(not parts[0]) : len(parts) - (len(parts) > 1 and not parts[-1])]
    if len(parts) != 2 or not all(parts):
        return f"{len(parts)} parts between six asterisks, not 2"
    same = " ".join(parts[0].split()).casefold() == " ".join(parts[1].split()).casefold()
    return "both responses are the same" if same else None


def repeats_prompt(text: str, kwargs: Kwargs) -> str | None:
    """Starts with the request word for word, case and blanks aside, and goes on to answer it."""
    wanted, said = _folded(kwargs["prompt_to_repeat"]), _folded(text.lstrip(" \n\"'“‘"))
    if not said.startswith(wanted):
        return "does not start with the request"
    return None if words(said[len(wanted) :]) else "repeats the request and answers nothing"


def _folded(text: str) -> str:
    return " ".join(plain_quotes(text).split()).casefold()


# --- start and end, case, punctuation, language ---------------------------------------------------------------------


def ends_with(text: str, kwargs: Kwargs) -> str | None:
    """The end phrase is the very end, case, blanks and closing quotation marks aside, and starts with a whole word."""
    wanted, said = _folded(kwargs["end_phrase"]).strip('"'), _folded(text).rstrip('" ')
    head = said[: len(said) - len(wanted)]
    holds = said.endswith(wanted) and not (regex.search(r"[\p{L}\p{N}]$", head) and _starts_latin(wanted))
    return None if holds else f"ends with {text.strip()[-30:]!r}"


def _starts_latin(text: str) -> bool:
    return bool(regex.match(r"(?V1)[[\p{L}\p{N}]--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]]", text))


_PAIRS = {'"': '"', "“": "”", "＂": "＂", "„": "“”", "「": "」", "『": "』"}


def is_quoted(text: str, kwargs: Kwargs) -> str | None:
    body = text.strip()
    holds = len(body) > 2 and body[-1] in _PAIRS.get(body[0], "") and bool(words(body[1:-1]))
    return None if holds else "is not wrapped in double quotation marks"


def capital_word_frequency(text: str, kwargs: Kwargs) -> str | None:
    number = len(capital_words(text))
    return _compare("words in capitals", number, kwargs["capital_relation"], kwargs["capital_frequency"])


def all_capitals(text: str, kwargs: Kwargs) -> str | None:
    return _one_case(text, small=False)


def all_lowercase(text: str, kwargs: Kwargs) -> str | None:
    return _one_case(text, small=True)


def _one_case(text: str, small: bool) -> str | None:
    wrong = next((c for c in text if (c.isupper() if small else c.islower())), None)
    if wrong is not None:
        return f"{wrong!r} is {'a capital' if small else 'a small'} letter"
    return None if could_be_english(text) else "is no English text"


def no_comma(text: str, kwargs: Kwargs) -> str | None:
    met = regex.search("[,，﹐︐،]", text)
    return f"a comma at character {met.start() + 1}" if met else None


def is_in_language(text: str, kwargs: Kwargs) -> str | None:
    found = language_of(text)
    return None if found == kwargs["language"] else f"is in {found or 'no one language'}, not {kwargs['language']}"


RULES: dict[str, Rule] = {
    "keywords:existence": Rule(keywords_exist, {"keywords": "texts"}),
    "keywords:frequency": Rule(keyword_frequency, {"keyword": "text", "frequency": "count", "relation": "relation"}),
    "keywords:forbidden_words": Rule(no_forbidden_words, {"forbidden_words": "texts"}),
    "keywords:letter_frequency": Rule(
        letter_frequency, {"letter": "character", "let_frequency": "count", "let_relation": "relation"}
    ),
    "language:response_language": Rule(is_in_language, {"language": "language"}),
    "length_constraints:number_sentences": Rule(
        number_of_sentences, {"num_sentences": "count", "relation": "relation"}
    ),
    "length_constraints:number_paragraphs": Rule(number_of_paragraphs, {"num_paragraphs": "count"}),
    "length_constraints:number_words": Rule(number_of_words, {"num_words": "count", "relation": "relation"}),
    "length_constraints:nth_paragraph_first_word": Rule(
        nth_paragraph_first_word, {"num_paragraphs": "count", "nth_paragraph": "count", "first_word": "text"}
    ),
    "detectable_content:number_placeholders": Rule(number_of_placeholders, {"num_placeholders": "count"}),
    "detectable_content:postscript": Rule(has_postscript, {"postscript_marker": "text"}),
    "detectable_format:number_bullet_lists": Rule(number_of_bullets, {"num_bullets": "count"}),
    "detectable_format:constrained_response": Rule(constrained_response, {}),
    "detectable_format:number_highlighted_sections": Rule(number_of_highlights, {"num_highlights": "count"}),
    "detectable_format:multiple_sections": Rule(
        number_of_sections, {"section_spliter": "text", "num_sections": "count"}
    ),
    "detectable_format:json_format": Rule(is_json, {}),
    "detectable_format:title": Rule(has_title, {}),
    "combination:two_responses": Rule(two_responses, {}),
    "combination:repeat_prompt": Rule(repeats_prompt, {"prompt_to_repeat": "text"}),
    "startend:end_checker": Rule(ends_with, {"end_phrase": "text"}),
    "startend:quotation": Rule(is_quoted, {}),
    "change_case:capital_word_frequency": Rule(
        capital_word_frequency, {"capital_frequency": "count", "capital_relation": "relation"}
    ),
    "change_case:english_capital": Rule(all_capitals, {}),
    "change_case:english_lowercase": Rule(all_lowercase, {}),
    "punctuation:no_comma": Rule(no_comma, {}),
}
