"""Several clients trained at once, against each of them trained alone."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedqs_ray.algorithms.registry import build_algorithm
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.loading import load_experiment
from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.core.types import Job, Thresholds, TrainingRequest, Update, Vector
from fedqs_ray.tasks.loading import load_data
from fedqs_ray.training.trainer import Trainer

Make = Callable[..., Experiment]


def orders(task: Trainer, clients: list[int]) -> list[TrainingRequest[Vector]]:
    """Jobs with starts, attempts and learning rates of their own; FedQS gives them momentum of their own too."""
    draw = np.random.default_rng(0)
    found: list[TrainingRequest[Vector]] = []
    for place, client in enumerate(clients):
        noise = [draw.standard_normal(task.initial.size).astype(np.float32) for _ in range(3)]
        thresholds = Thresholds(speed=1.0, angle=90.0)
        job = Job(client, place, 1, 0.0, 1.0, False, 0.05 + 0.01 * place, 0.5 + 0.3 * place, thresholds)
        found.append(TrainingRequest(job, task.initial + 0.01 * noise[0], task.initial, noise[1]))
    return found


def check(task: Trainer, clients: list[int], tolerance: float = 1e-5) -> list[Update]:
    """Together as alone."""
    given = orders(task, clients)
    alone = [task.train_one(request) for request in given]
    together = task.train_together(given)
    for one, other in zip(alone, together, strict=True):
        largest = np.abs(one.delta).max()
        assert largest > 1e-3, "it was trained"
        assert np.abs(one.delta - other.delta).max() < tolerance * max(1.0, largest)
        assert other.loss == pytest.approx(one.loss, rel=1e-4)
        assert (other.plan, other.samples) == (one.plan, one.samples)
    return together


@pytest.mark.parametrize("model", ["mlp", "fcn"])
@pytest.mark.parametrize("clip", [20.0, 0.5])
def test_dense_models(experiment: Make, model: str, clip: float) -> None:
    """Clients of very unequal size: last batches of every length, some clients done long before others."""
    task = Trainer(
        setting := experiment(
            f"task.model={model}", f"training.clip_norm={clip}", "training.batch_size=16", "clients.count=30"
        ),
        data := load_data(setting),
        build_algorithm(setting),
    )
    sizes = data.train_counts
    clients = [*np.argsort(sizes)[:3].tolist(), *np.argsort(sizes)[-3:].tolist(), 7, 11]
    assert len({int(-(-sizes[client] // 16)) for client in clients}) > 3
    assert len({int(sizes[client] % 16) for client in clients}) > 3
    updates = check(task, clients)
    assert len({update.plan.momentum for update in updates}) > 1
    check(task, clients[:1])


@pytest.mark.parametrize("algorithm", ["fedprox algorithm.mu=2.0", "fedac"])
def test_what_algorithms_add_to_the_gradients(experiment: Make, algorithm: str) -> None:
    setting = experiment(*f"algorithm.name={algorithm}".split(), "task.model=fcn", "training.batch_size=16")
    task = Trainer(setting, load_data(setting), build_algorithm(setting))
    plain = Trainer(other := experiment("algorithm.name=fedsgd", "task.model=fcn", "training.batch_size=16"),
                      load_data(other), build_algorithm(other))  # fmt: skip
    clients = [0, 3, 5, 7]
    unlike = [a.delta - b.delta for a, b in zip(check(task, clients), check(plain, clients), strict=True)]
    assert all(np.abs(difference).max() > 1e-3 for difference in unlike)


def test_a_convolutional_model(experiment: Make, cifar_dir: Path) -> None:
    setting = experiment(
        "task.name=cifar10", f'task.data_dir="{cifar_dir}"', "training.batch_size=20", "training.lr=0.01",
        "clients.count=12", "training.clip_norm=1",
    )  # fmt: skip
    assert setting.task.augment  # type: ignore[union-attr]
    check(Trainer(setting, load_data(setting), build_algorithm(setting)), [0, 3, 5], tolerance=1e-4)


def test_a_recurrent_model(experiment: Make, shakespeare_dir: Path) -> None:
    setting = experiment(
        "task.name=shakespeare", f'task.data_dir="{shakespeare_dir}"', "task.stride=4000", "training.local_epochs=1"
    )
    check(Trainer(setting, load_data(setting), build_algorithm(setting)), [0, 3, 5])


def test_an_exploding_client_spoils_nobody_else(experiment: Make) -> None:
    setting = experiment("task.model=fcn")
    task = Trainer(setting, load_data(setting), build_algorithm(setting))
    given = orders(task, [0, 1, 2])
    given[1] = replace(given[1], model=np.full_like(given[1].model, 1e30))
    first, second, third = task.train_together(given)
    assert [math.isfinite(one.largest) for one in (first, second, third)] == [True, False, True]
    assert np.abs(first.delta - task.train_one(given[0]).delta).max() < 1e-5
    assert np.abs(third.delta - task.train_one(given[2]).delta).max() < 1e-5


def test_what_cannot_be_trained_at_once_is_said() -> None:
    for setting, why in [
        ("run.clock=wall", "wall clock"),
        ("clients.clients_per_actor=5", "clients_per_actor"),
        ("task.name=cifar10", "batch norm"),
    ]:
        more = ["task.model=resnet18"] if "cifar" in setting else []
        with pytest.raises(ConfigError, match=rf"training\.clients_per_step = 4: .*{why}.*must be 1"):
            load_experiment(None, [setting, *more, "training.clients_per_step=4"])
        assert load_experiment(None, [setting, *more]).clients_per_step == 1
    assert load_experiment(None, []).clients_per_step == 8
    assert load_experiment(None, ["training.clients_per_step=3"]).clients_per_step == 3
