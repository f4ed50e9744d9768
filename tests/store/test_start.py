"""Claims about what a run reads before it asks: in pieces it is the same as at once, and it needs little memory."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.store.index import SortedKeys, by_key, is_among
from stillhouse.store.known import COLUMNS, Known, load_known, verdicts_by_reply
from stillhouse.store.pairs import TRUNCATED_RULE, Pairs
from stillhouse.store.tables import VERDICTS, TableWriter
from stillhouse.store.verdicts import VerdictLog, VerdictRow, load_verdicts

# few different halves, so that keys share one, the other or both
KEYS = st.lists(st.tuples(st.sampled_from("ab\0"), st.sampled_from("xy\0")).map(lambda k: k[0] * 8 + k[1] * 8))


def raw(keys: list[str]) -> np.ndarray:
    return np.array([key.encode() for key in keys], "S16")


@given(KEYS, KEYS)
def test_keys_are_sorted_and_found_as_their_bytes_are(held: list[str], wanted: list[str]) -> None:
    keys = raw(held)
    order, new = by_key(keys)
    assert order.tolist() == np.argsort(keys, kind="stable").tolist()
    distinct = np.unique(keys)
    assert keys[order[new]].tolist() == distinct.tolist()
    found = SortedKeys(keys[order]).find(raw(wanted))
    assert found.tolist() == [keys[order].tolist().index(k) if k in keys else -1 for k in raw(wanted).tolist()]
    assert is_among(raw(wanted), keys).tolist() == np.isin(raw(wanted), keys).tolist()


def verdict(number: int, **more: object) -> VerdictRow:
    query, by = f"{number // 3:032x}", ("math", "structure")[number % 5 == 0]
    given: dict[str, object] = {
        "query": query, "prompt": query, "teacher": "t", "identity": f"{number % 2:032x}", "attempt": number % 3 + 1,
        "response": f"{number % 7000:032x}", "verifier": by, "version": str(number % 3), "reference": query,
        "outcome": ("pass", "fail", "unknown")[number % 3], "score": None if number % 4 else 1.0,
        "rule": ("exact", "truncated")[number % 11 == 0], "transient": number % 13 == 0,
    }  # fmt: skip
    return VerdictRow(**given | more)  # type: ignore[arg-type]


def told(known: Known) -> dict[str, str]:
    return {f.name: repr(np.asarray(getattr(known, f.name)).tolist()) for f in fields(known)}


def test_verdicts_read_in_pieces_count_as_those_read_at_once(tmp_path: Path) -> None:
    with TableWriter(tmp_path / "1.verdicts.parquet", VERDICTS) as out:
        for number in range(20_000):
            row = verdict(number)
            out.add({name: getattr(row, name) for name in VERDICTS.names})
    frozen, today = {"math": "1", "structure": "0"}, {"math": "2", "structure": "0"}
    with VerdictLog(tmp_path, name="live") as log:  # later verdicts, which are still being written
        for number in range(3000, 5000):
            log.append(verdict(number, outcome="pass", version="1"))
        log.flush()
        at_once = verdicts_by_reply(load_verdicts(tmp_path, every=True, columns=COLUMNS), frozen, today)
        assert told(load_known(tmp_path, frozen, today)) == told(at_once)
    assert told(load_known(tmp_path, frozen, today)) == told(at_once)
    assert 5000 < len(at_once) <= 7000
    assert len(load_known(tmp_path / "none", frozen, today)) == 0
    cut = at_once.rule.among(np.array([TRUNCATED_RULE], object))
    assert cut.tolist() == [rule == TRUNCATED_RULE for rule in at_once.rule]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 8), st.sampled_from(["pass", "fail", "unknown"])),
                unique_by=lambda row: row[:2]), st.integers(0, 30))  # fmt: skip
def test_pairs_take_verdicts_over_in_pieces(rows: list[tuple[int, int, str]], at: int) -> None:
    def load(pairs: Pairs, part: list[tuple[int, int, str]]) -> None:
        positions, attempts = np.array([r[0] for r in part], np.int64), np.array([r[1] for r in part], np.int64)
        pairs.load(positions, attempts, np.array([r[2] for r in part], object), np.array(["x"] * len(part), object))

    whole, pieces = Pairs(4, 8), Pairs(4, 8)
    load(whole, rows)
    load(pieces, rows[at:])
    load(pieces, rows[:at])
    assert pieces.states().tolist() == whole.states().tolist()
    assert pieces.passed_at.tolist() == whole.passed_at.tolist()
    earliest = [min((a for p, a, o in rows if p == position and o == "pass"), default=0) for position in range(4)]
    assert whole.passed_at.tolist() == earliest


def test_arrow_does_without_pandas_and_works(tmp_path: Path) -> None:
    (tmp_path / "pandas.py").write_text("raise SystemExit('pandas was imported')")
    script = (
        "from stillhouse.store.memory import hand_back, without_pandas\n"
        "import sys, pyarrow as pa\n"
        "without_pandas()\n"
        "assert pa.array(['a', None]).to_pylist() == ['a', None]\n"
        "assert pa.table({'x': [1, 2]}).to_pylist()[1] == {'x': 2}\n"
        "hand_back()\n"
        "assert 'pandas' not in sys.modules\n"
        "try:\n    import pandas\nexcept SystemExit:\n    print('found again')\n"
    )
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{script}"]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout == "found again\n"
