import json

import pytest

from stillhouse.records import UserMistake
from stillhouse.students.chat import Chat

PLAIN = "{% for m in messages %}{{ m.content }}<|end|>{% endfor %}"


def test_a_folder_is_read_without_the_trainer_installed(student_folder):
    chat = Chat.load(student_folder)
    assert chat.render([{"role": "user", "content": "hi"}], generate=True) == (
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert chat.end == "<|im_end|>"
    assert chat.decode(chat.encode(["naïve 数 <|im_end|>"])[0]) == "naïve 数 <|im_end|>"
    assert chat.encode(["<|im_end|>"])[0].tolist() == [chat.end_token]


@pytest.mark.parametrize("beside", [True, False])
def test_a_template_beside_the_settings_comes_first(student_folder, beside):
    if beside:
        (student_folder / "chat_template.jinja").write_text(PLAIN)
    assert Chat.load(student_folder).end == ("<|end|>" if beside else "<|im_end|>")


def test_of_named_templates_the_default_is_taken(student_folder):
    file = student_folder / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    named = [{"name": "tool", "template": "x"}, {"name": "default", "template": settings["chat_template"]}]
    file.write_text(json.dumps(settings | {"chat_template": named}))
    assert "<|im_start|>user" in Chat.load(student_folder).render([{"role": "user", "content": "hi"}])


@pytest.mark.parametrize(
    ("template", "end"),
    [
        ("keeps_inline_drops_field", "<|im_end|>"),
        ("strips_earlier_thoughts", "<|im_end|>"),
        ("drops_every_thought", "<|end|>"),
    ],
)
def test_the_end_of_a_turn_is_what_the_template_writes_there(chat_with, template, end):
    assert chat_with(template).end == end


def test_generation_marks_are_read_over(chat_with):
    chat = chat_with("{% for m in messages %}{% generation %}{{ m.content }}{%- endgeneration -%}<|end|>{% endfor %}")
    assert chat.render([{"role": "user", "content": "hi"}]) == "hi<|end|>"


@pytest.mark.parametrize(
    ("template", "word"),
    [
        ("{% if %}", "not valid jinja"),
        ("{{ raise_exception('no system role') }}<|end|>", "no system role"),
        ("{{ messages.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
    ],
)
def test_a_template_that_fails_or_reaches_out_is_told(chat_with, template, word):
    with pytest.raises(UserMistake, match=word):
        chat_with(template)


def test_what_is_missing_is_told_with_what_to_do(tmp_path, student_folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserMistake, match=r"tokenizer\.json"):
        Chat.load(tmp_path / "empty")
    (student_folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(UserMistake, match="no chat template"):
        Chat.load(student_folder)
    assert Chat.load(student_folder, template=PLAIN).end == "<|end|>"
