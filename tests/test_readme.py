"""Every command and every Python snippet that the README shows is run."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from fedqs_ray.cli import main, parser

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
@pytest.mark.usefixtures("ray_session")
def test_everything_the_readme_shows_runs_in_its_order(
    workplace: Path,
    adult_dir: Path,
    cifar_dir: Path,
    shakespeare_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (workplace / "data").mkdir()
    for name, folder in (("adult", adult_dir), ("cifar10", cifar_dir), ("shakespeare", shakespeare_dir)):
        (workplace / "data" / name).symlink_to(folder)
    monkeypatch.chdir(workplace)
    count = 0
    for language, block in re.findall(r"^```(bash|python)\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        if language == "python":
            (workplace / "snippet.py").write_text(block, encoding="utf-8")
            capsys.readouterr()
            runpy.run_path("snippet.py")
            shown = capsys.readouterr().out
            assert "column_names" not in block or re.match(r"0\.\d+\n\['round', 'time', 'accuracy'", shown)
            continue
        for line in block.splitlines():  # later ones build on earlier ones
            if line.startswith("fedqs "):
                words = shlex.split(line, comments=True)[1:]
                assert main(words) == 0, f"{line}\n{capsys.readouterr().err}"
                count += 1
    assert count >= 15
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
