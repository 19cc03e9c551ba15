"""The Ray executor: schedules, calls of client actors, resources, errors."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from fedqs_ray.algorithms.registry import build_algorithm
from fedqs_ray.backends.ray.client_actor import ClientActor
from fedqs_ray.backends.ray.resources import plan_actors
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.exceptions import ConfigError, SimulationStopped
from fedqs_ray.core.rows import Progress
from fedqs_ray.core.types import Job, Thresholds, TrainingRequest
from fedqs_ray.experiments.run import run
from fedqs_ray.runs.layout import REPRODUCIBLE
from fedqs_ray.runs.result import Result
from fedqs_ray.tasks.loading import load_data

pytestmark = pytest.mark.usefixtures("ray_session")

Make = Callable[..., Experiment]


def test_a_killed_actor_is_replaced_and_changes_no_byte(
    experiment: Make,
    folder_of: Callable[[Experiment], Result],
    below: Callable[..., list[psutil.Process]],
    tmp_path: Path,
) -> None:
    settings = ["task.model=fcn", "training.clients_per_step=1", "clients.num_cpus=0.5", "clients.actors=3"]
    oracle = folder_of(experiment(*settings, f'run.out="{tmp_path / "oracle"}"'))

    def kill_one(progress: Progress) -> None:
        if progress.round == 3:
            below(os.getpid(), "ray::ClientActor")[0].kill()

    result = run(experiment(*settings, f'run.out="{tmp_path / "run"}"'), on_progress=kill_one)
    assert [line["intended"] for line in result.log if line["event"] == "client actor died"] == [False]
    for name in REPRODUCIBLE:
        assert (result.folder / name).read_bytes() == (oracle.folder / name).read_bytes(), name


@pytest.mark.full
def test_sampling_and_rare_evaluation(experiment: Make, inline: Callable[[Experiment], Any], tmp_path: Path) -> None:
    settings = ["clients.concurrency=5", "run.eval_every=4", "clients.actors=2"]
    result = run(experiment(*settings, f'run.out="{tmp_path / "r"}"'))
    oracle = inline(experiment(*settings))
    assert result.rounds["accuracy"].to_pylist() == [row.accuracy for row in oracle.rounds]
    assert result.summary.updates == 48


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
        batches = [[TrainingRequest(job, 0) for job in jobs[:2]], [TrainingRequest(jobs[2], 0)]]
        (updates, seconds), block = ray.get(actor.train.remote(batches, [(0, None)], ray.put(model)))
        assert block.shape == (3, model.size)
        assert seconds > 0
        assert all(update.vector is None for update in updates), "vectors travel in the block alone"
        # The same client again, with its row of the block as its last update: it has an angle now.
        again = [[TrainingRequest(jobs[1], 0, 1, 2)]]
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


def test_fractions_of_gpus(experiment: Make, held: str, tmp_path: Path) -> None:
    """Ray's logical GPUs: 2 of them hold 20 actors of a tenth, and a run reserves its fractions."""
    assert plan_actors(experiment("clients.num_gpus=0.1", "clients.count=100", "clients.num_cpus=0.1")) == 20
    assert plan_actors(experiment("clients.num_gpus=0.5", "clients.num_cpus=0.5")) == 4
    assert plan_actors(experiment("clients.num_gpus=0.1", "clients.num_cpus=0.1")) == 12, "never idle ones"
    assert plan_actors(experiment("clients.num_gpus=0.6")) == 2, "one on a GPU: the rest of it is too little"
    with pytest.raises(ConfigError, match=r"no actor is divided over nodes or GPUs, so 2 fit"):
        plan_actors(experiment("clients.num_gpus=0.6", "clients.num_cpus=0.5", "clients.actors=3"))
    until, free = tmp_path / "go", list[float]()
    setting = experiment("clients.num_gpus=0.75", held, f'algorithm.until="{until}"', f'run.out="{tmp_path / "r"}"')

    def wait_for_both(progress: Progress) -> None:
        """The run waits after some rounds, until both actors have been placed."""
        end = time.monotonic() + 60
        while progress.round == 6 and not until.exists():
            free.append(free_gpus())
            if free[-1] == pytest.approx(0.5) or time.monotonic() > end:
                until.touch()

    result = run(setting, on_progress=wait_for_both)
    assert free[-1] == pytest.approx(0.5)
    assert result.summary.rounds == 12


def test_one_copy_of_the_data_on_a_node(experiment: Make) -> None:
    """Actors read the arrays where the object store has them."""
    data = ray.get(ray.put(load_data(experiment())))
    assert not data.dataset.features.flags.owndata
    assert not data.dataset.features.flags.writeable
