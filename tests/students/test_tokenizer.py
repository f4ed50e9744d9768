import numpy as np

from stillhouse.students.tokenizer import Tokenizer


def test_counts_numbers_and_text_agree(student_folder):
    tokenizer = Tokenizer(str(student_folder))
    texts = ["", "naïve 数", "a <|im_end|> b", "x" * 1000]
    numbers = tokenizer.encode(texts)
    assert tokenizer(texts) == [len(n) for n in numbers]
    assert [tokenizer.decode(n.tolist()) for n in numbers] == texts
    assert numbers[0].dtype == np.uint32
    assert tokenizer.name == str(student_folder)


def test_control_tokens_in_a_text_count_as_the_words_that_they_are(student_folder):
    assert Tokenizer(str(student_folder))(["<|im_end|>"]) == [10]


def test_lone_surrogates_are_counted_and_nothing_fails(student_folder):
    assert Tokenizer(str(student_folder))(["a\ud800b"])[0] >= 2


def test_a_gguf_file_has_a_tokenizer_too(tiny_gguf):
    assert Tokenizer(str(tiny_gguf))(["12 a"]) == [4]
