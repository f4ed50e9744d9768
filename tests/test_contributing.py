"""The example of CONTRIBUTING.md works as it is written."""

import re
import sys
from pathlib import Path

import pytest

from stillhouse.records import Message, Part, Query, Response, Verifier

TEXT = (Path(__file__).resolve().parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_verifier_of_the_guide_judges_in_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.search(r"```python\n(.*?)```", TEXT, re.S)
    assert found is not None
    (tmp_path / "my_verifiers.py").write_text(found.group(1), encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{':'.join(p for p in sys.path if p)}")
    part = Part("my_verifiers:LastLine")
    built = part.build()
    assert isinstance(built, Verifier)
    query = Query((Message("user", "Say hello"),), "other", ground_truth="hello")
    assert built.check(query).outcome == "pass"

    from stillhouse.workers import WorkerPool

    right = Response(key="0" * 32, query=query.key, teacher="t", text="well\nhello")
    wrong = Response(key="1" * 32, query=query.key, teacher="t", text="goodbye")
    with WorkerPool({"other": part}, workers=1) as pool:
        verdicts = list(pool.imap("other", "__call__", [(query, right), (query, wrong)], deadline=3.0))
    assert [v.outcome for v in verdicts] == ["pass", "fail"]
