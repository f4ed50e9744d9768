"""Claims about whole runs with judges, votes and audits, over a real HTTP server that is teachers and judges."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from stillhouse.pipeline import Outcome, run_made
from stillhouse.recipe import parse_recipe
from stillhouse.records import UserMistake
from stillhouse.store.index import load_index
from stillhouse.store.ledger import audit as ledger_of
from stillhouse.store.run import Run
from stillhouse.testing import FakeServer
from stillhouse.verbs.audit_verifiers import audit_verifiers
from stillhouse.verbs.reverify import reverify
from stillhouse.verifiers.math import Math

MODELS = ("a", "b", "c", "judge")
RECIPE = """
name: judged
queries: [{path: q.jsonl}]
teachers:
  - {name: a, base_url: "URL", model: a, max_tokens: 200, price: {input: 1, output: 2}}
  - {name: b, base_url: "URL", model: b, max_tokens: 200, price: {input: 1, output: 2}}
  - {name: c, base_url: "URL", model: c, max_tokens: 200, price: {input: 1, output: 2}}
curate: {near_duplicates: false}
distill: {attempts: 3, workers: 1, budget_usd: 1}
judges: {JUDGES}
verify: {references: REFERENCES}
tokenizer: "tests.test_judged_runs:Words"
"""
JUDGE = '{base_url: "URL", model: judge, price: {input: 5, output: 5}}'


class Words:
    """A tokenizer for tests."""

    name = "words"

    def __call__(self, texts: list[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def encode(self, texts: list[str]) -> list[list[int]]:
        return [[hash(word) % 10**6 for word in text.split()] for text in texts]


def run(
    folder: Path, url: str, rows: list[dict[str, Any]], *, judges: tuple[str, ...] = (), references: str = "{}",
    until: str = "export", budget: str = "1",
) -> Outcome:  # fmt: skip
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "q.jsonl").write_text(lines, encoding="utf-8")
    named = "{" + ", ".join(f"{kind}: {JUDGE}" for kind in judges) + "}"
    text = RECIPE.replace("{JUDGES}", named).replace("REFERENCES", references).replace("URL", url)
    made = parse_recipe(text.replace("budget_usd: 1", f"budget_usd: {budget}"), "r.yaml", folder)
    return run_made(made, folder, folder / "run", until=until, quiet=True)


def serving(teach: Callable[[str, str, int], str], judge: Callable[[list[dict[str, str]]], str]) -> FakeServer:
    """teach: (model, question, which time it is asked) -> reply; judge: messages -> reply."""
    times: Counter[tuple[str, str]] = Counter()

    def answer(body: dict[str, Any]) -> str:
        if body["model"] == "judge":
            assert body["temperature"] == 0
            return judge(body["messages"])
        question = body["messages"][-1]["content"]
        times[body["model"], question] += 1
        return teach(body["model"], question, times[body["model"], question])

    return FakeServer(answer, models=MODELS)


def boxed(value: object) -> str:
    return f"<think>So.</think><answer>It is \\boxed{{{value}}}.</answer>"


def pairs(folder: Path) -> dict[tuple[str, str], str]:
    ids = {row["key"]: row["id"] for row in pq.read_table(folder / "run/1-queries/kept.parquet").to_pylist()}
    rows = pq.read_table(folder / "run/3-verdicts/pairs.parquet").to_pylist()
    return {(row["teacher"], ids[row["query"]]): row["state"] for row in rows}


def datasets(folder: Path, teacher: str) -> dict[str, dict[str, Any]]:
    rows = pq.read_table(folder / f"run/5-datasets/{teacher}/superset.parquet").to_pylist()
    return {row["id"]: row for row in rows}


def test_constraints_of_a_judge_reach_every_teacher_alike_and_the_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stillhouse.loop.RULINGS_KEPT", 0)  # none in memory: the same question is found on disk
    rows = [{"id": f"i{n}", "category": "if", "query": f"Write {n} lines about rain, and use no commas."}
            for n in range(4)]  # fmt: skip
    rows.append({"id": "none", "category": "if", "query": "Tell me something nice about the rain today."})
    found = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    asked: Counter[str] = Counter()

    def judge(messages: list[dict[str, str]]) -> str:
        request = json.loads(messages[1]["content"])["request"]
        asked[request] += 1
        if "something nice" in request:
            return '{"instruction_id_list": [], "kwargs": []}'
        return json.dumps(found) if len(messages) > 2 else "No commas, I think."

    def teach(model: str, question: str, time: int) -> str:
        return f"<think>t</think><answer>Rain{', ' if (model, time) == ('a', 1) else ' '}falls</answer>"

    with serving(teach, judge) as server:
        outcome = run(tmp_path, server.url, rows, judges=("constraints",))
    assert outcome.exit_code == 0
    assert set(asked.values()) == {1, 2} and asked[rows[0]["query"]] == 2, "asked once, and once more where unreadable"
    states = pairs(tmp_path)
    assert [states[t, "i0"] for t in "abc"] == ["verified"] * 3
    assert [states[t, "none"] for t in "abc"] == ["undecided"] * 3
    times = [row["responses"] for row in pq.read_table(tmp_path / "run/3-verdicts/pairs.parquet").to_pylist()]
    assert sum(times) == 4 * (2 + 1 + 1) + 3, "a request without constraints is not asked again and again"
    row = datasets(tmp_path, "b")["i1"]
    assert json.loads(row["instruction_constrain"]) == found and row["reference_by"] == "judge"
    ledger = ledger_of(load_index(Run(tmp_path / "run", read_only=True).journals))
    assert ledger.clean and sum(a.paid_usd for (name, _), a in ledger.accounts.items() if name == "judge-constraints")


MATH = [{"id": f"m{n}", "category": "math", "query": f"What is {n} plus {n}?", "ground_truth": str(2 * n)}
        for n in range(12)]  # fmt: skip


def test_a_judge_without_a_price_is_told_where_the_costs_are(tmp_path: Path) -> None:
    row = {"id": "i", "category": "if", "query": "Write 2 lines about rain, and use no commas."}
    (tmp_path / "q.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    found = json.dumps({"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]})
    with serving(lambda *_: "<think>t</think><answer>Rain falls</answer>", lambda _: found) as server:
        judges = "{constraints: " + JUDGE.replace(", price: {input: 5, output: 5}", "") + "}"
        text = RECIPE.replace("{JUDGES}", judges).replace("REFERENCES", "{}").replace(", budget_usd: 1", "")
        run_made(parse_recipe(text.replace("URL", server.url), "r.yaml", tmp_path), tmp_path, tmp_path / "run",
                 until="compare", quiet=True)  # fmt: skip
    report = json.loads((tmp_path / "run/report.json").read_text())
    (told,) = [words for words in report["caveats"] if words.startswith("Judges without a price")]
    assert "1 about " in told and told.endswith("the costs are without them.")
    assert all(part["cost_usd"] > 0 for part in report["teachers"].values())


def number(question: str) -> int:
    return int(question.split()[2])


@pytest.mark.slow
def test_a_missing_reference_is_what_the_teachers_agree_on_and_is_marked(tmp_path: Path) -> None:
    rows = [{**row, "ground_truth": None if n < 3 else row["ground_truth"]} for n, row in enumerate(MATH)]

    def teach(model: str, question: str, time: int) -> str:
        n = number(question)
        if n == 2:  # never do two say the same
            return boxed(f"{'abc'.index(model)}{time}")
        if n == 1:  # only their second replies agree
            return boxed(2 if time > 1 else f"{'abc'.index(model)}7")
        return boxed(f"{2 * n}.0" if model == "b" else 2 * n + (model == "c"))

    with serving(teach, lambda _: "") as server:
        outcome = run(tmp_path, server.url, rows, references="{missing: vote}")
        asked = server.counts.answered
        assert outcome.exit_code == 4, "the query without any agreement waits"
        assert any("do not agree" in reason for reason in outcome.waits)
        again = run(tmp_path, server.url, rows, references="{missing: vote}")
        assert (again.exit_code, server.counts.answered) == (4, asked), "to run again asks nothing"
    assert outcome.stages["distill"]["references"] == {"missing": 2, "suspect": 0, "open": 1}
    states = pairs(tmp_path)
    assert [states[t, "m0"] for t in "abc"] == ["verified", "verified", "exhausted"]
    assert [states[t, "m1"] for t in "abc"] == ["verified"] * 3
    assert [states[t, "m2"] for t in "abc"] == ["waiting"] * 3
    assert {datasets(tmp_path, "a")[f"m{n}"]["reference_by"] for n in (0, 1)} == {"vote"}
    assert datasets(tmp_path, "a")["m5"]["reference_by"] is None
    kept = {row["id"]: row for row in pq.read_table(tmp_path / "run/1-queries/kept.parquet").to_pylist()}
    assert kept["m0"]["ground_truth"] is None, "what was read is not changed"
    voted = pq.read_table(tmp_path / "run/3-verdicts/references.parquet").to_pylist()
    assert {(v["why"], v["ground_truth"], v["original"]) for v in voted} == {("missing", "0", None),
                                                                            ("missing", "2", None)}  # fmt: skip
    with serving(teach, lambda _: "") as server:
        rejected = run(tmp_path, server.url, rows, until="curate")
    assert rejected.stages["curate"]["rules"]["no_reference"] == 3, "without the vote they are rejected"


@pytest.mark.slow
def test_a_suspect_reference_is_listed_and_only_replaced_where_the_recipe_asks(tmp_path: Path) -> None:
    rows = [{**row, "ground_truth": "99" if n == 4 else row["ground_truth"]} for n, row in enumerate(MATH)]

    def teach(model: str, question: str, time: int) -> str:
        n = number(question)
        return boxed(2 * n + (model == "c" and n in (4, 5)))

    with serving(teach, lambda _: "") as server:
        run(tmp_path, server.url, rows)
        asked = server.counts.answered
        assert [pairs(tmp_path)[t, "m4"] for t in "abc"] == ["exhausted"] * 3
        told = audit_verifiers(tmp_path / "run", sample=10, quiet=True)
        (suspect,) = told.stages["audit"]["suspect_references"]
        assert (suspect["id"], suspect["voted"], suspect["votes"], suspect["voters"]) == ("m4", "8", 2, 3)
        assert suspect["answers"] == {"a": "8", "b": "8", "c": "9"} and suspect["for_reference"] == 0
        assert not (tmp_path / "run/3-verdicts/references.parquet").exists()
        outcome = run(tmp_path, server.url, rows, references="{suspect: vote}")
        assert server.counts.answered == asked, "what was paid for is judged by the new reference"
    assert outcome.stages["distill"]["references"]["suspect"] == 1
    assert [pairs(tmp_path)[t, "m4"] for t in "abc"] == ["verified", "verified", "exhausted"]
    (voted,) = pq.read_table(tmp_path / "run/3-verdicts/references.parquet").to_pylist()
    assert (voted["ground_truth"], voted["original"]) == ("8", "99")
    row = datasets(tmp_path, "a")["m4"]
    assert (row["ground_truth"], row["reference_by"]) == ("8", "vote")
    with serving(teach, lambda _: "") as server:
        run(tmp_path, server.url, rows)
    assert [pairs(tmp_path)[t, "m4"] for t in "abc"] == ["exhausted"] * 3, "and back, when it no longer asks"


def erring(model: str, question: str, time: int) -> str:
    """a is right but for odd wording that only a judge understands, b is right at the second reply, c never."""
    n = number(question)
    if model == "a" and n < 4:
        return boxed(f"\\text{{twice {n}}}")
    return boxed(2 * n if model == "a" or (model == "b" and time > 1) else 2 * n + 1)


def ruling(messages: list[dict[str, str]]) -> str:
    data = json.loads(messages[1]["content"])
    if "candidate" in data:
        return json.dumps({"equivalent": "twice" in data["candidate"]})
    answer = data["answer"]
    right = "twice" in answer or f"{{{data['reference']}}}" in answer
    odd = any(f"{{{n}}}" in answer for n in (8, 10, 12, 14))
    return json.dumps({"right": right != odd})


@pytest.mark.slow
def test_an_audit_by_a_judge_is_journaled_paid_and_found_again(tmp_path: Path) -> None:
    with serving(erring, ruling) as server:
        run(tmp_path, server.url, MATH, judges=("math", "audit"))
        asked = server.counts.answered
        run(tmp_path, server.url, MATH, judges=("math", "audit"), budget="0.001", until="curate")
        broke = audit_verifiers(tmp_path / "run", sample=40, judge="audit", quiet=True)
        assert broke.exit_code == 3 and "budget" in broke.waits[0] and broke.stages["audit"]["waiting"] == 40
        run(tmp_path, server.url, MATH, judges=("math", "audit"), until="curate")
        outcome = audit_verifiers(tmp_path / "run", sample=40, judge="audit", quiet=True)
        opinions = server.counts.answered - asked
        assert outcome.exit_code == 0
        told = outcome.stages["audit"]
        assert told["opinions"] == 40 and told["by"] == {"of judge-audit:judge": 40}
        assert 20 <= opinions < 40, "the same answer to the same query is asked about once"
        again = audit_verifiers(tmp_path / "run", judge="audit", quiet=True)
        assert server.counts.answered == asked + opinions, "to audit again asks nothing"
        assert again.stages["audit"]["teachers"] == told["teachers"]
        more = audit_verifiers(tmp_path / "run", sample=45, judge="audit", quiet=True)
        assert more.stages["audit"]["opinions"] == 45
        assert server.counts.answered - asked - opinions <= 5, "a larger sample holds the smaller"

        by = {row["teacher"]: row for row in told["teachers"]}
        assert by["a"]["yes_n"] and by["a"]["false_yes"] > 0, "this judge calls some of its answers wrong"
        assert by["c"]["false_yes"] is None and by["c"]["verified_yield"] == 0
        assert by["a"]["verified_yield"] == 1 and by["a"]["corrected_yield"] < 1
        for row in told["teachers"]:
            if row["corrected_yield"] is not None:
                low, high = row["corrected_yield_interval"]
                assert 0 <= low <= row["corrected_yield"] <= high <= 1
        index = load_index(Run(tmp_path / "run", read_only=True).journals)
        paid = ledger_of(index).accounts["judge-audit", "judge:audit:verifiers"]
        assert paid.paid == server.counts.answered - asked and paid.paid_usd > 0

        stopped = audit_verifiers(tmp_path / "run", seed=2, sample=60, judge="math", quiet=True)
        assert stopped.exit_code == 0, "another judge of the recipe may be asked as well"
        report = run(tmp_path, server.url, MATH, judges=("math", "audit"), until="report")
        assert report.exit_code == 0
        assert "Audit of the verifiers" in (tmp_path / "run/report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_verify_of_a_run_hears_the_judges_of_the_journal_and_asks_nobody(tmp_path: Path) -> None:
    with serving(erring, ruling) as server:
        run(tmp_path, server.url, MATH, judges=("math",))
        asked = server.counts.answered
    verdicts = tmp_path / "run/3-verdicts/log"
    for file in verdicts.glob("*.parquet"):  # as if another version had judged
        table = pq.read_table(file)
        at = table.column_names.index("version")
        named = table["version"].to_pylist()
        old = [version if version == "1" else "math-0" for version in named]
        table = table.set_column(at, table.schema.field(at), [old])
        at, said = table.column_names.index("outcome"), table["outcome"].to_pylist()
        erred = [n for n, teacher in enumerate(table["teacher"].to_pylist()) if (teacher, said[n]) == ("c", "fail")][:1]
        said = ["pass" if n in erred else outcome for n, outcome in enumerate(said)]
        pq.write_table(table.set_column(at, table.schema.field(at), [said]), file)
    recipe = tmp_path / "run/recipe.yaml"
    recipe.write_text(
        recipe.read_text(encoding="utf-8").replace(f"math: {Math.version}", "math: math-0"), encoding="utf-8"
    )
    outcome = reverify(tmp_path / "run", diff=True, adopt=False, workers=1, quiet=True)
    told = outcome.stages["verify"]
    assert told["judged"] > 40 and told["flipped"] == 1, "the judge's verdicts stand, from the journal"
    (flip,) = told["flips"]
    assert (flip["teacher"], flip["before"], flip["after"], flip["after_rule"]) == ("c", "pass", "fail", "judge")
    assert flip["id"] in {row["id"] for row in MATH} and told["by_teacher"] == {"c": {"pass -> fail": 1}}
    assert any(flip["id"] in line for line in outcome.told)
    assert server.counts.answered == asked
    assert reverify(tmp_path / "run", diff=False, adopt=False, quiet=True).stages["verify"]["judged"] == 0
    reverify(tmp_path / "run", diff=False, adopt=True, quiet=True)
    assert f"math: {Math.version}" in recipe.read_text(encoding="utf-8")


def cells_of(sheet: Path) -> list[list[str]]:
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def fill(sheet: Path, rows: list[list[str]], delimiter: str = ",") -> None:
    with sheet.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out, delimiter=delimiter).writerows(rows)


@pytest.mark.slow
def test_a_person_fills_in_a_sheet_that_shows_no_verdict_and_it_is_read_back(tmp_path: Path) -> None:
    rows = [*MATH, {"id": "h", "category": "math", "query": "=HYPERLINK(1) What is 3 plus 9?", "ground_truth": "12"}]
    with serving(lambda m, q, t: boxed(12) if "=HYP" in q else erring(m, q, t), ruling) as server:
        run(tmp_path, server.url, rows)
    folder = tmp_path / "run"
    assert audit_verifiers(folder, sample=200, quiet=True).exit_code == 4
    sheet = folder / "3-verdicts/audit/sheet.csv"
    lines = cells_of(sheet)
    head, cells = lines[0], lines[1:]
    assert head == ["opinion", "note", "row", "category", "question", "reference", "answer"]
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in cells for cell in row)
    assert any(row[4].startswith("'=HYPERLINK") for row in cells)
    for place, row in enumerate(cells):
        right = "twice" in row[6] or f"{{{row[5]}}}" in row[6]
        row[0] = "unsure" if place == 0 else " Yes" if right else "wrong"
    fill(sheet, [head, *cells[:-1]], ";")
    outcome = audit_verifiers(folder, quiet=True)
    told = outcome.stages["audit"]
    assert outcome.exit_code == 4 and told["waiting"] == 1
    assert told["by"] == {"of a person": len(cells) - 2, "unsure": 1}
    by = {row["teacher"]: row for row in told["teachers"]}
    assert by["a"]["false_no"] > 0.5 and by["c"]["false_no"] == 0, "a's wording was right, and no judge was there"
    assert by["a"]["corrected_yield"] > by["a"]["verified_yield"]

    assert audit_verifiers(folder, sample=10, seed=9, quiet=True).exit_code in (0, 4)
    kept = cells_of(sheet)
    assert sum(row[0] != "" for row in kept[1:]) == len(cells) - 1, "what was filled in is never lost"
    kept[1][0], kept[2][2] = "maybe", "zz"
    fill(sheet, kept)
    with pytest.raises(UserMistake, match=r"sheet.csv:2: opinion 'maybe'") as mistake:
        audit_verifiers(folder, quiet=True)
    assert "sheet.csv:3" in str(mistake.value)
    sheet.write_text("a,b\n", encoding="utf-8")
    with pytest.raises(UserMistake, match="has no column opinion and row"):
        audit_verifiers(folder, quiet=True)
    with pytest.raises(UserMistake, match="--judge audit"):
        audit_verifiers(folder, judge="audit", quiet=True)
