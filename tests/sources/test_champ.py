"""Claims about the CHAMP problems as queries: all of them, each once, with references that are values."""

import pytest

pytest.importorskip("champ_dataset")

from stillhouse.sources.champ import Champ, value_of


def test_there_are_270_different_queries_with_references() -> None:
    queries = list(Champ()())
    assert len(queries) == len({query.key for query in queries}) == len({query.id for query in queries}) == 270
    assert {query.category for query in queries} == {"math"}
    assert all(query.ground_truth and query.text and query.origin for query in queries)
    assert {(query.extra or {})["topic"] for query in queries} == {
        "Combinatorics", "Inequality", "Number-Theory", "Polynomial", "Sequence",
    }  # fmt: skip


def test_a_limit_reads_so_many() -> None:
    assert [query.id for query in Champ(limit=2)()] == ["P_Combinatorics_1", "P_Combinatorics_2"]


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("239", "239"),
        ("C(10, 5), or equivalently 252", "C(10, 5), or equivalently 252"),
        ("0 is the only possible value", "0"),
        ("-3 is the only possible value", "-3"),
        ("100 (i.e., all values)", "100"),
        ("0 (none of the values)", "0"),
        ("At most 0 integer-valued zeros (i.e., no integer zeros)", "0"),
        ("98 values", "98"),
        ("n times", "n"),
        ("The limit exists and is equal to (a+3b)/2", "(a+3b)/2"),
        ("The limit does not exist", "The limit does not exist"),
        ("(x=1, y=2) and (x=2, y=1)", "(x=1, y=2) and (x=2, y=1)"),
        ("n(n-1)(n-2)", "n(n-1)(n-2)"),
    ],
)
def test_the_words_around_a_value_are_dropped_and_nothing_else(answer: str, value: str) -> None:
    assert value_of(answer) == value
