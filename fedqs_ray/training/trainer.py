"""Local work on one node: training a client, measuring a model. A pure function of job and vectors.

The same code runs inside Ray actors and inline; torch's threads are fixed by the configuration, because
their number can change the last bits of a sum.
"""

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.fixed_point import largest_magnitude
from fedqs_ray.core.interfaces import Algorithm
from fedqs_ray.core.random import stream, torch_seed
from fedqs_ray.core.types import (
    ClientView,
    Evaluation,
    Job,
    Layout,
    Plan,
    TrainingRequest,
    Update,
    Vector,
    check_plan,
    is_vector,
)
from fedqs_ray.tasks.federated import FederatedData
from fedqs_ray.tasks.models import Dropout, build_model
from fedqs_ray.training.batched import Trainee, batch_clients
from fedqs_ray.training.cuda_graph import RecordedSteps
from fedqs_ray.training.flat_model import FlatModel, Hooks, make_generators
from fedqs_ray.training.inputs import Inputs

Indices = NDArray[np.int64]

EVAL_BATCH = 1000
"""Test samples that are evaluated at once."""
EVAL_PICTURES = 200
"""The same for pictures, whose layers would not fit a processor's caches."""
MAX_LABEL_SAMPLES = 20
"""Validation samples a label in FedQS's switch for slow, biased clients (FedQS paper: 20)."""


