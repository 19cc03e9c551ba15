"""All code that the README and the pages of docs/ show is run, page by page in its order, on one Ray session.

`make test` only parses it.

Runs are made short: a tenth of the rounds, one seed, one actor, less text; the words of the command stay. What cannot
be run here is in `ONLY_PARSED`, `ELSEWHERE` and `NOT_RUN`, with the reason.
"""

import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from PIL import Image
from ray.scripts.scripts import cli as ray_cli
from sklearn.datasets import load_digits, load_wine

from fedqs_ray import load
from fedqs_ray.cli.commands import main
from fedqs_ray.cli.parser import make_parser

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = {
    path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
SHOWING = [name for name, text in PAGES.items() if {language for language, _ in BLOCK.findall(text)} - {"text"}]

ONLY_PARSED = {"cluster": "needs a cluster; test_cluster.py brings one up and submits to it"}
ELSEWHERE = {
    "flower": "needs Flower's environment; interop/test_flower.py runs the page there",
    "README": "needs real data; test_what_the_readme_shows_runs has them",
}
NOT_RUN = {
    "make": "sets up the environment that the tests run in, or runs the tests",
    "source": "the same environment",
    "python3": "the same environment",
    "export": "is for the cluster",
}
"""By how a line begins. It is parsed all the same, if it is one of ours or of Ray."""


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with what the pages expect: the examples, a table of wines, photographs by their label."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    wine = load_wine(as_frame=True).frame.rename(columns={"target": "grape"})
    wine["cellar"] = [f"cellar {row % 12}" for row in range(len(wine))]
    wine.to_csv(tmp_path / "grapes.csv", index=False)
    digits = load_digits()
    for row, (pixels, label) in enumerate(zip(digits.images[:300], digits.target[:300], strict=True)):
        place = tmp_path / "photos" / str(label) / f"{row}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15).astype("uint8")).save(place)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("mine", "heavy", "my_algorithm"):
        sys.modules.pop(name, None)


@pytest.fixture
def real_data(workplace: Path, adult_dir: Path, cifar_dir: Path, shakespeare_dir: Path) -> Path:
    """The same folder, with data/."""
    (workplace / "data").mkdir()
    for name, folder in (("adult", adult_dir), ("cifar10", cifar_dir), ("shakespeare", shakespeare_dir)):
        (workplace / "data" / name).symlink_to(folder)
    return workplace


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("ray_session")
def test_what_the_readme_shows_runs(
    real_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_page("README", real_data, monkeypatch)
    assert re.search(r"^0\.\d+\n\['round', 'time', 'accuracy'", capsys.readouterr().out, re.MULTILINE)
    assert len(re.findall(r"^fedqs ", PAGES["README"], re.MULTILINE)) >= 15
    first, again = (real_data / "runs" / name / "model.safetensors" for name in ("first", "again"))
    assert first.read_bytes() == again.read_bytes(), "the same bits, as promised"


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("page", [name for name in SHOWING if name not in ONLY_PARSED | ELSEWHERE])
def test_what_a_page_shows_runs(page: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_page(page, workplace, monkeypatch)


def run_page(page: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of a page."""
    text = PAGES[page]
    for block in BLOCK.finditer(text):
        language, code = block[1], shortened(block[2])
        match language:
            case "bash":
                for words in commands(code):
                    run_command(words, monkeypatch)
            case "python":
                named = re.match(r"# (\w+\.py)\n", code)
                name = named[1] if named else "mine.py"
                (workplace / name).write_text(code, encoding="utf-8")
                runpy.run_path(name)
            case "toml":
                (workplace / "shown.toml").write_text(code, encoding="utf-8")
                load("shown.toml")
            case "csv":  # named in the line above
                name = re.findall(r"`([\w.]+\.csv)`", text[: block.start()])[-1]
                (workplace / name).write_text(code, encoding="utf-8")
            case _:
                assert language == "text", f"{language}: say here how such a block is tested"


@pytest.mark.parametrize("page", ONLY_PARSED)
def test_what_a_page_shows_is_well_formed(page: str) -> None:
    for language, code in BLOCK.findall(PAGES[page]):
        assert language == "bash"
        subprocess.run(["bash", "-n"], input=code, text=True, check=True)
        for words in commands(code):
            parse_command(words)


@pytest.mark.parametrize("page", [page for page in SHOWING if page not in ONLY_PARSED])
def test_what_a_page_shows_can_be_parsed(page: str) -> None:
    """Without running it: quick."""
    for language, code in BLOCK.findall(PAGES[page]):
        match language:
            case "bash":
                subprocess.run(["bash", "-n"], input=code, text=True, check=True)
                for words in commands(code):
                    if words[0] == "fedqs":
                        make_parser().parse_args(words[1:])
            case "python":
                compile(code, page, "exec")
            case "toml":
                tomllib.loads(code)


def shortened(code: str) -> str:
    """The same code with fewer rounds and one seed."""
    fewer = re.sub(r"(run\.rounds|checkpoint_every)=(\d+)", lambda m: f"{m[1]}={max(1, int(m[2]) // 10)}", code)
    return re.sub(r"(?<=--seeds )[\d,]+", "0", fewer)


def commands(block: str) -> list[list[str]]:
    """The commands of a block, as words."""
    joined = block.replace("\\\n", " ")
    return [words for line in joined.splitlines() if (words := shlex.split(line, comments=True))]


def run_command(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, on its Ray session."""
    if words[0] == "cd":
        monkeypatch.chdir(words[1])
    elif words[0] == "fedqs" and not excused(words):
        line = " ".join(words)
        short = ["run.rounds=3"] * ("run.rounds=" not in line and "config.toml" not in line)
        short += ["clients.actors=1"] * ("clients_per_actor" not in line)
        short += ["task.stride=400"] * ("shakespeare" in line)
        more = [word for setting in short for word in ("--set", setting)] if words[1] in ("run", "compare") else []
        assert main([*words[1:], *more]) == 0, words
    else:
        assert excused(words), f"{words}: run it here, or say why not"
        parse_command(words)


def excused(words: list[str]) -> bool:
    """Whether there is a reason not to run a command."""
    return any(words[: len(start.split())] == start.split() for start in NOT_RUN)


def parse_command(words: list[str]) -> None:
    """As far as its own parser takes it."""
    if words[0] == "fedqs":
        given = make_parser().parse_args(words[1:])
        if words[1] == "run":
            load(given.config, given.set, out=given.out)
    elif words[0] == "ray":
        command: click.Command = ray_cli
        rest = words[1:]
        while isinstance(command, click.Group):
            command, rest = command.commands[rest[0]], rest[1:]
        command.make_context(words[1], rest)
        if "--" in words:
            parse_command(words[words.index("--") + 1 :])
    else:
        assert excused(words), f"{words}: parse it here, or say why not"


INLINE = [(name, code) for name, text in PAGES.items() for code in re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))]


def test_commands_in_sentences_are_right(capsys: pytest.CaptureFixture[str]) -> None:
    checked = 0
    for page, code in INLINE:
        words = code.split()
        options = [word for word in words if word.startswith("--")]
        if words[0] == "fedqs" and len(words) > 1:
            with pytest.raises(SystemExit, match="0"):
                main([words[1], "--help"])
            known = capsys.readouterr().out
        elif code.startswith("python benchmarks/"):
            scripts = (ROOT / words[1], ROOT / "benchmarks" / "common.py")
            known = "".join(path.read_text(encoding="utf-8") for path in scripts)
        else:
            continue
        assert all(option in known for option in options), f"{page}: {code}"
        checked += 1
    assert checked > 15


def test_settings_in_sentences_exist() -> None:
    rows = re.findall(r"^## \[([\w.]+)\]|^\| `(\w+)` \|", PAGES["configuration"], re.MULTILINE)
    known: set[str] = set()
    section = ""
    for heading, setting in rows:
        section = heading or section
        known |= {f"{section}.{setting}"} if setting else {section}
    assert len(known) > 80
    for page, code in INLINE:
        for name in re.findall(
            r"^(?:--set )?((?:run|clients|server|task|training|scenario)\.(?!parquet|py\b)[a-z_.]+)(?=$|[ =])", code
        ):
            assert name in known, f"{page}: {name}"
