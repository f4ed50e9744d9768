"""The queries of `stillhouse demo`: small questions that a model of 135M parameters answers right now and then.

In: a seed. Out: 72 queries over math, science and if, with their references, and six deliberately bad rows that curate
has to find. EXAMPLES and DIRECT: worked examples for two honest teachers over the one embedded model.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from stillhouse.records import Message, Query

AVOID = Path(__file__).with_name("demo_avoid.jsonl")  # a benchmark of three questions; two bad rows leak from it
NAMES = ("Tom", "Mia", "Sam", "Ann", "Leo", "Eva", "Ben", "Zoe")
THINGS = ("apples", "books", "coins", "cards", "eggs", "pens", "shells", "stamps")
WORDS = ("river", "table", "window", "garden", "pencil", "flower", "bridge", "candle", "rocket", "castle")
FACTS = (
    ("Which animal can fly?", "eagle", ("horse", "shark")),
    ("Which of these is a planet?", "Mars", ("Paris", "Amazon")),
    ("Which of these is a fruit?", "banana", ("carrot", "potato")),
    ("What is the capital of France?", "Paris", ("Rome", "Madrid")),
    ("What is ice made of?", "water", ("sand", "oil")),
    ("Which animal lays eggs?", "hen", ("dog", "cow")),
    ("Which part of the body pumps blood?", "heart", ("bone", "skin")),
    ("Which gas do people need to breathe?", "oxygen", ("helium", "neon")),
    ("Which metal does a magnet attract?", "iron", ("gold", "copper")),
    ("What do plants need to grow?", "sunlight", ("plastic", "salt")),
    ("Which of these is hot?", "fire", ("snow", "ice")),
    ("Which season is the coldest?", "winter", ("summer", "spring")),
)
Made = tuple[str, dict[str, Any]]  # the text, and the fields of its reference


def _add(dice: random.Random) -> Made:
    a, b = dice.randint(3, 9), dice.randint(3, 9)
    return f"What is {a} + {b}?", {"ground_truth": str(a + b)}


def _add_tens(dice: random.Random) -> Made:
    a, b = 10 * dice.randint(1, 8), dice.randint(1, 9)
    return f"What is {a} + {b}?", {"ground_truth": str(a + b)}


def _add_two_digits(dice: random.Random) -> Made:
    a, b = dice.randint(11, 30), dice.randint(11, 30)
    return f"What is {a} + {b}?", {"ground_truth": str(a + b)}


def _times(dice: random.Random) -> Made:
    a, b = dice.randint(3, 9), dice.randint(3, 9)
    return f"What is {a} times {b}?", {"ground_truth": str(a * b)}


def _times_two_digits(dice: random.Random) -> Made:
    a, b = dice.randint(11, 15), dice.randint(2, 6)
    return f"What is {a} times {b}?", {"ground_truth": str(a * b)}


def _minus(dice: random.Random) -> Made:
    a, b = dice.randint(6, 9), dice.randint(2, 5)
    return f"What is {a} - {b}?", {"ground_truth": str(a - b)}


def _equation(dice: random.Random) -> Made:
    x, a = dice.randint(2, 9), dice.choice((2, 3, 5))
    return f"Solve for x: x + {a} = {x + a}", {"ground_truth": str(x)}


def _gets_more(dice: random.Random) -> Made:
    a, b, thing = dice.randint(3, 9), dice.randint(3, 9), dice.choice(THINGS)
    text = f"{dice.choice(NAMES)} has {a} {thing} and gets {b} more. How many {thing} is that?"
    return text, {"ground_truth": str(a + b)}


def _gives_away(dice: random.Random) -> Made:
    a, b, thing = dice.randint(6, 9), dice.randint(2, 5), dice.choice(THINGS)
    text = f"{dice.choice(NAMES)} has {a} {thing} and gives away {b}. How many {thing} are left?"
    return text, {"ground_truth": str(a - b)}


def _in_boxes(dice: random.Random) -> Made:
    a, b, thing = dice.randint(2, 6), dice.randint(2, 6), dice.choice(THINGS)
    return f"There are {a} boxes with {b} {thing} in each. How many {thing} are there?", {"ground_truth": str(a * b)}


def _choice(options: int) -> Callable[[random.Random], Made]:
    def make(dice: random.Random) -> Made:
        question, right, wrong = dice.choice(FACTS)
        offered = dice.sample([right, *wrong[: options - 1]], options)
        lines = [f"{letter}. {option}" for letter, option in zip("ABC", offered, strict=False)]
        return "\n".join([question, *lines]), {"ground_truth": "ABC"[offered.index(right)]}

    return make


def _constrained(text: str, **constraints: dict[str, Any]) -> Made:
    """constraints: id with its colon as two underscores -> kwargs."""
    ids = [name.replace("__", ":") for name in constraints]
    return text, {"instruction_constrain": {"instruction_id_list": ids, "kwargs": list(constraints.values())}}


def _capitals(dice: random.Random) -> Made:
    word = dice.choice(WORDS)
    return _constrained(
        f"Write a sentence about a {word} in capital letters.",
        change_case__english_capital={},
        keywords__existence={"keywords": [word]},
    )


def _two_words(dice: random.Random) -> Made:
    words = dice.sample(WORDS, 2)
    return _constrained(
        f"Write a sentence with the words {words[0]} and {words[1]}.", keywords__existence={"keywords": words}
    )


def _no_comma(dice: random.Random) -> Made:
    words = dice.sample(WORDS, 2)
    return _constrained(
        f"Write a sentence about a {words[0]} and a {words[1]}. Use no commas.",
        punctuation__no_comma={},
        keywords__existence={"keywords": words},
    )


def _few_words(dice: random.Random) -> Made:
    word = dice.choice(WORDS)
    return _constrained(
        f"Write a sentence about a {word}. Use less than 10 words.",
        length_constraints__number_words={"num_words": 10, "relation": "less than"},
        keywords__existence={"keywords": [word]},
    )


KINDS: Mapping[str, tuple[str, int, Callable[[random.Random], Made]]] = {
    "add": ("math", 4, _add),
    "add tens": ("math", 5, _add_tens),
    "add two digits": ("math", 5, _add_two_digits),
    "times": ("math", 5, _times),
    "times two digits": ("math", 5, _times_two_digits),
    "minus": ("math", 5, _minus),
    "equation": ("math", 5, _equation),
    "gets more": ("math", 5, _gets_more),
    "gives away": ("math", 4, _gives_away),
    "in boxes": ("math", 5, _in_boxes),
    "choice of two": ("science", 6, _choice(2)),
    "choice of three": ("science", 4, _choice(3)),
    "capitals": ("if", 3, _capitals),
    "two words": ("if", 4, _two_words),
    "no comma": ("if", 4, _no_comma),
    "few words": ("if", 3, _few_words),
}  # 72 queries; a kind whose measured rate on both teachers was 0 or 1 is not among them, but for plain sums

# Nothing of these stands among the queries: the generators cannot make them (a test says so).
_MATH = (
    ("What is 2 + 11?", "2 + 11 = 13", "13"),
    ("Lily has 10 marbles and gives away 3. How many marbles are left?", "10 - 3 = 7", "7"),
    ("What is 2 times 12?", "2 * 12 = 24", "24"),
    ("Solve for x: x + 4 = 10", "x = 10 - 4 = 6", "6"),
    ("Lily has 10 marbles and gets 2 more. How many marbles is that?", "10 + 2 = 12", "12"),
)
_SCIENCE = (
    ("Which of these is a color?\nA. red\nB. milk", "A. red", "A"),
    ("What do bees make?\nA. milk\nB. honey", "B. honey", "B"),
    ("Which animal lives in water?\nA. goat\nB. lion\nC. fish", "C. fish", "C"),
)
_IF = (  # the last one shown weighs most with so small a model: the one in capitals comes first
    ("Write a sentence about a lamp in capital letters.", "THE LAMP IS ON THE DESK."),
    ("Write a sentence with the words tree and bird.", "A bird sits in the tree."),
    ("Write a sentence about a dog. Use less than 10 words.", "The dog runs fast."),
)


def _turn(user: str, assistant: str) -> dict[str, str]:
    return {"user": user, "assistant": assistant}


# For a teacher that is shown how to think first.
EXAMPLES: Mapping[str, list[dict[str, str]]] = {
    "math": [_turn(q, rf"<think>{t}</think><answer>\boxed{{{a}}}</answer>") for q, t, a in _MATH],
    "science": [_turn(q, f"<think>{t}</think><answer>{a}</answer>") for q, t, a in _SCIENCE],
    "if": [_turn(q, a) for q, a in _IF],
}
# For a teacher that is shown fewer, and answers at once.
DIRECT: Mapping[str, list[dict[str, str]]] = {
    "math": [_turn(q, rf"{t}, so the answer is \boxed{{{a}}}.") for q, t, a in (*_MATH[:2], _MATH[3])],
    "science": [_turn(q, a) for q, _, a in _SCIENCE[:1]],
    "if": [_turn(q, a) for q, a in _IF[:2]],
}


class Demo:
    """The demo's source. seed: another seed makes other queries of the same kinds. bad_rows: with the six of them.

    Terms are free (generated here). extra["kind"] names the kind.
    """

    terms = "yes"

    def __init__(self, seed: int = 7, bad_rows: bool = True) -> None:
        self.seed, self.bad_rows = seed, bad_rows

    def __call__(self) -> Iterator[Query]:
        dice, made = random.Random(self.seed), set[str]()
        first: Query | None = None
        for kind, (category, count, make) in KINDS.items():
            number = 0
            while number < count:
                text, fields = make(dice)
                question = text.partition("\n")[0]  # no question twice, be it with other options
                if question not in made:
                    made.add(question)
                    number += 1
                    query = _query(f"{kind.replace(' ', '-')}-{number}", category, text, kind, fields)
                    first = first or query
                    yield query
        if self.bad_rows and first is not None:
            yield from _bad_rows(first)


def _query(name: str, category: str, text: str, kind: str, fields: Mapping[str, Any]) -> Query:
    messages = (Message("user", text),) if text else ()
    return Query(messages, category, id=name, source="demo", origin=f"demo:{name}", extra={"kind": kind}, **fields)


def _bad_rows(first: Query) -> Iterator[Query]:
    """What no pool is free of: each is to be rejected by curate, with its rule."""
    reference = {"ground_truth": "6"}
    rows: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("bad-duplicate", f"  {first.text}\n", {"ground_truth": first.ground_truth}),
        ("bad-url", "See https://example.org/task and say what the sum of its numbers is.", reference),
        ("bad-unfinished", "A farmer has 3 fields with 2 cows in each, and then he buys...", reference),
        ("bad-no-text", "", reference),
        ("bad-leaked", "A BAKER makes 3 trays, with 2 loaves on each tray!  How many loaves does she make?", reference),
        ("bad-no-reference", "Which number is twice as large as 3?", {}),
    )
    for name, text, fields in rows:
        yield _query(name, "math", text, "bad", fields)
