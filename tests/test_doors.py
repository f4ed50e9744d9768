"""Who may import whom: read from the imports themselves, so that the house stays the house."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src" / "stillhouse"
SHELVES = {"sources", "teachers", "verifiers", "filters", "students", "benchmarks"}
# stage -> the room of what it needs beyond its own file
ROOM_OF = {
    "curate": "curating", "distill": "distilling", "filter": "filtering", "export": "exporting",
    "compare": "comparing", "evaluate": "evaluating", "report": "reporting",
}  # fmt: skip
ROOMS = set(ROOM_OF.values())
STAGE_MAY = {"records", "store", "engines", "workers", "stats", "loop", "asking", "sitting"}
PIPELINE_MAY = {"records", "recipe", "settings", "progress", "stages", "store"} | ROOMS

# room -> what it may import of ours, beside itself
MAY: dict[str, set[str]] = {
    "records": set(),
    "stats": set(),
    "sandbox": set(),
    "transport": {"records"},
    "workers": {"records"},
    "engines": {"records"},
    "store": {"records"},
    "asking": {"records", "store", "transport"},  # transport: limits, and dead endpoints
    "batch": {"records", "asking", "store", "transport"},
    "loop": {"records", "asking", "store", "transport", "workers"},
    "sitting": {"records", "loop", "asking", "batch", "store", "transport", "workers"},  # transport: serves the metrics
    **{shelf: {"records", "transport", "sandbox", "store", "stats"} for shelf in SHELVES},
    **dict.fromkeys(ROOMS, STAGE_MAY),
    "stages": STAGE_MAY | ROOMS,
    "settings": {"records"},
    "mistakes": {"records", "settings"},
    "recipe_checks": {"settings"},
    "recipe_reading": {"records", "settings", "mistakes", "recipe_checks"},
    "recipe": {"records", "settings", "recipe_checks", "recipe_reading"} | SHELVES,
    "recipe_students": {"records", "settings", "recipe", "recipe_checks"} | SHELVES,
    "progress": {"sitting"},
    "pipeline_students": PIPELINE_MAY | {"recipe_students"},
    "pipeline": PIPELINE_MAY | {"pipeline_students", "engines", "asking"},  # asking: what stops it has an exit code
    "verbs": STAGE_MAY | PIPELINE_MAY | {"recipe_students", "pipeline", "pipeline_students"},
    "testing": {"records", "transport"},
    "cli": {"records", "recipe", "settings", "pipeline", "verbs", "store"},
    "__init__": set(),
    "__main__": {"cli"},
}


def room_of(path: Path) -> str:
    parts = path.relative_to(SRC).parts
    return parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom) and node.level:
            raise AssertionError(f"{path}: a relative import; the house writes whole names")
        if isinstance(node, ast.ImportFrom) and node.module == "stillhouse":
            names = [f"stillhouse.{alias.name}" for alias in node.names]
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("stillhouse.")}
    return found - {"__version__"}


FILES = sorted(SRC.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_a_room_imports_only_what_its_door_admits(path: Path) -> None:
    room = room_of(path)
    assert room in MAY, f"{path} stands in no room of the house"
    assert imports(path) - {room} <= MAY[room]


@pytest.mark.parametrize("path", [p for p in FILES if room_of(p) == "stages"], ids=lambda p: p.name)
def test_a_stage_imports_no_other_stage_and_no_other_stage_s_room(path: Path) -> None:
    assert imports(path) & ({"stages"} | ROOMS) <= {ROOM_OF.get(path.stem)}


def test_the_stages_are_the_path() -> None:
    assert {p.stem for p in FILES if room_of(p) == "stages"} - {"__init__"} == {*ROOM_OF, "train"}


def test_packages_are_one_deep() -> None:
    deep = [p for p in FILES if len(p.relative_to(SRC).parts) > 2]
    assert not deep


@pytest.mark.parametrize("name", ["utils", "common", "base", "core", "manager", "helpers", "misc"])
def test_no_file_is_named_for_nothing(name: str) -> None:
    assert not [p for p in FILES if p.stem == name or p.parent.name == name]
