import numpy as np
import pytest

from stillhouse.records import UserMistake
from stillhouse.students.chat import Chat
from stillhouse.students.gguf_files import open_gguf, weights_of, write_gguf

pytest.importorskip("gguf")


def test_a_file_written_like_another_reads_the_same_within_its_quantisation(tiny_gguf, tmp_path):
    weights = weights_of(open_gguf(tiny_gguf))
    write_gguf(tiny_gguf, weights, tmp_path / "again.gguf", name="again")
    again = open_gguf(tmp_path / "again.gguf")
    for name, value in weights_of(again).items():
        step = np.abs(weights[name]).max() / 127
        np.testing.assert_allclose(value, weights[name], atol=step if value.ndim == 2 else 0)
    assert again.fields["general.name"].contents() == "again"
    before = open_gguf(tiny_gguf)
    same = set(before.fields) - {"general.name"}
    assert all(again.fields[n].contents() == before.fields[n].contents() for n in same if not n.startswith("GGUF."))


def test_the_rows_of_q_and_k_come_back_in_their_order(tiny_gguf, tmp_path):
    """Q8_0 of whole multiples of a step is exact, so that an order lost on the way would show."""
    weights = weights_of(open_gguf(tiny_gguf))
    for name, value in weights.items():
        if value.ndim == 2:
            weights[name] = (np.arange(value.size, dtype=np.float32).reshape(value.shape) % 255) - 127
    write_gguf(tiny_gguf, weights, tmp_path / "exact.gguf", name="exact")
    again = weights_of(open_gguf(tmp_path / "exact.gguf"))
    for name, value in again.items():
        np.testing.assert_allclose(value, weights[name], atol=0.6)
        assert name.endswith("norm.weight") or np.corrcoef(value[:, 0], weights[name][:, 0])[0, 1] > 0.999


@pytest.mark.slow
def test_weights_are_those_that_transformers_reads(tiny_gguf):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(str(tiny_gguf.parent), gguf_file=tiny_gguf.name)
    state = theirs.state_dict()
    for name, value in weights_of(open_gguf(tiny_gguf)).items():
        np.testing.assert_array_equal(value, state[name].float().numpy())


def test_the_tokenizer_splits_digits_and_knows_its_control_tokens(tiny_gguf):
    chat = Chat.load(tiny_gguf)
    text = "x = 1234 naïve <|im_end|>"
    assert chat.decode(chat.encode([text])[0]) == text
    assert chat.control_in("a <|im_end|>") == "<|im_end|>"
    assert chat.end == "<|im_end|>"


@pytest.mark.parametrize("text", [b"", b"GGUF", b"not a model at all" * 10])
def test_what_is_no_model_is_told(tmp_path, text):
    (tmp_path / "x.gguf").write_bytes(text)
    with pytest.raises(UserMistake, match="no readable GGUF"):
        open_gguf(tmp_path / "x.gguf")
    with pytest.raises(UserMistake, match="no model file"):
        open_gguf(tmp_path / "nowhere.gguf")


def test_a_missing_weight_is_no_silent_hole(tiny_gguf, tmp_path):
    weights = weights_of(open_gguf(tiny_gguf))
    weights.pop("model.norm.weight")
    with pytest.raises(ValueError, match=r"model\.norm\.weight"):
        write_gguf(tiny_gguf, weights, tmp_path / "x.gguf", name="x")
    assert not (tmp_path / "x.gguf").exists()
