"""A run folder made by a seeded generator, in the layout that distill and filter leave: for tests and bench.

It resembles no real teacher; its counts are what `Made` says, so that tests can check figures against them.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stillhouse.records import Message, Part, Price, Query, Response, TeacherSpec, content_hash, response_key
from stillhouse.store.journal import Journal
from stillhouse.store.tables import (
    FILTERED,
    QUERIES,
    REJECTED,
    RESPONSES,
    query_to_row,
    response_to_row,
    write_rows,
)
from stillhouse.store.verdicts import VerdictLog, VerdictRow

CATEGORIES = ("math", "code", "science")
WORDS = "the sum of two numbers is found by adding them so we check each case".split()  # noqa: SIM905  reads as the text it is


@dataclass
class MadeTeacher:
    name: str
    skill: float = 0.6
    length: float = 60.0
    price: float | None = 1e-6
    terms: str = "yes"
    waiting: float = 0.0
    unverified: bool = False
    thinking: str = "optional"


@dataclass
class Made:
    """What was made: the folder, the specs, the pair rows and the replies of each teacher."""

    folder: Path
    specs: list[TeacherSpec]
    queries: list[Query]
    pairs: list[dict[str, Any]]
    replies: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def word_tokens(texts: Any) -> list[int]:
    """A tokenizer for tests: blank-separated words."""
    return [len(text.split()) for text in texts]


class Words:
    """The same as a part, for processes of an engine."""

    def __call__(self, texts: Any) -> list[int]:
        return word_tokens(texts)


def make_run(
    folder: Path,
    teachers: tuple[MadeTeacher, ...] = (MadeTeacher("am", 0.75, 80), MadeTeacher("qwen", 0.55, 50)),
    *,
    queries: int = 120,
    attempts: int = 4,
    seed: int = 1,
    drop_every: int = 17,
    words: float = 1.0,
    hostile: str | None = None,
    names: str = "",
) -> Made:
    """names: a text that stands in every id, source, category, rule and reason too."""
    random = np.random.default_rng(seed)
    made_queries = sorted((_query(n, hostile, names) for n in range(queries)), key=lambda q: q.key)
    hardness = random.normal(0, 1, queries)
    made = Made(folder, [_spec(t) for t in teachers], made_queries, [])
    for teacher in teachers:
        made.replies[teacher.name] = _ask(teacher, made, hardness, attempts, random, words, hostile)
    _write(made, drop_every, names)
    return made


def _query(n: int, hostile: str | None, names: str = "") -> Query:
    text = f"Question {n}: what is {n} + {n % 7}?" + (f" {hostile}" if hostile else "")
    category, source = CATEGORIES[n % 3] + names, f"made-{n % 2}{names}"
    return Query((Message("user", text),), category, id=f"q{n}{names}", source=source, ground_truth=str(n + n % 7))


def _spec(teacher: MadeTeacher) -> TeacherSpec:
    price = None if teacher.price is None else Price(input=0.1, output=teacher.price * 1e6)
    return TeacherSpec(
        teacher.name,
        Part("made:teacher"),
        model=f"{teacher.name}-7b",
        price=price,
        terms=teacher.terms,  # type: ignore[arg-type]
        thinking=teacher.thinking,  # type: ignore[arg-type]
        licence="apache-2.0",
    )


def _ask(
    teacher: MadeTeacher,
    made: Made,
    hardness: np.ndarray[Any, Any],
    limit: int,
    random: np.random.Generator,
    words: float,
    hostile: str | None,
) -> list[dict[str, Any]]:
    replies: list[dict[str, Any]] = []
    identity = content_hash("identity", teacher.name)
    for query, hard in zip(made.queries, hardness, strict=True):
        chance = 1 / (1 + np.exp(-(np.log(teacher.skill / (1 - teacher.skill)) - hard)))
        mine: list[dict[str, Any]] = []
        waits = random.random() < teacher.waiting
        for attempt in range(1, limit + 1):
            size = int(words * teacher.length * np.exp(random.normal(0, 0.5) + 0.3 * hard)) + 3
            passed = bool(random.random() < chance) and not waits
            mine.append(_reply(teacher, query, identity, attempt, size, passed, hostile))
            if passed or waits:
                break
        replies += mine
        last = mine[-1]
        state = "waiting" if waits else "exhausted"
        if last["passed"]:
            state = "unverified" if teacher.unverified else "verified"
        made.pairs.append({
            "query": query.key, "category": query.category, "teacher": teacher.name, "identity": identity,
            "state": state, "attempts": len(mine), "first_outcome": _outcome(mine[0], waits),
            "first_tokens": mine[0]["completion_tokens"], "first_response": mine[0]["key"],
            "passed_at": len(mine) if last["passed"] else None, "response": last["key"] if last["passed"] else None,
            "responses": len(mine), "unknown": int(waits), "truncated": 0,
            "cost_usd": None if teacher.price is None else sum(r["cost_usd"] for r in mine),
            "prompt_tokens": 20 * len(mine), "completion_tokens": sum(r["completion_tokens"] for r in mine),
        })  # fmt: skip
    return replies


def _outcome(reply: dict[str, Any], waits: bool) -> str:
    return "unknown" if waits else "pass" if reply["passed"] else "fail"


def _reply(
    teacher: MadeTeacher, query: Query, identity: str, attempt: int, size: int, passed: bool, hostile: str | None
) -> dict[str, Any]:
    thought = " ".join(WORDS[i % len(WORDS)] for i in range(size)) + (f" {hostile}" if hostile else "")
    answer = rf"\boxed{{{query.ground_truth if passed else 'wrong'}}}"
    text = f"<think>{thought}</think><answer>{answer}</answer>"
    cost = None if teacher.price is None else size * teacher.price
    return {
        "key": response_key(identity, query.prompt_key, attempt), "query": query.key, "teacher": teacher.name,
        "text": text, "prompt": query.prompt_key, "identity": identity, "attempt": attempt, "reasoning": None,
        "finish_reason": "stop", "prompt_tokens": 20, "completion_tokens": size, "thinking_tokens": None,
        "cached_tokens": None, "counted": False, "cost_usd": cost, "model": f"{teacher.name}-7b",
        "max_tokens": 32768, "seconds": 0.1, "created": 0.0, "thinking": teacher.thinking, "passed": passed,
    }  # fmt: skip


def _write(made: Made, drop_every: int, names: str = "") -> None:
    for part in ("1-queries", "2-responses", "3-verdicts", "4-filters"):
        (made.folder / part).mkdir(parents=True, exist_ok=True)
    write_rows(made.folder / "1-queries" / "kept.parquet", map(query_to_row, made.queries), QUERIES)
    rejected = query_to_row(Query((Message("user", "what is 2 + 2"),), "math", id="r0", source="made-0"))
    rejected |= {"rule": "benchmark_ngram", "match": "what is 2 + 2", "match_source": "bench"}
    write_rows(made.folder / "1-queries" / "rejected.parquet", [rejected], REJECTED)
    hit = {"key": rejected["key"], "id": "r0", "source": "made-0", "rule": "benchmark_ngram", "match": "what is 2 + 2",
           "item": "bench-1", "item_text": "what is 2 + 2, asked the benchmark"}  # fmt: skip
    found = {"items": 40, "rejected": 1, "items_found": 1, "rules": {"benchmark_ngram": 1}, "hits": [hit]}
    hit |= {"id": f"r0{names}", "match": f"what is 2 + 2{names}", "item_text": f"asked the benchmark{names}"}
    told = {"benchmarks": {f"bench{names}": found}}
    (made.folder / "1-queries" / "contamination.json").write_text(json.dumps(told))
    pairs = sorted(made.pairs, key=lambda p: (p["teacher"], p["query"]))
    write_rows(made.folder / "3-verdicts" / "pairs.parquet", pairs, PAIRS)
    asyncio.run(write_journal(made))
    with VerdictLog(made.folder / "3-verdicts" / "log") as log:
        for reply in (r for replies in made.replies.values() for r in replies):
            log.append(_verdict(reply, names))
    for name, replies in made.replies.items():
        _write_accepted(made, name, replies, drop_every)


async def write_journal(made: Made) -> None:
    """Append the replies of a made run to its journal."""
    with Journal(made.folder / "2-responses") as journal:
        replies = [_response(r) for replies in made.replies.values() for r in replies]
        for start in range(0, len(replies), 500):
            await asyncio.gather(*(journal.reply(r, retry=0) for r in replies[start : start + 500]))


def _response(reply: dict[str, Any]) -> Response:
    return Response(**{k: v for k, v in reply.items() if k != "passed"})


def _verdict(reply: dict[str, Any], names: str = "") -> VerdictRow:
    passed = reply["passed"]
    return VerdictRow(
        query=reply["query"], prompt=reply["prompt"], teacher=reply["teacher"], identity=reply["identity"],
        attempt=reply["attempt"], response=reply["key"], verifier="math", version="1", reference="",
        outcome="pass" if passed else "fail", score=float(passed), rule=f"exact{names}",
        reason=("equal" if passed else "17 is not 18") + names,
    )  # fmt: skip


def _write_accepted(made: Made, name: str, replies: list[dict[str, Any]], drop_every: int) -> None:
    rows = sorted((r for r in replies if r["passed"]), key=lambda r: r["query"])
    accepted = [response_to_row(_response(r)) | {"verify_score": 1.0, "verify_rule": "exact"} for r in rows]
    write_rows(made.folder / "2-responses" / f"accepted-{name}.parquet", accepted, ACCEPTED)
    dropped = [
        {"query": r["query"], "response": r["key"], "filter": "repetition", "outcome": "fail", "score": 0.0,
         "rule": "back_to_back", "reason": "made"}
        for n, r in enumerate(rows) if drop_every and n % drop_every == 0
    ]  # fmt: skip
    perplexed = [
        {"query": r["query"], "response": r["key"], "filter": "perplexity", "outcome": "pass",
         "score": 2.0 + n % 5 / 10, "rule": "perplexity", "reason": ""}
        for n, r in enumerate(rows)
    ]  # fmt: skip
    write_rows(made.folder / "4-filters" / f"{name}.parquet", dropped + perplexed, FILTERED)


ACCEPTED = pa.schema([*RESPONSES, pa.field("verify_score", pa.float64()), pa.field("verify_rule", pa.string())])
PAIRS = pa.schema([
    ("query", pa.string()), ("category", pa.string()), ("teacher", pa.string()), ("identity", pa.string()),
    ("state", pa.string()), ("attempts", pa.int32()), ("first_outcome", pa.string()), ("first_tokens", pa.int64()),
    ("first_response", pa.string()), ("passed_at", pa.int32()), ("response", pa.string()), ("responses", pa.int32()),
    ("unknown", pa.int32()), ("truncated", pa.int32()), ("cost_usd", pa.float64()), ("prompt_tokens", pa.int64()),
    ("completion_tokens", pa.int64()),
])  # fmt: skip
