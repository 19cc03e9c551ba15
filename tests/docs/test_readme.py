"""What the README says is so; test_shown.py runs what it shows."""

import re
import shlex
from pathlib import Path

from fedqs_ray.cli.parser import make_parser

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


COMMANDS = [line.partition("#")[0].strip() for block in blocks("bash") for line in block.splitlines() if line.strip()]


def test_the_two_promises_are_there() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    promised = [command.split()[1] for command in COMMANDS if command.startswith("make ")]
    assert promised == ["run", "test"]
    assert set(promised) <= set(targets)


def test_no_other_tool_is_needed() -> None:
    assert {command.split()[0] for command in COMMANDS} == {"make", "fedqs"}
    for command in COMMANDS:
        if command.startswith("fedqs "):
            make_parser().parse_args(shlex.split(command)[1:])


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
