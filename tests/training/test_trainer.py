"""Local training against the plain PyTorch way of saying it."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedqs_ray.algorithms.registry import build_algorithm
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.types import Job, Plan, Thresholds, TrainingRequest, Vector
from fedqs_ray.tasks.loading import load_data
from fedqs_ray.tasks.models import Dropout, build_model
from fedqs_ray.training.flat_model import FlatModel, make_generators
from fedqs_ray.training.trainer import Trainer

Make = Callable[..., Experiment]


def local(experiment: Experiment) -> Trainer:
    return Trainer(experiment, load_data(experiment), build_algorithm(experiment))


def job(client: int, attempt: int = 0) -> Job:
    return Job(client, attempt, 0, 0.0, 1.0, False, 0.1, None, Thresholds())


def plain(
    task: Trainer,
    client: int,
    attempt: int,
    momentum: float,
    clip: float,
    proximal: float = 0.0,
    correction: Vector | None = None,
) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """The slow twin: a fresh module, torch.optim.SGD, clip_grad_norm_."""
    experiment, data = task.experiment, task.data
    module = build_model(experiment.task.model, (64,), 10)
    start = task.initial
    torch.nn.utils.vector_to_parameters(torch.tensor(start), module.parameters())
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=momentum)
    own = data.train(client)
    features, labels = torch.tensor(data.dataset.features[own]), torch.tensor(data.dataset.labels[own])
    order_draw, noise = make_generators(task.seed(job(client, attempt)), torch.device("cpu"))
    for layer in module.modules():
        if isinstance(layer, Dropout):
            layer.generator = noise
    for _ in range(experiment.training.local_epochs):
        order = torch.randperm(own.size, generator=order_draw)
        for first in range(0, own.size, experiment.training.batch_size):
            batch = order[first : first + experiment.training.batch_size]
            optimizer.zero_grad()
            loss = functional.cross_entropy(module(features[batch]), labels[batch])
            vector = torch.nn.utils.parameters_to_vector(module.parameters())
            loss = loss + proximal / 2 * (vector - torch.tensor(start)).square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(module.parameters(), clip)
            if correction is not None:
                more = torch.split(torch.tensor(correction), [p.numel() for p in module.parameters()])
                for parameter, own_part in zip(module.parameters(), more, strict=True):
                    assert parameter.grad is not None
                    parameter.grad += own_part.view(parameter.shape)
            optimizer.step()
    return torch.nn.utils.parameters_to_vector(module.parameters()).detach().numpy() - start


@pytest.mark.parametrize("model", ["mlp", "fcn"])
@pytest.mark.parametrize(("momentum", "clip"), [(0.0, 20.0), (0.5, 20.0), (0.3, 0.5)])
def test_training_is_sgd(experiment: Make, model: str, momentum: float, clip: float) -> None:
    task = local(experiment(f"task.model={model}", "training.batch_size=16", f"training.clip_norm={clip}"))
    for client in (0, 5):
        task.model.load(task.initial)
        task.fit(job(client, 3), Plan(lr=0.1, momentum=momentum))
        expected = plain(task, client, 3, momentum, clip)
        assert np.allclose(task.model.read() - task.initial, expected, atol=2e-6)
        assert np.abs(expected).max() > 1e-3


@pytest.mark.parametrize("clip", [20.0, 0.5])
def test_what_an_algorithm_adds_to_the_gradients(experiment: Make, clip: float) -> None:
    """A proximal term, which is part of the objective, and a correction, which comes after clipping."""
    task = local(experiment("training.batch_size=16", f"training.clip_norm={clip}"))
    correction = np.random.default_rng(0).normal(0, 0.01, task.initial.size).astype(np.float32)
    plans = [(0.0, None), (2.0, None), (0.0, correction), (2.0, correction)]
    found = []
    for proximal, added in plans:
        task.model.load(task.initial)
        task.fit(job(0), Plan(lr=0.1, momentum=0.3, proximal=proximal), added)
        found.append(task.model.read() - task.initial)
        expected = plain(task, 0, 0, 0.3, clip, proximal, added)
        assert np.allclose(found[-1], expected, atol=3e-6)
    norms = [float(np.linalg.norm(update)) for update in found]
    assert norms[1] < norms[0], "held back by the proximal term"
    assert np.abs(found[2] - found[0]).max() > 1e-3


@pytest.mark.parametrize("model", ["fcn", "cnn", "resnet18"])
@pytest.mark.parametrize(("momentum", "clip"), [(0.5, 20.0), (0.0, 0.5)])
def test_steps_in_fixed_memory_are_the_same_steps(
    experiment: Make, cifar_dir: Path, model: str, momentum: float, clip: float
) -> None:
    """What a GPU records as a graph, run one by one: crops and flips, dropout, batch norm, short last batches."""
    settings = ["task.name=cifar10", f'task.data_dir="{cifar_dir}"', f"task.model={model}", "training.batch_size=32"]
    task = local(experiment(*settings, f"training.clip_norm={clip}", "training.local_epochs=1"))
    found = []
    for steps in (None, task.make_recorded_steps()):
        task.steps = steps
        for attempt in (0, 1):  # the second one must not feel the first
            task.model.load(task.initial)
            loss = task.fit(job(0, attempt), Plan(lr=0.01, momentum=momentum))
        found.append((loss, task.model.read()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-4)
    gap, moved = np.abs(found[0][1] - found[1][1]).max(), np.abs(found[0][1] - task.initial).max()
    assert gap < 1e-3 * moved


def test_a_job_is_a_pure_function_of_itself(experiment: Make) -> None:
    task = local(experiment("task.model=fcn"))
    first = task.train_one(TrainingRequest(job(3), task.initial, None, None))
    state = torch.random.get_rng_state()
    task.train_one(TrainingRequest(job(4), task.initial, None, None))
    again = task.train_one(TrainingRequest(job(3), task.initial, None, None))
    other = task.train_one(TrainingRequest(job(3, attempt=1), task.initial, None, None))
    assert first.delta.tobytes() == again.delta.tobytes()
    assert first.delta.tobytes() != other.delta.tobytes()
    assert torch.equal(torch.random.get_rng_state(), state), "the user's own generator is left alone"


def test_a_client_with_one_sample_trains(experiment: Make) -> None:
    task = local(experiment("clients.count=1000", "task.partition.alpha=0.05"))
    client = int(np.argmin(np.diff(task.data.offsets)))
    assert np.diff(task.data.offsets)[client] == 1
    update = task.train_one(TrainingRequest(job(client), task.initial, None, None))
    assert update.samples == 1
    assert update.largest == np.abs(update.delta).max()
    assert np.abs(update.delta).max() > 0
    assert task.label_accuracy(task.initial, client) == []


def test_a_last_batch_of_one_small_picture_trains(experiment: Make, digits_dir: Path) -> None:
    """Through layers that see it as 1x1, and as a step in fixed memory just so."""
    settings = ["task.name=mnist", f'task.data_dir="{digits_dir}"', "task.model=resnet18", "training.local_epochs=1"]
    task = local(experiment(*settings, "clients.count=30", "task.partition.name=iid", "training.batch_size=9"))
    assert task.data.train(0).size % 9 == 1
    found = []
    for steps in (None, task.make_recorded_steps()):
        task.steps = steps
        task.model.load(task.initial)
        task.fit(job(0), Plan(lr=0.001))
        found.append(task.model.read() - task.initial)
    assert np.isfinite(found[0]).all()
    assert np.abs(found[0] - found[1]).max() < 1e-3 * np.abs(found[0]).max()


def test_label_accuracy_counts_up_to_20_samples_a_label(experiment: Make) -> None:
    task = local(experiment("clients.count=2", "server.buffer_size=1", "task.partition.name=iid"))
    task.model.load(task.initial)
    found = task.label_accuracy(task.initial, 0)
    own = task.data.validation(0)
    counts = np.bincount(task.data.dataset.labels[own], minlength=10)
    assert [n for _, n in found] == [min(20, n) for n in counts.tolist() if n]
    assert all(0.0 <= accuracy <= 1.0 for accuracy, _ in found)
    # By hand, for the first label.
    first = own[task.data.dataset.labels[own] == 0][:20]
    with torch.no_grad():
        guesses = task.model.module(torch.tensor(task.data.dataset.features[first])).argmax(1)
    assert found[0][0] == pytest.approx(float((guesses == 0).float().mean()))


def test_a_diverged_update_is_not_finite(experiment: Make) -> None:
    task = local(experiment())
    update = task.train_one(TrainingRequest(job(0), np.full_like(task.initial, 1e30), None, None))
    assert not math.isfinite(update.largest)


def test_evaluation(experiment: Make) -> None:
    task = local(experiment())
    found = task.evaluate(np.zeros_like(task.initial))
    assert found.loss == pytest.approx(np.log(10), rel=1e-5)  # all scores equal
    zeros = float((task.data.dataset.test_labels == 0).mean())
    assert found.accuracy == pytest.approx(zeros)


@pytest.mark.parametrize("count", [40, 1400])
def test_who_is_served_how_well(experiment: Make, count: int) -> None:
    """Sample by sample; of 1,400 clients most have a single sample, and nothing to validate with."""
    task = local(experiment(f"clients.count={count}"))
    dataset, model = task.data.dataset, task.initial + np.float32(0.01)
    labels, clients = task.evaluate(model).labels, task.validate(model)
    torch.nn.utils.vector_to_parameters(torch.tensor(model), task.model.module.parameters())

    def right(features: np.ndarray, labels: np.ndarray) -> int:
        return int((task.model.module(torch.tensor(features)).argmax(1).numpy() == labels).sum())

    for label, (samples, good) in enumerate(labels):
        own = dataset.test_labels == label
        assert (samples, good) == (own.sum(), right(dataset.test_features[own], dataset.test_labels[own]))
    for client in range(count):
        own = task.data.validation(client)
        assert clients[client] == (right(dataset.features[own], dataset.labels[own]) if own.size else 0)
    assert 0 < clients.sum() < sum(task.data.validation(client).size for client in range(count))


def test_flat_model_includes_float_buffers() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    flat = FlatModel(module)
    assert flat.layout.names == ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var")
    assert flat.vector.numel() == 6 + 3 + 3 + 3 + 3 + 3
    before = flat.read()
    module.train()
    module(torch.tensor([[1.0, 2.0], [3.0, 5.0]])).sum().backward()
    after = flat.read()
    assert np.array_equal(before[:15], after[:15])
    assert not np.array_equal(before[15:], after[15:]), "running statistics are part of the vector"
    flat.load(before)
    assert module[1].running_var.tolist() == [1.0, 1.0, 1.0]  # type: ignore[operator]
