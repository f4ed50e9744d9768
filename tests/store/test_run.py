"""Claims about the run folder: one holder, a recipe whose changes are told, stages that are made once."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stillhouse.records import UserMistake
from stillhouse.store.run import Run

HOLDER = """
import os, sys
from stillhouse.store.run import Run
run = Run(sys.argv[1])
os.write(1, b"held")
sys.stdin.read()
"""


def test_a_second_run_is_refused_and_the_holder_named(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.read(4) == b"held"
        with pytest.raises(UserMistake) as refused:
            Run(tmp_path / "run")
        for told in (str(tmp_path / "run"), f"process {child.pid}", os.uname().nodename, "since 20"):
            assert told in str(refused.value)
        Run(tmp_path / "run", read_only=True).close()
        os.kill(child.pid, signal.SIGKILL)
    with Run(tmp_path / "run") as run:  # the lock dies with its holder
        assert run.name == "run"
    Run(tmp_path / "run").close()


def test_reading_needs_a_folder_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match="no run folder"):
        Run(tmp_path / "none", read_only=True)
    (tmp_path / "run").mkdir()
    with Run(tmp_path / "run", read_only=True) as run:
        run.fingerprint([tmp_path / "run"])
        assert run.fresh("curate", "x") is None
        for change in (
            lambda: run.freeze("a: 1"),
            lambda: run.status.update(a=1),
            lambda: run.stamp("curate", "x", [], {}),
            lambda: run.use_store(tmp_path),
        ):
            with pytest.raises(ValueError, match="opened for reading"):
                change()
    assert list((tmp_path / "run").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserMistake, match="cannot be made a run folder"):
        Run(tmp_path / "file")


def test_the_folders_tell_the_story(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        paths = (run.queries, run.responses, run.verdicts, run.filters, run.datasets, run.students, run.evaluations)
        assert [p.name for p in paths] == [
            "1-queries", "2-responses", "3-verdicts", "4-filters", "5-datasets", "6-students", "7-evaluations",
        ]  # fmt: skip
        assert (run.report_html.name, run.report_json.name) == ("report.html", "report.json")


def test_a_changed_recipe_is_told_as_a_diff_and_the_former_kept(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        assert run.freeze("name: a\nbudget: 1\n") == ""
        assert run.freeze("name: a\nbudget: 1\n") == ""
        diff = run.freeze("name: a\nbudget: 2\n")
        assert "-budget: 1\n" in diff
        assert "+budget: 2\n" in diff
        assert "--- recipe.1.yaml\n+++ recipe.yaml\n" in diff
        run.freeze("name: b")
    held = {p.name: p.read_text() for p in tmp_path.glob("recipe*")}
    assert held == {
        "recipe.1.yaml": "name: a\nbudget: 1\n", "recipe.2.yaml": "name: a\nbudget: 2\n", "recipe.yaml": "name: b",
    }  # fmt: skip


def test_status_is_whole_at_every_moment(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        stop, torn = threading.Event(), list[object]()

        def look() -> None:
            with Run(tmp_path, read_only=True) as other:
                while not stop.is_set():
                    held = other.status.read()
                    if held and held["text"] != str(held["number"]) * 2000:
                        torn.append(held)

        reader = threading.Thread(target=look)
        reader.start()
        for number in range(200):
            run.status.update(number=number, text=str(number) * 2000)
        stop.set()
        reader.join()
        assert torn == []
        run.status.update(text=None, stage="filter")
        held = run.status.read()
        assert (held["number"], held["stage"], "text" in held, held["updated"] > 0) == (199, "filter", False, True)
    with Run(tmp_path) as run:
        run.status.update(more=1)
        assert run.status.read()["stage"] == "filter"  # goes on from where it was


def test_a_stage_is_fresh_while_inputs_settings_and_outputs_stay(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("one")
    with Run(tmp_path / "run") as run:
        run.queries.mkdir()
        output = run.queries / "kept.parquet"
        output.write_text("kept")
        before = run.fingerprint([source], {"a": 1})
        assert run.fresh("curate", before) is None
        run.stamp("curate", before, [run.queries], {"kept": 1})
        assert run.fresh("curate", run.fingerprint([source], {"a": 1})) == {"kept": 1}
        assert run.fresh("distill", before) is None
        assert run.fresh("curate", run.fingerprint([source], {"a": 2})) is None
        source.write_text("two")  # same length, same second
        assert run.fresh("curate", run.fingerprint([source], {"a": 1})) is None
        source.write_text("one")
        assert run.fresh("curate", run.fingerprint([source], {"a": 1})) == {"kept": 1}
    with Run(tmp_path / "run") as run:
        assert run.fresh("curate", before) == {"kept": 1}
        output.write_text("keep")
        assert run.fresh("curate", before) is None
        output.unlink()
        assert run.fresh("curate", before) is None
        output.write_text("kept")
        assert run.fresh("curate", before) == {"kept": 1}
        run.unstamp("curate")
        assert run.fresh("curate", before) is None


def test_a_stamp_outlives_a_move_of_the_run_and_a_torn_one_is_none(tmp_path: Path) -> None:
    with Run(tmp_path / "a") as run:
        run.queries.mkdir()
        (run.queries / "kept.parquet").write_text("kept")
        run.stamp("curate", run.fingerprint([run.queries]), [run.queries / "kept.parquet"], {"kept": 1})
    (tmp_path / "a").rename(tmp_path / "b")
    with Run(tmp_path / "b") as run:
        assert run.fresh("curate", run.fingerprint([run.queries])) == {"kept": 1}
        (tmp_path / "b" / ".stamps" / "curate.json").write_text('{"fingerprint"')
        assert run.fresh("curate", run.fingerprint([run.queries])) is None


def test_files_that_a_killed_process_left_half_made_are_swept(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    for name in (f".a.parquet.{ended.pid}.0a1b.tmp", f".b.parquet.{os.getpid()}.0a1b.tmp", ".c.tmp", "d.tmp"):
        (tmp_path / "run" / "1-queries").mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / "1-queries" / name).write_text("half")
    with Run(tmp_path / "run") as run:
        assert sorted(p.name[:3] for p in run.queries.iterdir()) == [".b.", ".c.", "d.t"]


def test_a_shared_store_is_remembered_by_the_folder(tmp_path: Path) -> None:
    with Run(tmp_path / "run") as run:
        assert (run.journal, run.journals) == (run.responses, (run.responses,))
        run.use_store(tmp_path / "store")
    with Run(tmp_path / "run", read_only=True) as run:
        assert run.journal == (tmp_path / "store").resolve()
        assert run.journals == (run.responses, (tmp_path / "store").resolve())
    with Run(tmp_path / "run") as run:
        run.use_store(None)
        assert run.store is None


def test_a_remembered_hash_is_used_only_for_the_same_file(tmp_path: Path) -> None:
    file = tmp_path / "in"
    file.write_text("one")
    os.utime(file, (1, 1))
    with Run(tmp_path / "run") as run:
        before = run.fingerprint([file])
        other = tmp_path / "other"
        other.write_text("two")
        os.utime(other, (1, 1))
        other.replace(file)  # same size, same mtime, another inode
        assert run.fingerprint([file]) != before
    memory = tmp_path / "run" / ".fingerprints.json"
    assert not memory.exists() or json.loads(memory.read_text()) is not None


def test_a_sealed_segment_is_known_by_its_index(tmp_path: Path) -> None:
    for name in ("s.journal", "s.idx", "t.journal"):
        (tmp_path / name).write_text(name)
    with Run(tmp_path / "run") as run:
        before = run.fingerprint([tmp_path / "run", *tmp_path.glob("?.*")])
        folder = run.fingerprint([tmp_path])
        (tmp_path / "s.journal").write_text("x.journal")
        assert run.fingerprint([tmp_path]) == folder
        assert run.fingerprint([tmp_path / "run", *tmp_path.glob("?.*")]) != before
        (tmp_path / "t.journal").write_text("x.journal")
        assert run.fingerprint([tmp_path]) != folder
