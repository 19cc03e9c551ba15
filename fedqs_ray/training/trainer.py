"""Local training and evaluation on one node with PyTorch: pure functions of job and vectors.

The same code runs inside Ray actors and inline; torch's threads are fixed by the configuration, because
their number can change the last bits of a sum.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.interfaces import Algorithm
from fedqs_ray.core.random import derive_torch_seed
from fedqs_ray.core.types import Evaluation, Job, Layout, Plan, TrainingRequest, Update, Vector
from fedqs_ray.tasks.federated import FederatedData
from fedqs_ray.tasks.models import Dropout, build_model
from fedqs_ray.training.batched import ClientInput, batch_clients
from fedqs_ray.training.client_step import ClientStep, Trained
from fedqs_ray.training.cuda_graph import RecordedSteps
from fedqs_ray.training.device import choose_device
from fedqs_ray.training.flat_model import FlatModel, make_generators
from fedqs_ray.training.inputs import Inputs
from fedqs_ray.training.optimizers import SGD

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
        self.device = torch.device(choose_device(experiment.clients.num_gpus))
        gpu = self.device.type == "cuda"
        if gpu and experiment.training.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs for it
            torch.use_deterministic_algorithms(True)
        dataset = data.dataset
        self.inputs = Inputs(dataset, getattr(experiment.task, "augment", False), self.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_torch_seed(experiment.seed, "model"))
            module = build_model(experiment.task.model, dataset.shape, dataset.classes, dataset.vocabulary)
        self.model = FlatModel(module.to(self.device))
        self.dropouts = [layer for layer in module.modules() if isinstance(layer, Dropout)]
        self.initial = self.model.read()
        self.steps = self.make_recorded_steps() if gpu and experiment.training.cuda_graphs else None

    def make_recorded_steps(self) -> RecordedSteps:
        """Training steps that a GPU records as CUDA graphs."""
        setting, noise = self.experiment.training, torch.Generator(self.device)
        return RecordedSteps(self.model, self.inputs, setting.clip_norm, setting.precision == "bfloat16", noise)

    def initial_model(self) -> tuple[Vector, Layout]:
        """w^0 and its division into tensors."""
        return self.initial, self.model.layout

    def train(self, batch: Sequence[TrainingRequest[Vector]]) -> list[Update]:
        """Train the clients of a batch of jobs, together or one after another."""
        if self.experiment.clients_per_step == 1:
            return [self.train_one(request) for request in batch]
        return self.train_together(batch)

    def train_one(self, request: TrainingRequest[Vector]) -> Update:
        """Train the client of one job."""
        step = self.plan_step(request)
        self.model.load(request.model)
        loss = self.fit(request.job, step.plan, step.correction)
        return step.make_update(Trained(self.model.read(), self.count_samples(request.job), loss))

    def train_together(self, batch: Sequence[TrainingRequest[Vector]]) -> list[Update]:
        """Train the clients of several jobs at once: the updates of `train_one`, but for rounding."""
        steps, clients = [self.plan_step(request) for request in batch], []
        for step in steps:
            features, labels = self.tensors(self.data.train(step.job.client))
            start, correction = torch.tensor(step.model, device=self.device), self.tensor(step.correction)
            clients.append(ClientInput(start, features, labels, self.seed(step.job), step.plan, correction))
        together = batch_clients(self.model, self.inputs, clients, self.experiment.training)
        models, losses = (result.cpu().numpy() for result in together.train())
        return [
            step.make_update(Trained(model, self.count_samples(step.job), float(loss)))
            for step, model, loss in zip(steps, models, losses, strict=True)
        ]

    def plan_step(self, request: TrainingRequest[Vector]) -> ClientStep:
        """A client's step, planned by the algorithm."""
        return ClientStep(
            self.algorithm,
            self.experiment,
            request,
            self.model.layout.parameters,
            lambda: self.label_accuracy(request.model, request.job.client),
        )

    def count_samples(self, job: Job) -> int:
        """Number of training samples of the job's client, n_i."""
        return int(self.data.train_counts[job.client])

    def tensor(self, vector: Vector | None) -> torch.Tensor | None:
        """A vector on the device; None stays None."""
        return None if vector is None else torch.tensor(vector, device=self.device)

    def fit(self, job: Job, plan: Plan, correction: Vector | None = None) -> float:
        """Train the loaded model for E epochs on the client's training samples; returns the steps' mean loss."""
        setting, own, model = self.experiment.training, self.data.train(job.client), self.model
        features, labels = self.tensors(own)
        losses = []
        model.module.train()
        order, noise = make_generators(self.seed(job), self.device)
        steps = self.steps if correction is None and not plan.proximal else None
        sgd = SGD(model.parameters[None], model.gradient[None], setting.clip_norm)
        if steps:
            noise = steps.noise.manual_seed(noise.initial_seed())
            steps.begin(plan)
        else:
            sgd.begin([plan], [self.tensor(correction)])
        for layer in self.dropouts:
            layer.generator = noise
        for _ in range(setting.local_epochs):
            for batch in torch.split(torch.randperm(own.size, generator=order).to(self.device), setting.batch_size):
                if steps:
                    losses.append(steps(features, labels, batch))
                    continue
                samples = self.inputs.training(features[batch], noise)
                loss = model.loss(samples, labels[batch], setting.precision == "bfloat16")
                loss.backward()  # type: ignore[no-untyped-call]
                sgd.step()
                model.gradient.zero_()
                losses.append(loss.detach())
        return float(torch.stack(losses).mean()) if losses else 0.0

    def seed(self, job: Job) -> int:
        """Seed of everything random in a job."""
        return derive_torch_seed(self.experiment.seed, "training", job.client, job.attempt)

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
        """Up to 20 validation samples of each label that the client has, label by label; the place of each label's
        first, and their numbers.
        """
        own = self.data.validation(client)
        kinds = self.data.dataset.labels[own]
        chosen = [own[kinds == label][:MAX_LABEL_SAMPLES] for label in np.unique(kinds)]
        sizes = np.array([part.size for part in chosen], np.int64)
        return np.concatenate([own[:0], *chosen]), np.cumsum(sizes) - sizes, sizes

    def evaluate(self, model: Vector) -> Evaluation:
        """Accuracy and mean cross-entropy of `model` on the task's test samples."""
        dataset = self.data.dataset
        truth = dataset.test_labels
        right, loss = self.judge(model, dataset.test_features, truth)
        counts = [np.bincount(own, minlength=dataset.classes) for own in (truth, truth[right])]
        labels = tuple(zip(*(own.tolist() for own in counts), strict=True))
        return Evaluation(int(right.sum()) / right.size, loss / right.size, labels)

    def validate(self, model: Vector) -> Indices:
        """Validation samples that `model` gets right at each client, (N,)."""
        dataset = self.data.dataset
        chosen, owners = self.data.validations()
        right, _ = self.judge(model, dataset.features, dataset.labels, chosen)
        return np.bincount(owners[right], minlength=self.data.train_counts.size)

    def judge(
        self, model: Vector, features: NDArray[Any], labels: Indices, chosen: Indices | None = None
    ) -> tuple[NDArray[np.bool_], float]:
        """Correctness of `model` on each of the samples (or those `chosen`), and the sum of their cross-entropies."""
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
