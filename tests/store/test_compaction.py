"""Claims about compaction: parquet says exactly what the segment says, and only then may the segment go."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stillhouse.records import Fault, Request, Response
from stillhouse.store import compaction
from stillhouse.store.compacted import JOURNAL, row_of, table_of
from stillhouse.store.compaction import CompactionError, compact
from stillhouse.store.entries import Entry
from stillhouse.store.index import Index, load_index
from stillhouse.store.journal import Journal
from stillhouse.store.reading import read_entries, read_responses
from stillhouse.store.segments import INDEX, PARQUET, SEGMENT
from stillhouse.store.tables import to_table

Ask, Answer = Callable[..., Request], Callable[..., Response]


@pytest.fixture
def folder(tmp_path: Path, ask: Ask, answer: Answer) -> Path:
    """Two sealed segments with every kind of record, and some that columns cannot hold."""
    odd = [
        answer(ask(70), text="\ud800"), answer(ask(71), prompt_tokens=10**30), answer(ask(72), reasoning="r" * 500_000),
        answer(ask(73), thinking_tokens=5, cached_tokens=0, counted=True, cost_usd=None, seconds=1.25),
    ]  # fmt: skip

    async def write(numbers: range, more: list[Response]) -> None:
        with Journal(tmp_path) as journal:
            for number in numbers:
                journal.intent(ask(number, bound_usd=None if number % 2 else 0.5), retry=0)
                if number % 3 == 0:
                    fault = Fault("rate_limited", "slow \u00e9", status=429, retry_after=1.5, raw="\0")
                    await journal.fault(ask(number), fault, retry=0)
            await asyncio.gather(*(journal.reply(answer(ask(n)), retry=n) for n in numbers))
            await asyncio.gather(*(journal.reply(response, retry=0, purpose="judge") for response in more))

    asyncio.run(write(range(10), []))
    asyncio.run(write(range(10, 30), odd))
    return tmp_path


def names(folder: Path, suffix: str) -> list[str]:
    return sorted(p.name.removesuffix(suffix) for p in folder.glob(f"*{suffix}"))


def columns(index: Index) -> dict[str, list[object]]:
    plain = ("query", "key", "kind", "frame", "line", "created", "teacher", "purpose", "label", "retry", "segment")
    return {name: getattr(index, name).tolist() for name in plain}


@pytest.mark.parametrize("remove", [False, True])
def test_what_is_compacted_reads_the_same(folder: Path, remove: bool) -> None:
    entries, before = list(read_entries(folder)), load_index(folder)
    responses = list(read_responses(before, before.rows()))
    segments = names(folder, SEGMENT)
    assert [p.name.removesuffix(PARQUET) for p in compact(folder, remove=remove)] == segments
    assert names(folder, PARQUET) == names(folder, INDEX) == segments
    assert names(folder, SEGMENT) == ([] if remove else segments)
    after = load_index(folder)
    assert list(read_entries(folder)) == entries
    assert columns(after) == columns(before)
    for index in (before, after):  # one that was loaded before the segments went, too
        assert list(read_responses(index, index.rows())) == responses
    assert compact(folder, remove=remove) == []
    Journal(folder).close()
    assert columns(load_index(folder)) == columns(before)


def test_a_typed_column_holds_every_field_and_json_only_what_columns_cannot(folder: Path) -> None:
    compact(folder)
    rows = [row for path in sorted(folder.glob(f"*{PARQUET}")) for row in pq.read_table(path).to_pylist()]
    assert sum(row["json"] is not None for row in rows) == 2
    fault = next(row for row in rows if row["record"] == "fault")
    assert (fault["fault_kind"], fault["fault_status"], fault["fault_maybe_paid"]) == ("rate_limited", 429, False)


def test_column_by_column_is_what_row_by_row_is(folder: Path) -> None:
    entries = list(read_entries(folder))
    assert table_of(entries).to_pylist() == to_table(map(row_of, entries), JOURNAL).to_pylist()
    plain = [entry for entry in entries if row_of(entry)["json"] is None]
    assert {entry.kind for entry in plain} == {"intent", "reply", "fault"}
    assert table_of(plain).equals(to_table(map(row_of, plain), JOURNAL))


def test_a_removed_segment_comes_back_from_its_parquet_though_the_index_is_lost(folder: Path) -> None:
    before = load_index(folder)
    compact(folder, remove=True)
    for path in folder.glob(f"*{INDEX}"):
        path.unlink()
    index = load_index(folder)
    assert columns(index) == columns(before)
    assert len(list(read_responses(index, index.rows()))) == len(before.rows())


def test_a_segment_is_removed_later_only_after_it_was_compared_again(folder: Path) -> None:
    compact(folder)
    (first, _) = sorted(folder.glob(f"*{PARQUET}"))
    table = pq.read_table(first)
    pq.write_table(table.slice(0, table.num_rows - 1), first)
    with pytest.raises(CompactionError, match="the segment stays"):
        compact(folder, remove=True)
    assert len(names(folder, SEGMENT)) == 2


def test_a_file_that_says_something_else_is_not_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = compaction.table_of

    def other(entries: Sequence[Entry]) -> pa.Table:
        table = real(entries)
        return table.set_column(table.column_names.index("retry"), "retry", pa.array([99] * len(table)))

    monkeypatch.setattr(compaction, "table_of", other)
    with pytest.raises(CompactionError):
        compact(folder, remove=True)
    assert len(names(folder, SEGMENT)) == 2
    assert names(folder, PARQUET) == []


def test_a_damaged_or_living_segment_is_never_removed(folder: Path) -> None:
    first, second = sorted(folder.glob(f"*{SEGMENT}"))
    data = bytearray(first.read_bytes())
    data[50] ^= 1
    first.write_bytes(data)
    first.with_suffix(INDEX).unlink()
    with Journal(folder) as journal:
        assert [d.offset for d in journal.damage] == [0]
        compact(folder, remove=True)
        assert names(folder, SEGMENT)[0] == first.name.removesuffix(SEGMENT)
        assert len(names(folder, SEGMENT)) == 2  # the damaged one, and the one being written
        assert second.with_suffix(PARQUET).exists()
