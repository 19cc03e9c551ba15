"""An algorithm of the user's own, by its path: from the command line, on any number of actors, with its mistakes."""

import re
import sys
from collections.abc import Callable
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedqs_ray import Aggregation, ClientView, ConfigError, Experiment, Plan, Result, Round, compare, load, run
from fedqs_ray.algorithms.registry import build_algorithm
from fedqs_ray.cli.commands import main
from fedqs_ray.core.interfaces import Arrival
from fedqs_ray.core.own_code import OWN_FOLDERS
from fedqs_ray.experiments.tune import takes_whole
from fedqs_ray.runs.layout import REPRODUCIBLE

ROOT = Path(__file__).resolve().parents[2]
NAME = "algorithm.name=my_algorithm:TrimmedMean"
QUICK = ["run.rounds=6", "clients.count=12", "server.buffer_size=4", "scenario.ratio=7"]


@pytest.mark.usefixtures("ray_session")
def test_the_example_runs_with_the_same_bits_on_actors_and_without(
    folder_of: Callable[[Experiment], Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The actors do not have the module in their path."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    overrides = [*QUICK, "run.rounds=20", NAME, "algorithm.trim=1", "clients.actors=2"]
    words = [word for setting in overrides for word in ("--set", setting)]
    assert main(["run", *words, "--out", str(tmp_path / "run"), "--quiet"]) == 0
    result = Result(tmp_path / "run")
    assert result.experiment.title == "TrimmedMean"
    assert 0.3 in result.arrivals["momentum"].to_pylist(), "slow clients train with momentum"
    again = folder_of(load(result.folder / "config.toml", out=str(tmp_path / "again")))
    for name in REPRODUCIBLE:
        assert (result.folder / name).read_bytes() == (again.folder / name).read_bytes(), name


def test_the_example_fits_on_a_screen() -> None:
    assert len((ROOT / "examples" / "my_algorithm.py").read_text(encoding="utf-8").splitlines()) < 60


@pytest.mark.full
@pytest.mark.usefixtures("ray_session")
def test_it_can_be_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    base = load(None, [*QUICK, "run.rounds=2", NAME, "algorithm.trim=0"])
    found = compare(base, ["fedsgd", "my_algorithm:TrimmedMean"], [0], out=tmp_path / "grid")
    assert found.cells["algorithm"].to_pylist() == ["fedsgd", "my_algorithm:TrimmedMean"]
    with pytest.raises(ConfigError, match="No module named 'nowhere'"):
        compare(base, ["fedsgd", "nowhere:X"], [0], out=tmp_path / "never")
    assert not (tmp_path / "never").exists()
    own = Result(tmp_path / "grid" / "static" / "my_algorithm:TrimmedMean" / "seed-0")
    assert own.experiment.model_dump()["algorithm"]["settings"] == {"trim": 0}


INNER = {"job", "update", "fetch"}
"""Fields of an arrival that are the loop's; its properties have what an algorithm needs of them."""


@pytest.mark.parametrize("kind", [Round, Arrival, Aggregation, ClientView, Plan])
def test_the_page_lists_every_field(kind: type) -> None:
    page = (ROOT / "docs" / "own-algorithm.md").read_text(encoding="utf-8")
    listed = page.split(f"\n`{kind.__name__}`, ")[1].split("\n`")[0]
    shown = {field.name for field in fields(kind)} - INNER
    shown |= {name for name, member in vars(kind).items() if isinstance(member, property)}
    for name in shown:
        assert re.search(rf"`{name}(\([a-z]*\))?`", listed), name


OWN = "my_algorithm:TrimmedMean"
MISTAKES = {
    "algorithm.trin=2": f"algorithm.trin: no such setting of {OWN}; did you mean algorithm.trim?",
    "algorithm.xyzzy=2": f"algorithm.xyzzy: no such setting of {OWN}; known here: trim, slow_momentum",
    "algorithm.path=elsewhere": f"algorithm.path: no such setting of {OWN}; known here: trim, slow_momentum",
    "algorithm.settings.trim=2": f"algorithm.settings: no such setting of {OWN}; known here: trim, slow_momentum",
    "algorithm.trim=-1": f'algorithm.name = "{OWN}": must not be negative',
    "algorithm.trim=many": 'algorithm.trim = "many": must be a whole number',
    "algorithm.name=my_algorithm:X": "algorithm.name = \"my_algorithm:X\": module 'my_algorithm' has no attribute 'X'",
    "algorithm.name=fedqs_ray:Algorithm": 'algorithm.name = "fedqs_ray:Algorithm": cannot be made: ',
    "algorithm.name=nowhere:X": 'algorithm.name = "nowhere:X": No module named \'nowhere\'; must be "package.module:',
    "algorithm.name=collections:Counter": 'algorithm.name = "collections:Counter": has no needs, tiers, plan, ',
}


@pytest.mark.parametrize("override", MISTAKES)
def test_a_mistake_is_one_line(override: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    with pytest.raises(ConfigError) as caught:
        build_algorithm(load(None, [NAME, override]))
    assert str(caught.value).startswith(MISTAKES[override])


TYPED = """
from dataclasses import dataclass
from typing import Literal
from uuid import UUID
from fedqs_ray import Algorithm

@dataclass(frozen=True)
class Typed(Algorithm):
    rate: float
    form: Literal["soft", "hard"] = "soft"
    sizes: tuple[int, ...] = ()
    key: UUID | None = None
"""


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "algorithm.rate: must be given"),
        (["rate=x"], 'algorithm.rate = "x": must be a number'),
        (["rate=1", "form=firm"], "algorithm.form = \"firm\": must be 'soft' or 'hard'"),
        (["rate=1", "sizes=3"], "algorithm.sizes = 3: must be a list in [brackets]"),
        (["rate=1", 'sizes=[1, "x"]'], 'algorithm.sizes.1 = "x": must be a whole number'),
        (["rate=1", "key=x"], 'algorithm.key = "x": Input should be a valid UUID'),
    ],
)
def test_settings_are_checked_against_their_types(
    overrides: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "typed_algorithm.py").write_text(TYPED, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "typed_algorithm", raising=False)
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        build_algorithm(
            load(None, ["algorithm.name=typed_algorithm:Typed", *(f"algorithm.{one}" for one in overrides)])
        )