class Trainer:
    """Trains any client of an experiment, and evaluates any model."""

    def __init__(self, experiment: Experiment, data: FederatedData, algorithm: Algorithm) -> None:
        self.experiment, self.data, self.algorithm = experiment, data, algorithm
        torch.set_num_threads(max(1, int(experiment.clients.num_cpus)))
        gpu = experiment.clients.num_gpus > 0 and torch.cuda.is_available()
        self.device = torch.device("cuda" if gpu else "cpu")
        if gpu and experiment.training.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs for it
            torch.use_deterministic_algorithms(True)
        dataset = data.dataset
        self.inputs = Inputs(dataset, getattr(experiment.task, "augment", False), self.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(experiment.seed, "model"))
            module = build_model(experiment.task.model, dataset.shape, dataset.classes, dataset.vocabulary)
        self.model = FlatModel(module.to(self.device))
        self.dropouts = [layer for layer in module.modules() if isinstance(layer, Dropout)]
        self.initial = self.model.read()
        self.labelled: dict[int, tuple[Indices, Indices, Indices]] = {}
        """What `label_samples` found, which is asked for again and again."""
        self.steps = self.recorded() if gpu and experiment.training.cuda_graphs else None

    def recorded(self) -> RecordedSteps:
        """Training steps that a GPU records."""
        setting, noise = self.experiment.training, torch.Generator(self.device)
        return RecordedSteps(self.model, self.inputs, setting.clip_norm, setting.precision == "bfloat16", noise)

    def initial_model(self) -> tuple[Vector, Layout]:
        """w^0 and its division into tensors."""
        return self.initial, self.model.layout

    def train(self, batch: Sequence[TrainingRequest[Vector]]) -> list[Update]:
        """Run jobs that are to be trained together."""
        if self.experiment.clients_per_step == 1:
            return [self.alone(request) for request in batch]
        return self.together(batch)

    def alone(self, request: TrainingRequest[Vector]) -> Update:
        """Run one job."""
        view = self.view(request)
        plan = self.plan(view)
        self.model.load(request.model)
        loss = self.fit(request.job, plan, self.algorithm.correction(view))
        return self.update(request.job, view, plan, self.model.read() - request.model, loss)

    def together(self, batch: Sequence[TrainingRequest[Vector]]) -> list[Update]:
        """Run several jobs at once: what `alone` would return for each, but for rounding."""
        setting, trainees, views, plans = self.experiment.training, [], [], []
        for request in batch:
            job, view = request.job, self.view(request)
            plan = self.plan(view)
            features, labels = self.tensors(self.data.train(job.client))
            start = torch.tensor(view.model, device=self.device)
            rule = plan.lr, plan.momentum, plan.proximal, self.tensor(self.algorithm.correction(view))
            trainees.append(Trainee(start, features, labels, self.seed(job), *rule))
            views.append(view)
            plans.append(plan)
        together = batch_clients(self.model, self.inputs, trainees, setting.local_epochs, setting.batch_size)
        models, losses = (found.cpu().numpy() for found in together.train(setting.clip_norm))
        return [
            self.update(request.job, view, plan, trained - view.model, float(loss))
            for request, view, plan, trained, loss in zip(batch, views, plans, models, losses, strict=True)
        ]

    def view(self, request: TrainingRequest[Vector]) -> ClientView:
        """What the algorithm is shown of a job."""
        job, model = request.job, request.model
        return ClientView(
            model=model,
            extra=request.extra,
            client_state=request.client_state,
            lr=job.lr,
            speed=job.speed,
            thresholds=job.thresholds,
            label_accuracy=lambda: self.label_accuracy(model, job.client),
            parameters=self.model.layout.parameters,
        )

    def plan(self, view: ClientView) -> Plan:
        """What the algorithm has a client do."""
        return check_plan(self.algorithm.plan(view), self.experiment.title)

    def tensor(self, vector: Vector | None) -> torch.Tensor | None:
        """A vector on the device, if it is one."""
        return None if vector is None else torch.tensor(vector, device=self.device)

    def update(self, job: Job, view: ClientView, plan: Plan, delta: Vector, loss: float) -> Update:
        """What a job returns; the scenario may have spoilt it."""
        self.spoil(job, delta)
        samples, most = int(self.data.train_counts[job.client]), largest_magnitude(delta)
        steps = self.experiment.training.steps(samples)
        client_state = self.algorithm.client_state(view, plan, delta, steps) if math.isfinite(most) else None
        if client_state is not None and not is_vector(client_state):
            raise TypeError(
                f"{self.experiment.title}.client_state returned {client_state!r:.60}; must be a float32 vector or None"
            )
        return Update(delta, plan, samples, loss, most, client_state)

    def spoil(self, job: Job, delta: Vector) -> None:
        """Do to an update what the scenario wants done to it."""
        if job.fault == "nan":
            delta[:] = np.nan
        elif job.fault == "corrupt":
            draw = stream(self.experiment.seed, "corrupt", job.client, job.attempt)
            places = draw.choice(delta.size, math.ceil(delta.size / 100), replace=False)
            delta.view(np.uint32)[places] ^= draw.integers(0, 2**32, places.size, dtype=np.uint32)

    def fit(self, job: Job, plan: Plan, correction: Vector | None = None) -> float:
        """E epochs of SGD on the client's training samples, from the loaded model; returns the steps' mean loss."""
        setting, own = self.experiment.training, self.data.train(job.client)
        features, labels = self.tensors(own)
        velocity = torch.zeros_like(self.model.gradient)
        losses = []
        self.model.module.train()
        order, noise = make_generators(self.seed(job), self.device)
        start = self.model.parameters.clone() if plan.proximal else None
        hooks = Hooks(plan.proximal, start, self.tensor(correction))
        steps = self.steps if hooks.idle else None
        if steps:
            noise = steps.noise.manual_seed(noise.initial_seed())
            steps.begin(plan.lr, plan.momentum)
        for layer in self.dropouts:
            layer.generator = noise
        for _ in range(setting.local_epochs):
            for batch in torch.split(torch.randperm(own.size, generator=order).to(self.device), setting.batch_size):
                if steps:
                    losses.append(steps(features, labels, batch))
                    continue
                samples = self.inputs.training(features[batch], noise)
                loss = self.model.loss(samples, labels[batch], setting.precision == "bfloat16")
                loss.backward()  # type: ignore[no-untyped-call]
                self.model.sgd_step(plan.lr, plan.momentum, setting.clip_norm, velocity, hooks)
                losses.append(loss.detach())
        return float(torch.stack(losses).mean()) if losses else 0.0

    def seed(self, job: Job) -> int:
        """Where everything random in a job comes from."""
        return torch_seed(self.experiment.seed, "training", job.client, job.attempt)

    def label_accuracy(self, model: Vector, client: int) -> list[tuple[float, int]]:
        """Accuracy of `model` on up to 20 validation samples of each label that the client has."""
        chosen, starts, sizes = self.label_samples(client)
        if not chosen.size:
            return []
        features, labels = self.tensors(chosen)
        self.model.load(model)
        if self.model.module.training:
            self.model.module.eval()
        with torch.no_grad():
            right = (self.model.module(self.inputs(features)).argmax(1) == labels).cpu().numpy()
        counts = np.add.reduceat(right, starts, dtype=np.int64)
        return list(zip((counts / sizes).tolist(), sizes.tolist(), strict=True))

    def label_samples(self, client: int) -> tuple[Indices, Indices, Indices]:
        """Up to 20 validation samples of each label that the client has, label by label; where each label's begin,
        and how many they are.
        """
        if client not in self.labelled:
            own = self.data.validation(client)
            kinds = self.data.dataset.labels[own]
            chosen = [own[kinds == label][:MAX_LABEL_SAMPLES] for label in np.unique(kinds)]
            sizes = np.array([part.size for part in chosen], np.int64)
            self.labelled[client] = np.concatenate([own[:0], *chosen]), np.cumsum(sizes) - sizes, sizes
        return self.labelled[client]

    def evaluate(self, model: Vector) -> Evaluation:
        """Accuracy and mean cross-entropy of `model` on the task's test samples."""
        dataset = self.data.dataset
        truth = dataset.test_labels
        right, loss = self.judge(model, dataset.test_features, truth)
        counts = [np.bincount(own, minlength=dataset.classes) for own in (truth, truth[right])]
        labels = tuple(zip(*(own.tolist() for own in counts), strict=True))
        return Evaluation(int(right.sum()) / right.size, loss / right.size, labels)

    def validate(self, model: Vector) -> Indices:
        """(N,) how many of its validation samples `model` gets right at each client."""
        dataset = self.data.dataset
        chosen, owners = self.data.validations()
        right, _ = self.judge(model, dataset.features, dataset.labels, chosen)
        return np.bincount(owners[right], minlength=self.data.train_counts.size)

    def judge(
        self, model: Vector, features: NDArray[Any], labels: Indices, chosen: Indices | None = None
    ) -> tuple[NDArray[np.bool_], float]:
        """Which of the samples (or of those `chosen`) `model` gets right, and the sum of their cross-entropies."""
        self.model.load(model)
        self.model.module.eval()
        pictures = len(self.data.dataset.shape) == 3
        size, count = EVAL_PICTURES if pictures else EVAL_BATCH, len(labels) if chosen is None else len(chosen)
        right, loss = np.empty(count, np.bool_), 0.0
        with torch.no_grad():
            for start in range(0, count, size):
                batch = slice(start, start + size)
                places = batch if chosen is None else chosen[batch]
                truth = torch.tensor(labels[places], device=self.device)
                samples = self.inputs(torch.tensor(features[places], device=self.device))
                if pictures:
                    samples = samples.contiguous(memory_format=torch.channels_last)
                scores = self.model.module(samples)
                right[batch] = (scores.argmax(1) == truth).cpu().numpy()
                loss += float(functional.cross_entropy(scores, truth, reduction="sum"))
        return right, loss

    def tensors(self, indices: Indices) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and labels of the samples at `indices`, copied out of the shared arrays."""
        dataset = self.data.dataset
        features, labels = torch.from_numpy(dataset.features[indices]), torch.from_numpy(dataset.labels[indices])
        return features.to(self.device), labels.to(self.device)
