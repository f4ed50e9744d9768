"""Names and sentences of people and models as text of the page: escaped, of bounded length, nothing invisible.

In: any text. Out: HTML or plain text. Control characters, overrides of direction and what XML does not admit become
visible signs, so that a name can neither break an SVG file nor turn the line that it stands in.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any

LONGEST = 160  # characters of a name in running text; the whole stands in the traces and in report.json


def _signs() -> dict[int, str]:
    signs = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n"}
    signs[0x7F] = "\u2421"
    invisible = [*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2028, 0x2029, 0xFEFF]
    invisible += [*range(0xD800, 0xE000), 0xFFFE, 0xFFFF]  # lone surrogates and what is no character
    return signs | {code: f"‹U+{code:04X}›" for code in invisible}


_SIGNS = _signs()


def visible(text: str) -> str:
    """The text with every control character and override of direction as a sign that can be seen."""
    return text.replace("\r\n", "\n").translate(_SIGNS)


def shorten(text: str, most: int) -> str:
    """At most `most` characters, the last an ellipsis where something was left out."""
    return text if len(text) <= most else text[: max(most - 1, 1)] + "…"


def words(text: Any, most: int = LONGEST) -> str:
    """A name, a rule or a reason as HTML. What is None is a dash."""
    return "–" if text is None or text == "" else escape(shorten(visible(str(text)), most))


def isolated(text: Any, most: int = LONGEST) -> str:
    """The same in an element of its own, so that its direction does not turn what stands beside it."""
    return f"<bdi>{words(text, most)}</bdi>"


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 query`, `1,200 queries`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def joined_units(sentence: str) -> str:
    """The sentence with its numbers tied to the percent sign or the word that follows, so that no line parts them."""
    return re.sub(r"(\d) (%|points|queries)", "\\1\u00a0\\2", sentence)


def spoken(rule: str) -> str:
    """A rule's name as words."""
    return rule.replace("_", " ")
