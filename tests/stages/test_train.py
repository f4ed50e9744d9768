"""The stage train: the same queries or the same tokens for every student, proofs, terms, and nothing that vanishes."""

import json
import sys
from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stillhouse.records import Part, TeacherSpec, UserMistake
from stillhouse.stages.train import train
from stillhouse.store.tables import DATASET


@dataclass(frozen=True)
class Out:
    key: str
    rule: str
    reason: str


class WordTrainer:
    """Counts words as tokens, excludes rows over the limit, and notes what it is asked to train on."""

    kind, checked, trained = "local", True, {}

    def __init__(self, limit=100, refuse=False):
        self.limit, self.refuse = limit, refuse

    def check(self, rows):
        if self.refuse:
            raise UserMistake("thinking would not be trained on")
        return type("Proof", (), {"shown": tuple(f"> {row['answer']}" for row in rows[:2]), "told": "proved"})()

    def measure(self, rows):
        for row in rows:
            size = len((row["thinking"] or "").split())
            yield row["key"], Out(row["key"], "too_long", "") if size > self.limit else size

    def train(self, rows, folder, *, name, seed, lengths):
        rows = list(rows)
        assert [len((r["thinking"] or "").split()) for r in rows] == lengths
        WordTrainer.trained[name] = [row["key"] for row in rows]
        return {"student": name, "folder": str(folder), "seed": seed}


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setitem(sys.modules, "word_trainer", sys.modules[__name__])
    WordTrainer.trained = {}


def spec(name, terms="yes") -> TeacherSpec:
    return TeacherSpec(name, Part("x:y"), terms=terms)


def part(**settings) -> Part:
    return Part("word_trainer:WordTrainer", settings)


@pytest.fixture
def run(tmp_path):
    def write(**teachers):
        for name, sizes in teachers.items():
            folder = tmp_path / "5-datasets" / name
            folder.mkdir(parents=True, exist_ok=True)
            rows = [_row(f"{i:032x}", size) for i, size in enumerate(sizes) if size is not None]
            for file in ("parallel", "superset"):
                pq.write_table(pa.Table.from_pylist(rows, DATASET), folder / f"{file}.parquet")
        return tmp_path

    return write


def _row(key, size, source_terms="yes"):
    turns = [{"role": "user", "content": f"q {key}"}, {"role": "assistant", "content": "<answer>a</answer>"}]
    filled = {field.name: "" if field.type == pa.string() else 0 for field in DATASET if not field.nullable}
    return {**filled, "key": key, "messages": turns, "thinking": "w " * size, "answer": "a",
            "teacher_terms": "yes", "source_terms": source_terms}  # fmt: skip


def keys(*numbers):
    return [f"{i:032x}" for i in numbers]


def test_every_student_is_trained_on_the_same_queries_and_what_is_left_out_has_a_rule(run):
    folder = run(am=[10, 200, 30, 40], r1=[10, 20, 30, 400])
    counts = train(folder, teachers=[spec("am"), spec("r1")], trainer=part())
    assert WordTrainer.trained == {"am": keys(0, 2), "r1": keys(0, 2)}
    assert counts["am"]["excluded"] == {"not_shared": 1, "too_long": 1}
    for name, told in counts.items():
        excluded = [json.loads(x) for x in (folder / "6-students" / name / "excluded.jsonl").read_text().splitlines()]
        assert told["rows"] == told["trained"] + sum(told["excluded"].values()) == 4
        assert Counter(row["rule"] for row in excluded) == told["excluded"]
    assert counts["am"]["tokens"] == 40


def test_with_equal_tokens_no_student_gets_more_than_the_smallest_has(run):
    folder = run(am=[30] * 40, r1=[10] * 40, qwen=[20] * 40)
    teachers = [spec("am"), spec("r1"), spec("qwen")]
    counts = train(folder, teachers=teachers, trainer=part(), equal="tokens")
    tokens = {name: told["tokens"] for name, told in counts.items()}
    assert tokens["r1"] == 400
    assert all(400 - 30 < n <= 400 for n in tokens.values())
    am, qwen = (set(WordTrainer.trained[name]) for name in ("am", "qwen"))
    assert am < qwen < set(WordTrainer.trained["r1"]), "one order for all: the smaller set lies in the larger"
    assert counts["am"]["excluded"] == {"held_back": 40 - len(am)}


def test_a_superset_is_each_teachers_own(run):
    folder = run(am=[10, 10, None], r1=[10, None, 10])
    train(folder, teachers=[spec("am"), spec("r1")], trainer=part(), dataset="superset")
    assert WordTrainer.trained == {"am": keys(0, 1), "r1": keys(0, 2)}


