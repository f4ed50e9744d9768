"""A student trained here, for real, on a model of some ten thousand weights."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from stillhouse.records import UserMistake
from stillhouse.students.local import Local, Schedule, laid
from stillhouse.students.local_model import Model, load
from stillhouse.students.trained import trained


def rows(count=24):
    return [
        {"key": f"{i:032x}", "thinking": f"I add {i} and {i % 5}.", "answer": str(i + i % 5),
         "messages": [{"role": "user", "content": f"{i} + {i % 5}?"}, {"role": "assistant", "content": ""}]}
        for i in range(count)
    ]  # fmt: skip


SHORT = {"system_prompt": "Think.", "max_tokens": 256, "threads": 1, "save_every": 3, "steps": 8, "learning_rate": 5e-3}


@pytest.fixture
def local(tiny_gguf):
    return lambda **changes: Local(str(tiny_gguf), **(SHORT | {"lora_rank": 4} | changes))


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "losses.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_student_learns_and_is_saved_as_it_was_trained(local, tmp_path, tiny_gguf, method):
    import torch

    students = tmp_path / "6-students"
    folder = students / "am" / "seed-1"
    plan = local(method=method).train(rows(), folder, name="am", seed=1)
    curve = losses(folder)
    assert len(curve) == plan["total_steps"] == 8
    assert curve[-1] < 0.8 * curve[0]
    assert plan["done"]
    (found,) = trained(students)
    assert (found.teacher, found.seed, found.gguf) == ("am", 1, folder / "student.gguf")
    base, student = load(str(tiny_gguf)), load(str(found.gguf))
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        assert (base(tokens).logits - student(tokens).logits).abs().max() > 0.1
    if method == "full":
        again = load(str(folder / "student"))
        with torch.no_grad():
            assert (again(tokens).logits - student(tokens).logits).abs().max() < 0.5
            assert torch.equal(again.model.embed_tokens.weight, base.model.embed_tokens.weight)


def test_the_adapter_is_one_that_peft_loads(local, tmp_path, tiny_gguf):
    peft = pytest.importorskip("peft")
    import torch

    local().train(rows(), tmp_path / "seed-1", name="am", seed=1)
    student = peft.PeftModel.from_pretrained(load(str(tiny_gguf)), str(tmp_path / "seed-1" / "student"))
    merged = load(str(tmp_path / "seed-1" / "student.gguf"))
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        gap = (student(tokens).logits - merged(tokens).logits).abs().max()
        assert gap < 0.1 * student(tokens).logits.abs().max()  # the GGUF is quantised to 8 bits


def test_samples_side_by_side_do_not_see_each_other_and_share_their_prefix(local, tiny_gguf):
    import torch

    trainer = local()
    samples = list(trainer.renderer.render(rows(6)))
    prefix, sequences = laid(samples, Schedule(sequence_tokens=2048))
    assert len(sequences) == 1
    assert prefix > 10
    model = Model(str(tiny_gguf), trainer.chat, method="lora", rank=2, seed=0, threads=1)
    with torch.no_grad():
        for adapter in model.adapters.values():
            adapter.lora_b.normal_(0, 0.1)
    grads = {}
    for name, batches in {"alone": ([s] for s in samples), "packed": [samples]}.items():
        for way in (0, prefix) if name == "packed" else (0,):
            total = sum((loss := model.loss(batch, way)).backward() or float(loss.detach()) for batch in list(batches))
            grads[name, way] = (total, [p.grad.clone() for p in model.trained.values()])
            for parameter in model.trained.values():
                parameter.grad = None
            batches = [samples]
    expected = grads.pop(("alone", 0))
    for total, gradient in grads.values():
        assert total == pytest.approx(expected[0], rel=1e-5)
        for mine, theirs in zip(gradient, expected[1], strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def test_the_same_seed_gives_the_same_student_and_another_another(local, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        local().train(rows(), tmp_path / name, name=name, seed=seed)
    assert losses(tmp_path / "a") == losses(tmp_path / "b") != losses(tmp_path / "c")


KILLED = """
import json, sys
from pathlib import Path
from stillhouse.students.local import Local
spec = json.loads(sys.argv[1])
Local(spec["base"], **spec["settings"]).train(spec["rows"], Path(spec["folder"]), name="am", seed=1)
"""


@pytest.mark.slow
def test_a_killed_training_goes_on_and_ends_as_if_it_had_not_been_killed(local, tmp_path, tiny_gguf):
    settings = SHORT | {"lora_rank": 4, "steps": 60, "export_gguf": False}
    whole = tmp_path / "whole"
    Local(str(tiny_gguf), **settings).train(rows(), whole, name="am", seed=1)
    cut = tmp_path / "cut"
    spec = {"base": str(tiny_gguf), "settings": settings, "rows": rows(), "folder": str(cut)}
    child = subprocess.Popen([sys.executable, "-c", KILLED, json.dumps(spec)], env=os.environ | {"PYTHONPATH": "src"})
    deadline = time.monotonic() + 120
    while not (cut / "checkpoint.pt").exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not json.loads((cut / "plan.json").read_text())["done"]
    held = len((cut / "losses.jsonl").read_text().splitlines())
    assert 0 < held < 60
    plan = Local(str(tiny_gguf), **settings).train(rows(), cut, name="am", seed=1)
    assert plan["done"]
    assert losses(cut) == losses(whole)
    from safetensors.numpy import load_file

    mine, theirs = (load_file(f / "student" / "adapter_model.safetensors") for f in (cut, whole))
    for name, value in theirs.items():
        np.testing.assert_array_equal(mine[name], value)


def test_a_finished_student_is_not_trained_again_and_other_data_is(local, tmp_path):
    trainer = local()
    first = trainer.train(rows(), tmp_path / "s", name="am", seed=1)
    stamp = (tmp_path / "s" / "student.gguf").stat().st_mtime_ns
    assert trainer.train(rows(), tmp_path / "s", name="am", seed=1) == first
    assert (tmp_path / "s" / "student.gguf").stat().st_mtime_ns == stamp
    assert trainer.train(rows(20), tmp_path / "s", name="am", seed=1)["fingerprint"] != first["fingerprint"]


def test_the_rate_warms_up_over_its_share_and_ends_near_zero():
    schedule = Schedule(learning_rate=8e-5, warmup=0.05)
    rates = [schedule.rate(step, 200) for step in range(200)]
    assert rates[0] == pytest.approx(8e-6)
    assert rates[9] == rates[10] == pytest.approx(8e-5)
    assert max(rates) == pytest.approx(8e-5)
    assert rates[-1] < 1e-8
    assert rates[105] == pytest.approx(4e-5)


def test_each_epoch_passes_every_sequence_once(local, tmp_path):
    trainer = local(steps=None, epochs=2, batch=2, max_tokens=128, sequence_tokens=128)
    plan = trainer.train(rows(), tmp_path / "s", name="am", seed=1)
    assert plan["total_steps"] == -(-2 * plan["sequences"] // 2)
    told = [json.loads(line) for line in (tmp_path / "s" / "losses.jsonl").read_text().splitlines()]
    assert sum(row["trained"] for row in told) == 2 * plan["trained_tokens"]


def test_mistakes_are_told(local, tiny_gguf):
    with pytest.raises(UserMistake, match="lora or full"):
        local(method="qlora")
    with pytest.raises(UserMistake, match="do not fit"):
        local(max_tokens=512, sequence_tokens=256)
    with pytest.raises(UserMistake, match="no sample is left"):
        local(max_tokens=8).train(rows(2), tiny_gguf.parent / "none", name="am", seed=1)
    with pytest.raises(UserMistake, match="lower `train"):
        local(learning_rate=1e30).train(rows(), tiny_gguf.parent / "burst", name="am", seed=1)
