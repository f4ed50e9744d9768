"""What the page shows that report.json does not hold: losses, repeated passages, an audit of verifiers.

In: a run folder. Out: further keys beside those of report.json. Each may be missing, as stages are optional; a file
that is there and cannot be read is a mistake that is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow.compute as pc

from stillhouse.records import UserMistake
from stillhouse.store.run import Run
from stillhouse.store.tables import read_batches

MOST_POINTS = 400
MOST_PASSAGES = 8


def beside(run: Run, told: Mapping[str, Any]) -> dict[str, Any]:
    """losses, filtering, repeats and audit of the run, those of them that are there."""
    names = list(told["teachers"])
    found = {
        "losses": losses(run.students / "losses.jsonl", names),
        "filtering": _json(run.filters / "filters.json"),
        "repeats": repeats(run, names),
        "audit": _json(run.verdicts / "audit.json"),
    }
    return {name: value for name, value in found.items() if value}


def _json(file: Path) -> Any:
    try:
        return orjson.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except orjson.JSONDecodeError as error:
        raise UserMistake(f"{file} is not JSON ({error}): make it again, or take it away") from None


def losses(file: Path, teachers: Sequence[str]) -> list[dict[str, Any]]:
    """The loss curve of every student, thinned to what a chart can show. file: 6-students/losses.jsonl."""
    curves: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for line in file.read_bytes().splitlines() if file.exists() else ():
        if (row := _row(line)) is not None and row.get("teacher") in teachers:
            told = " ".join(str(row[key]) for key in ("student", "trained_by") if row.get(key) not in (None, "here"))
            curves.setdefault((row["teacher"], told or row["teacher"]), []).append(row)
    out = []
    for (teacher, name), rows in curves.items():
        thin = rows[:: max(1, -(-len(rows) // MOST_POINTS))]
        out.append({
            "name": name, "teacher": teacher, "steps": [row["step"] for row in thin],
            "losses": [row["loss"] for row in thin],
        })  # fmt: skip
    return out


def _row(line: bytes) -> dict[str, Any] | None:
    """A step of a curve; None for the torn last line of a student that is still trained."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, dict) and row.get("loss") is not None and "step" in row else None


def repeats(run: Run, teachers: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of each teacher the replies that were dropped for repeating themselves, by rule, and the passages they repeat."""
    out: dict[str, dict[str, Any]] = {}
    for name in teachers:
        file = run.filters / f"{name}.parquet"
        rules, passages = Counter[str](), Counter[str]()
        for batch in read_batches(file, ["outcome", "rule", "detail"], batch_rows=65536) if file.exists() else ():
            for row in batch.filter(pc.equal(batch["outcome"], "fail")).to_pylist():
                match = (orjson.loads(row["detail"]) if row["detail"] else {}).get("match")
                if row["rule"] in ("repeated_ngrams", "back_to_back"):
                    rules[row["rule"]] += 1
                    if match:
                        passages[" ".join(str(match).split())] += 1
        if rules:
            out[name] = {"rules": dict(rules), "passages": passages.most_common(MOST_PASSAGES)}
    return out
