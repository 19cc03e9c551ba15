"""An algorithm of the user's own, by its path: from the command line, on any number of actors, with its mistakes."""

import subprocess
import sys
from pathlib import Path

import pytest

from fedqs_ray import Result, SettingError, algorithms, compare, load

ROOT = Path(__file__).resolve().parent.parent
NAME = "algorithm.name=my_algorithm:TrimmedMean"
QUICK = ["run.rounds=6", "clients.count=12", "server.buffer_size=4", "scenario.ratio=7"]


def fedqs(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "fedqs_ray", *words]
    return subprocess.run(command, cwd=ROOT / "examples", capture_output=True, text=True, timeout=120, check=False)


def test_the_example_runs_with_the_same_bits_on_any_actors(tmp_path: Path) -> None:
    for actors in ("1", "2"):
        overrides = [*QUICK, "run.rounds=20", NAME, "algorithm.trim=1", f"clients.actors={actors}"]
        words = [word for setting in overrides for word in ("--set", setting)]
        done = fedqs("run", *words, "--out", str(tmp_path / actors), "--quiet")
        assert done.returncode == 0, done.stderr
    one, two = (Result(tmp_path / actors) for actors in ("1", "2"))
    assert (one.folder / "model.safetensors").read_bytes() == (two.folder / "model.safetensors").read_bytes()
    assert one.experiment.title == "TrimmedMean"
    assert 0.3 in one.arrivals["momentum"].to_pylist(), "slow clients train with momentum"
    again = fedqs("run", str(tmp_path / "1" / "config.toml"), "--out", str(tmp_path / "again"), "--quiet")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (one.folder / "model.safetensors").read_bytes()


def test_the_example_fits_on_a_screen() -> None:
    assert len((ROOT / "examples" / "my_algorithm.py").read_text(encoding="utf-8").splitlines()) < 60


@pytest.mark.usefixtures("ray_session")
def test_it_can_be_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    base = load(None, [*QUICK, "run.rounds=2", NAME, "algorithm.trim=0"])
    found = compare(base, ["fedsgd", "my_algorithm:TrimmedMean"], [0], out=tmp_path / "grid")
    assert found.cells["algorithm"].to_pylist() == ["fedsgd", "my_algorithm:TrimmedMean"]
    own = Result(tmp_path / "grid" / "static" / "my_algorithm:TrimmedMean" / "seed-0")
    assert own.experiment.model_dump()["algorithm"]["settings"] == {"trim": 0}


OWN = "my_algorithm:TrimmedMean"
MISTAKES = {
    "algorithm.trin=2": f"algorithm.trin: no such setting of {OWN}; did you mean algorithm.trim?",
    "algorithm.xyzzy=2": f"algorithm.xyzzy: no such setting of {OWN}; known here: trim, slow_momentum",
    "algorithm.trim=-1": f'algorithm.name = "{OWN}": must not be negative',
    "algorithm.trim=many": "algorithm.trim = 'many': Input should be a valid integer",
    "algorithm.name=my_algorithm:X": "algorithm.name = \"my_algorithm:X\": module 'my_algorithm' has no attribute 'X'",
    "algorithm.name=fedqs_ray:Algorithm": 'algorithm.name = "fedqs_ray:Algorithm": cannot be made: ',
    "algorithm.name=nowhere:X": 'algorithm.name = "nowhere:X": No module named \'nowhere\'; must be "package.module:',
    "algorithm.name=collections:Counter": 'algorithm.name = "collections:Counter": has no needs, tiers, plan, ',
}


@pytest.mark.parametrize("override", MISTAKES)
def test_a_mistake_is_one_line(override: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    with pytest.raises(SettingError) as caught:
        algorithms.build(load(None, [NAME, override]))
    assert str(caught.value).startswith(MISTAKES[override])


def test_the_command_says_it_too(tmp_path: Path) -> None:
    done = fedqs("run", "--set", "algorithm.name=nowhere:Mean", "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
