"""Hand-offs: parsed by the trainers' own classes where they are installed, else held against their known settings."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from stillhouse.records import UserMistake
from stillhouse.students.handoff import TRAINERS, Handoff, Plan, write_yaml
from stillhouse.students.rendering import SYSTEM_PROMPT, read_row

HERE = Path(__file__).parent / "trainers"
KNOWN = json.loads((HERE / "fields.json").read_text(encoding="utf-8"))
PLAN = Plan("am", samples=50_000, sequences=6_400, tokens=190_000_000)
EARLIER = (
    {"role": "user", "content": "2 + 2?"},
    {"role": "assistant", "content": "<think>old</think><answer>4</answer>"},
)
RESPONSE = "<think>\n7 and 9\nmake 16.\n</think>\n<answer>\n\\boxed{16}\n</answer>"


@pytest.fixture
def written(tmp_path, dataset_row):
    def write(trainer, plan=PLAN):
        command = Handoff(trainer)(plan, [read_row(dataset_row(before=EARLIER)), read_row(dataset_row())], tmp_path)
        return tmp_path, command

    return write


def config_of(folder: Path) -> dict:
    return yaml.safe_load(next(folder.glob("*sft.yaml")).read_text(encoding="utf-8"))


def first_line(folder: Path) -> dict:
    return json.loads((folder / "train.jsonl").read_text(encoding="utf-8").splitlines()[0])


def leaves(value, at=""):
    for key, inner in value.items():
        yield at + key
        if isinstance(inner, dict):
            yield from leaves(inner, f"{at}{key}.")


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("method", ["full", "lora"])
def test_every_key_is_a_setting_of_the_named_version(written, trainer, method):
    folder, _ = written(trainer, replace(PLAN, method=method))
    keys = set(leaves(config_of(folder))) if trainer == "verl" else set(config_of(folder))
    keys = {k for k in keys if k.split(".")[0] not in ("hydra", "defaults")}
    assert keys <= set(KNOWN[trainer]["fields"])
    assert Handoff(trainer).version == KNOWN[trainer]["version"]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_papers_numbers_stand_in_the_config(written, trainer):
    folder, command = written(trainer)
    numbers = [v for v in _values(config_of(folder)) if isinstance(v, int | float) and not isinstance(v, bool)]
    for expected in (8e-5, 2, 0.1, 1.0, 42, 0.95):
        assert expected in numbers
    assert {32768, 32769} & set(numbers)
    assert "32,768" in (folder / "README.md").read_text()
    assert command in (folder / "README.md").read_text()
    assert "200 steps" in (folder / "README.md").read_text()


def _values(value):
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            yield from _values(inner)
        else:
            yield inner


def test_each_turn_is_marked_as_its_trainer_reads_it(written):
    axolotl = first_line(written("axolotl")[0])["messages"]
    assert [(m["role"], m["train"]) for m in axolotl] == [
        ("system", False), ("user", False), ("assistant", False), ("user", False), ("assistant", True),
    ]  # fmt: skip
    assert axolotl[0]["content"] == SYSTEM_PROMPT
    assert axolotl[2]["content"] == "4"
    assert axolotl[-1]["content"] == RESPONSE
    trl = first_line(written("trl")[0])
    assert [m["role"] for m in trl["prompt"]] == ["system", "user", "assistant", "user"]
    assert trl["completion"] == [{"role": "assistant", "content": RESPONSE}]


def test_verl_counts_samples_so_it_gets_as_many_as_64_packed_sequences_hold(written):
    folder, _ = written("verl")
    assert config_of(folder)["data"]["train_batch_size"] == 512  # 64 * 50,000 / 6,400 = 500, shared by 32 GPUs


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_form_that_the_trainer_cannot_render_is_refused(written, trainer):
    with pytest.raises(UserMistake, match="append"):
        written(trainer, replace(PLAN, form="append"))


@pytest.mark.parametrize("trainer", ["axolotl", "trl", "verl"])
def test_a_template_of_ones_own_travels_along(written, trainer):
    folder, _ = written(trainer, replace(PLAN, template_text="{{ messages }}"))
    texts = [p.read_text() for p in folder.glob("*") if p.suffix in (".yaml", ".jinja")]
    assert any("{{ messages }}" in text for text in texts)


def test_mistakes_are_told(written):
    with pytest.raises(UserMistake, match="no hand-off to 'unsloth'"):
        Handoff("unsloth")
    with pytest.raises(UserMistake, match="64 sequences cannot be shared by 48 GPUs"):
        written("trl", replace(PLAN, gpus=48))


def test_small_floats_are_written_so_that_yaml_reads_numbers(tmp_path):
    write_yaml(tmp_path / "x.yaml", {"a": 8e-5, "b": 1e-7, "c": 2.0, "d": 1e20})
    assert yaml.safe_load((tmp_path / "x.yaml").read_text()) == {"a": 8e-5, "b": 1e-7, "c": 2.0, "d": 1e20}


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_trainers_own_classes_read_the_recipe_and_train_the_last_turn(written, student_folder, trainer):
    beside = os.environ.get("STILLHOUSE_TRAINERS")
    if trainer == "trl":
        pytest.importorskip("trl")
    elif not beside:
        pytest.skip(f"{trainer} is not installed: see tests/students/trainers/install.sh")
    (student_folder / "config.json").write_text('{"model_type": "llama"}')
    folder, _ = written(trainer)
    paths = "" if trainer == "trl" else f"{beside}/{trainer}:{beside}/light"
    env = os.environ | {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "USE_HF": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, HERE / "parse.py", trainer, folder, student_folder], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    out = json.loads(done.stdout.strip().splitlines()[-1])
    expected = {"base": "Qwen/Qwen2.5-32B", "method": "full", "max_tokens": 32768, "learning_rate": 8e-5,
                "schedule": "cosine", "epochs": 2, "betas": [0.9, 0.95], "weight_decay": 0.1, "clip": 1.0, "seed": 42,
                "packing": True}  # fmt: skip
    assert {key: out[key] for key in expected} == expected
    assert out["warmup"] == (10 if trainer == "llamafactory" else 0.05)
    assert out["samples"] == 512 if trainer == "verl" else out["accumulation"] * 32 == 64
    assert out["trained"].rstrip("\n").removesuffix("<|im_end|>") == RESPONSE
