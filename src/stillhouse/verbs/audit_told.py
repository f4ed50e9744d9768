"""The verifier audit in lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stillhouse.verbs.audit_asking import Asked

SUSPECTS, RULES = 10, 8  # that are told; audit.json and suspects.jsonl have more


def told_lines(folder: Path, value: Mapping[str, Any], sheet: Path, asked: Asked) -> list[str]:
    """What was looked at, the table of teachers, the rules that err, suspect references, and what to do next."""
    whose = ", ".join(f"{n} {name}" for name, n in value["by"].items())
    lines = [f"{folder}: {value['sample']} verdicts sampled (seed {value['seed']}); opinions: {whose or 'none yet'}"]
    if value["opinions"]:
        lines += ["", *_table(value["teachers"]), ""]
        wrong = [row for row in value["rules"] if row.get("wrong")]
        for row in wrong[:RULES]:
            lines.append(
                f"rule {row['rule']}, {row['outcome']}: {_percent(row, 'wrong')} wrong, from {row['n']} opinions on "
                f"{row['verdicts']:,} verdicts"
            )
    lines += _suspects(value)
    if asked.waits or (value["waiting"] and asked.outcome != "done"):
        lines.append(f"{value['waiting']} opinions could not be had now: the same command goes on")
    elif value["waiting"]:
        lines.append(
            f"{value['waiting']} opinions are missing: fill in the column `opinion` (right, wrong, unsure) of {sheet}, "
            "then the same command again; or let a judge of the recipe give them: --judge NAME"
        )
    if value["opinions"]:
        lines.append("an opinion is taken as the truth: what a second reader errs is in no interval")
        lines.append(f"`stillhouse compare {folder}` and `report {folder}` show it in the report")
    return lines


def _table(rows: list[Mapping[str, Any]]) -> list[str]:
    table = Table(box=None, pad_edge=False)
    head = ("teacher", "opinions", "wrong yes", "wrong no", "yield", "corrected", "pass@1", "corrected")
    for number, name in enumerate(head):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(
            Text(str(row["teacher"])), str(row["n"]), _percent(row, "false_yes"), _percent(row, "false_no"),
            _percent(row, "verified_yield"), _percent(row, "corrected_yield"), _percent(row, "pass_at_1"),
            _percent(row, "corrected_pass_at_1"),
        )  # fmt: skip
    console = Console(width=160, soft_wrap=True, highlight=False)
    with console.capture() as caught:
        console.print(table)
    return caught.get().rstrip().splitlines()


def _percent(row: Mapping[str, Any], name: str) -> str:
    value, interval = row.get(name), row.get(f"{name}_interval")
    if value is None:
        return "-"
    told = f"{100 * value:.1f} %"
    return told if interval is None else f"{told} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def _suspects(value: Mapping[str, Any]) -> list[str]:
    if not value["suspects"]:
        return ["no suspect reference: nowhere do teachers agree with each other and not with the reference"]
    lines = [f"{value['suspects']} suspect references (teachers agree, and not with the reference); the clearest:"]
    return lines + [
        f"  {row['id'] or row['key']}: {row['votes']} of {row['voters']} say {_short(row['voted'])}, the reference "
        f"says {_short(row['ground_truth'])}" + ("" if row["firm"] else " (read off their prose, may be misread)")
        for row in value["suspect_references"][:SUSPECTS]
    ]


def _short(text: str | None) -> str:
    text = " ".join((text or "").split())
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
