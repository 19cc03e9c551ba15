"""Law 1 on real Ray: how many actors there are, and which one trains what, never changes a bit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from fedqs_ray.algorithms.registry import NAMES, build_algorithm
from fedqs_ray.backends.ray.client_actor import ClientActor
from fedqs_ray.backends.ray.resources import plan_actors
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.exceptions import ConfigError, SimulationStopped
from fedqs_ray.core.rows import Progress
from fedqs_ray.core.types import Job, Thresholds
from fedqs_ray.experiments.run import run
from fedqs_ray.runs.layout import REPRODUCIBLE
from fedqs_ray.runs.result import Result
from fedqs_ray.tasks.loading import load_data

pytestmark = pytest.mark.usefixtures("ray_session")
ALGORITHMS = ["fedavg", "fedsgd", "fedqs-avg", "fedqs-sgd"]

Make = Callable[..., Experiment]


def files(result: Result) -> dict[str, bytes]:
    return {name: (result.folder / name).read_bytes() for name in REPRODUCIBLE}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_bits_on_any_actors(
    experiment: Make, inline: Callable[[Experiment], Any], tmp_path: Path, algorithm: str
) -> None:
    cohort = 1 if algorithm == "fedqs-sgd" else 4  # clients with actors of their own are trained alone
    settings = [f"algorithm.name={algorithm}", "run.rounds=16", "task.model=fcn", "clients.num_cpus=0.125"]
    settings.append(f"training.clients_per_step={cohort}")
    layouts = {
        "one": "clients.actors=1",
        "four": "clients.actors=4",
        "own": "clients.clients_per_actor=1",
        "hosted": "clients.clients_per_actor=5",
    }
    if cohort > 1:  # one gets every layout, the others the two extremes
        layouts = {name: layouts[name] for name in ("one", "four")}
    oracle = inline(experiment(*settings))
    found = {}
    for name, layout in layouts.items():
        result = run(experiment(*settings, layout, f'run.out="{tmp_path / name}"'))
        model = b"".join(np.ascontiguousarray(result.model[n]).tobytes() for n in oracle.model)
        assert model == oracle.bits(), name
        found[name] = files(result)
    first = next(iter(found.values()))
    assert all(other == first for other in found.values())
    rows = Result(tmp_path / "one").rounds.to_pylist()
    assert [row["accuracy"] for row in rows] == [row.accuracy for row in oracle.rounds]


OTHERS = [name for name in NAMES if name not in ALGORITHMS]
KILLED = {"fedac", "safa", "fedat", "ca2fl"}
"""Of which actors are killed on the way; between them they need everything that an algorithm may need."""


@pytest.mark.parametrize("algorithm", OTHERS)
def test_the_same_bits_for_the_rest_of_the_field(
    experiment: Make, inline: Callable[[Experiment], Any], tmp_path: Path, algorithm: str
) -> None:
    settings = [f"algorithm.name={algorithm}", "task.model=fcn", "training.clients_per_step=3", "run.rounds=8"]
    oracle = inline(experiment(*settings))
    crashes = ["scenario.faults.crash_rate=0.08"] if algorithm in KILLED else []
    seen: list[Progress] = []
    result = run(
        experiment(*settings, *crashes, "clients.actors=2", "clients.num_cpus=0.5", f'run.out="{tmp_path / "run"}"'),
        on_progress=seen.append,
    )
    model = b"".join(np.ascontiguousarray(result.model[n]).tobytes() for n in oracle.model)
    assert model == oracle.bits()
    assert [row["accuracy"] for row in result.rounds.to_pylist()] == [row.accuracy for row in oracle.rounds]
    assert (max(progress.retries for progress in seen) > 0) == bool(crashes)
    told = [one for progress in seen for one in progress.evaluations]
    evaluated = result.evaluations()
    assert told == list(zip(evaluated["round"], evaluated["accuracy"], strict=True)), "each once, however late"


@pytest.mark.parametrize("task", ["cifar10", "shakespeare"])
def test_the_same_bits_with_pictures_and_text(
    experiment: Make, inline: Callable[[Experiment], Any], request: pytest.FixtureRequest, tmp_path: Path, task: str
) -> None:
    """Convolutions, crops and flips; recurrent layers."""
    folder = request.getfixturevalue({"cifar10": "cifar_dir", "shakespeare": "shakespeare_dir"}[task])
    settings = ["task.name=" + task, f'task.data_dir="{folder}"', "run.rounds=3", "clients.num_cpus=0.5"]
    settings += ["task.stride=2000"] if task == "shakespeare" else []
    oracle = inline(experiment(*settings))
    for actors in (1, 2):
        result = run(experiment(*settings, f"clients.actors={actors}", f'run.out="{tmp_path / str(actors)}"'))
        model = b"".join(np.ascontiguousarray(result.model[n]).tobytes() for n in oracle.model)
        assert model == oracle.bits(), actors


def test_arrivals_are_the_same_under_another_algorithm(experiment: Make, tmp_path: Path) -> None:
    tables = []
    for name in ("fedavg", "fedqs-sgd"):
        result = run(experiment(f"algorithm.name={name}", f'run.out="{tmp_path / name}"', "clients.actors=1"))
        tables.append(result.arrivals.select(["client", "start", "end", "version", "outcome", "round"]))
    assert all(table.equals(tables[0]) for table in tables)


def test_sampling_and_rare_evaluation(experiment: Make, inline: Callable[[Experiment], Any], tmp_path: Path) -> None:
    settings = ["clients.concurrency=5", "run.eval_every=4", "clients.actors=2"]
    result = run(experiment(*settings, f'run.out="{tmp_path / "r"}"'))
    oracle = inline(experiment(*settings))
    assert result.rounds["accuracy"].to_pylist() == [row.accuracy for row in oracle.rounds]
    assert result.summary.updates == 48


@pytest.mark.parametrize("model", ["mlp", "fcn"])
def test_sketches_instead_of_last_updates(
    experiment: Make, inline: Callable[[Experiment], Any], tmp_path: Path, model: str
) -> None:
    """A small model, whose vectors travel with the calls, and a larger one."""
    settings = [f"task.model={model}", "algorithm.sketch_dim=128", "clients.actors=2", "clients.num_cpus=0.5"]
    result = run(experiment(*settings, f'run.out="{tmp_path / "r"}"'))
    oracle = inline(experiment(*settings))
    assert b"".join(np.ascontiguousarray(result.model[n]).tobytes() for n in oracle.model) == oracle.bits()
    exact = inline(experiment(f"task.model={model}"))
    angles, others = ([row.angle for row in one.jobs if row.angle is not None] for one in (oracle, exact))
    assert len(angles) == len(others) > 20
    assert angles != others
    assert np.mean(np.abs(np.subtract(angles, others))) < 8, "degrees, at 1/sqrt(128)"


@contextmanager
def one_actor(experiment: Experiment) -> Iterator[Any]:
    actor = ClientActor.options(num_cpus=0.5).remote(  # type: ignore[attr-defined]
        experiment, ray.put(load_data(experiment)), build_algorithm(experiment)
    )
    try:
        yield actor
    finally:
        ray.kill(actor)


def test_a_call_returns_a_block_and_takes_rows_of_blocks(experiment: Make) -> None:
    setting = experiment()
    with one_actor(setting) as actor:
        model, _ = ray.get(actor.initial_model.remote())
        jobs = [Job(client, 0, 0, 0.0, 1.0, False, 0.1, 1.0, Thresholds(1.0, 40.0)) for client in range(3)]
        cohorts = [[(job, 0, None, None) for job in jobs[:2]], [(jobs[2], 0, None, None)]]
        (updates, seconds), block = ray.get(actor.train.remote(cohorts, [(0, None)], ray.put(model)))
        assert block.shape == (3, model.size)
        assert seconds > 0
        assert all(update.delta.size == 0 for update in updates), "vectors travel in the block alone"
        # The same client again, with its row of the block as its last update: it has an angle now.
        again = [[(jobs[1], 0, 1, 2)]]
        arguments = [ray.put(model), ray.put(model * 0), ray.put(block)]
        (updates, _), _ = ray.get(actor.train.remote(again, [(0, None), (1, None), (2, 1)], *arguments))
        assert 0.0 < updates[0].plan.angle < 180.0


def test_asking_for_too_much_says_what_there_is(experiment: Make, tmp_path: Path) -> None:
    cases = {
        ("clients.actors=5",): r"clients\.num_cpus = 1: 5 client actors \(clients\.actors = 5\) would need 5 CPUs, "
        r"and this machine has 2; at most 0\.4 would fit",
        ("clients.clients_per_actor=1",): r"clients\.num_cpus = 1: 12 client actors \(clients\.clients_per_actor = 1\)",
        ("clients.num_cpus=8",): r"clients\.num_cpus = 8: 1 client actor would need 8 CPUs, and this machine has 2",
        ("clients.num_gpus=0.6", "clients.num_cpus=0.5", "clients.actors=4"): r"clients\.num_gpus = 0\.6: 4 client "
        r"actors \(clients\.actors = 4\) would need 2\.4 GPUs, and this machine has 2; at most 0\.5 would fit",
    }
    for settings, message in cases.items():
        out = tmp_path / "never"
        with pytest.raises(ConfigError, match=message):
            run(experiment(*settings, f'run.out="{out}"'))
        assert not out.exists()


def test_what_nobody_foresaw_is_one_line_and_its_traceback_a_file(experiment: Make, tmp_path: Path) -> None:
    setting = experiment(f'run.out="{tmp_path / "r"}"', "training.clients_per_step=1")
    broken = setting.training.model_copy(update={"batch_size": 0})
    with pytest.raises(
        SimulationStopped, match=r"stopped: RuntimeError: .* is in .*/r, the traceback in error\.txt$"
    ) as caught:
        run(setting.model_copy(update={"training": broken}))
    assert caught.value.folder == str(tmp_path / "r")
    assert "\n" not in str(caught.value)
    assert "in fit\n" in (tmp_path / "r" / "error.txt").read_text()


def free_gpus() -> float:
    resources: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    return resources.get("GPU", 0.0)


def test_fractions_of_gpus(experiment: Make, tmp_path: Path) -> None:
    """Ray's logical GPUs: 2 of them hold 20 actors of a tenth, and a run reserves its fractions."""
    assert plan_actors(experiment("clients.num_gpus=0.1", "clients.count=100", "clients.num_cpus=0.1")) == 20
    assert plan_actors(experiment("clients.num_gpus=0.5", "clients.num_cpus=0.5")) == 4
    assert plan_actors(experiment("clients.num_gpus=0.1", "clients.num_cpus=0.1")) == 12, "never idle ones"
    assert plan_actors(experiment("clients.num_gpus=0.6")) == 2, "one on a GPU: the rest of it is too little"
    with pytest.raises(ConfigError, match=r"no actor is divided over nodes or GPUs, so 2 fit"):
        plan_actors(experiment("clients.num_gpus=0.6", "clients.num_cpus=0.5", "clients.actors=3"))
    setting = experiment("clients.num_gpus=0.75", "run.rounds=300")
    free = []
    result = run(
        setting.model_copy(update={"run": setting.run.model_copy(update={"out": str(tmp_path / "r")})}),
        on_progress=lambda progress: free.append(free_gpus()),
    )
    assert min(free) == pytest.approx(0.5)
    assert result.summary.rounds == 300


def test_one_copy_of_the_data_on_a_node(experiment: Make) -> None:
    """Actors read the arrays where the object store has them."""
    data = ray.get(ray.put(load_data(experiment())))
    assert not data.dataset.features.flags.owndata
    assert not data.dataset.features.flags.writeable
