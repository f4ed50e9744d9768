"""Claims about `stillhouse doctor`: it names the sandbox's rung and, where a better one may be had, how to get it."""

import pytest

from stillhouse import sandbox
from stillhouse.sandbox import Ladder, Rung
from stillhouse.verbs.doctor import doctor


@pytest.mark.parametrize("best", [1, 2, 3, None])
def test_the_rung_and_the_way_to_a_better_one_are_told(best: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    rungs = tuple(Rung(n, f"name {n}", best is not None and n >= best, f"reason {n}", f"mend {n}") for n in (1, 2, 3))
    monkeypatch.setattr(sandbox, "probe", lambda: Ladder(rungs, "python", None))
    told, lines = doctor()
    line = next(one for one in lines if " sandbox " in one)
    assert line.strip().startswith("no" if best is None else "yes")
    assert best is None or f"rung {best}, name {best}" in line
    better = [n for n in (1, 2, 3) if best is None or n < best]
    assert [n for n in (1, 2, 3) if f"mend {n}" in line] == better
    row = next(part for part in told["parts"] if part["name"] == "sandbox")
    assert row["there"] is (best is not None)
