"""Law 1 on real Ray: the files of a run on client actors are, to the byte, those of the inline oracle.

`make test` has one algorithm for each capability, and two numbers of actors; `make test-all` has all algorithms.
"""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from fedqs_ray.algorithms.registry import NAMES, build_algorithm
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.interfaces import Algorithm
from fedqs_ray.core.rows import Progress
from fedqs_ray.core.types import Need
from fedqs_ray.experiments.run import run
from fedqs_ray.runs.layout import REPRODUCIBLE
from fedqs_ray.runs.result import Result

pytestmark = pytest.mark.usefixtures("ray_session")

Make = Callable[..., Experiment]
Oracle = Callable[[Experiment], Result]

CAPABLE = {
    "fedqs-sgd": "the previous model, client state as it was sent",
    "fedac": "client state of its own, all client states, correction, extra vector, state, combine",
    "ca2fl": "all client states, which are whole updates",
    "fedat": "tiers",
}
"""An algorithm for each capability that the interface of algorithms has; plain averaging is part of all."""
QUICK = CAPABLE.keys() - {"fedqs-sgd"}  # which has its turn on two numbers of actors
KILLED = {"fedac", "fedat", "ca2fl", "safa"}
"""Algorithms whose runs lose actors on the way."""


def files(result: Result) -> dict[str, bytes]:
    return {name: (result.folder / name).read_bytes() for name in REPRODUCIBLE}


def list_capabilities(algorithm: Algorithm) -> set[str]:
    """What an algorithm asks of whoever executes it, as far as its class shows it."""
    found: set[str] = set(algorithm.needs)
    found |= {"one tier"} if algorithm.tiers == 1 else {"tiers"} if algorithm.tiers else set()
    for method in ("plan", "correction", "client_state"):
        if getattr(type(algorithm), method) is not getattr(Algorithm, method):
            found.add(f"{method}()")
    return found


def test_each_capability_has_its_algorithm(experiment: Make) -> None:
    field = {name: list_capabilities(build_algorithm(experiment(f"algorithm.name={name}"))) for name in NAMES}
    shown = {capability for name in CAPABLE for capability in field[name]}
    assert shown == {*get_args(Need), "tiers", "plan()", "correction()", "client_state()"}
    assert {capability for found in field.values() for capability in found} - shown == {"one tier"}, "tiers, but one"


@pytest.mark.parametrize(
    "algorithm", [pytest.param(name, marks=[pytest.mark.full] * (name not in QUICK)) for name in NAMES]
)
def test_the_same_bytes_for_every_algorithm(
    experiment: Make, folder_of: Oracle, tmp_path: Path, algorithm: str
) -> None:
    settings = [f"algorithm.name={algorithm}", "task.model=fcn", "training.clients_per_step=3", "run.rounds=8"]
    oracle = folder_of(experiment(*settings, f'run.out="{tmp_path / "oracle"}"'))
    crashes = ["scenario.faults.crash_rate=0.08"] if algorithm in KILLED else []
    seen: list[Progress] = []
    result = run(
        experiment(*settings, *crashes, "clients.actors=2", "clients.num_cpus=0.5", f'run.out="{tmp_path / "run"}"'),
        on_progress=seen.append,
    )
    assert files(result) == files(oracle)
    assert (max(progress.retries for progress in seen) > 0) == bool(crashes)
    told = [one for progress in seen for one in progress.evaluations]
    evaluated = result.evaluations()
    assert told == list(zip(evaluated["round"], evaluated["accuracy"], strict=True)), "each once, however late"


LAYOUTS = ["clients.actors=1", "clients.clients_per_actor=6", "clients.actors=4", "clients.clients_per_actor=1"]


@pytest.mark.parametrize(
    ("algorithm", "layouts"),
    [
        ("fedqs-sgd", LAYOUTS[:2]),
        pytest.param("fedqs-sgd", LAYOUTS[2:], marks=pytest.mark.full),
        pytest.param("fedqs-avg", [LAYOUTS[0], LAYOUTS[2]], marks=pytest.mark.full),
        pytest.param("fedavg", [LAYOUTS[0], LAYOUTS[2]], marks=pytest.mark.full),
        pytest.param("fedsgd", [LAYOUTS[0], LAYOUTS[2]], marks=pytest.mark.full),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value[0]}, {value[1]}",
)
def test_the_same_bytes_on_any_actors(
    experiment: Make, folder_of: Oracle, tmp_path: Path, algorithm: str, layouts: list[str]
) -> None:
    """One client after another (clients with an actor of their own are never trained together), or four together."""
    together = 1 if algorithm == "fedqs-sgd" else 4
    settings = [f"algorithm.name={algorithm}", "run.rounds=16", "task.model=fcn", "clients.num_cpus=0.125"]
    settings.append(f"training.clients_per_step={together}")
    oracle = folder_of(experiment(*settings, f'run.out="{tmp_path / "oracle"}"'))
    for number, layout in enumerate(layouts):
        result = run(experiment(*settings, layout, f'run.out="{tmp_path / str(number)}"'))
        assert files(result) == files(oracle), layout


@pytest.mark.full
@pytest.mark.parametrize("task", ["cifar10", "shakespeare"])
def test_the_same_bytes_with_pictures_and_text(
    experiment: Make, folder_of: Oracle, request: pytest.FixtureRequest, tmp_path: Path, task: str
) -> None:
    """Convolutions, crops and flips; recurrent layers."""
    folder = request.getfixturevalue({"cifar10": "cifar_dir", "shakespeare": "shakespeare_dir"}[task])
    settings = ["task.name=" + task, f'task.data_dir="{folder}"', "run.rounds=3", "clients.num_cpus=0.5"]
    settings += ["task.stride=2000"] if task == "shakespeare" else []
    oracle = folder_of(experiment(*settings, f'run.out="{tmp_path / "oracle"}"'))
    for actors in (1, 2):
        result = run(experiment(*settings, f"clients.actors={actors}", f'run.out="{tmp_path / str(actors)}"'))
        assert files(result) == files(oracle), actors


@pytest.mark.parametrize("model", [pytest.param("mlp", marks=pytest.mark.full), "fcn"])
def test_sketches_instead_of_last_updates(experiment: Make, folder_of: Oracle, tmp_path: Path, model: str) -> None:
    """A small model, whose vectors travel with the calls, and a larger one."""
    exact = [f"task.model={model}", "clients.num_cpus=0.5"]
    settings = [*exact, "algorithm.sketch_dim=128"]
    result = run(experiment(*settings, "clients.actors=2", f'run.out="{tmp_path / "r"}"'))
    oracle = folder_of(experiment(*settings, f'run.out="{tmp_path / "oracle"}"'))
    assert files(result) == files(oracle)
    whole = folder_of(experiment(*exact, f'run.out="{tmp_path / "exact"}"'))
    angles, others = (one.arrivals["angle"].drop_null().to_numpy() for one in (oracle, whole))
    assert len(angles) == len(others) > 20
    assert not np.array_equal(angles, others)
    assert np.mean(np.abs(angles - others)) < 8, "degrees, at 1/sqrt(128)"
