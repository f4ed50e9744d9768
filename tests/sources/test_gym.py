"""Claims about procedural tasks: one seed gives one set of queries, each with its answer."""

import pytest

from stillhouse.records import Part, UserMistake

pytest.importorskip("reasoning_gym")


@pytest.mark.slow
def test_a_seed_gives_the_same_queries_with_their_answers() -> None:
    def queries(**settings: object) -> list[tuple[str, str | None]]:
        part = Part("stillhouse.sources.gym:Gym", {"task": "chain_sum", "limit": 5, **settings})
        return [(query.text, query.ground_truth) for query in part.build()()]

    first = queries(seed=3)
    assert len(first) == 5 and first == queries(seed=3) != queries(seed=4)
    assert all(answer and answer.lstrip("-").isdigit() for _, answer in first)
    assert queries(seed=3, min_digits=4, max_digits=4) != first


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "says"),
    [({"task": "chain_sums"}, "did you mean 'chain_sum'"), ({"task": "chain_sum", "colour": 1}, "does not take")],
)
def test_an_unknown_task_or_setting_is_told(settings: dict[str, object], says: str) -> None:
    with pytest.raises(UserMistake, match=says):
        list(Part("stillhouse.sources.gym:Gym", settings).build()())


def test_an_unknown_category_is_told_at_once() -> None:
    with pytest.raises(UserMistake, match="did you mean 'math'"):
        Part("stillhouse.sources.gym:Gym", {"task": "chain_sum", "category": "maths"}).build()
