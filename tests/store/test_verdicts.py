"""Claims about the verdict log: the last verdict of a key stands, sets stay apart, a kill costs little."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stillhouse.records import Message, Query, Response, Verdict
from stillhouse.store.frames import Damage
from stillhouse.store.tables import VERDICTS
from stillhouse.store.verdicts import LOG, PARQUET, VerdictLog, VerdictRow, load_verdicts, verdict_rows

QUERY = Query((Message("user", "2+2?"),), "math", ground_truth="4")
PASS, FAIL = Verdict.of(1, 1, "math_verify", given="4"), Verdict.of(0, 1, "math_verify", "says \ud800")
LATER = Verdict.unknown("sandbox", "down", transient=True)


def row(verdict: Verdict, number: int = 1, version: str = "1", judge: str | None = None) -> VerdictRow:
    response = Response(f"{number:032x}", QUERY.key, "am", "4", prompt=QUERY.prompt_key, identity="a" * 32, attempt=2)
    return VerdictRow.of(QUERY, response, verdict, verifier="math", version=version, judge=judge)


def test_a_verdict_comes_back_as_it_was_given(tmp_path: Path) -> None:
    with VerdictLog(tmp_path) as log:
        log.append(row(PASS, judge="b" * 32))
    table = load_verdicts(tmp_path)
    (held,) = verdict_rows(table)
    assert table.schema == VERDICTS
    assert held.verdict == PASS
    assert (held.judge, held.attempt, held.reference, held.teacher) == ("b" * 32, 2, QUERY.reference, "am")
    assert [p.name[-len(PARQUET) :] for p in tmp_path.iterdir()] == [PARQUET]


@pytest.mark.parametrize("sessions", [1, 3])
def test_of_one_key_the_last_verdict_stands(tmp_path: Path, sessions: int) -> None:
    given = [row(LATER), row(PASS, 2), row(PASS), row(FAIL, version="2"), row(LATER, 3)]
    parts = [given] if sessions == 1 else [given[:1], given[1:3], given[3:]]
    for part in parts:
        with VerdictLog(tmp_path) as log:
            for one in part:
                log.append(one)
    held = {(int(r.response, 16), r.version): r.outcome for r in verdict_rows(load_verdicts(tmp_path))}
    assert held == {(1, "1"): "pass", (2, "1"): "pass", (1, "2"): "fail", (3, "1"): "unknown"}
    assert load_verdicts(tmp_path, every=True).num_rows == 5


def test_a_log_is_read_while_it_is_written(tmp_path: Path) -> None:
    with VerdictLog(tmp_path) as log:
        assert load_verdicts(tmp_path).num_rows == 0
        for number in range(3000):
            log.append(row(PASS, number))
        log.flush()
        damage: list[Damage] = []
        assert load_verdicts(tmp_path, damage=damage).num_rows == 3000
        assert damage == []
    with pytest.raises(ValueError, match="closed"):
        log.append(row(PASS))


def test_sets_in_folders_of_their_own_stay_apart(tmp_path: Path) -> None:
    for name in ("frozen", "today"):
        with VerdictLog(tmp_path / name) as log:
            log.append(row(PASS if name == "today" else FAIL))
    assert [r.outcome for r in verdict_rows(load_verdicts(tmp_path / "frozen"))] == ["fail"]
    assert [r.outcome for r in verdict_rows(load_verdicts([tmp_path / "frozen", tmp_path / "today"]))] == ["pass"]
    assert load_verdicts(tmp_path).num_rows == load_verdicts(tmp_path / "none").num_rows == 0


CHILD = """
import os, sys
from pathlib import Path
from test_verdicts import PASS, row
from stillhouse.store.verdicts import VerdictLog
log = VerdictLog(Path(sys.argv[1]))
for number in range(100):
    log.append(row(PASS, number))
log.flush()
log.append(row(PASS, 1000))
os.write(1, b"ready")
sys.stdin.read()
"""


def test_a_killed_process_leaves_what_it_flushed_and_the_next_one_goes_on(tmp_path: Path) -> None:
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1] / "src")])}
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.read(5) == b"ready"
        os.kill(child.pid, signal.SIGKILL)
    (log,) = tmp_path.glob(f"*{LOG}")
    log.write_bytes(log.read_bytes() + b"\xffSF\x01 torn")
    damage: list[Damage] = []
    assert load_verdicts(tmp_path, damage=damage).num_rows == 100
    assert [d.reason for d in damage] == ["torn tail"]
    with VerdictLog(tmp_path) as again:
        again.append(row(PASS, 1000))
    assert load_verdicts(tmp_path).num_rows == 101
    assert list(tmp_path.glob(f"*{LOG}")) == []


def test_a_broken_frame_is_told_and_the_rest_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = VerdictLog(tmp_path)
    for number in range(3):
        log.append(row(PASS, number))
        log.flush()
    (path,) = tmp_path.glob(f"*{LOG}")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert load_verdicts(tmp_path).num_rows == 2
    assert "will be made again" in caplog.text
    log.close()
    assert load_verdicts(tmp_path).num_rows == 2
