"""A reply as the one text that students are trained on and lengths are counted of.

In: a reply's content, its separate thinking field, whether its teacher thinks. Out: think and answer blocks.
"""

from __future__ import annotations

from stillhouse.records import Response, normal_form


def rendered(thinking: str | None, answer: str) -> str:
    """The normal form as text; without a thought the answer block alone."""
    thought = "" if thinking is None else f"<think>\n{thinking}\n</think>\n"
    return f"{thought}<answer>\n{answer}\n</answer>"


def assistant_text(text: str, reasoning: str | None, thinking: str = "optional") -> str:
    """A reply in normal form; a malformed one as it came, its thinking field before it."""
    parts = normal_form(text, reasoning, "none" if thinking == "none" else "optional")
    if parts.malformed is not None:
        return text if not reasoning else f"<think>\n{reasoning}\n</think>\n{text}"
    return rendered(parts.thinking, parts.answer)


def response_text(response: Response) -> str:
    """The same of a Response."""
    return assistant_text(response.text, response.reasoning, response.thinking)
