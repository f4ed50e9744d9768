"""Claims about the CHAMP teachers: four models, every setting, thinking and answer apart, never to be trained on."""

import asyncio

import pytest

from stillhouse.records import Message, Query, Response, UserMistake, query_key

pytest.importorskip("champ_dataset")

from stillhouse.teachers.champ import MODELS, SETTINGS, champ
from stillhouse.teachers.recorded import Recorded

INVOLUTIONS = "How many involutions are there on the set {1, 2, 3, 4, 5, 6}?"


def reply(teacher: Recorded, id: str) -> Response:
    query = Query((Message("user", "another wording"),), "math", id=id)
    return asyncio.run(teacher.send(teacher.request(query, 1)))


@pytest.mark.parametrize("model", MODELS)
def test_each_model_replied_to_each_problem_once(model: str) -> None:
    teacher = champ("c", model)
    assert teacher._rows().count == 270
    assert teacher.terms == "no" and teacher.model == f"{model}, 0-Shot"
    response = reply(teacher, "P_Combinatorics_2")
    assert response.reasoning and response.text and response.parts.malformed is None
    assert len(response.reasoning) > len(response.text)


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_has_every_problem(setting: str) -> None:
    for model in MODELS:
        teacher = champ("c", model, setting)
        assert teacher._rows().count == 270
        assert reply(teacher, "P_Sequence_7").parts.malformed is None or reply(teacher, "P_Sequence_7").truncated


def test_a_reply_that_ran_into_its_limit_is_truncated() -> None:
    teacher = champ("c", "GPT-3.5")
    rows = [reply(teacher, f"P_{topic}_{number}") for topic, most in (("Inequality", 50), ("Polynomial", 50))
            for number in range(1, most + 1)]  # fmt: skip
    assert {row.finish_reason for row in rows} == {"stop", "length"}
    assert all(row.text == "" for row in rows if row.truncated)


def test_a_wrong_model_or_setting_is_told_with_what_there_is() -> None:
    with pytest.raises(UserMistake) as caught:
        champ("c", "GPT4", "0-Shots")
    assert "did you mean 'GPT-4'?" in str(caught.value) and "did you mean '0-Shot'?" in str(caught.value)


def test_case_does_not_matter_in_the_names() -> None:
    assert champ("c", "gpt-4 turbo", "no c W/ h").model == "GPT-4 Turbo, No C w/ H"


def test_replies_are_found_by_the_problems_text() -> None:
    teacher = champ("c", "GPT-4")
    assert any(len(key) == len(query_key(())) for key in teacher._rows().places)