def test_several_seeds_are_several_students_with_the_same_rows(run):
    folder = run(am=[10, 10])
    counts = train(folder, teachers=[spec("am")], trainer=part(), seeds=[1, 2])
    assert [s["student"] for s in counts["am"]["students"]] == ["am-seed-1", "am-seed-2"]
    assert [s["folder"] for s in counts["am"]["students"]] == [str(folder / f"6-students/am/seed-{n}") for n in (1, 2)]
    assert WordTrainer.trained["am-seed-1"] == WordTrainer.trained["am-seed-2"]


def test_check_shows_samples_and_trains_nothing(run):
    folder = run(am=[10, 10])
    counts = train(folder, teachers=[spec("am")], trainer=part(), check=True)
    assert counts == {"checked": {"am": ["am: proved", "> a", "> a"]}}
    assert (folder / "6-students" / "am" / "rendered.txt").read_text() == "> a\n\n> a\n"
    assert WordTrainer.trained == {}


def test_a_failed_proof_stops_before_anything_is_trained(run):
    with pytest.raises(UserMistake, match="am: thinking would not be trained on"):
        train(run(am=[10]), teachers=[spec("am")], trainer=part(refuse=True))
    assert WordTrainer.trained == {}


def test_terms_no_blocks_and_unknown_is_told(run):
    folder = run(am=[10], r1=[10])
    with pytest.raises(UserMistake, match="r1: its terms forbid training"):
        train(folder, teachers=[spec("am"), spec("r1", "no")], trainer=part())
    counts = train(folder, teachers=[spec("am", "unknown")], trainer=part())
    assert "terms are unknown" in counts["notes"][0]


def test_rows_of_a_source_whose_terms_forbid_it_are_not_trained_on(run, tmp_path):
    folder = run(am=[10, 10, 10])
    rows = [_row(key, 10, terms) for key, terms in zip(keys(0, 1, 2), ("yes", "no", "unknown"), strict=True)]
    pq.write_table(pa.Table.from_pylist(rows, DATASET), folder / "5-datasets" / "am" / "parallel.parquet")
    counts = train(folder, teachers=[spec("am")], trainer=part())
    assert WordTrainer.trained["am"] == keys(0, 2)
    assert counts["am"]["excluded"] == {"terms": 1}


def test_all_mistakes_are_told_at_once(run):
    folder = run(am=[])
    with pytest.raises(UserMistake) as told:
        train(folder, teachers=[spec("am"), spec("none"), spec("r1", "no")], trainer=part())
    assert [p.split(":")[0] for p in told.value.problems] == ["am", "none", "r1"]
    assert "stillhouse export" in str(told.value)


@pytest.mark.parametrize("trainer", ["llamafactory", "trl", "verl"])
def test_a_hand_off_goes_the_same_way(run, tmp_path, trainer):
    pytest.importorskip("tokenizers")
    base = _student(tmp_path)
    settings = {"trainer": trainer, "tokenizer": str(base), "max_tokens": 2000}
    place = Part("stillhouse.students.handoff_trainer:HandoffTrainer", settings)
    folder = run(am=[10, 20, 3000], r1=[10, 20, 30])
    counts = train(folder, teachers=[spec("am"), spec("r1")], trainer=place)
    assert counts["am"]["trained"] == counts["r1"]["trained"] == 2
    (student,) = counts["am"]["students"]
    assert student["sequences"] >= 1
    written = folder / "6-students" / "am" / trainer
    assert student["command"] in (written / "README.md").read_text()
    data = next(written.glob("train.*"))
    count = pq.read_table(data).num_rows if data.suffix == ".parquet" else len(data.read_text().splitlines())
    assert count == 2


def test_a_hand_off_can_go_without_a_tokenizer_and_says_so(run):
    place = Part("stillhouse.students.handoff_trainer:HandoffTrainer", {"trainer": "axolotl", "checked": False})
    folder = run(am=[10, 20])
    counts = train(folder, teachers=[spec("am")], trainer=place)
    assert counts["am"]["trained"] == 2
    assert "not rendered here" in (folder / "6-students" / "am" / "axolotl" / "README.md").read_text()
    with pytest.raises(UserMistake, match="nothing to check"):
        train(folder, teachers=[spec("am")], trainer=place, check=True)


def _student(folder):
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = {text: i for i, text in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|im_end|>", special=True)])
    (folder / "base").mkdir()
    tokenizer.save(str(folder / "base" / "tokenizer.json"))
    template = "{% for m in messages %}{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    template += "{% if add_generation_prompt %}assistant\n{% endif %}"
    settings = {"eos_token": "<|im_end|>", "chat_template": template}
    (folder / "base" / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder / "base"
