"""DESIGN's import rules: who may import whom, read from the source."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "fedqs_ray"
BASE = {"messages", "config", "methods", "problems", "section", "seeding", "sums", "worlds"}
MAY_IMPORT = {
    "messages": set(),
    "config": {"bounds", "methods", "problems", "section", "worlds"},
    "methods": {"bounds", "section"},
    "problems": {"bounds", "section"},
    "worlds": {"bounds", "section"},
    "section": set(),
    "seeding": set(),
    "sums": set(),
    "bounds": set(),
    "places": set(),
    "scratch": set(),
    "schema": {"config"},
    "mistakes": {"config", "places", "schema"},
    "reference": {"config", "schema", "mistakes"},
    "settings": {"config", "schema", "mistakes"},
    "tracefile": {"config", "scenarios", "worlds"},
    "folders": {"config", "settings", "results", "logbook", "places"},
    "errors": set(),
    "logbook": {"errors"},
    "workplace": {"config", "folders", "places", "results", "scratch", "simulation"},
    "algorithms": BASE,
    "scenarios": BASE,
    "tasks": BASE,
    "simulation": BASE,
    "actors": BASE | {"errors", "scratch", "simulation", "tasks", "logbook"},
    "results": {"messages", "config", "logbook", "places", "scratch", "settings"},
    "progress": {"messages", "config", "places", "results"},
    "space": {"config", "mistakes", "schema", "seeding", "settings"},
    "charts": set(),
    "view": {"config", "results"},
    "watching": {"charts", "config", "places", "progress", "results", "view"},
    "interop": BASE | {"algorithms", "simulation", "results", "folders", "settings"},
}
COMPOSE = {"cli", "experiment", "grid", "tuning", "trials", "__init__", "__main__"}
PURE = {"algorithms", "scenarios", "simulation"}
FORBIDDEN_IN_PURE = {"ray", "torch", "time", "pathlib", "os", "pyarrow"}


def room(path: Path) -> str:
    part = path.relative_to(PACKAGE).parts[0]
    return part.removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "absolute imports only"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    own = room(path)
    if own in COMPOSE:
        return
    used = {name.split(".")[1] for name in imports(path) if name.startswith("fedqs_ray.")} - {own}
    assert used <= MAY_IMPORT[own]


@pytest.mark.parametrize("path", [p for p in FILES if room(p) in PURE], ids=lambda path: path.name)
def test_pure_rooms_know_no_ray_no_clock_no_file(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & FORBIDDEN_IN_PURE


def test_every_room_has_a_rule() -> None:
    assert {room(path) for path in FILES} == set(MAY_IMPORT) | COMPOSE


def test_the_loop_fits_in_a_head() -> None:
    assert len((PACKAGE / "simulation" / "server.py").read_text(encoding="utf-8").splitlines()) < 250
