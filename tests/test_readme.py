"""Every command and every Python snippet that the README shows is run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fedqs_ray.cli import parser

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


COMMANDS = [line.partition("#")[0].strip() for block in blocks("bash") for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a clone: the examples are there."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "examples").symlink_to(ROOT / "examples")
    return folder


def test_the_two_promises_are_there() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    promised = [command.split()[1] for command in COMMANDS if command.startswith("make ")]
    assert promised == ["run", "test"]
    assert set(promised) <= set(targets)


@pytest.mark.timeout(1200)
def test_everything_the_readme_shows_runs_in_its_order(
    workplace: Path, adult_dir: Path, cifar_dir: Path, shakespeare_dir: Path
) -> None:
    (workplace / "data").mkdir()
    for name, folder in (("adult", adult_dir), ("cifar10", cifar_dir), ("shakespeare", shakespeare_dir)):
        (workplace / "data" / name).symlink_to(folder)
    shown = re.findall(r"^```(bash|python)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    commands = []
    for language, block in shown:
        if language == "python":
            commands.append([sys.executable, "-c", block])
            continue
        lines = [shlex.split(line, comments=True) for line in block.splitlines() if line.startswith("fedqs ")]
        commands += [[sys.executable, "-m", "fedqs_ray", *line[1:]] for line in lines]
    assert len(commands) >= 15
    for command in commands:  # later ones build on earlier ones
        done = subprocess.run(command, cwd=workplace, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        if "result.rounds.column_names" in command[-1]:
            assert re.match(r"0\.\d+\n\['round', 'time', 'accuracy'", done.stdout)
    first, again = (workplace / "runs" / name / "model.safetensors" for name in ("first", "again"))
    assert first.read_bytes() == again.read_bytes(), "the same bits, as promised"


def test_no_other_tool_is_needed() -> None:
    assert {command.split()[0] for command in COMMANDS} == {"make", "fedqs"}
    for command in COMMANDS:
        if command.startswith("fedqs "):
            parser().parse_args(shlex.split(command)[1:])


def test_the_pictures_and_pages_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_the_tables_are_the_committed_ones() -> None:
    for name in ("four_algorithms", "leaderboard"):
        results = (ROOT / "benchmarks" / "results" / f"{name}.md").read_text(encoding="utf-8")
        first = re.search(r"(^\|.*\n)+", results, re.MULTILINE)
        assert first
        assert first[0] in README, name