LAZY = """
import {helper}
from fedqs_ray.algorithms.fedavg import FedAvg

class Lazy(FedAvg):
    def aggregate(self, round):
        import {later}
        return {later}.VALUE
"""


def test_the_working_folder_is_searched_and_the_path_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for imports inside a function, after the working folder changed; not for modules from elsewhere."""
    monkeypatch.setattr(OWN_FOLDERS, "folders", [])
    for name in ("lazy_algorithm", "lazy_helper", "lazy_later"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "lazy_algorithm.py").write_text(LAZY.format(helper="lazy_helper", later="lazy_later"), encoding="utf-8")
    (tmp_path / "lazy_helper.py").write_text("", encoding="utf-8")
    (tmp_path / "lazy_later.py").write_text("VALUE = 3", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != ""])
    searched = list(sys.path)
    for name in ("collections:Counter", "nowhere:X"):
        with pytest.raises(ConfigError):
            build_algorithm(load(None, [f"algorithm.name={name}"]))
        assert find_spec("lazy_later") is None
    made: Any = build_algorithm(load(None, ["algorithm.name=lazy_algorithm:Lazy"]))
    monkeypatch.chdir(ROOT)
    assert sys.path == searched
    assert made.aggregate(None) == 3


FEDAVG = "from fedqs_ray.algorithms.fedavg import FedAvg\nclass Mine(FedAvg):\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("raise RuntimeError('no')", "no; must be"),
        ("class Mine(:", "invalid syntax"),
        ("Mine = 3", "is no class; must be"),
        (f"{FEDAVG}    tiers = -1", "tiers = -1: must be a whole"),
        (f"{FEDAVG}    needs = frozenset({{'x'}})", "must be a frozenset out of client_state, client_states, previous"),
        ("class Mine:\n    def __init__(self):\n        raise KeyError('x')", "cannot be made: 'x'"),
    ],
)
def test_whatever_a_module_does_is_one_line(
    text: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"broken_{abs(hash(text))}"
    (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=f'^algorithm.name = "{name}:Mine".*{re.escape(line)}'):
        build_algorithm(load(None, [f"algorithm.name={name}:Mine"]))


def test_the_long_form_may_be_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    long = ["algorithm.name=own", "algorithm.path=my_algorithm:TrimmedMean", "algorithm.settings.trim=3"]
    assert load(None, [*long, "algorithm.slow_momentum=0.1"]).algorithm.model_dump()["settings"] == {
        "trim": 3,
        "slow_momentum": 0.1,
    }
    other = load(None, [*long, "algorithm.name=my_algorithm:Other"]).algorithm.model_dump()
    assert other == {"name": "own", "path": "my_algorithm:Other", "settings": {}}
    same = load(None, [*long, "algorithm.name=my_algorithm:TrimmedMean"]).algorithm.model_dump()
    assert same == {"name": "own", "path": "my_algorithm:TrimmedMean", "settings": {"trim": 3}}


def test_a_sweep_draws_whole_numbers_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    base = load(None, [NAME])
    assert takes_whole(base, "algorithm.trim")
    assert not takes_whole(base, "algorithm.slow_momentum")
    assert not takes_whole(base, "training.trim")


MEMORY = """
import numpy as np
from fedqs_ray import Aggregation, Algorithm

class Long(Algorithm):
    needs = frozenset({"client_state", "client_states"})

    def client_state(self, view, plan, delta, steps):
        return np.tile(delta, 4)

    def aggregate(self, round):
        count = len(round.arrivals)
        before = [a.previous_client_state for a in round.arrivals]
        olds = [0 if old is None else old[: round.model.size] for old in before]
        mean = np.mean([a.delta + old for a, old in zip(round.arrivals, olds)], axis=0)
        return Aggregation(round.model + mean, (1 / count,) * count)
"""


@pytest.mark.usefixtures("ray_session")
def test_a_memory_longer_than_a_model(
    inline: Callable[[Experiment], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is small enough to travel with calls, its client state is not."""
    (tmp_path / "long_memory.py").write_text(MEMORY, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    setting = load(None, [*QUICK, "run.rounds=8", "algorithm.name=long_memory:Long", "clients.actors=2"])
    oracle = inline(setting)
    one = [*QUICK, "run.rounds=8", "algorithm.name=long_memory:Long", "clients.actors=1"]
    result = run(load(None, one, out=str(tmp_path / "run")))
    assert b"".join(np.ascontiguousarray(result.model[name]).tobytes() for name in oracle.model) == oracle.bits()


def test_the_command_says_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--set", "algorithm.name=nowhere:Mean", "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "run").exists()
