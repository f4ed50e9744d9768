"""TRL run for real, on a model of some ten thousand weights and the CPU."""

import json

import pytest

pytest.importorskip("trl")

from stillhouse.records import UserMistake
from stillhouse.students.trl_trainer import Trl

CPU = {"attn_implementation": "sdpa", "packing": False, "bf16": False, "use_cpu": True, "dtype": "float32",
       "optim": "adamw_torch", "gradient_checkpointing": False, "save_steps": 2, "learning_rate": 5.0e-3}  # fmt: skip


@pytest.fixture
def base(student_folder):
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(student_folder)
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, num_hidden_layers=1,
                         num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=512)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(student_folder)
    return student_folder


@pytest.mark.slow
def test_trl_trains_leaves_the_same_records_and_goes_on_where_it_was_stopped(base, tmp_path, dataset_row):
    rows = [dataset_row(key=f"{i:032x}", question=f"{i} + 1?", thinking="so", answer=str(i + 1)) for i in range(8)]
    settings = {"base": str(base), "batch": 2, "epochs": 2.0, "max_tokens": 600, "config": CPU}
    folder = tmp_path / "seed-1"
    plan = Trl(**settings).train(rows, folder, name="am", seed=1, lengths=[300] * 8)
    curve = [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]
    assert plan["done"]
    assert [row["step"] for row in curve] == list(range(1, 9))
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert Trl(**settings).train(rows, folder, name="am", seed=1, lengths=[300] * 8) == plan
    (folder / "plan.json").write_text(json.dumps({**plan, "done": False}))
    again = Trl(**settings).train(rows, folder, name="am", seed=1, lengths=[300] * 8)
    assert again["done"]
    assert "--resume_from_checkpoint" not in (folder / "sft.yaml").read_text()
    assert [json.loads(line)["loss"] for line in (folder / "losses.jsonl").read_text().splitlines()] == [
        row["loss"] for row in curve
    ]


def test_packing_without_flash_attention_is_refused(student_folder):
    with pytest.raises(UserMistake, match="flash attention alone"):
        Trl(base=str(student_folder), config={"attn_implementation": "sdpa"})


@pytest.mark.slow
def test_what_trl_said_last_is_told(student_folder, tmp_path, dataset_row):
    """There is no model in the folder."""
    trainer = Trl(base=str(student_folder), max_tokens=600, config=CPU, batch=2)
    with pytest.raises(UserMistake, match="TRL ended with 1"):
        trainer.train([dataset_row()], tmp_path / "s", name="am", seed=1, lengths=[300])
